"""What went wrong where no caller hears it: in slots, in timers, in Qt's own messages."""

import sys
import traceback
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore


class Faults:
    """Errors of slots and warnings of Qt since the last look; a test that leaves some fails."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._closed = False

    def add(self, text: str) -> None:
        """Remember one, and show it at once."""
        if not self._closed:
            self.texts.append(text)
            print(text, file=sys.stderr)

    def close(self) -> None:
        """The process ends: Qt destroys what is left in any order, and nobody listens."""
        self._closed = True

    def take(self) -> list[str]:
        """Return them and forget them."""
        texts, self.texts = self.texts, []
        return texts


faults = Faults()

# What Qt's offscreen platform says of itself, not of our code.
HARMLESS = (
    "This plugin does not support",
    "QFontDatabase",
    "Populating font family aliases",
    "QStandardPaths: XDG_RUNTIME_DIR",
    "propagateSizeHints",
    "could not find or load",
    "Cannot find font directory",
)


def hearQt(kind: QtCore.QtMsgType, _context: Any, text: str) -> None:
    """Take Qt's messages: its warnings are faults."""
    if kind == QtCore.QtMsgType.QtDebugMsg or any(part in text for part in HARMLESS):
        return
    faults.add(f"Qt says: {text}")


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a callback as PythonQt does: an error in it is shown and does not reach the caller."""

    def call(*given: Any) -> Any:
        try:
            return function(*given)
        except Exception:
            faults.add(f"Error in a slot:\n{traceback.format_exc()}")
            return None

    return call
