"""The sizes of windows and networks, derived from the scans; plain data, no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from crgloco.data.boxes import Triple, triple

Strides = tuple[Triple, ...]

# Windows of so many voxels are computed at full resolution throughout: small structures in small scans gain
# more from it than the time is worth (docs/measurements.md, Stems).
SMALL_WINDOW = 65_536


@dataclass(frozen=True)
class Windows:
    """The two fields of view of a dual-resolution model, in prepared voxels.

    Attributes:
        local: Local window = tensor size of both branches (P_S of CR-GLoCo).
        global_: Global window, reduced to the size of ``local`` before the network sees it (P_L).
    """

    local: Triple
    global_: Triple

    @property
    def scale(self) -> tuple[float, float, float]:
        """Tensor size over global window along K, J, I, at most 1."""
        k, j, i = (small / large for small, large in zip(self.local, self.global_, strict=True))
        return k, j, i


def plan_windows(
    shapes: Sequence[Triple], spacing: tuple[float, float, float], voxels: int, largest_reduction: float = 3.0
) -> Windows:
    """Choose both windows for volumes of the given prepared shapes.

    The global window holds the whole of nine volumes in ten, if the reduction stays below
    ``largest_reduction`` per axis. The local window has at most about ``voxels`` voxels and is as
    near to a cube in mm as the volumes allow; thick axes are not reduced.

    Args:
        shapes: Prepared shapes of the training cases.
        spacing: Millimetres along K, J, I.
        voxels: Voxels of the tensor that a network sees.
        largest_reduction: Largest global voxel over local voxel.
    """
    reach = [sorted(shape[axis] for shape in shapes)[math.ceil(0.9 * len(shapes)) - 1] for axis in range(3)]
    unit = [16 if length >= 64 else 8 for length in reach]
    whole = [math.ceil(length / step) * step for length, step in zip(reach, unit, strict=True)]
    thick = [mm > 2.5 * min(spacing) for mm in spacing]
    local = [
        length if thick[axis] or length < 24 else _at_most(length / 1.5, unit[axis])
        for axis, length in enumerate(whole)
    ]
    while math.prod(local) > voxels:
        axis = max(
            range(3), key=lambda a: (local[a] > unit[a]) * local[a] * spacing[a] / (4 if thick[a] else 1)
        )
        if local[axis] <= unit[axis]:
            break
        local[axis] -= unit[axis]
    glob = [
        min(length, _at_most(largest_reduction * small, unit[axis]))
        for axis, (length, small) in enumerate(zip(whole, local, strict=True))
    ]
    return Windows(triple(local), triple([max(a, b) for a, b in zip(glob, local, strict=True)]))


def plan_stem(stem: str, local: Triple) -> str:
    """Return the stem that ``"auto"`` stands for with such a local window; any other as it is."""
    if stem != "auto":
        return stem
    return "full" if math.prod(local) <= SMALL_WINDOW else "strided"


def plan_strides(size: Triple, spacing: tuple[float, float, float], levels: int) -> Strides:
    """Return the stride of each level, the first included, halving the finest axes first.

    An axis is halved while its voxels are less than twice as long as the shortest and at least 8
    voxels are left.

    Args:
        size: Tensor size along K, J, I.
        spacing: Millimetres of the tensor's voxels.
        levels: Largest number of levels.
    """
    strides: list[Triple] = [(1, 1, 1)]
    length, mm = list(size), list(spacing)
    while len(strides) < levels:
        step = tuple(
            2 if mm[a] < 2 * min(mm) and length[a] % 2 == 0 and length[a] >= 8 else 1 for a in range(3)
        )
        if max(step) == 1:
            break
        length = [n // s for n, s in zip(length, step, strict=True)]
        mm = [value * s for value, s in zip(mm, step, strict=True)]
        strides.append(triple(step))
    return tuple(strides)


def _at_most(length: float, unit: int) -> int:
    return max(unit, int(length // unit) * unit)
