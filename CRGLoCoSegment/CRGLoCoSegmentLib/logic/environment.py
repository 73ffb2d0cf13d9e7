"""Whether this computer can do the work: quick facts at once, slow ones from a thread and the worker."""

import contextlib
import platform
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from crgloco import model_store
from crgloco.errors import ModelError
from CRGLoCoSegmentLib import requirements
from CRGLoCoSegmentLib.background.session import temporaryFolder
from CRGLoCoSegmentLib.background.threads import ThreadJob, runInThread
from CRGLoCoSegmentLib.logic.environment_rows import OLDEST_SLICER, Facts, Row, rows, summary
from CRGLoCoSegmentLib.logic.installation import Installation, extensionAwaitsRestart

if TYPE_CHECKING:
    from CRGLoCoSegmentLib.background.worker import Request, Worker
    from CRGLoCoSegmentLib.logic.listeners import Listeners
    from CRGLoCoSegmentLib.logic.models import Models
    from CRGLoCoSegmentLib.settings import Settings

STARTER = Path(__file__).parents[2] / "Resources" / "Models" / "chaos_mr_starter"


class Environment:
    """What this computer has and lacks; nothing is installed and no network is touched by looking.

    Args:
        settings: Holds ``wheelFolder`` and ``pendingInstallation``.
        prober: Worker that tells what torch and the graphics card say.
        listeners: Hear ``"environment"`` whenever more is known.
        workers: The others; like ``prober`` they are started anew after an installation.
        models: Knows the models folder.

    Attributes:
        installation: Installs what is missing when the user asks.
    """

    def __init__(
        self,
        *,
        settings: "Settings",
        prober: "Worker",
        listeners: "Listeners",
        workers: "Sequence[Worker]" = (),
        models: "Models | None" = None,
    ) -> None:
        self._settings, self._prober, self._workers, self._models = settings, prober, workers, models
        self._listeners = listeners
        self._known: dict[str, Any] = {}
        self._slow: dict[str, Any] = {}
        self._request: Request | None = None
        self._thread: ThreadJob | None = None
        self.installation = Installation(settings=settings, onChange=self._tell, onInstalled=self._installed)

    @property
    def facts(self) -> Facts:
        """What is known so far; the quick part is looked at on the first use."""
        if not self._known:
            self._known = self._quick()
        return Facts(**self._known, **self._slow)

    def rows(self) -> list[Row]:
        """Return the table of what is there and what is missing."""
        return rows(self.facts)

    def summary(self) -> str:
        """Return the table in one line."""
        return summary(self.facts)

    def isReady(self) -> bool:
        """Whether nothing that segmenting needs is known to be missing."""
        return not self.problem()

    def problem(self) -> str:
        """Return the first thing that is missing, in words, or an empty text."""
        return next((f"{row.title}: {row.text}" for row in self.rows() if row.state == "missing"), "")

    def gpus(self) -> list[dict[str, Any]]:
        """Return the graphics cards as last seen: ``name``, ``free_mb``, ``total_mb``, ``fault`` if any."""
        return list((self._slow.get("probe") or {}).get("gpus") or [])

    def isLooking(self) -> bool:
        """Whether slow answers are still to come."""
        return self._request is not None or self._thread is not None

    def check(self) -> None:
        """Look at everything again: the quick part now, the slow part in the background."""
        self._known = self._quick()
        if self._thread is None:
            self._lookAtDisk()
        if self._request is None and self._workerCanRun():
            self._probe()
        self._tell()

    def checkQuickly(self) -> None:
        """Look again at what takes no time: versions and what is installed."""
        self._known = self._quick()
        self._tell()

    def act(self, action: str) -> None:
        """Do what a row's button offers."""
        actions: dict[str, Callable[[], None]] = {
            "getExtension": self.installation.getExtension,
            "installTorch": self.installation.installTorch,
            "installPackages": self.installation.installPackages,
            "restart": slicer.util.restart,
        }
        actions[action]()

    def shutDown(self) -> None:
        """Want no more answers."""
        if self._request is not None:
            self._request.cancel()
        if self._thread is not None:
            self._thread.cancel()
        self._request = self._thread = None

    # ------------------------------------------------------------------------------------ the facts

    def _quick(self) -> dict[str, Any]:
        torch = requirements.installedTorch() if _hasPackaging() else None
        if torch is not None and torch.whole:
            self.installation.noLongerPending()
        return {
            "slicer": _version(),
            "slicerText": slicer.app.applicationVersion,
            "python": platform.python_version(),
            "system": sys.platform,
            "cannotHaveTorch": self.installation.cannotHaveTorch(),
            "torch": torch,
            "missing": tuple(requirements.missingPackages()) if _hasPackaging() else (),
            "extension": _extension(),
            "wheelFolder": self.installation.wheelFolder,
            "pending": self.installation.isPending,
            "restartFor": tuple(self.installation.restartFor),
            "hasDriver": shutil.which("nvidia-smi") is not None,
            "oddFolder": _oddFolder(),
        }

    def _workerCanRun(self) -> bool:
        torch = self._known["torch"]
        return torch is not None and torch.whole and not self._known["missing"]

    def _lookAtDisk(self) -> None:
        models = self._models.folder if self._models is not None else Path.home()
        folders = {"temp": temporaryFolder(), "models": models}
        if self._known["torch"] is None:
            # pip knows nothing of Slicer's own temporary folder, and unpacks torch in the system's.
            folders |= {"temp": Path(tempfile.gettempdir()), "python": Path(sysconfig.get_paths()["purelib"])}
        self._thread = runInThread(
            lambda: {"free": _free(folders), "weights": _fault(STARTER)}, self._seen, self._unseen
        )

    def _seen(self, found: dict[str, Any]) -> None:
        self._thread = None
        self._slow.update(found)
        self._tell()

    def _unseen(self, error: Exception) -> None:
        self._seen({"weights": str(error)})

    def _probe(self) -> None:
        self._request = self._prober.ask(
            "probe", {}, onResult=self._probed, onError=self._notProbed, onCancelled=self._gaveUp
        )

    def _probed(self, answer: dict[str, Any]) -> None:
        self._request = None
        self._slow.update(probe=answer, probeFault="")
        self._tell()

    def _notProbed(self, error: Exception) -> None:
        self._request = None
        self._slow.update(probe=None, probeFault=str(error))
        self._tell()

    def _gaveUp(self) -> None:
        self._request = None

    # ----------------------------------------------------------------------------- after installing

    def _installed(self) -> None:
        """Workers that were started before do not know of what is new."""
        for worker in (self._prober, *self._workers):
            if not worker.isBusy():
                worker.end()
        self._slow.pop("probe", None)
        self._slow.pop("probeFault", None)
        self.check()

    def _tell(self) -> None:
        self._listeners.tell("environment")


