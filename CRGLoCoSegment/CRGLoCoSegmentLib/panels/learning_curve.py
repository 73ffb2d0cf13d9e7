"""The curve of a training, painted as it grows: loss on the left axis, validation Dice on the right one."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import qt
from slicer.i18n import tr as _

Point = tuple[float, float]

# After Okabe and Ito: told apart by the colour-blind, and a contrast of 3 to Slicer's light and dark themes.
# That is enough for lines and too little for texts.
LOSS, DICE = "#2E8BC8", "#D55E00"
TICKS = 4
SMOOTHING = 0.2  # share of the newest loss in the thick line
MOST_POINTS = 300  # painted: more than that a panel has no pixels for


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
        self.losses, self.scores, self.lastUpdate = list(losses), list(scores), float(lastUpdate)
        self.update()

    def paintEvent(self, event: Any) -> None:
        """Paint; Qt calls it."""
        del event
        painter = qt.QPainter(self)
        try:
            painter.setRenderHint(qt.QPainter.Antialiasing)
            _Picture(self, painter).paint()
        finally:
            # While a painter is alive Qt may not paint anything else here.
            painter.end()


class _Picture:
    """One painting of a curve: where everything lies at the widget's present size."""

    def __init__(self, curve: LearningCurve, painter: Any) -> None:
        self.curve, self.painter = curve, painter
        self.line = int(painter.fontMetrics().height())
        self.ink = curve.palette.color(qt.QPalette.WindowText)
        self.left, self.right = 3 * self.line, curve.width - 5 * self.line // 2
        self.top, self.bottom = 2 * self.line, curve.height - self.line - 4
        points = [*curve.losses[-1:], *curve.scores[-1:]]
        self.last = max([curve.lastUpdate, 1.0, *(x for x, _y in points)])
        self.highest = niceCeiling(max((y for _x, y in curve.losses), default=1.0))

    def paint(self) -> None:
        """Paint axes, legend and lines."""
        curve = self.curve
        if not curve.losses and not curve.scores:
            self.pen(self.ink)
            self.text(0, curve.height // 2, curve.width, qt.Qt.AlignHCenter, _("No curve yet"))
            return
        self.painter.setBrush(qt.QBrush(qt.QColor(DICE)))
        self.axes()
        losses = thinned(curve.losses, MOST_POINTS)
        self.curveLine(losses, self.highest, LOSS, 1, 0.35)
        self.curveLine(smoothed(losses), self.highest, LOSS, 2)
        self.curveLine(curve.scores, 1.0, DICE, 2)
        for x, y in curve.scores:
            self.dot(self.x(x), self.y(y, 1.0))

    def axes(self) -> None:
        """Paint the grid, its numbers and what they count."""
        for tick in range(TICKS + 1):
            share = tick / TICKS
            y = self.y(share, 1.0)
            self.pen(_shade(self.ink, 0.15))
            self.painter.drawLine(self.left, y, self.right, y)
            self.pen(self.ink)
            above = y - self.line // 2
            self.text(0, above, self.left - 4, qt.Qt.AlignRight, f"{self.highest * share:.3g}")
            self.text(self.right + 4, above, 3 * self.line, qt.Qt.AlignLeft, f"{share:g}")
        beside = self.line + 8
        self.text(beside, 0, self.curve.width, qt.Qt.AlignLeft, _("Loss"))
        self.text(0, 0, self.curve.width - beside, qt.Qt.AlignRight, _("Dice (validation)"))
        self.sample(4, LOSS)
        self.sample(self.curve.width - self.line - 4, DICE)
        self.dot(self.curve.width - self.line // 2 - 4, self.line // 2)
        self.pen(self.ink)
        width = self.right - self.left
        self.text(self.left, self.bottom + 3, width, qt.Qt.AlignLeft, "0")
        self.text(self.left, self.bottom + 3, width, qt.Qt.AlignHCenter, _("updates"))
        self.text(self.left, self.bottom + 3, width, qt.Qt.AlignRight, f"{self.last:g}")

    def sample(self, x: int, colour: str) -> None:
        """Paint a piece of a line beside its name."""
        self.pen(qt.QColor(colour), 2)
        self.painter.drawLine(x, self.line // 2, x + self.line, self.line // 2)

    def dot(self, x: int, y: int) -> None:
        """Paint a measured point of the validation."""
        self.painter.drawEllipse(x - 3, y - 3, 6, 6)

    def curveLine(
        self, points: Sequence[Point], highest: float, colour: str, width: int, opacity: float = 1.0
    ) -> None:
        """Paint straight lines from point to point."""
        self.pen(_shade(qt.QColor(colour), opacity), width)
        places = [(self.x(x), self.y(y, highest)) for x, y in points]
        for (x0, y0), (x1, y1) in pairwise(places):
            self.painter.drawLine(x0, y0, x1, y1)

    def x(self, update: float) -> int:
        """Return the pixel column of an update."""
        return self.left + round(max(self.right - self.left, 1) * update / self.last)

    def y(self, value: float, highest: float) -> int:
        """Return the pixel row of a value between 0 and the highest."""
        share = min(max(value / highest, 0.0), 1.0)
        return self.bottom - round((self.bottom - self.top) * share)

    def pen(self, colour: Any, width: int = 1) -> None:
        """Paint with this from now on."""
        pen = qt.QPen(colour)
        pen.setWidth(width)
        self.painter.setPen(pen)

    def text(self, x: int, y: int, width: int, alignment: int, text: str) -> None:
        """Paint one line of text."""
        self.painter.drawText(x, y, width, self.line, alignment, text)


def niceCeiling(value: float) -> float:
    """The smallest number that is not below a positive one and whose quarters are short to write."""
    if not value > 0 or math.isinf(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    factors = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)
    return next(factor * power for factor in factors if factor * power >= value * (1 - 1e-9))


def smoothed(points: Sequence[Point], share: float = SMOOTHING) -> list[Point]:
    """The running mean of points, the newest with the given share."""
    result: list[Point] = []
    for x, y in points:
        mean = y if not result else result[-1][1] + share * (y - result[-1][1])
        result.append((x, mean))
    return result


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many points, each the mean of its neighbours."""
    step = math.ceil(len(points) / most)
    if step <= 1:
        return list(points)
    groups = [points[start : start + step] for start in range(0, len(points), step)]
    return [(group[-1][0], sum(y for _x, y in group) / len(group)) for group in groups]


def _shade(colour: Any, opacity: float) -> Any:
    shade = qt.QColor(colour)
    shade.setAlphaF(opacity)
    return shade
