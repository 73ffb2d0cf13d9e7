"""The table of the cases: filled, sorted by any column, filtered by state; the selection survives."""

from collections.abc import Callable, Iterable
from typing import Any

import qt
from slicer.i18n import tr as _

from CRGLoCoSegmentLib.logic.case_rows import CaseRow, stateTitles


class CaseTable:
    """A ``QTableWidget`` with one case per row.

    Args:
        widget: The table.
        onOpen: Hears the name of a case that was double-clicked.
        onSelect: Told when another case is selected.
    """

    def __init__(self, widget: Any, onOpen: Callable[[str], None], onSelect: Callable[[], None]) -> None:
        self._widget, self._onOpen = widget, onOpen
        self._rows: tuple[CaseRow, ...] = ()
        self._state = ""
        titles = _titles()
        widget.setColumnCount(len(titles))
        widget.setHorizontalHeaderLabels(list(titles))
        for column, explanation in enumerate(titles.values()):
            widget.horizontalHeaderItem(column).setToolTip(explanation)
        widget.sortByColumn(0, qt.Qt.AscendingOrder)
        widget.connect("cellDoubleClicked(int,int)", self._onDoubleClick)
        widget.connect("itemSelectionChanged()", onSelect)

    @property
    def selected(self) -> str:
        """Name of the selected case, or empty."""
        items = self._widget.selectedItems()
        return self._nameAt(items[0].row()) if items else ""

    def show(self, rows: Iterable[CaseRow], state: str = "", loaded: str | None = None) -> None:
        """Show cases.

        Args:
            rows: All of them.
            state: Shows only those of this state; empty for all.
            loaded: The case in the scene, in bold.
        """
        rows = tuple(rows)
        if rows != self._rows:
            self._fill(rows)
        states = {row.name: row.state for row in rows}
        for number in range(self._widget.rowCount):
            name = self._nameAt(number)
            self._widget.setRowHidden(number, bool(state) and states[name] != state)
            self._embolden(number, bold=name == loaded)

    def select(self, name: str) -> None:
        """Select a case."""
        for number in range(self._widget.rowCount):
            if self._nameAt(number) == name:
                self._widget.selectRow(number)

    def _fill(self, rows: tuple[CaseRow, ...]) -> None:
        """Bring the widget up to date; while cases are predicted, that is one row of perhaps thousands."""
        selected, former = self.selected, {row.name: row for row in self._rows}
        isSame = [row.name for row in rows] == [row.name for row in self._rows]
        places = {self._nameAt(number): number for number in range(self._widget.rowCount)} if isSame else {}
        self._rows = rows
        # Each item would be sorted away at once otherwise, and the next one land in another row.
        self._widget.sortingEnabled = False
        blocked = self._widget.blockSignals(True)  # noqa: FBT003  (Qt knows no keywords)
        self._widget.setRowCount(len(rows))
        for number, row in enumerate(rows):
            if not isSame or row != former[row.name]:
                self._fillRow(places.get(row.name, number), row)
        self._widget.sortingEnabled = True
        if selected:
            self.select(selected)
        self._widget.blockSignals(blocked)
        if not isSame:
            for column in range(self._widget.columnCount - 1):  # the last one takes what is left
                self._widget.resizeColumnToContents(column)

    def _fillRow(self, number: int, row: CaseRow) -> None:
        for column, value in enumerate(_values(row)):
            self._widget.setItem(number, column, _item(value, row.reason))

    def _nameAt(self, number: int) -> str:
        return str(self._widget.item(number, 0).text())

    def _embolden(self, number: int, *, bold: bool) -> None:
        item = self._widget.item(number, 0)
        font = item.font()
        if font.bold() != bold:
            font.setBold(bold)
            item.setFont(font)
            self._widget.resizeColumnToContents(0)

    def _onDoubleClick(self, row: int, _column: int) -> None:
        self._onOpen(self._nameAt(row))


def _titles() -> dict[str, str]:
    """Return the columns' titles with their explanations."""
    return {
        _("Case"): _("Name of the case in the folder."),
        _("State"): _(
            "Unlabelled, predicted by a model, corrected (its label is accepted), or for validation: "
            "labelled, and trainings measure on it and never learn from it."
        ),
        _("Confidence"): _("Mean confidence of the prediction, 0 to 1."),
        _("Correct, ml"): _(
            "Volume that is expected to be wrong where the model is not sure. More is wrong altogether, "
            "a little along all borders for example."
        ),
        _("Rev."): _("Revision of the label; earlier ones are kept."),
    }


def _values(row: CaseRow) -> tuple[str | float | None, ...]:
    state = stateTitles().get(row.state, row.state)
    confidence = None if row.meanConfidence is None else round(row.meanConfidence, 2)
    correction = None if row.expectedCorrectionMl is None else round(row.expectedCorrectionMl, 2)
    return (row.name, state, confidence, correction, row.revision or None)


def _item(value: str | float | None, toolTip: str) -> Any:
    """Return a cell; numbers stay numbers, so that 9 comes before 10."""
    item = qt.QTableWidgetItem()
    if value is not None:
        item.setData(qt.Qt.DisplayRole, value)
    if not isinstance(value, str):
        item.setTextAlignment(qt.Qt.AlignCenter)
    if toolTip:
        item.setToolTip(toolTip)
    return item
