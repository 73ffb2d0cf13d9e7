"""One scan in memory: an array (K, J, I) and where it lies in the patient.

This is the one type that floors exchange. K, J, I are slice, row and column of the array; x, y, z
are millimetres in the patient, LPS (left, posterior, superior), as in DICOM and ITK.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crgloco.errors import GeometryError

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]

# Files store directions as float32 or as quaternions: equal grids differ by about 1e-5 of a voxel.
TOLERANCE_MM = 1e-3
TOLERANCE_DIRECTION = 1e-4


@dataclass(frozen=True)
class Geometry:
    """Where a grid lies.

    Attributes:
        shape: Voxels along K, J, I.
        spacing: Millimetres along K, J, I (that order, unlike ITK).
        origin: Centre of voxel (0, 0, 0): x, y, z in mm, LPS.
        direction: Three rows of a 3 x 3 matrix as ITK gives it: column 0 is the unit vector along
            I, column 1 along J, column 2 along K. May be left-handed.
    """

    shape: Shape
    spacing: Spacing
    origin: tuple[float, float, float]
    direction: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

    def __post_init__(self) -> None:
        matrix = np.asarray(self.direction, float)
        shape: tuple[int, ...] = self.shape
        if len(shape) != 3 or min(shape) < 1:
            msg = f"A volume needs three axes of at least one voxel; found the shape {self.shape}."
            raise GeometryError(msg)
        if not all(np.isfinite(self.spacing)) or min(self.spacing) <= 0:
            msg = f"Voxel sizes must be positive; found {self.spacing} mm."
            raise GeometryError(msg)
        if not all(np.isfinite(self.origin)):
            msg = f"The position of a volume must be known in mm; found {self.origin}."
            raise GeometryError(msg)
        if (
            matrix.shape != (3, 3)
            or not np.isfinite(matrix).all()
            or not np.allclose(matrix.T @ matrix, np.eye(3), atol=1e-3)
        ):
            msg = f"The axes of a volume must be orthogonal unit vectors; found {self.direction}."
            raise GeometryError(msg)

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """4 x 4 matrix from (i, j, k, 1) to (x, y, z, 1) in mm, LPS."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(self.direction, float) * np.asarray(self.spacing[::-1], float)
        matrix[:3, 3] = self.origin
        return matrix

    def same_grid(self, other: Geometry) -> bool:
        """Whether every voxel of the other grid lies where ours does.

        The tolerance is ``TOLERANCE_MM``, or a tenth of a voxel where voxels are that small.
        """
        nearby = min(TOLERANCE_MM, 0.1 * min(self.spacing))
        return (
            self.shape == other.shape
            and bool(np.allclose(self.direction, other.direction, rtol=0, atol=TOLERANCE_DIRECTION))
            and bool(np.allclose(self.spacing, other.spacing, atol=0, rtol=1e-4))
            and bool(np.allclose(self.origin, other.origin, rtol=0, atol=nearby))
        )

    def with_shape(self, shape: Shape) -> Geometry:
        """Return the grid of that many voxels over the same field of view.

        The outer faces stay; so the centre of the first voxel moves by half the change of voxel size.
        """
        ratio = np.asarray(self.shape, float) / np.asarray(shape, float)
        spacing = np.asarray(self.spacing, float) * ratio
        shift = (ratio - 1) / 2
        first = self.affine @ np.array([*shift[::-1], 1.0])
        return Geometry(shape, tuple(spacing.tolist()), tuple(first[:3].tolist()), self.direction)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, ready for JSON, under the names of the attributes."""
        return {
            "shape": list(self.shape),
            "spacing": list(self.spacing),
            "origin": list(self.origin),
            "direction": [list(row) for row in self.direction],
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Geometry:
        """Read what ``to_json`` wrote.

        Raises:
            GeometryError: A part is missing, or it is no grid that can be used.
        """
        try:
            i, j, k = (_triple(row) for row in entry["direction"])
            shape = _triple(entry["shape"])
            if any(count != int(count) for count in shape):
                msg = f"voxels are counted in whole numbers: {entry['shape']}"
                raise ValueError(msg)
            counts = (int(shape[0]), int(shape[1]), int(shape[2]))
            return cls(counts, _triple(entry["spacing"]), _triple(entry["origin"]), (i, j, k))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            msg = (
                "A geometry needs 'shape' and 'spacing' (K, J, I), 'origin' (x, y, z, LPS) and 'direction' "
                f"(three rows); {error!r}."
            )
            raise GeometryError(msg) from error

    def describe(self) -> str:
        """Return shape, spacing and origin in words, for messages."""
        shape = " x ".join(str(n) for n in self.shape[::-1])
        origin = ", ".join(f"{mm:z.2f}" for mm in self.origin)
        return f"{shape} voxels of {in_mm(self.spacing)} at ({origin})"


def in_mm(spacing: Spacing) -> str:
    """Return a voxel size (mm along K, J, I) in words, I first as users know it: ``0.5 x 0.5 x 3 mm``."""
    return " x ".join(f"{mm:.3g}" for mm in spacing[::-1]) + " mm"


@dataclass(frozen=True)
class Volume:
    """A scan or a label: array (K, J, I), any real dtype, and its geometry.

    Raises:
        GeometryError: The array's shape is not the geometry's.
    """

    array: npt.NDArray[np.generic]
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.array.shape != self.geometry.shape:
            msg = f"An array of shape {self.array.shape} does not fit the grid {self.geometry.shape}."
            raise GeometryError(msg)


def assert_same_grid(first: Geometry, second: Geometry, what: str) -> None:
    """Refuse two grids that must be one.

    Args:
        first: Grid of what ``what`` names first.
        second: Grid of the other.
        what: Names both, for example ``"Label case_01.nii.gz and its image"``.

    Raises:
        GeometryError: With both grids in words.
    """
    if not first.same_grid(second):
        msg = (
            f"{what} lie on different grids: {first.describe()} against {second.describe()}. "
            "Nothing was resampled; export the label on the grid of its image."
        )
        raise GeometryError(msg)


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
