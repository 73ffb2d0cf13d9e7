"""Channels are told apart by their names; a single one goes by any."""

from __future__ import annotations

import pytest

from crgloco.channels import assert_same_order, in_other_order, order_by_name
from crgloco.errors import ModelError


@pytest.mark.parametrize(
    ("wanted", "found", "order"),
    [
        (["T1", "T2"], ["T1", "T2"], (0, 1)),
        (["T1", "T2"], ["T2", "T1"], (1, 0)),
        (["T1", "T2", "FLAIR"], ["FLAIR", "T1", "T2"], (1, 2, 0)),
        (["T1", "T2"], [" t2", "t1 "], (1, 0)),
        (["T2"], ["image"], (0,)),
        (["MR", "MR"], ["MR", "MR"], (0, 1)),
        (["MR", "MR", "T1"], ["T1", "MR", "MR"], None),
        (["T1", "T2"], ["T1", "FLAIR"], None),
        (["T1", "T2"], ["T1"], None),
    ],
)
def test_channels_are_found_by_their_names(
    wanted: list[str], found: list[str], order: tuple[int, ...] | None
) -> None:
    assert order_by_name(wanted, found) == order


@pytest.mark.parametrize(
    ("found", "swapped"),
    [
        (["T1", "T2"], False),
        (["t1 ", "T2"], False),
        (["MR0", "MR1"], False),
        (["T1", "FLAIR"], False),
        (["T2"], False),
        ([], False),
        (["T2", "T1"], True),
        (["T2", "FLAIR"], True),
    ],
)
def test_a_channel_at_another_place_is_another_order(found: list[str], swapped: bool) -> None:
    assert in_other_order(["T1", "T2"], found) is swapped


def test_both_orders_are_told() -> None:
    with pytest.raises(ModelError, match=r"'a' expects the channels T1, T2; the cases have T2, T1, so one"):
        assert_same_order("The model 'a'", ["T1", "T2"], ["T2", "T1"])
