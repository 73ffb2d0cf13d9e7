"""The test host for tests that need Slicer's GUI; it stands before the test files are imported."""

import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
for _folder in (REPOSITORY / "CRGLoCoSegment", REPOSITORY / "Testing" / "host"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from slicer_host.system_libraries import skippedModule, whyMissing  # noqa: E402 (after the path)

MISSING = whyMissing("slicer_core", "PySide6.QtWidgets", "PySide6.QtUiTools")
if MISSING is None:
    from PySide6 import QtCore

    from slicer_host.install import Host, installed

    HOST = installed()


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip each file, with the reason, where the host cannot stand."""
    return skippedModule(parent, module_path, MISSING)


if MISSING is None:

    @pytest.fixture(scope="session")
    def host() -> "Host":
        """The handle on the host: answers for dialogs, faults, packages, main window."""
        return HOST

    @pytest.fixture(scope="session")
    def settingsFolder() -> Iterator[Path]:
        """A folder in memory, if there is such a thing.

        Qt waits in the GUI thread until the disk has the settings, those of Slicer too; on a slow disk that
        would be measured instead of what is ours.
        """
        memory = Path("/dev/shm")
        with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
            yield Path(folder)

    @pytest.fixture(autouse=True)
    def _clean(host: "Host", settingsFolder: Path, tmp_path: Path) -> Iterator[None]:
        """Errors in slots, Qt's warnings, unexpected dialogs and unused answers fail the test."""
        scope = (QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope)
        QtCore.QSettings.setPath(*scope, str(settingsFolder / tmp_path.name))
        host.reset()
        yield
        host.processEvents()
        faults, left = host.faults.take(), host.answers.left()
        host.reset()
        assert not faults, "\n".join(faults)
        assert not left, f"answers that no dialog asked for: {left}"

    @pytest.fixture
    def scene(host: "Host", _clean: None) -> Iterator[Any]:
        """The one MRML scene, empty before and after the test."""
        import slicer

        host.emptyScene()
        yield slicer.mrmlScene
        host.emptyScene()

    @pytest.fixture
    def settings(host: "Host", tmp_path: Path) -> Any:
        """Empty settings in the test's own file; every test has its own, this fixture hands them over."""
        import qt

        return qt.QSettings()

    @pytest.fixture
    def answers(host: "Host") -> Any:
        """Where a test puts what the user answers: ``answers.put(qt.QMessageBox.Yes)``."""
        return host.answers

    @pytest.fixture
    def waitUntil(host: "Host") -> Callable[..., None]:
        """``waitUntil(predicate, seconds=20)``: run the event loop until it is true, or fail."""
        return host.waitUntil

    @pytest.fixture
    def processEvents(host: "Host") -> Callable[[], None]:
        """Run what waits in the event loop, deletions too."""
        return host.processEvents

    @pytest.fixture
    def picture(host: "Host") -> Callable[..., Path]:
        """``picture(widget, path)``: draw a widget into a PNG."""
        return host.picture

    @pytest.fixture
    def module(host: "Host", scene: Any) -> Iterator[Any]:
        """Our module, loaded; ``module.widgetRepresentation().self()`` is its panel."""
        loaded = host.loadModule()
        yield loaded
        host.unloadModules()

    @pytest.fixture
    def loadModule(host: "Host", scene: Any) -> Iterator[Callable[[], Any]]:
        """``loadModule()``: the real CRGLoCoSegmentWidget, set up and entered; closed after the test."""
        import slicer

        def load() -> Any:
            loaded = host.loadModule()
            slicer.util.selectModule(loaded.name)
            return loaded.widgetRepresentation().self()

        yield load
        host.unloadModules()

    @pytest.fixture
    def mainWindow(host: "Host", scene: Any) -> Iterator[Any]:
        """A main window; without it ``slicer.util.mainWindow()`` is ``None``."""
        yield host.showMainWindow()
        host.closeMainWindow()

    @pytest.fixture
    def layoutManager(host: "Host", mainWindow: Any) -> Any:
        """A main window with the layout manager and its slice views."""
        return host.makeLayoutManager()


# The aim is 0.1 s in Slicer. Here widgets are Python's stand-ins and machines differ: the same step took
# 58 ms and, on a busy one, 122 ms. Twice the aim still finds what is computed or read in the GUI thread.
STANDS_STILL_S = 0.2


class Heartbeat:
    """Measures the largest gap between rounds of a 10 ms timer in the GUI thread.

    Where the computer is busy with other things, a ready thread waits for a processor; that is not ours. Nor
    is what the host of a virtual computer takes from its processors.

    Attributes:
        longest: The largest gap so far, in seconds.
    """

    limit = STANDS_STILL_S

    def __init__(self) -> None:
        import qt

        self.longest = 0.0
        self._start()
        self._timer = qt.QTimer()
        self._timer.setInterval(10)
        self._timer.connect("timeout()", self._beat)

    def _start(self) -> None:
        self._last, self._waited, self._stolen = time.perf_counter(), _waitedForProcessor(), _stolen()

    def _beat(self) -> None:
        last, waited, stolen = self._last, self._waited, self._stolen
        self._start()
        taken = max((now - before for now, before in zip(self._stolen, stolen, strict=True)), default=0.0)
        self.longest = max(self.longest, self._last - last - (self._waited - waited) - taken)

    def lap(self) -> float:
        """Return the largest gap since the last lap, the one that has not ended yet too, and begin anew."""
        self._beat()
        longest, self.longest = self.longest, 0.0
        return longest

    def __enter__(self) -> "Heartbeat":
        gc.collect()
        gc.freeze()  # looking through what thousands of tests left behind takes longer than what is measured
        self._start()
        self._timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._beat()
        self._timer.stop()
        gc.unfreeze()


def _waitedForProcessor() -> float:
    """Seconds that this thread was ready to run and no processor was free; 0 where Linux does not tell."""
    try:
        numbers = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text()
    except OSError:
        return 0.0
    return int(numbers.split()[1]) / 1e9


def _stolen() -> list[float]:
    """Seconds that the host of this virtual computer has taken from each processor; empty but on Linux."""
    try:
        lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    except OSError:
        return []
    ticks = [int(line[8]) for line in lines if line[0].startswith("cpu") and line[0] != "cpu"]
    return [count / os.sysconf("SC_CLK_TCK") for count in ticks]


@pytest.fixture
def heartbeat() -> type[Heartbeat]:
    """``with heartbeat() as beat: ...``, then ``beat.longest`` is the longest time the GUI stood still."""
    return Heartbeat


@pytest.fixture
def addScene() -> Callable[[], None]:
    """Add a saved scene with one volume to Slicer's own, as *Add data* does with a scene file."""
    import slicer

    other = slicer.vtkMRMLScene()
    other.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "added")
    other.SetSaveToXMLString(1)
    other.Commit()
    text = other.GetSceneXMLString()

    def add() -> None:
        scene = slicer.mrmlScene
        scene.SetLoadFromXMLString(1)
        scene.SetSceneXMLString(text)
        scene.Import()
        scene.SetLoadFromXMLString(0)

    return add
