"""A plain function in a thread, its answer on the main thread; never for anything of Qt or MRML."""

import queue
import threading
from collections.abc import Callable
from typing import Any

from CRGLoCoSegmentLib.background.ticker import BEAT, PERIOD_MS, SharedTicker, Ticker


class ThreadJob:
    """One function at work in a thread.

    Attributes:
        isOver: Whether the answer was delivered, or nobody wants it any more.
    """

    def __init__(
        self,
        function: Callable[[], Any],
        onDone: Callable[[Any], None],
        onError: Callable[[Exception], None],
        *,
        ticker: Ticker | None = None,
    ) -> None:
        self.isOver = False
        self._onDone, self._onError = onDone, onError
        self._answers: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        self._ticker = ticker if ticker is not None else SharedTicker()
        self._ticker.start(PERIOD_MS, self.poll)
        BEAT.threads += 1
        threading.Thread(target=self._run, args=(function,), name="CRGLoCoSegment", daemon=True).start()

    def cancel(self) -> None:
        """Forget the answer: no callback will be called. The function itself runs to its end."""
        if not self.isOver:
            BEAT.threads -= 1
        self.isOver = True
        self._ticker.stop()

    def poll(self) -> None:
        """Deliver the answer if it is there."""
        if self.isOver or self._answers.empty():
            return
        good, value = self._answers.get()
        self.cancel()
        (self._onDone if good else self._onError)(value)

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            self._answers.put((True, function()))
        except Exception as error:  # noqa: BLE001  (handed on to the caller's thread)
            self._answers.put((False, error))


def runInThread(
    function: Callable[[], Any],
    onDone: Callable[[Any], None],
    onError: Callable[[Exception], None],
    *,
    ticker: Ticker | None = None,
) -> ThreadJob:
    """Run a function of plain values and numpy buffers in a thread.

    Args:
        function: Must touch neither Qt nor MRML; what it raises may go through ``_()``, because Qt's
            translation is thread-safe.
        onDone: Called on the main thread with what it returned.
        onError: Called on the main thread with what it raised.
        ticker: When the main thread looks.
    """
    return ThreadJob(function, onDone, onError, ticker=ticker)
