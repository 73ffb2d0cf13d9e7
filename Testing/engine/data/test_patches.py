"""Patches that may leave the volume, and resizing on exact coordinates."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from crgloco.data.boxes import Box
from crgloco.data.cache import PreparedCase
from crgloco.data.patches import (
    BACKGROUND,
    IGNORE,
    TrainingCase,
    axis_matrix,
    enlarged,
    resize,
    sample_lattice,
)
from crgloco.io.volume import Geometry
from tiny_training import coordinate_case, make_case, phantom_case

SIZES = [(6, 8, 10), (3, 4, 5), (12, 16, 20), (7, 8, 3), (1, 1, 1), (6, 13, 9)]


def naive_line(values: list[float], new_length: int, width: float = 1.0) -> list[float]:
    """Linear resizing of one line by its definition, voxel by voxel."""
    ratio = len(values) / new_length
    line = []
    for number in range(new_length):
        centre = (number + 0.5) * ratio - 0.5
        total = weights = 0.0
        for voxel in range(-len(values), 2 * len(values)):
            weight = max(0.0, 1 - abs(centre - voxel) / width)
            total += weight * values[min(max(voxel, 0), len(values) - 1)]
            weights += weight
        line.append(total / weights)
    return line


@pytest.mark.parametrize("size", SIZES)
def test_resizing_equals_torch_interpolate_with_outer_faces_kept(size):
    tensor = torch.randn(2, 3, 6, 8, 10)
    expected = functional.interpolate(tensor, size=size, mode="trilinear", align_corners=False)
    torch.testing.assert_close(resize(tensor, size), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("antialias", [False, True])
def test_resizing_equals_a_loop_over_lines(size, antialias):
    tensor = torch.randn(1, 1, 6, 8, 10, dtype=torch.float64)
    expected = tensor[0, 0].numpy()
    for axis in range(3):
        ratio = expected.shape[axis] / size[axis]
        width = ratio if antialias and ratio > 1.5 else 1.0
        expected = np.apply_along_axis(
            lambda line, w=width, a=axis: naive_line(line, size[a], w), axis, expected
        )
    result = resize(tensor, size, antialias=antialias)[0, 0]
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), expected, atol=5e-6)


@given(
    size=st.tuples(*[st.integers(2, 9)] * 3),
    corner=st.tuples(*[st.floats(0, 0.99)] * 3),
    antialias=st.booleans(),
)
@settings(max_examples=40)
def test_a_box_of_the_result_equals_the_crop_of_the_whole_result(size, corner, antialias):
    tensor = torch.arange(5 * 6 * 7, dtype=torch.float32).reshape(1, 1, 5, 6, 7).sin()
    start = tuple(int(share * length) for share, length in zip(corner, size, strict=True))
    box = Box(start, tuple(max(1, (length - first) // 2) for first, length in zip(start, size, strict=True)))
    whole = resize(tensor, size, antialias=antialias)
    part = resize(tensor, size, antialias=antialias, part=box.slices())
    torch.testing.assert_close(part, whole[(..., *box.slices())], rtol=0, atol=1e-6)


def test_resizing_to_the_same_size_changes_nothing_but_the_type():
    tensor = torch.randn(1, 2, 4, 5, 6).half()
    assert torch.equal(resize(tensor, (4, 5, 6), antialias=True), tensor.float())
    part = (slice(1, 3), slice(0, 5, 2), slice(2, 6))
    assert torch.equal(resize(tensor, (4, 5, 6), part=part), tensor[(..., *part)].float())


@pytest.mark.parametrize("size", SIZES)
def test_enlarging_equals_resizing_and_keeps_the_type(size):
    tensor = torch.randn(2, 3, 6, 8, 10)
    torch.testing.assert_close(enlarged(tensor, size), resize(tensor, size))
    half = tensor.bfloat16()
    with torch.autocast("cpu", torch.float16):  # whatever is mixed around it
        result = enlarged(half, size)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), resize(half, size), rtol=0.01, atol=0.03)


def test_every_second_voxel_of_the_result_equals_that_of_the_whole_result():
    tensor = torch.randn(1, 2, 4, 5, 6)
    part = (slice(1, 9, 2), slice(0, 11, 3), slice(5, 12, 1))
    torch.testing.assert_close(
        resize(tensor, (9, 11, 12), part=part), resize(tensor, (9, 11, 12))[(..., *part)]
    )


def test_sampling_at_positions_interpolates_between_neighbours_and_repeats_the_border():
    tensor = torch.randn(2, 3, 4, 5, 6)
    points = (np.array([-3.0, 0.25, 2.0]), np.array([1.5]), np.array([4.75, 9.0]))
    sampled = sample_lattice(tensor, points)
    assert sampled.shape == (2, 3, 3, 1, 2)
    for k, place in enumerate(points[0]):
        for i, column in enumerate(points[2]):
            expected = 0.0
            for a, b, c in itertools.product(range(4), range(5), range(6)):
                near = [
                    max(0.0, 1 - abs(min(max(p, 0), n - 1) - v))
                    for p, n, v in zip((place, 1.5, column), (4, 5, 6), (a, b, c), strict=True)
                ]
                expected = expected + np.prod(near) * tensor[..., a, b, c]
            torch.testing.assert_close(sampled[:, :, k, 0, i], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("lengths", [(128, 80), (256, 112), (7, 19), (5, 1), (1, 6)])
def test_the_weights_of_a_voxel_sum_to_one(lengths, antialias):
    torch.testing.assert_close(axis_matrix(*lengths, antialias=antialias).sum(1), torch.ones(lengths[1]))


def test_antialiasing_starts_where_an_axis_shrinks_by_more_than_one_and_a_half():
    assert torch.equal(axis_matrix(30, 20, antialias=True), axis_matrix(30, 20, antialias=False))
    assert not torch.equal(axis_matrix(31, 20, antialias=True), axis_matrix(31, 20, antialias=False))
    stripes = torch.tensor([1.0, -1.0] * 16)
    assert (axis_matrix(32, 11, antialias=True) @ stripes).abs().max() < 0.15
    assert (axis_matrix(32, 11, antialias=False) @ stripes).abs().max() > 0.9


@pytest.mark.parametrize(("length", "reduced", "rim"), [(128, 80, 0.30), (256, 112, 0.64)])
def test_coordinates_survive_reduction_and_enlargement_in_the_interior(length, reduced, rim):
    line = torch.arange(length, dtype=torch.float32).reshape(1, 1, length, 1, 1)
    back = resize(resize(line, (reduced, 1, 1)), (length, 1, 1))
    error = (back - line).abs().flatten()
    assert error[2:-2].max() < 1e-3
    assert error.max() == pytest.approx((length / reduced - 1) / 2, abs=0.02)
    assert error.max() == pytest.approx(rim, abs=0.01)
    swapped = functional.interpolate(
        resize(line, (reduced, 1, 1)), size=(length, 1, 1), mode="trilinear", align_corners=True
    )
    assert (swapped - line).abs().flatten()[2:-2].max() > 0.1


def test_the_gradient_of_resizing_is_its_transpose():
    tensor = torch.randn(1, 1, 5, 6, 7, requires_grad=True)
    other = torch.randn(1, 1, 9, 4, 6)
    resize(tensor, (9, 4, 6)).backward(other)
    probe = torch.randn(1, 1, 5, 6, 7)
    forward = (resize(probe, (9, 4, 6)) * other).sum()
    torch.testing.assert_close((probe * tensor.grad).sum(), forward, rtol=1e-4, atol=1e-4)


def test_resizing_stays_in_float32_inside_autocast():
    tensor = torch.randn(1, 1, 6, 8, 10)
    with torch.autocast("cpu", torch.bfloat16):
        inside = resize(tensor.bfloat16().float(), (9, 5, 10))
    assert inside.dtype == torch.float32
    assert torch.equal(inside, resize(tensor.bfloat16().float(), (9, 5, 10)))


def test_a_patch_that_leaves_the_volume_is_filled_with_the_smallest_value_and_background():
    rng = np.random.default_rng(0)
    image, label = rng.normal(size=(2, 5, 6, 7)), rng.integers(1, 4, (5, 6, 7)).astype(np.uint8)
    case = make_case(image, label)
    box = Box((-2, 3, -1), (6, 5, 9))
    stored = image.astype(np.float16).astype(np.float32)
    pad = [(2, 0), (0, 2), (1, 1)]
    for channel in range(2):
        padded = np.pad(stored[channel], pad, constant_values=stored[channel].min())
        assert np.array_equal(case.read_image(box)[channel], padded[:6, 3:8, :9])
    assert np.array_equal(case.read_label(box), np.pad(label, pad, constant_values=BACKGROUND)[:6, 3:8, :9])


def test_a_patch_wholly_outside_the_volume_is_all_padding():
    case = phantom_case()
    box = Box((100, 100, 100), (2, 3, 4))
    assert torch.equal(case.read_image(box), case.fill[0].expand(1, 2, 3, 4))
    assert not case.read_label(box).any()


def test_a_patch_is_a_copy_and_not_a_window_on_the_case():
    case = phantom_case()
    before = case.image.clone()
    case.read_image(Box((0, 0, 0), case.shape)).zero_()
    case.read_label(Box((0, 0, 0), case.shape)).zero_()
    assert torch.equal(case.image, before)
    assert case.label.any()


def test_an_unlabelled_case_has_no_known_voxel():
    label = phantom_case(labelled=False).read_label(Box((-1, 0, 0), (4, 4, 4)))
    assert label.dtype == torch.uint8
    assert torch.all(label == IGNORE)


def test_aimed_voxels_belong_to_a_structure_and_every_structure_has_its_turn():
    case, rng = phantom_case(), np.random.default_rng(0)
    aims = [case.draw_aim(rng, 1.0) for _ in range(400)]
    classes = np.array([int(case.label[aim]) for aim in aims])
    assert set(classes) == {1, 2}
    assert 140 < (classes == 1).sum() < 260  # by class, not by volume


def test_crops_are_aimed_in_the_asked_share_and_nowhere_without_structures():
    case, rng = phantom_case(), np.random.default_rng(0)
    aimed = sum(case.draw_aim(rng, 0.67) is not None for _ in range(1000))
    assert 600 < aimed < 740
    assert case.draw_aim(rng, 0.0) is None
    assert coordinate_case(labelled=True).draw_aim(rng, 1.0) is None
    assert phantom_case(labelled=False).draw_aim(rng, 1.0) is None


def test_a_prepared_case_opens_memory_mapped_without_a_warning(tmp_path):
    expected = phantom_case(3)
    np.save(tmp_path / "image.npy", expected.image.numpy())
    np.save(tmp_path / "label.npy", expected.label.numpy())
    np.savez(tmp_path / "locations.npz", **{str(key): voxels for key, voxels in expected.locations.items()})
    grid = Geometry(expected.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    case = TrainingCase.open(PreparedCase("phantom", tmp_path, expected.shape, 1, True, grid, ""))
    box = Box((-1, 2, 3), (8, 9, 10))
    assert torch.equal(case.read_image(box), expected.read_image(box))
    assert torch.equal(case.read_label(box), expected.read_label(box))
    assert torch.equal(case.fill, expected.fill)
    assert case.locations.keys() == expected.locations.keys()
