"""Both fields of view show one scene, and both recipes keep to exact coordinates."""

import numpy as np
import pytest
import torch

from crgloco.data.augment import SpatialRanges
from crgloco.data.boxes import Box, draw_released_pair, overlap, overlap_share, triple
from crgloco.data.patches import IGNORE, resize
from crgloco.data.released_views import draw_released_view, released_inputs
from crgloco.data.views import draw_dual_view, read_mirrored, strong_inputs, weak_inputs
from tiny_training import coordinate_case, make_case, phantom_case

LARGE, SMALL = (12, 16, 18), (8, 10, 12)
MM = (1.0, 1.0, 1.0)
STILL = SpatialRanges(flip_axes=(), share=0.0)
FLIPS = SpatialRanges(share=0.0)
ALL = SpatialRanges(share=1.0)


def draw(case, seed, ranges=ALL, foreground=0.0, large=LARGE, small=SMALL):
    rng = np.random.default_rng(seed)
    return draw_dual_view(case, large, small, ranges, MM, rng, foreground=foreground)


def overlap_crops(view, small: torch.Tensor, large: torch.Tensor):
    shared = overlap(view.large, view.small)
    in_small = shared.moved_to_frame_of(view.small).slices()
    in_large = shared.moved_to_frame_of(view.large).slices()
    return small[(..., *in_small)], large[(..., *in_large)]


@pytest.mark.parametrize("ranges", [STILL, FLIPS, ALL])
@pytest.mark.parametrize("labelled", [False, True])
def test_the_overlap_is_bitwise_the_same_in_both_windows(ranges, labelled):
    case = coordinate_case((20, 24, 28), labelled=labelled)
    for seed in range(15):
        view = draw(case, seed, ranges)
        crop = view.cut()
        assert view.offset == triple(np.subtract(view.small.start, view.large.start))
        assert overlap_share(view.large, view.small) >= 0.75**3
        assert crop.small.shape == (3, *SMALL)
        assert crop.large.shape == (3, *LARGE)
        assert torch.equal(*overlap_crops(view, crop.small, crop.large))
        assert torch.equal(*overlap_crops(view, crop.small_label, crop.large_label))


def test_without_change_of_geometry_both_windows_are_plain_crops_of_the_volume():
    case = phantom_case()
    for seed in range(10):
        view = draw(case, seed, STILL)
        crop = view.cut()
        assert torch.equal(crop.small, case.read_image(view.small))
        assert torch.equal(crop.small_label, case.read_label(view.small))
        assert torch.equal(crop.large, case.read_image(view.large))
        assert torch.equal(crop.large_label, case.read_label(view.large))


@pytest.mark.parametrize("flips", [(True, False, False), (False, True, True), (True, True, True)])
def test_reading_mirrored_equals_mirroring_the_volume_and_then_reading(flips):
    case = phantom_case()
    axes = [axis for axis in range(3) if flips[axis]]
    mirrored = make_case(
        np.flip(case.image.numpy(), [1 + axis for axis in axes]).copy(),
        np.flip(case.label.numpy(), axes).copy(),
    )
    for box in (Box((2, 3, 4), (5, 6, 7)), Box((-3, 10, 20), (8, 20, 12))):
        image, label = read_mirrored(case, box, flips)
        assert torch.equal(image, mirrored.read_image(box))
        assert torch.equal(label, mirrored.read_label(box))


def test_mirrored_coordinates_land_where_the_formula_says():
    case = coordinate_case((20, 24, 28))
    seen = set()
    for seed in range(12):
        view = draw(case, seed, FLIPS, small=(6, 6, 6), large=(10, 10, 10))
        crop = view.cut()
        seen.add(
            tuple(
                float(crop.large[axis].flatten()[0]) > float(crop.large[axis].flatten()[-1])
                for axis in range(3)
            )
        )
        for axis, length in enumerate(case.shape):
            along = np.arange(view.large.start[axis], view.large.stop[axis])
            found = np.unique(crop.large[axis].numpy())
            assert set(found) in ({*map(float, along)}, {float(length - 1 - place) for place in along})
    assert len(seen) > 4


@pytest.mark.parametrize("shape", [(60, 60, 60), (9, 15, 17), (12, 60, 20)])
def test_flips_keep_the_aimed_voxel_in_the_local_window_wherever_it_lies(shape):
    """Also at the border, and where the global window is longer than the volume."""
    label = np.zeros(shape, np.uint8)
    image = np.zeros((1, *shape))
    rng = np.random.default_rng(0)
    for seed in range(60):
        voxel = triple(rng.integers(0, shape))
        marked = label.copy()
        marked[voxel] = 1
        crop = draw(make_case(image, marked), seed, FLIPS, foreground=1.0).cut()
        assert (crop.small_label == 1).sum() == 1
        if all(
            n <= large for n, large in zip(shape, LARGE, strict=True)
        ):  # the global window holds all of the volume
            assert (crop.large_label == 1).sum() == 1


def test_every_sample_has_an_offset_of_its_own():
    case = phantom_case()
    offsets = np.array([draw(case, seed, STILL).offset for seed in range(40)])
    assert len({triple(offset) for offset in offsets}) > 30
    assert any((offsets % 2).any(0))


