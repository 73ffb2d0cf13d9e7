"""The tests of the real application run in the test host too, so that they cannot rot unseen."""

import ast
import importlib.util
import os
import subprocess
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "in_slicer"
SLOW = {"CRGLoCoSegmentSegmentTest", "CRGLoCoSegmentTrainTest"}
OURS = ("CRGLoCoSegment", "CRGLoCoSegmentLib", "crgloco")


def written() -> list[Any]:
    """File, class and name of every test, read without importing: Slicer is not there yet."""
    found = []
    for path in sorted(FOLDER.glob("CRGLoCoSegment*Test.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                names = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
                marks = [pytest.mark.slow] if path.stem in SLOW else []
                found += [
                    pytest.param(path.stem, f"{node.name}.{name}", marks=marks, id=f"{path.stem}-{name}")
                    for name in names
                    if name.startswith("test_")
                ]
    return found


@pytest.fixture
def sameModules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Reloading the module drops our packages from ``sys.modules``; other tests go on with them."""
    monkeypatch.syspath_prepend(FOLDER)
    # Away, not only kept: what a test imports into a package of before would stay its attribute.
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in OURS}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]
    sys.modules.update(before)


def run(file: str, name: str) -> unittest.TestResult:
    """Run one test as Slicer's ``slicer.testing.runUnitTest`` does."""
    script = importlib.import_module(file)
    result = unittest.TestResult()
    tests = unittest.defaultTestLoader.loadTestsFromName(name, script)
    assert tests.countTestCases() == 1
    tests.run(result)
    for _case, text in (*result.failures, *result.errors):
        pytest.fail(text)
    return result


@pytest.mark.parametrize(("file", "name"), written())
def test_with_a_main_window(file: str, name: str, sameModules: None, layoutManager: Any, module: Any):
    assert run(file, name).skipped == []


@pytest.mark.parametrize(("file", "name"), [test for test in written() if not test.marks])
def test_without_a_main_window(file: str, name: str, sameModules: None, module: Any):
    assert run(file, name).skipped == []


def test_what_a_slicer_lacks_is_skipped_with_a_message(
    sameModules: None, module: Any, monkeypatch: pytest.MonkeyPatch
):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    monkeypatch.delitem(sys.modules, "CRGLoCoSegmentTrainTest", raising=False)
    result = run(
        "CRGLoCoSegmentTrainTest", "TrainTest.test_twenty_updates_make_a_new_model_that_can_become_current"
    )
    ((_case, reason),) = result.skipped
    assert reason == "this Slicer lacks torch"
    monkeypatch.delitem(sys.modules, "CRGLoCoSegmentTrainTest")


def test_the_command_of_contributing_runs_them_and_fails_when_one_fails(tmp_path: Path):
    """``run.py`` as Slicer runs it, in a process of its own."""
    start = (
        "import sys, runpy; from slicer_host.install import installed; installed().loadModule(); "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"
    )
    folders = [Path(__file__).parent, Path(__file__).parents[2] / "CRGLoCoSegment"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", start, str(FOLDER / "run.py"), *words]
        return subprocess.run(
            line, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    good = command("Panel")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "OK" in good.stdout
    assert command("NoSuchTest").returncode != 0
