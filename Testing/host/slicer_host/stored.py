"""Qt properties that are only kept: real ones of the meta-object, so that .ui files can set them."""

from typing import Any

from PySide6.QtCore import Property


def stored(kind: Any, name: str, default: Any = None) -> Property:
    """A property that remembers its value on the object.

    Args:
        kind: Its type, as ``PySide6.QtCore.Property`` takes it.
        name: Its name.
        default: Its value at first.
    """

    def get(target: Any) -> Any:
        return target.__dict__.get(f"_stored_{name}", default)

    def put(target: Any, value: Any) -> None:
        target.__dict__[f"_stored_{name}"] = value

    return Property(kind, get, put)


def forwarded(kind: Any, part: str, name: str) -> Property:
    """A property that a part of the widget has: ``self.<part>.<name>()`` and ``set<Name>``.

    Args:
        kind: Its type.
        part: Attribute of the widget that is the part.
        name: Name of the part's property.
    """
    setter = f"set{name[0].upper()}{name[1:]}"

    def get(target: Any) -> Any:
        return getattr(getattr(target, part), name)()

    def put(target: Any, value: Any) -> None:
        getattr(getattr(target, part), setter)(value)

    return Property(kind, get, put)
