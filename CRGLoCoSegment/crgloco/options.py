"""A method's options: one frozen dataclass that is the form, the job and the model card at once."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast, get_type_hints

from crgloco.errors import OptionError
from crgloco.json_values import is_number, is_whole

T = TypeVar("T")

_TYPES = {bool: "bool", int: "int", float: "float", str: "str"}


def option(
    default: Any,
    *,
    label: str,
    help: str,  # noqa: A002  (what every form calls it)
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    automatic: bool = False,
    advanced: bool = False,
) -> Any:
    """Declare one field of an options dataclass (``bool``, ``int``, ``float`` or ``str``).

    Args:
        default: Value when the user says nothing.
        label: Name shown in a form.
        help: One sentence, shown as tooltip.
        unit: Unit shown behind the value, for example ``"mm"``.
        minimum: Smallest allowed value, included.
        maximum: Largest allowed value, included.
        choices: Allowed texts of a ``str`` option.
        automatic: The default says that the method chooses. It is shown as a word, so a number's lies
            outside the allowed values, which then need a minimum; a text's is empty.
        advanced: Shown only when the user asks for all options.
    """
    metadata = {
        "label": label,
        "help": help,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "automatic": automatic or None,
        "advanced": advanced,
    }
    return dataclasses.field(default=default, metadata=metadata)


def describe(config: type) -> list[dict[str, Any]]:
    """Return every option as data: name, type, default and what ``option`` was told."""
    types = get_type_hints(config)
    return [
        {
            "name": field.name,
            "type": _TYPES[types[field.name]],
            "default": field.default,
            **{key: value for key, value in field.metadata.items() if value not in (None, "")},
        }
        for field in dataclasses.fields(config)
    ]


def from_mapping(config: type[T], values: Mapping[str, Any]) -> T:
    """Build an options object; unknown names, wrong types and values out of range are refused.

    Raises:
        OptionError: Naming the option, the value and what would be allowed.
    """
    fields = {field.name: field for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    types = get_type_hints(config)
    unknown = sorted(set(values) - set(fields))
    if unknown:
        msg = f"Unknown option {unknown[0]!r}. Known options: {', '.join(sorted(fields))}."
        raise OptionError(msg)
    checked = {name: _checked(fields[name], types[name], value) for name, value in values.items()}
    return config(**checked)


def to_mapping(config: object) -> dict[str, Any]:
    """Return the options as plain values, ready for JSON."""
    return dataclasses.asdict(cast(Any, config))


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` words of a command line; values are JSON where they can be, else text.

    Raises:
        OptionError: A word holds no ``=``.
    """
    values = {}
    for word in assignments:
        key, equals, text = word.partition("=")
        if not equals or not key:
            msg = f"Expected key=value, found {word!r}."
            raise OptionError(msg)
        try:
            values[key.strip()] = json.loads(text)
        except json.JSONDecodeError:
            values[key.strip()] = text
    return values


def three_numbers(text: str, name: str) -> tuple[float, float, float] | None:
    """Read an option of the form ``"K,J,I"``; ``None`` if it is empty.

    Raises:
        OptionError: These are not three positive, finite numbers.
    """
    if not text.strip():
        return None
    try:
        k, j, i = (float(part) for part in text.split(","))
    except ValueError:
        k = j = i = 0.0
    if not all(0 < number < math.inf for number in (k, j, i)):
        msg = f"Option {name!r} needs three positive numbers K,J,I; found {text!r}."
        raise OptionError(msg)
    return k, j, i


def range_text(low: float | None, high: float | None) -> str:
    """Write a range such as ``0..1`` or ``0..``; empty without bounds."""
    if low is None and high is None:
        return ""
    return f"{'' if low is None else low}..{'' if high is None else high}"


def _checked(field: dataclasses.Field[Any], kind: type, value: Any) -> Any:
    if kind is float and is_whole(value) and is_number(value):
        value = float(value)
    if type(value) is not kind:
        written = f": write {','.join(map(str, value))}" if kind is str and isinstance(value, list) else ""
        msg = f"Option {field.name!r} needs a value of type {_TYPES[kind]}, found {value!r}{written}."
        raise OptionError(msg)
    choices = field.metadata.get("choices")
    if choices and value not in choices:
        msg = f"Option {field.name!r} must be one of {', '.join(choices)}; found {value!r}."
        raise OptionError(msg)
    if field.metadata.get("automatic") and value == field.default:
        return value
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    if kind in (int, float) and ((low is not None and value < low) or (high is not None and value > high)):
        automatic = f", or be {field.default} (automatic)" if field.metadata.get("automatic") else ""
        msg = f"Option {field.name!r} must lie in {range_text(low, high)}{automatic}; found {value!r}."
        raise OptionError(msg)
    if isinstance(value, float) and math.isnan(value):
        msg = f"Option {field.name!r} is not a number."
        raise OptionError(msg)
    return value
