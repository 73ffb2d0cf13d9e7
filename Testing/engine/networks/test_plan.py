"""Windows and strides derived from the scans."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crgloco.networks.plan import Windows, plan_strides, plan_windows

shapes = st.lists(st.tuples(st.integers(4, 200), *[st.integers(8, 400)] * 2), min_size=1, max_size=12)
spacings = st.tuples(*[st.floats(0.3, 6.0)] * 3)


@given(shapes, spacings)
def test_windows_fit_into_each_other_and_into_the_memory_that_was_given(shapes, spacing):
    windows = plan_windows(shapes, spacing, 100_000)
    for small, large in zip(windows.local, windows.global_, strict=True):
        assert small <= large
        assert small % 8 == large % 8 == 0
        assert large / small <= 3
    at_the_limit = all(
        n <= (16 if length >= 64 else 8)
        for n, length in zip(
            windows.local, np.quantile(shapes, 0.9, axis=0, method="inverted_cdf"), strict=True
        )
    )
    assert math.prod(windows.local) <= 100_000 or at_the_limit
    assert all(0 < share <= 1 for share in windows.scale)


@given(shapes, spacings)
def test_the_global_window_is_never_much_longer_than_nine_volumes_in_ten(shapes, spacing):
    windows = plan_windows(shapes, spacing, 400_000)
    for axis in range(3):
        longest = sorted(shape[axis] for shape in shapes)[math.ceil(0.9 * len(shapes)) - 1]
        assert windows.global_[axis] < longest + 16 or windows.global_[axis] == windows.local[axis]


def test_the_global_window_holds_a_whole_volume_that_reduction_can_reach():
    windows = plan_windows([(88, 150, 150)] * 3, (1.0, 1.0, 1.0), 400_000)
    assert all(large >= n for large, n in zip(windows.global_, (88, 150, 150), strict=True))


def test_one_large_volume_in_ten_does_not_change_the_windows():
    usual = [(64, 128, 128)] * 19
    assert plan_windows([*usual, (300, 512, 512)], (1.0, 1.0, 1.0), 400_000) == plan_windows(
        usual, (1.0, 1.0, 1.0), 400_000
    )


def test_thick_slices_are_not_reduced_where_the_memory_allows():
    windows = plan_windows([(24, 256, 256)], (5.0, 1.0, 1.0), 400_000)
    assert windows.scale[0] == 1
    assert windows.scale[1] < 1


def test_the_scale_is_tensor_over_window():
    assert Windows((80, 112, 112), (128, 256, 256)).scale == (80 / 128, 112 / 256, 112 / 256)


@given(st.tuples(*[st.integers(1, 160)] * 3), spacings, st.integers(1, 7))
def test_strides_halve_only_even_axes_that_stay_long_enough(size, spacing, levels):
    strides = plan_strides(size, spacing, levels)
    assert strides[0] == (1, 1, 1)
    assert 1 <= len(strides) <= levels
    length = np.array(size)
    for step in strides[1:]:
        assert max(step) == 2
        assert np.all(length % step == 0)
        length = length // step
    assert np.all((length >= 4) | (length == size))


def test_the_finest_axes_are_halved_first():
    assert plan_strides((16, 64, 64), (5.0, 1.0, 1.0), 5) == (
        (1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)
    )  # fmt: skip
