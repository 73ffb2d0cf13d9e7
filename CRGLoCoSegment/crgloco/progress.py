"""How long work tells what it does and hears that it should stop.

Long functions take one ``Reporter``. They call ``report.event(kind, **fields)`` for whatever a
person or a program may want to know, and ``report.check()`` between small steps; ``check`` raises
``Cancelled`` when an end was asked for. An event is a line ``@{json}``; other lines are log.
"""

from __future__ import annotations

import json
import math
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

from crgloco.errors import Cancelled

EVENT_PREFIX = "@"


class Reporter(Protocol):
    """What long work needs: somebody to tell, and somebody who may say stop."""

    def event(self, kind: str, **fields: Any) -> None:
        """Tell that something of the given kind happened.

        ``kind="progress"`` carries ``done`` and ``total`` (numbers) and ``stage`` (one or two words).
        ``kind="message"`` carries ``text`` (a full sentence for the user).
        """

    def check(self) -> None:
        """Raise ``Cancelled`` if an end was asked for."""


class Silent:
    """A reporter that tells nobody and never stops."""

    def event(self, kind: str, **fields: Any) -> None:
        """Tell nobody."""

    def check(self) -> None:
        """Never stop."""


class EventLines:
    """Write each event as one line ``@{"event": kind, ...}``; stop on demand.

    Args:
        stream: Where the lines go; flushed after each line.
        stop_file: Work stops once this file exists.
        copy: A file that collects the same events without prefix (``events.jsonl``).
    """

    def __init__(
        self, stream: TextIO | None = None, *, stop_file: Path | None = None, copy: Path | None = None
    ) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._stop_file = stop_file
        self._copy = copy
        self._lock = threading.Lock()
        self.stop_requested = threading.Event()

    def event(self, kind: str, **fields: Any) -> None:
        """Write one line."""
        line = json.dumps({"event": kind, **_json_safe(fields)}, ensure_ascii=True)
        with self._lock:
            self._stream.write(f"{EVENT_PREFIX}{line}\n")
            self._stream.flush()
            if self._copy is not None:
                # A full disk is told by whatever must be kept; hours of work never end for a diary.
                with suppress(OSError), self._copy.open("a", encoding="utf-8") as copy:
                    copy.write(line + "\n")

    def check(self) -> None:
        """Raise ``Cancelled`` once ``stop_requested`` is set or the stop file exists."""
        if self.stop_requested.is_set() or (self._stop_file is not None and self._stop_file.exists()):
            raise Cancelled("Stopped on request.")


def parse_event(line: str) -> dict[str, Any] | None:
    """Return the event of a line, or ``None`` if the line is log."""
    if not line.startswith(EVENT_PREFIX + "{"):
        return None
    try:
        event = json.loads(line[len(EVENT_PREFIX) :])
    except json.JSONDecodeError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _json_safe(value: Any) -> Any:
    """JSON knows neither NaN nor numpy: NaN and infinity become null, scalars become Python's."""
    if isinstance(value, dict):
        return {str(key): _json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_safe(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
