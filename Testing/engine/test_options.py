"""Options as data: what is taken, what is refused in words, what a method chooses by itself."""

import dataclasses
from typing import Any

import pytest

from crgloco import methods
from crgloco.errors import OptionError
from crgloco.options import describe, from_mapping, option, parse_assignments, three_numbers, to_mapping


@dataclasses.dataclass(frozen=True)
class Options:
    weight: float = option(-1.0, label="Weight", help="Of it.", minimum=0.0, maximum=10.0, automatic=True)
    size: str = option("", label="Size", help="Of it.", automatic=True)
    share: float = option(0.5, label="Share", help="Of it.", minimum=0.0, maximum=1.0)
    count: int = option(3, label="Count", help="Of it.", minimum=1)
    flag: bool = option(default=False, label="Flag", help="Of it.")
    kind: str = option("a", label="Kind", help="Of it.", choices=("a", "b"))


def test_what_was_told_comes_back_and_the_rest_are_defaults():
    told = {"weight": 0.3, "size": "1,2,3", "count": 7, "flag": True, "kind": "b"}
    assert to_mapping(from_mapping(Options, told)) == {**told, "share": 0.5}


def test_a_whole_number_will_do_for_a_decimal_one_and_not_the_other_way_round():
    value = from_mapping(Options, {"share": 1}).share
    assert (type(value), value) == (float, 1.0)
    with pytest.raises(OptionError, match=r"'count' needs a value of type int, found 3\.0"):
        from_mapping(Options, {"count": 3.0})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cuont": 3}, r"Unknown option 'cuont'. Known options: count, flag, kind, share, size, weight\."),
        ({"share": 1.5}, r"'share' must lie in 0\.0\.\.1\.0; found 1\.5"),
        ({"count": 0}, r"'count' must lie in 1\.\.; found 0"),
        ({"share": float("nan")}, "'share' is not a number"),
        ({"share": 10**400}, "'share' needs a value of type float"),
        ({"flag": 1}, "'flag' needs a value of type bool"),
        ({"count": True}, "'count' needs a value of type int"),
        ({"kind": "c"}, "'kind' must be one of a, b; found 'c'"),
        ({"size": [1, 2, 3]}, "'size' needs a value of type str.*: write 1,2,3"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(values: dict[str, Any], words: str):
    with pytest.raises(OptionError, match=words):
        from_mapping(Options, values)


def test_automatic_is_one_value_outside_the_range_and_nothing_between_is_taken():
    assert from_mapping(Options, {"weight": -1}).weight == -1.0
    with pytest.raises(OptionError, match=r"lie in 0\.0\.\.10\.0, or be -1\.0 \(automatic\); found -0\.5"):
        from_mapping(Options, {"weight": -0.5})


def test_a_description_says_which_options_a_method_chooses_by_itself():
    described = {each["name"]: each for each in describe(Options)}
    assert [name for name, each in described.items() if each.get("automatic")] == ["weight", "size"]
    assert described["weight"]["minimum"] == 0.0
    assert "unit" not in described["weight"]


@pytest.mark.parametrize("name", methods.available())
def test_a_form_can_tell_automatic_from_every_allowed_value(name: str):
    for each in describe(methods.card(name).config):
        if each.get("automatic") and each["type"] == "str":
            assert each["default"] == ""
        elif each.get("automatic"):
            assert each["default"] < each["minimum"]


def test_words_of_a_command_line_are_json_where_they_can_be():
    words = ["a=1", "b=0.5", "c=true", "d=soft", "e=1,2,3", "f=x=y"]
    assert parse_assignments(words) == {"a": 1, "b": 0.5, "c": True, "d": "soft", "e": "1,2,3", "f": "x=y"}
    for word in ("a", "=1"):
        with pytest.raises(OptionError, match="Expected key=value"):
            parse_assignments([word])


def test_three_numbers_are_three_positive_finite_ones_or_none():
    assert three_numbers("1, 2.5 ,3", "spacing") == (1.0, 2.5, 3.0)
    assert three_numbers("  ", "spacing") is None
    for text in ("1,2", "1,2,3,4", "1,2,x", "0,1,1", "1,-1,1", "inf,1,1", "nan,1,1"):
        with pytest.raises(OptionError, match="'spacing' needs three positive numbers K,J,I"):
            three_numbers(text, "spacing")
