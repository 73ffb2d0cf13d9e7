"""NRRD files with the exact geometry they were read with.

NRRD stores each axis as one vector, voxel size times direction. ITK's writer rounds this product
so that every reading and writing moves the grid by one last digit. Here the vector is chosen such
that it reads back as it was, wherever such a vector exists: always for a grid that came from a NRRD.
"""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from crgloco.errors import GeometryError, InputError
from crgloco.io.volume import Geometry, Volume

_COMPRESSION = 4
_NAMES = {
    "i1": "int8",
    "u1": "uint8",
    "i2": "int16",
    "u2": "uint16",
    "i4": "int32",
    "u4": "uint32",
    "i8": "int64",
    "u8": "uint64",
    "f4": "float",
    "f8": "double",
}


def check_spacings(path: Path, fields: Mapping[str, str]) -> None:
    """Refuse a voxel size that is no number, which ITK reads as 1 mm, and ``1,5`` as 1.

    Args:
        path: The file, for the message.
        fields: Those of its ``TextHeader``. One voxel along an axis needs no size; a header that names
            no size at all is left to ITK.

    Raises:
        GeometryError: A size or a direction along more than one voxel is no number.
    """
    vectors = re.findall(r"none|\([^)]*\)", fields.get("spacedirections", ""), re.IGNORECASE)
    counts, given = fields.get("sizes", "").split(), vectors or fields.get("spacings", "").split()
    for axis, (count, size) in enumerate(zip(counts, given, strict=False), 1):
        words = size.strip("()").split(",") if vectors else [size]
        if count != "1" and not all(_is_finite(word) for word in words):
            msg = (
                f"{path} does not tell the size of its voxels along axis {axis} (it says {size!r}). "
                "Export it again from its source."
            )
            raise GeometryError(msg)


def write(volume: Volume, path: Path) -> None:
    """Write a gzip-compressed ``.nrrd``; equal volumes give equal bytes.

    Raises:
        InputError: NRRD has no such number type.
        OSError: The file cannot be written.
    """
    kind = volume.array.dtype.newbyteorder("<")
    if kind.str[1:] not in _NAMES:
        msg = f"NRRD cannot hold voxels of the type {volume.array.dtype}."
        raise InputError(msg)
    array = np.ascontiguousarray(volume.array).astype(kind, copy=False)
    with path.open("wb") as file:
        file.write(_header(volume.geometry, _NAMES[kind.str[1:]]).encode("ascii"))
        with gzip.GzipFile("", "wb", _COMPRESSION, cast(IO[bytes], file), mtime=0) as packed:
            for plane in array:  # plane by plane: gzip keeps what one call gives until it ends
                packed.write(plane.reshape(-1).view(np.uint8).data)


def _is_finite(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _header(geometry: Geometry, kind: str) -> str:
    axes = np.asarray(geometry.direction, float).T
    vectors = [_vector(axis, spacing) for axis, spacing in zip(axes, geometry.spacing[::-1], strict=True)]
    lines = [
        "NRRD0004",
        f"type: {kind}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(count) for count in geometry.shape[::-1])}",
        f"space directions: {' '.join(_text(vector) for vector in vectors)}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_text(np.asarray(geometry.origin, float))}",
    ]
    return "\n".join(lines) + "\n\n"


def _vector(direction: npt.NDArray[np.float64], spacing: float) -> npt.NDArray[np.float64]:
    """Return the vector near ``direction * spacing`` that reads back as exactly these two."""
    middle = direction * spacing
    steps = np.array(sorted(product(range(-4, 5), repeat=3), key=lambda step: sum(abs(n) for n in step)))
    tried = np.where(middle == 0, 0.0, middle + steps * np.spacing(np.abs(middle)))
    length = np.sqrt(tried[:, 0] ** 2 + tried[:, 1] ** 2 + tried[:, 2] ** 2)
    # teem multiplies by the reciprocal, which is not the same as dividing.
    fits = (length == spacing) & (tried * (1 / length[:, None]) == direction).all(axis=1)
    return cast(npt.NDArray[np.float64], tried[int(np.argmax(fits))])


def _text(vector: npt.NDArray[np.float64]) -> str:
    return "(" + ",".join(f"{part:.17g}" for part in vector) + ")"
