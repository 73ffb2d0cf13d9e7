"""PythonQt's connect on PySide's signals: exact signatures, as many arguments as the slot takes."""

import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

import shiboken6
from PySide6 import QtCore

from slicer_host.faults import guarded
from slicer_host.surface import ClassSurface, arguments
from slicer_host.values import pack

# C++ argument types as the host's own widgets declare them in Python; anything else is a plain object.
PYTHON_TYPES = {"QString": str, "bool": bool, "int": int, "double": float}

Slot = Callable[..., Any]

# Connections by sender (its C++ address): signature, callable, and what Qt really calls.
_connections: dict[int, list[tuple[str, Slot, Slot, Any]]] = {}


def capacity(slot: Slot) -> int | None:
    """How many arguments a slot takes by position, ``None`` for any number.

    PythonQt looks only at plain functions and bound methods; others get all arguments.
    """
    function = slot.__func__ if isinstance(slot, MethodType) else slot
    if not isinstance(function, FunctionType):
        return None
    code = function.__code__
    if code.co_flags & inspect.CO_VARARGS:
        return None
    return code.co_argcount - isinstance(slot, MethodType)


def boundSignal(target: QtCore.QObject, signature: str) -> Any:
    """PySide's signal for an exact C++ signature.

    Raises:
        ValueError: If Qt 6 has no such signal; our code has to run with both.
    """
    name, kinds = signature.partition("(")[0], arguments(signature)
    signal = getattr(target, name, None)
    if signal is None:
        raise ValueError(f"{type(target).__name__} has no signal {signature} in Qt 6, or the host lacks it")
    meta = target.metaObject()
    if meta.indexOfSignal(signature) >= 0:
        return signal
    chosen = [PYTHON_TYPES.get(kind, object) for kind in kinds]
    spelled = ",".join(
        {str: "QString", bool: "bool", int: "int", float: "double"}.get(c, "PyObject") for c in chosen
    )
    if meta.indexOfSignal(f"{name}({spelled})") >= 0:
        return signal[tuple(chosen)] if len(chosen) != 1 else signal[chosen[0]]
    if not kinds:  # clicked() is clicked(bool) with its default argument
        return signal
    raise ValueError(f"{type(target).__name__} has no signal {signature} in Qt 6; use one that both Qt have")


def checked(surface: ClassSurface | None, signature: str) -> str:
    """Refuse a signature that the real class does not have, where PythonQt would only warn.

    Raises:
        ValueError: Naming those that it has.
    """
    if surface is not None and signature not in surface.signals:
        near = surface.overloads(signature.partition("(")[0]) or sorted(surface.signals)
        raise ValueError(f"{surface.name} has no signal {signature!r}; it has: {', '.join(near)}")
    return signature


def connect(target: QtCore.QObject, surface: ClassSurface | None, signature: str, slot: Slot) -> bool:
    """Connect; the callable is kept as long as the sender lives."""
    if not callable(slot):
        raise TypeError(f"connect({signature!r}) needs something to call, not {slot!r}")
    signal = boundSignal(target, checked(surface, signature))
    count, most = len(arguments(signature)), capacity(slot)
    taken = count if most is None else min(count, most)
    call = guarded(slot)

    def pass_on(*given: Any) -> None:
        call(*(pack(one) for one in given[:taken]))

    deliver = _withArguments(count, pass_on)
    signal.connect(deliver)
    address = shiboken6.getCppPointer(target)[0]
    if address not in _connections:
        _connections[address] = []
        target.destroyed.connect(lambda *_given: _connections.pop(address, None))
    _connections[address].append((signature, slot, deliver, signal))
    return True


def _withArguments(count: int, function: Slot) -> Slot:
    """PySide counts a slot's arguments to choose among a signal's overloads: a fixed number for each."""

    def none() -> None:
        function()

    def one(a: Any) -> None:
        function(a)

    def two(a: Any, b: Any) -> None:
        function(a, b)

    def four(a: Any, b: Any, c: Any, d: Any) -> None:
        function(a, b, c, d)

    return {0: none, 1: one, 2: two, 4: four}[count]


def disconnect(
    target: QtCore.QObject, surface: ClassSurface | None, signature: str, slot: Slot | None
) -> bool:
    """Disconnect a callable, or all of them; false if it was not connected."""
    checked(surface, signature)
    known = _connections.get(shiboken6.getCppPointer(target)[0], [])
    found = [entry for entry in known if entry[0] == signature and (slot is None or entry[1] == slot)]
    for entry in found:
        entry[3].disconnect(entry[2])
        known.remove(entry)
    return bool(found)


class SignalProxy:
    """``widget.clicked``: a signal by its name, to connect without a signature."""

    def __init__(self, target: QtCore.QObject, surface: ClassSurface | None, name: str) -> None:
        self._target, self._surface, self._name = target, surface, name

    def _signature(self, slot: Slot | None) -> str:
        signatures = (
            self._surface.overloads(self._name) if self._surface else _signatures(self._target, self._name)
        )
        longest = len(arguments(signatures[0]))
        rivals = [text for text in signatures if len(arguments(text)) == longest]
        if len(rivals) > 1 and (slot is None or capacity(slot) != 0):
            raise ValueError(f"{self._name} is ambiguous: connect by string, one of {', '.join(signatures)}")
        for text in rivals:
            try:
                boundSignal(self._target, text)
            except ValueError:
                continue
            return text
        raise ValueError(f"Qt 6 has no {' nor '.join(rivals)}")

    def connect(self, slot: Slot) -> bool:
        """Connect a callable."""
        return connect(self._target, self._surface, self._signature(slot), slot)

    def disconnect(self, slot: Slot | None = None) -> bool:
        """Disconnect a callable."""
        return disconnect(self._target, self._surface, self._signature(slot), slot)

    def __repr__(self) -> str:
        return f"<signal {self._name} of {type(self._target).__name__}>"


def _signatures(target: QtCore.QObject, name: str) -> list[str]:
    meta = target.metaObject()
    methods = [meta.method(index) for index in range(meta.methodCount())]
    found = [bytes(m.methodSignature()).decode() for m in methods if bytes(m.name()).decode() == name]
    return sorted(found, key=lambda text: -len(arguments(text)))
