"""The panel's rules for a case's name are the engine's, which it cannot import: that would load SimpleITK."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crgloco.data.case_files import assert_case_name
from crgloco.errors import CasesError
from CRGLoCoSegmentLib.logic.case_rows import nameProblem, rowsFrom, withLabel

PIECES = [
    "a",
    "B",
    "7",
    "_",
    "-",
    ".",
    " ",
    "\t",
    "/",
    "\\",
    ":",
    "*",
    "?",
    '"',
    "<",
    ">",
    "|",
    "ä",
    "con",
    "lpt1",
]


@given(name=st.lists(st.sampled_from(PIECES), max_size=5).map("".join))
@example(name="a" * 200)
@example(name="a" * 201)
@example(name="ä" * 101)
def test_the_panel_refuses_the_names_that_the_engine_refuses(name):
    try:
        assert_case_name(name)
    except CasesError:
        assert nameProblem(name)
    else:
        assert nameProblem(name) == ""


def test_a_name_that_is_taken_is_refused_whatever_its_case():
    assert "CASE_1 already" in nameProblem("CASE_1", ["case_1"])
    assert "already" in nameProblem("L\u00e9a", ["le\u0301a"])  # one file on macOS


@pytest.mark.parametrize(("ml", "shown"), [(0.01234, "0.0123 ml"), (99.96, "100 ml"), (1234.5, "1234 ml")])
def test_what_is_expected_to_need_correction_is_told_in_plain_figures(ml, shown):
    (row,) = rowsFrom([{"name": "a", "state": "predicted", "expected_correction_ml": ml}])
    assert f"about {shown} are" in row.reason


def test_an_accepted_label_counts_at_once_and_a_validation_case_stays_one():
    held = {"name": "b", "state": "validation", "revision": 1}
    rows = rowsFrom([{"name": "a", "state": "predicted"}, held])
    first, second = withLabel(withLabel(rows, "a", 1), "b", 2)
    assert (first.state, first.revision) == ("corrected", 1)
    assert (second.state, second.revision) == ("validation", 2)
