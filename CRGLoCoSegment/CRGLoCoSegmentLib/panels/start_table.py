"""The table of labels: which answer each one starts from, and how much of it was changed since."""

from collections.abc import Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.logic.model_text import plainName
from CRGLoCoSegmentLib.logic.result_text import plainFigures
from CRGLoCoSegmentLib.nodes.changes import Changes
from CRGLoCoSegmentLib.panels.panel import takeTabsAfter

NAME, START, CHANGED = range(3)
HIGHEST = 220


class StartTable:
    """Fills a ``QTableWidget`` with a row for each label.

    Args:
        widget: The table.
    """

    def __init__(self, widget: Any) -> None:
        self._widget = widget
        self._names: tuple[str, ...] = ()
        headers = (_("Label"), _("Start from"), _("Changed since prediction"))
        widget.columnCount = len(headers)
        widget.setHorizontalHeaderLabels(headers)
        widget.verticalHeader().setVisible(False)
        widget.horizontalHeader().setStretchLastSection(True)

    def fill(self, table: LabelTable | None, kinds: Sequence[str], starts: Mapping[str, str]) -> None:
        """Show labels and the answers that they can start from.

        Args:
            table: The labels; ``None`` shows none.
            kinds: The answers that there are; none where labels can start from nothing.
            starts: Name of a label -> answer that is chosen at first; fused for the others.
        """
        labels = table.labels if table is not None else ()
        self._names = tuple(label.name for label in labels)
        self._widget.rowCount = 0  # with the rows go their choices
        self._widget.rowCount = len(labels)
        before = self._widget
        for row, label in enumerate(labels):
            item = qt.QTableWidgetItem(plainName(label.name))
            item.setIcon(qt.QIcon(_colour(label.colour)))
            self._widget.setItem(row, NAME, item)
            self._widget.setItem(row, CHANGED, qt.QTableWidgetItem(""))
            if kinds:
                choice = _choice(label.name, kinds, starts.get(label.name, kinds[0]))
                self._widget.setCellWidget(row, START, choice)
                takeTabsAfter(before, choice)
                before = choice
        self._widget.resizeColumnsToContents()
        self._fit()

    def _fit(self) -> None:
        """Be as high as the rows, up to a limit: the editor below needs the room."""
        header, rows = self._widget.horizontalHeader(), self._widget.verticalHeader()
        frame = 2 * self._widget.frameWidth
        height = min(header.sizeHint.height() + rows.length() + frame, HIGHEST)
        self._widget.minimumHeight = self._widget.maximumHeight = height

    def starts(self) -> dict[str, str]:
        """Return the chosen answer of every label that has a choice."""
        choices = {name: self._widget.cellWidget(row, START) for row, name in enumerate(self._names)}
        return {name: str(choice.currentData) for name, choice in choices.items() if choice is not None}

    def showChanges(self, changes: Changes | None) -> None:
        """Show how much of each label was changed; ``None`` shows nothing."""
        for row, name in enumerate(self._names):
            change = changes.labels.get(name) if changes is not None else None
            text = amountText(change.ml, change.voxels) if change is not None else ""
            self._widget.item(row, CHANGED).setText(text)
            tip = _("{added} voxels added, {removed} removed") if change is not None else ""
            if change is not None:
                tip = tip.format(added=change.added, removed=change.removed)
            self._widget.item(row, CHANGED).setToolTip(tip)


def amountText(ml: float, voxels: int) -> str:
    """Return a volume and a number of voxels in words."""
    if not voxels:
        return _("nothing")
    return _("{ml} ml, {voxels} voxels").format(ml=plainFigures(ml), voxels=voxels)


def _choice(label: str, kinds: Sequence[str], chosen: str) -> Any:
    titles = {"fused": _("Fused"), "global": _("Global"), "local": _("Local")}
    combo = qt.QComboBox()
    combo.accessibleName = _("Start {label} from").format(label=plainName(label))
    combo.toolTip = _("The answer whose voxels of this label the copy starts with.")
    for kind in kinds:
        combo.addItem(titles[kind], kind)
    combo.setCurrentIndex(max(combo.findData(chosen), 0))
    return combo


def _colour(colour: tuple[int, int, int]) -> Any:
    pixmap = qt.QPixmap(12, 12)
    pixmap.fill(qt.QColor(*colour))
    return pixmap
