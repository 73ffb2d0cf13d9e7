"""The legend as a painted strip: the colour of every value from 0 to 1, blank where nothing is coloured."""

from typing import Any

import qt

from CRGLoCoSegmentLib.views.overlay_display import colourStops

STEPS = 200
HEIGHT = 12


def stripPixmap(overlay: Any, kind: str, uncertainBelow: float) -> Any:
    """Paint the legend of an overlay.

    Args:
        overlay: The overlay volume.
        kind: ``"confidence"`` or ``"disagreement"``.
        uncertainBelow: The threshold, 0..1.

    Returns:
        A ``QPixmap``, to be stretched to the width of its label.
    """
    stops = colourStops(overlay, kind, uncertainBelow, STEPS)  # what can fail does so before Qt paints
    pixmap = qt.QPixmap(STEPS, HEIGHT)
    pixmap.fill(qt.QColor(128, 128, 128))
    painter = qt.QPainter()
    painter.begin(pixmap)
    for column, (_share, colour) in enumerate(stops):
        if colour is not None:
            painter.fillRect(column, 0, 1, HEIGHT, qt.QColor(colour))
    painter.end()
    return pixmap
