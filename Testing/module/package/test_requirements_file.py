"""requirements.txt against what the engine imports, what Slicer brings, and what pyproject.toml says."""

import ast
import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[3]
FILE = ROOT / "CRGLoCoSegment/Resources/requirements.txt"
# Slicer 5.12 and main of August 2026 (SuperBuild/External_python-*.cmake): never to be installed over.
SLICERS = {"numpy": "2.4.6", "scipy": "1.17.1", "simpleitk": "2.5.5", "pydicom": "3.0.2", "packaging": "26.2"}
IMPORT_NAMES = {"SimpleITK": "simpleitk"}
# Only `crgloco demo` draws, on the command line; pylibjpeg's plug-in is found by pydicom, nobody imports it.
NOT_IN_SLICER = {"matplotlib"}


def requirements():
    lines = [line.strip() for line in FILE.read_text(encoding="utf-8").splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def project_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {each.name.lower(): each for each in map(Requirement, project["dependencies"])}


def imported_by_the_engine():
    names = set()
    for path in (ROOT / "CRGLoCoSegment/crgloco").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    ours = {"crgloco", "__future__", *sys.stdlib_module_names}
    return {IMPORT_NAMES.get(name, name) for name in names - ours}


def test_everything_that_the_engine_imports_comes_with_slicer_or_is_installed():
    listed = {each.name.lower() for each in requirements()}
    assert imported_by_the_engine() - listed - set(SLICERS) - NOT_IN_SLICER == {"torch"}


def test_nothing_of_slicers_own_and_no_torch_is_listed():
    assert {each.name.lower() for each in requirements()} & {*SLICERS, "torch", "torchvision", "vtk"} == set()


def test_the_versions_are_those_of_the_package_and_no_pins():
    wanted = project_dependencies()
    for each in requirements():
        assert str(each.specifier) == str(wanted[each.name.lower()].specifier)
        assert all(part.operator == ">=" for part in each.specifier)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("pydicom", "3.0.0"),  # importing it asks the internet for a file, and waits for it
        ("torch", "2.4.0"),  # pip finds no MONAI for it
    ],
)
def test_a_version_that_does_not_serve_is_not_admitted(name, version):
    assert Version(version) not in project_dependencies()[name].specifier


def test_what_the_package_asks_for_is_met_by_the_file_by_slicer_or_by_torchs_extension():
    listed = {each.name.lower() for each in requirements()}
    others = {name: each for name, each in project_dependencies().items() if name not in listed}
    assert set(others) == {"torch", "numpy", "scipy", "simpleitk", "pydicom"}
    for name, each in others.items():
        if name != "torch":
            assert Version(SLICERS[name]) in each.specifier


@pytest.mark.parametrize("wanted", requirements(), ids=str)
def test_what_a_package_builds_on_goes_together_with_what_slicer_has(wanted):
    """Else pip would have to replace one of Slicer's builds, which our constraints forbid."""
    for text in importlib.metadata.requires(wanted.name) or []:
        needed = Requirement(text)
        if needed.name.lower() in SLICERS and (
            needed.marker is None or needed.marker.evaluate({"extra": ""})
        ):
            assert Version(SLICERS[needed.name.lower()]) in needed.specifier, text
