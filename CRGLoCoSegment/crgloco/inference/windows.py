"""Where to lay windows: over everything, or only over what is open. Pure geometry, no model.

Windows are boxes in voxels of the prepared grid. Where the volume is shorter than the window, the
window is centred on it and reaches outside; readers pad. Windows come sorted by their first slice.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from crgloco.data.boxes import Box
from crgloco.io.volume import Shape

Mask = npt.NDArray[np.bool_]


def spread(length: int, window: int, overlap: float) -> tuple[int, ...]:
    """Return starts that cover an axis evenly with at least the given overlap.

    Args:
        length: Voxels of the axis.
        window: Voxels of the window.
        overlap: Share of the window that neighbours have in common, 0 up to below 1.
    """
    if length <= window:
        return ((length - window) // 2,)
    step = max(1, int(window * (1 - overlap)))
    count = math.ceil((length - window) / step) + 1
    return tuple(round(number * (length - window) / (count - 1)) for number in range(count))


def all_windows(shape: Shape, window: Shape, overlap: float) -> tuple[Box, ...]:
    """Return the regular grid of windows over a whole volume."""
    starts = [spread(n, w, overlap) for n, w in zip(shape, window, strict=True)]
    return tuple(Box((k, j, i), window) for k in starts[0] for j in starts[1] for i in starts[2])


def covering_windows(
    open_cells: Mask,
    faces: tuple[npt.NDArray[np.float64], ...],
    shape: Shape,
    window: Shape,
    overlap: float,
) -> tuple[Box, ...]:
    """Return few windows that hold every open cell.

    Layers along K are laid over the occupied slices; in each layer rows over what that layer holds; in each
    row windows over what that row holds. So every window holds something open. Rows follow one another along
    J or along I, whichever takes fewer windows.

    Args:
        open_cells: (n_k, n_j, n_i), a coarse map over the volume.
        faces: Per axis the n + 1 faces of the cells, in voxels (voxel v spans v..v + 1).
        shape: Voxels of the volume.
        window: Voxels of a window.
        overlap: Share of the window that neighbours have in common.
    """
    first = [np.clip(np.floor(edge[:-1]).astype(int), 0, n) for edge, n in zip(faces, shape, strict=True)]
    last = [np.clip(np.ceil(edge[1:]).astype(int), 0, n) for edge, n in zip(faces, shape, strict=True)]

    def starts(occupied: Mask, axis: int) -> tuple[int, ...]:
        chosen = occupied & (last[axis] > first[axis])
        spans = list(zip(first[axis][chosen].tolist(), last[axis][chosen].tolist(), strict=True))
        return cover_spans(spans, shape[axis], window[axis], overlap)

    def cells(start: int, axis: int) -> Mask:
        inside: Mask = (last[axis] > start) & (first[axis] < start + window[axis])
        return inside

    def in_rows(layer: Mask, down: int, along: int) -> list[tuple[int, int]]:
        """Return ``(start of the row, start in the row)``; the layer's first axis leads down the rows."""
        return [
            (row, start)
            for row in starts(any_along(layer, 1), down)
            for start in starts(any_along(layer[cells(row, down)], 0), along)
        ]

    boxes: list[Box] = []
    for k in starts(any_along(any_along(open_cells, 2), 1), 0):
        layer = any_along(open_cells[cells(k, 0)], 0)
        one_way = in_rows(layer, 1, 2)
        other_way = [(j, i) for i, j in in_rows(layer.T, 2, 1)]
        boxes.extend(Box((k, j, i), window) for j, i in min(one_way, other_way, key=len))
    return tuple(boxes)


def any_along(mask: Mask, axis: int) -> Mask:
    """Return where any element along the axis is true."""
    found: Mask = np.any(mask, axis=axis)
    return found


def cover_spans(spans: list[tuple[int, int]], length: int, window: int, overlap: float) -> tuple[int, ...]:
    """Return starts whose windows hold all spans of one axis, without windows in wide gaps.

    Args:
        spans: Sorted ``(start, stop)`` in voxels.
        length: Voxels of the axis.
        window: Voxels of the window.
        overlap: Share of the window that neighbours over one stretch have in common.
    """
    if length <= window:
        return ((length - window) // 2,) if spans else ()
    stretches: list[tuple[int, int]] = []
    for start, stop in spans:
        if stretches:
            previous = stretches[-1]
            joined = (previous[0], max(previous[1], stop))
            apart = len(spread(previous[1] - previous[0], window, overlap)) + 1
            if start <= previous[1] or len(spread(joined[1] - joined[0], window, overlap)) < apart:
                stretches[-1] = joined
                continue
        stretches.append((start, stop))
    starts: list[int] = []
    for start, stop in stretches:
        inside = (start + offset for offset in spread(stop - start, window, overlap))
        starts.extend(min(max(position, 0), length - window) for position in inside)
    return tuple(sorted(set(starts)))


def gaussian_weight(window: Shape, sigma: float = 0.125) -> npt.NDArray[np.float32]:
    """Return the weight of each voxel of a window in the blend, as MONAI's ``compute_importance_map``.

    Args:
        window: Voxels of the window.
        sigma: Standard deviation as a share of the window.

    Returns:
        (*window), 0.001..1.
    """
    weight = np.ones(window, np.float32)
    for axis, size in enumerate(window):
        distance = np.arange(-(size - 1) / 2, (size - 1) / 2 + 1, dtype=np.float32)
        line = np.exp(distance**2 / (-2 * (size * sigma) ** 2)).astype(np.float32)
        weight = weight * line.reshape([-1 if other == axis else 1 for other in range(3)])
    return np.maximum(weight, np.float32(1e-3))
