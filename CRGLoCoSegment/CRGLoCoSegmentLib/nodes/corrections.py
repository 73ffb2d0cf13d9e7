"""A copy of a result that may be edited: what it was made from is written on it, and saved with the scene."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from crgloco.errors import CRGLoCoError, OptionError
from CRGLoCoSegmentLib.nodes.attributes import mappingOf
from CRGLoCoSegmentLib.nodes.composition import FUSED, Composition
from CRGLoCoSegmentLib.nodes.images import Array
from CRGLoCoSegmentLib.nodes.ownership import OURS
from CRGLoCoSegmentLib.nodes.places import GRID, VOXELS
from CRGLoCoSegmentLib.nodes.results import (
    SEGMENTATIONS,
    Result,
    correctedOf,
    recordOf,
    resultOf,
    role,
    setCorrected,
    volumeOf,
)
from CRGLoCoSegmentLib.nodes.scene import nodesOfClass
from CRGLoCoSegmentLib.nodes.segmentations import newSegmentation
from CRGLoCoSegmentLib.nodes.snapshots import snapshotOf

STARTS = f"{OURS}starts"
LOST = f"{OURS}lost"
BEGAN = f"{OURS}began"  # what is to be known of the answer when it has been deleted
FROM_FOLDER = f"{OURS}fromFolder"  # the label of a cases folder as it was loaded


def checkedStarts(result: Result, starts: Mapping[str, str] | None) -> dict[str, str]:
    """Return for every label of a result the answer that it starts from.

    Raises:
        OptionError: A label or an answer that the result does not have.
    """
    given = dict(starts or {})
    names = [label.name for label in result.table.labels]
    if strange := set(given) - set(names):
        msg = _("The result has no label {strange}; it has {names}.")
        raise OptionError(msg.format(strange=", ".join(sorted(strange)), names=", ".join(names)))
    kinds = answersOf(result)
    for name, kind in given.items():
        if kind not in kinds:
            msg = _("{label!r} cannot start from {kind!r}: this result has {kinds} only.")
            raise OptionError(msg.format(label=name, kind=kind, kinds=", ".join(kinds)))
    return {name: given.get(name, FUSED) for name in names}


def answersOf(result: Result) -> tuple[str, ...]:
    """Return the kinds of answers that a result has and that labels can start from."""
    return tuple(kind for kind in SEGMENTATIONS if result.segmentation(kind) is not None)


def newCorrection(result: Result, composed: Composition, starts: Mapping[str, str]) -> Any:
    """Return a new segmentation node to be edited, and name it the result's corrected copy.

    A former copy stays in the scene under its own name.
    """
    volume = result.volume
    node = newSegmentation(composed.values, result.table, _freeName(volume), volume)
    node.SetAttribute(STARTS, json.dumps(dict(starts)))
    node.SetAttribute(LOST, json.dumps(dict(composed.lost)))
    known = {key: result.record[key] for key in ("model", "title", VOXELS, GRID) if key in result.record}
    node.SetAttribute(BEGAN, json.dumps(known))
    for kind in SEGMENTATIONS:
        answer = result.segmentation(kind)
        if answer is not None:
            node.SetNodeReferenceID(role(kind), answer.GetID())
    setCorrected(volume, node)
    return node


def startsOf(correctedNode: Any) -> dict[str, str]:
    """Return the answer that each label of a corrected copy started from; empty for other nodes."""
    return mappingOf(correctedNode, STARTS)


def lostOf(correctedNode: Any) -> dict[str, int]:
    """Return how many voxels each label lost to others when the copy was put together."""
    return mappingOf(correctedNode, LOST)


def originalsOf(correctedNode: Any) -> dict[str, Any]:
    """Return the answers that a copy was made from, by kind, as far as they are still there."""
    nodes = {kind: correctedNode.GetNodeReference(role(kind)) for kind in SEGMENTATIONS}
    return {kind: node for kind, node in nodes.items() if node is not None}


def answerBehind(segmentationNode: Any, volumeNode: Any) -> Result | None:
    """Return the result that a segmentation belongs to: for a copy the one it was made from, newest or not.

    ``None`` for a segmentation that is no part of a result, and for a copy whose answer was deleted: see
    ``beganWith``. Only ``fused``, ``record`` and ``table`` are those of an older result.
    """
    newest = resultOf(volumeNode)
    original = segmentationNode if recordOf(segmentationNode) else originalsOf(segmentationNode).get(FUSED)
    if newest is None or original is newest.fused:
        return newest
    return replace(newest, fused=original, record=recordOf(original)) if original is not None else None


def beganWith(correctedNode: Any) -> dict[str, Any]:
    """Return model, title, voxels and grid of the answer that a copy was made from; empty for others."""
    return mappingOf(correctedNode, BEGAN)


def copiesOf(volumeNode: Any) -> list[Any]:
    """Return all copies of answers, and labels of the folder, that may hold edits; the present one first."""
    present = correctedOf(volumeNode)
    copies = [
        node
        for node in nodesOfClass(volumeNode.GetScene(), "vtkMRMLSegmentationNode")
        if node is not present
        and (node.GetAttribute(STARTS) or node.GetAttribute(FROM_FOLDER))
        and volumeOf(node) is volumeNode
    ]
    return copies if present is None else [present, *copies]


def isTouched(segmentationNode: Any) -> bool:
    """Whether a segmentation holds more than the fused answer that it is a copy of; unknown counts as yes."""
    original = originalsOf(segmentationNode).get(FUSED)
    if original is None or volumeOf(segmentationNode) is None or volumeOf(original) is None:
        return True
    try:
        return differ(segmentationNode, original)
    except CRGLoCoError:  # only surfaces are left, or it stands under another transform
        return True


def letGoIfUntouched(volumeNode: Any) -> None:
    """Let a newer answer take the place of a copy that nobody has changed; the copy stays in the scene."""
    copy = correctedOf(volumeNode)
    if copy is not None and not isTouched(copy):
        setCorrected(volumeNode, None)


def observeEdits(segmentationNode: Any, onEdit: Callable[[], None]) -> Callable[[], None]:
    """Call back whenever a node changes; the answer ends that.

    Args:
        segmentationNode: What is edited.
        onEdit: Called when voxels were changed, or segments came, went or were put back, as by an undo; also
            by a new colour.
    """
    events = slicer.vtkSegmentation
    heard = (
        events.SourceRepresentationModified,
        events.SegmentAdded,
        events.SegmentRemoved,
        events.SegmentModified,
    )
    tags = [segmentationNode.AddObserver(event, lambda *_event: onEdit()) for event in heard]

    def stop() -> None:
        for tag in tags:
            segmentationNode.RemoveObserver(tag)

    return stop


def observeRemoval(segmentationNode: Any, onRemoved: Callable[[], None]) -> Callable[[], None]:
    """Call back when a node has left its scene; the answer ends that."""
    scene = segmentationNode.GetScene()

    def heard(*_event: Any) -> None:
        if segmentationNode.GetScene() is None:
            onRemoved()

    tag = scene.AddObserver(scene.NodeRemovedEvent, heard)
    return lambda: scene.RemoveObserver(tag)


def correctedName(name: str) -> str:
    """Return what a corrected copy is called; for the eye alone: nothing finds a node by its name."""
    return _("{name} corrected").format(name=name)


def _freeName(volumeNode: Any) -> str:
    scene, name = volumeNode.GetScene(), correctedName(volumeNode.GetName())
    number, free = 1, name
    while scene.GetFirstNodeByName(free) is not None:
        number += 1
        free = f"{name} {number}"
    return free


def differ(first: Any, second: Any) -> bool:
    """Whether two segmentations of one volume hold different voxels, segment by segment and byte by byte.

    Cropping alone counts as a difference: this only saves a question that is not needed.
    """
    ours, theirs = (snapshotOf(node, volumeOf(node), copy=False) for node in (first, second))
    if [_place(segment) for segment in ours.segments] != [_place(segment) for segment in theirs.segments]:
        return True
    if len(ours.layers) != len(theirs.layers):
        return True
    pairs = zip(ours.layers, theirs.layers, strict=True)
    return not all(one.first == two.first and _areEqual(one.values, two.values) for one, two in pairs)


def _areEqual(first: Array, second: Array) -> bool:
    """By planes: it ends at the first difference, and makes no third large array."""
    return first.shape == second.shape and all(map(np.array_equal, first, second))


def _place(segment: Any) -> tuple[Any, ...]:
    return (segment.id, segment.layer, segment.value)
