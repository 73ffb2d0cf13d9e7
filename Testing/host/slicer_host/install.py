"""Put the host in place: after ``installed()``, ``import qt, ctk, slicer`` is as in Slicer."""

import atexit
import ctypes
import functools
import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_LOGGING_RULES", "qt.qpa.fonts=false")

import slicer
import slicer.util
from PySide6 import QtCore

from slicer_host.answers import Answers, answers
from slicer_host.application import Application, DesktopServices, qSlicerMainWindow
from slicer_host.ctk_classes import makeCtk
from slicer_host.faults import Faults, faults, hearQt
from slicer_host.mrml_widgets import qMRMLSortFilterProxyModel
from slicer_host.packaging_module import Packages, packages
from slicer_host.proxy import expose
from slicer_host.qt_classes import makeQt
from slicer_host.surface import classSurface, document
from slicer_host.values import pack

MODULE = Path(__file__).parents[3] / "CRGLoCoSegment" / "CRGLoCoSegment.py"
OPTIONAL = ("segment_list", "segment_editor", "mrml_views")  # files with qMRML classes, as far as they exist


class Host:
    """The handle that tests have on the host.

    Attributes:
        application: The QApplication behind ``slicer.app``.
        answers: What the user answers to the next dialogs.
        faults: Errors in slots and warnings of Qt.
        packages: What pip would find and was asked for.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.answers: Answers = answers
        self.faults: Faults = faults
        self.packages: Packages = packages
        self.window: Any = None

    def showMainWindow(self) -> Any:
        """Make the main window; without it ``slicer.util.mainWindow()`` is None, as with --no-main-window."""
        if self.window is None:
            self.window = slicer.qSlicerMainWindow()
        return self.window

    def closeMainWindow(self) -> None:
        """Go back to no main window and no layout manager."""
        if self.window is not None:
            self.window.qtObject_.close()
            self.window.qtObject_.setObjectName("closed")
            self.window.qtObject_.deleteLater()
            self.window = None
        if self.application.layouts is not None:
            self.application.layouts.close()
        self.application.layouts = None

    def makeLayoutManager(self) -> Any:
        """Make the layout manager in the main window, if slicer_host.layout_manager is there."""
        module = importlib.import_module("slicer_host.layout_manager")
        self.showMainWindow()
        self.application.layouts = module.LayoutManager(slicer.mrmlScene, self.application.applicationLogic())
        return self.application.layouts

    def loadModule(self, path: Path = MODULE) -> Any:
        """Load our scripted module as Slicer does at its start; returns the module object."""
        return slicer.modules.load_(path)

    def unloadModules(self) -> None:
        """Close every scripted module that was loaded."""
        for name in slicer.modules.scripted_():
            slicer.modules.unload_(name)
        self.processEvents()

    def reset(self) -> None:
        """Forget answers, faults, packages, registrations; empty settings; not in testing mode."""
        self.answers.clear()
        self.faults.take()
        self.packages.__init__()
        self.application.testing = False
        self.application.opened.clear()
        sys.modules["SampleData"].SampleDataLogic.categories.clear()
        sys.modules["SampleData"].SampleDataLogic.sources.clear()
        sys.modules.pop("PyTorchUtils", None)
        self.application.forgetSettings()
        self._releaseKeys()

    def _releaseKeys(self) -> None:
        """A key that QTest pressed with Ctrl leaves Ctrl held down, and selections then mean otherwise."""
        if self.application.keyboardModifiers():
            from PySide6.QtTest import QTest
            from PySide6.QtWidgets import QWidget

            window = QWidget()
            window.show()
            QTest.keyClick(window, QtCore.Qt.Key.Key_Shift, QtCore.Qt.KeyboardModifier.NoModifier)

    def emptyScene(self) -> None:
        """Close the scene; singletons of scripted modules and editors go too, else they outlive a test."""
        slicer.mrmlScene.Clear()
        for kind in ("vtkMRMLScriptedModuleNode", "vtkMRMLSegmentEditorNode"):
            for node in slicer.util.getNodesByClass(kind):
                slicer.mrmlScene.RemoveNode(node)

    def processEvents(self) -> None:
        """Run what waits in the event loop, deletions too."""
        self.application.processEvents()
        self.application.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)

    def waitUntil(self, predicate: Callable[[], Any], seconds: float = 20.0) -> None:
        """Run the event loop until the predicate is true; fail after so many seconds."""
        end = time.monotonic() + seconds
        while not predicate():
            if time.monotonic() > end:
                raise AssertionError(f"not true after {seconds} s; faults: {self.faults.texts}")
            self.application.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 20)
            time.sleep(0.002)
        self.application.processEvents()

    def picture(self, widget: Any, path: Path, width: int = 0, height: int = 0) -> Path:
        """Draw a widget into a PNG, at its size or at a wished one."""
        target = widget.qtObject_
        target.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen)
        target.show()
        for _ in range(2):  # with the width, texts break elsewhere, and the height that is needed changes
            hint = target.sizeHint()
            target.resize(width or max(target.width(), hint.width()), height or hint.height())
            self.processEvents()
        if not target.grab().save(str(path)):
            raise OSError(f"could not write {path}")
        return Path(path)

    def emit(self, sender: Any, signature: str, *given: Any) -> None:
        """Send a signal by hand, for example ``emit(slicer.app, "startupCompleted()")``."""
        from slicer_host.signals import boundSignal
        from slicer_host.values import unpack

        boundSignal(sender.qtObject_, signature).emit(*(unpack(one) for one in given))


@functools.cache
def installed() -> Host:
    """Put the host in place, once for the whole process."""
    # PySide6 gives back references to True and None that it never took: about 70 for each panel that is
    # built. Python before 3.12 counts them, and would die of it at its end.
    for eternal in (True, False, None):
        ctypes.c_ssize_t.from_address(id(eternal)).value += 1 << 32
    application = Application(["Slicer"])
    QtCore.qInstallMessageHandler(hearQt)
    _tidySlicer()
    qt = makeQt()
    qt.QDesktopServices = DesktopServices
    sys.modules["qt"] = slicer.qt = qt
    sys.modules["ctk"] = slicer.ctk = makeCtk()
    _exposeSlicerClasses()
    _makeWorld(application)
    _addSlicerModules()
    atexit.register(faults.close)
    return Host(application)


def _tidySlicer() -> None:
    """The wheel shows all of slicer.util also in ``slicer``; Slicer does not."""
    for name, value in list(vars(slicer).items()):
        if getattr(value, "__module__", "") == "slicer.util":
            delattr(slicer, name)


def _exposeSlicerClasses() -> None:
    expose("slicer.app", Application)
    expose("slicer.qSlicerMainWindow", qSlicerMainWindow)
    expose("slicer.qMRMLSortFilterProxyModel", qMRMLSortFilterProxyModel)
    found: dict[str, type] = {}
    for name in ("mrml_widgets", *OPTIONAL):
        try:
            module = importlib.import_module(f"slicer_host.{name}")
        except ModuleNotFoundError as missing:
            if missing.name != f"slicer_host.{name}":
                raise
            continue
        found.update({key: cls for key, cls in vars(module).items() if classSurface(f"slicer.{key}")})
    for name, cls in sorted(found.items(), key=lambda item: len(item[1].__mro__)):
        setattr(slicer, name, expose(f"slicer.{name}", cls))
    from slicer_host.proxy import _classes

    slicer.qSlicerMainWindow = _classes[qSlicerMainWindow]


def _makeWorld(application: Application) -> None:
    from slicer_host.modules import Modules
    from slicer_host.scene import makeWorld

    application.world = makeWorld(application.slicerHome)
    slicer.mrmlScene = application.world.scene
    slicer.app = pack(application)
    slicer.modules = Modules(application.world.logics)
    slicer.selfTests = {}


def _addSlicerModules() -> None:
    from slicer_host import gui_functions, packaging_module, sample_data, translation

    for name, function in gui_functions.REPLACED.items():
        setattr(slicer.util, name, function)
    _addModule("slicer.i18n", translation.makeModule())
    _addModule("slicer.packaging", packaging_module.makeModule())
    from slicer_host import parameter_wrapper, scripted_module

    _addModule("slicer.parameterNodeWrapper", parameter_wrapper.makeModule())
    _addModule("slicer.ScriptedLoadableModule", scripted_module)
    sys.modules["SampleData"] = sample_data.makeModule()


def _addModule(name: str, module: Any) -> None:
    sys.modules[name] = module
    setattr(slicer, name.partition(".")[2], module)


__all__ = ["Host", "document", "installed"]
