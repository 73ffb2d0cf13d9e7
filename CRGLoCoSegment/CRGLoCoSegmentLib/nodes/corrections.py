"""A copy of a result that may be edited: what it was made from is written on it, and saved with the scene."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import slicer

from crgloco.errors import OptionError
from CRGLoCoSegmentLib.nodes.composition import FUSED, Composition
from CRGLoCoSegmentLib.nodes.results import SEGMENTATIONS, Result, role, setCorrected
from CRGLoCoSegmentLib.nodes.segmentations import newSegmentation

STARTS = "CRGLoCoSegment.starts"
LOST = "CRGLoCoSegment.lost"


def checkedStarts(result: Result, starts: Mapping[str, str] | None) -> dict[str, str]:
    """Return for every label of a result the answer that it starts from.

    Raises:
        OptionError: A label or an answer that the result does not have.
    """
    given = dict(starts or {})
    names = [label.name for label in result.table.labels]
    if strange := set(given) - set(names):
        msg = f"The result has no label {', '.join(sorted(strange))}; it has {', '.join(names)}."
        raise OptionError(msg)
    kinds = answersOf(result)
    for name, kind in given.items():
        if kind not in kinds:
            msg = f"{name!r} cannot start from {kind!r}: this result has {', '.join(kinds)} only."
            raise OptionError(msg)
    return {name: given.get(name, FUSED) for name in names}


def answersOf(result: Result) -> tuple[str, ...]:
    """Return the kinds of answers that a result has and that labels can start from."""
    return tuple(kind for kind in SEGMENTATIONS if result.segmentation(kind) is not None)


def newCorrection(result: Result, composed: Composition, starts: Mapping[str, str]) -> Any:
    """Return a new segmentation node to be edited, and name it the result's corrected copy.

    A former copy stays in the scene under its own name.
    """
    volume = result.volume
    node = newSegmentation(composed.values, result.table, _freeName(volume), volume, copy=False)
    node.SetAttribute(STARTS, json.dumps(dict(starts)))
    node.SetAttribute(LOST, json.dumps(dict(composed.lost)))
    for kind in SEGMENTATIONS:
        answer = result.segmentation(kind)
        if answer is not None:
            node.SetNodeReferenceID(role(kind), answer.GetID())
    setCorrected(volume, node)
    return node


def startsOf(correctedNode: Any) -> dict[str, str]:
    """Return the answer that each label of a corrected copy started from; empty for other nodes."""
    return _mapping(correctedNode, STARTS)


def lostOf(correctedNode: Any) -> dict[str, int]:
    """Return how many voxels each label lost to others when the copy was put together."""
    return _mapping(correctedNode, LOST)


def originalsOf(correctedNode: Any) -> dict[str, Any]:
    """Return the answers that a copy was made from, by kind, as far as they are still there."""
    nodes = {kind: correctedNode.GetNodeReference(role(kind)) for kind in SEGMENTATIONS}
    return {kind: node for kind, node in nodes.items() if node is not None}


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
    tags = [segmentationNode.AddObserver(event, lambda *_: onEdit()) for event in heard]

    def stop() -> None:
        for tag in tags:
            segmentationNode.RemoveObserver(tag)

    return stop


def observeRemoval(segmentationNode: Any, onRemoved: Callable[[], None]) -> Callable[[], None]:
    """Call back when a node has left its scene; the answer ends that."""
    scene = segmentationNode.GetScene()

    def heard(*_: Any) -> None:
        if segmentationNode.GetScene() is None:
            onRemoved()

    tag = scene.AddObserver(scene.NodeRemovedEvent, heard)
    return lambda: scene.RemoveObserver(tag)


def _freeName(volumeNode: Any) -> str:
    scene, name = volumeNode.GetScene(), f"{volumeNode.GetName()} corrected"
    number, free = 1, name
    while scene.GetFirstNodeByName(free) is not None:
        number += 1
        free = f"{name} {number}"
    return free


def _mapping(node: Any, attribute: str) -> dict[str, Any]:
    try:
        found = json.loads(node.GetAttribute(attribute) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
