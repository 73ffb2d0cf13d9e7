"""Fields of view in whole voxels."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crgloco.data.boxes import (
    Box,
    draw_offset,
    draw_released_pair,
    overlap,
    overlap_share,
    place_pair,
    triple,
    union,
)

starts = st.tuples(*[st.integers(-4, 4)] * 3)
sizes = st.tuples(*[st.integers(1, 4)] * 3)
boxes = st.builds(Box, starts, sizes)


def voxels(box: Box) -> set[tuple[int, int, int]]:
    """The naive twin of a box: the set of its voxels."""
    ranges = (range(start, start + size) for start, size in zip(box.start, box.size, strict=True))
    return set(itertools.product(*ranges))


@given(boxes, boxes)
def test_the_overlap_is_the_set_of_voxels_that_both_boxes_hold(first, second):
    shared = overlap(first, second)
    assert (voxels(shared) if shared else set()) == voxels(first) & voxels(second)
    assert shared == overlap(second, first)


@given(boxes, boxes)
def test_the_overlap_share_counts_voxels_relative_to_the_small_box(large, small):
    assert overlap_share(large, small) == len(voxels(large) & voxels(small)) / len(voxels(small))


@given(boxes, boxes)
def test_the_union_is_the_smallest_box_around_both(first, second):
    around = union(first, second)
    both = np.array(sorted(voxels(first) | voxels(second)))
    assert around.start == triple(both.min(0))
    assert around.stop == triple(both.max(0) + 1)


@given(boxes, boxes)
def test_moving_to_a_frame_and_back_gives_the_same_box(box, frame):
    moved = box.moved_to_frame_of(frame)
    assert moved.size == box.size
    assert triple(np.add(moved.start, frame.start)) == box.start


@given(starts=st.tuples(*[st.integers(0, 3)] * 3), sizes=sizes, flips=st.tuples(*[st.booleans()] * 3))
def test_a_mirrored_box_holds_the_same_voxels_of_the_mirrored_volume(starts, sizes, flips):
    shape = (7, 8, 9)
    volume = np.arange(7 * 8 * 9).reshape(shape)
    axes = [axis for axis in range(3) if flips[axis]]
    box = Box(starts, sizes)
    mirrored = box.mirrored(shape, flips)
    assert np.array_equal(np.flip(volume, axes)[mirrored.slices()], np.flip(volume[box.slices()], axes))
    assert mirrored.mirrored(shape, flips) == box


@given(
    box=st.builds(Box, st.tuples(*[st.integers(0, 4)] * 3), sizes),
    step=st.tuples(*[st.integers(1, 3)] * 3),
    phase=st.tuples(*[st.integers(0, 2)] * 3),
)
def test_the_lattice_of_a_box_is_that_of_the_whole_array_inside_the_box(box, step, phase):
    phase = tuple(first % every for first, every in zip(phase, step, strict=True))
    on_lattice = {
        voxel
        for voxel in voxels(box)
        if all(v % every == first for v, every, first in zip(voxel, step, phase, strict=True))
    }
    ranges = [range(axis.start, axis.stop, axis.step) for axis in box.lattice(step, phase)]
    assert set(itertools.product(*ranges)) == on_lattice


def test_boxes_that_only_touch_do_not_overlap():
    assert overlap(Box((0, 0, 0), (4, 4, 4)), Box((4, 0, 0), (4, 4, 4))) is None


@pytest.mark.parametrize(
    ("shape", "large", "small"),
    [
        ((31, 44, 52), (18, 28, 28), (10, 12, 12)),
        ((12, 60, 17), (18, 28, 28), (10, 12, 14)),  # shorter than the large box on two axes
        ((40, 40, 40), (17, 23, 19), (17, 11, 13)),  # odd sizes, one of them equal
    ],
)
def test_ten_thousand_released_pairs_keep_every_rule(shape, large, small):
    rng = np.random.default_rng(0)
    padded = np.maximum(shape, large)
    before = (padded - shape) // 2
    starts = np.empty((10_000, 2, 3), int)
    for number in range(10_000):
        large_box, small_box = draw_released_pair(shape, large, small, rng)
        assert (large_box.size, small_box.size) == (large, small)
        assert overlap_share(large_box, small_box) >= 0.1
        starts[number] = large_box.start, small_box.start
    a, b = starts[:, 0] + before, starts[:, 1] + before
    assert np.all((b - a) % 2 == 0)
    assert np.all((a >= 0) & (a + large <= padded))
    assert np.all((b >= 0) & (b + small <= padded))
    # Every position of the large box is drawn, up to the last.
    assert np.array_equal(a.max(0), padded - large)


def test_a_volume_that_fits_into_the_large_box_always_gives_full_overlap():
    rng = np.random.default_rng(0)
    for _ in range(500):
        pair = draw_released_pair((88, 201, 173), (128, 256, 256), (80, 112, 112), rng)
        assert overlap_share(*pair) == 1.0


def test_the_overlap_shares_of_abdominal_scans_are_those_of_the_specification():
    rng = np.random.default_rng(0)
    pairs = [draw_released_pair((147, 512, 512), (128, 256, 256), (96, 160, 160), rng) for _ in range(4000)]
    shares = np.array([overlap_share(*pair) for pair in pairs])
    assert shares.mean() == pytest.approx(0.55, abs=0.015)
    assert np.quantile(shares, [0.05, 0.25, 0.5, 0.75]) == pytest.approx([0.14, 0.30, 0.54, 0.81], abs=0.03)


def test_a_pair_that_is_never_good_enough_starts_at_the_same_corner():
    rng = np.random.default_rng(0)
    large_box, small_box = draw_released_pair((40, 40, 40), (16, 16, 16), (8, 8, 8), rng, at_least=2.0)
    assert small_box.start == large_box.start


@pytest.mark.parametrize(
    ("large", "small"),
    [((40, 60, 80), (16, 24, 32)), ((16, 64, 64), (16, 32, 32)), ((21, 23, 25), (14, 13, 15))],
)
def test_drawn_offsets_are_even_and_leave_most_of_the_small_box_inside(large, small):
    rng = np.random.default_rng(0)
    offsets = np.array([draw_offset(large, small, rng) for _ in range(3000)])
    margin = np.asarray(small) * 0.25 + 1  # one more voxel where an odd draw is made even
    assert np.all(offsets % 2 == 0)
    assert np.all(offsets >= -margin)
    assert np.all(offsets + small <= large + margin)
    frame = Box((0, 0, 0), large)
    assert min(overlap_share(frame, Box(triple(offset), small)) for offset in offsets) >= 0.1


def test_placed_pairs_keep_their_offset_and_the_large_box_inside_or_around_the_volume():
    rng = np.random.default_rng(0)
    shape, large, small = (50, 20, 30), (30, 28, 30), (12, 16, 14)
    for number in range(2000):
        offset = draw_offset(large, small, rng)
        aim = triple(rng.integers(0, shape)) if number % 2 else None
        large_box, small_box = place_pair(shape, large, small, offset, aim, rng)
        assert small_box.moved_to_frame_of(large_box).start == offset
        assert large_box.start[0] >= 0
        assert large_box.stop[0] <= shape[0]
        assert large_box.start[1] <= 0
        assert large_box.stop[1] >= shape[1]
        assert large_box.start[2] == 0


def test_the_small_box_holds_the_aimed_voxel_where_the_large_box_has_room_to_move():
    rng = np.random.default_rng(0)
    shape, large, small = (90, 90, 90), (30, 28, 30), (12, 16, 14)
    for _ in range(2000):
        aim = triple(rng.integers(30, 60, 3))
        _, small_box = place_pair(shape, large, small, draw_offset(large, small, rng), aim, rng)
        assert aim in voxels(small_box)
