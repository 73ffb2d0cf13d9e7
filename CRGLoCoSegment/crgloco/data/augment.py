"""Augmentation on the device of the network: parameters are drawn first, applied later.

Every ``draw_*`` takes a numpy generator and returns a frozen record; every ``apply_*`` is a pure
function of tensors and that record.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from crgloco.data.boxes import Box, triple
from crgloco.data.patches import resize

MOST_HOLES = 3

Matrix = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class SpatialRanges:
    """How far the geometry may change.

    Attributes:
        flip_axes: Axes (0 = K) that may be mirrored.
        degrees: Largest rotation about each axis.
        scale: Smallest and largest zoom.
        share: Share of samples that are rotated and zoomed, 0..1.
    """

    flip_axes: tuple[int, ...] = (0, 1, 2)
    degrees: float = 15.0
    scale: tuple[float, float] = (0.8, 1.25)
    share: float = 0.5


@dataclass(frozen=True)
class SpatialDraw:
    """One change of geometry: first the volume is mirrored, then rotated and zoomed.

    Attributes:
        flips: Whether K, J, I is mirrored.
        matrix: Offset from the centre in the result, times this, is the offset in the (mirrored)
            volume; ``None`` leaves the voxels where they are.
    """

    flips: tuple[bool, bool, bool] = (False, False, False)
    matrix: Matrix | None = None


def draw_spatial(
    ranges: SpatialRanges, spacing: tuple[float, float, float], rng: np.random.Generator
) -> SpatialDraw:
    """Draw flips, rotation and zoom; rotation is rigid in mm.

    With voxels more than three times as long on one axis as on another, rotation stays in the plane
    of the short axes: turning thick slices would only blur.

    Args:
        ranges: How far the geometry may change.
        spacing: Millimetres along K, J, I.
        rng: Source of all randomness.
    """
    mirrored = rng.random(3) < 0.5
    flips = _flags(axis in ranges.flip_axes and bool(mirrored[axis]) for axis in range(3))
    angles = np.deg2rad(rng.uniform(-ranges.degrees, ranges.degrees, 3))
    zoom = np.exp(rng.uniform(*np.log(ranges.scale)))
    if rng.random() >= ranges.share:
        return SpatialDraw(flips)
    mm = np.asarray(spacing)
    thick = mm > 3 * mm.min()
    if thick.any():
        angles[~thick] = 0.0
    if thick.sum() > 1:  # no plane of short axes is left
        angles[:] = 0.0
    matrix = np.diag(1 / mm) @ rotation_matrix(angles) @ np.diag(mm) / zoom
    matrix[thick, thick] = 1.0
    return SpatialDraw(flips, rows(matrix))


def source_box(target: Box, matrix: Matrix | None) -> Box:
    """Return the box of the volume that ``apply_matrix`` needs to fill ``target``."""
    if matrix is None:
        return target
    reach = np.abs(np.asarray(matrix)) @ (np.asarray(target.size) / 2)
    centre = np.asarray(target.start) + np.asarray(target.size) / 2
    start = np.floor(centre - reach).astype(int) - 1
    return Box(triple(start), triple(np.ceil(centre + reach).astype(int) + 1 - start))


def apply_matrix(
    image: torch.Tensor, label: torch.Tensor, source: Box, target: Box, matrix: Matrix | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fill ``target`` from a patch read at ``source_box(target, matrix)``.

    Args:
        image: (C, *source.size) float32.
        label: (*source.size) uint8.
        source: Box that image and label were read from.
        target: Box to fill, same coordinates.
        matrix: The change of geometry about the centre of ``target``.

    Returns:
        Image (C, *target.size) by linear, label (*target.size) by nearest interpolation.
    """
    if matrix is None:
        return image, label
    first = target.start[0] - source.start[0]
    if matrix[0] == (1.0, 0.0, 0.0) and matrix[1][0] == matrix[2][0] == 0:
        slices = slice(first, first + target.size[0])
        return _moved_in_plane(image[:, slices], label[slices], source, target, matrix)
    grid = _sampling_grid(source, target, matrix, image.device)
    moved = functional.grid_sample(
        image[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )[0]
    moved_label = functional.grid_sample(
        label[None, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
    )[0, 0]
    return moved, moved_label.to(torch.uint8)


def _moved_in_plane(
    image: torch.Tensor, label: torch.Tensor, source: Box, target: Box, matrix: Matrix
) -> tuple[torch.Tensor, torch.Tensor]:
    """Slices that stay in their plane are sampled as channels of one picture: five times faster."""
    plane = Box(target.start, (1, *target.size[1:]))
    grid = _sampling_grid(source, plane, matrix, image.device)[:, 0, :, :, :2]
    channels, slices = image.shape[:2]
    moved = functional.grid_sample(
        image.flatten(0, 1)[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    moved_label = functional.grid_sample(
        label[None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
    )
    return moved.view(channels, slices, *moved.shape[2:]), moved_label[0].to(torch.uint8)


@dataclass(frozen=True)
class IntensityDraw:
    """One change of grey values; entries of 0, 1 or ``None`` change nothing."""

    noise: float = 0.0
    noise_seed: int = 0
    blur: float = 0.0
    factor: float = 1.0
    shift: float = 0.0
    gamma: float = 1.0
    coarse: float = 1.0
    holes: tuple[tuple[float, ...], ...] = ()


def draw_intensity(rng: np.random.Generator) -> IntensityDraw:
    """Draw the strong view of the default recipe: noise, blur, contrast, brightness, gamma, coarse, holes."""

    def sometimes(share: float, value: float, otherwise: float) -> float:
        return float(value) if rng.random() < share else otherwise

    centres = rng.uniform(0, 1, (int(rng.integers(0, MOST_HOLES + 1)), 3))
    sizes = rng.uniform(0.1, 0.35, centres.shape)
    return IntensityDraw(
        noise=sometimes(0.5, rng.uniform(0, 0.2), 0.0),
        noise_seed=int(rng.integers(2**31)),
        blur=sometimes(0.3, rng.uniform(0.5, 1.2), 0.0),
        factor=sometimes(0.6, rng.uniform(0.7, 1.4), 1.0),
        shift=sometimes(0.6, rng.uniform(-0.25, 0.25), 0.0),
        gamma=sometimes(0.5, np.exp(rng.uniform(-0.5, 0.5)), 1.0),
        coarse=sometimes(0.25, rng.uniform(1.3, 2.0), 1.0),
        holes=tuple(tuple(map(float, (*c, *s))) for c, s in zip(centres, sizes, strict=True)),
    )


def apply_intensity(image: torch.Tensor, draw: IntensityDraw) -> torch.Tensor:
    """Change the grey values of (C, K, J, I) float32; the shape stays."""
    if draw.coarse > 1:
        k, j, i = image.shape[1:]
        small = (
            max(1, round(k / draw.coarse)),
            max(1, round(j / draw.coarse)),
            max(1, round(i / draw.coarse)),
        )
        image = resize(resize(image[None], small), (k, j, i))[0]
    if draw.blur > 0:
        image = _blur(image, draw.blur)
    if draw.gamma != 1:
        low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
        span = (high - low).clamp_min(1e-6)
        image = ((image - low) / span).clamp(0, 1) ** draw.gamma * span + low
    if draw.factor != 1:
        mean = image.mean((1, 2, 3), keepdim=True)
        image = (image - mean) * draw.factor + mean
    image = image + draw.shift
    if draw.noise > 0:
        image = image + draw.noise * seeded_noise(image, draw.noise_seed)
    return _cut_holes(image, draw.holes)


def seeded_noise(like: torch.Tensor, seed: int) -> torch.Tensor:
    """Return standard normal noise of the same shape, type and device, from a generator of its own."""
    generator = torch.Generator(device=like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _cut_holes(image: torch.Tensor, holes: tuple[tuple[float, ...], ...]) -> torch.Tensor:
    if not holes:
        return image
    image = image.clone()
    mean = image.mean((1, 2, 3), keepdim=True)
    size = np.asarray(image.shape[1:])
    for hole in holes:
        centre, extent = np.asarray(hole[:3]) * size, np.asarray(hole[3:]) * size / 2
        start = np.maximum(centre - extent, 0).astype(int)
        stop = np.minimum(centre + extent, size).astype(int) + 1
        image[:, start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]] = mean
    return image


def _blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    reach = max(1, int(np.ceil(2 * sigma)))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=image.device) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    result = image[:, None]
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0] * 6
        shape[2 + axis] = -1
        padding[4 - 2 * axis] = padding[5 - 2 * axis] = reach
        padded = functional.pad(result, padding, mode="replicate")
        with torch.autocast(image.device.type, enabled=False):
            result = functional.conv3d(padded, kernel.view(shape))
    return result[:, 0]


def _sampling_grid(source: Box, target: Box, matrix: Matrix, device: torch.device) -> torch.Tensor:
    """Return (1, K, J, I, 3) float32 coordinates in -1..1, order I, J, K, as ``grid_sample`` wants them."""
    size_in, size_out = np.asarray(source.size, float), np.asarray(target.size, float)
    centre = np.asarray(target.start) + size_out / 2 - np.asarray(source.start)
    scale = np.asarray(matrix) * size_out[None, :] / size_in[:, None]
    shift = 2 * centre / size_in - 1
    grid = torch.from_numpy(shift[::-1].astype(np.float32)).to(device)
    for axis, n in enumerate(target.size):
        voxels = (2 * np.arange(n) + 1) / n - 1
        part = torch.from_numpy(np.outer(voxels, scale[::-1, axis]).astype(np.float32)).to(device)
        grid = grid + part.view(*(n if other == axis else 1 for other in range(3)), 3)
    return grid[None]


def rotation_matrix(angles: np.ndarray) -> np.ndarray:
    """Return the (3, 3) product of rotations about K, J and I by (3,) angles in radians."""
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        result = result @ turn
    return result


def rows(matrix: np.ndarray) -> Matrix:
    """Return a (3, 3) array as plain numbers."""
    return tuple((float(row[0]), float(row[1]), float(row[2])) for row in matrix)


def _flags(values: Iterable[bool]) -> tuple[bool, bool, bool]:
    k, j, i = values
    return k, j, i
