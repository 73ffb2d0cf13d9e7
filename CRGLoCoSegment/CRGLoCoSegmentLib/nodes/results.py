"""What one segmentation of a volume gave: its nodes, found again through references on the volume.

The references and the record are saved with the scene. A newer result takes the place of an older one
on the volume; the older nodes stay in the scene as they are, and so does the copy that the user corrects.
"""

import json
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

from crgloco.errors import GeometryError, LabelError
from crgloco.io.volume import Geometry
from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.nodes.attributes import mappingOf
from CRGLoCoSegmentLib.nodes.geometry import geometryOfNode
from CRGLoCoSegmentLib.nodes.images import Array
from CRGLoCoSegmentLib.nodes.label_tables import tableOf
from CRGLoCoSegmentLib.nodes.overlays import KINDS as OVERLAYS
from CRGLoCoSegmentLib.nodes.overlays import OVERLAY, checkOverlay, colourOverlay, overlayVolume
from CRGLoCoSegmentLib.nodes.ownership import OURS, beginNotes, ownsNotes
from CRGLoCoSegmentLib.nodes.places import placeOf
from CRGLoCoSegmentLib.nodes.scene import nodesOfClass
from CRGLoCoSegmentLib.nodes.segmentations import checkedLabels, newSegmentation

SEGMENTATIONS = ("fused", "global", "local")
RECORD = f"{OURS}record"
EDITED = f"{OURS}edited"
# On a node's Python object, which VTK keeps as long as the node: an attribute of MRML would be saved.
NOTES = "crglocoNotesEdits"

# Paths of temporary files; a patient's name could be in them.
NOT_KEPT = ("arrays", "out", "input")


@dataclass(frozen=True)
class Result:
    """The nodes of one segmentation; what the quality did not give, or the user deleted, is ``None``.

    Attributes:
        volume: What was segmented.
        fused: The answer; not to be edited, as the two below.
        global_: The answer of the global branch.
        local: The answer of the local branch.
        confidence: Scalar volume, uint8, 0..255 for 0..1.
        disagreement: The same, of global against local.
        corrected: The copy that the user edits.
        record: The worker's record: title, model, regions, volumes_ml, ...
    """

    volume: Any
    fused: Any
    global_: Any
    local: Any
    confidence: Any
    disagreement: Any
    corrected: Any
    record: dict[str, Any]

    @property
    def table(self) -> LabelTable:
        """The label table of the model that segmented."""
        table = tableOf(self.fused)
        return table if table is not None else LabelTable.from_json(self.record["labels"])

    @property
    def title(self) -> str:
        """The title of the model that segmented."""
        return str(self.record.get("title", ""))

    def segmentation(self, kind: str) -> Any:
        """Return the node of ``"fused"``, ``"global"``, ``"local"`` or ``"corrected"``."""
        return {"fused": self.fused, "global": self.global_, "local": self.local}.get(kind, self.corrected)


def importResult(volumeNode: Any, answer: dict[str, Any], arrays: dict[str, Array]) -> Result:
    """Turn a worker's answer into nodes beside the volume; all of them, or none.

    Global and local are hidden until they are compared. Nothing of a former result is changed.

    Args:
        volumeNode: What was segmented, unchanged since.
        answer: The worker's ``result``: ``labels``, ``geometry``, ``title`` and the record.
        arrays: ``fused``, ``global``, ``local`` (label values), ``confidence``, ``disagreement`` (uint8),
            each (K, J, I). The nodes take over their memory.

    Raises:
        GeometryError: The answer belongs to another grid.
        LabelError: It holds values outside its own label table.
    """
    table = LabelTable.from_json(answer["labels"])
    title = str(answer.get("title", ""))
    names = {kind: _name(volumeNode, kind, title) for kind in (*SEGMENTATIONS, *OVERLAYS)}
    checked = _checked(volumeNode, answer, arrays, table, names)
    nodes: dict[str, Any] = {}
    try:
        for kind, array in checked.items():
            if kind in OVERLAYS:
                nodes[kind] = overlayVolume(array, volumeNode, names[kind], kind)
            else:
                nodes[kind] = newSegmentation(array, table, names[kind], volumeNode)
                nodes[kind].GetDisplayNode().SetVisibility(kind == "fused")
    except Exception:
        for node in nodes.values():
            volumeNode.GetScene().RemoveNode(node)
        raise
    record = {key: value for key, value in answer.items() if key not in NOT_KEPT}
    record |= placeOf(volumeNode)
    nodes["fused"].SetAttribute(RECORD, json.dumps(record))
    for kind, node in nodes.items():
        if kind in SEGMENTATIONS:
            noteEdits(node)
        if kind != "fused":
            nodes["fused"].SetNodeReferenceID(role(kind), node.GetID())
    _refer(volumeNode, nodes)
    return resultOf(volumeNode)  # type: ignore[return-value]


def resultOf(volumeNode: Any) -> Result | None:
    """Return the newest result of a volume, also after its scene was loaded; ``None`` if there is none."""
    if volumeNode is None or not ownsNotes(volumeNode):
        return None
    kinds = (*SEGMENTATIONS, *OVERLAYS, "corrected")
    nodes = {kind: volumeNode.GetNodeReference(role(kind)) for kind in kinds}
    if nodes["fused"] is None:
        return None
    for kind in OVERLAYS:
        if nodes[kind] is not None:
            colourOverlay(nodes[kind], kind)
    nodes["global_"] = nodes.pop("global")
    return Result(volume=volumeNode, record=recordOf(nodes["fused"]), **nodes)


