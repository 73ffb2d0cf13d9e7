"""Reading what a program asked for: each field by name, refused in words where it is of a wrong kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crgloco.errors import OptionError, about
from crgloco.json_values import is_number
from crgloco.labels import LabelTable

Answer = dict[str, Any]
Fields = Mapping[str, Any]


def text(fields: Fields, key: str, default: str | None = None) -> str:
    """Return a text that is not empty.

    Raises:
        OptionError: It is missing or no text.
    """
    value = fields.get(key, default)
    if not isinstance(value, str) or not value:
        msg = f"{key!r} must be a text; found {value!r}."
        raise OptionError(msg)
    return value


def path(fields: Fields, key: str) -> Path:
    """Return a path; raises as ``text``."""
    return Path(text(fields, key))


def optional_path(fields: Fields, key: str) -> Path | None:
    """Return a path, or ``None`` where there is none or it is null; raises as ``text``."""
    return None if fields.get(key) is None else path(fields, key)


def texts(fields: Fields, key: str) -> list[str]:
    """Return a list of texts; empty if the field is missing or null.

    Raises:
        OptionError: It is no list of texts.
    """
    value = fields.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        msg = f"{key!r} must be a list of texts; found {value!r}."
        raise OptionError(msg)
    return value


def number(fields: Fields, key: str, default: float | None) -> float | None:
    """Return a finite number; a missing or null field gives the default.

    Raises:
        OptionError: It is something else.
    """
    value = fields.get(key)
    if value is None:
        return default
    if not is_number(value):
        msg = f"{key!r} must be a number; found {value!r}."
        raise OptionError(msg)
    return float(value)


def flag(fields: Fields, key: str, *, default: bool = False) -> bool:
    """Return true or false, or the default for a missing field.

    Raises:
        OptionError: It is something else.
    """
    value = fields.get(key, default)
    if not isinstance(value, bool):
        msg = f"{key!r} must be true or false; found {value!r}."
        raise OptionError(msg)
    return value


def mapping(fields: Fields, key: str) -> Fields:
    """Return an object with fields of its own; empty if it is missing or null.

    Raises:
        OptionError: It is something else.
    """
    value = fields.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        msg = f"{key!r} must be an object with fields; found {value!r}."
        raise OptionError(msg)
    return value


def table(fields: Fields, key: str) -> LabelTable:
    """Return a label table as ``LabelTable.to_json`` writes it.

    Raises:
        LabelError: It contradicts itself.
        OptionError: It is no list of entries.
    """
    entries = fields.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        msg = f"{key!r} must be a label table, a list of objects with value and name; found {entries!r}."
        raise OptionError(msg)
    with about(repr(key)):
        return LabelTable.from_json(entries)
