"""Nodes that the Segment Editor works on: our own singleton, and the one of Slicer's module."""

from typing import Any

OURS = "CRGLoCoSegment"
SLICERS = "SegmentEditor"


def editorNode(scene: Any, tag: str = OURS) -> Any:
    """Return the segment editor node of a tag, made if the scene has none.

    A voxel of a label file has one label, so painting one takes it from the others, hidden ones too.
    """
    node = scene.GetSingletonNode(tag, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(tag)
        node = scene.AddNode(node)
        node.SetOverwriteMode(node.OverwriteAllSegments)
    return node


def presetSegmentEditor(segmentationNode: Any, volumeNode: Any) -> None:
    """Have Slicer's Segment Editor module open with these nodes."""
    node = editorNode(segmentationNode.GetScene(), SLICERS)
    wasModifying = node.StartModify()
    node.SetAndObserveSegmentationNode(segmentationNode)
    node.SetAndObserveSourceVolumeNode(volumeNode)
    node.SetOverwriteMode(node.OverwriteAllSegments)
    node.EndModify(wasModifying)
