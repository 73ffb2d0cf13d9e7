"""Numbers as people read them."""

import pytest

from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.logic.result_text import plainFigures, resultText


@pytest.mark.parametrize(
    ("ml", "two", "three"),
    [
        (2.7e-5, "0.000027", "0.000027"),
        (0.012345, "0.012", "0.0123"),
        (9.96, "10", "9.96"),
        (12.345, "12", "12.3"),
        (123.45, "123", "123"),
        (1234.5, "1234", "1234"),
    ],
)
def test_a_volume_has_as_many_figures_as_count_and_never_an_exponent(ml, two, three):
    assert (plainFigures(ml), plainFigures(ml, 3)) == (two, three)


def test_what_was_removed_as_islands_is_told():
    table = LabelTable.from_names({"liver": 1, "left_kidney": 2})
    record = {"volumes_ml": {"liver": 1200.0, "left_kidney": 150.0}}
    assert "islands" not in resultText({**record, "islands_ml": {}}, table)
    text = resultText({**record, "islands_ml": {"liver": 0.012345, "left_kidney": 12.34}}, table)
    assert "Removed as islands: 0.0123 ml of liver, 12.3 ml of left kidney." in text
