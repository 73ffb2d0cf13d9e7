"""Whether two label tables mean the same by a value; nothing is ever matched by order."""

from __future__ import annotations

from crgloco.errors import LabelError
from crgloco.labels import LabelTable


def assert_no_conflict(given: LabelTable, folder: LabelTable, what: str) -> None:
    """Refuse tables of which one gives a value another name, or a name another value; either may have more.

    Args:
        given: The table of what comes in.
        folder: The table of the cases folder.
        what: Names what comes in, for example ``"The label"``.

    Raises:
        LabelError: Naming the first contradiction.
    """
    for own, their in given.contradictions(folder):
        if own.value == their.value:
            text = f"calls the value {own.value} {own.name!r}, the cases folder {their.name!r}"
        else:
            text = f"gives {own.name!r} the value {own.value}, the cases folder {their.value}"
        msg = f"{what} {text}. Choose a cases folder with the same labels."
        raise LabelError(msg)


def assert_all_known(given: LabelTable, folder: LabelTable, what: str) -> None:
    """Refuse a table with labels that the folder does not have; raises as ``assert_no_conflict``."""
    assert_no_conflict(given, folder, what)
    for label in given.labels:
        if label.value not in folder.values:
            msg = f"{what} has a label {label.value} {label.name!r}, which the cases folder does not have."
            raise LabelError(msg)
