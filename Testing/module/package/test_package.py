"""What is packaged: all that is shipped and nothing else; by a real CMake with a stand-in for Slicer."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cmake
import pytest

ROOT = Path(__file__).parents[3]
STAND_IN = Path(__file__).parent / "stand_in"
CMAKE = Path(cmake.CMAKE_BIN_DIR) / "cmake"
MODULES = "lib/Slicer-5.12/qt-scripted-modules"


@dataclass
class Build:
    """A configured build tree of the extension."""

    folder: Path

    def run(self, *words: str) -> str:
        """Run one of CMake's programs and return what it said."""
        done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Warning" not in done.stderr, done.stderr
        return done.stdout

    def configure(self, source: Path) -> str:
        toolchain = f"-DCMAKE_TOOLCHAIN_FILE={STAND_IN / 'no_compiler.cmake'}"
        return self.run(
            CMAKE,
            "-S",
            source,
            "-B",
            self.folder,
            "-G",
            "Unix Makefiles",
            f"-DSlicer_DIR={STAND_IN}",
            toolchain,
        )

    def package(self) -> Path:
        """Build and install; return the folder that Slicer would have on its path."""
        self.run(CMAKE, "--build", self.folder)
        self.run(CMAKE, "--install", self.folder, "--prefix", self.folder / "package")
        return self.folder / "package" / MODULES


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    build = Build(tmp_path_factory.mktemp("build"))
    build.configure(ROOT)
    return build


@pytest.fixture(scope="module")
def package(build):
    return build.package()


def shipped():
    """Every file of the module folder that git knows or would take, and that is there."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "CRGLoCoSegment"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    files = {
        Path(name).relative_to("CRGLoCoSegment").as_posix() for name in listed if (ROOT / name).is_file()
    }
    return files - {"CMakeLists.txt"}


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_shipped_file_is_in_the_package_and_nothing_else(package):
    packaged = files_in(package)
    assert shipped() - packaged == set(), "no list in CRGLoCoSegment/CMakeLists.txt names these"
    assert packaged - shipped() == set()


def test_the_package_holds_the_parts_that_work_needs(package):
    packaged = files_in(package)
    assert {
        "CRGLoCoSegment.py",
        "Resources/requirements.txt",
        "Resources/Icons/CRGLoCoSegment.png",
    } <= packaged
    assert "Resources/Models/chaos_mr_starter/weights.safetensors" in packaged
    assert any(name.startswith("Resources/Samples/") for name in packaged)
    assert {name.partition("/")[0] for name in packaged} == {
        "CRGLoCoSegment.py", "CRGLoCoSegmentLib", "Resources", "crgloco",
    }  # fmt: skip


def test_no_test_is_packaged_and_no_name_can_meet_another_extension(package):
    packaged = files_in(package)
    assert not [name for name in packaged if "test" in Path(name).name.lower() or "Testing" in name]
    packages = {name.split("/")[0] for name in packaged if name.endswith("__init__.py")}
    assert packages == {"CRGLoCoSegmentLib", "crgloco"}


def test_the_packaged_engine_runs_by_itself_from_its_folder(package):
    """As the worker starts it: the module folder is the working directory and nothing else is installed."""
    words = [sys.executable, "-m", "crgloco", "methods", "--json"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, cwd=package, capture_output=True, text=True, check=True, env=environment)
    assert "cr_gloco" in json.dumps(json.loads(done.stdout))
    where = [sys.executable, "-c", "import crgloco; print(crgloco.__file__)"]
    told = subprocess.run(where, cwd=package, capture_output=True, text=True, check=True, env=environment)
    assert Path(told.stdout.strip()).is_relative_to(package)


def test_a_new_file_joins_the_package_at_the_next_build(tmp_path):
    source = tmp_path / "source"
    keep = shutil.ignore_patterns("__pycache__", "*.egg-info", "Models", "Samples")
    shutil.copytree(ROOT / "CRGLoCoSegment", source / "CRGLoCoSegment", ignore=keep)
    shutil.copytree(ROOT / "Testing/in_slicer", source / "Testing/in_slicer")
    shutil.copy(ROOT / "CMakeLists.txt", source)
    build = Build(tmp_path / "build")
    build.configure(source)
    new = "crgloco/methods/sixth_method.py"
    assert new not in files_in(build.package())
    (source / "CRGLoCoSegment" / new).write_text('"""A new method."""\n')
    assert new in files_in(build.package())


def test_the_tests_in_slicer_are_registered(build):
    listed = build.run(CMAKE.with_name("ctest"), "--test-dir", build.folder, "-N")
    assert "py_nomainwindow_qSlicerCRGLoCoSegmentModuleGenericTest" in listed
    assert "py_CRGLoCoSegment\n" in listed
    ours = {path.stem for path in (ROOT / "Testing/in_slicer").glob("CRGLoCoSegment*Test.py")}
    assert ours
    assert {name for name in ours if f"py_{name}\n" not in listed} == set()


def test_the_extension_depends_on_pytorch_as_the_catalogue_entry_says(build):
    told = dict(
        line.partition("=")[::2] for line in (build.folder / "extension.txt").read_text().splitlines()
    )
    entry = json.loads((ROOT / "CRGLoCoSegment.json").read_text())
    assert told["DEPENDS"].split(";") == entry["build_dependencies"] == ["PyTorch"]


def test_the_version_of_cmake_is_the_one_that_slicers_template_asks_for():
    first = (ROOT / "CMakeLists.txt").read_text().splitlines()[0]
    assert first == "cmake_minimum_required(VERSION 3.28.0...3.28.0 FATAL_ERROR)"
