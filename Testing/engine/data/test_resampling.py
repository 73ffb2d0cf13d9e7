import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crgloco.data import resampling
from crgloco.data.resampling import SMOOTHED_FROM, TIE_SHIFT, resize_image, resize_labels

SHAPES = st.tuples(*[st.integers(1, 9)] * 3)


def _float(part: np.ndarray) -> np.ndarray:
    return part.astype(np.float32)


def _resized(array: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    out = np.full(shape, np.nan, np.float32)
    resize_image(array, out, _float)
    return out


def _matrix(before: int, after: int, shift: float = 0.0) -> np.ndarray:
    """The naive twin: row i holds what output voxel i takes from every input voxel."""
    matrix = np.zeros((after, before))
    for index in range(after):
        place = min(max((index + 0.5) * before / after - 0.5 + shift, 0.0), before - 1.0)
        lower = int(place)
        upper = min(lower + 1, before - 1)
        matrix[index, lower] += 1 - (place - lower)
        matrix[index, upper] += place - lower
    return matrix if shift else matrix @ _smoothing(before, before / after)


def _smoothing(count: int, ratio: float) -> np.ndarray:
    """Row i holds the Gaussian around voxel i; what lies outside counts as the outer voxel."""
    matrix = np.eye(count)
    if ratio > SMOOTHED_FROM:
        sigma = (ratio - 1) / 2
        offsets = np.arange(-100, 101)
        gaussian = np.exp(-((offsets / sigma) ** 2) / 2)
        for index in range(count):
            places = np.clip(index + offsets, 0, count - 1)
            matrix[index] = np.bincount(places, gaussian / gaussian.sum(), count)
    return matrix


def _naive(array: np.ndarray, shape: tuple[int, int, int], shift: float = 0.0) -> np.ndarray:
    shifts = [shift if before != after else 0.0 for before, after in zip(array.shape, shape, strict=True)]
    matrices = [_matrix(b, a, s) for b, a, s in zip(array.shape, shape, shifts, strict=True)]
    return np.einsum("kji,ak,bj,ci->abc", array.astype(float), *matrices)


@given(before=SHAPES, after=SHAPES, seed=st.integers(0, 9))
def test_images_are_resized_as_by_the_naive_twin(before, after, seed) -> None:
    array = np.random.default_rng(seed).normal(size=before).astype(np.float32)
    np.testing.assert_allclose(_resized(array, after), _naive(array, after), atol=2e-4)


@given(after=st.tuples(st.integers(6, 20), st.integers(7, 20), st.integers(8, 20)), seed=st.integers(0, 9))
def test_images_are_resized_as_by_torch(after, seed) -> None:
    array = np.random.default_rng(seed).normal(size=(8, 10, 12)).astype(np.float32)
    by_torch = torch.nn.functional.interpolate(
        torch.from_numpy(array)[None, None], size=after, mode="trilinear", align_corners=False
    )
    np.testing.assert_allclose(_resized(array, after), by_torch[0, 0].numpy(), atol=1e-4)


@pytest.mark.parametrize("after", [(7, 40, 12), (20, 9, 50), (3, 4, 5), (60, 20, 21)])
def test_slabs_give_what_one_piece_gives(after, monkeypatch) -> None:
    array = np.random.default_rng(1).normal(size=(20, 21, 22)).astype(np.float32)
    whole = _resized(array, after)
    monkeypatch.setattr(resampling, "VOXELS_AT_A_TIME", 500)
    monkeypatch.setattr(resampling, "ROWS_AT_A_TIME", 3)
    np.testing.assert_allclose(_resized(array, after), whole, atol=1e-5)


def test_the_same_shape_leaves_every_voxel_as_it_is() -> None:
    array = np.random.default_rng(0).integers(-1000, 3000, (5, 6, 7)).astype(np.int16)
    np.testing.assert_array_equal(_resized(array, array.shape), array)


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_fine_stripes_fade_instead_of_aliasing_when_an_axis_shrinks(ratio) -> None:
    stripes = np.tile(np.array([-1.0, 1.0], np.float32), (6, 6, 60))  # along I, period of two voxels
    resized = _resized(stripes, (6, 6, 120 // ratio))
    assert np.abs(resized[..., 3:-3]).max() < 0.35


def test_smoothing_keeps_the_mean_and_a_flat_scan_flat() -> None:
    array = np.random.default_rng(3).normal(5, 1, (24, 24, 24)).astype(np.float32)
    assert abs(_resized(array, (8, 8, 8)).mean() - array.mean()) < 0.02
    np.testing.assert_allclose(_resized(np.full_like(array, 7), (5, 24, 3)), 7, atol=1e-5)


def _shares(present: np.ndarray, after: tuple[int, int, int]) -> np.ndarray:
    """Linear shares, looked up a little forward; where there are ties, at every odd voxel backward."""
    if present.shape == after:
        return present.astype(float)
    forward = _naive(present, after, TIE_SHIFT)
    axes = zip(present.shape, after, strict=True)
    if not any((2 * i + 1) * b % (2 * a) == 0 for b, a in axes for i in range(a)):
        return forward
    odd = np.indices(after).sum(0) % 2 == 1
    return np.where(odd, _naive(present, after, -TIE_SHIFT), forward)


@given(before=SHAPES, after=SHAPES, seed=st.integers(0, 9))
def test_labels_go_to_the_class_with_the_largest_share(before, after, seed) -> None:
    classes = np.random.default_rng(seed).integers(0, 4, before).astype(np.uint8)
    resized = resize_labels(classes, after)
    if before == after:
        np.testing.assert_array_equal(resized, classes)
        return
    shares = np.stack([_shares(classes == number, after) for number in range(4)])
    chosen = np.take_along_axis(shares, resized[None].astype(int), 0)[0]
    assert (chosen >= shares.max(0) - 1e-4).all()


@given(before=SHAPES, after=SHAPES, corner=st.tuples(*[st.integers(0, 8)] * 3))
def test_a_small_structure_anywhere_is_resized_as_if_the_whole_volume_were(before, after, corner) -> None:
    classes = np.zeros(before, np.uint8)
    classes[tuple(min(c, n - 1) for c, n in zip(corner, before, strict=True))] = 3
    share = _shares(classes == 3, after)
    resized = resize_labels(classes, after)
    assert (resized[share > 0.501] == 3).all()
    assert (resized[share < 0.499] == 0).all()


def test_an_empty_label_stays_empty() -> None:
    assert not resize_labels(np.zeros((4, 5, 6), np.uint8), (7, 3, 6)).any()


def test_halving_a_label_neither_shrinks_nor_grows_it_much() -> None:
    grid = np.indices((32, 64, 64)) + 0.5
    ball = (
        (
            (grid - np.array([16, 31.3, 33.1])[:, None, None, None])
            / np.array([9, 21, 15])[:, None, None, None]
        )
        ** 2
    ).sum(0) < 1
    halved = resize_labels(ball.astype(np.uint8), (32, 32, 32))
    assert abs(4 * halved.sum() / ball.sum() - 1) < 0.02


def _moved(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far the centre of a structure moved along K, J, I, in voxels of the first grid."""
    ratio = np.array(before.shape) / after.shape
    return (np.argwhere(after).mean(0) + 0.5) * ratio - 0.5 - np.argwhere(before).mean(0)


@settings(max_examples=20)
@given(after=st.tuples(st.integers(10, 40), st.integers(10, 40), st.integers(10, 40)))
@example(after=(11, 17, 17))  # of all sizes the one that moves it farthest: by 0.38
def test_there_and_back_keeps_the_centre_of_a_ball(after) -> None:
    ball = (((np.indices((24, 24, 24)) - 11.2) ** 2).sum(0) < 49).astype(np.uint8)
    back = resize_labels(resize_labels(ball, after), ball.shape)
    assert np.abs(_moved(ball, back)).max() < 0.4


@given(
    start=st.tuples(*[st.integers(3, 9)] * 3),
    size=st.tuples(*[st.integers(8, 14)] * 3),
    halved=st.tuples(*[st.booleans()] * 3),
)
def test_halving_moves_no_structure(start, size, halved) -> None:
    block = np.zeros((24, 24, 24), np.uint8)
    block[tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))] = 1
    small = resize_labels(block, tuple(12 if half else 24 for half in halved))
    assert np.abs(_moved(block, small)).max() < 0.3
