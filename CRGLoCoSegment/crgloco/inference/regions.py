"""Where to look: places of low confidence, small enough for one view, the most worthwhile first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crgloco.data.boxes import triple
from crgloco.inference.confidence import UNCERTAIN_BELOW
from crgloco.inference.places import CELLS_PER_RADIUS, Cells, fullest
from crgloco.inference.prediction import Prediction
from crgloco.io.volume import Geometry, Shape

# Regions smaller than this, in cubic millimetres, are borders of structures; in scans of small things, whose
# voxels are far smaller than those of a patient's scan, so many voxels are enough.
SMALLEST_REGION_MM3 = 20.0
SMALLEST_REGION_VOXELS = 500
# What a view shows around its middle; in scans of small things, this share of the scan.
PLACE_MM = 20.0
PLACE_SHARE = 0.25

Voxels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class UncertainRegion:
    """A place of low confidence.

    Attributes:
        centre: Its most central voxel, K J I.
        position: The same in mm, x y z, LPS.
        start: First voxel of its bounding box.
        stop: First voxel behind it.
        volume_ml: Its volume.
        expected_ml: Volume expected to be wrong: sum of (1 - confidence) over its voxels.
        mean_confidence: 0..1.
        label: Class number that most of its voxels have in the fused labels.
    """

    centre: Shape
    position: tuple[float, float, float]
    start: Shape
    stop: Shape
    volume_ml: float
    expected_ml: float
    mean_confidence: float
    label: int


def uncertain_regions(
    prediction: Prediction, *, below: float = UNCERTAIN_BELOW, at_most: int = 20
) -> tuple[UncertainRegion, ...]:
    """Find where a correction is likely worth the most, best first.

    A region is what is uncertain within about 20 mm. Each is where most doubt is left by those before it;
    doubt counts twice in what is called a structure: models imagine more than they miss. And it counts
    twice where the global answer names another one.

    Args:
        prediction: Labels and confidence.
        below: Confidence under which a voxel counts.
        at_most: Largest number of regions.
    """
    grid, bound = prediction.geometry, round(below * 255)
    least = max(1.0, min(SMALLEST_REGION_MM3 / math.prod(grid.spacing), SMALLEST_REGION_VOXELS))
    cells = Cells(grid.shape, grid.spacing, place_radius(grid))
    regions: list[UncertainRegion] = []
    for place in fullest(cells.sums(lambda k: _doubt(prediction, k, bound)), least * (1 - below)):
        if len(regions) == at_most:
            break
        box = cells.voxels(place.box)
        voxels = np.argwhere(cells.own(place) & (prediction.confidence[box] < bound))
        if len(voxels) >= least:
            regions.append(_region(prediction, voxels + [part.start for part in box]))
    return tuple(regions)


def place_radius(grid: Geometry) -> float:
    """Return how far around its middle a place reaches, mm; no cell of it is smaller than a voxel.

    Scans of small things come with their sizes in micrometres too, and with them voxels of 20 "mm".
    """
    largest = max(count * mm for count, mm in zip(grid.shape, grid.spacing, strict=True))
    return max(min(PLACE_MM, PLACE_SHARE * largest), CELLS_PER_RADIUS * min(grid.spacing))


def _doubt(prediction: Prediction, k: int, bound: int) -> npt.NDArray[np.float64]:
    """Return what slice k adds to the places, 0 where it is sure."""
    confidence = prediction.confidence[k]
    doubt = np.where(confidence < bound, 1 - confidence / 255, 0)
    doubt[prediction.fused[k] != 0] *= 2
    if prediction.global_ is not None:
        doubt[prediction.global_[k] != prediction.fused[k]] *= 2
    return doubt


def _region(prediction: Prediction, voxels: Voxels) -> UncertainRegion:
    where = tuple(voxels.T)
    confidence = prediction.confidence[where] / 255
    spacing = np.array(prediction.geometry.spacing)
    voxel_ml = math.prod(prediction.geometry.spacing) / 1000
    middle = voxels[(((voxels - voxels.mean(0)) * spacing) ** 2).sum(1).argmin()]
    return UncertainRegion(
        centre=triple(middle),
        position=_position(prediction.geometry, middle),
        start=triple(voxels.min(0)),
        stop=triple(voxels.max(0) + 1),
        volume_ml=float(len(voxels) * voxel_ml),
        expected_ml=float((1 - confidence).sum() * voxel_ml),
        mean_confidence=float(confidence.mean()),
        label=int(np.bincount(prediction.fused[where]).argmax()),
    )


def _position(geometry: Geometry, voxel: npt.NDArray[np.int64]) -> tuple[float, float, float]:
    x, y, z = (geometry.affine @ np.array([*voxel[::-1], 1.0]))[:3].tolist()
    return x, y, z
