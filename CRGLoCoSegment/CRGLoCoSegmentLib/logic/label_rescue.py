"""Where a label goes that could be written nowhere else, its scene being closed: to a file that stays."""

import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

from slicer.i18n import tr as _

from crgloco.errors import ResourceError
from CRGLoCoSegmentLib.nodes.snapshot_files import ENDING, writeSnapshot
from CRGLoCoSegmentLib.nodes.snapshots import Snapshot


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
            return writeSnapshot(snapshot, _free(folder, f"{case} {moment}"))
        except ResourceError as error:
            faults.append(str(error))
    raise ResourceError(" ".join(faults))


def keptText(case: str, path: Path) -> str:
    """Say where a label is that could not be accepted."""
    text = _(
        "The label of {case} could not be written into its cases folder, and its scene is closed. It is not "
        "lost: it is kept as {path}. Load that file beside the case, and accept it again."
    )
    return text.format(case=case, path=path)


class Keeping:
    """Keeps a label in a thread while its way into the cases folder is still open.

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

    def path(self, until: float) -> Path | None:
        """Return the file, waiting until ``time.monotonic()`` reaches a moment; ``None`` if there is none."""
        self._thread.join(max(0.0, until - time.monotonic()))
        return self._path

    def drop(self, until: float) -> None:
        """The label has arrived: remove the file."""
        path = self.path(until)
        if path is not None:
            path.unlink(missing_ok=True)

    def _keep(self) -> None:
        try:
            self._path = keepLabel(self._snapshot, self.case)
        except ResourceError:
            self._path = None


def _free(folder: Path, name: str) -> Path:
    path, number = folder / f"{name}{ENDING}", 1
    while path.exists():
        number += 1
        path = folder / f"{name} ({number}){ENDING}"
    return path
