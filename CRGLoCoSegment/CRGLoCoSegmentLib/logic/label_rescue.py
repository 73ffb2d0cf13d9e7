"""Where a label goes that could be written nowhere else, its scene being closed: to a file that stays."""

import contextlib
import logging
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from crgloco.atomic import saving
from crgloco.errors import CasesError, ResourceError
from CRGLoCoSegmentLib.background.threads import runInThread
from CRGLoCoSegmentLib.background.ticker import waitUntil
from CRGLoCoSegmentLib.logic.task import Task
from CRGLoCoSegmentLib.nodes.snapshot_files import ENDING, writeSnapshot
from CRGLoCoSegmentLib.nodes.snapshots import Snapshot

log = logging.getLogger("CRGLoCoSegment")

KEPT = "keptLabel"  # the setting: what the user has to be told at the next start
_naming = threading.Lock()
_given: set[Path] = set()  # the paths that this process gave to labels; of some there is no file yet


def rescueFolders() -> tuple[Path, ...]:
    """Return where labels are kept, the best place first: where users find them, else where there is room."""
    return (
        Path.home() / "CRGLoCoSegment" / "labels not accepted",
        Path(tempfile.gettempdir()) / "CRGLoCoSegment labels not accepted",
    )


def keepLabel(snapshot: Snapshot, case: str) -> Path:
    """Write a label to a file of its own; any thread.

    Raises:
        ResourceError: Nowhere is room.
    """
    faults = []
    moment = datetime.now().strftime("%Y-%m-%d %H-%M-%S")  # noqa: DTZ005  (the clock that the user sees)
    for folder in rescueFolders():
        try:
            with saving(folder):  # a home on a network that is down cannot even be looked at
                path = _free(folder, f"{case} {moment}")
            return writeSnapshot(snapshot, path)
        except ResourceError as error:
            faults.append(str(error))
    raise ResourceError(" ".join(faults))


def keptText(case: str, path: Path) -> str:
    """Say where a label is that could not be accepted."""
    text = _(
        "The label of {case} could not be written where it should go, and its scene is closed. It is not "
        "lost: it is kept as {path}. Load that file beside the image. In the module Data, delete the "
        "segments of the image's corrected copy and drag those of the file into it; then accept or export it "
        "again."
    )
    return text.format(case=case, path=path)


def _lostText(case: str) -> str:
    text = _(
        "The label of {case} was still on its way when Slicer was closed. It was not written, and could not "
        "be kept in a file either: make it again."
    )
    return text.format(case=case)


def keepOrFail(task: Task, snapshot: Snapshot, case: str, error: Exception) -> None:
    """Let a task fail, after keeping its label in a file.

    Args:
        task: Ends with words that say where the label is.
        snapshot: The label.
        case: Name of its case, or of the file that it should have become.
        error: Why it could not be written.
    """
    details = getattr(error, "details", "")
    runInThread(
        lambda: keepLabel(snapshot, case),
        lambda path: task.fail(CasesError(f"{keptText(case, path)} {error}"), details),
        lambda fault: task.fail(CasesError(f"{error} {fault}"), details),
    )


def keepUnlessArrived(
    onTheirWay: Mapping[Task, tuple[Snapshot, str]], settings: Any, patience: float
) -> None:
    """Give labels on their way a moment to arrive while Slicer closes; the others are kept in files.

    Args:
        onTheirWay: What writes each label -> the label, and the name of its case.
        settings: Where word is left for the next start.
        patience: Seconds.
    """
    until = time.monotonic() + patience
    kept = [(task, _Keeping(*label)) for task, label in onTheirWay.items()]
    waitUntil(lambda: not any(task.isRunning() for task, _keeping in kept), timeout=patience)
    for task, keeping in kept:
        keeping.end(settings, until + 0.5, arrived=task.state == "done")


class _Keeping:
    """Keeps a label in a thread while its way to where it should go is still open.

    Args:
        snapshot: The label.
        case: Name of its case.
    """

    def __init__(self, snapshot: Snapshot, case: str) -> None:
        self.case = case
        self._path: Path | None = None
        self._snapshot = snapshot
        self._thread = threading.Thread(target=self._keep, name="CRGLoCoSegment", daemon=True)
        self._thread.start()

    def end(self, settings: Any, until: float, *, arrived: bool) -> None:
        """Remove the file of a label that has arrived; else leave word for the next start.

        Args:
            settings: Where the word is left.
            until: ``time.monotonic()`` of the last moment to wait for.
            arrived: Whether the label is where it should go.
        """
        self._thread.join(max(0.0, until - time.monotonic()))
        path = self._path
        if not arrived:
            text = keptText(self.case, path) if path is not None else _lostText(self.case)
            settings.set(KEPT, "\n".join(filter(None, [settings.get(KEPT, ""), text])))
            log.warning("%s", text)
        elif path is not None:
            with contextlib.suppress(OSError):  # on Windows somebody may look at it: the other labels count
                path.unlink(missing_ok=True)

    def _keep(self) -> None:
        with contextlib.suppress(ResourceError):
            self._path = keepLabel(self._snapshot, self.case)


def _free(folder: Path, name: str) -> Path:
    """Return a path that no other label has, nor one that is just being written in another thread."""
    path, number = folder / f"{name}{ENDING}", 1
    with _naming:
        while path in _given or path.exists():
            number += 1
            path = folder / f"{name} ({number}){ENDING}"
        _given.add(path)
    return path
