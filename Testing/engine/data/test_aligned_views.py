"""Two views of one volume: which voxel of one is which of the other."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from crgloco.data.aligned_views import AlignedView, align, box_affine, draw_aligned_pair
from crgloco.data.boxes import Box
from tiny_training import coordinate_case

SHAPE, SIZE = (40, 44, 48), (16, 16, 24)


def pair(seed: int) -> tuple[AlignedView, AlignedView]:
    rng = np.random.default_rng(seed)
    return draw_aligned_pair(coordinate_case(SHAPE), SIZE, SIZE, rng, scale=(1.0, 1.4), at_least=0.3)


def inside_the_volume(places: torch.Tensor) -> torch.Tensor:
    """Where a coordinate-coded map is not touched by the padding around the volume."""
    ends = torch.tensor(SHAPE)[:, None, None, None]
    return ((places > 3) & (places < ends - 4)).all(0)


@pytest.mark.parametrize("seed", range(6))
def test_the_affine_says_which_place_of_the_volume_each_voxel_shows(seed):
    for view in pair(seed):
        grid = np.stack(np.meshgrid(*(np.arange(n) for n in SIZE), indexing="ij"))
        places = np.einsum("ab,bkji->akji", view.affine[:3, :3], grid) + view.affine[:3, 3, None, None, None]
        counted = inside_the_volume(torch.from_numpy(places))
        assert np.abs(view.image.numpy() - places)[:, counted.numpy()].max() < 0.02


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 4, 4)])
@pytest.mark.parametrize("seed", range(4))
def test_aligned_maps_of_coordinates_agree_and_without_the_flips_they_do_not(seed, stride):
    first, second = pair(seed)
    ours, theirs = (functional.avg_pool3d(view.image[None], stride)[0] for view in (first, second))
    aligned, valid = align(theirs, first.affine, second.affine, SIZE)
    counted = valid & inside_the_volume(ours) & inside_the_volume(aligned)
    # The outermost cells are repeated half a cell beyond their centre; coordinates go on there.
    edge = torch.zeros_like(counted)
    edge[1:-1, 1:-1, 1:-1] = True
    shared = counted & edge
    error = (aligned - ours).abs()[:, counted].mean() if counted.any() else torch.tensor(0.0)
    wrong = second.affine.copy()
    wrong[:3, 3] += 5.0
    misaligned, _ = align(theirs, first.affine, wrong, SIZE)
    assert error < 0.25 * max(stride)
    if shared.sum() > 20:
        assert (misaligned - ours).abs()[:, shared].mean() > 4 * (aligned - ours).abs()[:, shared].mean()


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 4, 4)])
def test_the_error_of_alignment_is_that_of_the_specification(stride):
    """Below 0.005 of half the volume at strides 1 to 4; ten times that without flips or place."""
    shape, size = (80, 160, 160), (32, 96, 96)
    errors: dict[str, list[float]] = {"right": [], "unflipped": [], "unmoved": []}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        views = draw_aligned_pair(coordinate_case(shape), size, size, rng, scale=(1.0, 1.4), at_least=0.3)
        first, second = views
        half = torch.tensor(shape)[:, None, None, None] / 2
        ours, theirs = (functional.avg_pool3d(view.image[None], stride)[0] / half for view in views)
        aligned, valid = align(theirs, first.affine, second.affine, size)
        padded = [((each * half > 5) & (each * half < 2 * half - 6)).all(0) for each in (ours, aligned)]
        counted = valid & padded[0] & padded[1]
        diagonal = np.diag(second.affine)[:3]
        corner = second.affine[:3, 3] + np.minimum(diagonal, 0) * (np.asarray(size) - 1)
        assert (diagonal < 0).any()
        for wrong, places in (
            ("right", second.affine),
            ("unflipped", _affine(np.abs(diagonal), corner)),
            ("unmoved", _affine(diagonal, first.affine[:3, 3])),
        ):
            found, _ = align(theirs, first.affine, places, size)
            errors[wrong].append(float((found - ours).abs()[:, counted].mean()))
    means = {wrong: np.mean(found) for wrong, found in errors.items()}
    assert means["right"] < 0.005
    assert min(means["unflipped"], means["unmoved"]) > 10 * means["right"]


def _affine(diagonal: np.ndarray, corner: np.ndarray) -> np.ndarray:
    affine = np.diag([*diagonal, 1.0])
    affine[:3, 3] = corner
    return affine


def test_alignment_is_exact_away_from_the_border_whatever_was_flipped():
    """Coordinates are linear, so linear interpolation must find them to rounding."""
    box, other = Box((4, 5, 6), SIZE), Box((8, 5, 10), SIZE)
    volume = coordinate_case(SHAPE).image.float()
    for flips in ((False, False, False), (True, False, True), (True, True, True)):
        axes = [1 + axis for axis in range(3) if flips[axis]]
        theirs = volume[(..., *other.slices())].flip(axes)
        plain = box_affine(box, SIZE, (False, False, False))
        aligned, valid = align(theirs, plain, box_affine(other, SIZE, flips), SIZE)
        expected = volume[(..., *box.slices())]
        assert valid.sum() == (16 - 4) * 16 * (24 - 4)
        torch.testing.assert_close(aligned[:, valid], expected[:, valid], atol=1e-3, rtol=0)


def test_views_overlap_as_much_as_was_asked_for():
    for seed in range(30):
        first, second = pair(seed)
        _, valid = align(torch.zeros(1, *SIZE), first.affine, second.affine, SIZE)
        _, back = align(torch.zeros(1, *SIZE), second.affine, first.affine, SIZE)
        assert max(valid.float().mean(), back.float().mean()) > 0.25


def test_views_without_a_common_place_share_no_cell():
    first, second = (box_affine(Box((start, 0, 0), SIZE), SIZE, (False,) * 3) for start in (0, 20))
    assert not align(torch.zeros(1, *SIZE), first, second, SIZE)[1].any()


def test_the_same_draw_gives_the_same_views():
    for ours, theirs in zip(pair(3), pair(3), strict=True):
        assert torch.equal(ours.image, theirs.image)
        assert np.array_equal(ours.affine, theirs.affine)
