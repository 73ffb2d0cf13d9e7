"""Labels to files: plain label volumes by the files worker, Slicer's own formats by Slicer."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from crgloco.errors import CRGLoCoError, InputError
from crgloco.io.volume import Volume
from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.background.arrays import saveArray
from CRGLoCoSegmentLib.background.session import removeLater, sessionFolder
from CRGLoCoSegmentLib.background.threads import runInThread
from CRGLoCoSegmentLib.logic.label_rescue import keepOrFail, keepUnlessArrived
from CRGLoCoSegmentLib.logic.task import OnFailed, OnFinished, Task
from CRGLoCoSegmentLib.nodes.cases import isInScene
from CRGLoCoSegmentLib.nodes.corrections import answerBehind, beganWith
from CRGLoCoSegmentLib.nodes.export import labelsOf
from CRGLoCoSegmentLib.nodes.label_tables import tableOf
from CRGLoCoSegmentLib.nodes.results import resultOf
from CRGLoCoSegmentLib.nodes.slicer_files import writeDicomSeg, writeSegNrrd
from CRGLoCoSegmentLib.nodes.snapshots import Snapshot, areApart, snapshotOf
from CRGLoCoSegmentLib.nodes.volumes import filesOf

if TYPE_CHECKING:
    from CRGLoCoSegmentLib.background.worker import Worker
    from CRGLoCoSegmentLib.settings import Settings

ARRIVAL_S = 1.0  # that a label on its way is waited for when Slicer closes
SEG_NRRD, DICOM = ".seg.nrrd", ".dcm"
PLAIN = (".nii.gz", ".nii", ".nrrd", ".mha")


class LabelExport:
    """Writes segmentations of the scene to files outside of the cases folder.

    Args:
        files: Worker that writes plain label volumes.
        settings: Where word is left of a label that was on its way when Slicer closed.
    """

    def __init__(self, *, files: "Worker", settings: "Settings") -> None:
        self._files, self._settings = files, settings
        self._onTheirWay: dict[Task, tuple[Snapshot, str]] = {}  # what is written without its node
        self._ofNodes: list[Task] = []
        self._isClosing = False

    def write(
        self,
        segmentationNode: Any,
        volumeNode: Any,
        path: Path,
        *,
        table: LabelTable | None = None,
        onFinished: OnFinished | None = None,
        onFailed: OnFailed | None = None,
    ) -> Task:
        """Write a label; the ending says how. The task's value is the path, its notes say what was mended.

        A plain label volume is written to its end though the scene is closed meanwhile; if that fails, the
        label is kept in a file of its own, and the message says where.

        Args:
            segmentationNode: What to write.
            volumeNode: The image it belongs to; the label lies on its grid, with the axes of its file.
            path: ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha``: label values by the table; ``.seg.nrrd``:
                segments as they are; ``.dcm``: DICOM SEG.
            table: Which value each label gets; the one that the segmentation was made with if none is given.
            onFinished: Hears the path.
            onFailed: Hears a message in words and details.

        Raises:
            InputError: The ending is unknown, no label table fits, the file is the volume's own, or would lie
                elsewhere than that.
            GeometryError: The segmentation does not belong to the volume.
        """
        if segmentationNode is None or volumeNode is None:
            raise InputError(_("An export needs a segmentation and the volume that it belongs to."))
        path = path.absolute()  # the worker is in a folder of its own
        _refuseOwnFile(volumeNode, path)
        table = table or _tableFor(segmentationNode, volumeNode)
        ending = _ending(path)
        if ending in (SEG_NRRD, DICOM):
            _refuseApart(segmentationNode, volumeNode, ending)
        task = Task(path.name, onFinished=onFinished, onFailed=onFailed)
        if ending == SEG_NRRD:
            _end(task, path, lambda: writeSegNrrd(segmentationNode, path))
            return task
        snapshot = snapshotOf(segmentationNode, volumeNode)
        self._register(task, snapshot, path, needsNode=ending == DICOM)
        files, title = filesOf(volumeNode), _titleBehind(segmentationNode, volumeNode)
        scan = files[0] if len(files) == 1 else None

        def failed(error: Exception) -> None:
            if task not in self._onTheirWay or self._isClosing or isInScene(segmentationNode):
                task.fail(error)
            else:
                keepOrFail(task, snapshot, _plainName(path), error)

        def write(labels: Volume) -> None:
            if ending == DICOM:
                drawn = [segment.id for segment in snapshot.segments if snapshot.voxelsOf(segment)]
                _end(task, path, lambda: writeDicomSeg(segmentationNode, drawn, path, title))
            else:
                self._writePlain(task, labels, table, path, scan, failed)

        job = runInThread(lambda: labelsOf(snapshot, table, onNote=task.notes.append), write, failed)
        task.onCancel(job.cancel)
        return task

    def sceneClosed(self) -> None:
        """End what needs the nodes; plain labels are written to their end."""
        for task in tuple(self._ofNodes):
            task.cancel()

    def shutDown(self) -> None:
        """End all work; a label on its way gets a moment to arrive, else it is kept in a file."""
        self._isClosing = True
        self.sceneClosed()
        keepUnlessArrived(self._onTheirWay, self._settings, ARRIVAL_S)
        for task in tuple(self._onTheirWay):
            task.cancel()

    def _register(self, task: Task, snapshot: Snapshot, path: Path, *, needsNode: bool) -> None:
        if needsNode:
            self._ofNodes.append(task)
            task.onEnd(lambda: self._ofNodes.remove(task))
        else:
            self._onTheirWay[task] = (snapshot, _plainName(path))
            task.onEnd(lambda: self._onTheirWay.pop(task))

    def _writePlain(
        self,
        task: Task,
        labels: Volume,
        table: LabelTable,
        path: Path,
        scan: Path | None,
        failed: Callable[[Exception], None],
    ) -> None:
        folder = sessionFolder() / f"label-{uuid.uuid4().hex[:12]}"
        file = folder / "label.npy"
        task.onEnd(lambda: removeLater(folder))

        def ask(_file: Path) -> None:
            if not task.isRunning():
                removeLater(folder)
                return
            label = {"file": str(file), "geometry": labels.geometry.to_json()}
            self._files.ask(
                "write_label",
                {
                    "label": label,
                    "table": table.to_json(),
                    "path": str(path),
                    "scan": str(scan) if scan is not None else None,
                },
                onResult=lambda answer: task.finish(Path(answer["path"])),
                onError=failed,
                onCancelled=task.cancel,
            )

        runInThread(lambda: saveArray(labels.array, file), ask, failed)


def _end(task: Task, path: Path, write: Any) -> None:
    try:
        write()
    except CRGLoCoError as error:
        task.fail(error)
    else:
        task.finish(path)


def _refuseOwnFile(volumeNode: Any, path: Path) -> None:
    if any(_isSame(path, file) for file in filesOf(volumeNode)):
        msg = _("{path} is the file of the image {volume} itself. Give the label another name.")
        raise InputError(msg.format(path=path, volume=volumeNode.GetName()))


def _isSame(path: Path, file: Path) -> bool:
    try:
        return path.samefile(file)
    except OSError:  # one of them is not there
        return False


def _plainName(path: Path) -> str:
    return path.name.partition(".")[0] or path.name


def _ending(path: Path) -> str:
    name = path.name.lower()
    known = (SEG_NRRD, DICOM, *PLAIN)
    ending = next((ending for ending in known if name.endswith(ending)), None)
    if ending is None:
        msg = _("{name} has no ending that labels are written with. Choose one of {endings}.")
        raise InputError(msg.format(name=path.name, endings=", ".join(known)))
    return ending


def _tableFor(segmentationNode: Any, volumeNode: Any) -> LabelTable:
    table = tableOf(segmentationNode)
    if table is not None:
        return table
    result = resultOf(volumeNode)
    if result is not None:
        return result.table
    msg = _(
        "{name} was not made by this module: it is unknown which value each segment should get. Segment its "
        "volume with a model of these labels first, or export it in the module Segmentations."
    )
    raise InputError(msg.format(name=segmentationNode.GetName()))


def _refuseApart(segmentationNode: Any, volumeNode: Any, ending: str) -> None:
    """Refuse a file that would not lie on that of the volume: Slicer writes neither with its transform."""
    if not areApart(segmentationNode, volumeNode):
        return
    msg = _(
        "{segmentation} and {volume} stand under different transforms, which {ending} leaves out: the label "
        "would lie at a wrong place. Put both under the same transform in the module Data, or export .nii.gz."
    )
    names = {"segmentation": segmentationNode.GetName(), "volume": volumeNode.GetName()}
    raise InputError(msg.format(**names, ending=ending))


def _titleBehind(segmentationNode: Any, volumeNode: Any) -> str:
    """Return the name of the model whose answer a segmentation began with; empty if there was none."""
    answer = answerBehind(segmentationNode, volumeNode)
    return str((answer.record if answer is not None else beganWith(segmentationNode)).get("title", ""))
