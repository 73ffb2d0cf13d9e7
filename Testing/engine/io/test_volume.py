import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crgloco.errors import GeometryError
from crgloco.io.volume import Geometry, Volume, assert_same_grid
from damage import refused

millimetres = st.floats(-500, 500, allow_nan=False)
sizes = st.floats(1e-3, 10)
counts = st.integers(1, 300)


@st.composite
def grids(draw: st.DrawFn) -> Geometry:
    """Any grid: oblique, left-handed, anisotropic, down to micrometres."""
    numbers = draw(arrays(np.float64, (3, 3), elements=st.floats(-1, 1)))
    rotation, _ = np.linalg.qr(numbers + 3 * np.eye(3))
    rotation = rotation[:, draw(st.permutations([0, 1, 2]))] * draw(
        st.sampled_from([(1, 1, 1), (1, -1, 1), (-1, -1, 1), (-1, 1, -1), (-1, -1, -1)])
    )
    rows = tuple(tuple(row) for row in rotation.tolist())
    shape = (draw(counts), draw(counts), draw(counts))
    return Geometry(
        shape, tuple(draw(sizes) for _ in range(3)), tuple(draw(millimetres) for _ in range(3)), rows
    )


@given(grids())
def test_the_affine_maps_the_first_voxel_to_the_origin_and_steps_by_the_spacing(grid: Geometry) -> None:
    assert np.allclose((grid.affine @ [0, 0, 0, 1])[:3], grid.origin)
    for axis, spacing in enumerate(grid.spacing[::-1]):
        step = grid.affine[:3, axis]
        assert np.linalg.norm(step) == pytest.approx(spacing)


@given(grids(), st.tuples(counts, counts, counts))
def test_another_number_of_voxels_keeps_the_outer_faces(grid: Geometry, shape: tuple[int, int, int]) -> None:
    other = grid.with_shape(shape)
    for corner in np.ndindex(2, 2, 2):
        ours = grid.affine @ [*(np.array(corner) * grid.shape[::-1] - 0.5), 1]
        theirs = other.affine @ [*(np.array(corner) * shape[::-1] - 0.5), 1]
        assert np.allclose(ours, theirs, atol=1e-6)


@given(grids(), st.tuples(counts, counts, counts))
def test_going_to_another_number_of_voxels_and_back_is_the_same_grid(
    grid: Geometry, shape: tuple[int, int, int]
) -> None:
    assert grid.with_shape(shape).with_shape(grid.shape).same_grid(grid)
    assert grid.with_shape(grid.shape).same_grid(grid)


@given(grids())
def test_a_grid_that_moved_by_a_fifth_of_a_voxel_is_another_grid(grid: Geometry) -> None:
    x, y, z = grid.origin
    moved = Geometry(grid.shape, grid.spacing, (x, y + 0.2 * min(grid.spacing), z), grid.direction)
    assert not moved.same_grid(grid)


@pytest.mark.parametrize("turn", [1e-3, -1e-3])
def test_a_grid_that_is_turned_by_a_thousandth_is_another_grid(turn: float) -> None:
    """Half a millimetre at the far side of a scan of the whole body."""
    turned = ((1.0, -turn, 0.0), (turn, 1.0, 0.0), (0.0, 0.0, 1.0))
    straight = Geometry((500, 500, 500), (1, 1, 1), (0, 0, 0))
    assert not Geometry((500, 500, 500), (1, 1, 1), (0, 0, 0), turned).same_grid(straight)


def test_a_fine_grid_that_lies_far_away_is_another_grid_if_it_moved_by_a_voxel() -> None:
    fine = Geometry((9, 9, 9), (0.002, 0.002, 0.002), (900, 0, 0))
    assert not fine.same_grid(Geometry((9, 9, 9), (0.002, 0.002, 0.002), (900.002, 0, 0)))


@pytest.mark.parametrize(
    "broken",
    [
        {"shape": (0, 3, 3)},
        {"shape": (3, 3)},
        {"spacing": (1.0, 0.0, 1.0)},
        {"spacing": (1.0, -1.0, 1.0)},
        {"spacing": (1.0, float("nan"), 1.0)},
        {"origin": (0.0, float("nan"), 0.0)},
        {"origin": (0.0, float("inf"), 0.0)},
        {"direction": ((1.0, 0.2, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))},
        {"direction": ((2.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))},
        {"direction": ((float("nan"), 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))},
    ],
)
def test_a_grid_that_cannot_be_is_refused(broken: dict[str, object]) -> None:
    whole = {"shape": (3, 3, 3), "spacing": (1.0, 1.0, 1.0), "origin": (0.0, 0.0, 0.0)}
    with pytest.raises(GeometryError):
        Geometry(**{**whole, **broken})  # type: ignore[arg-type]


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"does not fit the grid"):
        Volume(np.zeros((3, 3, 4)), Geometry((3, 3, 3), (1, 1, 1), (0, 0, 0)))


def test_two_grids_that_must_be_one_are_told_in_words_with_both_grids() -> None:
    first = Geometry((10, 20, 30), (2.5, 1, 1), (0, 0, 0))
    second = Geometry((10, 20, 30), (2.5, 1, 1), (0, 0, 5))
    assert_same_grid(first, first, "This")
    with pytest.raises(
        GeometryError, match=r"The label and its image .*30 x 20 x 10 voxels.*5\.00"
    ) as caught:
        assert_same_grid(first, second, "The label and its image")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", [(2.0, 1.0, 1.0), (1.0, 1.0, 1.001)])
def test_another_voxel_size_is_another_grid(other: tuple[float, float, float]) -> None:
    assert not Geometry((3, 3, 3), (1, 1, 1), (0, 0, 0)).same_grid(Geometry((3, 3, 3), other, (0, 0, 0)))


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1, 2]},
        {"shape": [1.5, 2, 2]},
        {"shape": [0, 2, 2]},
        {"spacing": [1, -1, 1]},
        {"spacing": [1, float("nan"), 1]},
        {"origin": None},
        {"direction": [[1, 0, 0], [0, 1, 0]]},
        {"direction": [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]},
        {"direction": [[2, 0, 0], [0, 1, 0], [0, 0, 1]]},
        {"direction": "identity"},
    ],
)
def test_a_geometry_that_is_none_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(GeometryError):
        Geometry.from_json({**Geometry((2, 3, 4), (1, 1, 1), (0, 0, 0)).to_json(), **change})


def test_a_damaged_grid_is_refused_in_words() -> None:
    found = refused(Geometry((2, 3, 4), (1, 1, 1), (0, 0, 0)).to_json(), Geometry.from_json)
    assert {"shape.0: inf", "spacing.1: nan", "direction.2.2: inf", "origin: missing"} <= found.keys()
    assert all("shape" in text or "volume" in text or "Voxel" in text for text in found.values())


@given(grid=grids())
def test_a_grid_comes_back_from_json_without_losing_a_bit(grid: Geometry) -> None:
    assert Geometry.from_json(json.loads(json.dumps(grid.to_json()))) == grid


def test_no_place_is_told_as_minus_zero() -> None:
    grid = Geometry((2, 2, 2), (1.0, 1.0, 1.0), (-0.001, -0.0, 0.001))
    assert grid.describe().endswith("(0.00, 0.00, 0.00)")
