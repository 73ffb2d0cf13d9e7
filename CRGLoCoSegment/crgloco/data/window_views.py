"""One field of view of one volume, for methods with a single network: read, turned and cut."""

from __future__ import annotations

from collections.abc import Sequence
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
from crgloco.data.boxes import Box, Triple, draw_pair
from crgloco.data.patches import TrainingCase
from crgloco.data.views import read_mirrored

UNCHANGED = SpatialRanges(flip_axes=(), share=0.0)


@dataclass(frozen=True)
class WindowView:
    """One training sample: a patch that holds the window, and the change of geometry to come.

    Attributes:
        image: (C, *source.size) float32.
        label: (*source.size) uint8, 255 everywhere if nothing is known.
        source: Box that was read, in coordinates of the (mirrored) volume.
        window: The window in the same coordinates.
        matrix: Rotation and zoom, still to be applied.
        seed: For what is drawn later about this sample.
        known: Class numbers that the label shows; ``None`` for all.
    """

    image: torch.Tensor
    label: torch.Tensor
    source: Box
    window: Box
    matrix: Matrix | None
    seed: int
    known: tuple[int, ...] | None = None

    def to(self, device: torch.device) -> WindowView:
        """Return the sample with its tensors on a device."""
        if self.image.device == device:
            return self
        image, label = (tensor.to(device, non_blocking=True) for tensor in (self.image, self.label))
        return replace(self, image=image, label=label)

    def cut(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return image (C, *window) float32 and label (*window) uint8, turned and zoomed."""
        return apply_matrix(self.image, self.label, self.source, self.window, self.matrix)


@dataclass(frozen=True)
class WindowCrops:
    """Windows of several samples, turned and zoomed, grey values changed.

    Attributes:
        images: (B, C, K, J, I) float32.
        labels: (B, K, J, I) uint8 class numbers, 255 where unknown.
        known: For each sample the class numbers that its label shows; ``None`` for all.
    """

    images: torch.Tensor
    labels: torch.Tensor
    known: tuple[tuple[int, ...] | None, ...]


def strong_windows(views: Sequence[WindowView]) -> WindowCrops:
    """Return what a network sees of these samples in training; their windows have one size."""
    crops = [view.cut() for view in views]
    images = [
        apply_intensity(image, draw_intensity(np.random.default_rng(view.seed)))
        for view, (image, _) in zip(views, crops, strict=True)
    ]
    labels, known = torch.stack([label for _, label in crops]), tuple(view.known for view in views)
    return WindowCrops(torch.stack(images), labels, known)


def draw_window_view(
    case: TrainingCase,
    size: Triple,
    ranges: SpatialRanges,
    spacing: tuple[float, float, float],
    rng: np.random.Generator,
    *,
    foreground: float,
) -> WindowView:
    """Draw a window and one change of geometry, and read the patch they need.

    Args:
        case: Case to read from.
        size: Voxels of the window.
        ranges: How far the geometry may change; ``UNCHANGED`` leaves voxels where they are.
        spacing: Millimetres along K, J, I.
        rng: Source of all randomness.
        foreground: Share of windows centred on a structure.
    """
    spatial = draw_spatial(ranges, spacing, rng)
    aim = case.draw_aim(rng, foreground)
    if aim is not None:
        aim = Box(aim, (1, 1, 1)).mirrored(case.shape, spatial.flips).start
    _, window = draw_pair(case.shape, size, size, aim, rng)
    source = source_box(window, spatial.matrix)
    image, label = read_mirrored(case, source, spatial.flips)
    seed = int(rng.integers(2**31))
    return WindowView(image, label, source, window, spatial.matrix, seed, case.known)
