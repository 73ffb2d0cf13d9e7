"""Linear sampling between grids that share axes: which two voxels each new voxel lies between.

Coordinates are in voxels of the prepared grid, counted at faces: voxel v spans v..v + 1. So a grid
is a first face and a cell size per axis, and ``align_corners=False`` needs no special case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from crgloco.io.volume import Shape

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """Cells along K, J, I over (a part of) the prepared grid.

    Attributes:
        start: First face per axis, in prepared voxels.
        cell: Size of a cell per axis, in prepared voxels.
        shape: Number of cells per axis.
    """

    start: Triple
    cell: Triple
    shape: Shape

    @classmethod
    def over(cls, field: Shape, shape: Shape) -> Grid:
        """Return the grid of that many cells over a prepared volume of ``field`` voxels."""
        k, j, i = (n / cells for n, cells in zip(field, shape, strict=True))
        return cls((0.0, 0.0, 0.0), (k, j, i), shape)

    def centres(self, axis: int) -> npt.NDArray[np.float64]:
        """Return the (shape[axis],) centres of the cells along an axis, in prepared voxels."""
        points = self.start[axis] + (np.arange(self.shape[axis]) + 0.5) * self.cell[axis]
        return points.astype(np.float64)

    def faces(self, axis: int) -> npt.NDArray[np.float64]:
        """Return the (shape[axis] + 1,) faces of the cells along an axis, in prepared voxels."""
        return (self.start[axis] + np.arange(self.shape[axis] + 1) * self.cell[axis]).astype(np.float64)

    def taps(self, axis: int, points: npt.NDArray[np.float64]) -> Taps:
        """Return between which cells the (N,) points (prepared voxels) lie; the outermost cell repeats."""
        index = np.clip((points - self.start[axis]) / self.cell[axis] - 0.5, 0, self.shape[axis] - 1)
        # Equal grids must give exact copies: remove the rounding of the two divisions.
        index = np.where(np.abs(index - np.round(index)) < 1e-9, np.round(index), index)
        lower = np.floor(index).astype(np.int64)
        upper = np.minimum(lower + 1, self.shape[axis] - 1)
        fraction = index - lower
        return Taps(lower, upper, (1 - fraction).astype(np.float32), fraction.astype(np.float32))


@dataclass(frozen=True)
class Taps:
    """For each of N new voxels along one axis: two source voxels and their weights, (N,) each."""

    lower: npt.NDArray[np.int64]
    upper: npt.NDArray[np.int64]
    lower_weight: npt.NDArray[np.float32]
    upper_weight: npt.NDArray[np.float32]

    def part(self, start: int, stop: int) -> Taps:
        """Return the taps of the new voxels ``start..stop``."""
        return Taps(
            self.lower[start:stop],
            self.upper[start:stop],
            self.lower_weight[start:stop],
            self.upper_weight[start:stop],
        )

    def within(self, start: int, stop: int) -> Taps:
        """Return the taps counted from ``start``; source voxels outside ``start..stop`` weigh nothing."""

        def weigh(index: npt.NDArray[np.int64], weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            return np.where((index >= start) & (index < stop), weight, np.float32(0))

        return Taps(
            np.clip(self.lower, start, stop - 1) - start,
            np.clip(self.upper, start, stop - 1) - start,
            weigh(self.lower, self.lower_weight),
            weigh(self.upper, self.upper_weight),
        )

    @property
    def source(self) -> tuple[int, int]:
        """First source voxel that is used, and the one behind the last."""
        used_upper = np.where(self.upper_weight > 0, self.upper, self.lower)
        return int(self.lower.min()), int(used_upper.max()) + 1

    def touching(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of new voxels that use a source voxel in ``start..stop``; (0, 0) if none."""
        uses = (self.lower < stop) & (self.lower >= start) & (self.lower_weight > 0)
        uses |= (self.upper < stop) & (self.upper >= start) & (self.upper_weight > 0)
        found = np.flatnonzero(uses)
        return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)

    def copies(self, length: int) -> bool:
        """Whether sampling an axis of that many voxels changes nothing."""
        return (
            len(self.lower) == length
            and bool(np.array_equal(self.lower, np.arange(length)))
            and bool(np.all(self.lower_weight == 1))
            and bool(np.all(self.upper_weight == 0))
        )


def sample(tensor: torch.Tensor, taps: tuple[Taps, Taps, Taps]) -> torch.Tensor:
    """Sample (C, k, j, i), any float type, at the taps of the three axes; float32, also under autocast.

    Along K and J two rows are mixed; along I a matrix is multiplied: gathering single numbers is slow.
    """
    result = tensor
    if not taps[0].copies(result.shape[1]):
        result = _mix(result, 1, taps[0])
    result = result.float()
    if not taps[2].copies(result.shape[3]):
        with torch.autocast(result.device.type, enabled=False):
            result = torch.matmul(result, _matrix(taps[2], result.shape[3], result.device).T)
    if not taps[1].copies(result.shape[2]):
        result = _mix(result, 2, taps[1])
    return result


def _mix(tensor: torch.Tensor, axis: int, taps: Taps) -> torch.Tensor:
    shape = [-1 if other == axis else 1 for other in range(4)]
    device = tensor.device
    lower = torch.index_select(tensor, axis, torch.from_numpy(taps.lower).to(device)).float()
    upper = torch.index_select(tensor, axis, torch.from_numpy(taps.upper).to(device)).float()
    lower *= torch.from_numpy(taps.lower_weight).to(device).reshape(shape)
    return lower.addcmul_(upper, torch.from_numpy(taps.upper_weight).to(device).reshape(shape))


def _matrix(taps: Taps, length: int, device: torch.device) -> torch.Tensor:
    matrix = np.zeros((len(taps.lower), length), np.float32)
    rows = np.arange(len(taps.lower))
    np.add.at(matrix, (rows, taps.lower), taps.lower_weight)
    np.add.at(matrix, (rows, taps.upper), taps.upper_weight)
    return torch.from_numpy(matrix).to(device)
