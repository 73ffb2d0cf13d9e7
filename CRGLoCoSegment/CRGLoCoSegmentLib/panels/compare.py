"""The section that compares: both answers side by side, what is coloured, and where to look next."""

from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from CRGLoCoSegmentLib.logic.result_text import plainFigures
from CRGLoCoSegmentLib.panels.answer_watch import AnswerWatch
from CRGLoCoSegmentLib.panels.legend_strip import stripPixmap
from CRGLoCoSegmentLib.panels.panel import Panel
from CRGLoCoSegmentLib.panels.region_table import RegionTable
from CRGLoCoSegmentLib.parameters import ThirdPane
from CRGLoCoSegmentLib.views.layout import ORIENTATIONS
from CRGLoCoSegmentLib.views.legend import legendText
from CRGLoCoSegmentLib.views.overlay_display import overlayOf
from CRGLoCoSegmentLib.views.regions import Region, regionsOf, seenRegions, setSeenRegions

FOLLOWED = {"parameters", "result", "corrected", "cases", "scene"}
# Ctrl+Shift+arrows belong to Slicer's sequence player, Ctrl+arrows to its module history.
NEXT, PREVIOUS = "Ctrl+Shift+N", "Ctrl+Shift+P"


class ComparePanel(Panel):
    """Shows and hides the comparison of the chosen volume's result; arguments as of ``Panel``."""

    name = "compare"

    def __init__(self, logic: Any, resources: Path) -> None:
        super().__init__(logic, resources)
        ui = self.ui
        self._result: Any = None
        self._filled: tuple[Any, ...] = ()
        self._shortcuts: list[tuple[Any, Any]] = []
        self._wasShown = False
        self._refused = False
        self._regions = RegionTable(ui.regionsTable, self._goTo)
        self._watch = AnswerWatch(self.widget, self._show)
        for name in (_("Axial"), _("Sagittal"), _("Coronal")):
            ui.orientationSelector.addItem(name)
        ui.compareButton.connect("clicked(bool)", self._onCompare)
        ui.orientationSelector.connect("currentIndexChanged(int)", self._onOrientation)
        ui.fitButton.connect("clicked(bool)", self._onFit)
        ui.nextButton.connect("clicked(bool)", self._onNext)
        ui.previousButton.connect("clicked(bool)", self._onPrevious)
        logic.view.onHidden = self._show
        self._show()

    # ------------------------------------------------------------------------------------- the life

    def enter(self) -> None:
        """The user looks at the module: the comparison comes back if it was shown when he left."""
        self._makeShortcuts()
        if self._wasShown and self._result is not None:
            self._compare()
        self._wasShown = False

    def exit(self) -> None:
        """The user looks at another module, in his own layout."""
        self._removeShortcuts()
        self._wasShown = self.logic.view.isShown()
        self.logic.view.hide()

    def refresh(self, what: str) -> None:
        """Show the present state; ``what`` as of ``Panel``."""
        if what not in FOLLOWED:
            return
        if slicer.mrmlScene.IsClosing():
            self._wasShown = False  # what comes next is another patient
        volume = self.parameters.inputVolume if self.parameters is not None else None
        before, self._result = self._result, self.logic.resultOf(volume)
        self._watch.watch(self._result)
        self._refused = False
        if self.parameters is not None:
            self._applySettings()
        if self.logic.view.isShown():
            self._follow(before)
        elif self.parameters is not None and self.logic.view.isLeftOver():
            self._compare() if self._result is not None else self.logic.view.hide()
        self._show()

    def cleanup(self) -> None:
        """Leave no shortcut and no view behind."""
        self._removeShortcuts()
        self._watch.stop()
        self.logic.view.onHidden = None
        self.logic.view.hide()
        super().cleanup()

    # ------------------------------------------------------------------------------------- the view

    def _compare(self) -> None:
        if self._result.corrected is not None and self.parameters.thirdPane is ThirdPane.NONE:
            # In none of the panes it could not be painted on: the editor works only in views that show it.
            self.parameters.thirdPane = ThirdPane.CORRECTED
        third = self.parameters.thirdPane.value
        self.logic.compare(self._result, thirdPane=third)
        self._refused = not self.logic.view.isShown()
        self._show()

    def _follow(self, before: Any) -> None:
        """Show in the views what has changed: another volume, a newer result, a corrected copy."""
        if self._result is None:
            self.logic.view.hide()
        elif _nodes(self._result) != _nodes(before):
            started = self._result.corrected is not None and (before is None or before.corrected is None)
            if started and self.parameters.thirdPane is not ThirdPane.CORRECTED:
                # Strokes of the Segment Editor would be seen in no pane otherwise. This comes back to here.
                self.parameters.thirdPane = ThirdPane.CORRECTED
            self.logic.compare(self._result, thirdPane=self.parameters.thirdPane.value)

    def _applySettings(self) -> None:
        parameters, view = self.parameters, self.logic.view
        view.setOverlay(parameters.overlay.value, parameters.uncertainBelow, parameters.overlayOpacity)
        view.setThirdPane(parameters.thirdPane.value)
        view.setDisagreementOutline(parameters.disagreementOutline)

    def _goTo(self, region: Region) -> None:
        """Centre the panes on a region; the comparison is shown if it is not yet."""
        if not self.logic.view.isShown():
            self._compare()
        self.logic.view.jumpTo(region.position)
        if self.logic.view.isShown():
            setSeenRegions(self._result, seenRegions(self._result) | {region.rank})
        self._show()

    def _onCompare(self, checked: bool) -> None:  # noqa: FBT001 - a Qt signal
        if checked:
            self._compare()
        else:
            self.logic.view.hide()

    def _onOrientation(self, index: int) -> None:
        self.logic.view.setOrientation(ORIENTATIONS[index])

    def _onFit(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002 - a Qt signal
        self.logic.view.fit()

    def _onNext(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002 - a Qt signal
        self._regions.step(1)

    def _onPrevious(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002 - a Qt signal
        self._regions.step(-1)

    # ------------------------------------------------------------------------------------- the widgets

    def _show(self) -> None:
        there, shown = self._result is not None, self.logic.view.isShown()
        self.ui.compareButton.enabled = there
        self.ui.compareButton.checked = shown
        self.ui.fitButton.enabled = shown
        self._showRegions()
        self._showLegend()
        self.ui.messageLabel.text = self._message()

    def _showRegions(self) -> None:
        seen = seenRegions(self._result) if self._result is not None else frozenset()
        filled = _nodes(self._result)[:2]
        if filled != self._filled:
            self._filled = filled
            self._regions.fill(regionsOf(self._result.record) if self._result is not None else (), seen)
        else:
            self._regions.mark(seen)
        for button in (self.ui.nextButton, self.ui.previousButton, self.ui.regionsTable):
            button.enabled = bool(self._regions.regions)

    def _showLegend(self) -> None:
        kind = self.parameters.overlay.value if self.parameters is not None else "none"
        overlay = overlayOf(self._result, kind) if self._result is not None else None
        for widget in (self.ui.legendStrip, self.ui.legendLabel):
            widget.visible = overlay is not None
        if overlay is not None:
            below = self.parameters.uncertainBelow
            self.ui.legendStrip.setPixmap(stripPixmap(overlay, kind, below))
            text = _("{range} is coloured, bright is least sure")
            self.ui.legendLabel.text = text.format(range=legendText(kind, below))

    def _message(self) -> str:
        if self._result is None:
            return _("Segment the chosen volume first; then its answers can be compared here.")
        if self._watch.remark:
            return self._watch.remark
        if self._refused:
            return _("There are no slice views to show the comparison in. It needs Slicer's main window.")
        if self._result.local is None:
            return _("This result has no local answer; segment with the quality Balanced or Full to compare.")
        return self._whatIsLeft()

    def _whatIsLeft(self) -> str:
        regions = self._regions.regions
        if not regions:
            return _("The model is sure everywhere: no uncertain region is left to look at.")
        left = [region for region in regions if region.rank not in seenRegions(self._result)]
        text = _("Regions seen: {seen} of {all}.")
        if left:
            text = _(
                "Regions seen: {seen} of {all}. About {volume} ml of the others are expected to be wrong."
            )
        volume = sum(region.expectedMl for region in left)
        return text.format(seen=len(regions) - len(left), all=len(regions), volume=plainFigures(volume))

    # ------------------------------------------------------------------------------------- the keys

    def _makeShortcuts(self) -> None:
        window = slicer.util.mainWindow()
        if window is None or self._shortcuts:
            return
        for keys, action in ((NEXT, self._onNext), (PREVIOUS, self._onPrevious)):
            shortcut = qt.QShortcut(qt.QKeySequence(keys), window)
            shortcut.connect("activated()", action)
            self._shortcuts.append((shortcut, action))

    def _removeShortcuts(self) -> None:
        for shortcut, action in self._shortcuts:
            shortcut.disconnect("activated()", action)
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []


def _nodes(result: Any) -> tuple[str | None, ...]:
    """IDs of what a result consists of, to see whether it is another one."""
    if result is None:
        return ()
    nodes = (result.volume, result.fused, result.global_, result.local, result.corrected)
    return tuple(node.GetID() if node is not None else None for node in nodes)
