"""Windows cover what they must, and no more than they need."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map

from crgloco.inference.windows import all_windows, cover_spans, covering_windows, gaussian_weight, spread

lengths = st.integers(1, 60)


@given(length=lengths, window=st.integers(1, 20), overlap=st.sampled_from([0.0, 0.125, 0.25, 0.5]))
def test_windows_cover_an_axis_with_the_overlap_that_was_asked_for(length, window, overlap):
    starts = spread(length, window, overlap)
    if length <= window:
        assert len(starts) == 1
        assert -window < starts[0] <= 0
        return
    assert starts[0] == 0
    assert starts[-1] == length - window
    assert all(
        0 < after - before <= window * (1 - overlap) + 1 for before, after in itertools.pairwise(starts)
    )


def test_a_short_axis_is_centred_in_its_window():
    assert spread(5, 9, 0.5) == (-2,)


def test_a_grid_of_windows_holds_every_voxel():
    shape, window = (9, 17, 23), (8, 8, 8)
    seen = np.zeros(shape, bool)
    for box in all_windows(shape, window, 0.25):
        seen[box.slices()] = True
    assert seen.all()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_open_voxel_lies_in_a_window_and_every_window_holds_one(data):
    shape = data.draw(st.tuples(lengths, lengths, lengths))
    window = data.draw(st.tuples(*[st.integers(3, 20)] * 3))
    cells = tuple(max(1, n // 2) for n in shape)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    open_cells = rng.random(cells) < data.draw(st.sampled_from([0.0, 0.002, 0.02, 0.3]))
    faces = tuple(np.linspace(0, n, c + 1) for n, c in zip(shape, cells, strict=True))
    boxes = covering_windows(open_cells, faces, shape, window, 0.25)
    opened = np.zeros(shape, bool)
    for cell in np.argwhere(open_cells):
        opened[
            tuple(
                slice(int(np.floor(f[c])), int(np.ceil(f[c + 1]))) for f, c in zip(faces, cell, strict=True)
            )
        ] = True
    covered = np.zeros(shape, bool)
    for box in boxes:
        where = tuple(slice(max(s, 0), e) for s, e in zip(box.start, box.stop, strict=True))
        covered[where] = True
        assert opened[where].any()
    assert covered[opened].all()
    assert [box.start[0] for box in boxes] == sorted(box.start[0] for box in boxes)


def test_nothing_open_needs_no_window():
    cells = np.zeros((4, 4, 4), bool)
    faces = (np.linspace(0, 40, 5),) * 3
    assert covering_windows(cells, faces, (40, 40, 40), (8, 8, 8), 0.25) == ()


def test_rows_follow_one_another_along_the_axis_that_takes_fewer_windows():
    cells = np.zeros((1, 40, 40), bool)
    cells[0, :, 3] = cells[0, 15:24, 30] = True  # rows along J would cut the second structure in two
    faces = (np.linspace(0, 4, 2), np.linspace(0, 40, 41), np.linspace(0, 40, 41))
    along_j = covering_windows(cells, faces, (4, 40, 40), (4, 10, 10), 0.0)
    along_i = covering_windows(cells.transpose(0, 2, 1), faces, (4, 40, 40), (4, 10, 10), 0.0)
    assert len(along_j) == len(along_i) == 5
    assert {box.start for box in along_i} == {(k, i, j) for k, j, i in (box.start for box in along_j)}


def test_two_distant_structures_do_not_pay_for_the_gap():
    starts = cover_spans([(0, 10), (90, 100)], 100, 20, 0.25)
    assert len(starts) == 2
    assert len(spread(100, 20, 0.25)) > 4


def test_a_window_around_a_small_structure_is_centred_on_it():
    assert cover_spans([(50, 54)], 100, 20, 0.25) == (42,)


@pytest.mark.parametrize("window", [(8, 8, 8), (5, 12, 9), (1, 4, 4)])
def test_the_weight_of_the_blend_is_that_of_monai(window):
    expected = compute_importance_map(window, mode="gaussian", sigma_scale=0.125).numpy()
    assert np.allclose(gaussian_weight(window), np.maximum(expected, 1e-3), rtol=1e-5)
