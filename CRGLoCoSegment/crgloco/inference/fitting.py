"""Windows fitted to a scan: somewhat longer than in training, where that saves work.

The networks are made of convolutions and take any window whose sides their strides divide. What is just
longer than one window would take two, most of them overlap; one that is a little longer does as well.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from crgloco.data.boxes import triple
from crgloco.inference.model import Branch, Sized, tensor_size
from crgloco.io.volume import Shape
from crgloco.networks.dual_resolution import BranchShape

# How much longer than in training: what the norm layers see of a scan hardly changes yet.
LARGEST_GROWTH = 1.25
# Steps of a twelfth or more, so that there are few to try.
STEPS = 12


def cheapest(branch: Sized, lay: Callable[[Shape], Sequence[object]]) -> Shape:
    """Return the window that takes the fewest voxels for a whole scan; in doubt the one of training.

    A side grows by no more than ``LARGEST_GROWTH``, in steps of a twelfth or more, so that there are few to
    try, and of the largest power of two that divides its tensor, which every stride of the network divides.

    Args:
        branch: A branch of a model.
        lay: Gives the windows that a scan would take, from their size in prepared voxels.
    """
    return min(
        (triple(window) for window in itertools.product(*_sides(branch))),
        key=lambda window: len(lay(window)) * math.prod(window),
    )


def largest(branch: Sized) -> Shape:
    """Return the largest window that ``cheapest`` may choose."""
    return triple([sides[-1] for sides in _sides(branch)])


def resized(branch: Branch, window: Shape) -> BranchShape:
    """Return the branch with a window that ``cheapest`` chose, reduced as in training."""
    grown = BranchShape(branch.name, window, branch.scale, branch.weight, branch.antialias)
    k, j, i = (tensor / n for tensor, n in zip(grown.tensor_size, window, strict=True))
    return replace(grown, scale=(k, j, i))


def _sides(branch: Sized) -> list[list[int]]:
    return [_lengths(n, tensor) for n, tensor in zip(branch.window, tensor_size(branch), strict=True)]


def _lengths(window: int, tensor: int) -> list[int]:
    """Return what a side may measure, from that of training upwards."""
    power = tensor & -tensor
    step = power * math.ceil(tensor / (STEPS * power))
    return [round(size * window / tensor) for size in range(tensor, int(LARGEST_GROWTH * tensor) + 1, step)]
