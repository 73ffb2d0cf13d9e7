"""Confidence and disagreement as volumes that lie over the anatomy, in colours that all can tell apart."""

from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from crgloco.errors import GeometryError, OptionError
from CRGLoCoSegmentLib.nodes.geometry import geometryOfNode, placeImage
from CRGLoCoSegmentLib.nodes.images import Array, imageOfArray
from CRGLoCoSegmentLib.nodes.ownership import OURS
from CRGLoCoSegmentLib.nodes.segmentations import LABELMAP, belongTo
from CRGLoCoSegmentLib.nodes.volumes import newVolumeNode

KINDS = ("confidence", "disagreement")
FULL = 255
OVERLAY = f"{OURS}overlay"  # attribute of the volume node: the kind

# Blue-violet to lilac, dull to bright. Tried on scans: Magma, Plasma and the like turn grey on grey for the
# red-green blind and drown in dark tissue; and no colour of the label table's first structures is near.
VIOLET = ((90, 60, 235), (138, 84, 255), (176, 117, 255), (214, 150, 255), (240, 214, 255))


def overlayVolume(values: Array, volumeNode: Any, name: str, kind: str) -> Any:
    """Return a new scalar volume node on a volume's grid, with a display that hides what is certain.

    Args:
        values: uint8 (K, J, I), 0..255 for 0..1; the node takes over their memory.
        volumeNode: What was segmented; the overlay shares its transform and its study.
        name: Made unique in the scene.
        kind: ``"confidence"`` (low is bright) or ``"disagreement"`` (high is bright).

    Raises:
        GeometryError: The overlay has another shape than the volume.
    """
    checkOverlay(values, volumeNode, name)
    scene = volumeNode.GetScene()
    node = newVolumeNode(geometryOfNode(volumeNode), name, scene)
    node.SetAndObserveImageData(imageOfArray(values))
    node.SetAttribute(OVERLAY, kind)
    belongTo(node, volumeNode)
    display = scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    # Without these, Slicer would look for a window in all voxels and blur the edge of the threshold.
    display.AutoWindowLevelOff()
    display.InterpolateOff()
    display.SetWindowLevelMinMax(0, FULL)
    display.SetAndObserveColorNodeID(overlayColors(kind, scene).GetID())
    display.ApplyThresholdOn()
    display.SetThreshold(*((0, 0.6 * FULL) if kind == "confidence" else (1, FULL)))
    node.SetAndObserveDisplayNodeID(display.GetID())
    return node


def checkOverlay(values: Array, volumeNode: Any, name: str) -> None:
    """Refuse an overlay that is not made for a volume.

    Raises:
        GeometryError: It has another shape, or is not uint8.
    """
    geometry = geometryOfNode(volumeNode)
    if values.shape != geometry.shape or values.dtype != np.uint8:
        msg = _(
            "The overlay {name!r} ({type} of shape {shape}) does not fit the volume "
            "{volume!r} (shape {wanted}). Segment the volume again."
        )
        found = {"name": name, "type": values.dtype, "shape": values.shape}
        raise GeometryError(msg.format(**found, volume=volumeNode.GetName(), wanted=geometry.shape))


def overlayColors(kind: str, scene: Any) -> Any:
    """Return the colour node of a kind of overlay, one per scene: bright is where to look.

    Raises:
        OptionError: The kind is unknown.
    """
    if kind not in KINDS:
        msg = f"There is no overlay {kind!r}; known are {', '.join(KINDS)}."
        raise OptionError(msg)
    tag = f"CRGLoCoSegment{kind.capitalize()}"
    node = scene.GetSingletonNode(tag, "vtkMRMLColorTableNode")
    if node is None:
        node = slicer.vtkMRMLColorTableNode()
        node.SetName(_("CRG LoCo confidence") if kind == "confidence" else _("CRG LoCo disagreement"))
        node.SetSingletonTag(tag)
        node.SetAttribute("Category", "CRG LoCo Segment")
        node = scene.AddNode(node)
    if _isBlack(node):  # new, or from a scene that was saved without its colour files
        _fill(node, VIOLET[::-1] if kind == "confidence" else VIOLET)
    return node


def colourOverlay(overlayNode: Any, kind: str) -> None:
    """Give an overlay its colours back: a file may have lost them, and a user may delete the colour node."""
    colours, display = overlayColors(kind, overlayNode.GetScene()), overlayNode.GetDisplayNode()
    if display is not None and display.GetColorNode() is None:
        display.SetAndObserveColorNodeID(colours.GetID())


def disagreementOutline(differs: Array, volumeNode: Any) -> Any:
    """Return a new segmentation node of one segment: where global and local name different labels.

    Args:
        differs: Bool (K, J, I); the node takes over its memory.
        volumeNode: What was segmented.
    """
    scene = volumeNode.GetScene()
    name = _("Global against local")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    wasModifying = node.StartModify()
    node.CreateDefaultDisplayNodes()
    belongTo(node, volumeNode)
    image = imageOfArray(differs.view(np.uint8), image=slicer.vtkOrientedImageData())
    placeImage(image, geometryOfNode(volumeNode))
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(1.0, 1.0, 1.0)
    segment.AddRepresentation(LABELMAP, image)
    node.GetSegmentation().AddSegment(segment, "disagreement")
    node.EndModify(wasModifying)
    return node


def _isBlack(node: Any) -> bool:
    table = node.GetLookupTable()
    return node.GetNumberOfColors() != FULL + 1 or not any(table.GetTableValue(FULL)[:3])


def _fill(node: Any, anchors: tuple[tuple[int, int, int], ...]) -> None:
    places = np.linspace(0, FULL, len(anchors))
    channels = [np.interp(np.arange(FULL + 1), places, part) / FULL for part in zip(*anchors, strict=True)]
    node.SetTypeToUser()
    node.SetNumberOfColors(FULL + 1)
    node.GetLookupTable().SetTableRange(0, FULL)
    for entry, (red, green, blue) in enumerate(zip(*channels, strict=True)):
        node.SetColor(entry, f"{entry / FULL:.2f}", float(red), float(green), float(blue), 1.0)
