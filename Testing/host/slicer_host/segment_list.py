"""``qMRMLSegmentsTableView``: the segments of a segmentation with visibility, colour and name."""

from typing import Any

import slicer
from PySide6.QtCore import Property, QItemSelection, QItemSelectionModel, Qt, Signal, Slot
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from slicer_host.mrml_widgets import qMRMLWidget
from slicer_host.observers import Observers
from slicer_host.stored import stored

VISIBLE, COLOR, NAME = range(3)


def _column(number: int) -> Property:
    def isShown(self: Any) -> bool:
        return not self._table.isColumnHidden(number)

    def show(self: Any, shown: bool) -> None:
        self._table.setColumnHidden(number, not shown)

    return Property(bool, isShown, show)


class qMRMLSegmentsTableView(qMRMLWidget):
    """The segments of a segmentation."""

    selectionChanged = Signal(QItemSelection, QItemSelection)
    segmentAboutToBeModified = Signal(str)
    visibilityColumnVisible, colorColumnVisible = _column(VISIBLE), _column(COLOR)
    filterBarVisible = stored(bool, "filterBarVisible", False)
    jumpToSelectedSegmentEnabled = stored(bool, "jumpToSelectedSegmentEnabled", False)
    layerColumnVisible = stored(bool, "layerColumnVisible", False)
    opacityColumnVisible = stored(bool, "opacityColumnVisible", True)
    readOnly = stored(bool, "readOnly", False)
    statusColumnVisible = stored(bool, "statusColumnVisible", False)
    useTerminologySelector = stored(bool, "useTerminologySelector", True)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._table = QTableWidget(0, 3)
        self._table.setHorizontalHeaderLabels(["", "", "Name"])
        self._table.horizontalHeader().setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        self._table.setColumnWidth(VISIBLE, 24)
        self._table.setColumnWidth(COLOR, 24)
        self._table.verticalHeader().hide()
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        self._segmentation: Any = None
        self._watch = Observers(self)
        self._table.selectionModel().selectionChanged.connect(self.selectionChanged)

    @Slot(object)
    def setSegmentationNode(self, node: Any) -> None:
        """Show the segments of a node, or none."""
        self._watch.clear()
        self._segmentation = node
        if node is not None:
            # The node passes these events on after its display knows of the segment.
            for event in ("SegmentAdded", "SegmentRemoved", "SegmentModified", "SegmentsOrderModified"):
                number = getattr(slicer.vtkSegmentation, event)
                self._watch.add(node, number, lambda me, *_given: me._fill())
            self._watch.add(
                node, slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, lambda me, *_given: me._fill()
            )
        self._fill()

    def segmentationNode(self) -> Any:
        """The node, or ``None``."""
        return self._segmentation

    def _fill(self) -> None:
        chosen = self.selectedSegmentIDs()
        ids = self.displayedSegmentIDs()
        blocked = self._table.selectionModel().blockSignals(True)
        self._table.setRowCount(len(ids))
        for row, one in enumerate(ids):
            self._fillRow(row, one)
        self.setSelectedSegmentIDs([one for one in chosen if one in ids])
        self._table.selectionModel().blockSignals(blocked)

    def _fillRow(self, row: int, segmentID: str) -> None:
        segment = self._segmentation.GetSegmentation().GetSegment(segmentID)
        display = self._segmentation.GetDisplayNode()
        shown = display is None or display.GetSegmentVisibility(segmentID)
        color = QTableWidgetItem()
        color.setBackground(QColor.fromRgbF(*segment.GetColor()))
        name = QTableWidgetItem(segment.GetName())
        name.setData(Qt.ItemDataRole.UserRole, segmentID)
        for column, item in enumerate((QTableWidgetItem("\u25cf" if shown else "\u25cb"), color, name)):
            self._table.setItem(row, column, item)

    def displayedSegmentIDs(self) -> list[str]:
        """IDs from top to bottom."""
        return (
            list(self._segmentation.GetSegmentation().GetSegmentIDs())
            if self._segmentation is not None
            else []
        )

    def segmentIDForRow(self, row: int) -> str:
        """The ID in a row."""
        return self.displayedSegmentIDs()[row]

    def rowForSegmentID(self, segmentID: str) -> int:
        """The row of an ID, -1 if it is not there."""
        ids = self.displayedSegmentIDs()
        return ids.index(segmentID) if segmentID in ids else -1

    def selectedSegmentIDs(self) -> list[str]:
        """IDs of the selected rows."""
        rows = sorted({index.row() for index in self._table.selectedIndexes()})
        items = [self._table.item(row, NAME) for row in rows]
        return [item.data(Qt.ItemDataRole.UserRole) for item in items if item is not None]

    def setSelectedSegmentIDs(self, ids: list[str]) -> None:
        """Select rows."""
        self._table.clearSelection()
        # Not selectRow: what it does depends on the keys that are held down.
        flags = QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows
        for one in ids:
            index = self._table.model().index(self.rowForSegmentID(one), NAME)
            self._table.selectionModel().select(index, flags)

    def clearSelection(self) -> None:
        """Select nothing."""
        self._table.clearSelection()

    def tableWidget(self) -> QTableWidget:
        """The table inside."""
        return self._table

    segmentCount = Property(int, lambda self: len(self.displayedSegmentIDs()))

    def _headerVisible(self) -> bool:
        return not self._table.horizontalHeader().isHidden()

    def _setHeaderVisible(self, shown: bool) -> None:
        self._table.horizontalHeader().setVisible(shown)

    headerVisible = Property(bool, _headerVisible, _setHeaderVisible)

    def _selectionMode(self) -> int:
        return self._table.selectionMode().value

    @Slot(int)
    def setSelectionMode(self, mode: int) -> None:
        """How many rows can be selected."""
        self._table.setSelectionMode(QAbstractItemView.SelectionMode(int(mode)))

    selectionMode = Property(int, _selectionMode, setSelectionMode)