def test_rotation_and_zoom_keep_the_aimed_structure_in_the_local_window():
    label = np.zeros((60, 60, 60), np.uint8)
    label[28:33, 28:33, 28:33] = 1
    case = make_case(np.zeros((1, 60, 60, 60)), label)
    held = [bool((draw(case, seed, ALL, foreground=1.0).cut().small_label == 1).any()) for seed in range(60)]
    assert np.mean(held) > 0.95


def test_images_and_labels_are_changed_together():
    label = phantom_case().label.numpy()
    case = make_case(label[None].astype(float) * 10, label)
    for seed in range(10):
        crop = draw(case, seed, ALL).cut()
        agreement = (crop.large[0] / 10).round() == crop.large_label
        assert agreement.float().mean() > 0.93  # the rest are borders, linear here and nearest there


def test_an_unlabelled_case_has_no_label_in_either_window():
    crop = draw(phantom_case(labelled=False), 3, ALL).cut()
    assert torch.all(crop.small_label == IGNORE)
    assert torch.all(crop.large_label == IGNORE)


def test_the_same_randomness_gives_the_same_view():
    first, again, other = (draw(phantom_case(), seed) for seed in (4, 4, 5))
    assert (first.source, first.matrix, first.seed) == (again.source, again.matrix, again.seed)
    assert torch.equal(first.image, again.image)
    assert first.seed != other.seed


def test_moving_a_view_to_its_own_device_changes_nothing():
    view = draw(phantom_case(), 0)
    assert view.to(torch.device("cpu")) is view
    elsewhere = view.to(torch.device("meta"))
    assert elsewhere.image.device.type == elsewhere.label.device.type == "meta"


def test_the_teacher_sees_grey_values_as_they_are_and_the_student_changed_ones():
    views = [draw(phantom_case(number), number) for number in range(3)]
    crops = [view.cut() for view in views]
    small, large = weak_inputs(crops, SMALL)
    assert torch.equal(small, torch.stack([crop.small for crop in crops]))
    assert torch.equal(large, resize(torch.stack([crop.large for crop in crops]), SMALL, antialias=True))
    strong = [
        strong_inputs(crops, [np.random.default_rng(view.seed) for view in views], SMALL) for _ in range(2)
    ]
    for weak, changed, again in zip((small, large), *strong, strict=True):
        assert torch.equal(changed, again)
        assert changed.shape == weak.shape
        assert not any(torch.equal(a, b) for a, b in zip(changed, weak, strict=True))


def released(case, seed):
    rng = np.random.default_rng(seed)
    return draw_released_view(case, *draw_released_pair(case.shape, LARGE, SMALL, rng), rng)


def test_a_released_unlabelled_overlap_is_bitwise_the_same_in_both_windows():
    case = coordinate_case((20, 24, 28))
    for seed in range(20):
        view = released(case, seed).to(torch.device("cpu"))
        assert view.matrices == (None, None)
        assert torch.equal(*overlap_crops(view, view.small_image, view.large_image))
        assert torch.equal(view.small_image, case.read_image(view.small))


def test_a_released_labelled_view_loses_a_cube_of_its_label_but_not_of_its_image():
    label = np.ones((20, 24, 28), np.uint8)
    case = make_case(np.random.default_rng(0).normal(size=(1, 20, 24, 28)), label)
    for seed in range(20):
        view = released(case, seed)
        assert torch.equal(view.small_image, case.read_image(view.small))
        for found in (view.small_label, view.large_label):
            gone = torch.nonzero(found == 0)
            assert len(gone) == 64
            assert torch.equal(gone.amax(0) - gone.amin(0), torch.tensor([3, 3, 3]))
    assert case.label.all()


def test_released_affines_are_drawn_for_each_window_and_applied_to_image_and_label():
    label = phantom_case().label.numpy()
    case = make_case(label[None].astype(float) * 10, label)
    for seed in range(10):
        drawn = released(case, seed)
        first, second = (np.asarray(matrix) for matrix in drawn.matrices)
        assert not np.allclose(first, second)
        for matrix in (first, second):
            scales = np.linalg.norm(matrix, axis=0)
            assert np.all(scales > 0.8 - 1e-9)
            assert np.all(scales < 1.2 + 1e-9)
            turn = matrix / scales
            assert np.arccos((np.trace(turn) - 1) / 2) < 0.08 * np.sqrt(3) + 1e-9
        moved = drawn.to(torch.device("cpu"))
        assert moved.matrices == (None, None)
        assert not torch.equal(moved.large_image, drawn.large_image)
        before = ((drawn.large_image[0] / 10).round() == drawn.large_label).float().mean()
        after = ((moved.large_image[0] / 10).round() == moved.large_label).float().mean()
        assert after > before - 0.06


def test_released_inputs_are_reduced_without_smoothing_and_get_bounded_noise_of_their_own():
    views = [released(phantom_case(number, labelled=False), number) for number in range(3)]
    small, large = released_inputs(views, SMALL)
    clean_small = torch.stack([view.small_image for view in views])
    clean_large = resize(torch.stack([view.large_image for view in views]), SMALL, antialias=False)
    noises = [small - clean_small, large - clean_large]
    for noise in noises:
        assert noise.abs().max() <= 0.2 + 1e-6
        assert float(noise.std()) == pytest.approx(0.095, abs=0.01)
    assert not torch.allclose(noises[0], noises[1])
    assert not torch.allclose(noises[0][0], noises[0][1])
    assert torch.equal(small, released_inputs(views, SMALL)[0])
