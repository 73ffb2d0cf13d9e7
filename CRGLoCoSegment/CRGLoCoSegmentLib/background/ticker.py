"""When the main thread looks after what processes and threads sent; only it may touch Qt and MRML."""

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

log = logging.getLogger("CRGLoCoSegment")

PERIOD_MS = 20


class Ticker(Protocol):
    """Calls back on the main thread, again and again."""

    def start(self, milliseconds: int, callback: Callable[[], None]) -> None:
        """Call back about every so many milliseconds from now on."""

    def stop(self) -> None:
        """Call back no longer."""


class Beat:
    """The one timer of this package, running as long as anybody waits for something.

    One for all: a Qt timer that lives as long as the process cannot be deleted in its own callback.

    Attributes:
        threads: How many threads compute for us: while there are any, a beat leaves them more time.
    """

    def __init__(self) -> None:
        self.threads = 0
        self._callbacks: list[Callable[[], None]] = []
        self._timer: Any = None
        self._runs = False

    def add(self, callback: Callable[[], None]) -> None:
        """Call this on every beat; on the main thread only."""
        self._callbacks.append(callback)
        self._run(wanted=True)

    def remove(self, callback: Callable[[], None]) -> None:
        """Call it no longer; one that is not known is ignored."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)
        self._run(wanted=bool(self._callbacks))

    def fire(self) -> None:
        """One beat; scripts without an event loop call it themselves, see ``waitUntil``."""
        # Slicer's event loop may keep Python's lock: the threads that read pipes and files need it here.
        time.sleep(0.005 if self.threads else 0.001)
        for callback in tuple(self._callbacks):
            if callback not in self._callbacks:  # removed by the one before
                continue
            try:
                callback()
            except Exception:
                log.exception("a callback of the background failed")

    def _run(self, *, wanted: bool) -> None:
        if self._timer is None and wanted:
            self._timer = _qtTimer(self.fire)
        if self._timer is not None and wanted != self._runs:
            self._timer.start() if wanted else self._timer.stop()
            self._runs = wanted


BEAT = Beat()


class SharedTicker:
    """The default ticker: a share in the one timer.

    Args:
        beat: The timer.
        clock: Seconds that only grow.
    """

    def __init__(self, beat: Beat = BEAT, clock: Callable[[], float] = time.monotonic) -> None:
        self._beat, self._clock = beat, clock
        self._callback: Callable[[], None] | None = None
        self._seconds = 0.0
        self._last = 0.0

    def start(self, milliseconds: int, callback: Callable[[], None]) -> None:
        """Call back about every so many milliseconds from now on."""
        self.stop()
        self._callback, self._seconds, self._last = callback, milliseconds / 1000, self._clock()
        self._beat.add(self._tick)

    def stop(self) -> None:
        """Call back no longer."""
        self._callback = None
        self._beat.remove(self._tick)

    def _tick(self) -> None:
        now = self._clock()
        if self._callback is not None and now - self._last >= self._seconds * 0.9:
            self._last = now
            self._callback()


def waitUntil(isOver: Callable[[], bool], timeout: float | None = None, *, beat: Beat = BEAT) -> bool:
    """Wait in a script until something is over; processes and threads are looked after meanwhile.

    Args:
        isOver: What is waited for.
        timeout: Seconds; ``None`` waits for ever.
        beat: The timer.

    Returns:
        Whether it is over.
    """
    end = None if timeout is None else time.monotonic() + timeout
    while not isOver():
        if end is not None and time.monotonic() > end:
            return False
        beat.fire()
        _processEvents()
        time.sleep(0.005)
    return True


def _qtTimer(callback: Callable[[], None]) -> Any:
    try:
        import qt
    except ImportError:  # a plain Python: ``waitUntil`` takes its place
        return None
    timer = qt.QTimer()
    timer.setInterval(PERIOD_MS)
    timer.connect("timeout()", callback)
    return timer


def _processEvents() -> None:
    try:
        from slicer import app
    except ImportError:
        return
    app.processEvents()
