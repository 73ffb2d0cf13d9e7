"""Linear sampling between grids is torch's, and knows its borders."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from crgloco.inference.sampling import Grid, sample


def resized(tensor, size):
    shape = tuple(tensor.shape[1:])
    source, target = Grid.over(shape, shape), Grid.over(shape, size)
    return sample(tensor, tuple(source.taps(axis, target.centres(axis)) for axis in range(3)))


@pytest.mark.parametrize("size", [(6, 7, 8), (12, 5, 9), (3, 14, 8), (1, 1, 1), (6, 7, 20)])
def test_sampling_over_one_field_of_view_is_interpolation_without_aligned_corners(size):
    tensor = torch.randn((2, 6, 7, 8), generator=torch.Generator().manual_seed(0))
    expected = functional.interpolate(tensor[None], size, mode="trilinear", align_corners=False)[0]
    assert torch.allclose(resized(tensor, size), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(6, 7, 8), (7, 3, 49)])
def test_equal_grids_give_exact_copies(size):
    tensor = torch.randn((2, *size))
    assert torch.equal(resized(tensor, size), tensor)


def test_a_part_of_the_source_gives_the_same_numbers():
    shape, size = (10, 11, 12), (17, 9, 25)
    tensor = torch.randn((2, *shape))
    whole = resized(tensor, size)
    taps = [Grid.over(shape, shape).taps(axis, Grid.over(shape, size).centres(axis)) for axis in range(3)]
    box = ((3, 9), (2, 5), (10, 20))
    parts = [axis.part(*part) for axis, part in zip(taps, box, strict=True)]
    cut = tensor[(slice(None), *(slice(*part.source) for part in parts))]
    near = tuple(part.within(*part.source) for part in parts)
    expected = whole[(slice(None), *(slice(*part) for part in box))]
    assert torch.allclose(sample(cut, near), expected, atol=1e-6)


def test_sources_outside_a_range_weigh_nothing():
    taps = Grid.over((10, 1, 1), (10, 1, 1)).taps(0, np.array([2.0, 5.0, 9.5])).within(5, 10)
    assert taps.lower_weight.tolist() == [0.0, 0.0, 1.0]
    assert taps.upper_weight.tolist() == [0.0, 0.5, 0.0]


def test_new_voxels_that_touch_a_range_are_found():
    taps = Grid.over((4, 1, 1), (4, 1, 1)).taps(0, Grid.over((4, 1, 1), (8, 1, 1)).centres(0))
    assert taps.touching(1, 2) == (1, 5)
    assert taps.touching(0, 0) == (0, 0)
