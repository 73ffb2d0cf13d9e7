"""Which volume the user means, and what should be said about it before it is segmented."""

import slicer
from slicer.i18n import tr as _

from CRGLoCoSegmentLib.nodes.overlays import OVERLAY
from CRGLoCoSegmentLib.nodes.scene import nodesOfClass


def proposedVolume() -> "slicer.vtkMRMLScalarVolumeNode | None":
    """Return the volume that the slice views show, else the first plain one of the scene."""
    active = slicer.mrmlScene.GetNodeByID(_activeVolumeID() or "")
    if active is not None and isPlainVolume(active):
        return active
    return next((node for node in _scalarVolumes() if isPlainVolume(node)), None)


def overlayIds() -> list[str]:
    """Return the IDs of our overlays, which no list of volumes to segment should offer."""
    return [node.GetID() for node in _scalarVolumes() if node.GetAttribute(OVERLAY)]


def isPlainVolume(node: "slicer.vtkMRMLNode") -> bool:
    """Whether a node is a visible scalar volume and no label map, colour volume or overlay of ours."""
    if node.GetClassName() != "vtkMRMLScalarVolumeNode" or node.GetHideFromEditors():
        return False
    return not node.GetAttribute(OVERLAY)


def remarks(volumeNode: "slicer.vtkMRMLScalarVolumeNode") -> list[str]:
    """Return sentences about a volume that its user should know; nothing in them is an error."""
    found = []
    if volumeNode.GetParentTransformNode() is not None:
        text = _(
            "{name} has a transform: it is segmented as acquired, and the results get the same transform."
        )
        found.append(text.format(name=volumeNode.GetName()))
    if _isFrameOfSequence(volumeNode):
        text = _("{name} is a sequence: the frame that is shown now is segmented.")
        found.append(text.format(name=volumeNode.GetName()))
    return found


def _scalarVolumes() -> "list[slicer.vtkMRMLScalarVolumeNode]":
    return nodesOfClass(slicer.mrmlScene, "vtkMRMLScalarVolumeNode")


def _activeVolumeID() -> str | None:
    selection = slicer.mrmlScene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    return selection.GetActiveVolumeID() if selection is not None else None


def _isFrameOfSequence(volumeNode: "slicer.vtkMRMLScalarVolumeNode") -> bool:
    browsers = nodesOfClass(slicer.mrmlScene, "vtkMRMLSequenceBrowserNode")
    return any(browser.IsProxyNodeID(volumeNode.GetID()) for browser in browsers)
