"""The comparison: both answers side by side, uncertain voxels coloured, panes that move together."""

from collections.abc import Callable
from typing import Any

import slicer

from CRGLoCoSegmentLib.views.answers import OUTLINE, isInScene, segmentations, showAnswers
from CRGLoCoSegmentLib.views.display_memory import restoreAll, showOutlined
from CRGLoCoSegmentLib.views.jumping import jumpPanes, markPlace, unmarkPlace
from CRGLoCoSegmentLib.views.layout import (
    GLOBAL,
    LOCAL,
    PANES,
    THIRD,
    THREE_PANES,
    TWO_PANES,
    isOurs,
    restoreLayout,
    showLayout,
)
from CRGLoCoSegmentLib.views.overlay_display import colourUncertain, overlayOf
from CRGLoCoSegmentLib.views.pane_views import PaneView
from CRGLoCoSegmentLib.views.regions import Position, worldPosition

Outline = Callable[[Any, Callable[[Callable[[], Any]], None]], None]


class CompareView:
    """Shows a result in slice views of our own; the user's views, and how nodes look in them, stay.

    Everything works without a main window too: then nothing is shown and ``show`` says so.

    Args:
        outline: Finds where the two answers of a result differ, and calls back, at once or later, with a
            function that makes a segmentation node of it.
        layoutManager: Returns Slicer's layout manager, or ``None`` where there is no main window.
        later: Calls back when the new views have got their size.

    Attributes:
        onHidden: Called when the comparison has been left, also by choosing another layout.
    """

    def __init__(
        self,
        *,
        outline: Outline | None = None,
        layoutManager: Callable[[], Any] | None = None,
        later: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self.onHidden: Callable[[], None] | None = None
        self._outline = outline
        self._manager = layoutManager or _slicersLayoutManager
        self._later = later or _afterLayout
        self._result: Any = None
        self._third = "none"
        self._overlay = ("confidence", 0.7, 0.5)
        self._orientation = "Axial"
        self._outlined = False
        self._sought: str | None = None  # the outline that was asked for and has not come yet
        self._observed: list[tuple[Any, int]] = []
        self._target: Position | None = None
        self._busy = False

    # ---------------------------------------------------------------------------------- on and off

    def show(self, result: Any, *, thirdPane: str = "none") -> bool:
        """Show a result side by side.

        Args:
            result: What segmenting a volume gave.
            thirdPane: ``"none"``, ``"fused"`` or ``"corrected"``.

        Returns:
            Whether it is shown; not so without a main window, or when its volume was deleted.
        """
        manager = self._manager()
        if manager is None or not isInScene(result.volume):
            return False
        self._busy = True  # changing the layout calls us back
        try:
            showLayout(manager, TWO_PANES if thirdPane == "none" else THREE_PANES)
            self._result, self._third, self._target = result, thirdPane, None
            self._observe(manager)
            self._fill()
        finally:
            self._busy = False
        self._later(self._placeNew)
        return True

    def hide(self) -> None:
        """Restore the former layout if ours is still shown, and how segmentations were shown."""
        manager = self._manager()
        wasShown, self._result = self._result is not None, None
        self._stopObserving()
        if manager is not None:
            self._removeOutline()
            restoreAll(self._scene())
            unmarkPlace(self._scene())
            for pane in self._panes(PANES):
                pane.clear()
            restoreLayout(manager)
        if wasShown and self.onHidden is not None:
            self.onHidden()

    def isShown(self) -> bool:
        """Whether the comparison is on the screen."""
        return self._result is not None and self._isOurLayout()

    def isLeftOver(self) -> bool:
        """Whether our layout came with a scene that was saved while comparing, and nobody fills it yet."""
        return self._result is None and self._isOurLayout()

    def sceneImported(self) -> None:
        """Show what the user had chosen, should a file have kept how it looked while comparing."""
        if self._manager() is not None and not self._isOurLayout():
            restoreAll(self._scene())
            unmarkPlace(self._scene())

    def sceneClosed(self) -> None:
        """Leave the comparison; its nodes are gone."""
        self.hide()

    def shutDown(self) -> None:
        """Leave nothing behind that would still listen."""
        self.onHidden = None
        self.hide()

    # ---------------------------------------------------------------------------------- what is seen

    def setThirdPane(self, kind: str) -> None:
        """Choose the third pane: ``"none"``, ``"fused"`` or ``"corrected"``."""
        if kind != self._third and self.isShown():
            self.show(self._result, thirdPane=kind)
        self._third = kind

    def setOverlay(self, kind: str, uncertainBelow: float, opacity: float) -> None:
        """Choose what colours the uncertain voxels.

        Args:
            kind: ``"confidence"``, ``"disagreement"`` or ``"none"``.
            uncertainBelow: Confidence (0..1) under which a voxel is coloured; for disagreement 1 minus it.
            opacity: 0..1.
        """
        self._overlay = (kind, uncertainBelow, opacity)
        if self.isShown():
            self._showOverlay()

    def setDisagreementOutline(self, shown: bool) -> None:  # noqa: FBT001 - as Qt's and VTK's own setters
        """Outline where global and local name different structures."""
        self._outlined = shown
        if self.isShown():
            self._showOutline()

    def setOrientation(self, orientation: str) -> None:
        """Turn all panes around their middle to ``"Axial"``, ``"Sagittal"`` or ``"Coronal"``."""
        self._orientation = orientation
        if self.isShown():
            panes = self._panes()
            middle = panes[0].middle()
            for pane in panes:
                pane.place(orientation, self._result.volume)
            jumpPanes(self._scene(), middle)

    def fit(self) -> None:
        """Show the whole volume in every pane."""
        if self.isShown():
            for pane in self._panes():
                pane.fit()

    def jumpTo(self, positionLps: Position) -> None:
        """Centre all panes on a place in the volume's own coordinates (mm, LPS), as regions give it."""
        if self.isShown():
            world = worldPosition(self._result.volume, positionLps)
            self._target = world
            jumpPanes(self._scene(), world)
            markPlace(self._scene(), world)

    # ---------------------------------------------------------------------------------- inside

    def _isOurLayout(self) -> bool:
        manager = self._manager()
        return manager is not None and isOurs(manager.layoutLogic().GetLayoutNode())

    def _kinds(self) -> dict[Any, str]:
        """What each shown pane shows, left to right."""
        kinds = {GLOBAL: "global", LOCAL: "local"}
        return kinds if self._third == "none" else {**kinds, THIRD: self._third}

    def _panes(self, among: Any = None) -> list[PaneView]:
        manager = self._manager()
        widgets = [
            (pane, manager.sliceWidget(pane.tag)) for pane in (self._kinds() if among is None else among)
        ]
        return [PaneView(pane, widget) for pane, widget in widgets if widget is not None]

    def _scene(self) -> Any:
        return self._manager().layoutLogic().GetMRMLScene()

    def _fill(self) -> None:
        for pane in self._panes():
            pane.prepare(self._kinds()[pane.pane], self._result.volume)
        showAnswers(
            self._scene(), self._result, {self._kinds()[pane.pane]: pane.id for pane in self._panes()}
        )
        self._showOverlay()
        self._showOutline()

    def _showOverlay(self) -> None:
        kind, uncertainBelow, opacity = self._overlay
        overlay = overlayOf(self._result, kind)
        if not isInScene(overlay) or not colourUncertain(overlay, kind, uncertainBelow):
            overlay = None
        panes = self._panes()
        for pane in panes:
            pane.setOverlay(overlay, opacity)
            # One legend is enough: the last pane has the most air at its right.
            pane.setLegend(overlay if pane is panes[-1] else None, kind, uncertainBelow)

    def _showOutline(self) -> None:
        wanted, node = self._wantedOutline(), self._outlineNode()
        if node is not None and node.GetAttribute(OUTLINE) != wanted:
            self._removeOutline()
            node = None
        if wanted is None or self._outline is None:
            self._sought = None
        elif node is not None:
            showOutlined(node.GetDisplayNode(), [pane.id for pane in self._panes()], pixels=1)
        elif wanted != self._sought:  # every slider leads here
            self._sought = wanted
            self._outline(self._result, lambda make: self._outlineFound(wanted, make))

    def _wantedOutline(self) -> str | None:
        """Name the pair of answers whose disagreement is to be seen now; ``None`` if none is."""
        if not self._outlined or not self.isShown():
            return None
        answers = (self._result.global_, self._result.local)
        return " ".join(node.GetID() for node in answers) if all(map(isInScene, answers)) else None

    def _outlineFound(self, of: str, make: Callable[[], Any]) -> None:
        """Show an outline that was asked for a moment ago, unless nobody wants it any more."""
        self._sought = None
        if self._wantedOutline() == of and self._outlineNode() is None:
            node = make()
            node.SetAttribute(OUTLINE, of)
            node.SaveWithSceneOff()
            node.GetDisplayNode().SaveWithSceneOff()
            self._showOutline()

    def _outlineNode(self) -> Any:
        return next((node for node in segmentations(self._scene()) if node.GetAttribute(OUTLINE)), None)

    def _removeOutline(self) -> None:
        self._sought = None
        node = self._outlineNode()
        if node is not None:
            display = node.GetDisplayNode()
            self._scene().RemoveNode(node)
            if display is not None:
                self._scene().RemoveNode(display)

    def _placeNew(self) -> None:
        """Place the panes that have not shown this volume yet, now that they have their size."""
        if not self.isShown():
            return
        panes = self._panes()
        placed = [pane for pane in panes if pane.isPlaced(self._orientation, self._result.volume)]
        for pane in panes:
            if pane in placed:
                continue
            if placed:
                pane.placeLike(placed[0])
            else:
                pane.place(self._orientation, self._result.volume)
        if self._target is not None:  # somebody jumped before there was a size
            jumpPanes(self._scene(), self._target)

    def _observe(self, manager: Any) -> None:
        if self._observed:
            return
        scene, layoutNode = self._scene(), manager.layoutLogic().GetLayoutNode()
        self._observed = [
            (scene, scene.AddObserver(scene.StartCloseEvent, lambda *_: self.hide())),
            (scene, scene.AddObserver(scene.NodeRemovedEvent, self._onNodeRemoved)),
            (layoutNode, layoutNode.AddObserver("ModifiedEvent", self._onLayout)),
        ]

    def _stopObserving(self) -> None:
        for subject, tag in self._observed:
            subject.RemoveObserver(tag)
        self._observed = []

    def _onLayout(self, *_: Any) -> None:
        """The user has chosen another layout: leave the nodes as they were before."""
        if not self._busy and self._result is not None and not self.isShown():
            self.hide()

    def _onNodeRemoved(self, *_: Any) -> None:
        if self._result is not None and not isInScene(self._result.volume):
            self.hide()


def _slicersLayoutManager() -> Any:
    return slicer.app.layoutManager()


def _afterLayout(action: Callable[[], None]) -> None:
    """Call when Qt has given the new views their size."""
    import qt

    qt.QTimer.singleShot(0, action)
