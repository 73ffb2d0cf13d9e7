"""The table of uncertain regions: what is worth a look, best first, and what was looked at already."""

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from CRGLoCoSegmentLib.logic.model_text import plainName
from CRGLoCoSegmentLib.logic.result_text import plainFigures
from CRGLoCoSegmentLib.views.regions import Region

RANK, STRUCTURE = 0, 1


class RegionTable:
    """Fills a ``QTableWidget`` and says which region the user chose.

    Args:
        widget: The table.
        onChosen: Called with a region when the user comes to its row.

    Attributes:
        regions: What the table shows.
    """

    def __init__(self, widget: Any, onChosen: Callable[[Region], None]) -> None:
        self._widget = widget
        self._onChosen = onChosen
        self.regions: tuple[Region, ...] = ()
        self._filling = False
        headers = (_("Rank"), _("Structure"), _("Volume"), _("To correct"), _("Confidence"))
        widget.columnCount = len(headers)
        widget.setHorizontalHeaderLabels(headers)
        widget.verticalHeader().setVisible(False)
        widget.horizontalHeader().setSectionResizeMode(STRUCTURE, qt.QHeaderView.Stretch)
        widget.connect("currentCellChanged(int,int,int,int)", self._onCurrent)
        widget.connect("cellClicked(int,int)", self._onClicked)

    def fill(self, regions: Sequence[Region], seen: frozenset[int]) -> None:
        """Show other regions; none is chosen."""
        self.regions = tuple(regions)
        self._filling = True
        try:
            self._widget.clearContents()
            self._widget.rowCount = len(self.regions)
            for row, region in enumerate(self.regions):
                for column, text in enumerate(_texts(region)):
                    self._widget.setItem(row, column, _item(text, right=column != STRUCTURE))
            self._widget.setCurrentCell(-1, -1)
            self._widget.resizeColumnsToContents()
            self._widget.resizeRowsToContents()
            self.mark(seen)
        finally:
            self._filling = False

    def mark(self, seen: frozenset[int]) -> None:
        """Tick the regions that were looked at."""
        for row, region in enumerate(self.regions):
            tick = "\N{CHECK MARK} " if region.rank in seen else ""
            self._widget.item(row, RANK).setText(f"{tick}{region.rank}")

    def step(self, by: int) -> None:
        """Go to the next row (1) or the previous one (-1); the first ``step`` goes to the best region."""
        row = self._widget.currentRow() + by
        if self.regions:
            self.choose(min(max(row, 0), len(self.regions) - 1))

    def choose(self, row: int) -> None:
        """Go to a row as by a click."""
        if row == self._widget.currentRow():
            self._onClicked(row, 0)
        else:
            self._widget.setCurrentCell(row, STRUCTURE)

    def _onCurrent(self, row: int, _column: int, rowBefore: int, _columnBefore: int) -> None:
        if row != rowBefore:
            self._onClicked(row, 0)

    def _onClicked(self, row: int, _column: int) -> None:
        if not self._filling and 0 <= row < len(self.regions):
            self._onChosen(self.regions[row])


def _texts(region: Region) -> tuple[str, ...]:
    return (
        f"\N{CHECK MARK} {region.rank}",  # as wide as it ever gets; mark() writes what is true
        plainName(region.name) or _("no structure"),
        _("{volume} ml").format(volume=plainFigures(region.volumeMl)),
        _("{volume} ml").format(volume=plainFigures(region.expectedMl)),
        f"{region.confidence:.0%}",
    )


def _item(text: str, *, right: bool) -> Any:
    item = qt.QTableWidgetItem(text)
    item.setToolTip(text)  # a narrow panel cuts a long name off
    if right:
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    return item
