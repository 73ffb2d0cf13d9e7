"""Many cases, one request each: a failure stops nothing, others slip in between, finished ones stay."""

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from crgloco.errors import CasesError, CRGLoCoError
from CRGLoCoSegmentLib.logic.listeners import Listeners
from CRGLoCoSegmentLib.logic.task import Task

# After so many cases in a row that failed for one reason, the next would fail for it too.
HOPELESS = 3
# Progress comes many times a second; panels need not follow each step.
NOTICE_S = 0.2


@dataclass(frozen=True)
class BatchOutcome:
    """What became of the cases.

    Attributes:
        predicted: Cases that were predicted now.
        kept: Cases whose prediction by the same model was there already.
        failed: Case -> why it failed.
        left: Cases whose turn did not come.
        cancelled: Whether the user asked for an end.
    """

    predicted: tuple[str, ...]
    kept: tuple[str, ...]
    failed: dict[str, str]
    left: tuple[str, ...] = ()
    cancelled: bool = False

    def inWords(self) -> str:
        """Say it, with the reason of each failure."""
        text = _("{done} of {total} cases are predicted.").format(
            done=len(self.predicted) + len(self.kept),
            total=len(self.predicted) + len(self.kept) + len(self.failed) + len(self.left),
        )
        if self.cancelled:
            text += " " + _("It was cancelled; what is done stays.")
        elif self.left:
            text += " " + _("It stopped because {count} in a row failed.").format(count=HOPELESS)
        reasons = [_("{case}: {reason}").format(case=name, reason=why) for name, why in self.failed.items()]
        return "\n".join([text, *reasons])


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is.

    Attributes:
        text: What is done now.
        done: Cases, with a fraction for the one under way.
        total: Cases.
        secondsLeft: ``None`` while it cannot be told.
    """

    text: str
    done: float
    total: int
    secondsLeft: float | None = None


@dataclass
class _Run:
    """A batch under way."""

    task: Task
    ask: Callable[[str], dict[str, Any]]
    onCase: Callable[[str, dict[str, Any]], None]
    waiting: deque[str]
    total: int
    current: str = ""
    request: Any = None
    startedAt: float = 0.0
    seconds: list[float] = field(default_factory=list)
    predicted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    causes: list[str] = field(default_factory=list)

    @property
    def finished(self) -> int:
        """Number of cases that are done, one way or the other."""
        return len(self.predicted) + len(self.kept) + len(self.failed)

    def outcome(self) -> BatchOutcome:
        """What became of the cases so far."""
        return BatchOutcome(tuple(self.predicted), tuple(self.kept), dict(self.failed), tuple(self.waiting))


class Batch:
    """Predicts the cases of a folder into its ``predictions``; the queue is ours, not the worker's.

    So a volume that the user wants segmented meanwhile waits for one case and not for all.

    Args:
        compute: The worker that holds the model.
        listeners: Hear ``"batch"`` when it starts, goes on and ends.
        clock: Seconds that only grow.

    Attributes:
        progress: How far it is; ``None`` while nothing runs.
        lastOutcome: What became of the last batch.
    """

    def __init__(
        self, *, compute: Any, listeners: Listeners, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._compute = compute
        self._listeners = listeners
        self._clock = clock
        self._run: _Run | None = None
        self._toldAt: float | None = None
        self.progress: BatchProgress | None = None
        self.lastOutcome: BatchOutcome | None = None

    @property
    def isRunning(self) -> bool:
        """Whether cases are being predicted."""
        return self._run is not None

    def start(
        self,
        folder: Path,
        names: Iterable[str],
        how: Mapping[str, Any],
        *,
        onCase: Callable[[str, dict[str, Any]], None] = lambda _name, _record: None,
        onProgress: Any = None,
        onFinished: Any = None,
        onFailed: Any = None,
    ) -> Task:
        """Predict cases one after the other; what the folder keeps from the same model is not done again.

        Args:
            folder: The cases folder; results go to its ``predictions``.
            names: Cases in the order of the work.
            how: Fields of each request: ``model``, ``quality``, ``keep_islands``, and where to compute.
            onCase: Hears name and record of every case after its turn; a record has the ``model``'s hash, or
                the ``error`` of a case that failed.
            onProgress: Hears ``(text, done, total, secondsLeft)`` in cases.
            onFinished: Hears the ``BatchOutcome``, also where cases failed.
            onFailed: Hears of a cancelled batch.

        Raises:
            CasesError: A batch is under way already.
        """
        if self._run is not None:
            raise CasesError(_("Cases are being predicted already. Wait for the end, or cancel it."))
        fields = {**how, "folder": str(folder), "out": str(predictionsOf(folder))}
        heard = {"onProgress": onProgress, "onFinished": onFinished, "onFailed": onFailed}
        task = Task(_("Predicting all unlabelled cases"), **heard)
        waiting = deque(names)
        run = _Run(task, lambda name: {**fields, "case": name}, onCase, waiting, len(waiting))
        self._run, self.lastOutcome = run, None
        task.onCancel(lambda: self._stop(run))
        task.onEnd(lambda: self._ended(run))
        self._next(run)
        return task

    def cancel(self) -> None:
        """End it now; finished cases stay."""
        if self._run is not None:
            self._run.task.cancel()

    def _next(self, run: _Run) -> None:
        """Ask for the next case, or end."""
        if not run.task.isRunning():
            return
        if not run.waiting or _isHopeless(run.causes):
            run.task.finish(run.outcome())
            return
        name = run.current = run.waiting.popleft()
        run.startedAt = self._clock()
        self._toldAt = None
        self._tell(run, _("waits for its turn"))
        run.request = self._compute.ask(
            "predict",
            run.ask(name),
            onResult=lambda answer: self._predicted(run, name, answer),
            onError=lambda error: self._failed(run, name, error),
            onProgress=lambda event: self._heard(run, name, event),
            onCancelled=run.task.cancel,
        )

    def _predicted(self, run: _Run, name: str, answer: dict[str, Any]) -> None:
        record = next((entry for entry in answer.get("cases", ()) if entry.get("case") == name), {})
        if not run.task.isRunning() or run.current != name:
            return
        if "error" in record:
            self._failed(run, name, CRGLoCoError(record["error"]))
            return
        (run.kept if record.get("kept") else run.predicted).append(name)
        if not record.get("kept"):
            run.seconds.append(self._clock() - run.startedAt)
        run.causes.clear()
        run.onCase(name, {**record, "model": answer.get("model", "")})
        self._next(run)

    def _failed(self, run: _Run, name: str, error: Any) -> None:
        if not run.task.isRunning() or run.current != name:
            return
        run.failed[name] = str(error)
        run.causes.append(_cause(error, name))
        run.onCase(name, {"error": str(error)})
        self._next(run)

    def _heard(self, run: _Run, name: str, event: dict[str, Any]) -> None:
        if run.current == name and event.get("stage"):
            self._tell(run, str(event["stage"]))

    def _tell(self, run: _Run, stage: str) -> None:
        text = _("Case {number} of {total}, {case}: {stage}").format(
            number=run.finished + 1, total=run.total, case=run.current, stage=stage
        )
        elapsed = self._clock() - run.startedAt
        usual = sum(run.seconds) / len(run.seconds) if run.seconds else None
        part = min(elapsed / usual, 0.95) if usual else 0.0
        left = None if usual is None else usual * (len(run.waiting) + 1 - part)
        self.progress = BatchProgress(text, run.finished + part, run.total, left)
        run.task.progress(text, run.finished + part, run.total, secondsLeft=left, paced=False)
        now = self._clock()
        if self._toldAt is None or now - self._toldAt >= NOTICE_S:
            self._toldAt = now
            self._listeners.tell("batch")

    def _stop(self, run: _Run) -> None:
        run.waiting.appendleft(run.current)
        if run.request is not None:
            run.request.cancel()

    def _ended(self, run: _Run) -> None:
        self._run, self.progress = None, None
        self.lastOutcome = replace(run.outcome(), cancelled=run.task.state == "cancelled")
        self._listeners.tell("batch")


def predictionsOf(folder: Path) -> Path:
    """Return where a cases folder keeps its predictions."""
    return folder / "predictions"


def _cause(error: Any, name: str) -> str:
    """Return why a case failed, without the case."""
    if getattr(error, "kind", "") == "Died":
        return "Died"
    return re.sub(rf"(?<!\w){re.escape(name)}(?![a-zA-Z0-9])", "", str(error))


def _isHopeless(causes: list[str]) -> bool:
    return len(causes) >= HOPELESS and len(set(causes[-HOPELESS:])) == 1
