"""One volume on its way through the worker: write, ask, read, import; the scene is touched at the end."""

import traceback
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from crgloco.errors import CRGLoCoError, InputError, ResourceError
from crgloco.io.volume import Volume
from CRGLoCoSegmentLib.background.arrays import loadArray, saveArray
from CRGLoCoSegmentLib.background.session import removeLater, sessionFolder
from CRGLoCoSegmentLib.background.threads import runInThread
from CRGLoCoSegmentLib.logic.task import Task, TimeLeft
from CRGLoCoSegmentLib.nodes.corrections import letGoIfUntouched
from CRGLoCoSegmentLib.nodes.results import importResult, resultOf
from CRGLoCoSegmentLib.nodes.volumes import fingerprint, isUnchanged
from CRGLoCoSegmentLib.views.answers import hideAnswers

if TYPE_CHECKING:
    from CRGLoCoSegmentLib.background.worker import Worker


# Where each stage of the engine begins and ends on the bar, by quality; times on a CPU and on a GPU differ.
STAGES = {
    "loading the model": (0.02, 0.10),
    "preparation": (0.10, 0.15),
    "global view": (0.15, 0.30),
    "local windows": (0.30, 0.97),
    "import": (0.97, 1.0),
}
GLOBAL_ONLY = {"global view": (0.15, 0.97)}
FAST = "fast"


def stageName(stage: str) -> str:
    """Return the engine's word for a stage in the user's language."""
    names = {
        "waiting": _("Waiting for the running computation"),
        "loading the model": _("Loading the model"),
        "preparation": _("Preparing the volume"),
        "global view": _("Global view"),
        "local windows": _("Local windows"),
        "import": _("Importing the result"),
    }
    return names.get(stage, stage)


class SegmentRun:
    """One request; at most one step runs at a time, each ends on the main thread.

    Args:
        task: What the caller holds.
        nodes: The volume and its further channels.
        scans: What they hold, views of the nodes' memory; given up once written.
        fields: Of the request, but for the arrays.
        compute: Worker that segments.
    """

    def __init__(
        self,
        task: Task,
        nodes: Sequence[Any],
        scans: Sequence[Volume],
        fields: dict[str, Any],
        compute: "Worker",
    ) -> None:
        self.task, self.volumeNode = task, nodes[0]
        self.folder: Path = sessionFolder() / f"segment-{uuid.uuid4().hex[:12]}"
        self._scans, self._fields, self._compute = list(scans), fields, compute
        self._marks = [fingerprint(node) for node in nodes]
        self._references: list[dict[str, Any]] = []
        self._stepRuns = False
        self._timeLeft = TimeLeft()
        task.onEnd(self._tidy)

    def start(self) -> None:
        """Begin with the first channel."""
        try:
            (self.folder / "out").mkdir(parents=True)
        except OSError as error:
            msg = _("{folder} cannot be made: {reason}. Free some space, or choose another temporary folder.")
            self.task.fail(ResourceError(msg.format(folder=self.folder, reason=error.strerror or error)))
            return
        self._writeNext()

    def _writeNext(self) -> None:
        scan = self._scans.pop(0)
        path = self.folder / f"channel_{len(self._references)}.npy"
        self._references.append({"file": str(path), "geometry": scan.geometry.to_json()})
        self._inThread(lambda: saveArray(scan.array, path), self._written)

    def _written(self, _path: Path) -> None:
        if self._scans:
            self._writeNext()
        elif self._stillHolds():
            self._ask()

    def _ask(self) -> None:
        if self._compute.isBusy():
            self._show("waiting")
        self._stepRuns = True
        request = self._compute.ask(
            "segment",
            {**self._fields, "arrays": self._references, "out": str(self.folder / "out")},
            onResult=self._next(self._answered),
            onError=self._next(self.task.fail),
            onProgress=self._progress,
            onCancelled=self._next(self.task.cancel),
        )
        self.task.onCancel(request.cancel)

    def _progress(self, event: dict[str, Any]) -> None:
        if event.get("event") == "message":
            self.task.notes.append(str(event["text"]))
        if event.get("event") == "progress":
            self._show(event["stage"], event["done"], event["total"])

    def _show(self, stage: str, done: float = 0, total: float = 0) -> None:
        """Turn the progress of a stage into that of the whole; only the last long stage tells time left."""
        fast = self._fields.get("quality") == FAST
        begin, end = (GLOBAL_ONLY if fast else {}).get(stage) or STAGES.get(stage, (0.0, 0.0))
        whole = begin + (end - begin) * (done / total if total else 0)
        isLast = stage == ("global view" if fast else "local windows")
        left = self._timeLeft.update(stage, done, total) if isLast else None
        self.task.progress(stageName(stage), whole, 1.0, secondsLeft=left, paced=False)

    def _answered(self, answer: dict[str, Any]) -> None:
        files = {kind: self.folder / "out" / name for kind, name in answer["arrays"].items()}
        self._show("import")
        self._inThread(
            lambda: {kind: loadArray(path) for kind, path in files.items()},
            lambda found: self._import(answer, found),
        )

    def _import(self, answer: dict[str, Any], found: dict[str, Any]) -> None:
        if not self._stillHolds():
            return
        former = resultOf(self.volumeNode)
        try:
            importResult(self.volumeNode, answer, found)
        except CRGLoCoError as error:
            self.task.fail(error)
            return
        if former is not None:
            hideAnswers(former)
        letGoIfUntouched(self.volumeNode)
        self.task.finish(resultOf(self.volumeNode))

    def _inThread(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self._stepRuns = True
        runInThread(work, self._next(then), self._next(self.task.fail))

    def _next(self, then: Callable[..., None]) -> Callable[..., None]:
        """Let the end of a step lead on only while the task runs; a fault of ours ends the task alone."""

        def ended(*values: Any) -> None:
            self._stepRuns = False
            if not self.task.isRunning():
                self._tidy()
                return
            try:
                then(*values)
            except Exception as error:  # noqa: BLE001  (shown with its traceback as the task's failure)
                self.task.fail(error, traceback.format_exc())

        return ended

    def _stillHolds(self) -> bool:
        """Whether the scene still holds what was read; if not, end with words."""
        changed = next((mark.node for mark in self._marks if not isUnchanged(mark)), None)
        if changed is None:
            return True
        if changed.GetScene() is None:
            msg = _("The volume {name} was removed meanwhile; its result was discarded.")
        else:
            msg = _("The volume {name} was changed meanwhile; its result was discarded. Segment it again.")
        self.task.fail(InputError(msg.format(name=changed.GetName())))
        return False

    def _tidy(self) -> None:
        """Remove the temporary files; not under a step that still uses them, whose end leads here again."""
        self._scans.clear()
        if not self._stepRuns:
            removeLater(self.folder)
