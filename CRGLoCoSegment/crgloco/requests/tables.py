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
    names = {label.value: label.name for label in folder.labels}
    values = folder.to_names()
    for label in given.labels:
        if names.get(label.value, label.name) != label.name:
            text = f"calls the value {label.value} {label.name!r}, the cases folder {names[label.value]!r}"
        elif values.get(label.name, label.value) != label.value:
            text = f"gives {label.name!r} the value {label.value}, the cases folder {values[label.name]}"
        else:
            continue
        msg = f"{what} {text}. Choose a cases folder with the same labels."
        raise LabelError(msg)


def assert_all_known(given: LabelTable, folder: LabelTable, what: str) -> None:
    """Refuse a table with labels that the folder does not have; raises as ``assert_no_conflict``."""
    assert_no_conflict(given, folder, what)
    for label in given.labels:
        if label.value not in folder.values:
            msg = f"{what} has a label {label.value} {label.name!r}, which the cases folder does not have."
            raise LabelError(msg)
