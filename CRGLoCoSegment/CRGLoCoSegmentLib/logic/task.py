"""One long piece of work as a script or a panel holds it: how far it is, its end, and a way to stop it."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from crgloco.errors import Cancelled
from CRGLoCoSegmentLib.background.ticker import waitUntil

if TYPE_CHECKING:
    from CRGLoCoSegmentLib.background.worker import Worker

log = logging.getLogger("CRGLoCoSegment")

OnProgress = Callable[[str, float, float, float | None], None]
OnFinished = Callable[[Any], None]
OnFailed = Callable[[str, str], None]


class TimeLeft:
    """Seconds until a stage ends, from its pace so far; stages are timed one by one.

    Args:
        clock: Seconds that only grow.
    """

    # Earlier than this a stage's pace says little; the share of the newest estimate keeps the number calm.
    PATIENCE_S = 1.0
    NEWEST = 0.3

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
        self._started = 0.0
        self._first = 0.0
        self._end: float | None = None

    def update(self, stage: str, done: float, total: float) -> float | None:
        """Return the seconds left of a stage, or ``None`` while nothing can be said."""
        now = self._clock()
        if stage != self._stage or done < self._first:
            self._stage, self._started, self._first, self._end = stage, now, done, None
        elapsed, worked = now - self._started, done - self._first
        if total <= 0 or worked <= 0 or elapsed < self.PATIENCE_S:
            return None
        end = now + elapsed * max(total - done, 0) / worked
        # The moment of the end is smoothed, not the seconds left: those shrink by themselves.
        self._end = end if self._end is None else self._end + self.NEWEST * (end - self._end)
        return max(self._end - now, 0.0)


class Task:
    """A long piece of work; its callbacks run on the main thread, each end exactly once.

    Args:
        name: What is worked on, for messages.
        onProgress: Hears ``(text, done, total, secondsLeft)``; the last may be ``None``.
        onFinished: Hears the value.
        onFailed: Hears a message in the user's words and details (a traceback or a log, or "").

    Attributes:
        state: ``"running"``, ``"done"``, ``"failed"`` or ``"cancelled"``.
        value: What ``onFinished`` heard.
        error: The exception of a failure; its text is the message.
        details: Of a failure.
        notes: Sentences about what was done differently, for example for want of memory.
        startedAt: ``time.monotonic()`` of the start.
    """

    def __init__(
        self,
        name: str = "",
        *,
        onProgress: OnProgress | None = None,
        onFinished: OnFinished | None = None,
        onFailed: OnFailed | None = None,
    ) -> None:
        self.name = name
        self.state = "running"
        self.value: Any = None
        self.error: Exception | None = None
        self.details = ""
        self.notes: list[str] = []
        self.startedAt = time.monotonic()
        self._onProgress, self._onFinished, self._onFailed = onProgress, onFinished, onFailed
        self._timeLeft = TimeLeft()
        self._cancellers: list[Callable[[], None]] = []
        self._cleaners: list[Callable[[], None]] = []

    def isRunning(self) -> bool:
        """Whether the end is still to come."""
        return self.state == "running"

    def cancel(self) -> None:
        """Stop at once; what was made so far is removed. A task that has ended stays as it is."""
        if self.isRunning():
            for canceller in tuple(self._cancellers):
                canceller()
            self._end("cancelled", self._onFailed, _("Cancelled."), "")

    def wait(self) -> Any:
        """Wait in a script until the end, while Slicer lives on; return the value.

        Raises:
            Cancelled: It was cancelled.
            Exception: Whatever made it fail: a ``CRGLoCoError`` or a ``WorkerError``, in words.
        """
        try:
            waitUntil(lambda: not self.isRunning())
        except BaseException:  # an interrupted script must not leave work behind
            self.cancel()
            raise
        if self.state == "done":
            return self.value
        raise self.error or Cancelled(_("Cancelled."))

    def ask(
        self,
        worker: "Worker",
        command: str,
        fields: Mapping[str, Any],
        onResult: Callable[[dict[str, Any]], None],
        *,
        onError: Callable[[Exception], None] | None = None,
        onProgress: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Have a worker do it: each of the two is cancelled with the other.

        Args:
            worker: Who is asked.
            command: See ``crgloco.worker``.
            fields: Plain values and paths.
            onResult: Hears the answer; the task goes on until it is told to end.
            onError: Hears a failure; by default the task fails with it.
            onProgress: Hears events in between.
        """
        request = worker.ask(
            command,
            fields,
            onResult=onResult,
            onError=onError or self.fail,
            onProgress=onProgress,
            onCancelled=self.cancel,
        )
        self.onCancel(request.cancel)

    def onCancel(self, canceller: Callable[[], None]) -> None:
        """Have this called first when the task is cancelled."""
        self._cancellers.append(canceller)

    def onEnd(self, cleaner: Callable[[], None]) -> None:
        """Have this called at every end, before the callbacks; for temporary files and the like."""
        self._cleaners.append(cleaner)

    def progress(
        self, text: str, done: float, total: float, *, secondsLeft: float | None = None, paced: bool = True
    ) -> None:
        """Tell how far the present stage is.

        Args:
            text: Names the stage.
            done: Of ``total``.
            total: 0 while nothing can be said.
            secondsLeft: From those who know better than the pace of the stage.
            paced: Whether the pace tells the seconds left when nobody else does.
        """
        if self.isRunning() and self._onProgress is not None:
            pace = self._timeLeft.update(text, done, total) if paced else None
            self._guarded(self._onProgress, text, done, total, pace if secondsLeft is None else secondsLeft)

    def finish(self, value: Any) -> None:
        """End with a value."""
        self.value = value
        self._end("done", self._onFinished, value)

    def fail(self, error: Exception, details: str = "") -> None:
        """End with an error; its text is what the user reads.

        Args:
            error: Why.
            details: A traceback or a log; those that the error brings along if none are given.
        """
        if self.isRunning():
            self.error, self.details = error, details or getattr(error, "details", "")
            self._end("failed", self._onFailed, str(error), self.details)

    def _end(self, state: str, callback: Callable[..., None] | None, *values: Any) -> None:
        if not self.isRunning():
            return
        self.state = state
        for cleaner in self._cleaners:
            self._guarded(cleaner)
        if callback is not None:
            self._guarded(callback, *values)

    def _guarded(self, callback: Callable[..., None], *values: Any) -> None:
        try:
            callback(*values)
        except Exception:
            log.exception("a callback of the task %r failed", self.name)
