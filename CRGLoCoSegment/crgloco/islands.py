"""Islands: pieces of a structure that do not touch its largest one.

Voxels touch by faces, edges and corners: what thick slices part would otherwise be taken for an island.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Labels = npt.NDArray[np.uint8]
Box = tuple[slice, ...]

_TOUCHING = np.ones((3, 3, 3), bool)
# Manual labels have stray voxels: the largest piece of a structure that is one has at least this share.
ONE_PIECE = 0.99


def islands(labels: Labels, classes: Collection[int]) -> Iterator[tuple[int, Box, npt.NDArray[np.bool_]]]:
    """Yield the islands of those of the classes that have any.

    Args:
        labels: (K, J, I) class numbers.
        classes: Class numbers above 0.

    Yields:
        Class number, a box of the labels, and which of its voxels (K, J, I) are islands.
    """
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None or number not in classes:
            continue
        pieces, count = ndimage.label(labels[box] == number, _TOUCHING)
        if count > 1:
            largest = 1 + int(np.bincount(pieces.ravel())[1:].argmax())
            yield number, box, (pieces > 0) & (pieces != largest)


def without_islands(labels: Labels, classes: Collection[int] = range(1, 256)) -> Labels:
    """Return the labels (K, J, I) with the largest piece of each of the classes only."""
    result = labels.copy()
    for _, box, found in islands(labels, classes):
        result[box][found] = 0
    return result


def in_pieces(labels: Labels) -> set[int]:
    """Return the class numbers whose largest piece holds less than ``ONE_PIECE`` of their voxels."""
    everything = range(1, 256)
    return {
        number
        for number, box, found in islands(labels, everything)
        if found.sum() > (1 - ONE_PIECE) * (labels[box] == number).sum()
    }
