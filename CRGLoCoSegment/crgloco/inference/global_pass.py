"""The global branch over the whole field of view: low-resolution probabilities and features.

The padded volume is reduced once, on a grid of cells whose size is that of training; tiles of tensor
size are cut from it. A volume that fits the global window needs one tile: the window itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from crgloco.data.boxes import Box, triple
from crgloco.data.patches import axis_matrix
from crgloco.inference.execution import Execution, mirrors
from crgloco.inference.model import Branch, tensor_size
from crgloco.inference.sampling import Grid
from crgloco.inference.windows import gaussian_weight, spread
from crgloco.io.volume import Shape
from crgloco.progress import Reporter

TILE_OVERLAP = 0.25
# Tiles begin at multiples of this many cells, so that maps of stride 2 and 4 fall on one grid.
TILE_STEP = 4
# Maps above this size are kept in half precision.
HALF_ABOVE_BYTES = 256 * 2**20
# Slices that are reduced at once.
SLICES = 16


@dataclass(frozen=True)
class GlobalAnswer:
    """What the global branch says of a volume.

    Attributes:
        grid: Cells of the probabilities, over the padded volume.
        probabilities: (C, *grid.shape), float32 or float16, sum 1 per cell.
        feature_grid: Cells of the features.
        features: (F, *feature_grid.shape), or ``None``.
        field: Part of the prepared grid that the branch saw: first and last face per axis.
    """

    grid: Grid
    probabilities: torch.Tensor
    feature_grid: Grid | None
    features: torch.Tensor | None
    field: tuple[tuple[float, float], ...]

    def to(self, device: torch.device) -> GlobalAnswer:
        """Return the answer with its maps on the device."""
        features = None if self.features is None else self.features.to(device)
        return GlobalAnswer(self.grid, self.probabilities.to(device), self.feature_grid, features, self.field)


def lattice(shape: Shape, branch: Branch) -> tuple[Grid, Shape]:
    """Return the cells of the reduced, padded volume and its padded voxels.

    Args:
        shape: Voxels of the prepared volume.
        branch: The global branch.
    """
    start, cells, padded = [], [], []
    for length, window, tensor in zip(shape, branch.window, tensor_size(branch), strict=True):
        cell = window / tensor
        more = max(0, math.ceil(length / cell - 1e-9) - tensor)
        step = tile_step(tensor)
        count = tensor + math.ceil(more / step) * step
        total = max(round(count * cell), length) if more else window
        start.append((length - total) // 2)
        cells.append(count)
        padded.append(total)
    size = _triple(total / count for total, count in zip(padded, cells, strict=True))
    grid = Grid(_triple(start), size, triple(cells))
    return grid, triple(padded)


def reduce_volume(
    image: npt.NDArray[np.float16], grid: Grid, padded: Shape, fill: torch.Tensor, *, antialias: bool
) -> torch.Tensor:
    """Reduce the padded volume to the cells of ``grid``; the same numbers as ``patches.resize``.

    Args:
        image: (channels, K, J, I).
        grid: Cells over the padded volume.
        padded: Voxels of the padded volume.
        fill: (channels,) value of the padding.
        antialias: Passed to ``patches.axis_matrix``.

    Returns:
        (channels, *grid.shape), float32, on the CPU.
    """
    length = image.shape[1:]
    matrices = []
    for axis in range(3):
        before = -int(grid.start[axis])
        matrix = axis_matrix(padded[axis], grid.shape[axis], antialias=antialias)
        matrices.append(matrix[:, before : before + length[axis]])
    shift = fill.float()[:, None, None, None]
    result = torch.zeros((image.shape[0], *grid.shape))
    for first in range(0, length[0], SLICES):
        block = torch.from_numpy(np.ascontiguousarray(image[:, first : first + SLICES])).float() - shift
        block = torch.matmul(block, matrices[2].T)  # (channels, slices, J, i)
        block = torch.matmul(matrices[1], block)  # (channels, slices, j, i)
        part = matrices[0][:, first : first + SLICES]
        rows = torch.nonzero(part.any(1)).flatten()
        if len(rows):
            low, high = int(rows[0]), int(rows[-1]) + 1
            result[:, low:high] += torch.einsum("ks,csji->ckji", part[low:high], block)
    return result + shift


def run_global(
    image: npt.NDArray[np.float16],
    fill: torch.Tensor,
    branch: Branch,
    execution: Execution,
    report: Reporter,
    *,
    flip_axes: tuple[int, ...] = (),
) -> GlobalAnswer:
    """Run the global branch over a whole prepared volume.

    Args:
        image: (channels, K, J, I).
        fill: (channels,) value of the padding.
        branch: The global branch.
        execution: Runs the model.
        report: Hears of progress.
        flip_axes: Axes that are mirrored for a mean over all mirrors; features come from the
            unmirrored pass.
    """
    shape = triple(image.shape[1:])
    grid, padded = lattice(shape, branch)
    reduced = reduce_volume(image, grid, padded, fill, antialias=branch.antialias)
    size, tiles = tensor_size(branch), tiles_of(shape, branch)

    def run(chunk: Sequence[Shape]) -> list[torch.Tensor]:
        tensor = torch.stack([reduced[(slice(None), *Box(start, size).slices())] for start in chunk])
        return _answer(execution, tensor.to(execution.device), mirrors(flip_axes))

    blends: list[_MapBlend] = []
    done = 0
    for chunk, maps in execution.each(tiles, run):
        done += len(chunk)
        blends = blends or [_MapBlend(grid.shape, size, each) for each in maps]
        for blend, each in zip(blends, maps, strict=True):
            blend.add(chunk, each)
        report.event("progress", stage="global view", done=done, total=len(tiles))
    field = tuple((first, first + n) for first, n in zip(grid.start, padded, strict=True))
    means = [blend.result() for blend in blends]
    cells = [_grid_like(grid, padded, each) for each in means]
    features, feature_grid = (means[1], cells[1]) if len(means) > 1 else (None, None)
    return GlobalAnswer(cells[0], means[0], feature_grid, features, field)


def tiles_of(shape: Shape, branch: Branch) -> list[Shape]:
    """Return the first cells of all tiles over a prepared volume of that shape."""
    grid, _ = lattice(shape, branch)
    starts = [tile_starts(n, size) for n, size in zip(grid.shape, tensor_size(branch), strict=True)]
    return [triple(start) for start in itertools.product(*starts)]


def tile_starts(cells: int, size: int) -> tuple[int, ...]:
    """Return the first cells of the tiles of one axis, multiples of ``tile_step``."""
    step = tile_step(size)
    return tuple(sorted({round(start / step) * step for start in spread(cells, size, TILE_OVERLAP)}))


def tile_step(size: int) -> int:
    """Return what the first cells of tiles are multiples of: between small tiles 4 would leave gaps."""
    return math.gcd(size, TILE_STEP)


def _answer(
    execution: Execution, tensor: torch.Tensor, flips: tuple[tuple[int, ...], ...]
) -> list[torch.Tensor]:
    """Mean probabilities over all mirrors; the features of the unmirrored pass, if it has any; on the CPU."""
    logits, features = execution.model.low_resolution(tensor)
    total = logits.float().softmax(1)
    for flip in flips[1:]:
        axes = [2 + axis for axis in flip]
        logits, _ = execution.model.low_resolution(tensor.flip(axes))
        total = total + logits.float().softmax(1).flip(axes)
    maps = [total / len(flips)] + ([] if features is None else [features.float()])
    return [each.cpu() for each in maps]


class _MapBlend:
    """Gaussian blend of tiles on the lattice; maps may be coarser than the tensor by 2 or 4."""

    def __init__(self, cells: Shape, size: Shape, example: torch.Tensor) -> None:
        given = triple(example.shape[2:])
        whole = all(n % g == 0 and TILE_STEP % (n // g) == 0 for n, g in zip(size, given, strict=True))
        # One tile keeps its own resolution, whatever it is; several need a common grid.
        self._map = given if whole or cells == size else size
        self._stride = triple([n // g for n, g in zip(size, given, strict=True)]) if whole else (1, 1, 1)
        self._single = cells == size
        shape = (
            self._map if self._single else triple([n // s for n, s in zip(cells, self._stride, strict=True)])
        )
        count = example.shape[1] * math.prod(shape)
        dtype = torch.float16 if count * 4 > HALF_ABOVE_BYTES else torch.float32
        self._sums = torch.zeros((example.shape[1], *shape), dtype=dtype)
        self._weights = torch.zeros(shape)
        self._weight = torch.from_numpy(gaussian_weight(self._map))

    def add(self, starts: Sequence[Shape], maps: torch.Tensor) -> None:
        """Add tiles that begin at the given cells."""
        if not self._single and maps.shape[2:] != self._map:
            maps = functional.interpolate(maps, self._map, mode="trilinear")
        for start, values in zip(starts, maps, strict=True):
            if self._single:
                self._sums.copy_(values)
                self._weights.fill_(1)
                return
            first = triple([s // stride for s, stride in zip(start, self._stride, strict=True)])
            where = Box(first, self._map).slices()
            self._sums[(slice(None), *where)] += (values * self._weight).to(self._sums.dtype)
            self._weights[where] += self._weight

    def result(self) -> torch.Tensor:
        """Return the means (C, k, j, i)."""
        for channel in range(len(self._sums)):
            self._sums[channel] /= self._weights
        return self._sums


def _grid_like(grid: Grid, padded: Shape, maps: torch.Tensor) -> Grid:
    """The cells of maps over the same padded volume."""
    shape = triple(maps.shape[1:])
    return Grid(grid.start, _triple(n / s for n, s in zip(padded, shape, strict=True)), shape)


def _triple(values: object) -> tuple[float, float, float]:
    k, j, i = (float(value) for value in values)  # type: ignore[attr-defined]
    return k, j, i
