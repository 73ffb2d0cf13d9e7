"""The house itself: walls and floors, what an import costs, what is packaged, and what the papers say."""

import fnmatch
import importlib.metadata
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest

import crgloco
from crgloco.commands import arguments

MODULE_FOLDER = Path(crgloco.__file__).parents[1]

IMPORT_EVERYTHING_WITHOUT_SLICER = """
import importlib, pkgutil, sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"slicer", "qt", "ctk", "vtk", "CRGLoCoSegmentLib", "CRGLoCoSegment"}:
            raise ImportError(f"the engine reached through the wall: {name}")

sys.meta_path.insert(0, Wall())
import crgloco

def fail(name):
    raise

names = [module.name for module in pkgutil.walk_packages(crgloco.__path__, "crgloco.", onerror=fail)]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    answer = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer


def git(repository: Path, *arguments: str) -> str:
    # Slicer's and others' checkouts may belong to another user than the one who tests.
    command = ["git", "-c", "safe.directory=*", "-c", "core.quotePath=off", *arguments]
    return subprocess.run(command, cwd=repository, capture_output=True, encoding="utf-8", check=True).stdout


def packages_imported_by(*arguments: str) -> set[str]:
    """The top-level packages that a Python program imports, taken from the interpreter's own list."""
    listing = run("-X", "importtime", *arguments).stderr
    return {line.rpartition("|")[2].strip().split(".")[0] for line in listing.splitlines() if "|" in line}


def files_that_cmake_packages(files: list[str]) -> set[str]:
    """Those of the module folder's files that its CMakeLists.txt names or finds by a glob."""
    text = (MODULE_FOLDER / "CMakeLists.txt").read_text(encoding="utf-8")
    text = text.replace("${MODULE_NAME}", "CRGLoCoSegment")
    globs = re.findall(r"file\(GLOB_RECURSE \w+\s+RELATIVE \S+\s+CONFIGURE_DEPENDS\s+([^)]*)\)", text)
    assert len(globs) == 2, "CMakeLists.txt no longer has its two globs"
    patterns = [pattern for found in globs for pattern in found.split()]
    return {"CRGLoCoSegment.py"} | {
        file for file in files if any(fnmatch.fnmatchcase(file, pattern) for pattern in patterns)
    }


def test_every_engine_module_imports_where_slicer_qt_ctk_and_vtk_do_not_exist():
    assert int(run("-c", IMPORT_EVERYTHING_WITHOUT_SLICER).stdout) > 10


def test_importing_the_package_alone_costs_nothing():
    extra = packages_imported_by("-c", "import crgloco") - packages_imported_by("-c", "pass")
    assert extra == {"crgloco"}


@pytest.mark.parametrize("name", ["errors", "labels", "options", "progress", "jobs", "model_card"])
def test_the_floors_of_words_and_contracts_need_no_torch(name):
    assert not {"torch", "monai"} & packages_imported_by("-c", f"import crgloco.{name}")


def test_the_list_of_methods_and_their_options_needs_no_torch():
    listed = packages_imported_by("-m", "crgloco", "methods", "--json")
    assert "crgloco" in listed
    assert not {"torch", "monai"} & listed


def test_the_list_of_methods_holds_the_files_of_the_methods_folder():
    program = "from crgloco.methods import available; print(*available())"
    shared = {"base", "two_branches"}
    files = {file.stem for file in (MODULE_FOLDER / "crgloco" / "methods").glob("[!_]*.py")} - shared
    assert set(run("-c", program).stdout.split()) == files


def test_the_architecture_contracts_hold(repository):
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    run("-c", program, folder=repository)


def contract(repository: Path, name: str) -> dict[str, Any]:
    """One architecture contract of pyproject.toml."""
    settings = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    found = [entry for entry in settings["tool"]["importlinter"]["contracts"] if entry["id"] == name]
    assert len(found) == 1
    return found[0]


def test_every_method_file_is_covered_by_the_contract_that_keeps_methods_apart(repository):
    apart = contract(repository, "methods-apart")
    assert apart["type"] == "independence"
    files = (MODULE_FOLDER / "crgloco" / "methods").glob("[!_]*.py")
    shared = {"crgloco.methods.base", "crgloco.methods.two_branches"}
    methods = {f"crgloco.methods.{file.stem}" for file in files} - shared
    assert len(methods) >= 2
    for method in methods:
        assert any(fnmatch.fnmatchcase(method, pattern) for pattern in apart["modules"]), method
    # Only what they share is excepted.
    for exception in apart.get("ignore_imports", []):
        assert exception.partition(" -> ")[2] in shared


def test_contributors_are_told_the_floors_that_are_checked(repository):
    checked = [re.sub(r"[()]", "", floor) for floor in contract(repository, "engine-layers")["layers"]]
    told = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "\n".join(["```", *checked, "```"]) in told


def test_no_file_has_a_name_without_a_noun(repository):
    files = [Path(file) for file in git(repository, "ls-files", "-co", "--exclude-standard").splitlines()]
    forbidden = {"utils", "util", "common", "helpers", "helper", "core", "misc"}
    assert not [file for file in files if forbidden & {Path(part).stem.lower() for part in file.parts}]


