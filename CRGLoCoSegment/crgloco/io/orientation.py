"""From the axes of a file to canonical axes and back, exactly: voxels change places, never values.

The same anatomy may be stored axial, sagittal or coronal, and mirrored along any axis: 48 ways. Networks
must see one of them. Canonical is ITK's identity direction in LPS: K towards superior, J towards
posterior, I towards left. A grid that lies oblique gets the canonical axes that it is closest to.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from crgloco.io.volume import Geometry, Shape, Volume, assert_same_grid

Scalar = TypeVar("Scalar", bound=np.generic)
Points = npt.NDArray[np.int64]

# Assignments whose sums of direction cosines differ by less are equally close: headers are float32.
TIE = 1e-4


@dataclass(frozen=True)
class Orientation:
    """Which axes of a stored grid are the canonical ones, and which of them run backwards.

    Attributes:
        order: For canonical K, J, I: the stored axis (0 = K) that runs along it.
        flips: For canonical K, J, I: whether that stored axis runs the other way.
    """

    order: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    @classmethod
    def of(cls, geometry: Geometry) -> Orientation:
        """Return the way of a grid to the closest canonical axes.

        Of the six assignments of stored to canonical axes, the one with the largest sum of direction
        cosines. A tie, at 45 degrees, is decided by how the axes lie in the patient, so that it does not
        depend on the order in which they are stored. The result is right-handed.
        """
        return cls._closest(np.asarray(geometry.direction, float))

    @classmethod
    def onto(cls, geometry: Geometry, wanted: Geometry) -> Orientation:
        """Return the way of a grid to the closest axes of another one, instead of canonical ones.

        Whether that grid is then reached is not said: compare it with what ``apply_geometry`` gives.
        """
        return cls._closest(np.asarray(wanted.direction, float).T @ np.asarray(geometry.direction, float))

    @classmethod
    def _closest(cls, direction: npt.NDArray[np.float64]) -> Orientation:
        stored = direction[::-1, ::-1]  # rows z, y, x; columns K, J, I
        turned = {order: _forwards(stored[:, order]) for order in itertools.permutations(range(3))}
        closest = max(float(np.trace(axes)) for axes in turned.values())
        near = [order for order, axes in turned.items() if np.trace(axes) > closest - TIE]
        k, j, i = max(near, key=lambda order: tuple(np.round(turned[order], 3).ravel().tolist()))
        along = (stored[0, k], stored[1, j], stored[2, i])
        return cls((k, j, i), (bool(along[0] < 0), bool(along[1] < 0), bool(along[2] < 0)))

    @property
    def is_canonical(self) -> bool:
        """Whether nothing has to be done."""
        return self == CANONICAL

    def apply_geometry(self, geometry: Geometry) -> Geometry:
        """Return the canonical grid: every voxel stays where it is, in mm."""
        if self.is_canonical:
            return geometry
        order = list(self.order)
        first = self.undo_voxels(np.zeros((1, 3), np.int64), geometry.shape)[0]
        origin = (geometry.affine @ [*first[::-1], 1.0])[:3]
        columns = np.asarray(geometry.direction, float)[:, ::-1][:, order] * np.where(self.flips, -1.0, 1.0)
        direction = tuple((row[2], row[1], row[0]) for row in columns.tolist())
        k, j, i = (geometry.shape[axis] for axis in order)
        a, b, c = (geometry.spacing[axis] for axis in order)
        x, y, z = origin.tolist()
        return Geometry((k, j, i), (a, b, c), (x, y, z), direction)

    @overload
    def apply(self, stored: Volume) -> Volume: ...

    @overload
    def apply(self, stored: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]: ...

    def apply(self, stored: Volume | npt.NDArray[Any]) -> Volume | npt.NDArray[Any]:
        """Return the canonical view (K, J, I) of a stored array or volume; nothing is copied."""
        if self.is_canonical:
            return stored
        if isinstance(stored, Volume):
            return Volume(self.apply(stored.array), self.apply_geometry(stored.geometry))
        return stored.transpose(self.order)[self._steps()]

    def undo(self, canonical: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Return the view of a canonical array (K, J, I) in stored order; nothing is copied."""
        if self.is_canonical:
            return canonical
        k, j, i = np.argsort(self.order).tolist()
        return canonical[self._steps()].transpose((k, j, i))

    def zeros(self, shape: Shape) -> npt.NDArray[np.uint8]:
        """Return a canonical array (K, J, I) of that shape to be filled, whose ``undo`` is contiguous."""
        sizes = dict(zip(self.order, shape, strict=True))
        return self.apply(np.zeros((sizes[0], sizes[1], sizes[2]), np.uint8))

    def voxels(self, points: Points, shape: Shape) -> Points:
        """Return where stored voxels are in the canonical array.

        Args:
            points: (N, 3) indices K, J, I of the stored array.
            shape: Of the stored array.
        """
        moved = points[:, list(self.order)]
        return np.where(self.flips, self._last(shape) - moved, moved)

    def undo_voxels(self, points: Points, shape: Shape) -> Points:
        """Return where canonical voxels, (N, 3), are in the stored array, whose shape is given."""
        moved = np.empty_like(points)
        moved[:, list(self.order)] = np.where(self.flips, self._last(shape) - points, points)
        return moved

    def _steps(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flipped else 1) for flipped in self.flips)

    def _last(self, shape: Shape) -> Points:
        return np.array([shape[axis] - 1 for axis in self.order], np.int64)


CANONICAL = Orientation()


def canonical_geometry(geometry: Geometry) -> Geometry:
    """Return the grid with canonical axes; every voxel stays where it is, in mm."""
    return Orientation.of(geometry).apply_geometry(geometry)


def turned_onto(volume: Volume, grid: Geometry) -> Volume | None:
    """Return a volume with its axes stored as those of a grid, if its voxels are those of the grid.

    Exact: voxels change places in the array, and none moves in the patient.

    Args:
        volume: For example one that Slicer has turned round when it loaded it.
        grid: What the answer lies on.

    Returns:
        A view, or ``None`` if the voxels lie elsewhere by more than ``Geometry.same_grid`` allows.
    """
    way = Orientation.onto(volume.geometry, grid)
    if not grid.same_grid(way.apply_geometry(volume.geometry)):
        return None
    return Volume(way.apply(volume.array), grid)


def on_grid(volume: Volume, grid: Geometry, what: str) -> Volume:
    """Return a volume on the grid whose voxels it has, in whatever order its axes are stored.

    Args:
        volume: See ``turned_onto``.
        grid: What the answer lies on.
        what: Names the volume, and then the owner of the grid, for example ``"Channels 1 and 0"``.

    Raises:
        GeometryError: The voxels lie elsewhere.
    """
    turned = turned_onto(volume, grid)
    if turned is None:
        assert_same_grid(volume.geometry, grid, what)
    return turned or volume


def _forwards(axes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn round the columns that run against their canonical axis."""
    return axes * np.where(np.diag(axes) < 0, -1.0, 1.0)
