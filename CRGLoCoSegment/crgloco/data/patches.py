"""Patches of prepared cases as tensors, and resizing that knows its grid.

All resizing keeps the outer faces of the field of view: output voxel ``i`` lies at
``(i + 0.5) r - 0.5`` in the input (``align_corners=False``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from crgloco.data.boxes import Box, Triple, overlap
from crgloco.data.cache import PreparedCase

BACKGROUND = 0
IGNORE = 255


@dataclass(frozen=True)
class TrainingCase:
    """One prepared case, ready to give patches.

    Attributes:
        name: Name of the case.
        image: (C, K, J, I) float16, memory-mapped on the CPU or resident on the training device.
        label: (K, J, I) uint8 class numbers, or ``None`` if unlabelled.
        fill: (C,) float32 value of padding: the smallest value of the volume, as air is.
        locations: Class number -> (N, 3) voxels of that class.
        known: Class numbers that the label shows; of others nothing is known here. ``None`` for all.
    """

    name: str
    image: torch.Tensor
    label: torch.Tensor | None
    fill: torch.Tensor
    locations: dict[int, np.ndarray]
    known: tuple[int, ...] | None = None

    @property
    def shape(self) -> Triple:
        """Voxels along K, J, I."""
        k, j, i = self.image.shape[1:]
        return k, j, i

    @classmethod
    def open(cls, case: PreparedCase, device: torch.device | None = None) -> TrainingCase:
        """Open a prepared case; with a device, copy it there once."""
        label_array = case.label()
        image = torch.from_numpy(case.image())
        label = None if label_array is None else torch.from_numpy(label_array)
        fill = image.flatten(1).min(1).values.float()
        if device is not None and device.type != "cpu":
            image = image.to(device)
            label = None if label is None else label.to(device)
            fill = fill.to(device)
        return cls(case.name, image, label, fill, case.locations(), case.known)

    def read_image(self, box: Box) -> torch.Tensor:
        """Return (C, *box.size) float32; voxels outside the volume hold ``fill``."""
        patch = self.fill[:, None, None, None].expand(-1, *box.size).clone()
        return _paste(self.image, box, patch)

    def read_label(self, box: Box) -> torch.Tensor:
        """Return (*box.size) uint8; outside the volume is background, without label all is ``IGNORE``."""
        value = IGNORE if self.label is None else BACKGROUND
        patch = torch.full(box.size, value, dtype=torch.uint8, device=self.image.device)
        return patch if self.label is None else _paste(self.label[None], box, patch[None])[0]

    def draw_aim(self, rng: np.random.Generator, foreground: float) -> Triple | None:
        """Draw a voxel to centre a crop on: a class at random, then a voxel of it.

        Args:
            rng: Source of all randomness.
            foreground: Share of draws that aim at a structure, 0..1; the others give ``None``.
        """
        wanted = rng.random() < foreground
        present = [number for number, voxels in self.locations.items() if number > 0 and len(voxels)]
        if not wanted or not present:
            return None
        voxels = self.locations[present[rng.integers(len(present))]]
        k, j, i = (int(index) for index in voxels[rng.integers(len(voxels))])
        return k, j, i


def resize(
    tensor: torch.Tensor,
    size: Triple,
    *,
    antialias: bool = False,
    part: tuple[slice, slice, slice] | None = None,
) -> torch.Tensor:
    """Resize (B, C, k, j, i) linearly, in float32; equal to ``interpolate(align_corners=False)``.

    Written as one small matrix per axis, so that a part of the result costs only that part, shrinking
    can be anti-aliased, and gradients are deterministic.

    Args:
        tensor: (B, C, k, j, i), any float type.
        size: Voxels of the whole result along K, J, I.
        antialias: Widen the kernel where an axis shrinks by more than 1.5.
        part: Index ranges of the result that are wanted; all of it without.

    Returns:
        (B, C, *size), or that part of it, float32.
    """
    wanted = part if part is not None else (slice(None), slice(None), slice(None))
    if tuple(tensor.shape[2:]) == size:
        return tensor[(..., *wanted)].float()
    result = tensor.float()
    with torch.autocast(tensor.device.type, enabled=False):
        for axis in _cheapest_first(tensor.shape[2:], size):
            matrix = axis_matrix(tensor.shape[2 + axis], size[axis], antialias=antialias).to(tensor.device)
            result = _along(result, matrix[wanted[axis]], axis)
    return result


def enlarged(tensor: torch.Tensor, size: Triple) -> torch.Tensor:
    """Enlarge as ``resize`` does, in the type of the tensor: maps inside a network stay in half precision.

    Args:
        tensor: (B, C, k, j, i).
        size: Voxels of the result along K, J, I.

    Returns:
        (B, C, *size).
    """
    with torch.autocast(tensor.device.type, enabled=False):
        for axis in _cheapest_first(tensor.shape[2:], size):
            matrix = axis_matrix(tensor.shape[2 + axis], size[axis], antialias=False).to(tensor)
            tensor = _along(tensor, matrix, axis)
    return tensor


def _along(tensor: torch.Tensor, matrix: torch.Tensor, axis: int) -> torch.Tensor:
    """Multiply (B, C, k, j, i) along an axis by (new, old) rows; nothing is moved in memory."""
    b, c, k, j, i = tensor.shape
    if axis == 2:
        return tensor @ matrix.T
    if axis == 1:
        planes = tensor.reshape(b * c * k, j, i)
        return torch.bmm(matrix.expand(b * c * k, -1, -1), planes).view(b, c, k, -1, i)
    stacks = tensor.reshape(b * c, k, j * i)
    return torch.bmm(matrix.expand(b * c, -1, -1), stacks).view(b, c, -1, j, i)


@lru_cache(maxsize=256)
def axis_matrix(length: int, new_length: int, *, antialias: bool) -> torch.Tensor:
    """Return the (new_length, length) float32 weights of linear resizing along one axis.

    With ``antialias``, and where the axis shrinks by more than 1.5, the triangle is as wide as an
    output voxel, otherwise as an input voxel. Rows sum to 1; the outermost voxel is repeated.
    """
    ratio = length / new_length
    width = ratio if antialias and ratio > 1.5 else 1.0
    centres = (np.arange(new_length) + 0.5) * ratio - 0.5
    reach = int(np.ceil(width)) + 1
    matrix = np.zeros((new_length, length))
    for step in range(-reach, reach + 1):
        index = np.floor(centres).astype(int) + step
        weight = np.maximum(1 - np.abs(centres - index) / width, 0)
        np.add.at(matrix, (np.arange(new_length), np.clip(index, 0, length - 1)), weight)
    # Kept for later calls: a matrix first wanted by inference must also serve training in the same process.
    with torch.inference_mode(mode=False):
        return torch.from_numpy((matrix / matrix.sum(1, keepdims=True)).astype(np.float32))


def sample_lattice(tensor: torch.Tensor, points: tuple[np.ndarray, np.ndarray, np.ndarray]) -> torch.Tensor:
    """Sample (B, C, k, j, i) linearly at all combinations of positions along K, J and I, in float32.

    Args:
        tensor: (B, C, k, j, i), any float type.
        points: Positions along each axis in voxels of the tensor; outside, the border is repeated.

    Returns:
        (B, C, len(points[0]), len(points[1]), len(points[2])).
    """
    result = tensor.float()
    with torch.autocast(tensor.device.type, enabled=False):
        for axis, positions in enumerate(points):
            length = tensor.shape[2 + axis]
            weights = 1 - np.abs(np.clip(positions, 0, length - 1)[:, None] - np.arange(length)[None])
            matrix = torch.from_numpy(np.maximum(weights, 0).astype(np.float32)).to(tensor.device)
            result = _along(result, matrix, axis)
    return result


def _cheapest_first(old: tuple[int, ...], new: Triple) -> list[int]:
    """Shrink first, enlarge last: the intermediate tensors stay small."""
    return [int(axis) for axis in np.argsort(np.asarray(new) / np.asarray(old[-3:]))]


def _paste(source: torch.Tensor, box: Box, patch: torch.Tensor) -> torch.Tensor:
    k, j, i = source.shape[1:]
    inside = overlap(box, Box((0, 0, 0), (k, j, i)))
    if inside is not None:
        target = inside.moved_to_frame_of(box)
        patch[(..., *target.slices())] = source[(..., *inside.slices())].to(patch.dtype)
    return patch
