"""A case comes into the scene, and the one before goes, unless something on it was not accepted yet."""

import itertools
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from crgloco.atomic import saving
from crgloco.errors import ResourceError
from CRGLoCoSegmentLib.background.arrays import loadArray
from CRGLoCoSegmentLib.background.session import removeLater, sessionFolder
from CRGLoCoSegmentLib.background.threads import runInThread
from CRGLoCoSegmentLib.logic.batch import predictionsOf
from CRGLoCoSegmentLib.logic.task import Task
from CRGLoCoSegmentLib.nodes import cases as nodes
from CRGLoCoSegmentLib.nodes.corrections import copiesOf, isTouched
from CRGLoCoSegmentLib.nodes.results import Result, isEdited, resultNodesOf, resultOf

_numbers = itertools.count(1)


@dataclass(frozen=True)
class LoadedCase:
    """A case in the scene.

    Attributes:
        name: Of the case.
        folder: The cases folder.
        volume: Node of its first channel.
        channels: Nodes of the further channels.
        result: The model's answer, if there is one.
        corrected: The label that the folder holds, if there is one.
        revision: Of that label; 0 without one.
        notes: What the user should know, for example that the prediction is of another image.
    """

    name: str
    folder: Path
    volume: Any
    channels: tuple[Any, ...] = ()
    result: Result | None = None
    corrected: Any = None
    revision: int = 0
    notes: tuple[str, ...] = ()


class CaseInScene:
    """The case that was loaded last, and what is not accepted yet on it.

    Args:
        files: Worker for files.
    """

    def __init__(self, *, files: Any) -> None:
        self._files = files
        self._loaded: LoadedCase | None = None
        self._task: Task | None = None
        self._accepted: dict[str, tuple[Any, ...]] = {}

    @property
    def loaded(self) -> LoadedCase | None:
        """The case, as long as its volume is in the scene."""
        return self._loaded if self._loaded is not None and nodes.isInScene(self._loaded.volume) else None

    @property
    def isLoading(self) -> bool:
        """Whether a case is on its way."""
        return self._task is not None and self._task.isRunning()

    def load(
        self,
        folder: Path,
        name: str,
        task: Task,
        *,
        discardUnsaved: bool = False,
        onArriving: Callable[[Any], None] | None = None,
        onEnd: Callable[[], None] | None = None,
    ) -> None:
        """Bring a case in; the former one goes, but for what was not accepted.

        A case that stayed in the scene because of that is taken up again as it is.

        Args:
            folder: The cases folder.
            name: Of the case.
            task: Ends with the ``LoadedCase``; nothing is left of a task that is cancelled or fails.
            discardUnsaved: Take the former case away even if its correction was not accepted.
            onArriving: Hears the new case's volume before the former one goes.
            onEnd: Told at every end, when ``loaded`` is the new case.
        """
        self.cancel()
        self._task = task
        task.onEnd(lambda: self._ended(task, onArriving, discardUnsaved=discardUnsaved))
        if onEnd is not None:
            task.onEnd(onEnd)
        kept = self._keptVolume(folder, name)
        former = self.loaded
        if discardUnsaved and former is not None and kept is former.volume:
            kept = None
        if kept is not None:
            task.finish(_keptCase(name, folder, kept))
        else:
            openCase(self._files, folder, name, task)

    def hasUnsavedCorrection(self, volumeNode: Any = None) -> bool:
        """Whether a volume, by default that of the case, has a correction that was not accepted.

        A corrected copy that is still the prediction itself is none, unless the folder has another label of
        it; earlier copies count too, and answers that were painted into.
        """
        volume = volumeNode if volumeNode is not None else self._loaded and self._loaded.volume
        if not nodes.isInScene(volume):
            return False
        return any(
            isEdited(answer) and not self.isAccepted(answer) for answer in resultNodesOf(volume)
        ) or any(
            not self.isAccepted(copy) and (copy.GetID() in self._accepted or isTouched(copy))
            for copy in copiesOf(volume)
        )

    def edits(self) -> tuple[Any, ...]:
        """Return what changes when anything of the loaded case is edited, made or deleted."""
        if self.loaded is None:
            return ()
        volume = self.loaded.volume
        found = (*copiesOf(volume), *resultNodesOf(volume))
        return tuple(nodes.editStamp(node) for node in found if node.IsA("vtkMRMLSegmentationNode"))

    def isAccepted(self, segmentationNode: Any) -> bool:
        """Whether the folder has a segmentation as it is now."""
        known = self._accepted.get(segmentationNode.GetID()) if nodes.isInScene(segmentationNode) else None
        return known is not None and known == nodes.editStamp(segmentationNode)

    def accepted(self, segmentationNode: Any, stamp: tuple[Any, ...]) -> None:
        """Note that a segmentation was accepted as it was at a moment; later edits are new again."""
        if nodes.isInScene(segmentationNode):
            self._accepted[segmentationNode.GetID()] = stamp

    def cancel(self) -> None:
        """Give up the case that is on its way."""
        if self._task is not None:
            self._task.cancel()

    def sceneClosed(self) -> None:
        """Forget everything: the nodes are gone, and their identifiers mean others now."""
        self.cancel()
        self._loaded = None
        self._accepted.clear()

    def _keptVolume(self, folder: Path, name: str) -> Any:
        """Return the volume of a case that is in the scene with a correction that was not accepted."""
        volumes = nodes.volumesOfCase(name, folder)
        return next((volume for volume in volumes if self.hasUnsavedCorrection(volume)), None)

    def _ended(self, task: Task, onArriving: Callable[[Any], None] | None, *, discardUnsaved: bool) -> None:
        if task.state != "done":
            return
        former, self._loaded = self.loaded, task.value
        now, label = self._loaded.volume, self._loaded.corrected
        if label is not None:
            self.accepted(label, nodes.editStamp(label))
        nodes.showVolume(now)
        if onArriving is not None:
            onArriving(now)
        if former is None or former.volume is now:
            return
        if discardUnsaved or not self.hasUnsavedCorrection(former.volume):
            nodes.removeNodes(nodes.nodesOf(former.volume))