def noteEdits(answerNode: Any) -> None:
    """Write on an answer, from now on, that somebody has changed it: any segmentation can be painted into.

    Asked again, for a scene that was added to this one say, it goes on as it is.
    """
    if getattr(answerNode, NOTES, False):
        return
    setattr(answerNode, NOTES, True)
    events = slicer.vtkSegmentation
    for event in (events.SourceRepresentationModified, events.SegmentAdded, events.SegmentRemoved):
        answerNode.AddObserver(event, _noteEdit)


def noteEditsIn(scene: Any) -> None:
    """Do so for every answer in a scene, after one was loaded."""
    for fused in nodesOfClass(scene, "vtkMRMLSegmentationNode"):
        if fused.GetAttribute(RECORD) is not None:
            for node in _withOthers(fused, SEGMENTATIONS):
                noteEdits(node)


def _noteEdit(answerNode: Any, _event: str) -> None:
    answerNode.SetAttribute(EDITED, "1")


def isEdited(node: Any) -> bool:
    """Whether somebody has changed an answer; for other nodes no."""
    return node is not None and node.GetAttribute(EDITED) is not None


def mayBeOfResult(node: Any) -> bool:
    """Whether a node could be one of a result; tells no answer from another segmentation."""
    return bool(node.IsA("vtkMRMLSegmentationNode")) or node.GetAttribute(OVERLAY) is not None


def resultNodesOf(volumeNode: Any) -> list[Any]:
    """Return the nodes of every result of a volume, also of older ones; without what the user edits."""
    found = []
    for fused in nodesOfClass(volumeNode.GetScene(), "vtkMRMLSegmentationNode"):
        if fused.GetAttribute(RECORD) is not None and volumeOf(fused) is volumeNode:
            found += _withOthers(fused, (*SEGMENTATIONS, *OVERLAYS))
    return found


def _withOthers(fusedNode: Any, kinds: tuple[str, ...]) -> list[Any]:
    """Return a fused answer, and those of its result's other nodes of some kinds that are still there."""
    others = (fusedNode.GetNodeReference(role(kind)) for kind in kinds)
    return [fusedNode, *(node for node in others if node is not None)]


def correctedOf(volumeNode: Any) -> Any:
    """Return the corrected copy of a volume's result, or ``None``."""
    return volumeNode.GetNodeReference(role("corrected")) if ownsNotes(volumeNode) else None


def setCorrected(volumeNode: Any, segmentationNode: Any) -> Result | None:
    """Name the corrected copy of a volume's result, and return the result; ``None`` lets go."""
    identifier = segmentationNode.GetID() if segmentationNode is not None else None
    beginNotes(volumeNode)
    volumeNode.SetNodeReferenceID(role("corrected"), identifier)
    return resultOf(volumeNode)


def volumeOf(segmentationNode: Any) -> Any:
    """Return the volume that a segmentation was made on, or ``None``."""
    return segmentationNode.GetNodeReference(segmentationNode.GetReferenceImageGeometryReferenceRole())


def role(kind: str) -> str:
    """Return the role of the volume node's reference to a node of a result."""
    return f"{OURS}{kind}"


def _name(volumeNode: Any, kind: str, title: str) -> str:
    names = {
        "fused": _("{volume} fused"),
        "global": _("{volume} global"),
        "local": _("{volume} local"),
        "confidence": _("{volume} confidence"),
        "disagreement": _("{volume} disagreement"),
    }
    name = names[kind].format(volume=volumeNode.GetName())
    return f"{name} ({title})" if title else name


def _refer(volumeNode: Any, nodes: dict[str, Any]) -> None:
    """Point at the new nodes; a correction stays until the user begins another one."""
    wasModifying = volumeNode.StartModify()
    beginNotes(volumeNode)
    for kind in (*SEGMENTATIONS, *OVERLAYS):
        node = nodes.get(kind)
        volumeNode.SetNodeReferenceID(role(kind), node.GetID() if node is not None else None)
    volumeNode.EndModify(wasModifying)


def _checked(
    volumeNode: Any,
    answer: dict[str, Any],
    arrays: dict[str, Array],
    table: LabelTable,
    names: dict[str, str],
) -> dict[str, Array]:
    """Return the arrays as they can be shown; refuse an answer before anything is added to the scene."""
    if "fused" not in arrays:
        raise LabelError(_("The answer holds no labels. Segment the volume again."))
    if strange := set(arrays) - set(names):
        msg = _("The answer holds arrays that nobody knows: {names}.")
        raise GeometryError(msg.format(names=", ".join(sorted(strange))))
    geometry = Geometry.from_json(answer["geometry"]) if "geometry" in answer else geometryOfNode(volumeNode)
    checked: dict[str, Array] = {}
    for kind, array in arrays.items():
        if kind in OVERLAYS:
            checkOverlay(array, volumeNode, names[kind])
            checked[kind] = array
        else:
            checked[kind] = checkedLabels(array, geometry, table, names[kind], volumeNode)
    return checked


def recordOf(fusedNode: Any) -> dict[str, Any]:
    """Return the worker's record of a fused answer; empty for other nodes."""
    return mappingOf(fusedNode, RECORD)
