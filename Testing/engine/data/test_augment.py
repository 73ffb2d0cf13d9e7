"""Changes of geometry land where the formula says; changes of grey values are records, repeatable."""

import numpy as np
import pytest
import torch

from crgloco.data.augment import (
    IntensityDraw,
    SpatialRanges,
    apply_intensity,
    apply_matrix,
    draw_intensity,
    draw_spatial,
    rotation_matrix,
    rows,
    seeded_noise,
    source_box,
)
from crgloco.data.boxes import Box, triple

ALWAYS = SpatialRanges(share=1.0)
IDENTITY = rows(np.eye(3))


def coordinates(box: Box) -> torch.Tensor:
    """(3, *size) float32: K, J and I of each voxel of a box."""
    axes = [torch.arange(start, stop).float() for start, stop in zip(box.start, box.stop, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def naive_positions(target: Box, matrix: np.ndarray) -> np.ndarray:
    """Where each voxel of the result comes from, by the definition: centre + matrix (voxel - centre)."""
    voxels = np.moveaxis(coordinates(target).double().numpy(), 0, -1)
    centre = np.asarray(target.start) + np.asarray(target.size) / 2 - 0.5
    return np.moveaxis((voxels - centre) @ np.asarray(matrix).T + centre, -1, 0)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 0.7), (5.0, 1.0, 1.0)])
@pytest.mark.parametrize("seed", range(4))
def test_every_voxel_of_a_rotated_and_zoomed_scene_comes_from_where_the_formula_says(spacing, seed):
    matrix = draw_spatial(ALWAYS, spacing, np.random.default_rng(seed)).matrix
    target = Box((-3, 4, 10), (9, 14, 11))
    source = source_box(target, matrix)
    label = torch.zeros(source.size, dtype=torch.uint8)
    moved, _ = apply_matrix(coordinates(source), label, source, target, matrix)
    np.testing.assert_allclose(moved.numpy(), naive_positions(target, matrix), atol=2e-4)


@pytest.mark.parametrize("seed", range(3))
def test_slices_that_stay_in_their_plane_are_moved_like_the_whole_block(seed):
    angles = np.array([np.random.default_rng(seed).uniform(-0.3, 0.3), 0.0, 0.0])
    in_plane = rotation_matrix(angles) / 1.1
    in_plane[0, 0] = 1.0
    target = Box((2, 3, 4), (5, 9, 12))
    source = source_box(target, rows(in_plane))
    image, label = torch.randn(2, *source.size), torch.randint(0, 3, source.size, dtype=torch.uint8)
    fast = apply_matrix(image, label, source, target, rows(in_plane))
    almost = in_plane.copy()
    almost[0, 0] = 1.0 + 1e-9  # is no longer recognised as in-plane
    slow = apply_matrix(image, label, source, target, rows(almost))
    torch.testing.assert_close(fast[0], slow[0], rtol=0, atol=2e-5)
    assert (fast[1] != slow[1]).float().mean() < 0.01  # ties of the nearest neighbour


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_quarter_turn_of_a_cube_is_exact(axis):
    angles = np.zeros(3)
    angles[axis] = np.pi / 2
    cube = Box((0, 0, 0), (6, 6, 6))
    image, label = torch.randn(1, 6, 6, 6), torch.randint(0, 4, (6, 6, 6), dtype=torch.uint8)
    moved, moved_label = apply_matrix(image, label, cube, cube, rows(rotation_matrix(angles)))
    first, second = (other for other in range(3) if other != axis)
    turned = torch.rot90(image, -1, (1 + first, 1 + second))
    assert torch.equal(moved_label, torch.rot90(label, -1, (first, second)))
    torch.testing.assert_close(moved, turned, rtol=0, atol=1e-4)


def test_no_matrix_and_the_identity_leave_every_voxel_where_it_is():
    box = Box((1, 2, 3), (5, 6, 7))
    image, label = torch.randn(2, 5, 6, 7), torch.randint(0, 3, (5, 6, 7), dtype=torch.uint8)
    assert apply_matrix(image, label, box, box, None) == (image, label)
    moved, moved_label = apply_matrix(image, label, box, box, IDENTITY)
    torch.testing.assert_close(moved, image, rtol=0, atol=1e-5)
    assert torch.equal(moved_label, label)


@pytest.mark.parametrize("seed", range(5))
def test_labels_follow_images(seed):
    matrix = draw_spatial(ALWAYS, (1.0, 1.0, 1.0), np.random.default_rng(seed)).matrix
    target = Box((0, 0, 0), (12, 14, 16))
    source = source_box(target, matrix)
    plane = coordinates(source).sum(0) - 18.0
    label = (plane > 0).to(torch.uint8)
    moved, moved_label = apply_matrix(plane[None], label, source, target, matrix)
    clear = moved[0].abs() > 1.5  # nearest interpolation errs by half a voxel on each of three axes
    assert clear.float().mean() > 0.5
    assert torch.equal(moved_label[clear], (moved[0] > 0).to(torch.uint8)[clear])


