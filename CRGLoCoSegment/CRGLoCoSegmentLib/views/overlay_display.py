"""Colour over the uncertain voxels only: threshold, opacity and colours of the confidence overlays."""

from typing import Any

FULL = 255


def overlayOf(result: Any, kind: str) -> Any:
    """Return the overlay volume of a result, or ``None``; one that has lost its colours cannot be shown.

    Args:
        result: The result that is shown.
        kind: ``"confidence"``, ``"disagreement"`` or ``"none"``.
    """
    overlay = {"confidence": result.confidence, "disagreement": result.disagreement}.get(kind)
    display = overlay.GetDisplayNode() if overlay is not None else None
    return overlay if display is not None and display.GetColorNode() is not None else None


def shownRange(kind: str, uncertainBelow: float) -> tuple[float, float] | None:
    """Return the lowest and the highest stored value (0..255) that gets a colour; ``None`` if none does.

    Args:
        kind: Confidence below the threshold is coloured, or disagreement above 1 minus it.
        uncertainBelow: The threshold, 0..1.
    """
    limit = round(uncertainBelow * FULL)
    if limit <= 0:
        return None
    # Half a step away from the limit: which side it falls on must not hang on rounding.
    return (-0.5, limit - 0.5) if kind == "confidence" else (FULL - limit + 0.5, FULL + 0.5)


def colourUncertain(overlay: Any, kind: str, uncertainBelow: float) -> bool:
    """Colour the uncertain voxels of an overlay volume and no others.

    The colour of a value never changes: window and level are fixed to the whole range 0..1.

    Returns:
        Whether any value gets a colour. If not, the overlay must not be shown: a threshold outside of
        0..255 is clamped by VTK, and would colour the zeros.
    """
    shown = shownRange(kind, uncertainBelow)
    if shown is None:
        return False
    display = overlay.GetDisplayNode()
    wasModifying = display.StartModify()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, FULL)
    display.InterpolateOff()
    display.ApplyThresholdOn()
    display.SetThreshold(*shown)
    display.EndModify(wasModifying)
    return True


def colourStops(overlay: Any, kind: str, uncertainBelow: float, count: int) -> list[tuple[float, str | None]]:
    """Sample an overlay's colours for a legend.

    Args:
        overlay: The overlay volume.
        kind: ``"confidence"`` or ``"disagreement"``.
        uncertainBelow: The threshold, 0..1.
        count: How many samples, from 0 to 1.

    Returns:
        For every sample its value (0..1) and its colour ``#RRGGBB``, or ``None`` where nothing is coloured.
    """
    table = overlay.GetDisplayNode().GetColorNode().GetLookupTable()
    lower, upper = shownRange(kind, uncertainBelow) or (1.0, 0.0)
    stops: list[tuple[float, str | None]] = []
    for number in range(count):
        share = number / (count - 1)
        red, green, blue, _ = table.GetTableValue(round(share * (table.GetNumberOfTableValues() - 1)))
        colour = "#" + "".join(f"{round(part * 255):02x}" for part in (red, green, blue))
        stops.append((share, colour if lower <= share * FULL <= upper else None))
    return stops
