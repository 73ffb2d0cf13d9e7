"""A small legend in one pane: what the colour over the uncertain voxels means.

Slicer's own colour legend stands in every pane, takes a quarter of a narrow one, and would tell the
stored numbers 0..255. This one is as large as a thumbnail and lies in a corner that is mostly air.
"""

from typing import Any

import vtk
from slicer.i18n import tr as _

from CRGLoCoSegmentLib.views.overlay_display import colourStops
from CRGLoCoSegmentLib.views.texts import addNamed, newText, removeNamed

STRIP = "CRGLoCoSegmentLegendStrip"
TEXT = "CRGLoCoSegmentLegendText"
WIDTH, HEIGHT, MARGIN = 120, 8, 8


def legendText(kind: str, uncertainBelow: float) -> str:
    """Say what is coloured, for example ``"Confidence 0 to 70 %"``."""
    percent = round(uncertainBelow * 100)
    if kind == "confidence":
        return _("Confidence 0 to {percent} %").format(percent=percent)
    return _("Disagreement {percent} to 100 %").format(percent=100 - percent)


def drawLegend(renderer: Any, overlay: Any, kind: str, uncertainBelow: float) -> None:
    """Draw the legend into the lower right corner of a pane.

    Args:
        renderer: Of the pane's view.
        overlay: The overlay volume.
        kind: ``"confidence"`` or ``"disagreement"``.
        uncertainBelow: The threshold, 0..1.
    """
    eraseLegend(renderer)
    colours = [colour for _share, colour in colourStops(overlay, kind, uncertainBelow, 256) if colour]
    if not colours:
        return
    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    mapper.SetInputData(_strip(colours))
    strip = addNamed(renderer, vtk.vtkActor2D(), STRIP)
    strip.SetMapper(mapper)
    _putIntoCorner(strip, WIDTH + MARGIN, MARGIN)
    text = newText(renderer, TEXT, 13)
    text.SetInput(legendText(kind, uncertainBelow))
    text.GetTextProperty().SetJustificationToRight()
    _putIntoCorner(text, MARGIN, MARGIN + HEIGHT + 4)


def eraseLegend(renderer: Any) -> None:
    """Take the legend away."""
    removeNamed(renderer, STRIP, TEXT)


def _putIntoCorner(actor: Any, left: int, up: int) -> None:
    """Place an actor so many pixels from the lower right corner, whatever the size of the view."""
    corner = vtk.vtkCoordinate()
    corner.SetCoordinateSystemToNormalizedViewport()
    corner.SetValue(1.0, 0.0, 0.0)
    position = actor.GetPositionCoordinate()
    position.SetCoordinateSystemToViewport()
    position.SetReferenceCoordinate(corner)
    position.SetValue(-left, up, 0.0)


def _strip(colours: list[str]) -> Any:
    """Return an image of the colours from left to right."""
    image = vtk.vtkImageData()
    image.SetDimensions(WIDTH, HEIGHT, 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    for column in range(WIDTH):
        colour = colours[column * len(colours) // WIDTH]
        for row in range(HEIGHT):
            for channel in range(3):
                part = int(colour[1 + 2 * channel : 3 + 2 * channel], 16)
                image.SetScalarComponentFromDouble(column, row, 0, channel, part)
    return image
