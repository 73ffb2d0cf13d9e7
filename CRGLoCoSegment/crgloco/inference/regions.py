"""Where to look: places of low confidence, small enough for one view, the most worthwhile first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

from crgloco.data.boxes import triple
from crgloco.inference.confidence import UNCERTAIN_BELOW
from crgloco.inference.prediction import Prediction
from crgloco.io.volume import Geometry, Shape

# Regions smaller than this, in cubic millimetres, are borders of structures; in scans of small things, whose
# voxels are far smaller than those of a patient's scan, so many voxels are enough.
SMALLEST_REGION_MM3 = 20.0
SMALLEST_REGION_VOXELS = 500
# The uncertain border of an organ is one region around it: it is parted into places of about this radius, or,
# in scans of small things, of this share of the scan.
PLACE_MM = 20.0
PLACE_SHARE = 0.25
CELLS_PER_RADIUS = 4

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

    Uncertain voxels that touch are one region; one that is larger than a place is parted into places.

    Args:
        prediction: Labels and confidence.
        below: Confidence under which a voxel counts.
        at_most: Largest number of regions.
    """
    mask = prediction.confidence < round(below * 255)
    if not mask.any():
        return ()
    spacing = np.array(prediction.geometry.spacing)
    radius = min(PLACE_MM, PLACE_SHARE * float((np.array(mask.shape) * spacing).max()))
    least = min(SMALLEST_REGION_MM3 / math.prod(spacing), SMALLEST_REGION_VOXELS)
    regions = [
        _region(prediction, place)
        for voxels in _touching(mask, least)
        for place in parted(voxels, 255 - prediction.confidence[tuple(voxels.T)], spacing, radius)
        if len(place) >= least
    ]
    return tuple(sorted(regions, key=lambda region: -region.expected_ml)[:at_most])


def parted(
    voxels: Voxels,
    doubt: npt.NDArray[np.uint8],
    spacing: npt.NDArray[np.float64],
    radius: float,
) -> list[Voxels]:
    """Part a region around its most doubtful places.

    Places are chosen one after the other where most doubt lies around them, none nearer than the radius to
    one before; every voxel goes to the nearest.

    Args:
        voxels: (N, 3) voxels of the region.
        doubt: (N,) how uncertain each is, any unit.
        spacing: Millimetres along the three axes.
        radius: Of a place, mm.

    Returns:
        The voxels of each place; those that were given if they fit into one.
    """
    low = voxels.min(0)
    if ((voxels.max(0) - low + 1) * spacing <= 2 * radius).all():
        return [voxels]
    cell = radius / CELLS_PER_RADIUS
    cells = ((voxels - low) * spacing / cell).astype(np.int64)
    shape = cells.max(0) + 1
    flat = np.ravel_multi_index(tuple(cells.T), tuple(shape))
    mass = np.bincount(flat, weights=doubt, minlength=int(shape.prod())).reshape(shape)
    around = ndimage.gaussian_filter(mass, CELLS_PER_RADIUS / 2, mode="constant").ravel()
    occupied = np.unique(flat)
    centres = _spread(occupied[np.argsort(-around[occupied], kind="stable")], tuple(shape))
    nearest = KDTree(centres).query(np.stack(np.unravel_index(occupied, tuple(shape)), 1))[1]
    owner = nearest[np.searchsorted(occupied, flat)]
    order = np.argsort(owner, kind="stable")
    return np.split(voxels[order], np.searchsorted(owner[order], np.arange(1, len(centres))))


def _spread(cells: npt.NDArray[np.int64], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Take cells in order, each that is not within a radius of one taken before; (n, 3)."""
    left = np.stack(np.unravel_index(cells, shape), 1)
    taken = []
    while len(left):
        taken.append(left[0])
        left = left[((left - left[0]) ** 2).sum(1) > CELLS_PER_RADIUS**2]
    return np.stack(taken)


def _touching(mask: npt.NDArray[np.bool_], least: float) -> Iterator[Voxels]:
    """Yield the voxels (N, 3) of each connected part that has enough of them."""
    around = ndimage.find_objects(mask.view(np.uint8))[0]
    numbers, count = ndimage.label(mask[around], np.ones((3, 3, 3)))
    sizes = np.bincount(numbers[mask[around]], minlength=count + 1)
    first = np.array([part.start for part in around])
    for number, box in enumerate(ndimage.find_objects(numbers), start=1):
        if sizes[number] >= least:
            yield np.argwhere(numbers[box] == number) + first + [part.start for part in box]


def _region(prediction: Prediction, voxels: Voxels) -> UncertainRegion:
    where = tuple(voxels.T)
    confidence = prediction.confidence[where] / 255
    voxel_ml = math.prod(prediction.geometry.spacing) / 1000
    middle = voxels[((voxels - voxels.mean(0)) ** 2).sum(1).argmin()]
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
