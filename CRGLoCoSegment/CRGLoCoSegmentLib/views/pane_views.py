"""One pane on the screen: its slice node, its layers, its place in the volume and the word in it."""

from typing import Any

from CRGLoCoSegmentLib.views.layout import VIEW_GROUP, Pane, paneExplanation, paneTitle
from CRGLoCoSegmentLib.views.legend import drawLegend, eraseLegend
from CRGLoCoSegmentLib.views.texts import findNamed, newText, removeNamed

TITLE = "CRGLoCoSegmentTitle"
PLACED = "CRGLoCoSegment.placed"


class PaneView:
    """A slice view of ours.

    Args:
        pane: Which one.
        widget: Its ``qMRMLSliceWidget``.
    """

    def __init__(self, pane: Pane, widget: Any) -> None:
        self.pane = pane
        self._widget = widget

    @property
    def node(self) -> Any:
        """Its slice node."""
        return self._widget.mrmlSliceNode()

    @property
    def id(self) -> str:
        """The ID of its slice node, for display nodes."""
        return str(self.node.GetID())

    def prepare(self, kind: str, volumeNode: Any) -> None:
        """Show a volume, linked with the other panes.

        Args:
            kind: What the pane shows: ``"global"``, ``"local"``, ``"fused"`` or ``"corrected"``.
            volumeNode: The volume that was segmented.
        """
        # Set again each time: closing a scene resets these nodes without removing them.
        self.node.SetViewGroup(VIEW_GROUP)
        self.node.SetLayoutLabel(paneTitle(kind)[:1])
        self.node.SetLayoutColor([int(self.pane.colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
        layers = self._widget.mrmlSliceCompositeNode()
        layers.LinkedControlOn()
        layers.HotLinkedControlOn()
        # Otherwise the next volume that is loaded would replace ours.
        layers.SetDoPropagateVolumeSelection(0)
        layers.SetBackgroundVolumeID(volumeNode.GetID())
        layers.SetLabelVolumeID(None)
        self._write(kind)

    def setOverlay(self, overlay: Any, opacity: float) -> None:
        """Lay a volume over the anatomy; ``None`` takes it away."""
        layers = self._widget.mrmlSliceCompositeNode()
        layers.SetForegroundVolumeID(overlay.GetID() if overlay is not None else None)
        layers.SetForegroundOpacity(opacity)

    def setLegend(self, overlay: Any, kind: str = "", uncertainBelow: float = 0.0) -> None:
        """Say what the colour means; ``None`` takes the legend away."""
        if overlay is None:
            eraseLegend(self._renderer())
        else:
            drawLegend(self._renderer(), overlay, kind, uncertainBelow)
        self._widget.sliceView().scheduleRender()

    def isPlaced(self, orientation: str, volumeNode: Any) -> bool:
        """Whether the pane was placed for this volume; the user may have moved it since."""
        return (
            self.node.GetAttribute(PLACED) == orientation
            and self.node.GetNodeReferenceID(PLACED) == volumeNode.GetID()
        )

    def place(self, orientation: str, volumeNode: Any) -> None:
        """Turn to an orientation and fit the volume in; an oblique one is cut along its own planes."""
        self.node.SetOrientation(orientation)
        if _isTransformedLinearly(volumeNode):
            self._widget.sliceLogic().RotateSliceToLowestVolumeAxes()
        self.fit()
        self._notePlaced(orientation, volumeNode.GetID())

    def fit(self) -> None:
        """Show the whole volume."""
        self._widget.sliceLogic().FitSliceToBackground()
        self.node.UpdateMatrices()

    def placeLike(self, other: "PaneView") -> None:
        """Show the same part of the volume as another pane."""
        self.node.GetSliceToRAS().DeepCopy(other.node.GetSliceToRAS())
        self.node.SetXYZOrigin(other.node.GetXYZOrigin())
        width, _, depth = other.node.GetFieldOfView()
        columns, rows, _ = self.node.GetDimensions()
        self.node.SetFieldOfView(width, width * rows / max(columns, 1), depth)
        self.node.UpdateMatrices()
        self._notePlaced(other.node.GetAttribute(PLACED), other.node.GetNodeReferenceID(PLACED))

    def middle(self) -> tuple[float, float, float]:
        """The place in the middle of the pane, RAS in mm."""
        columns, rows, _ = self.node.GetDimensions()
        right, anterior, superior, _ = self.node.GetXYToRAS().MultiplyPoint((columns / 2, rows / 2, 0.0, 1.0))
        return right, anterior, superior

    def clear(self) -> None:
        """Let volumes and title go; the slice node stays for the next time, as Slicer's own do."""
        layers = self._widget.mrmlSliceCompositeNode()
        if layers is not None:
            layers.SetForegroundVolumeID(None)
            layers.SetBackgroundVolumeID(None)
        self.setLegend(None)
        removeNamed(self._renderer(), TITLE)

    def _notePlaced(self, orientation: str, volumeId: str) -> None:
        self.node.SetAttribute(PLACED, orientation)
        # By a reference: IDs change where a scene is added to another, and no attribute follows.
        self.node.SetNodeReferenceID(PLACED, volumeId)

    def _write(self, kind: str) -> None:
        """Write the word at the upper edge, where neither layer names nor patient data stand."""
        title = findNamed(self._renderer(), TITLE) or _newTitle(self._renderer())
        title.SetInput(paneTitle(kind))
        self._widget.sliceController().toolTip = paneExplanation(kind)
        self._widget.sliceView().scheduleRender()

    def _renderer(self) -> Any:
        return self._widget.sliceView().renderWindow().GetRenderers().GetFirstRenderer()


def _newTitle(renderer: Any) -> Any:
    title = newText(renderer, TITLE, 18)
    title.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
    title.SetPosition(0.5, 0.985)
    title.GetTextProperty().SetJustificationToCentered()
    title.GetTextProperty().SetVerticalJustificationToTop()
    return title


def _isTransformedLinearly(volumeNode: Any) -> bool:
    """A volume that is bent has no plane of its own to turn to."""
    transform = volumeNode.GetParentTransformNode()
    return transform is None or bool(transform.IsTransformToWorldLinear())
