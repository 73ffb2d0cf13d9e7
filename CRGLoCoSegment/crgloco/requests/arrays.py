"""Volumes that cross the border between two programs: a plain ``.npy`` file and where it lies.

Label volumes hold the values of their label table, never class numbers. Files are uncompressed, so that
neither side waits for a compressor, and appear whole or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crgloco.atomic import appearing, saving
from crgloco.errors import GeometryError, InputError, LabelError, OptionError
from crgloco.io.volume import Geometry, Volume
from crgloco.requests import fields as read
from crgloco.requests.fields import Answer, Fields

SUFFIX = ".npy"


def read_volume(reference: Any, what: str) -> Volume:
    """Read an array that a program wrote for us.

    Args:
        reference: ``{"file": path, "geometry": {...}}``.
        what: Names the volume in messages, for example ``"The label"``.

    Raises:
        OptionError: It is no such reference.
        InputError: The file is missing, damaged, no plain array of real numbers.
        GeometryError: The array does not fit its geometry.
    """
    if not isinstance(reference, dict):
        msg = f"{what} must be an object with 'file' and 'geometry'; found {reference!r}."
        raise OptionError(msg)
    grid = Geometry.from_json(read.mapping(reference, "geometry"))
    path = read.path(reference, "file")
    array = _load(path)
    if array.dtype.kind not in "biuf":
        msg = f"{what} ({path}) holds {array.dtype}; real numbers are needed."
        raise InputError(msg)
    if array.shape != grid.shape:
        msg = f"{what} ({path}) has the shape {array.shape}, its geometry says {grid.shape}."
        raise GeometryError(msg)
    return Volume(array, grid)


def read_label(reference: Any) -> Volume:
    """Read an array of label values; raises as ``read_volume``.

    Raises:
        LabelError: It does not hold whole numbers.
    """
    volume = read_volume(reference, "The label")
    if volume.array.dtype.kind == "f":
        msg = f"The label holds {volume.array.dtype}; the whole numbers of its label table are needed."
        raise LabelError(msg)
    return volume


def read_volumes(fields: Fields, key: str) -> tuple[Volume, ...]:
    """Read a list of references, one per channel; empty if the field is missing or null.

    Raises:
        OptionError: It is no list.
    """
    references = fields.get(key)
    if references is None:
        return ()
    if not isinstance(references, list):
        msg = f"{key!r} must be a list of arrays, one per channel; found {references!r}."
        raise OptionError(msg)
    names = [f"Channel {number}" if len(references) > 1 else "The image" for number in range(len(references))]
    return tuple(read_volume(*pair) for pair in zip(references, names, strict=True))


class ArrayFolder:
    """Where the arrays of one answer go.

    Args:
        folder: Made if missing.

    Raises:
        ResourceError: It cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names: Answer = {}
        with saving(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, kind: str, array: npt.NDArray[np.generic]) -> None:
        """Write an array as ``<kind>.npy``; ``names`` then holds kind -> file name.

        Raises:
            ResourceError: The disk is full, or the folder cannot be written; nothing is left of it.
        """
        path = self._folder / f"{kind}{SUFFIX}"
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        with appearing(path) as part, part.open("wb") as file:
            np.save(file, native, allow_pickle=False)
        self.names[kind] = path.name


def _load(path: Path) -> npt.NDArray[Any]:
    try:
        with path.open("rb") as file:
            loaded: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}."
        raise InputError(msg) from error
    except (ValueError, EOFError, MemoryError) as error:
        msg = f"{path} is no plain array, or is cut off ({error})."
        raise InputError(msg) from error
    return loaded
