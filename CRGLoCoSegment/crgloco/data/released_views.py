"""The training views of CR-GLoCo's released code."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from crgloco.data.augment import Matrix, apply_matrix, rotation_matrix, rows, seeded_noise
from crgloco.data.boxes import Box, Triple, triple
from crgloco.data.patches import BACKGROUND, TrainingCase, resize

CUBE = 4
RADIANS = 0.08
SCALE = (0.8, 1.2)


@dataclass(frozen=True)
class ReleasedView:
    """One training sample of the released recipe.

    Attributes:
        small_image: (C, *P_S) float32.
        small_label: (*P_S) uint8, 255 if unlabelled.
        large_image: (C, *P_L) float32, not yet reduced.
        large_label: (*P_L) uint8, 255 if unlabelled.
        large: Global window in volume coordinates.
        small: Local window in volume coordinates.
        matrices: Affine of the small and of the large window; ``None`` for unlabelled samples.
        seeds: Noise of the small and of the large tensor.
    """

    small_image: torch.Tensor
    small_label: torch.Tensor
    large_image: torch.Tensor
    large_label: torch.Tensor
    large: Box
    small: Box
    matrices: tuple[Matrix | None, Matrix | None]
    seeds: tuple[int, int]

    def to(self, device: torch.device) -> ReleasedView:
        """Return the sample with its tensors on a device, affines applied there."""
        small_image, small_label = _changed(
            self.small_image.to(device), self.small_label.to(device), self.matrices[0]
        )
        large_image, large_label = _changed(
            self.large_image.to(device), self.large_label.to(device), self.matrices[1]
        )
        return replace(
            self,
            small_image=small_image,
            small_label=small_label,
            large_image=large_image,
            large_label=large_label,
            matrices=(None, None),
        )


def draw_released_view(case: TrainingCase, large: Box, small: Box, rng: np.random.Generator) -> ReleasedView:
    """Read both windows; labelled ones lose a 4 x 4 x 4 cube of their *label* and get one affine each.

    Args:
        case: Case to read from.
        large: Global window in volume coordinates.
        small: Local window in volume coordinates.
        rng: Source of all randomness.
    """
    small_label, large_label = case.read_label(small), case.read_label(large)
    matrices: tuple[Matrix | None, Matrix | None] = (None, None)
    if case.label is not None:
        small_label, large_label = _without_cube(small_label, rng), _without_cube(large_label, rng)
        matrices = (_draw_affine(rng), _draw_affine(rng))
    seeds = (int(rng.integers(2**31)), int(rng.integers(2**31)))
    return ReleasedView(
        case.read_image(small),
        small_label,
        case.read_image(large),
        large_label,
        large,
        small,
        matrices,
        seeds,
    )


def released_inputs(views: list[ReleasedView], size: Triple) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both network inputs: the large window reduced without anti-aliasing, noise on both.

    Returns:
        Small (B, C, *size) and reduced large windows (B, C, *size), float32.
    """
    small = torch.stack([_noisy(view.small_image, view.seeds[0]) for view in views])
    reduced = resize(torch.stack([view.large_image for view in views]), size)
    large = torch.stack([_noisy(image, view.seeds[1]) for image, view in zip(reduced, views, strict=True)])
    return small, large


def _noisy(image: torch.Tensor, seed: int) -> torch.Tensor:
    return image + (0.1 * seeded_noise(image, seed)).clamp(-0.2, 0.2)


def _draw_affine(rng: np.random.Generator) -> Matrix:
    turn = rotation_matrix(rng.uniform(-RADIANS, RADIANS, 3))
    return rows(turn @ np.diag(rng.uniform(*SCALE, 3)))


def _without_cube(label: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    k, j, i = (int(rng.integers(0, max(1, n - CUBE + 1))) for n in label.shape)
    result = label.clone()
    result[k : k + CUBE, j : j + CUBE, i : i + CUBE] = BACKGROUND
    return result


def _changed(
    image: torch.Tensor, label: torch.Tensor, matrix: Matrix | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Border "nearest", as the code has it: what is not in the crop is its outermost voxel."""
    frame = Box((0, 0, 0), triple(label.shape))
    return apply_matrix(image, label, frame, frame, matrix)
