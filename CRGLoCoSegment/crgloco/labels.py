"""The label table: which value in a label volume means which structure.

Values come from the project, never from an order. Networks count classes 0..C-1 without gaps; the
table maps between those class numbers and the label values of files, which may have gaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from crgloco.errors import LabelError
from crgloco.json_values import is_whole

# Okabe-Ito colours first (safe for the colour-blind), then darker and lighter tones of them.
_COLOURS: tuple[tuple[int, int, int], ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (153, 106, 0),
    (174, 214, 241),
    (0, 105, 77),
    (250, 245, 170),
    (0, 66, 104),
    (242, 150, 90),
    (120, 60, 95),
)
MAXIMUM_VALUE = 65535
MAXIMUM_STRUCTURES = 254  # class 255 stands for what is not known


@dataclass(frozen=True)
class Label:
    """One structure.

    Attributes:
        value: Value in label files, 1..65535 (0 is background and has no entry).
        name: Name shown to users, unique in the table.
        colour: Red, green, blue, 0..255.
        terminology: Slicer's seven fields joined by ``~``, or empty.
    """

    value: int
    name: str
    colour: tuple[int, int, int] = (128, 128, 128)
    terminology: str = ""


@dataclass(frozen=True)
class LabelTable:
    """The structures of a project, ordered by value; class number = position + 1, background = 0.

    Raises:
        LabelError: A value or a name appears twice, a value is out of range, or there is none.
    """

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.labels, key=lambda label: label.value))
        object.__setattr__(self, "labels", ordered)
        _check(ordered)

    @property
    def classes(self) -> int:
        """Number of classes C of a network, background included."""
        return len(self.values)

    @cached_property
    def values(self) -> tuple[int, ...]:
        """Label value of every class number, background (0) first."""
        return (0, *(label.value for label in self.labels))

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every class number, ``"background"`` first."""
        return ("background", *(label.name for label in self.labels))

    def in_words(self) -> str:
        """Say which value is what, such as ``"1 liver, 3 spleen"``."""
        return ", ".join(f"{label.value} {label.name}" for label in self.labels)

    def to_classes(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Turn label values, any shape, into class numbers.

        Raises:
            LabelError: Naming the values that are not in the table.
        """
        found = np.unique(values)
        strange = [value for value in found.tolist() if value not in self.values]
        if strange:
            shown = ", ".join(f"{value:g}" for value in strange[:5])
            msg = f"Label value {shown} is not in the label table (0 background, {self.in_words()})."
            raise LabelError(msg)
        lookup = np.zeros(int(max(self.values)) + 1, np.uint8)
        lookup[list(self.values)] = np.arange(self.classes)
        return lookup[values.astype(np.int64)]

    def to_values(self, classes: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn class numbers, any shape, into label values: uint8, or uint16 where the table passes 255."""
        kind = np.uint8 if max(self.values) <= 255 else np.uint16
        values: npt.NDArray[Any] = np.asarray(self.values, kind)[classes]
        return values

    def part(self, names: Iterable[str] | None) -> tuple[str, ...] | None:
        """Return some of the structures in the table's order; ``None`` stands for all, and all for ``None``.

        Raises:
            LabelError: A name is not in the table.
        """
        wanted = set(self.names[1:] if names is None else names)
        strange = sorted(wanted - set(self.names[1:]))
        if strange:
            msg = f"The label table has no {', '.join(strange)}; it has {', '.join(self.names[1:])}."
            raise LabelError(msg)
        return None if len(wanted) == len(self.labels) else tuple(n for n in self.names if n in wanted)

    def contradictions(self, other: LabelTable) -> Iterator[tuple[Label, Label]]:
        """Yield the pairs of labels, one of each table, that share the value or the name, but not both."""
        by_value = {label.value: label for label in other.labels}
        by_name = {label.name: label for label in other.labels}
        for own in self.labels:
            for their in (by_value.get(own.value, own), by_name.get(own.name, own)):
                if (own.value, own.name) != (their.value, their.name):
                    yield own, their

    def to_json(self) -> list[dict[str, Any]]:
        """Return the table as plain values, ready for JSON."""
        return [
            {
                "value": label.value,
                "name": label.name,
                "colour": list(label.colour),
                "terminology": label.terminology,
            }
            for label in self.labels
        ]

    @classmethod
    def from_json(cls, entries: Sequence[Mapping[str, Any]]) -> LabelTable:
        """Read what ``to_json`` wrote.

        Raises:
            LabelError: An entry is incomplete or the table contradicts itself.
        """
        try:
            labels = tuple(
                Label(
                    value=_whole(entry["value"]),
                    name=str(entry["name"]),
                    colour=_colour(entry.get("colour"), number),
                    terminology=str(entry.get("terminology", "")),
                )
                for number, entry in enumerate(entries)
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            msg = f"The label table cannot be read: {error!r}."
            raise LabelError(msg) from error
        return cls(labels)

    @classmethod
    def from_names(cls, names: Mapping[str, int]) -> LabelTable:
        """Make a table from nnU-Net's ``labels`` (name -> value); colours are chosen by position.

        Raises:
            LabelError: A value is no whole number (nnU-Net's regions are not supported).
        """
        for name, value in names.items():
            if not is_whole(value):
                msg = f"Label {name!r} has the value {value!r}; whole numbers are needed (no regions)."
                raise LabelError(msg)
        by_value = sorted(names.items(), key=lambda item: item[1])
        return cls.from_json([{"value": value, "name": name} for name, value in by_value if value != 0])

    def to_names(self) -> dict[str, int]:
        """Return the value of each structure by name; ``from_names`` reads it."""
        return {label.name: label.value for label in self.labels}


def _check(labels: tuple[Label, ...]) -> None:
    if not labels:
        msg = "The label table is empty: name at least one structure."
        raise LabelError(msg)
    values = [label.value for label in labels]
    names = [label.name for label in labels]
    for label in labels:
        if not 1 <= label.value <= MAXIMUM_VALUE:
            msg = f"Label {label.name!r} has the value {label.value}; allowed are 1..{MAXIMUM_VALUE}."
            raise LabelError(msg)
        if values.count(label.value) > 1:
            msg = f"The label value {label.value} is used twice."
            raise LabelError(msg)
        if not label.name or names.count(label.name) > 1:
            msg = f"The label name {label.name!r} is empty or used twice."
            raise LabelError(msg)
    if len(labels) > MAXIMUM_STRUCTURES:
        msg = f"The label table names {len(labels)} structures; at most {MAXIMUM_STRUCTURES} can be trained."
        raise LabelError(msg)


def _whole(given: Any) -> int:
    if isinstance(given, bool) or given != int(given):
        msg = f"a label's value is a whole number, found {given!r}"
        raise ValueError(msg)
    return int(given)


def _colour(given: Any, number: int) -> tuple[int, int, int]:
    if given is None:
        return _COLOURS[number % len(_COLOURS)]
    red, green, blue = (int(part) for part in given)
    return red, green, blue
