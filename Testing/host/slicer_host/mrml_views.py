"""``qMRMLPlotView``, ``qMRMLPlotWidget`` and ``qMRMLTableView``, drawn from the real MRML nodes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from PySide6.QtCore import Property, QPointF, QRectF, Qt, Signal, Slot
from PySide6.QtGui import QColor, QPainter, QPen, QPolygonF
from PySide6.QtWidgets import QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget
from vtk.util.numpy_support import vtk_to_numpy

from slicer_host.mrml_widgets import qMRMLWidget
from slicer_host.observers import Observers
from slicer_host.stored import stored

LEFT, RIGHT, TOP, BOTTOM = 52, 12, 24, 36


@dataclass(frozen=True)
class Curve:
    """One series of a chart: points in the chart's units."""

    name: str
    color: QColor
    x: np.ndarray
    y: np.ndarray


def curves(chart: Any) -> list[Curve]:
    """The series of a chart node that can be drawn."""
    found = []
    for index in range(chart.GetNumberOfPlotSeriesNodes()):
        series = chart.GetNthPlotSeriesNode(index)
        table = series.GetTableNode().GetTable() if series.GetTableNode() is not None else None
        y = table.GetColumnByName(series.GetYColumnName() or "") if table is not None else None
        if y is None or y.GetNumberOfTuples() == 0:
            continue
        x = table.GetColumnByName(series.GetXColumnName() or "")
        heights = vtk_to_numpy(y).astype(float)
        places = vtk_to_numpy(x).astype(float) if x is not None else np.arange(len(heights), dtype=float)
        found.append(Curve(series.GetName(), QColor.fromRgbF(*series.GetColor()), places, heights))
    return found


