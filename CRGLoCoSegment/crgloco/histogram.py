"""How often each value of a byte occurs, slice by slice: at once it would take eight times the memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

VALUES = 256


def histogram(
    array: npt.NDArray[np.uint8], inside: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.int64]:
    """Count the values of (K, J, I) uint8: (256,).

    Args:
        array: The values.
        inside: Same shape; only voxels where it is not 0 count. Without, all do.
    """
    counts = np.zeros(VALUES, np.int64)
    for number, plane in enumerate(array):
        counted = plane.ravel() if inside is None else plane[inside[number] > 0]
        counts += np.bincount(counted, minlength=VALUES)
    return counts
