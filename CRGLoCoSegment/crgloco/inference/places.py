"""Places that hold the most of something, chosen on a coarse grid over a scan.

Which k balls of one radius hold the most together cannot be found fast; taking the best one, then the best
of what is left, and so on, holds at least 63 % of it (Nemhauser et al. 1978, maximum coverage).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import signal

CELLS_PER_RADIUS = 5

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Box = tuple[slice, ...]


@dataclass(frozen=True)
class Place:
    """A ball of cells, without those of places before it.

    Attributes:
        box: The cells around its middle.
        mine: Which cells of the box are its own.
    """

    box: Box
    mine: Bools


class Cells:
    """A grid of cubes over a scan.

    Args:
        shape: Voxels along K, J, I.
        spacing: Millimetres along K, J, I.
        radius: Of the places that will be looked for, mm; a cell is a fifth of it.
    """

    def __init__(self, shape: Sequence[int], spacing: Sequence[float], radius: float) -> None:
        size = radius / CELLS_PER_RADIUS
        axes = zip(shape, spacing, strict=True)
        self._of_voxel = [(np.arange(count) * mm / size).astype(np.int64) for count, mm in axes]
        self.shape = tuple(int(cell[-1]) + 1 for cell in self._of_voxel)

    def sums(self, weights: Callable[[int], Floats]) -> Floats:
        """Return the sum over the voxels of each cell.

        Args:
            weights: The (J, I) weights of slice k: the scan is never held as floats.
        """
        sums = np.zeros(self.shape)
        rows, columns = self._of_voxel[1:]
        flat = rows[:, None] * self.shape[2] + columns
        for k, layer in enumerate(self._of_voxel[0]):
            weight = weights(k)
            where = weight > 0
            counts = np.bincount(flat[where], weight[where], minlength=self.shape[1] * self.shape[2])
            sums[layer] += counts.reshape(self.shape[1:])
        return sums

    def voxels(self, box: Box) -> Box:
        """Return the voxels that lie in a box of cells; none along an axis whose voxels skip these cells."""
        edges = [
            np.searchsorted(cell, [part.start, part.stop])
            for cell, part in zip(self._of_voxel, box, strict=True)
        ]
        return tuple(slice(int(start), int(stop)) for start, stop in edges)

    def own(self, place: Place) -> Bools:
        """Return which voxels of ``voxels(place.box)`` are the place's own."""
        inside = zip(self._of_voxel, self.voxels(place.box), place.box, strict=True)
        return place.mine[np.ix_(*(cell[voxels] - part.start for cell, voxels, part in inside))]


def fullest(sums: Floats, least: float) -> Iterator[Place]:
    """Yield the balls of ``CELLS_PER_RADIUS`` cells that hold the most, each without those before it.

    Args:
        sums: What each cell holds, 0 or more.
        least: Above 0; stop where no ball holds that much any more.
    """
    reach = CELLS_PER_RADIUS
    offsets = np.indices((2 * reach + 1,) * 3) - reach
    ball = (offsets**2).sum(0) <= reach**2
    left, free = sums.copy(), np.ones(sums.shape, bool)
    around = _in_balls(left, ball)
    while around.max() >= least:
        centre = np.unravel_index(int(around.argmax()), sums.shape)
        box = _box(centre, reach, sums.shape)
        within = tuple(
            slice(part.start - c + reach, part.stop - c + reach) for part, c in zip(box, centre, strict=True)
        )
        mine = ball[within] & free[box]
        yield Place(box, mine)
        left[box][mine], free[box][mine] = 0, False
        # Only balls that meet this one have changed, and they reach no farther than three radii.
        changed, seen = _box(centre, 2 * reach, sums.shape), _box(centre, 3 * reach, sums.shape)
        again = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(changed, seen, strict=True))
        around[changed] = _in_balls(left[seen], ball)[again]


def _in_balls(sums: Floats, ball: Bools) -> Floats:
    """Return what the ball around each cell holds."""
    held: Floats = signal.fftconvolve(sums, ball, mode="same")
    return held


def _box(centre: Sequence[np.intp], reach: int, shape: Sequence[int]) -> Box:
    return tuple(
        slice(max(0, int(c) - reach), min(int(n), int(c) + reach + 1))
        for c, n in zip(centre, shape, strict=True)
    )
