"""How a segmentation was shown before we changed it: kept on its display node, given back afterwards.

Kept there and not in Python, so that a reload of the module or of the scene does not lose it.
"""

import json
from collections.abc import Iterable
from typing import Any

BEFORE = "CRGLoCoSegment.shownBefore"
OUTLINE_PIXELS = 2


def showOutlined(
    displayNode: Any, views: Iterable[str], *, others: Iterable[str] = (), pixels: int = OUTLINE_PIXELS
) -> None:
    """Show a segmentation as outlines, in these views and in those of others that showed it before.

    A scene may be saved meanwhile, and no event tells of it: opened without our panes, it must not look
    as if the segmentation were gone.

    Args:
        displayNode: Its display node.
        views: IDs of view nodes.
        others: IDs of the view nodes that are not ours.
        pixels: Thickness of the lines.
    """
    wasModifying = displayNode.StartModify()
    remember(displayNode)
    shownBefore = _shownBefore(displayNode, others)
    displayNode.VisibilityOn()
    displayNode.SetVisibility2D(1)
    displayNode.Visibility2DFillOff()
    displayNode.Visibility2DOutlineOn()
    displayNode.SetOpacity2DOutline(1.0)
    displayNode.SetSliceIntersectionThickness(pixels)
    displayNode.SetViewNodeIDs((*views, *shownBefore))
    displayNode.EndModify(wasModifying)


def keepOutOf(displayNode: Any, others: Iterable[str]) -> None:
    """Leave a segmentation as it is in the other views, and show it nowhere else.

    One that is hidden is not touched: every change of it is worked out in every view, segment by segment.

    Args:
        displayNode: Its display node.
        others: IDs of the view nodes that are not ours.
    """
    restore(displayNode)
    if not displayNode.GetVisibility():
        return
    wasModifying = displayNode.StartModify()
    remember(displayNode)
    views = _shownBefore(displayNode, others)
    # An empty list would mean: in all views.
    displayNode.SetVisibility(bool(views))
    displayNode.SetViewNodeIDs(tuple(views))
    displayNode.EndModify(wasModifying)


def remember(displayNode: Any) -> None:
    """Note how it is shown; what was noted before counts, because that was the user's own choice."""
    if not displayNode.GetAttribute(BEFORE):
        displayNode.SetAttribute(BEFORE, json.dumps(_state(displayNode)))


def hide(displayNode: Any) -> None:
    """Hide a segmentation in all views, and leave it hidden when it is shown as it was before."""
    noted = displayNode.GetAttribute(BEFORE)
    if noted:
        displayNode.SetAttribute(BEFORE, json.dumps(json.loads(noted) | {"visible": False}))
    displayNode.SetVisibility(0)


def restore(displayNode: Any) -> None:
    """Show it as it was before, if we changed it."""
    noted = displayNode.GetAttribute(BEFORE)
    if not noted:
        return
    state = json.loads(noted)
    wasModifying = displayNode.StartModify()
    displayNode.SetVisibility(state["visible"])
    displayNode.SetVisibility2D(state["visible2D"])
    displayNode.SetVisibility2DFill(state["fill"])
    displayNode.SetVisibility2DOutline(state["outline"])
    displayNode.SetOpacity2DOutline(state["opacity"])
    displayNode.SetSliceIntersectionThickness(state["thickness"])
    displayNode.SetViewNodeIDs(tuple(state["views"]))
    displayNode.RemoveAttribute(BEFORE)
    displayNode.EndModify(wasModifying)


def restoreAll(scene: Any) -> None:
    """Show every segmentation of a scene as it was before."""
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode")):
        restore(scene.GetNthNodeByClass(number, "vtkMRMLSegmentationDisplayNode"))


def _shownBefore(displayNode: Any, views: Iterable[str]) -> list[str]:
    """Return the views that showed it as the user had chosen."""
    before = json.loads(displayNode.GetAttribute(BEFORE))
    if not before["visible"]:
        return []
    return [view for view in views if not before["views"] or view in before["views"]]


def _state(displayNode: Any) -> dict[str, Any]:
    return {
        "visible": bool(displayNode.GetVisibility()),
        "visible2D": bool(displayNode.GetVisibility2D()),
        "fill": bool(displayNode.GetVisibility2DFill()),
        "outline": bool(displayNode.GetVisibility2DOutline()),
        "opacity": displayNode.GetOpacity2DOutline(),
        "thickness": displayNode.GetSliceIntersectionThickness(),
        "views": list(displayNode.GetViewNodeIDs()),
    }
