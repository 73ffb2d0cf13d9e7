"""A pause for somebody who types: what is half typed is not taken for a choice."""

from collections.abc import Callable
from typing import Any

import qt

TYPING_MS = 400


def typingPause(parent: Any, action: Callable[[], None]) -> Any:
    """Return a timer that does something once nobody has started it again for a moment.

    Args:
        parent: The widget that it ends with.
        action: What is done.
    """
    timer = qt.QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(TYPING_MS)
    timer.connect("timeout()", action)
    return timer
