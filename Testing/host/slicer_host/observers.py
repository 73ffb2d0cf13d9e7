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
        """Call ``method(owner, caller)`` on an event."""
        owner = self._owner

        def heard(caller: Any, _event: str) -> None:
            living = owner()
            if living is not None and shiboken6.isValid(living):
                method(living, caller)

        self._made.append((target, target.AddObserver(event, heard)))

    def addWithNode(self, scene: Any, event: Any, method: Callable[..., None]) -> None:
        """Call ``method(owner, node)`` on an event of the scene whose data is a node."""
        owner = self._owner

        # Only where the data is an object: anything else (a segment's ID) read as one is a crash.
        @vtk.calldata_type(vtk.VTK_OBJECT)
        def heard(_scene: Any, _event: str, node: Any = None) -> None:
            living = owner()
            if living is not None and shiboken6.isValid(living):
                method(living, node)

        self._made.append((scene, scene.AddObserver(event, heard)))

    def clear(self) -> None:
        """Stop observing."""
        for target, tag in self._made:
            target.RemoveObserver(tag)
        self._made.clear()
