"""The label table: what can be trained."""

import numpy as np
import pytest

from crgloco.errors import LabelError
from crgloco.labels import Label, LabelTable
from damage import refused


def test_no_structure_takes_the_number_that_stands_for_what_is_not_known():
    names = {f"structure {number}": number for number in range(1, 256)}
    with pytest.raises(LabelError, match="names 255 structures; at most 254"):
        LabelTable.from_names(names)
    del names["structure 255"]
    assert LabelTable.from_names(names).classes == 255


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ((), "is empty: name at least one"),
        ((Label(1, "liver"), Label(1, "spleen")), "label value 1 is used twice"),
        ((Label(1, "liver"), Label(2, "liver")), "'liver' is empty or used twice"),
        ((Label(1, ""),), "'' is empty or used twice"),
        ((Label(0, "liver"),), "'liver' has the value 0; allowed are 1"),
        ((Label(65536, "liver"),), "'liver' has the value 65536; allowed are 1"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(labels: tuple[Label, ...], words: str):
    with pytest.raises(LabelError, match=words):
        LabelTable(labels)


def test_tables_contradict_each_other_by_a_value_with_two_names_and_a_name_with_two_values():
    ours = LabelTable.from_names({"liver": 1, "spleen": 2, "aorta": 5})
    theirs = LabelTable.from_names({"spleen": 1, "liver": 4, "aorta": 5, "kidney": 7})
    found = [(own.name, own.value, their.name, their.value) for own, their in ours.contradictions(theirs)]
    assert found == [("liver", 1, "spleen", 1), ("liver", 1, "liver", 4), ("spleen", 2, "spleen", 1)]
    assert list(ours.contradictions(ours)) == []


@pytest.mark.parametrize("value", [True, 1.0, [1, 2], "1"])
def test_only_whole_numbers_stand_for_structures(value: object):
    with pytest.raises(LabelError, match="whole numbers are needed"):
        LabelTable.from_names({"liver": value})  # type: ignore[dict-item]


def test_a_table_comes_back_from_json_with_its_colours_and_codes():
    table = LabelTable((Label(256, "liver", (1, 2, 3), "a~b"), Label(7, "spleen", (4, 5, 6))))
    assert LabelTable.from_json(table.to_json()) == table


def test_a_damaged_table_is_refused_in_words():
    table = LabelTable((Label(256, "liver", (1, 2, 3), "a~b"), Label(7, "spleen", (4, 5, 6))))
    found = refused(table.to_json(), LabelTable.from_json)
    assert "a label's value is a whole number, found 1.5" in found["0.value: 1.5"]
    assert {"0.value: inf", "0.value: True", "1.colour.2: inf", "1.name: missing"} <= found.keys()


def test_structures_are_numbered_by_their_values_in_whatever_order_they_are_given():
    table = LabelTable((Label(256, "liver"), Label(7, "spleen")))
    assert table.values == (0, 7, 256)
    assert table.names == ("background", "spleen", "liver")


@pytest.mark.parametrize("highest", [1, 255, 256, 65535])
def test_every_value_of_a_table_fits_into_the_numbers_of_its_labels(highest: int):
    values = LabelTable((Label(highest, "liver"),)).to_values(np.array([0, 1]))
    assert values.tolist() == [0, highest]
    assert values.itemsize == (1 if highest <= 255 else 2)