def openCase(files: Any, folder: Path, name: str, task: Task) -> None:
    """Read a case in the worker and make its nodes; the task's value is a ``LoadedCase``."""
    out = taskFolder("open", task)
    predictions = predictionsOf(folder)

    def opened(answer: dict[str, Any]) -> None:
        if not task.isRunning():  # it was cancelled, and the worker has written nevertheless
            removeLater(out)
            return
        task.progress(_("Opening {case}").format(case=name), 1, 2)
        paths = {kind: out / file for kind, file in answer["arrays"].items()}
        reading = runInThread(lambda: _read(paths), lambda found: arrived(answer, found), failed)
        task.onCancel(reading.cancel)

    def arrived(answer: dict[str, Any], found: nodes.CaseArrays) -> None:
        if not task.isRunning():
            return
        try:
            made = nodes.makeCaseNodes(name, folder, answer, found)
        except Exception as error:  # noqa: BLE001  (whatever it is, the task has to end with it)
            task.fail(error, traceback.format_exc())
            return
        task.finish(_loadedCase(name, folder, made, answer))

    def failed(error: Any) -> None:
        task.fail(error)
        removeLater(out)

    def cancelled() -> None:
        task.cancel()
        removeLater(out)

    task.progress(_("Opening {case}").format(case=name), 0, 2)
    fields = {
        "folder": str(folder),
        "case": name,
        "out": str(out),
        "predictions": str(predictions) if predictions.is_dir() else None,
    }
    request = files.ask("open", fields, onResult=opened, onError=failed, onCancelled=cancelled)
    task.onCancel(request.cancel)


def _read(paths: dict[str, Path]) -> nodes.CaseArrays:
    return nodes.lookedAt({kind: loadArray(path) for kind, path in paths.items()})


def _keptCase(name: str, folder: Path, volume: Any) -> LoadedCase:
    channels = tuple(nodes.channelsOf(volume))
    note = _("Its correction that was not accepted yet is still in the scene.")
    return LoadedCase(name, folder, volume, channels, resultOf(volume), notes=(note,))


def _loadedCase(name: str, folder: Path, made: nodes.CaseNodes, answer: dict[str, Any]) -> LoadedCase:
    first, *others = made.volumes
    revision, notes = int(answer.get("revision") or 0), tuple(answer.get("notes") or ())
    return LoadedCase(name, folder, first, tuple(others), made.result, made.corrected, revision, notes)


def taskFolder(purpose: str, task: Task) -> Path:
    """Return a folder for a task; it goes at the task's end, in a thread, because that may take a while.

    Raises:
        ResourceError: The disk is full, or the temporary folder cannot be written; the task has failed.
    """
    folder = sessionFolder() / f"{purpose}-{next(_numbers)}"
    try:
        with saving(folder):
            folder.parent.mkdir(mode=0o700, exist_ok=True)  # a cleaner of temporary files may have taken it
            folder.mkdir()
    except ResourceError as error:
        task.fail(error)
        raise
    task.onEnd(lambda: removeLater(folder))
    return folder
