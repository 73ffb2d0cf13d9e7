"""Two overlapping views of one volume whose transforms are known, so that their voxels can be matched."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from crgloco.data.boxes import Box, Triple, overlap, triple
from crgloco.data.patches import TrainingCase, resize

TRIES = 20

Affine = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AlignedView:
    """One view: a box of the volume, mirrored and resized.

    Attributes:
        image: (C, *size) float32 as the network sees it, grey values unchanged.
        affine: 4 x 4, from (k, j, i, 1) of the view to (k, j, i, 1) of the volume, voxel centres.
        shape: Voxels of the volume.
        seed: For the change of grey values.
    """

    image: torch.Tensor
    affine: Affine
    shape: Triple
    seed: int

    def to(self, device: torch.device) -> AlignedView:
        """Return the view with its tensor on a device."""
        return replace(self, image=self.image.to(device, non_blocking=True))


def draw_aligned_pair(
    case: TrainingCase,
    window: Triple,
    size: Triple,
    rng: np.random.Generator,
    *,
    scale: tuple[float, float],
    at_least: float,
) -> tuple[AlignedView, AlignedView]:
    """Draw two views with a guaranteed overlap (PGL, arXiv 2011.12640: crop, zoom, flips).

    Args:
        case: Case to read from; its label is not looked at.
        window: Voxels of the volume that a view of zoom 1 shows.
        size: Voxels of the view.
        rng: Source of all randomness.
        scale: Smallest and largest zoom of the window.
        at_least: Share of the smaller view that both show; redrawn until it is reached, at most 20
            times, then both views show the same place.
    """
    sizes = [triple(np.round(np.asarray(window) * rng.uniform(*scale))) for _ in range(2)]
    first = Box(_start(case.shape, sizes[0], rng), sizes[0])
    for _ in range(TRIES):
        second = Box(_start(case.shape, sizes[1], rng), sizes[1])
        shared = overlap(first, second)
        if shared is not None and shared.volume >= at_least * min(first.volume, second.volume):
            break
    else:
        second = Box(first.start, sizes[1])
    return _view(case, first, size, rng), _view(case, second, size, rng)


def box_affine(box: Box, size: Triple, flips: tuple[bool, bool, bool]) -> Affine:
    """Return the affine of a box that was mirrored and then resized to ``size``."""
    ratio = np.asarray(box.size) / np.asarray(size)
    affine = np.eye(4)
    affine[:3, :3] = np.diag(np.where(flips, -ratio, ratio))
    near = np.asarray(box.start) + 0.5 * ratio - 0.5
    far = np.asarray(box.stop) - 0.5 * ratio - 0.5
    affine[:3, 3] = np.where(flips, far, near)
    return affine


def align(
    features: torch.Tensor, first: Affine, second: Affine, size: Triple, *, shape: Triple | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample a feature map of the second view at the cells of the first one.

    Args:
        features: (F, k, j, i) of the second view; the map of the first view has the same shape.
        first: Affine of the first view.
        second: Affine of the second view.
        size: Voxels of both views along K, J, I.
        shape: Voxels of the volume: cells beside it, which show nothing of the body, do not count.

    Returns:
        (F, k, j, i) features at the cells of the first view, and (k, j, i) whether a cell lies in both.
    """
    map_size = features.shape[1:]
    strides = [n / cells for n, cells in zip(size, map_size, strict=True)]
    centres = [(np.arange(cells) + 0.5) * r - 0.5 for cells, r in zip(map_size, strides, strict=True)]
    grid = np.stack(np.meshgrid(*centres, indexing="ij"), -1)
    there = np.linalg.inv(second) @ first
    places = grid @ there[:3, :3].T + there[:3, 3]
    inside = _within(places, size)
    if shape is not None:
        inside &= _within(grid @ first[:3, :3].T + first[:3, 3], shape)
    shares = 2 * (places + 0.5) / np.asarray(size) - 1
    points = torch.from_numpy(shares[..., ::-1].astype(np.float32)).to(features.device)
    sampled = functional.grid_sample(
        features.float()[None], points[None], padding_mode="border", align_corners=False
    )
    return sampled[0], torch.from_numpy(inside).to(features.device)


def _within(places: npt.NDArray[np.float64], size: Triple) -> npt.NDArray[np.bool_]:
    """Return which places (..., 3) lie inside an array of that size, up to the faces of its voxels."""
    return np.asarray(((places >= -0.5) & (places <= np.asarray(size) - 0.5)).all(-1))


def _start(shape: Triple, size: Triple, rng: np.random.Generator) -> Triple:
    """Draw a corner; a quarter of the box may lie outside the volume."""
    margin = np.asarray(size) // 4
    ends = np.stack([-margin, np.subtract(shape, size) + margin])
    return triple(rng.integers(ends.min(0), ends.max(0) + 1))


def _view(case: TrainingCase, box: Box, size: Triple, rng: np.random.Generator) -> AlignedView:
    k, j, i = (bool(flip) for flip in rng.random(3) < 0.5)
    axes = [1 + axis for axis, flip in enumerate((k, j, i)) if flip]
    image = resize(case.read_image(box).flip(axes)[None], size, antialias=True)[0]
    return AlignedView(image, box_affine(box, size, (k, j, i)), case.shape, int(rng.integers(2**31)))
