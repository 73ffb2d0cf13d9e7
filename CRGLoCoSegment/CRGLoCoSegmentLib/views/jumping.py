"""Going to a place: our panes are centred on it and a small crosshair marks it; other views stay still."""

from typing import Any

import slicer

from CRGLoCoSegmentLib.views.layout import VIEW_GROUP

BEFORE = "CRGLoCoSegment.modeBefore"
OURS = slicer.vtkMRMLCrosshairNode.ShowSmallBasic


def jumpPanes(scene: Any, world: tuple[float, float, float]) -> None:
    """Centre our panes on a place.

    Args:
        scene: The MRML scene.
        world: The place, RAS in mm.
    """
    centred = slicer.vtkMRMLSliceNode.CenteredJumpSlice
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *world, centred, VIEW_GROUP)


def markPlace(scene: Any, world: tuple[float, float, float]) -> None:
    """Set the crosshair to a place, and show it small if the user shows none."""
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is None:
        return
    crosshair.SetCrosshairRAS(*world)
    if crosshair.GetCrosshairMode() == crosshair.NoCrosshair:
        crosshair.SetAttribute(BEFORE, str(crosshair.NoCrosshair))
        crosshair.SetCrosshairMode(OURS)


def unmarkPlace(scene: Any) -> None:
    """Hide the crosshair again if we showed it; another mode was chosen by the user meanwhile."""
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is None or crosshair.GetAttribute(BEFORE) is None:
        return
    if crosshair.GetCrosshairMode() == OURS:
        crosshair.SetCrosshairMode(int(crosshair.GetAttribute(BEFORE)))
    crosshair.RemoveAttribute(BEFORE)
