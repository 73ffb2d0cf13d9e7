"""A corrected label goes into the cases folder: checked, as a new revision, and never lost on the way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from crgloco.channels import in_other_order, order_by_name
from crgloco.errors import CasesError, InputError, LabelError
from crgloco.io.volume import Volume
from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.background.arrays import saveArray
from CRGLoCoSegmentLib.background.threads import runInThread
from CRGLoCoSegmentLib.logic.case_loading import taskFolder
from CRGLoCoSegmentLib.logic.label_rescue import keepOrFail
from CRGLoCoSegmentLib.logic.task import Task
from CRGLoCoSegmentLib.nodes.changes import labelChanges
from CRGLoCoSegmentLib.nodes.corrections import answerBehind, beganWith
from CRGLoCoSegmentLib.nodes.export import comparableLabels, labelsOf, voxelMl
from CRGLoCoSegmentLib.nodes.label_tables import tableOf
from CRGLoCoSegmentLib.nodes.places import (
    VOXELS,
    isTurnedInPlace,
    liesElsewhere,
    markedPlace,
    showsOthers,
    wasMoved,
)
from CRGLoCoSegmentLib.nodes.results import isEdited, resultOf
from CRGLoCoSegmentLib.nodes.snapshots import Snapshot, areApart, isLost, snapshotOf
from CRGLoCoSegmentLib.nodes.volumes import refuseMovedApart, volumeFromNode


@dataclass(frozen=True)
class Accepted:
    """What was written.

    Attributes:
        case: Name of the case.
        path: The label file.
        revision: 1 for the first label of the case.
        created: Whether the case is new in the folder.
        notes: What the user should know, for example that voxels were resampled.
    """

    case: str
    path: Path
    revision: int
    created: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Label:
    """A label as it leaves the scene: from here on the scene may close, and nothing is lost.

    Attributes:
        case: Name of the case.
        table: Of the cases folder.
        now: The segmentation.
        before: The model's answer that it started from, if there is one.
        labels: Label table of that answer.
        model: Hash of the model that gave it.
        annotator: A role, or empty.
        images: The channels of a case that the folder does not have yet.
    """

    case: str
    table: LabelTable
    now: Snapshot
    before: Snapshot | None = None
    labels: LabelTable | None = None
    model: str | None = None
    annotator: str = ""
    images: tuple[Volume, ...] = ()

    def provenance(self) -> dict[str, Any]:
        """Return model, extent of the edits and role; any thread."""
        fields = {"model": self.model, "edits_voxels": None, "edits_ml": None, "annotator": self.annotator}
        if self.labels is None:
            return fields
        # A model that looked for every structure was corrected to a label that shows them all.
        # What another did not look for is unknown in a first label, whatever is drawn in it.
        looked = [name for name in self.table.names[1:] if name in self.labels.names]
        shown = len(looked) == len(self.table.names) - 1
        structures = {"structures" if shown else "looked_for": looked}
        if self.before is None:
            return {**fields, **structures}
        now, before = (comparableLabels(snapshot, self.labels) for snapshot in (self.now, self.before))
        changed = labelChanges(now, {"": before}, self.labels, voxelMl=voxelMl(self.now))
        return {**fields, "edits_voxels": changed.voxels, "edits_ml": round(changed.ml, 6), **structures}


def labelOf(
    segmentationNode: Any, volumeNode: Any, case: str, table: LabelTable, *, annotator: str = ""
) -> Label:
    """Copy a segmentation and the model's answer behind it out of the scene; main thread, a few ms.

    Raises:
        InputError: There are no segments, or no voxels but only surfaces.
        GeometryError: It was made on the grid of another volume, or stands under another transform.
        LabelError: Its own label table contradicts that of the folder.
    """
    refuseConflict(segmentationNode, table)
    now = snapshotOf(segmentationNode, volumeNode)
    answer = answerBehind(segmentationNode, volumeNode)
    if answer is None:
        began = beganWith(segmentationNode)
        looked = tableOf(segmentationNode) if began else None
        return Label(case, table, now, None, looked, began.get("model") or None, annotator)
    model = str(answer.record.get("model") or "") or None
    # What the model had said is lost once its answer itself was painted into, or its file is missing.
    isKnown = not isEdited(answer.fused) and not isLost(answer.fused)
    before = snapshotOf(answer.fused, volumeNode, copy=False) if isKnown else None
    return Label(case, table, now, before, answer.table, model, annotator)


def refuseMoved(segmentationNode: Any, volumeNode: Any, *, isNew: bool) -> None:
    """Refuse a label that does not lie in its volume any more as it did when it was made.

    A label of a case that no answer is behind is compared with the file of its image when it is written.

    Args:
        segmentationNode: The label.
        volumeNode: What it was made on.
        isNew: Whether the volume is written too: its voxels then count as well.

    Raises:
        InputError: The volume was moved, or shows other voxels: another frame of a sequence, say.
        GeometryError: The way between both bends.
    """
    _refuseApart(segmentationNode, volumeNode)
    answer = answerBehind(segmentationNode, volumeNode)
    known = answer.record if answer is not None else beganWith(segmentationNode)
    stored = {} if isNew else markedPlace(volumeNode)
    moved = wasMoved(volumeNode, known) or isTurnedInPlace(volumeNode, stored)
    if not moved and not (isNew and showsOthers(volumeNode, known)):
        return
    if isNew and _presentAnswerFits(volumeNode):
        msg = _(
            "{segmentation} began with an earlier answer; {volume} was moved or shows other voxels since. "
            "Its present answer fits: choose New copy in the section Correct, and correct that. "
            "The label can be exported as it lies now."
        )
    elif moved:
        msg = _(
            "{volume} was moved after it was segmented or loaded: its origin, voxel size or axes are others, "
            "and the label would be stored at a wrong place. Undo that, or load or segment it again. "
            "The label can be exported as it lies now."
        )
    else:
        msg = _(
            "{volume} shows other voxels than those that were segmented: another frame of a sequence, or a "
            "filter has changed it. Go back to that frame, or segment it again. The label can be exported."
        )
    raise InputError(msg.format(volume=volumeNode.GetName(), segmentation=segmentationNode.GetName()))


def _presentAnswerFits(volumeNode: Any) -> bool:
    """Whether a volume has an answer that was made on it as it is now."""
    present = resultOf(volumeNode)
    if present is None or VOXELS not in present.record:
        return False
    return not liesElsewhere(volumeNode, present.record) and not showsOthers(volumeNode, present.record)


def _refuseApart(segmentationNode: Any, volumeNode: Any) -> None:
    """Refuse a label and a volume that a transform has moved apart: it lies on other anatomy."""
    if not areApart(segmentationNode, volumeNode):
        return
    msg = _(
        "{segmentation} and {volume} stand under different transforms, and the label would be stored at a "
        "wrong place. Put both under the same transform in the module Data, or both under none. "
        "The label can be exported as it lies now."
    )
    raise InputError(msg.format(segmentation=segmentationNode.GetName(), volume=volumeNode.GetName()))


def transformNotes(volumeNode: Any) -> list[str]:
    """Say that a transform is left out: image and label belong together voxel by voxel without it."""
    if volumeNode.GetParentTransformNode() is None:
        return []
    text = _("{volume} has a transform: the case has image and label as acquired, without it.")
    return [text.format(volume=volumeNode.GetName())]


def refuseConflict(segmentationNode: Any, table: LabelTable) -> None:
    """Refuse a segmentation whose own label table contradicts that of the folder.

    Raises:
        LabelError: Saying where they differ.
    """
    own = tableOf(segmentationNode)
    difference = conflict(own, table) if own is not None else ""
    if difference:
        msg = _(
            "The labels of {segmentation} contradict those of the cases folder: {difference}. "
            "Use a model with the labels of this folder, or make a new cases folder for these labels."
        )
        raise LabelError(msg.format(segmentation=segmentationNode.GetName(), difference=difference))


def conflict(labels: LabelTable, folder: LabelTable) -> str:
    """Return in words where two label tables mean different things by one value or name; else nothing."""
    for own, their in labels.contradictions(folder):
        if own.value == their.value:
            text = _("the value {value} is {ours} in the segmentation and {theirs} in the folder")
            return text.format(value=own.value, ours=own.name, theirs=their.name)
        text = _("{name} has the value {ours} in the segmentation and {theirs} in the folder")
        return text.format(name=own.name, ours=own.value, theirs=their.value)
    return ""


def imagesOf(
    volumeNodes: Sequence[Any], channelNames: Sequence[str], given: Sequence[str] = ()
) -> tuple[Volume, ...]:
    """Return the channels of a new case, in the folder's order.

    Args:
        volumeNodes: One per channel.
        channelNames: Of the folder.
        given: Which channel each volume is; where that is not known, they are in the folder's order.

    Raises:
        InputError: The folder has other channels, or another number of them, or a volume cannot be used, or
            transforms move the volumes against each other.
    """
    if len(volumeNodes) != len(channelNames):
        msg = _(
            "The cases of this folder have {wanted} channels ({names}); {given} given. "
            "Choose a volume for each channel."
        )
        names, count = ", ".join(channelNames), len(volumeNodes)
        raise InputError(msg.format(wanted=len(channelNames), names=names, given=count))
    volumes = [volumeFromNode(node) for node in volumeNodes]
    refuseMovedApart(volumeNodes)
    return tuple(volumes[place] for place in _folderOrder(channelNames, given))


def _folderOrder(channelNames: Sequence[str], given: Sequence[str]) -> tuple[int, ...]:
    """Return where each channel of the folder is among volumes that were chosen as others."""
    asTheyAre = tuple(range(len(channelNames)))
    isKnown = len(given) == len(channelNames) and all(given)
    order = order_by_name(channelNames, given) if isKnown else asTheyAre
    if order is None or (not isKnown and in_other_order(channelNames, given)):
        msg = _(
            "The cases of this folder have the channels {wanted}; the volumes were chosen as {found}. Choose "
            "a model with the channels of the folder and a volume for each, or another cases folder."
        )
        found = ", ".join(name or _("unknown") for name in given)
        raise InputError(msg.format(wanted=", ".join(channelNames), found=found))
    return order


def writeLabel(files: Any, folder: Path, label: Label, task: Task, isSafe: Callable[[], bool]) -> None:
    """Write a label into a cases folder; the task's value is ``Accepted``.

    Args:
        files: Worker for files.
        folder: The cases folder.
        label: What to write.
        task: Ends with it.
        isSafe: Whether the label is also somewhere else, in the scene as a rule; if not, and it cannot be
            written, it is kept in a file of its own.
    """
    out = taskFolder("accept", task)

    def prepared(fields: dict[str, Any]) -> None:
        if not task.isRunning():
            return
        task.progress(_("Writing the label of {case}").format(case=label.case), 1, 2)
        request = files.ask(
            "accept",
            {"folder": str(folder), "case": label.case, **fields},
            onResult=accepted,
            onError=failed,
            onCancelled=lambda: failed(CasesError(_("The writing was broken off."))),
        )
        task.onCancel(request.cancel)

    def accepted(answer: dict[str, Any]) -> None:
        revision, created = int(answer["revision"]), bool(answer.get("created"))
        task.finish(Accepted(answer["case"], Path(answer["label"]), revision, created, tuple(task.notes)))

    def failed(error: Any) -> None:
        if not task.isRunning():
            return
        if isSafe():
            task.fail(notAccepted(label.case, error), getattr(error, "details", ""))
            return
        keepOrFail(task, label.now, label.case, error)

    task.progress(_("Checking the label of {case}").format(case=label.case), 0, 2)
    job = runInThread(lambda: _prepare(label, out, task.notes), prepared, failed)
    task.onCancel(job.cancel)


def notAccepted(case: str, error: Exception) -> CasesError:
    """Return what the user reads when a label could not be written."""
    msg = _(
        "The label of {case} was not accepted. {reason} Nothing is lost: the segmentation is still in the "
        "scene, as not accepted. Accept it again, or export it to another place."
    )
    return CasesError(msg.format(case=case, reason=error))


def _prepare(label: Label, out: Path, notes: list[str]) -> dict[str, Any]:
    """Check a label, write its arrays, and return the request's fields; any thread."""
    values = labelsOf(label.now, label.table, onNote=notes.append)
    fields: dict[str, Any] = {"label": _written(values, out / "label.npy"), "provenance": label.provenance()}
    if label.images:
        images = [_written(image, out / f"image_{number}.npy") for number, image in enumerate(label.images)]
        fields["images"] = images
    return fields


def _written(volume: Volume, path: Path) -> dict[str, Any]:
    saveArray(volume.array, path)
    return {"file": str(path), "geometry": volume.geometry.to_json()}
