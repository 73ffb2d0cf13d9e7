"""Places that hold the most: sums of cells, and balls against a slow twin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crgloco.inference.places import CELLS_PER_RADIUS, Cells, fullest


def random_sums(seed, shape=(9, 14, 17)):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < 0.1, rng.random(shape), 0)


def all_cells(shape):
    return tuple(slice(0, count) for count in shape)


def slow_places(sums, least):
    """The same balls, every one summed at every step; yields the set of cells of each."""
    left, free = sums.copy(), np.ones(sums.shape, bool)
    cells = np.argwhere(np.ones(sums.shape, bool))
    balls = [((cells - cell) ** 2).sum(1) <= CELLS_PER_RADIUS**2 for cell in cells]
    while True:
        held = [left.reshape(-1)[ball].sum() for ball in balls]
        best = int(np.argmax(np.round(held, 9)))
        if held[best] < least:
            return
        mine = balls[best] & free.reshape(-1)
        yield frozenset(map(tuple, cells[mine]))
        left.reshape(-1)[mine], free.reshape(-1)[mine] = 0, False


def cells_of(place):
    first = [part.start for part in place.box]
    return frozenset(map(tuple, np.argwhere(place.mine) + first))


@pytest.mark.parametrize("seed", range(4))
def test_the_places_are_those_of_the_slow_twin(seed):
    sums = random_sums(seed)
    ours = [sum(sums[cell] for cell in cells_of(place)) for place in fullest(sums, 0.5)]
    slow = [sum(sums[cell] for cell in place) for place in slow_places(sums, 0.5)]
    # Where two balls hold the same the choice is free, and what follows may differ: the first ones tell.
    assert len(slow) > 3
    assert ours[:3] == pytest.approx(slow[:3])
    assert sum(ours) == pytest.approx(sum(slow), rel=0.05)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*(st.integers(1, 20),) * 3))
def test_no_cell_is_in_two_places_and_nothing_large_is_left(seed, shape):
    sums = random_sums(seed, shape)
    found = [cells_of(place) for place in fullest(sums, 0.25)]
    together = [cell for cells in found for cell in cells]
    assert len(together) == len(set(together))
    assert sums.sum() - sum(sums[cell] for cell in together) < 0.25 * sums.size
    left = sums.copy()
    for cell in together:
        left[cell] = 0
    assert left.max() < 0.25


def test_places_come_by_what_they_hold():
    held = [sum(random_sums(3)[cell] for cell in cells_of(p)) for p in fullest(random_sums(3), 0.1)]
    assert held == pytest.approx(sorted(held, reverse=True))


def test_nothing_has_no_place():
    assert list(fullest(np.zeros((4, 5, 6)), 1.0)) == []


@given(st.tuples(*(st.integers(1, 12),) * 3), st.tuples(*(st.floats(0.3, 9.0),) * 3))
def test_every_voxel_is_in_the_sum_of_one_cell(shape, spacing):
    cells = Cells(shape, spacing, 10.0)
    weights = np.random.default_rng(0).random(shape)
    sums = cells.sums(lambda k: weights[k])
    slow = np.zeros(cells.shape)
    for voxel in np.ndindex(shape):
        slow[tuple(int(n * mm / 2.0) for n, mm in zip(voxel, spacing, strict=True))] += weights[voxel]
    np.testing.assert_allclose(sums, slow)
    assert cells.voxels(all_cells(cells.shape)) == all_cells(shape)


def test_a_place_knows_its_own_voxels():
    shape, spacing = (10, 24, 30), (5.0, 1.5, 1.2)
    cells = Cells(shape, spacing, 10.0)
    weights = np.random.default_rng(1).random(shape)
    for place in fullest(cells.sums(lambda k: weights[k]), 1.0):
        voxels = np.argwhere(cells.own(place)) + [part.start for part in cells.voxels(place.box)]
        home = (voxels * np.array(spacing) / 2.0).astype(int)
        assert frozenset(map(tuple, home)) <= cells_of(place)
        assert len(voxels) == sum(
            tuple((np.array(voxel) * spacing / 2.0).astype(int)) in cells_of(place)
            for voxel in np.ndindex(shape)
        )
        break
