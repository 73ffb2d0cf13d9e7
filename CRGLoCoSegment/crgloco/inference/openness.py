"""What the global answer leaves open: where the local branch must look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from crgloco.inference.global_pass import GlobalAnswer
from crgloco.io.volume import Geometry, Shape

# Cells that the margin around open cells takes at most: scans of small things have tiny voxels.
WIDEST_MARGIN = 8


@dataclass(frozen=True)
class Openness:
    """What the global answer leaves open for the local branch: structures, and what it is not sure of.

    Attributes:
        certainty: A cell is open if no class reaches this probability, 0..1.
        margin: Millimetres around open cells that are open too; at least one cell.
    """

    certainty: float = 0.6
    margin: float = 5.0


def open_cells(answer: GlobalAnswer, prepared: Geometry, openness: Openness) -> npt.NDArray[np.bool_]:
    """Return the cells (k, j, i) of the global answer that local windows must hold."""
    probabilities = answer.probabilities
    structure = probabilities[1:].amax(0).float()
    background = probabilities[0].float()
    best = torch.maximum(structure, background)
    found = (structure > background) | (best < openness.certainty)
    size = [
        2 * min(max(1, round(openness.margin / (cell * mm) + 0.499)), WIDEST_MARGIN) + 1
        for cell, mm in zip(answer.grid.cell, prepared.spacing, strict=True)
    ]
    wide = found.float()[None, None]
    for axis in range(3):
        kernel = _along(axis, size[axis], 1)
        wide = functional.max_pool3d(wide, kernel, stride=1, padding=_along(axis, size[axis] // 2, 0))
    result: npt.NDArray[np.bool_] = (wide[0, 0] > 0).cpu().numpy()
    return result


def _along(axis: int, value: int, others: int) -> Shape:
    k, j, i = (value if other == axis else others for other in range(3))
    return k, j, i
