"""The curve of a training, painted as it grows: loss on the left axis, validation Dice on the right one."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

Point = tuple[float, float]

# Okabe-Ito: told apart by the colour-blind, and on a dark background too.
LOSS, DICE = "#0072B2", "#D55E00"
LEFT, RIGHT, TOP, BOTTOM = 44, 38, 22, 20  # pixels for numbers and legend
TICKS = 4
SMOOTHING = 0.1  # share of the newest loss in the thick line


class LearningCurve(qt.QWidget):
    """A small chart without any node in the scene, so that it neither is saved nor vanishes with it."""

    def __init__(self) -> None:
        qt.QWidget.__init__(self)
        self.losses: list[Point] = []
        self.scores: list[Point] = []
        self.lastUpdate = 0.0
        self.objectName = "learningCurve"
        self.minimumHeight = 170
        self.toolTip = _(
            "Loss: what the training makes smaller; the thick line is its running mean. Dice: overlap with "
            "your labels on cases that are kept for validation; 1 is perfect."
        )

    def setPoints(self, losses: Sequence[Point], scores: Sequence[Point], lastUpdate: float) -> None:
        """Show other points.

        Args:
            losses: ``(update, loss)``.
            scores: ``(update, Dice 0..1)``.
            lastUpdate: Right end of the axis; the newest point if that is further.
        """
        if (len(losses), len(scores), lastUpdate) == (len(self.losses), len(self.scores), self.lastUpdate):
            if list(losses[-1:]) == self.losses[-1:] and list(scores) == self.scores:
                return
        self.losses, self.scores, self.lastUpdate = list(losses), list(scores), float(lastUpdate)
        self.update()

    def paintEvent(self, event: Any) -> None:
        """Paint; Qt calls it."""
        del event
        painter = qt.QPainter(self)
        try:
            self._paint(painter)
        finally:
            # While a painter is alive Qt may not paint anything else here.
            painter.end()

    def _paint(self, painter: Any) -> None:
        painter.setRenderHint(qt.QPainter.Antialiasing)
        last = max([self.lastUpdate, 1.0, *(x for x, _y in self.losses[-1:] + self.scores[-1:])])
        highest = niceCeiling(max((y for _x, y in self.losses), default=1.0))
        self._axes(painter, last, highest)
        if not self.losses and not self.scores:
            self._text(painter, 0, self.height // 2 - 8, self.width, qt.Qt.AlignHCenter, _("No training yet"))
            return
        self._legend(painter)
        self._line(painter, self.losses, last, highest, _pen(LOSS, 1, 0.35))
        self._line(painter, smoothed(self.losses), last, highest, _pen(LOSS, 2))
        self._line(painter, self.scores, last, 1.0, _pen(DICE, 2))
        self._dots(painter, last)

    def _axes(self, painter: Any, last: float, highest: float) -> None:
        ink = self.palette.color(qt.QPalette.WindowText)
        painter.setPen(qt.QPen(ink))
        for tick in range(TICKS + 1):
            share = tick / TICKS
            y = self._y(share, 1.0)
            faint = qt.QColor(ink)
            faint.setAlphaF(0.15)
            painter.setPen(qt.QPen(faint))
            painter.drawLine(LEFT, y, self.width - RIGHT, y)
            painter.setPen(qt.QPen(qt.QColor(LOSS)))
            self._text(painter, 0, y - 8, LEFT - 4, qt.Qt.AlignRight, f"{highest * share:.3g}")
            painter.setPen(qt.QPen(qt.QColor(DICE)))
            self._text(painter, self.width - RIGHT + 4, y - 8, RIGHT, qt.Qt.AlignLeft, f"{share:g}")
        painter.setPen(qt.QPen(ink))
        below = self.height - BOTTOM + 2
        self._text(painter, LEFT, below, 40, qt.Qt.AlignLeft, "0")
        self._text(painter, LEFT, below, self._plotWidth(), qt.Qt.AlignHCenter, _("updates"))
        self._text(painter, LEFT, below, self._plotWidth(), qt.Qt.AlignRight, f"{last:g}")

    def _legend(self, painter: Any) -> None:
        painter.setPen(qt.QPen(qt.QColor(LOSS)))
        self._text(painter, 4, 2, self.width, qt.Qt.AlignLeft, _("Loss"))
        painter.setPen(qt.QPen(qt.QColor(DICE)))
        self._text(painter, 0, 2, self.width - 4, qt.Qt.AlignRight, _("Dice (validation)"))

    def _line(self, painter: Any, points: Sequence[Point], last: float, highest: float, pen: Any) -> None:
        painter.setPen(pen)
        for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
            painter.drawLine(self._x(x0, last), self._y(y0, highest), self._x(x1, last), self._y(y1, highest))

    def _dots(self, painter: Any, last: float) -> None:
        painter.setBrush(qt.QBrush(qt.QColor(DICE)))
        for x, y in self.scores:
            painter.drawEllipse(self._x(x, last) - 3, self._y(y, 1.0) - 3, 6, 6)

    def _x(self, update: float, last: float) -> int:
        return LEFT + round(self._plotWidth() * update / last)

    def _y(self, value: float, highest: float) -> int:
        plot = self.height - TOP - BOTTOM
        return TOP + round(plot * (1 - min(max(value / highest, 0.0), 1.0)))

    def _plotWidth(self) -> int:
        return max(self.width - LEFT - RIGHT, 1)

    def _text(self, painter: Any, x: int, y: int, width: int, alignment: int, text: str) -> None:
        painter.drawText(x, y, width, 16, alignment, text)


def niceCeiling(value: float) -> float:
    """The smallest 1, 2 or 5 of a power of ten that is not below a positive number."""
    if not value > 0 or math.isinf(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))


def smoothed(points: Sequence[Point], share: float = SMOOTHING) -> list[Point]:
    """The running mean of points, the newest with the given share."""
    result: list[Point] = []
    for x, y in points:
        mean = y if not result else result[-1][1] + share * (y - result[-1][1])
        result.append((x, mean))
    return result


def _pen(colour: str, width: int, opacity: float = 1.0) -> Any:
    shade = qt.QColor(colour)
    shade.setAlphaF(opacity)
    pen = qt.QPen(shade)
    pen.setWidth(width)
    return pen
