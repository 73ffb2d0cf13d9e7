"""Two fields of view of one volume: read as one patch, changed as one scene, cut into both."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from crgloco.data.augment import (
    Matrix,
    SpatialRanges,
    apply_intensity,
    apply_matrix,
    draw_intensity,
    draw_spatial,
    source_box,
)
from crgloco.data.boxes import Box, Triple, draw_pair, union
from crgloco.data.patches import TrainingCase, resize


@dataclass(frozen=True)
class DualCrop:
    """Both fields of view as tensors on native voxels.

    Attributes:
        small: (C, *P_S) float32 image of the local window.
        small_label: (*P_S) uint8, 255 where unknown.
        large: (C, *P_L) float32 image of the global window, not yet reduced.
        large_label: (*P_L) uint8, 255 where unknown.
    """

    small: torch.Tensor
    small_label: torch.Tensor
    large: torch.Tensor
    large_label: torch.Tensor


@dataclass(frozen=True)
class DualView:
    """One training sample: a patch that holds both boxes, and the change of geometry to come.

    Attributes:
        image: (C, *source.size) float32.
        label: (*source.size) uint8, 255 everywhere if unlabelled.
        source: Box that was read, in coordinates of the (mirrored) volume.
        large: Global window in the same coordinates.
        small: Local window in the same coordinates.
        matrix: Rotation and zoom of the whole scene, still to be applied.
        seed: For what is drawn later about this sample.
    """

    image: torch.Tensor
    label: torch.Tensor
    source: Box
    large: Box
    small: Box
    matrix: Matrix | None
    seed: int

    @property
    def offset(self) -> Triple:
        """``b - a``: start of the small window in the frame of the large one."""
        return self.small.moved_to_frame_of(self.large).start

    def to(self, device: torch.device) -> DualView:
        """Return the sample with its tensors on a device."""
        if self.image.device == device:
            return self
        image, label = (tensor.to(device, non_blocking=True) for tensor in (self.image, self.label))
        return replace(self, image=image, label=label)

    def cut(self) -> DualCrop:
        """Change the geometry of the whole scene once, then cut both windows: the overlap is exact."""
        frame = union(self.large, self.small)
        image, label = apply_matrix(self.image, self.label, self.source, frame, self.matrix)
        small = self.small.moved_to_frame_of(frame).slices()
        large = self.large.moved_to_frame_of(frame).slices()
        return DualCrop(image[(..., *small)], label[small], image[(..., *large)], label[large])


def draw_dual_view(
    case: TrainingCase,
    large: Triple,
    small: Triple,
    ranges: SpatialRanges,
    spacing: tuple[float, float, float],
    rng: np.random.Generator,
    *,
    foreground: float,
) -> DualView:
    """Draw both boxes and one change of geometry, and read the patch they need.

    Args:
        case: Case to read from.
        large: Voxels of the global window.
        small: Voxels of the local window.
        ranges: How far the geometry may change.
        spacing: Millimetres along K, J, I.
        rng: Source of all randomness.
        foreground: Share of local windows centred on a structure.
    """
    spatial = draw_spatial(ranges, spacing, rng)
    aim = case.draw_aim(rng, foreground)
    if aim is not None:
        aim = Box(aim, (1, 1, 1)).mirrored(case.shape, spatial.flips).start
    large_box, small_box = draw_pair(case.shape, large, small, aim, rng)
    source = source_box(union(large_box, small_box), spatial.matrix)
    image, label = read_mirrored(case, source, spatial.flips)
    seed = int(rng.integers(2**31))
    return DualView(image, label, source, large_box, small_box, spatial.matrix, seed)


def read_mirrored(
    case: TrainingCase, box: Box, flips: tuple[bool, bool, bool]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image (C, *box.size) and label (*box.size) of a box counted in the mirrored volume."""
    original = box.mirrored(case.shape, flips)
    axes = [axis for axis in range(3) if flips[axis]]
    image, label = case.read_image(original), case.read_label(original)
    return image.flip([1 + axis for axis in axes]), label.flip(axes)


def strong_inputs(
    crops: list[DualCrop], rngs: list[np.random.Generator], size: Triple
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the networks see in training: both windows, the large one reduced, grey values changed.

    Args:
        crops: Both windows of each sample.
        rngs: Randomness of each sample.
        size: Tensor size along K, J, I.

    Returns:
        Small (B, C, *size) and reduced large windows (B, C, *size), float32.
    """
    reduced = resize(torch.stack([crop.large for crop in crops]), size, antialias=True)
    small = [apply_intensity(crop.small, draw_intensity(rng)) for crop, rng in zip(crops, rngs, strict=True)]
    large = [apply_intensity(image, draw_intensity(rng)) for image, rng in zip(reduced, rngs, strict=True)]
    return torch.stack(small), torch.stack(large)


def weak_inputs(crops: list[DualCrop], size: Triple) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a teacher sees: the same windows, grey values as they are.

    Arguments and shapes: see ``strong_inputs``.
    """
    reduced = resize(torch.stack([crop.large for crop in crops]), size, antialias=True)
    return torch.stack([crop.small for crop in crops]), reduced
