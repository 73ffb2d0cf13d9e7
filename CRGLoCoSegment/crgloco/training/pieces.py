"""Which structures are one piece in every label a model learned from: predictions lose their islands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from crgloco import model_store
from crgloco.data.cache import PreparedCase
from crgloco.islands import in_pieces
from crgloco.labels import LabelTable
from crgloco.model_store import StartModel

# One label alone may show a structure in one piece by chance.
CASES = 2


@dataclass(frozen=True)
class Pieces:
    """What the labels tell of the structures, as class numbers; of some they tell too little.

    Attributes:
        one: Structures in one piece wherever a label shows them.
        several: Structures that at least one label shows in pieces.
    """

    one: tuple[int, ...] = ()
    several: tuple[int, ...] = ()

    def to_json(self, table: LabelTable) -> dict[str, Any]:
        """Return the entries of the model card's ``training``."""
        return {
            "one_piece": [table.names[number] for number in self.one],
            "several_pieces": [table.names[number] for number in self.several],
        }


def pieces_of(cases: Iterable[PreparedCase], parent: StartModel | None) -> Pieces:
    """Look at the labels of a training.

    Args:
        cases: Labelled cases, prepared.
        parent: The start model: what it knows of its own labels counts as well.
    """
    shown: Counter[int] = Counter()
    several: set[int] = set()
    for case in cases:
        label = case.label()
        if label is not None:
            several |= in_pieces(label)
            shown.update(case.locations().keys())
    one = {number for number, count in shown.items() if number and count >= CASES}
    if parent is not None:
        one |= set(model_store.classes_told(parent.card, "one_piece"))
        several |= set(model_store.classes_told(parent.card, "several_pieces"))
    return Pieces(tuple(sorted(one - several)), tuple(sorted(several)))
