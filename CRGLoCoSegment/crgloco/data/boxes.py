"""Box arithmetic in whole voxels: position, overlap and crops of two fields of view. No torch here.

A box is ``start`` and ``size`` along K, J, I. It may reach outside its volume; readers pad.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """A block of voxels.

    Attributes:
        start: First voxel along K, J, I; may be negative.
        size: Voxels along K, J, I.
    """

    start: Triple
    size: Triple

    @property
    def stop(self) -> Triple:
        """First voxel behind the box along K, J, I."""
        return triple(np.add(self.start, self.size))

    @property
    def volume(self) -> int:
        """Number of voxels."""
        return math.prod(self.size)

    def moved_to_frame_of(self, frame: Box) -> Box:
        """Return the same block counted from the first voxel of another box."""
        return Box(triple(np.subtract(self.start, frame.start)), self.size)

    def mirrored(self, shape: Triple, flips: tuple[bool, bool, bool]) -> Box:
        """Return where the block lies once a volume of that shape is mirrored along the flipped axes."""
        start = [
            length - stop if flip else begin
            for begin, stop, length, flip in zip(self.start, self.stop, shape, flips, strict=True)
        ]
        return Box(triple(start), self.size)

    def shifted(self, offset: Triple) -> Box:
        """Return the block moved by so many voxels along K, J, I."""
        return Box(triple(np.add(self.start, offset)), self.size)

    def lattice(self, step: Triple, phase: Triple) -> tuple[slice, slice, slice]:
        """Return index ranges of the block's voxels that lie on a lattice of the whole array.

        Args:
            step: Every so many voxels along K, J, I.
            phase: First voxel of the lattice, below ``step``.
        """
        k, j, i = (
            slice(begin + (first - begin) % every, stop, every)
            for begin, stop, every, first in zip(self.start, self.stop, step, phase, strict=True)
        )
        return k, j, i

    def lattice_rows(
        self, step: Triple, phase: Triple
    ) -> tuple[tuple[slice, slice, slice], tuple[slice, slice, slice]]:
        """Return where the block's points of a lattice are: in the array of all points, and in the block.

        Args:
            step: Every so many voxels along K, J, I.
            phase: First voxel of the lattice, below ``step``.
        """
        k, j, i = (
            slice(-((first - begin) // every), -((first - stop) // every))  # rounded up
            for begin, stop, every, first in zip(self.start, self.stop, step, phase, strict=True)
        )
        own = Box((0, 0, 0), self.size).lattice(step, triple(np.subtract(phase, self.start) % step))
        return (k, j, i), own

    def slices(self) -> tuple[slice, slice, slice]:
        """Return index ranges along K, J, I; the box must not start below 0."""
        k, j, i = (slice(start, stop) for start, stop in zip(self.start, self.stop, strict=True))
        return k, j, i


def overlap(first: Box, second: Box) -> Box | None:
    """Return the block that both boxes hold, or ``None``."""
    start = np.maximum(first.start, second.start)
    stop = np.minimum(first.stop, second.stop)
    if np.any(stop <= start):
        return None
    return Box(triple(start), triple(stop - start))


def union(first: Box, second: Box) -> Box:
    """Return the smallest box around both."""
    start = np.minimum(first.start, second.start)
    stop = np.maximum(first.stop, second.stop)
    return Box(triple(start), triple(stop - start))


def overlap_share(large: Box, small: Box) -> float:
    """Return the share of the small box that the large box holds, 0..1 (rho of CR-GLoCo, not an IoU)."""
    shared = overlap(large, small)
    return 0.0 if shared is None else shared.volume / small.volume


def draw_released_pair(
    shape: Triple, large: Triple, small: Triple, rng: np.random.Generator, *, at_least: float = 0.1
) -> tuple[Box, Box]:
    """Draw the two fields of view as CR-GLoCo's code does.

    The volume counts as padded evenly to at least the large box. Both corners are uniform and
    independent; ``b - a`` is even on each axis; redrawn until the overlap share suffices, at most 50
    times, then ``b = a``.

    Args:
        shape: Voxels of the volume.
        large: Voxels of the large box.
        small: Voxels of the small box.
        rng: Source of all randomness.
        at_least: Smallest accepted overlap share.

    Returns:
        Large box and small box in volume coordinates.
    """
    padded = np.maximum(shape, large)
    before = (padded - shape) // 2
    a = rng.integers(0, np.subtract(padded, large) + 1)
    large_box = Box(triple(a - before), large)
    for _ in range(50):
        b = rng.integers(0, np.subtract(padded, small) + 1)
        b = np.clip(a + (b - a) // 2 * 2, a % 2, padded - small)
        b -= (b - a) % 2
        small_box = Box(triple(b - before), small)
        if overlap_share(large_box, small_box) >= at_least:
            return large_box, small_box
    return large_box, Box(large_box.start, small)


def draw_offset(large: Triple, small: Triple, rng: np.random.Generator) -> Triple:
    """Draw ``b - a`` with at most a quarter of the small box, along each axis, outside the large one.

    Args:
        large: Voxels of the large box.
        small: Voxels of the small box.
        rng: Source of all randomness.
    """
    margin = np.asarray(small) // 4
    span = np.maximum(np.subtract(large, small), 0)
    return triple(rng.integers(-margin, span + margin + 1))


def draw_pair(
    shape: Triple, large: Triple, small: Triple, aim: Triple | None, rng: np.random.Generator
) -> tuple[Box, Box]:
    """Draw both boxes: the small one around ``aim``, the large one around the small one.

    The small box reaches at most a quarter of its size beyond the volume. Where the large box is
    longer than the volume, it always holds the whole axis; where it is shorter, it stays inside.
    So each axis of the small box lies at least three quarters inside the large one.

    Args:
        shape: Voxels of the volume.
        large: Voxels of the large box.
        small: Voxels of the small box.
        aim: Voxel that the small box shall hold; ``None`` for anywhere.
        rng: Source of all randomness.

    Returns:
        Large box and small box in volume coordinates.
    """
    size = np.asarray(small)
    ends = np.stack([-(size // 4), np.subtract(shape, size) + size // 4])
    first, last = ends.min(0), ends.max(0)
    if aim is None:
        b = rng.integers(first, last + 1)
    else:
        b = np.asarray(aim) - size // 2 + rng.integers(-(size // 4), size // 4 + 1)
        b = np.clip(b, first, last)
    room = np.subtract(shape, large)
    a = np.clip(b - draw_offset(large, small, rng), np.minimum(room, 0), np.maximum(room, 0))
    return Box(triple(a), large), Box(triple(b), small)


def triple(values: object) -> Triple:
    """Return three whole numbers of any kind as plain ``int``."""
    k, j, i = (int(value) for value in np.asarray(values))
    return k, j, i
