"""Who is told that something changed: plain callbacks, because custom Qt signals do not exist in PythonQt."""

import logging
from collections.abc import Callable

log = logging.getLogger("CRGLoCoSegment")
NOTICES = ("models", "cases", "result", "corrected", "training", "batch", "environment", "worker", "scene")


class Listeners:
    """Callbacks that hear what changed; one that fails does not silence the others."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[str], None]] = []

    def add(self, callback: Callable[[str], None]) -> None:
        """Tell this callback from now on."""
        self._callbacks.append(callback)

    def remove(self, callback: Callable[[str], None]) -> None:
        """Tell it no longer; one that is not known is ignored."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    def tell(self, what: str) -> None:
        """Say what changed, one of ``NOTICES``."""
        for callback in tuple(self._callbacks):
            try:
                callback(what)
            except Exception:
                log.exception("a panel could not follow the change %r", what)
