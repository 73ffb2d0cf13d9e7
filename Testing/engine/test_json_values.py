"""What a value that came from JSON is."""

import json

import pytest

from crgloco.json_values import are_texts, is_number, is_text, is_whole


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ('"liver"', {is_text}),
        ('["liver", ""]', {are_texts}),
        ('["liver", 1]', set()),
        ("3", {is_whole, is_number}),
        ("3.0", {is_number}),
        ("-1e308", {is_number}),
        ("1e400", set()),
        ("1" + 400 * "0", {is_whole}),
        ("NaN", set()),
        ("true", set()),
        ("null", set()),
    ],
)
def test_a_value_is_of_the_kind_that_its_text_says(text, kinds):
    value = json.loads(text)
    assert {kind for kind in (is_text, are_texts, is_whole, is_number) if kind(value)} == kinds
