"""File names that are no text: some systems take any bytes, ITK ends the whole process at such a name."""

from __future__ import annotations

import os
from pathlib import Path

from crgloco.errors import InputError


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8; one that Python read from other bytes cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def assert_text(path: Path) -> None:
    """Refuse a path that ITK could not be told.

    Raises:
        InputError: The name of the file, or of a folder above it, is not UTF-8.
    """
    if not is_text(str(path)):
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        msg = f"{shown} has a name that is no valid text (UTF-8); rename it, and its folder if that is meant."
        raise InputError(msg)
