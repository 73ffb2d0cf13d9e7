"""Timers of the panels: each ends with a widget."""

from collections.abc import Callable
from typing import Any

import qt

TYPING_MS = 400


def timerOf(parent: Any, action: Callable[[], None], *, single: bool = True) -> Any:
    """Return a timer that does something, once or again and again; it ends with a widget."""
    timer = qt.QTimer(parent)  # till the end of its parent PythonQt keeps the slot
    timer.setSingleShot(single)
    timer.connect("timeout()", action)
    return timer


def typingPause(parent: Any, action: Callable[[], None]) -> Any:
    """Return a timer that acts once nobody has started it again for a moment: half a path is no choice."""
    timer = timerOf(parent, action)
    timer.setInterval(TYPING_MS)
    return timer
