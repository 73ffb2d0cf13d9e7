"""Islands: pieces of a structure that do not touch its main one.

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
_EVERY_CLASS = range(1, 256)
# Manual labels have stray voxels: the largest piece of a structure that is one has at least this share.
ONE_PIECE = 0.99
# Of what may be the main piece as well, the user decides: a false piece is seen, a true one would be missed.
LEAST_SHARE = 1 / 3


def islands(
    labels: Labels, classes: Collection[int], seen: Labels | None = None, least: float = LEAST_SHARE
) -> Iterator[tuple[int, Box, npt.NDArray[np.bool_]]]:
    """Yield the islands of those of the classes that have any.

    The main piece is the one of which ``seen`` holds most voxels; the largest one without ``seen``, or where
    that holds none.

    Args:
        labels: (K, J, I) class numbers.
        classes: Class numbers above 0.
        seen: (K, J, I) class numbers of somebody who saw the whole, such as the global branch.
        least: A piece that counts more than this share of the main one is no island, 0..1.

    Yields:
        Class number, a box of the labels, and which of its voxels (K, J, I) are islands.
    """
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None or number not in classes:
            continue
        pieces, count = ndimage.label(labels[box] == number, _TOUCHING)
        if count < 2:
            continue
        counts = np.bincount(pieces.ravel())
        if seen is not None and (alike := pieces[seen[box] == number]).any():
            counts = np.bincount(alike, minlength=count + 1)
        counts[0] = 0
        stays = counts > least * counts.max()
        stays[0] = stays[counts.argmax()] = True
        if not stays.all():
            yield number, box, ~stays[pieces]


def without_islands(
    labels: Labels,
    classes: Collection[int] = _EVERY_CLASS,
    seen: Labels | None = None,
    least: float = LEAST_SHARE,
) -> Labels:
    """Return a copy of the labels (K, J, I) without the islands of the classes, see ``islands``."""
    result = labels.copy()
    for _, box, found in islands(labels, classes, seen, least):
        result[box][found] = 0
    return result


def remove_islands(
    labels: Labels, confidence: npt.NDArray[np.uint8], classes: Collection[int], seen: Labels | None
) -> dict[int, int]:
    """Make background of the islands of some classes, in place.

    Hardly any of them is what the model took it for, so half of the confidence in it remains as doubt: where
    the model was sure, the place stays among the uncertain ones.

    Args:
        labels: (K, J, I) class numbers.
        confidence: (K, J, I) 0..255 for 0..1.
        classes: Class numbers of structures that are one piece.
        seen: (K, J, I) class numbers of the global answer, which tells the main piece.

    Returns:
        Removed voxels of each class that had any.
    """
    removed = {}
    for number, box, found in islands(labels, classes, seen) if classes else ():
        labels[box][found] = 0
        confidence[box][found] = 255 - confidence[box][found] // 2
        removed[number] = int(found.sum())
    return removed


def largest_pieces(labels: Labels) -> Labels:
    """Return a copy of the labels (K, J, I) with the largest piece of each structure only."""
    return without_islands(labels, least=1)


def in_pieces(labels: Labels) -> set[int]:
    """Return the class numbers whose largest piece holds less than ``ONE_PIECE`` of their voxels."""
    return {
        number
        for number, box, found in islands(labels, _EVERY_CLASS, least=1)
        if found.sum() > (1 - ONE_PIECE) * (labels[box] == number).sum()
    }
