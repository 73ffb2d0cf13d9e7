"""Numbers as people read them."""

import pytest

from CRGLoCoSegmentLib.logic.result_text import plainFigures


@pytest.mark.parametrize(
    ("ml", "two", "three"),
    [
        (2.7e-5, "0.000027", "0.000027"),
        (0.012345, "0.012", "0.0123"),
        (9.96, "10", "9.96"),
        (12.345, "12", "12.3"),
        (123.45, "123", "123"),
        (1234.5, "1,234", "1,234"),
    ],
)
def test_a_volume_has_as_many_figures_as_count_and_never_an_exponent(ml, two, three):
    assert (plainFigures(ml), plainFigures(ml, 3)) == (two, three)
