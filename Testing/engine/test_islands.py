"""Pieces of structures: against a slow walk from voxel to voxel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from crgloco.islands import LEAST_SHARE, ONE_PIECE, in_pieces, islands, largest_pieces, without_islands


def pieces_by_walking(mask):
    """Sets of voxels, from one to all that touch it."""
    left, pieces = {tuple(voxel) for voxel in np.argwhere(mask)}, []
    while left:
        piece, edge = set(), [left.pop()]
        while edge:
            voxel = edge.pop()
            piece.add(voxel)
            near = {
                other for other in left if max(abs(a - b) for a, b in zip(voxel, other, strict=True)) == 1
            }
            left -= near
            edge += near
        pieces.append(piece)
    return pieces


@given(arrays.arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 2)))
def test_what_is_left_is_one_largest_piece_of_each_structure(labels):
    left = largest_pieces(labels)
    assert np.all((left == labels) | (left == 0))
    for number in (1, 2):
        before = pieces_by_walking(labels == number)
        after = pieces_by_walking(left == number)
        assert len(after) == min(1, len(before))
        if before:
            assert after[0] in before
            assert len(after[0]) == max(map(len, before))


@pytest.mark.parametrize("step", [(1, 1, 1), (0, 1, 1), (1, 0, 0)])
def test_voxels_touch_by_faces_edges_and_corners(step):
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 1, 1] = labels[tuple(1 + n for n in step)] = 3
    assert not list(islands(labels, [3]))


def test_only_the_classes_that_are_asked_for_lose_their_islands():
    labels = np.zeros((1, 1, 9), np.uint8)
    labels[0, 0] = [1, 1, 0, 1, 0, 2, 0, 2, 2]
    assert without_islands(labels, [2], least=1)[0, 0].tolist() == [1, 1, 0, 1, 0, 0, 0, 2, 2]
    assert labels[0, 0, 5] == 2  # what was given stays
    (found,) = islands(labels, [1], least=1)
    assert found[0] == 1
    assert np.argwhere(labels[found[1]] * found[2]).tolist() == [[0, 0, 3]]


@given(arrays.arrays(np.uint8, (2, 3, 12), elements=st.integers(0, 1)), st.integers(0, 2**72 - 1))
def test_pieces_are_weighed_by_what_was_seen_of_them(labels, chosen):
    seen = np.array([chosen >> n & 1 for n in range(72)], np.uint8).reshape(labels.shape)
    left = without_islands(labels, [1], seen)
    pieces = pieces_by_walking(labels == 1)
    weights = [sum(seen[voxel] for voxel in piece) for piece in pieces]
    if not any(weights):
        weights = [len(piece) for piece in pieces]
    for piece, weight in zip(pieces, weights, strict=True):
        stays = {bool(left[voxel]) for voxel in piece}
        if weight > LEAST_SHARE * max(weights):
            assert stays == {True}
        elif weight < max(weights):
            assert stays == {False}


def test_the_global_answer_tells_the_main_piece():
    labels, seen = np.zeros((2, 1, 1, 12), np.uint8)
    labels[0, 0] = [1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 0, 0]
    seen[0, 0] = [0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    assert without_islands(labels, [1], seen)[0, 0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0]
    assert without_islands(labels, [1])[0, 0].tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0]
    assert without_islands(labels, [1], 0 * seen)[0, 0].tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0]


def test_a_stray_voxel_does_not_part_a_structure_and_a_second_piece_does():
    labels = np.zeros((10, 10, 12), np.uint8)
    labels[:, :, :8] = 1
    assert in_pieces(labels) == set()
    labels[0, 0, 11] = 1
    assert in_pieces(labels) == set()
    labels[:, :2, 10:] = 1
    assert (labels[:, :, :8] == 1).sum() / (labels == 1).sum() < ONE_PIECE
    assert in_pieces(labels) == {1}


def test_two_equal_halves_are_two_pieces():
    labels = np.zeros((2, 4, 9), np.uint8)
    labels[..., :4] = labels[..., 5:] = 1
    assert in_pieces(labels) == {1}


def test_an_empty_label_has_no_pieces():
    assert in_pieces(np.zeros((2, 2, 2), np.uint8)) == set()
    assert not without_islands(np.zeros((2, 2, 2), np.uint8)).any()
