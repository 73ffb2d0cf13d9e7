"""VTK observers of host widgets: they hold the widget weakly and vanish with it."""

import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
import vtk


class Observers:
    """The observations of one widget."""

    def __init__(self, owner: Any) -> None:
        self._owner = weakref.ref(owner)
        self._made: list[tuple[Any, int]] = []

    def add(self, target: Any, event: Any, method: Callable[..., None]) -> None:
        """Call ``method(owner, caller, callData)`` on an event; the call data is an object or ``None``."""
        owner = self._owner

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def heard(caller: Any, _event: str, data: Any = None) -> None:
            living = owner()
            if living is not None and shiboken6.isValid(living):
                method(living, caller, data)

        self._made.append((target, target.AddObserver(event, heard)))

    def clear(self) -> None:
        """Stop observing."""
        for target, tag in self._made:
            target.RemoveObserver(tag)
        self._made.clear()