def _version() -> tuple[int, int]:
    return slicer.app.majorVersion, slicer.app.minorVersion


def _hasPackaging() -> bool:
    """Earlier ones have no ``slicer.packaging``; their row says that they are too old."""
    return _version() >= OLDEST_SLICER


def _extension() -> str:
    if requirements.hasTorchExtension():
        return "loaded"
    return "restart" if extensionAwaitsRestart() else "absent"


def _oddFolder() -> Path | None:
    """Windows alone loses such letters on the way to a child process."""
    if sys.platform != "win32":
        return None
    folders = (Path(sys.executable), Path(tempfile.gettempdir()), Path.home())
    return next((folder for folder in folders if not str(folder).isascii()), None)


def _free(folders: dict[str, Path]) -> dict[str, int]:
    found = {}
    for name, folder in folders.items():
        with contextlib.suppress(OSError):  # a drive or a share may be gone
            existing = next((place for place in (folder, *folder.parents) if place.exists()), None)
            if existing is not None:  # on Windows the whole drive may be gone
                found[name] = shutil.disk_usage(existing).free
    return found


def _fault(model: Path) -> str:
    """Return what is wrong with a model's files, or an empty text."""
    try:
        model_store.read_files(model)
    except ModelError as error:
        return str(error)
    return ""
