"""Installations that the user asked for: one at a time, each with its log and its end in words."""

import logging
import platform
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from CRGLoCoSegmentLib import requirements
from CRGLoCoSegmentLib.logic.installation_faults import explanation
from CRGLoCoSegmentLib.requirements import InstallationError

if TYPE_CHECKING:
    from CRGLoCoSegmentLib.settings import Settings

log = logging.getLogger("CRGLoCoSegment")

LINES = 2000


class Installation:
    """Installs torch, the other packages, or the PyTorch extension; never by itself.

    Args:
        settings: Holds ``wheelFolder`` and ``pendingInstallation``.
        onChange: Called when ``state`` changes.
        onInstalled: Called when something new is installed.

    Attributes:
        onLine: Called with each line of the log.
        state: ``"idle"``, ``"running"``, ``"done"``, ``"declined"`` or ``"failed"``.
        message: The last end in words; empty before the first.
        lines: The last lines of the log.
        restartFor: Packages that changed while Slicer was using them.
    """

    def __init__(
        self,
        *,
        settings: "Settings",
        onChange: Callable[[], None],
        onInstalled: Callable[[], None] | None = None,
    ) -> None:
        self._settings = settings
        self._onChange = onChange
        self.onLine: Callable[[str], None] | None = None
        self._onInstalled = onInstalled or (lambda: None)
        self.state = "idle"
        self.message = ""
        self.lines: deque[str] = deque(maxlen=LINES)
        self.restartFor: list[str] = []

    @property
    def wheelFolder(self) -> Path | None:
        """Folder of ``.whl`` files to install from, without any network; ``None``: from pip's servers."""
        return self._settings.folder("wheelFolder")

    @wheelFolder.setter
    def wheelFolder(self, folder: Path | None) -> None:
        self._settings.set("wheelFolder", str(folder) if folder else None)

    @property
    def isPending(self) -> bool:
        """Whether torch was to be installed as soon as the PyTorch extension is there."""
        return bool(self._settings.get("pendingInstallation"))

    def isRunning(self) -> bool:
        """Whether an installation goes on; it cannot be stopped half way."""
        return self.state == "running"

    def plan(self, what: str) -> str:
        """Return what the user is asked before an installation by pip; empty if somebody else asks.

        Args:
            what: ``"torch"`` or ``"packages"``.
        """
        if what == "torch" and self.wheelFolder is None:
            return ""  # the PyTorch extension asks
        if self.wheelFolder is not None:
            question = _("Install into Slicer's Python from {folder}, without any network?")
            return question.format(folder=self.wheelFolder)
        return _(
            "Download and install these packages into Slicer's Python? Slicer's own packages stay as they "
            "are, and Slicer can be used meanwhile."
        )

    def contents(self, what: str) -> list[str]:
        """Return the requirements that an installation would meet."""
        if what == "torch":
            return ["torch" + requirements.torchRequirement()]
        missing = requirements.missingPackages()
        return requirements.withoutTorch(missing) if self.cannotHaveTorch() else missing

    def cannotHaveTorch(self) -> bool:
        """Whether nobody builds a torch that serves us for this computer, and no folder brings one."""
        return self.wheelFolder is None and not requirements.isTorchBuilt(sys.platform, platform.machine())

    def installTorch(self) -> None:
        """Install torch: from the wheel folder if there is one, else by the PyTorch extension."""
        if self.wheelFolder is not None:
            self._byPip(self.contents("torch"))
            return
        self._begin(_("The PyTorch extension installs torch; its log is in the Python console."))
        before = requirements.Installed.now()
        try:
            installed = requirements.installTorch()
        except InstallationError as error:
            self._line(error.details)
            self._fail(error)
            return
        if installed:
            self._succeed(before)
        else:
            self._end("declined", _("torch was not installed."))

    def installPackages(self) -> None:
        """Install what is missing of ``requirements.txt``; torch comes first, else pip would choose one."""
        if requirements.installedTorch() is None and not self.cannotHaveTorch():
            self._fail(InstallationError(_("Install torch first: the other packages build on it.")))
        else:
            self._byPip(self.contents("packages"))

    def getExtension(self) -> None:
        """Install the PyTorch extension from Slicer's extension server; Slicer asks first."""
        manager = _extensionsManager()
        try:
            requirements.refuseInTests()
            if manager is None:
                absent = _("There is no Extensions Manager in this Slicer; use a folder of Python packages.")
                raise InstallationError(absent)
        except InstallationError as error:
            self._fail(error)
            return
        self._begin(_("Installing the PyTorch extension"))
        self._settings.set("pendingInstallation", "torch")
        restartNow = False
        if manager.installExtensionFromServer("PyTorch", restartNow):
            self._end("done", _("The PyTorch extension is there. Restart Slicer, then install torch here."))
        else:
            self._settings.set("pendingInstallation", None)
            self._end("declined", _("The PyTorch extension was not installed; torch comes by it."))

    def noLongerPending(self) -> None:
        """Forget that torch was to be installed: it is there."""
        if self.isPending:
            self._settings.set("pendingInstallation", None)

    def _byPip(self, wanted: list[str]) -> None:
        self._begin(_("Installing {packages}").format(packages=", ".join(wanted)))
        before = requirements.Installed.now()
        try:
            requirements.installByPip(
                wanted,
                wheelFolder=self.wheelFolder,
                onLine=self._line,
                onEnd=lambda code: self._succeed(before) if code == 0 else self._fail(self._pipError(code)),
            )
        except InstallationError as error:
            self._fail(error)

    def _pipError(self, code: int) -> InstallationError:
        text = "\n".join(self.lines)
        known = explanation(text, fromFolder=self.wheelFolder is not None)
        unknown = _("pip ended with code {code}; the log below says why.").format(code=code)
        return InstallationError(known or unknown, text)

    def _begin(self, line: str) -> None:
        self.lines.clear()
        self.state, self.message = "running", ""
        self._onChange()
        self._line(line)

    def _succeed(self, before: requirements.Installed) -> None:
        self.restartFor = sorted({*self.restartFor, *before.changedWhileInUse()})
        self._onInstalled()
        self._end("done", _("Installed."))

    def _fail(self, error: InstallationError) -> None:
        log.warning("installation: %s\n%s", error, error.details)
        self._end("failed", str(error))

    def _end(self, state: str, message: str) -> None:
        self.state, self.message = state, message
        self._line(message)
        self._onChange()

    def _line(self, line: str) -> None:
        self.lines.append(line)
        if self.onLine is not None:
            self.onLine(line)


def extensionAwaitsRestart() -> bool:
    """Whether the PyTorch extension was added in this session and is loaded only after a restart."""
    manager = _extensionsManager()
    return bool(
        manager is not None
        and not requirements.hasTorchExtension()
        and manager.isExtensionInstalled("PyTorch")
        and manager.isExtensionEnabled("PyTorch")
    )


def _extensionsManager() -> Any:
    # Some builds of Slicer come without it.
    model = getattr(slicer.app, "extensionsManagerModel", None)
    return model() if model is not None else None
