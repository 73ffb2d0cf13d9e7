"""A model card survives the disk unchanged, and a card that is not ours is refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cards import make_card
from crgloco.errors import ModelError
from crgloco.model_card import FORMAT, ModelCard, decode, encode
from damage import refused


def test_a_card_survives_its_way_through_json() -> None:
    card = make_card(parent="ab" * 32, calibration={"temperature": 1.3})
    assert decode(encode(card)) == card


def test_a_name_that_is_no_text_survives_too_and_the_file_is_text_none_the_less() -> None:
    card = make_card(name="mod\udce9le", title="Leber ä")
    content = encode(card)
    assert decode(content) == card
    assert "Leber ä" in content.decode()


def test_the_format_number_comes_first() -> None:
    assert next(iter(json.loads(encode(make_card())))) == "format"


@pytest.mark.parametrize("number", [FORMAT + 1, 0, "1", None])
def test_another_format_is_refused_with_its_number(number: Any) -> None:
    values = make_card().to_json() | {"format": number}
    with pytest.raises(ModelError, match=f"format {number!r}; this version reads format {FORMAT}"):
        ModelCard.from_json(values)


@pytest.mark.parametrize("values", [[], {}, "text", {"name": "liver"}])
def test_json_that_is_no_card_is_refused(values: Any) -> None:
    with pytest.raises(ModelError, match="no format number"):
        ModelCard.from_json(values)


@pytest.mark.parametrize("key", sorted(set(make_card().to_json()) - {"format"}))
def test_a_missing_key_is_named(key: str) -> None:
    values = make_card().to_json()
    del values[key]
    with pytest.raises(ModelError, match=f"'{key}' is missing"):
        ModelCard.from_json(values)


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(ModelError, match="'patient' is unknown"):
        ModelCard.from_json(make_card().to_json() | {"patient": "?"})


@pytest.mark.parametrize("key", sorted(set(make_card().to_json()) - {"format"}))
def test_a_value_of_a_wrong_kind_is_named(key: str) -> None:
    with pytest.raises(ModelError, match=key):
        ModelCard.from_json(make_card().to_json() | {key: 3.5})


def test_any_damage_of_a_card_is_refused_in_words_or_does_no_harm() -> None:
    found = refused(make_card().to_json(), ModelCard.from_json)
    assert {"labels.0.value: inf", "branches.1.window.2: 1.5", "channel_names: None"} <= found.keys()


@pytest.mark.parametrize(
    "change",
    [
        {"window": [32, 64]},
        {"window": [32, 64, 0]},
        {"window": [32, 64, 1.5]},
        {"window": 32},
        {"scale": [1.0, 1.0, 1.5]},
        {"scale": [0.0, 1.0, 1.0]},
        {"scale": ["1", 1.0, 1.0]},
        {"weight": -1},
        {"weight": True},
        {"extra": 1},
        {"weight": 10**400},
        {"weight": float("nan")},
    ],
)
def test_an_impossible_branch_is_refused(change: dict[str, Any]) -> None:
    values = make_card().to_json()
    values["branches"][0] |= change
    with pytest.raises(ModelError):
        ModelCard.from_json(values)


@pytest.mark.parametrize(
    "labels", [[], [{"value": 1}], [{"value": 1, "name": "a"}, {"value": 1, "name": "b"}], [3]]
)
def test_an_impossible_label_table_is_refused(labels: list[Any]) -> None:
    with pytest.raises(ModelError, match=r"cannot be read|label"):
        ModelCard.from_json(make_card().to_json() | {"labels": labels})


@pytest.mark.parametrize("temperature", [0, -1.0, None, "warm", True])
def test_a_temperature_that_is_not_positive_is_refused(temperature: Any) -> None:
    with pytest.raises(ModelError, match="temperature"):
        ModelCard.from_json(make_card().to_json() | {"calibration": {"temperature": temperature}})


def test_a_card_cut_off_anywhere_is_refused() -> None:
    content = encode(make_card())
    for length in range(0, len(content) - 2, 7):
        with pytest.raises(ModelError):
            decode(content[:length])


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ModelError, match="damaged"):
        decode(b"\xff\xfe\x00{")


def test_what_json_does_not_know_is_never_written() -> None:
    with pytest.raises(ModelError, match="cannot be written"):
        encode(make_card(training={"dice": float("nan")}))
    with pytest.raises(ModelError, match="cannot be written"):
        encode(make_card(training={"dice": object()}))
