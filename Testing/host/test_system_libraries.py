"""Where the host cannot stand, its tests are skipped visibly and say what to do."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from slicer_host.system_libraries import whyMissing

REPOSITORY = Path(__file__).parents[2]


def test_a_package_that_is_not_installed_is_named():
    assert "no_such_package is not installed" in whyMissing("no_such_package")


def test_for_a_library_of_the_system_the_one_line_is_named(monkeypatch: pytest.MonkeyPatch):
    def refuse(_name: str) -> None:
        msg = "libEGL.so.1: cannot open shared object file"
        raise ImportError(msg)

    monkeypatch.setattr(importlib, "import_module", refuse)
    said = whyMissing("a_module_that_links_to_egl")
    assert "libEGL.so.1" in said
    assert "apt-get install -y --no-install-recommends libegl1" in said


def test_what_is_there_is_not_missing():
    assert whyMissing("slicer_core", "PySide6.QtWidgets") is None


def test_without_qt_every_file_of_the_host_is_skipped_with_the_reason():
    program = "import sys; sys.modules['PySide6'] = None; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    words = ["-q", "-p", "no:cacheprovider", "Testing/host/test_host.py", "Testing/host/test_host_mrml.py"]
    run = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert "2 skipped" in run.stdout, run.stdout + run.stderr
    assert "PySide6.QtWidgets is not installed" in run.stdout
    assert "rror" not in run.stdout
