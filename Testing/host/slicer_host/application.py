"""``slicer.app`` and the main window."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from PySide6.QtCore import Property, QUrl, Signal, Slot
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QApplication, QMainWindow, QWidget

from slicer_host.io_manager import IOManager
from slicer_host.qt_classes import QSettings
from slicer_host.stored import stored

VERSION = "5.13.0-2026-08-21"


class Application(QApplication):
    """The application object; what the surface file lists and the host lacks says so loudly."""

    startupCompleted = Signal()
    mrmlSceneChanged = Signal(object)
    urlReceived = Signal(str)
    usageEventLogged = Signal(str, str)
    renderPaused = Signal(bool)
    autoSipEnabled = stored(bool, "autoSipEnabled", False)
    temporaryPath = stored(str, "temporaryPath", "")
    cachePath = stored(str, "cachePath", "")
    defaultScenePath = stored(str, "defaultScenePath", "")
    extensionsInstallPath = stored(str, "extensionsInstallPath", "")
    slicerHome = stored(str, "slicerHome", "")
    startupWorkingPath = Property(str, lambda _self: str(Path.cwd()))
    majorVersion = Property(int, lambda _self: 5)
    minorVersion = Property(int, lambda _self: 13)
    revision = Property(str, lambda _self: "34021")
    repositoryRevision = Property(str, lambda _self: "host")
    releaseType = Property(str, lambda _self: "Experimental")
    isInstalled = Property(bool, lambda _self: True)
    intDir = Property(str, lambda _self: "")
    os = Property(str, lambda _self: {"linux": "linux", "darwin": "macosx"}.get(sys.platform, "win"))
    arch = Property(str, lambda _self: "amd64")
    platform = Property(str, lambda _self: f"{_self.os}-amd64")
    documentationBaseUrl = Property(str, lambda _self: "https://slicer.readthedocs.io/en/latest/")
    documentationLanguage = Property(str, lambda _self: "en")
    documentationVersion = Property(str, lambda _self: "latest")
    applicationLocaleName = Property(str, lambda _self: "en_US")
    mainApplicationName = Property(str, lambda _self: "Slicer")
    slicerUserSettingsFilePath = Property(str, lambda self: self.userSettings().fileName())

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(arguments)
        self.setApplicationName("Slicer")
        self.setOrganizationName("CRGLoCoSegmentTestHost")
        self.setApplicationVersion(VERSION)
        self.setApplicationDisplayName("3D Slicer")
        self.setQuitOnLastWindowClosed(False)
        self._home = tempfile.TemporaryDirectory(prefix="slicer_host_")
        self.slicerHome = self._home.name
        self.temporaryPath = str(Path(self._home.name) / "temporary")
        Path(self.temporaryPath).mkdir()
        self.world: Any = None
        self.layouts: Any = None
        self.testing = False
        self.opened: list[str] = []
        self._io = IOManager()
        self._settings: QSettings | None = None

    def settings(self) -> QSettings:
        """The user's settings."""
        if self._settings is None:
            self._settings = QSettings()
        return self._settings

    def forgetSettings(self) -> None:
        """Look at another settings file from now on."""
        self._settings = None

    userSettings = revisionUserSettings = defaultSettings = settings

    def testingEnabled(self) -> bool:
        """Whether ``--testing`` was given; a test may say so by ``host.testing``."""
        return self.testing

    def mrmlScene(self) -> Any:
        """The scene."""
        return self.world.scene

    def applicationLogic(self) -> Any:
        """The application logic."""
        return self.world.applicationLogic

    def moduleLogic(self, name: str) -> Any:
        """The logic of a module."""
        return self.world.logics.get(name)

    def layoutManager(self) -> Any:
        """The layout manager, or ``None`` as without a main window."""
        return self.layouts

    def setLayoutManager(self, layouts: Any) -> None:
        """Take a layout manager."""
        self.layouts = layouts

    def coreIOManager(self) -> IOManager:
        """Files into nodes and back."""
        return self._io

    ioManager = coreIOManager

    def pauseRender(self) -> None:
        """Nothing to pause."""

    def resumeRender(self) -> None:
        """Nothing to resume."""

    def openUrl(self, url: str) -> None:
        """Remember what would have been opened, in ``opened``."""
        self.opened.append(url)

    def startupEnvironment(self) -> dict[str, str]:
        """The environment before Slicer changed it."""
        import os

        return dict(os.environ)

    def moduleDocumentationUrl(self, name: str) -> str:
        """Where a module's page is."""
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def openSettingsDialog(self, page: str = "") -> None:
        """Remember it in ``opened``."""
        self.opened.append(f"settings:{page}")

    @Slot()
    def restart(self) -> None:
        """Remember it in ``opened``."""
        self.opened.append("restart")


class DesktopServices:
    """``qt.QDesktopServices`` that opens nothing but remembers."""

    @staticmethod
    def openUrl(url: QUrl) -> bool:
        """Remember a URL in ``slicer.app``'s ``opened``."""
        QApplication.instance().opened.append(url.toString())
        return True

    setUrlHandler = QDesktopServices.setUrlHandler


class qSlicerMainWindow(QMainWindow):
    """The main window: a status bar, and room for views."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer")
        self.statusBar()
        self.setCentralWidget(QWidget())
