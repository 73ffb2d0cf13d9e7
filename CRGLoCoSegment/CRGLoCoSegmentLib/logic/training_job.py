"""One training as a user sees it: its name, how far it is, how it ended, and old against new model."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from crgloco import methods
from crgloco.errors import JobError
from crgloco.job_file import Job, read_job
from crgloco.jobs import JOB_ENDING, JobFolder
from CRGLoCoSegmentLib.background.training import newestEvents
from CRGLoCoSegmentLib.logic.training_record import ComparisonRow, TrainingRecord, comparisonRows
from CRGLoCoSegmentLib.logic.training_request import PRETRAINING


class TrainingJob:
    """A job folder, its process if it runs, and its story.

    Args:
        path: The job's folder.
        run: Watches over its process; see ``CRGLoCoSegmentLib.background.training.TrainingRun``.

    Attributes:
        path: The job's folder.
        job: What was asked for; ``None`` if ``job.json`` is damaged.
        createdAt: When it was asked for, in seconds since 1970.
        record: What its events have told so far.
        isStopping: Whether it was asked to end and has not yet.
    """

    def __init__(self, path: Path, run: Any) -> None:
        self.path = path
        self.job: Job | None = None
        self.createdAt = _modified(JobFolder(path).job_file)
        self.record = TrainingRecord()
        self.isStopping = False
        self._run = run
        self._damage = ""
        self._lastUpdates = _lastUpdates(JobFolder(path))
        try:
            self.job = read_job(path)
        except JobError as error:
            self._damage = str(error)

    @property
    def title(self) -> str:
        """Name of the new model."""
        named = self.job.title or self.job.out.name if self.job is not None else ""
        return named or self.path.name.removesuffix(JOB_ENDING)

    @property
    def state(self) -> str:
        """``"new"``, ``"running"``, ``"stopped"``, ``"finished"`` or ``"failed"``."""
        return str(self._run.state)

    @property
    def reason(self) -> str:
        """Why it stopped or failed, or on which other computer it runs, in words; empty otherwise."""
        return self._damage or str(self._run.reason)

    @property
    def runsHere(self) -> bool:
        """Whether it runs, and on this computer."""
        return self.state == "running" and not self._run.reason

    @property
    def details(self) -> str:
        """Traceback or last words of a failure; empty otherwise."""
        return str(self._run.details)

    @property
    def updates(self) -> tuple[int, int]:
        """Updates done and updates of the whole training; zeros before the first."""
        record = self.record
        return (record.updates, record.updatesTotal) if record.updatesTotal else self._lastUpdates

    @property
    def hasModel(self) -> bool:
        """Whether the new model is there."""
        return self.job is not None and self.state == "finished" and self.job.out.is_dir()

    @cached_property
    def isPretraining(self) -> bool:
        """Whether its model is a start for other trainings, and cannot segment."""
        if self.job is None or self.job.method not in methods.available():
            return False
        return methods.card(self.job.method).kind == PRETRAINING

    @property
    def canResume(self) -> bool:
        """Whether ``Training.resume`` would start it."""
        return not self.whyNotResumable()

    def whyNotResumable(self) -> str:
        """Say why it cannot be resumed; empty if it can."""
        if self.job is None:
            return self._damage
        if self.state == "running":
            return self.reason or _("it is running.")
        if self.state == "finished" or self.job.out.exists():
            return _("it has finished.")
        return ""

    def rows(self) -> list[ComparisonRow]:
        """Return old and new model on the validation cases, the mean first; empty if it was not measured."""
        return comparisonRows(self._comparison())

    def madeFromStart(self) -> list[str]:
        """Name the validation cases whose labels began as the start model's answers, which favours it."""
        return list(self._comparison().get("made_from_start") or [])

    def _comparison(self) -> Mapping[str, Any]:
        return self.record.comparison or JobFolder(self.path).result().get("metrics") or {}

    def notice(self) -> None:
        """See whether somebody else, another Slicer for one, has started it meanwhile."""
        if self.state != "running" and JobFolder(self.path).state == "running":
            self._run.attach()
            self.record = TrainingRecord()  # its events come again from the first one

    def look(self) -> bool:
        """Hear what is new, a bit at a time; return whether there was anything."""
        events = self._run.poll()
        for event in events:
            self.record.hear(event)
        if self.state != "running":
            self.isStopping = False
        return bool(events)

    def start(self, *, keepRunning: bool) -> None:
        """Start or resume the process."""
        self.isStopping = False
        self._run.start(keepRunning=keepRunning)

    def stop(self) -> None:
        """Ask for an end at the next update; asked twice, it ends at once."""
        if self.state != "running":
            return
        if self.isStopping:
            self._run.kill()
        else:
            self._run.stop()
            self.isStopping = True

    def end(self) -> None:
        """Slicer closes."""
        self._run.end()

    def output(self) -> list[str]:
        """Return the last lines that the process wrote beside its events."""
        return list(self._run.output())


def _lastUpdates(files: JobFolder) -> tuple[int, int]:
    """Say how far a training came, from the end of its events: the whole story is read when it is shown."""
    told = next((event for event in newestEvents(files) if event.get("stage") == "training"), {})
    return int(told.get("done") or 0), int(told.get("total") or 0)


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
