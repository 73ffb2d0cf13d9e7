"""File names that are nobody's, that Windows keeps for itself, that are free, and that are no text.

Some systems take any bytes for a name; ITK ends the whole process at one that is no UTF-8.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

from crgloco.errors import InputError

_LITTER = {"desktop.ini", "thumbs.db"}
_RESERVED = re.compile(r"(con|prn|aux|nul|com[\d¹²³]|lpt[\d¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE)


def is_litter(name: str) -> bool:
    """Whether a file is none of the user's: hidden, or left behind by Windows' Explorer."""
    return name.startswith(".") or name.casefold() in _LITTER


def is_reserved(name: str) -> bool:
    """Whether Windows takes a name, with any ending, for a device: it can be no file and no folder there."""
    return _RESERVED.fullmatch(name) is not None


def as_one_file(name: str) -> str:
    """Return what names share that are one file on Windows (case) or macOS (case, how accents are stored)."""
    return unicodedata.normalize("NFC", name.casefold())


def is_file(path: Path) -> bool:
    """Whether there is a file, or a link to one that is not there: the user counts on it, and is told."""
    return path.is_file() or is_dead_link(path)


def is_dead_link(path: Path) -> bool:
    """Whether a path is a link to what does not exist, as git-annex and DVC leave before they fetch it."""
    return path.is_symlink() and not path.exists()


def free_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """Return the name, or the first of ``<name>-2``, ``<name>-3``, ... that is not taken."""
    free, number = name, 2
    while is_taken(free):
        free, number = f"{name}-{number}", number + 1
    return free


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