def test_labels_never_get_a_value_that_was_not_there():
    rng = np.random.default_rng(0)
    target = Box((0, 0, 0), (10, 10, 10))
    for _ in range(5):
        matrix = draw_spatial(ALWAYS, (1.0, 1.0, 1.0), rng).matrix
        source = source_box(target, matrix)
        label = torch.from_numpy(rng.choice([0, 7, 255], source.size).astype(np.uint8))
        _, moved = apply_matrix(torch.zeros(1, *source.size), label, source, target, matrix)
        assert set(moved.unique().tolist()) <= {0, 7, 255}


def test_the_source_box_holds_every_position_and_wastes_little():
    rng = np.random.default_rng(0)
    for _ in range(200):
        target = Box(triple(rng.integers(-5, 20, 3)), triple(rng.integers(1, 12, 3)))
        matrix = draw_spatial(ALWAYS, tuple(rng.uniform(0.5, 4, 3)), rng).matrix
        source = source_box(target, matrix)
        positions = naive_positions(target, matrix).reshape(3, -1)
        assert np.all(positions.min(1) >= source.start)
        assert np.all(positions.max(1) <= np.asarray(source.stop) - 1)
        assert np.all(positions.min(1) - source.start < 4)


def test_rotation_is_rigid_in_millimetres():
    ranges = SpatialRanges(scale=(1.0, 1.0), share=1.0)
    spacing = (2.5, 1.0, 1.5)
    for seed in range(20):
        matrix = np.asarray(draw_spatial(ranges, spacing, np.random.default_rng(seed)).matrix)
        in_mm = np.diag(spacing) @ matrix @ np.diag(1 / np.asarray(spacing))
        np.testing.assert_allclose(in_mm @ in_mm.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(in_mm) == pytest.approx(1.0)
        angle = np.arccos(np.clip((np.trace(in_mm) - 1) / 2, -1, 1))
        assert angle <= np.deg2rad(15) * np.sqrt(3)


def test_zoom_stays_in_its_range_and_above_one_enlarges():
    ranges = SpatialRanges(degrees=0.0, scale=(1.25, 1.25), share=1.0)
    matrix = np.asarray(draw_spatial(ranges, (1.0, 2.0, 1.0), np.random.default_rng(0)).matrix)
    np.testing.assert_allclose(matrix, np.eye(3) / 1.25)
    zooms = [
        np.linalg.det(draw_spatial(ALWAYS, (1.0, 1.0, 1.0), np.random.default_rng(seed)).matrix) ** (-1 / 3)
        for seed in range(300)
    ]
    assert min(zooms) >= 0.8 - 1e-9
    assert max(zooms) <= 1.25 + 1e-9
    assert max(zooms) - min(zooms) > 0.3


def test_with_two_thick_axes_nothing_is_turned():
    for seed in range(20):
        draw = draw_spatial(SpatialRanges(share=1.0), (5.0, 5.0, 1.0), np.random.default_rng(seed))
        matrix = np.asarray(draw.matrix)
        np.testing.assert_allclose(matrix, np.diag(np.diag(matrix)), atol=1e-12)


@pytest.mark.parametrize("thick", [0, 1, 2])
def test_thick_slices_are_neither_turned_out_of_their_plane_nor_zoomed(thick):
    spacing = [1.0, 1.0, 1.0]
    spacing[thick] = 4.0
    for seed in range(10):
        matrix = np.asarray(draw_spatial(ALWAYS, tuple(spacing), np.random.default_rng(seed)).matrix)
        unit = np.eye(3)[thick]
        np.testing.assert_allclose(matrix[thick], unit, atol=1e-12)
        np.testing.assert_allclose(matrix[:, thick], unit, atol=1e-12)


def test_only_allowed_axes_are_mirrored_each_half_of_the_time():
    ranges = SpatialRanges(flip_axes=(0, 2), share=0.0)
    rng = np.random.default_rng(0)
    draws = [draw_spatial(ranges, (1.0, 1.0, 1.0), rng) for _ in range(600)]
    assert all(draw.matrix is None for draw in draws)
    assert np.mean([draw.flips for draw in draws], axis=0) == pytest.approx([0.5, 0.0, 0.5], abs=0.07)


def test_the_same_seed_draws_the_same_and_the_share_says_how_often_geometry_changes():
    rng, again = np.random.default_rng(5), np.random.default_rng(5)
    draws = [draw_spatial(SpatialRanges(), (1.0, 1.0, 1.0), rng) for _ in range(2000)]
    assert draws == [draw_spatial(SpatialRanges(), (1.0, 1.0, 1.0), again) for _ in range(2000)]
    assert np.mean([draw.matrix is not None for draw in draws]) == pytest.approx(0.5, abs=0.05)


def test_a_draw_of_nothing_changes_no_grey_value():
    image = torch.randn(2, 5, 6, 7)
    assert torch.equal(apply_intensity(image, IntensityDraw()), image)


def test_grey_values_change_repeatably_and_the_input_stays_as_it_was():
    image = torch.randn(2, 8, 9, 10)
    before = image.clone()
    for seed in range(20):
        draw = draw_intensity(np.random.default_rng(seed))
        assert draw == draw_intensity(np.random.default_rng(seed))
        torch.manual_seed(seed)
        changed = apply_intensity(image, draw)
        torch.manual_seed(seed + 1)
        assert torch.equal(changed, apply_intensity(image, draw))
        assert changed.shape == image.shape
        assert torch.isfinite(changed).all()
    assert torch.equal(image, before)


def test_noise_comes_from_its_own_seed_and_leaves_the_global_state_alone():
    like = torch.zeros(1, 4, 4, 4)
    state = torch.get_rng_state()
    first, again, other = (seeded_noise(like, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_each_change_of_grey_values_does_what_its_name_says():
    image = torch.randn(1, 12, 12, 12)
    blurred = apply_intensity(image, IntensityDraw(blur=1.0))
    assert blurred.std() < 0.5 * image.std()
    assert blurred.mean() == pytest.approx(float(image.mean()), abs=0.02)
    gamma = apply_intensity(image, IntensityDraw(gamma=1.5))
    assert float(gamma.min()) == pytest.approx(float(image.min()), abs=1e-5)
    assert float(gamma.max()) == pytest.approx(float(image.max()), abs=1e-5)
    assert torch.equal(gamma.flatten().argsort(), image.flatten().argsort())
    contrast = apply_intensity(image, IntensityDraw(factor=1.4))
    assert float(contrast.std()) == pytest.approx(1.4 * float(image.std()), rel=1e-4)
    assert float(contrast.mean()) == pytest.approx(float(image.mean()), abs=1e-5)
    torch.testing.assert_close(apply_intensity(image, IntensityDraw(shift=0.2)), image + 0.2)
    noisy = apply_intensity(image, IntensityDraw(noise=0.1, noise_seed=3)) - image
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.1)
    assert apply_intensity(image, IntensityDraw(coarse=2.0)).std() < 0.7 * image.std()


def test_a_constant_image_survives_blur_gamma_and_coarseness():
    image = torch.full((1, 6, 7, 8), 3.0)
    changed = apply_intensity(image, IntensityDraw(blur=1.2, gamma=0.7, coarse=1.9, factor=1.3))
    torch.testing.assert_close(changed, image, rtol=0, atol=1e-5)


def test_a_hole_is_cut_out_of_the_image_and_holds_its_mean():
    image = torch.randn(2, 10, 10, 10)
    cut = apply_intensity(image, IntensityDraw(holes=((0.5, 0.5, 0.5, 0.4, 0.2, 0.2),)))
    changed = (cut != image).all(0)
    assert changed[4:6, 5, 5].all()
    assert changed.sum() == changed[3:8, 4:7, 4:7].sum() > 10
    assert torch.allclose(cut[:, 5, 5, 5], image.mean((1, 2, 3)))


def test_augmentation_stays_in_float32_inside_mixed_precision():
    image = torch.randn(1, 8, 8, 8)
    draw = IntensityDraw(noise=0.1, noise_seed=1, blur=0.8, factor=1.2, shift=0.1, gamma=1.2, coarse=1.5)
    outside = apply_intensity(image, draw)
    with torch.autocast("cpu", torch.bfloat16):
        inside = apply_intensity(image, draw)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("turn", [(0.1, 0.0, 0.0), (0.1, 0.2, -0.1)])
def test_geometry_is_as_exact_inside_mixed_precision(turn):
    """The coordinates, in -1..1, would be rounded to eight bits: half a voxel of a window of 200."""
    target, matrix = Box((0, 0, 0), (8, 40, 40)), rows(rotation_matrix(np.array(turn)))
    source = source_box(target, matrix)
    image, label = coordinates(source), torch.zeros(source.size, dtype=torch.uint8)
    outside, _ = apply_matrix(image, label, source, target, matrix)
    with torch.autocast("cpu", torch.bfloat16):
        inside, _ = apply_matrix(image, label, source, target, matrix)
    assert torch.equal(inside, outside)
