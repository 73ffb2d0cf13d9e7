"""Label files: values on disk, class numbers in memory, always on the grid of the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crgloco.errors import LabelError, about
from crgloco.io.files import read_volume, write_volume
from crgloco.io.orientation import on_grid
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import LabelTable

# A slope in the header turns 3 into 3.0000001.
_ROUNDING = 1e-3


def read_label(path: Path, table: LabelTable, grid: Geometry | None = None) -> Volume:
    """Read a label as class numbers.

    Args:
        path: Any volume; whole numbers, or floats that stand for whole numbers.
        table: Gives each value its class number.
        grid: The grid of the image; the label must lie on it, in whatever order its axes are stored: Slicer
            turns left-handed images round when it loads them, and labels are drawn and saved so.

    Returns:
        uint8 class numbers (K, J, I), 0 for background; on the grid if one is given.

    Raises:
        InputError: The file cannot be read as a volume.
        GeometryError: The label lies on another grid.
        LabelError: A value is not in the table.
    """
    volume = read_volume(path)
    if grid is not None:
        volume = on_grid(volume, grid, f"The label {path} and its image")
    with about(path):
        classes = table.to_classes(_whole(volume.array))
    return Volume(classes, volume.geometry)


def write_label(classes: npt.NDArray[Any], geometry: Geometry, table: LabelTable, path: Path) -> None:
    """Write class numbers as the table's values, on exactly the given grid.

    Args:
        classes: Class numbers (K, J, I), any whole-number type.
        geometry: The grid of the image.
        table: Gives each class number its value.
        path: See ``files.write_volume``.

    Raises:
        GeometryError: The array does not fit the grid.
        LabelError: A class number is beyond the table.
        ResourceError: The disk is full or the folder cannot be written.
    """
    low, high = int(classes.min(initial=0)), int(classes.max(initial=0))
    if low < 0 or high >= table.classes:
        wrong = low if low < 0 else high
        msg = f"Class {wrong} is beyond the label table, whose last is {table.classes - 1}."
        raise LabelError(msg)
    write_volume(Volume(table.to_values(classes), geometry), path)


def _whole(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Round floats that miss a whole number only by the arithmetic of a header's slope."""
    if values.dtype.kind != "f" or not np.isfinite(values).all():
        return values
    rounded = np.rint(values)
    return rounded if bool((np.abs(values - rounded) < _ROUNDING).all()) else values
