"""Which segmentation is seen where: each answer in its own pane, and none of ours in another's."""

from collections.abc import Mapping
from typing import Any

from CRGLoCoSegmentLib.views.display_memory import hide, keepOutOf, showOutlined
from CRGLoCoSegmentLib.views.layout import VIEW_GROUP

OURS = "CRGLoCoSegment."
OUTLINE = f"{OURS}compareOutline"


def showAnswers(scene: Any, result: Any, panes: Mapping[str, str]) -> None:
    """Show each answer of a result in its pane.

    Answers without a pane, and those of other results, stay as they are in the user's views and out of
    our panes. Segmentations that the user made are left alone.

    Args:
        scene: The MRML scene.
        result: The result that is compared.
        panes: ``"global"``, ``"local"``, ``"fused"`` or ``"corrected"`` -> ID of the pane's slice node.
    """
    views = otherViews(scene)
    answers = {kind: result.segmentation(kind) for kind in ("global", "local", "fused", "corrected")}
    placed = {answers[kind].GetID(): view for kind, view in panes.items() if isInScene(answers[kind])}
    for node in segmentations(scene):
        display = node.GetDisplayNode()
        if display is None or node.GetAttribute(OUTLINE):
            continue
        if node.GetID() in placed:
            showOutlined(display, [placed[node.GetID()]], others=views)
        elif _isOurs(node) or node in answers.values():
            keepOutOf(display, views)


def segmentations(scene: Any) -> list[Any]:
    """Return all segmentation nodes of a scene."""
    name = "vtkMRMLSegmentationNode"
    return [scene.GetNthNodeByClass(number, name) for number in range(scene.GetNumberOfNodesByClass(name))]


def otherViews(scene: Any) -> list[str]:
    """Return the IDs of all views that can show a segmentation and are not our panes."""
    return [
        scene.GetNthNodeByClass(number, name).GetID()
        for name in ("vtkMRMLSliceNode", "vtkMRMLViewNode")
        for number in range(scene.GetNumberOfNodesByClass(name))
        if scene.GetNthNodeByClass(number, name).GetViewGroup() != VIEW_GROUP
    ]


def isInScene(node: Any) -> bool:
    """Whether there is a node and nobody has deleted it."""
    return node is not None and node.GetScene() is not None


def _isOurs(node: Any) -> bool:
    """Whether this module made a segmentation; it notes the label table on each."""
    return any(name.startswith(OURS) for name in node.GetAttributeNames())


def hideAnswers(result: Any) -> None:
    """Hide what a model answered, because a newer answer has come; a corrected copy stays as it is."""
    for node in (result.fused, result.global_, result.local):
        display = node.GetDisplayNode() if isInScene(node) else None
        if display is not None:
            hide(display)
