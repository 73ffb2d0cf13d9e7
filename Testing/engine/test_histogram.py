"""Counts of bytes: as numpy counts them all at once."""

import numpy as np

from crgloco.histogram import histogram

RNG = np.random.default_rng(0)
scan = RNG.integers(0, 256, (3, 5, 7), dtype=np.uint8)


def test_every_value_is_counted() -> None:
    np.testing.assert_array_equal(histogram(scan), [(scan == value).sum() for value in range(256)])


def test_only_what_lies_inside_is_counted() -> None:
    inside = RNG.integers(0, 3, scan.shape, dtype=np.uint8)
    np.testing.assert_array_equal(histogram(scan, inside), np.bincount(scan[inside > 0], minlength=256))


def test_nothing_is_counted_where_nothing_lies_inside() -> None:
    assert not histogram(scan, np.zeros_like(scan)).any()
