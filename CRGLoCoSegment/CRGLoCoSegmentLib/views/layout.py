"""Our arrangements of the slice views: global and local side by side, and with a third pane."""

from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

TWO_PANES = 5117
THREE_PANES = 5118
# Slice views of one group follow each other; the user's own views are in group 0 and stay still.
VIEW_GROUP = 71
ORIENTATIONS = ("Axial", "Sagittal", "Coronal")
FORMER = "CRGLoCoSegment.formerArrangement"


@dataclass(frozen=True)
class Pane:
    """One slice view of ours.

    Attributes:
        tag: Singleton tag of its slice node, and its name.
        letter: Label in its bar, which has room for one to three letters.
        colour: Of its bar, ``#RRGGBB``; blue, orange and grey-green differ for everybody.
    """

    tag: str
    letter: str
    colour: str


GLOBAL = Pane("CRGGlobal", "G", "#4C9BD6")
LOCAL = Pane("CRGLocal", "L", "#E69F00")
THIRD = Pane("CRGThird", "F", "#9DBFAF")
PANES = (GLOBAL, LOCAL, THIRD)


def paneTitle(kind: str) -> str:
    """The word that stands in a pane.

    Args:
        kind: ``"global"``, ``"local"``, ``"fused"`` or ``"corrected"``.
    """
    return {
        "global": _("Global"),
        "local": _("Local"),
        "fused": _("Fused"),
        "corrected": _("Corrected"),
    }[kind]


def paneExplanation(kind: str) -> str:
    """What the word means, for tooltips."""
    return {
        "global": _("Global: the answer of the branch that sees the whole field of view at low resolution"),
        "local": _("Local: the answer of the branch that sees full-resolution windows"),
        "fused": _("Fused: both answers joined, as the model gives them out"),
        "corrected": _("Corrected: your own copy, which the Segment Editor changes"),
    }[kind]


def layoutXml(panes: tuple[Pane, ...]) -> str:
    """Describe slice views side by side in Slicer's layout language."""
    items = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{pane.tag}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{pane.letter}</property>'
        f'<property name="viewcolor" action="default">{pane.colour}</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property>'
        "</view></item>"
        for pane in panes
    )
    return f'<layout type="horizontal" split="true">{items}</layout>'


def registerLayouts(layoutNode: Any) -> None:
    """Tell Slicer our arrangements; a scene that was saved while one was shown needs them to open well."""
    for layout, panes in ((TWO_PANES, PANES[:2]), (THREE_PANES, PANES)):
        if layoutNode.IsLayoutDescription(layout):
            layoutNode.SetLayoutDescription(layout, layoutXml(panes))
        else:
            layoutNode.AddLayoutDescription(layout, layoutXml(panes))


def isOurs(layoutNode: Any) -> bool:
    """Whether one of our arrangements is shown."""
    return layoutNode.GetViewArrangement() in (TWO_PANES, THREE_PANES)


def showLayout(layoutManager: Any, layout: int) -> None:
    """Change to one of our arrangements, and remember which other one was shown before.

    While ours is shown, a saved scene says nothing of the arrangement: a computer without this extension does
    not know ours, and would open the scene with an empty view area.
    """
    layoutNode = layoutManager.layoutLogic().GetLayoutNode()
    registerLayouts(layoutNode)
    if not isOurs(layoutNode):
        # On the node: so it outlives a reload of this module.
        layoutNode.SetAttribute(FORMER, str(layoutNode.GetViewArrangement()))
    layoutNode.SaveWithSceneOff()
    layoutManager.setLayout(layout)
    # A scene that was saved with this arrangement may have been opened before Slicer knew it.
    layoutNode.SetViewArrangement(layout)


def restoreLayout(layoutManager: Any) -> None:
    """Change back to the former arrangement, unless the user has chosen another one meanwhile."""
    layoutNode = layoutManager.layoutLogic().GetLayoutNode()
    layoutNode.SaveWithSceneOn()
    if not isOurs(layoutNode):
        return
    former = layoutNode.GetAttribute(FORMER)
    known = former is not None and layoutNode.IsLayoutDescription(int(former))
    layoutManager.setLayout(int(former) if known else layoutNode.SlicerLayoutFourUpView)
