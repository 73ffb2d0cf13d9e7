"""The engine's worker as a partner: requests from the main thread, callbacks on the main thread.

The process starts with the first request and again after it died. Its protocol is described in
``crgloco.worker``.
"""

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from crgloco.progress import parse_event
from CRGLoCoSegmentLib.background.child import Child
from CRGLoCoSegmentLib.background.endings import whyEnded
from CRGLoCoSegmentLib.background.program import engineCommand, moduleFolder
from CRGLoCoSegmentLib.background.ticker import SharedTicker, waitUntil

log = logging.getLogger("CRGLoCoSegment")

KEPT_LOG_LINES = 200
SHOWN_LOG_LINES = 20
CANCEL_PATIENCE_S = 4.0
WATCH_MS = 250

Answer = dict[str, Any]
OnResult = Callable[[Answer], None]
OnProgress = Callable[[dict[str, Any]], None]


class WorkerError(Exception):
    """Why a request failed, in the user's words.

    Attributes:
        kind: The engine's type of error (``"InputError"``, ...), ``"Fault"`` for an error of ours, or
            ``"Died"`` if the process is gone.
        details: A traceback or the last log lines; may be empty.
    """

    def __init__(self, message: str, kind: str = "Fault", details: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.details = details


class Request:
    """One wish; ends with exactly one callback.

    Attributes:
        id: Number of the request.
        state: ``"waiting"``, ``"running"``, ``"done"``, ``"failed"`` or ``"cancelled"``.
    """

    def __init__(
        self,
        worker: "Worker",
        number: int,
        line: str,
        *,
        onResult: OnResult,
        onError: Callable[[WorkerError], None],
        onProgress: OnProgress | None,
        onCancelled: Callable[[], None] | None,
    ) -> None:
        self.id, self.line = number, line
        self.state = "waiting"
        self.cancelledAt: float | None = None
        self._worker = worker
        self._onResult, self._onError = onResult, onError
        self._onProgress, self._onCancelled = onProgress, onCancelled

    def isOpen(self) -> bool:
        """Whether its end is still to come."""
        return self.state in {"waiting", "running"}

    def cancel(self) -> None:
        """Ask for an end; ``onCancelled`` tells when it came, or ``onResult`` if the work was faster."""
        if self.isOpen() and self.cancelledAt is None:
            self.cancelledAt = time.monotonic()
            self._worker.cancel(self)

    # ------------------------------------------------------------------- called by the worker alone

    def tell(self, event: dict[str, Any]) -> None:
        """Pass on what is neither the beginning nor the end."""
        if self._onProgress is not None:
            _guarded(self._onProgress, event)

    def finish(self, answer: Answer) -> None:
        """End with an answer."""
        self.state = "done"
        _guarded(self._onResult, answer)

    def fail(self, error: WorkerError) -> None:
        """End with an error."""
        self.state = "failed"
        _guarded(self._onError, error)

    def stop(self) -> None:
        """End because it was no longer wanted."""
        self.state = "cancelled"
        if self._onCancelled is not None:
            _guarded(self._onCancelled)


class Worker:
    """One ``crgloco worker``.

    Args:
        name: For messages in the log.
        command: Program and arguments instead of ``crgloco worker``.

    Attributes:
        pid: Process id of the real interpreter, told by itself; ``None`` while there is none.
    """

    def __init__(self, name: str, *, command: Sequence[str] | None = None) -> None:
        self.name = name
        self.pid: int | None = None
        self._command = list(command) if command is not None else None
        self._watch = SharedTicker()  # over requests that were cancelled
        self._child: Child | None = None
        self._open: dict[int, Request] = {}
        self._number = 0
        self._log: deque[str] = deque(maxlen=KEPT_LOG_LINES)

    def ask(
        self,
        command: str,
        fields: Mapping[str, Any],
        *,
        onResult: OnResult,
        onError: Callable[[WorkerError], None],
        onProgress: OnProgress | None = None,
        onCancelled: Callable[[], None] | None = None,
    ) -> Request:
        """Ask for something; returns at once. Exactly one of the three ends is told, on the main thread.

        Args:
            command: See ``crgloco.worker``.
            fields: Plain values and paths.
            onResult: Hears the answer.
            onError: Hears a ``WorkerError``.
            onProgress: Hears events in between: ``{"event": "progress", "stage", "done", "total"}``,
                ``{"event": "message", "text"}`` and the like.
            onCancelled: Told after ``Request.cancel``.
        """
        self._number += 1
        line = json.dumps({"id": self._number, "command": command, **fields}, default=_plain)
        request = Request(
            self,
            self._number,
            line,
            onResult=onResult,
            onError=onError,
            onProgress=onProgress,
            onCancelled=onCancelled,
        )
        self._open[request.id] = request
        self._send(line)
        return request

    def cancel(self, request: Request) -> None:
        """See ``Request.cancel``; a process that does not listen within some seconds is ended."""
        self._send(json.dumps({"id": request.id, "command": "cancel"}))
        self._watch.start(WATCH_MS, self._breakOffOverdue)

    def wait(self, request: Request, timeout: float | None = None) -> bool:
        """Wait in a script until a request is over; return whether it is."""
        return waitUntil(lambda: not request.isOpen(), timeout)

    def isBusy(self) -> bool:
        """Whether a request is waiting or running."""
        return bool(self._open)

    def isRunning(self) -> bool:
        """Whether there is a process."""
        return self._child is not None

    def logLines(self) -> list[str]:
        """Return the last lines that the process wrote besides its answers."""
        return list(self._log)

    def closeInput(self) -> None:
        """Tell the process that nothing more will come: it cancels its work; before ``end``, for several."""
        if self._child is not None:
            self._child.closeInput()

    def end(self, patience: float = 4.0) -> None:
        """End the process, within 5 seconds whatever it does; open requests are told as cancelled.

        Args:
            patience: Seconds until it is killed.
        """
        child, self._child, self.pid = self._child, None, None
        self._watch.stop()
        if child is not None:
            child.end(patience)
        for request in self._taken():
            request.stop()

    # ------------------------------------------------------------------------------------ what is sent

    def _send(self, line: str) -> None:
        if self._child is None:
            self._log.clear()
            self._child = Child(
                engineCommand("worker") if self._command is None else self._command,
                onLine=self._hear,
                onLog=self._keep,
                onEnd=self._ended,
                cwd=moduleFolder(),
            )
        self._child.write(line)

    # ------------------------------------------------------------------------------------ what is heard

    def _hear(self, line: str) -> None:
        event = _event(line)
        if event is None:
            self._keep(line)
            return
        kind, number = event.pop("event"), event.pop("id", None)
        if kind == "ready":
            self.pid = event.get("pid")
        request = self._open.get(number) if isinstance(number, int) else None
        if request is None:
            self._keep(line)
        elif kind == "started":
            request.state = "running"
        elif kind in {"result", "error", "cancelled"}:
            del self._open[request.id]
            _end(request, kind, event)
        else:
            request.tell({"event": kind, **event})

    def _keep(self, line: str) -> None:
        self._log.append(line)
        log.debug("%s worker: %s", self.name, line)

    def _ended(self, code: int | None) -> None:
        """Nobody ended it, so it died: everybody who waits is told why, and the next request starts anew."""
        self._child, self.pid = None, None
        self._watch.stop()
        lines = self.logLines()
        message, details = whyEnded(code, lines), "\n".join(lines[-SHOWN_LOG_LINES:])
        log.warning("the %s worker ended with code %s", self.name, code)
        for request in self._taken():
            if request.cancelledAt is not None:
                request.stop()
            else:
                request.fail(WorkerError(message, "Died", details))

    def _breakOffOverdue(self) -> None:
        since = [request.cancelledAt for request in self._open.values() if request.cancelledAt is not None]
        if not since:
            self._watch.stop()
        elif time.monotonic() - min(since) > CANCEL_PATIENCE_S:
            self._breakOff()

    def _breakOff(self) -> None:
        """End a process that does not hear a cancel; what was waiting behind is asked for again."""
        self._watch.stop()
        child, self._child, self.pid = self._child, None, None
        if child is not None:
            child.kill()
            child.end(0)
        requests = self._taken()
        for request in requests:
            if request.cancelledAt is None:
                request.state = "waiting"
                self._open[request.id] = request
                self._send(request.line)
        for request in requests:
            if request.cancelledAt is not None:
                request.stop()

    def _taken(self) -> list[Request]:
        requests = list(self._open.values())
        self._open.clear()
        return requests


def _end(request: Request, kind: str, event: dict[str, Any]) -> None:
    if kind == "result":
        request.finish(event)
    elif kind == "cancelled":
        request.stop()
    else:
        text = str(event.get("text", "")) or _("The request failed without a reason.")
        request.fail(WorkerError(text, str(event.get("type", "Fault")), str(event.get("traceback", ""))))


def _event(line: str) -> dict[str, Any] | None:
    try:
        return parse_event(line)
    except RecursionError:  # brackets without end are no event either
        return None


def _guarded(callback: Callable[..., None], *values: Any) -> None:
    """A callback that fails must not keep others from hearing of their ends."""
    try:
        callback(*values)
    except Exception:
        log.exception("a callback of a worker's request failed")


def _plain(value: Any) -> Any:
    """What JSON does not know: paths, and numpy's numbers."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    msg = f"{value!r} cannot be sent to the worker."
    raise TypeError(msg)


def computing(settings: Any, device: str | None = None) -> dict[str, Any]:
    """Return where the engine shall compute, and the memory to stay below, as fields of a request."""
    memory = settings.get("memoryGb")
    return {
        "device": device or settings.get("device", "auto"),
        **({"memory_gb": float(memory)} if memory else {}),
    }