def test_one_version_is_told_everywhere(repository):
    assert importlib.metadata.version("crgloco") == crgloco.__version__
    changelog = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.+?)\]", changelog, flags=re.MULTILINE)[0] == crgloco.__version__
    cmake = (repository / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "project(CRGLoCoSegment)\n" in cmake, "the catalogue wants the bare name here, without a version"


def headings(page: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    prose = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_of_the_docs_leads_somewhere(repository):
    pages = [repository / file for file in git(repository, "ls-files", "*.md").splitlines()]
    links = [
        (page, *target.partition("#")[::2])
        for page in pages
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in target
    ]
    assert any(anchor for _, _, anchor in links)
    for page, file, anchor in links:
        target = page.parent / file if file else page
        assert target.exists(), f"{page.name}: {file}"
        if anchor:
            assert anchor in headings(target.read_text(encoding="utf-8")), f"{page.name}: {file}#{anchor}"


def test_every_file_of_the_module_folder_is_packaged():
    listing = git(MODULE_FOLDER, "ls-files", "-co", "--exclude-standard", "--deduplicate", ".")
    files = [file for file in listing.splitlines() if (MODULE_FOLDER / file).is_file()]
    assert set(files) - files_that_cmake_packages(files) == {"CMakeLists.txt"}


def test_an_installation_holds_every_file_of_the_starter_model_and_the_samples(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    installed = {
        Path(target, path.name).relative_to("share/crgloco")
        for target, patterns in project["tool"]["setuptools"]["data-files"].items()
        for pattern in patterns
        for path in repository.glob(pattern)
        if path.is_file()
    }
    listing = git(MODULE_FOLDER / "Resources", "ls-files", "Models", "Samples")
    assert installed == {Path(file) for file in listing.splitlines()}


def test_the_starter_model_is_found_where_an_installation_puts_it(tmp_path, monkeypatch):
    in_checkout = MODULE_FOLDER / "crgloco"
    assert arguments.resources(in_checkout) == MODULE_FOLDER / "Resources"
    of_user = tmp_path / "user"
    monkeypatch.setattr(
        sysconfig,
        "get_path",
        lambda _, scheme: str(of_user if "user" in scheme else tmp_path / "environment"),
    )
    package = tmp_path / "site-packages" / "crgloco"
    (tmp_path / "site-packages" / "Resources").mkdir(parents=True)  # somebody else's
    for data in (of_user, tmp_path / "environment"):
        (data / "share" / "crgloco" / "Models").mkdir(parents=True)
        assert arguments.resources(package) == data / "share" / "crgloco"


def test_nothing_of_the_tests_is_packaged(repository):
    assert "Testing" not in (MODULE_FOLDER / "CMakeLists.txt").read_text(encoding="utf-8")
    whole = (repository / "CMakeLists.txt").read_text(encoding="utf-8")
    for_tests = whole[whole.index("if(BUILD_TESTING)") : whole.index("endif()")]
    assert whole.count("Testing/") == for_tests.count("Testing/")
    assert not list(MODULE_FOLDER.rglob("test_*.py"))
    assert not list(MODULE_FOLDER.rglob("Testing"))


def test_nothing_that_a_download_would_have_to_pickle_is_shipped():
    endings = {".pt", ".pth", ".pkl", ".ckpt"}
    assert not [file for file in MODULE_FOLDER.rglob("*") if file.suffix in endings]


def test_the_catalogue_entry_keeps_to_the_schema(repository):
    file = repository / "CRGLoCoSegment.json"
    assert b"\r" not in file.read_bytes()
    entry = json.loads(file.read_text(encoding="utf-8"))
    kinds = {
        "$schema": str,
        "category": str,
        "scm_url": str,
        "scm_revision": str,
        "scm_type": str,
        "build_dependencies": list,
        "build_subdirectory": str,
        "dicom_support_rule": str,
        "enabled": bool,
        "tier": int,
    }
    assert {"$schema", "category", "scm_url"} <= set(entry) <= set(kinds)
    assert all(isinstance(value, kinds[key]) for key, value in entry.items())
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert 1 <= entry["tier"] <= 5
    assert re.fullmatch(r"https://.+/Slicer[-_]?CRGLoCoSegment\.git", entry["scm_url"])


def test_the_catalogue_and_cmake_name_the_same_dependencies_and_an_existing_icon(repository):
    cmake = (repository / "CMakeLists.txt").read_text(encoding="utf-8")
    stated = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"\n]*)"\)$', cmake, flags=re.MULTILINE))
    entry = json.loads((repository / "CRGLoCoSegment.json").read_text(encoding="utf-8"))
    assert stated["DEPENDS"].split() == entry["build_dependencies"]
    for address in [stated["ICONURL"], *stated["SCREENSHOTURLS"].split(" ")]:
        assert (repository / address.partition("/main/")[2]).is_file()


def test_the_icons_are_square_pictures_of_128_pixels(repository):
    icons = [
        repository / "Resources" / "CRGLoCoSegment.png",
        MODULE_FOLDER / "Resources" / "Icons" / "CRGLoCoSegment.png",
    ]
    for icon in icons:
        head = icon.read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        assert (int.from_bytes(head[16:20]), int.from_bytes(head[20:24])) == (128, 128)


def test_slicer_is_asked_for_what_the_engine_needs_but_never_for_torch(repository):
    def packages(text: str) -> set[str]:
        return {re.split(r"[<>=!~ \[]", line)[0].lower() for line in text.splitlines() if line[:1].isalpha()}

    asked = packages((MODULE_FOLDER / "Resources" / "requirements.txt").read_text(encoding="utf-8"))
    needed = packages(
        "\n".join(text for text in importlib.metadata.requires("crgloco") or [] if "extra ==" not in text)
    )
    comes_with_slicer = {"numpy", "scipy", "simpleitk", "pydicom"}
    assert asked == needed - comes_with_slicer - {"torch"}


def test_the_checkout_stays_small_enough_for_the_catalogue(repository):
    files = [repository / file for file in git(repository, "ls-files").splitlines()]
    checkout = sum(file.stat().st_size for file in files if file.is_file())
    history = int(git(repository, "rev-list", "--objects", "--disk-usage", "HEAD"))
    assert (checkout + history) / 1e6 < 60
