"""Label values of the engine to segmentation nodes: one labelmap that all segments share."""

from typing import Any

import slicer
from slicer.i18n import tr as _

from crgloco.errors import LabelError
from crgloco.io.volume import Geometry, assert_same_grid
from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.nodes.geometry import geometryOfNode, placeImage
from CRGLoCoSegmentLib.nodes.images import Array, imageOfArray, smallestLabels
from CRGLoCoSegmentLib.nodes.label_tables import dressSegment, rememberTable, segmentId, tableOf
from CRGLoCoSegmentLib.nodes.scene import nodesOfClass

LABELMAP = "Binary labelmap"


def checkedLabels(values: Array, geometry: Geometry, table: LabelTable, name: str, volumeNode: Any) -> Array:
    """Return label values in the smallest type, after making sure that they may belong to the volume.

    That is fast. Gaps of the label table are not looked for: what our own worker answers has none.

    Raises:
        GeometryError: They do not lie on the volume's grid.
        LabelError: There are values above those of the table.
    """
    what = _("The labels {name!r} and the volume {volume!r}").format(name=name, volume=volumeNode.GetName())
    assert_same_grid(geometryOfNode(volumeNode), geometry, what)
    if values.shape != geometry.shape:
        found = Geometry(values.shape, geometry.spacing, geometry.origin, geometry.direction)
        assert_same_grid(geometry, found, what)
    try:
        labels = smallestLabels(values)
    except ValueError as error:
        msg = _("{name!r} cannot be shown. {reason}")
        raise LabelError(msg.format(name=name, reason=error)) from error
    if labels.size and (highest := int(labels.max())) > max(table.values):
        raise _unknown(highest, table, name)
    return labels


def newSegmentation(labels: Array, table: LabelTable, name: str, volumeNode: Any) -> Any:
    """Return a new segmentation node on the grid of a volume, beside it and under its transform.

    Every label of the table gets its segment, also an empty one. Nothing is resampled.

    Args:
        labels: Label values (K, J, I), see ``checkedLabels``; the node takes over their memory.
        table: Which value is what.
        name: Made unique in the scene.
        volumeNode: What was segmented.
    """
    scene = volumeNode.GetScene()
    image = imageOfArray(labels, image=slicer.vtkOrientedImageData())
    # The volume's own numbers: what came back from the worker may differ in the last bit.
    placeImage(image, geometryOfNode(volumeNode))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    wasModifying = node.StartModify()
    node.CreateDefaultDisplayNodes()
    rememberTable(node, table)
    belongTo(node, volumeNode)
    for label in table.labels:
        segment = slicer.vtkSegment()
        dressSegment(segment, label)
        segment.AddRepresentation(LABELMAP, image)
        node.GetSegmentation().AddSegment(segment, segmentId(label))
    node.EndModify(wasModifying)
    return node


def belongTo(node: Any, volumeNode: Any) -> None:
    """Put a node under a volume's transform and into its study; a segmentation also onto its grid."""
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    if node.IsA("vtkMRMLSegmentationNode"):
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volumeNode.GetScene())
    if hierarchy is None:
        return
    ours, theirs = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(volumeNode)
    if ours and theirs:
        hierarchy.SetItemParent(ours, hierarchy.GetItemParent(theirs))


def release(segmentationNode: Any) -> None:
    """Take the voxels out of a segmentation that is about to be removed; one in an editor is left alone.

    Slicer's own way, segment by segment, walks through a shared labelmap twice per segment: seconds for a
    large volume.
    """
    for editor in nodesOfClass(segmentationNode.GetScene(), "vtkMRMLSegmentEditorNode"):
        if editor.GetSegmentationNode() is segmentationNode:
            return
    segmentation = segmentationNode.GetSegmentation()
    for number in range(segmentation.GetNumberOfSegments()):
        # A surface that stays would be turned into voxels again, for every view, before the node is gone.
        segmentation.GetNthSegment(number).RemoveAllRepresentations()


def releaseAll(scene: Any) -> None:
    """Do so for every segmentation that was made here, before a scene is closed."""
    for node in nodesOfClass(scene, "vtkMRMLSegmentationNode"):
        if tableOf(node) is not None:
            release(node)


def _unknown(value: int, table: LabelTable, name: str) -> LabelError:
    msg = _(
        "{name!r} holds the label value {value}, which is not in the label table ({known}). "
        "Segment again with a model of this label table."
    )
    return LabelError(msg.format(name=name, value=value, known=table.in_words()))
