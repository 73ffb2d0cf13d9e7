"""Fields of view in whole voxels."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crgloco.data.boxes import (
    Box,
    draw_offset,
    draw_pair,
    draw_released_pair,
    overlap,
    overlap_share,
    triple,
    union,
)

starts = st.tuples(*[st.integers(-4, 4)] * 3)
sizes = st.tuples(*[st.integers(1, 4)] * 3)
boxes = st.builds(Box, starts, sizes)


# Volume, large and small box: with the windows that `plan_windows` gives these volumes, and odd ones.
PLANNED = [
    ((88, 180, 180), (96, 192, 192), (64, 64, 80)),  # the large box holds the whole volume
    ((64, 64, 64), (64, 64, 64), (32, 32, 32)),
    ((147, 300, 300), (160, 192, 240), (64, 64, 80)),
    ((31, 6, 50), (30, 28, 30), (13, 17, 15)),  # the small box is more than twice as long as an axis
]


@st.composite
def placements(draw):
    """A volume, a large box, a small box that is no larger, and a voxel of the volume."""
    shape = draw(st.tuples(*[st.integers(1, 40)] * 3))
    small = draw(st.tuples(*[st.integers(1, 20)] * 3))
    large = tuple(n + draw(st.integers(0, 20)) for n in small)
    aim = tuple(draw(st.integers(0, n - 1)) for n in shape)
    return shape, large, small, aim


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


@given(boxes, starts)
def test_a_shifted_box_holds_the_shifted_voxels(box, offset):
    moved = {tuple(v + o for v, o in zip(voxel, offset, strict=True)) for voxel in voxels(box)}
    assert voxels(box.shifted(offset)) == moved


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
    rows, own = box.lattice_rows(step, phase)
    points = [np.arange(first, 40, every) for first, every in zip(phase, step, strict=True)]
    inside = [np.arange(start, stop) for start, stop in zip(box.start, box.stop, strict=True)]
    for axes, part in ((points, rows), (inside, own)):
        found = itertools.product(*(axis[chosen].tolist() for axis, chosen in zip(axes, part, strict=True)))
        assert set(found) == on_lattice


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
def test_drawn_offsets_reach_every_place_that_leaves_three_quarters_of_each_axis_inside(large, small):
    rng = np.random.default_rng(0)
    offsets = np.array([draw_offset(large, small, rng) for _ in range(3000)])
    quarter = np.asarray(small) // 4
    for axis in range(3):
        places = range(-quarter[axis], large[axis] - small[axis] + quarter[axis] + 1)
        assert set(offsets[:, axis]) == set(places)
    frame = Box((0, 0, 0), large)
    assert min(overlap_share(frame, Box(triple(offset), small)) for offset in offsets) >= 0.75**3


def draw_many(shape, large, small, *, aimed: bool, draws: int):
    """Starts of the large and of the small box, their overlap shares and the aims, draw by draw."""
    rng = np.random.default_rng(0)
    a, b, aims = (np.empty((draws, 3), int) for _ in range(3))
    shares = np.empty(draws)
    for number in range(draws):
        aims[number] = rng.integers(0, shape)
        aim = triple(aims[number]) if aimed else None
        large_box, small_box = draw_pair(shape, large, small, aim, rng)
        assert (large_box.size, small_box.size) == (large, small)
        assert all(type(n) is int for n in (*large_box.start, *small_box.start))
        a[number], b[number] = large_box.start, small_box.start
        shares[number] = overlap_share(large_box, small_box)
    return a, b, shares, aims


@pytest.mark.parametrize(("aimed", "draws"), [(True, 10_000), (False, 2_000)])
@pytest.mark.parametrize(("shape", "large", "small"), PLANNED)
def test_ten_thousand_pairs_keep_every_rule_and_always_hold_the_aimed_voxel(
    shape, large, small, aimed, draws
):
    a, b, shares, aims = draw_many(shape, large, small, aimed=aimed, draws=draws)
    if aimed:
        assert np.all((b <= aims) & (aims < b + small))
    assert shares.min() >= 0.75**3 > 0.1
    inside = np.minimum(a + large, b + small) - np.maximum(a, b)
    assert np.all(4 * inside >= 3 * np.asarray(small))
    # Where it is longer than the volume, the large box holds the whole axis; elsewhere it stays inside.
    room = np.subtract(shape, large)
    assert np.all((a >= np.minimum(room, 0)) & (a <= np.maximum(room, 0)))
    # The small box reaches at most a quarter of its size beyond the volume, or holds its whole axis.
    quarter = np.asarray(small) // 4
    within = (b >= -quarter) & (b + small <= shape + quarter)
    assert np.all(within | ((b <= 0) & (b + small >= shape)))


@given(placements(), st.integers(0, 2**32))
def test_pairs_of_any_volume_and_windows_keep_every_rule(placement, seed):
    shape, large, small, aim = placement
    large_box, small_box = draw_pair(shape, large, small, aim, np.random.default_rng(seed))
    for axis in range(3):
        assert small_box.start[axis] <= aim[axis] < small_box.stop[axis]
        assert large_box.start[axis] <= 0 or large_box.stop[axis] <= shape[axis]
        assert large_box.stop[axis] >= shape[axis] or large_box.start[axis] >= 0
        shared = min(large_box.stop[axis], small_box.stop[axis]) - max(
            large_box.start[axis], small_box.start[axis]
        )
        assert 4 * shared >= 3 * small[axis]
    assert overlap_share(large_box, small_box) >= 0.75**3


@pytest.mark.parametrize(("shape", "large", "small"), PLANNED[:3])
def test_pairs_without_aim_reach_the_borders_of_the_volume_and_differ_in_their_offset(shape, large, small):
    a, b, _, _ = draw_many(shape, large, small, aimed=False, draws=4_000)
    quarter = np.asarray(small) // 4
    assert np.array_equal(b.min(0), -quarter)
    assert np.array_equal(b.max(0), np.subtract(shape, small) + quarter)
    room = np.subtract(shape, large)
    assert np.array_equal(a.min(0), np.minimum(room, 0))
    assert np.array_equal(a.max(0), np.maximum(room, 0))
    assert all(len(set((b - a)[:, axis])) > 20 for axis in range(3))


def test_an_aimed_voxel_far_from_the_border_lies_anywhere_in_the_middle_half_of_the_small_box():
    rng = np.random.default_rng(0)
    shape, large, small = (90, 90, 90), (30, 28, 30), (12, 16, 14)
    places = []
    for _ in range(2000):
        aim = triple(rng.integers(30, 60, 3))
        places.append(np.subtract(aim, draw_pair(shape, large, small, aim, rng)[1].start))
    for axis, size in enumerate(small):
        assert set(np.array(places)[:, axis]) == set(range(size // 2 - size // 4, size // 2 + size // 4 + 1))


def test_the_same_randomness_gives_the_same_pair():
    first, again = (
        draw_pair((50, 20, 30), (30, 28, 30), (12, 16, 14), (3, 4, 5), np.random.default_rng(7)) for _ in "ab"
    )
    assert first == again
