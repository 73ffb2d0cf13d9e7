"""Axes of a file to canonical axes and back: no voxel may move in the patient, and none may change."""

import itertools
import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from crgloco.io.files import read_volume
from crgloco.io.orientation import Orientation, canonical_geometry, turned_onto
from crgloco.io.volume import Geometry, Volume

ALL_48 = [
    Orientation(order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]
WAYS = st.sampled_from(ALL_48)
TURNS = st.tuples(*[st.floats(-3.2, 3.2)] * 3)


def geometry_of(way, turn=(0.0, 0.0, 0.0), shape=(3, 4, 5), spacing=(3.0, 0.7, 0.9)):
    """A grid stored in this way, turned in the patient."""
    euler = sitk.Euler3DTransform()
    euler.SetRotation(*turn)
    direction = tuple(map(tuple, np.array(euler.GetMatrix()).reshape(3, 3).tolist()))
    return way.apply_geometry(Geometry(shape, spacing, (-20.5, 13.25, 700.125), direction))


def places_mm(geometry):
    """(K, J, I, 3): where every voxel lies."""
    k, j, i = np.indices(geometry.shape)
    return np.stack([i, j, k, np.ones_like(i)], -1) @ geometry.affine[:3].T


@given(way=WAYS, turn=TURNS)
def test_every_voxel_stays_where_it_is_in_the_patient(way, turn):
    stored = geometry_of(way, turn)
    orientation = Orientation.of(stored)
    places = places_mm(stored)
    moved = np.stack([orientation.apply(places[..., part]) for part in range(3)], -1)
    np.testing.assert_allclose(moved, places_mm(orientation.apply_geometry(stored)), atol=1e-9)


@given(way=WAYS, turn=TURNS)
def test_canonical_axes_are_canonical_again_and_right_handed(way, turn):
    canonical = canonical_geometry(geometry_of(way, turn))
    assert Orientation.of(canonical).is_canonical
    assert canonical_geometry(canonical) is canonical
    assert np.linalg.det(canonical.direction) > 0.99
    assert (np.diag(canonical.direction) > 0).all()


@given(way=WAYS, turn=TURNS)
def test_the_closest_axes_are_those_of_a_search_over_all_48(way, turn):
    stored = geometry_of(way, turn)
    best = max(np.trace(other.apply_geometry(stored).direction) for other in ALL_48)
    assert np.trace(canonical_geometry(stored).direction) == pytest.approx(best, abs=2e-4)


@given(way=WAYS, turn=TURNS)
def test_the_way_back_is_exact_for_arrays_and_voxels(way, turn):
    stored = geometry_of(way, turn)
    orientation = Orientation.of(stored)
    array = np.arange(math.prod(stored.shape)).reshape(stored.shape)
    canonical = orientation.apply(array)
    assert np.shares_memory(canonical, array)
    np.testing.assert_array_equal(orientation.undo(canonical), array)
    assert orientation.undo(canonical).flags.c_contiguous
    points = np.argwhere(array >= 0)
    moved = orientation.voxels(points, stored.shape)
    np.testing.assert_array_equal(canonical[tuple(moved.T)], array[tuple(points.T)])
    np.testing.assert_array_equal(orientation.undo_voxels(moved, stored.shape), points)


@given(way=WAYS)
def test_zeros_are_filled_canonically_and_come_back_contiguous(way):
    zeros = way.zeros((3, 4, 5))
    assert zeros.shape == (3, 4, 5)
    zeros[:] = np.arange(60).reshape(3, 4, 5)
    assert way.undo(zeros).flags.c_contiguous
    np.testing.assert_array_equal(way.apply(way.undo(zeros)), np.arange(60).reshape(3, 4, 5))


@pytest.mark.parametrize("way", ALL_48)
def test_all_48_ways_to_store_a_scan_lead_to_the_same_canonical_volume(way):
    base = Geometry((3, 4, 5), (3.0, 0.7, 0.9), (-20.0, 13.0, 7.0))
    array = np.arange(60).reshape(base.shape)
    stored = Volume(way.apply(array), way.apply_geometry(base))
    canonical = Orientation.of(stored.geometry).apply(stored)
    np.testing.assert_array_equal(canonical.array, array)
    assert canonical.geometry.same_grid(base)
    assert canonical.geometry.spacing == base.spacing


@settings(max_examples=30)
@given(turn=st.sampled_from([(math.pi / 4, 0, 0), (0, math.pi / 4, 0), (0, 0, math.pi / 4), (0.6, 0.5, 0.4)]))
def test_a_scan_at_45_degrees_is_turned_alike_however_it_is_stored(turn):
    canonical = [canonical_geometry(geometry_of(way, turn)) for way in ALL_48]
    assert all(other.same_grid(canonical[0]) for other in canonical)


def test_rounding_of_a_header_does_not_decide_a_tie():
    grid = geometry_of(Orientation(), (math.pi / 4, 0, 0))
    for noise in (-1e-6, 1e-6):
        turned = geometry_of(Orientation(), (math.pi / 4 + noise, 0, 0))
        assert Orientation.of(turned) == Orientation.of(grid)


def test_a_canonical_volume_is_left_as_it_is():
    volume = Volume(np.zeros((3, 4, 5)), Geometry((3, 4, 5), (1, 1, 1), (0, 0, 0)))
    orientation = Orientation.of(volume.geometry)
    assert orientation.is_canonical
    assert orientation.apply(volume) is volume
    assert orientation.undo(volume.array) is volume.array


@pytest.mark.parametrize("way", ALL_48[::5])
def test_simpleitk_agrees(way, tmp_path):
    """ITK's own reorientation to LPS is the canonical volume."""
    base = Geometry((3, 4, 5), (3.0, 0.7, 0.9), (-20.0, 13.0, 7.0))
    stored = Volume(way.apply(np.arange(60, dtype=np.int16).reshape(base.shape)), way.apply_geometry(base))
    image = sitk.GetImageFromArray(np.ascontiguousarray(stored.array))
    image.SetSpacing(stored.geometry.spacing[::-1])
    image.SetOrigin(stored.geometry.origin)
    image.SetDirection([part for row in stored.geometry.direction for part in row])
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    volume = read_volume(tmp_path / "a.nrrd")
    canonical = Orientation.of(volume.geometry).apply(volume)
    expected = sitk.DICOMOrient(image, "LPS")
    np.testing.assert_array_equal(canonical.array, sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(canonical.geometry.origin, expected.GetOrigin(), atol=1e-6)


NUMBERED = np.arange(3 * 4 * 5).reshape(3, 4, 5)


@given(way=WAYS, other=WAYS, turn=TURNS)
def test_a_volume_is_turned_onto_every_other_storage_of_its_voxels(way, other, turn):
    stored, wanted = geometry_of(way, turn), geometry_of(other, turn)
    turned = turned_onto(Volume(way.apply(NUMBERED), stored), wanted)
    assert turned is not None
    assert turned.geometry == wanted
    np.testing.assert_array_equal(turned.array, other.apply(NUMBERED))


@given(way=WAYS, turn=TURNS, axis=st.integers(0, 2), voxels=st.sampled_from([-1.0, -0.5, 0.05, 0.5, 1.0]))
def test_a_volume_that_lies_elsewhere_is_never_turned_onto_a_grid(way, turn, axis, voxels):
    grid = geometry_of(ALL_48[0], turn)
    step = np.eye(3)[axis] * voxels
    origin = tuple((grid.affine @ [*step, 1.0])[:3].tolist())
    moved = way.apply_geometry(Geometry(grid.shape, grid.spacing, origin, grid.direction))
    assert turned_onto(Volume(way.apply(NUMBERED), moved), grid) is None


@given(way=WAYS, turn=TURNS, axis=st.integers(0, 2))
def test_a_volume_of_other_voxel_size_or_turned_a_little_is_never_turned_onto_a_grid(way, turn, axis):
    grid = geometry_of(ALL_48[0], turn)
    spacing = tuple(mm * (1.01 if number == axis else 1.0) for number, mm in enumerate(grid.spacing))
    wider = way.apply_geometry(Geometry(grid.shape, spacing, grid.origin, grid.direction))
    assert turned_onto(Volume(way.apply(NUMBERED), wider), grid) is None
    tilt = sitk.Euler3DTransform()
    tilt.SetRotation(*(0.01 * np.eye(3)[axis]).tolist())
    direction = np.array(tilt.GetMatrix()).reshape(3, 3) @ np.array(grid.direction)
    tilted = Geometry(grid.shape, grid.spacing, grid.origin, tuple(map(tuple, direction.tolist())))
    assert turned_onto(Volume(way.apply(NUMBERED), way.apply_geometry(tilted)), grid) is None


def test_voxels_of_another_number_along_an_axis_are_never_turned_onto_a_grid():
    grid = Geometry((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    longer = Volume(np.zeros((5, 4, 4)), Geometry((5, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    assert turned_onto(longer, grid) is None


def test_a_cube_that_was_turned_about_a_corner_is_never_turned_onto_its_former_grid():
    grid = Geometry((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    corner = Geometry((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((-1.0, 0, 0), (0, -1.0, 0), (0, 0, 1.0)))
    assert turned_onto(Volume(np.zeros((4, 4, 4)), corner), grid) is None
