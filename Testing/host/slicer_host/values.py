"""Values on their way between Python and Qt: proxies are unpacked and packed, lists become tuples."""

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore


class _Packing:
    """How QObjects are packed; proxy.py sets it, since it needs this file."""

    packObject: Callable[[QtCore.QObject], Any]
    isProxy: Callable[[Any], bool]


packing = _Packing()


def unpack(value: Any) -> Any:
    """What Qt gets for a Python value."""
    if isinstance(value, tuple | list) and type(value) in (tuple, list):
        return [unpack(one) for one in value]
    return value.qtObject_ if packing.isProxy(value) else value


def pack(value: Any) -> Any:
    """What Python gets for a value of Qt: string lists become tuples, as in PythonQt."""
    if isinstance(value, QtCore.QObject):
        return packing.packObject(value)
    if type(value) in (list, tuple):
        return tuple(pack(one) for one in value)
    return value


def isInteger(value: Any) -> bool:
    """An int of Python; numpy's are none for PythonQt."""
    return isinstance(value, int)


CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "QString": (lambda value: isinstance(value, str), "a str"),
    "bool": (isInteger, "a bool"),
    "int": (isInteger, "an int (convert numpy's with int())"),
    "double": (lambda value: isInteger(value) or isinstance(value, float), "a float"),
    "QStringList": (
        lambda value: isinstance(value, tuple | list) and all(isinstance(one, str) for one in value),
        "a list of str",
    ),
}


def check(name: str, kind: str, value: Any) -> None:
    """Refuse a value that the property's type cannot take.

    Raises:
        AttributeError: As PythonQt does.
    """
    fits, wanted = CHECKS.get(kind, (lambda _value: True, ""))
    if not fits(value):
        raise AttributeError(
            f"Property '{name}' of type '{kind}' does not accept an object of type {type(value).__name__}: "
            f"{value!r} is not {wanted}"
        )
