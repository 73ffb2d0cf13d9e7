"""What labels tell of structures that are one piece, and what a start model adds."""

from types import SimpleNamespace

import numpy as np
import pytest

from cards import make_card
from crgloco.labels import LabelTable
from crgloco.model_store import classes_told
from crgloco.training.pieces import Pieces, pieces_of

ONE, TWO = [1, 1, 0, 0, 0], [1, 0, 0, 1, 0]
TABLE = LabelTable.from_names({"liver": 1, "kidneys": 2})


def labelled(*rows):
    """A prepared case whose label holds class 1, 2, ... as these rows say."""
    label = np.zeros((len(rows) * 2, 1, 5), np.uint8)
    for number, row in enumerate(rows, 1):
        label[2 * number - 1, 0] = number * np.array(row)
    places = {int(number): None for number in np.unique(label)}
    return SimpleNamespace(label=lambda: label, locations=lambda: places)


def start(**training):
    return SimpleNamespace(card=make_card(labels=TABLE, training=training))


def test_two_labels_tell_which_structures_are_one_piece():
    assert pieces_of([labelled(ONE, ONE), labelled(ONE, TWO)], None) == Pieces((1,), (2,))


def test_one_label_tells_nothing_of_one_piece_and_enough_of_several():
    assert pieces_of([labelled(ONE, TWO)], None) == Pieces((), (2,))
    absent = [0] * 5
    assert pieces_of([labelled(ONE, ONE), labelled(ONE, absent)], None) == Pieces((1,), ())


def test_scans_without_label_tell_nothing():
    scan = SimpleNamespace(label=lambda: None, locations=dict)
    assert pieces_of([scan, scan], None) == Pieces()


@pytest.mark.parametrize(
    ("told", "own", "expected"),
    [
        ({"one_piece": ["liver"]}, [labelled(ONE, ONE)], Pieces((1,), ())),
        ({"one_piece": ["liver"]}, [labelled(TWO, ONE)], Pieces((), (1,))),
        ({"several_pieces": ["kidneys"]}, [labelled(ONE, ONE)] * 2, Pieces((1,), (2,))),
        ({}, [labelled(ONE, ONE)] * 2, Pieces((1, 2), ())),
        ({"one_piece": "liver"}, [], Pieces()),
    ],
)
def test_a_start_model_brings_what_its_labels_told(told, own, expected):
    assert pieces_of(own, start(**told)) == expected


def test_the_card_names_them():
    written = Pieces((1,), (2,)).to_json(TABLE)
    assert written == {"one_piece": ["liver"], "several_pieces": ["kidneys"]}
    model = make_card(labels=TABLE, training=written)
    assert classes_told(model, "one_piece") == (1,)
    assert classes_told(model, "several_pieces") == (2,)