class qMRMLPlotView(QWidget):
    """A chart: axes, curves and a legend."""

    mrmlSceneChanged = Signal(object)
    dataSelected = Signal(object, object)
    title = stored(str, "title", "")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._view: Any = None
        self._watch = Observers(self)
        self.setMinimumHeight(150)

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        """Take a scene."""
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)
            if scene is None:
                self.setMRMLPlotViewNode(None)

    @Slot(object)
    def setMRMLPlotViewNode(self, node: Any) -> None:
        """Show the chart of a view node, and follow it."""
        self._view = node
        self._follow()

    def mrmlPlotViewNode(self) -> Any:
        """The view node."""
        return self._view

    def _chart(self) -> Any:
        return self._view.GetPlotChartNode() if self._view is not None else None

    def _follow(self, *_given: Any) -> None:
        self._watch.clear()
        chart = self._chart()
        watched = [self._view, chart]
        for index in range(chart.GetNumberOfPlotSeriesNodes() if chart is not None else 0):
            series = chart.GetNthPlotSeriesNode(index)
            watched += [series, series.GetTableNode()]
        for node in watched:
            if node is not None:
                self._watch.add(node, "ModifiedEvent", type(self)._follow)
        self.update()

    @Slot()
    def fitToContent(self) -> None:
        """The host's chart always fits."""
        self.update()

    def paintEvent(self, _event: Any) -> None:
        """Draw the chart."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), Qt.GlobalColor.white)
        chart = self._chart()
        if chart is None:
            return
        area = QRectF(LEFT, TOP, self.width() - LEFT - RIGHT, self.height() - TOP - BOTTOM)
        painter.drawText(
            QRectF(0, 2, self.width(), TOP), Qt.AlignmentFlag.AlignCenter, chart.GetTitle() or ""
        )
        painter.drawText(
            QRectF(LEFT, area.bottom() + 18, area.width(), 16),
            Qt.AlignmentFlag.AlignCenter,
            chart.GetXAxisTitle() or "",
        )
        drawn = curves(chart)
        if drawn:
            _drawCurves(painter, area, drawn)


def _range(values: list[np.ndarray]) -> tuple[float, float]:
    finite = np.concatenate([one[np.isfinite(one)] for one in values])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _drawCurves(painter: QPainter, area: QRectF, drawn: list[Curve]) -> None:
    xs, ys = _range([one.x for one in drawn]), _range([one.y for one in drawn])
    _drawAxes(painter, area, xs, ys)
    for row, curve in enumerate(drawn):
        painter.setPen(QPen(curve.color, 2))
        across = area.left() + (curve.x - xs[0]) / (xs[1] - xs[0]) * area.width()
        up = area.bottom() - (curve.y - ys[0]) / (ys[1] - ys[0]) * area.height()
        kept = np.isfinite(across) & np.isfinite(up)
        painter.drawPolyline(QPolygonF([QPointF(a, b) for a, b in zip(across[kept], up[kept], strict=True)]))
        place = QRectF(area.right() - 160, area.top() + 4 + 16 * row, 156, 16)
        painter.drawText(place, Qt.AlignmentFlag.AlignRight, curve.name)


def _drawAxes(painter: QPainter, area: QRectF, xs: tuple[float, float], ys: tuple[float, float]) -> None:
    painter.setPen(QPen(Qt.GlobalColor.gray, 1))
    painter.drawRect(area)
    for part in (0.0, 0.5, 1.0):
        x, y = area.left() + part * area.width(), area.bottom() - part * area.height()
        painter.drawText(
            QRectF(x - 40, area.bottom() + 2, 80, 16),
            Qt.AlignmentFlag.AlignHCenter,
            f"{xs[0] + part * (xs[1] - xs[0]):.4g}",
        )
        painter.drawText(
            QRectF(0, y - 8, LEFT - 6, 16),
            Qt.AlignmentFlag.AlignRight,
            f"{ys[0] + part * (ys[1] - ys[0]):.3g}",
        )


class qMRMLPlotWidget(qMRMLWidget):
    """A plot view in a frame."""

    viewLabel = stored(str, "viewLabel", "")
    viewColor = stored(QColor, "viewColor", QColor())

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._plot = qMRMLPlotView()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._plot)
        self.mrmlSceneChanged.connect(self._plot.setMRMLScene)

    def plotView(self) -> qMRMLPlotView:
        """The view inside."""
        return self._plot

    @Slot(object)
    def setMRMLPlotViewNode(self, node: Any) -> None:
        """Show the chart of a view node."""
        self._plot.setMRMLPlotViewNode(node)

    def mrmlPlotViewNode(self) -> Any:
        """The view node."""
        return self._plot.mrmlPlotViewNode()


class qMRMLTableView(QTableWidget):
    """A table node's content."""

    mrmlSceneChanged = Signal(object)
    selectionChanged = Signal()
    firstColumnLocked = stored(bool, "firstColumnLocked", False)
    firstRowLocked = stored(bool, "firstRowLocked", False)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._node: Any = None
        self._transposed = False
        self._watch = Observers(self)

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        """Take a scene."""
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        """The scene."""
        return self._scene

    @Slot(object)
    def setMRMLTableNode(self, node: Any) -> None:
        """Show a table node, and follow it."""
        self._watch.clear()
        self._node = node
        if node is not None:
            self._watch.add(node, "ModifiedEvent", type(self)._fill)
        self._fill()

    def mrmlTableNode(self) -> Any:
        """The table node."""
        return self._node

    def _fill(self, *_given: Any) -> None:
        table = self._node.GetTable() if self._node is not None else None
        columns = table.GetNumberOfColumns() if table is not None else 0
        rows = table.GetNumberOfRows() if table is not None else 0
        self.setColumnCount(columns)
        self.setRowCount(rows)
        for column in range(columns):
            self.setHorizontalHeaderItem(column, QTableWidgetItem(table.GetColumnName(column)))
            for row in range(rows):
                self.setItem(row, column, QTableWidgetItem(self._node.GetCellText(row, column)))

    transposed = Property(
        bool, lambda self: self._transposed, lambda self, value: setattr(self, "_transposed", value)
    )


__all__ = ["qMRMLPlotView", "qMRMLPlotWidget", "qMRMLTableView", "slicer"]
