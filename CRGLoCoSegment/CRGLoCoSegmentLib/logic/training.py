"""Fine-tuning in child processes: start, watch, stop, resume, also after Slicer was closed."""

import time
import uuid
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from crgloco import jobs, methods
from crgloco.atomic import PART, patiently, saving
from crgloco.errors import JobError, ModelError
from crgloco.file_names import as_one_file
from crgloco.job_file import Job
from CRGLoCoSegmentLib.background.ticker import SharedTicker, Ticker, waitUntil
from CRGLoCoSegmentLib.background.training import TrainingRun
from CRGLoCoSegmentLib.logic.cases_check import casesCheck
from CRGLoCoSegmentLib.logic.models import inside
from CRGLoCoSegmentLib.logic.task import OnFailed, OnFinished, OnProgress, Task
from CRGLoCoSegmentLib.logic.training_job import TrainingJob
from CRGLoCoSegmentLib.logic.training_request import (
    PRETRAINING,
    TrainingRequest,
    folderName,
    proposedTitle,
)

if TYPE_CHECKING:
    from CRGLoCoSegmentLib.background.worker import Worker
    from CRGLoCoSegmentLib.logic.listeners import Listeners
    from CRGLoCoSegmentLib.logic.models import Models
    from CRGLoCoSegmentLib.settings import Settings

LOOK_MS = 100
WORK_S = 0.02  # of the main thread, at most, at one time


class Training:
    """The trainings on this computer, of this and of earlier Slicer sessions.

    Example:
        Fine-tune the current model for 200 updates and use the result::

            job = logic.training.start(
                TrainingRequest("Abdomen 2", casesFolder=Path("/data/cases"), iterations=200,
                                startModel=logic.models.current)
            )
            logic.training.wait(job)
            print(job.state, job.reason, job.rows())
            logic.training.useNew(job)

    Args:
        settings: What belongs to this computer.
        listeners: Hear ``"training"`` when something new is known, ``"models"`` when a model was made.
        models: The models; new ones are made in ``models.folder``.
        checker: Worker that reads and checks cases.
        makeRun: Makes what watches over a job's process.
        ticker: When the main thread looks after the jobs.
    """

    def __init__(
        self,
        *,
        settings: "Settings",
        listeners: "Listeners",
        models: "Models",
        checker: "Worker",
        makeRun: Callable[[Path], Any] = TrainingRun,
        ticker: Ticker | None = None,
    ) -> None:
        self._settings, self._listeners, self._models, self._checker = settings, listeners, models, checker
        self._makeRun = makeRun
        self._ticker = ticker if ticker is not None else SharedTicker()
        self._jobs: dict[Path, TrainingJob] = {}
        self._watched: list[TrainingJob] = []
        self._states: dict[Path, str] = {}  # as last told
        self._methods: list[dict[str, Any]] = []

    # ----------------------------------------------------------------------------- before the training

    def methods(self) -> list[dict[str, Any]]:
        """Return all methods as ``crgloco methods --json`` does: the default one first, pre-training last."""
        if not self._methods:
            cards = sorted(map(methods.card, methods.available()), key=lambda card: card.kind == PRETRAINING)
            self._methods = [card.to_json() for card in cards]
        return self._methods

    def check(
        self,
        casesFolder: Path,
        unlabelledFolders: Sequence[Path] = (),
        startModel: Path | None = None,
        *,
        method: str = "",
        usesUnlabelled: bool = False,
        pretraining: bool = False,
        onProgress: OnProgress | None = None,
        onFinished: OnFinished | None = None,
        onFailed: OnFailed | None = None,
    ) -> Task:
        """Read every image and label in the background and say what is wrong; the value is a ``CasesCheck``.

        Args:
            casesFolder: The cases folder.
            unlabelledFolders: Further unlabelled scans.
            startModel: Must know the same labels and channels.
            method: Must be able to learn from the labels; not looked at if empty.
            usesUnlabelled: Whether the method learns from unlabelled scans.
            pretraining: Whether labels are not needed; the folder may be any folder of scans then.
            onProgress: Hears ``(text, done, total, secondsLeft)``.
            onFinished: Hears the ``CasesCheck``.
            onFailed: Hears a message in words and details.

        Raises:
            ModelError: The start model cannot be read.
        """
        start = None if startModel is None else self._models.card(startModel)
        task = Task(casesFolder.name, onProgress=onProgress, onFinished=onFinished, onFailed=onFailed)
        task.ask(
            self._checker,
            "check",
            {
                "folder": str(casesFolder.absolute()),
                "unlabelled": [str(folder.absolute()) for folder in unlabelledFolders],
                **({"labels": False} if pretraining else {}),
                **({"method": method} if method else {}),
            },
            lambda answer: task.finish(
                casesCheck(answer, start, usesUnlabelled=usesUnlabelled, pretraining=pretraining)
            ),
            onProgress=lambda event: _tell(task, event),
        )
        return task

    def proposedTitle(
        self, startModel: Path | None = None, today: date | None = None, *, pretraining: bool = False
    ) -> str:
        """Return a name for a new model that is not in use."""
        title = "" if startModel is None else self._models.card(startModel).title
        day = today or date.today()  # noqa: DTZ011  (the user's day)
        return proposedTitle(title, self._takenNames(), day, pretraining=pretraining)

    # ------------------------------------------------------------------------------------ the trainings

    def jobs(self) -> list[TrainingJob]:
        """Return all trainings, the newest first; those that still run are watched from now on."""
        self._jobs = {path: self._job(path) for path in _jobFolders(self._models.folder)}
        for job in self._jobs.values():
            job.notice()
            if job.state == "running":
                self.follow(job)
        return self.known()

    def known(self) -> list[TrainingJob]:
        """Return what ``jobs`` found, the newest first, without looking again."""
        return sorted(self._jobs.values(), key=lambda job: job.createdAt, reverse=True)

    def assertStartable(self, request: TrainingRequest) -> Job:
        """Return the job; say at once what keeps a training from starting, the cases apart.

        Raises:
            OptionError: An option cannot be used.
            ModelError: The name is in use, or the start model cannot be read.
            ResourceError: The models folder cannot be written.
        """
        name = folderName(request.title)
        if not name:
            msg = _("The new model needs a name with at least one letter or digit.")
            raise ModelError(msg)
        if as_one_file(name) in {as_one_file(taken) for taken in self._takenNames()}:
            msg = _("A model or a training with the name {title} exists already. Choose another name.")
            raise ModelError(msg.format(title=request.title.strip()))
        if request.startModel is not None:
            self._models.card(request.startModel)
        out = self._models.folder / name
        job = request.toJob(out)
        with saving(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            # Python's tempfile would look for a name for hours where Windows lets nobody write.
            trial = out.with_name(f"{uuid.uuid4().hex[:8]}{PART}")
            trial.mkdir()
            patiently(trial.rmdir)
        return job

    def start(self, request: TrainingRequest) -> TrainingJob:
        """Start a training; returns at once. Raises as ``assertStartable``."""
        job = self.assertStartable(request)
        folder = jobs.write_job(jobs.folder_beside(job.out), job)
        self._jobs.pop(folder.path, None)  # of a training whose folder somebody has deleted
        return self._run(self._job(folder.path), keepRunning=request.keepRunning)

    def resume(self, job: TrainingJob, *, keepRunning: bool = False) -> TrainingJob:
        """Go on with a training that was stopped or failed, from its last checkpoint.

        Raises:
            JobError: It runs or has finished, or its folder is damaged.
            ResourceError: Its folder cannot be written.
        """
        if not job.canResume:
            msg = _("{title} cannot be resumed: {reason}")
            raise JobError(msg.format(title=job.title, reason=job.whyNotResumable()))
        return self._run(job, keepRunning=keepRunning)

    def stop(self, job: TrainingJob) -> None:
        """Ask for an end at the next update; the checkpoint is kept. Asked twice, it ends at once."""
        job.stop()
        self._listeners.tell("training")

    def wait(self, job: TrainingJob, timeout: float | None = None) -> TrainingJob:
        """Wait in a script until a training ends, while Slicer lives on."""

        def isOver() -> bool:
            self.follow(job)
            return job.state != "running" and not job.look()

        waitUntil(isOver, timeout)
        self._look()  # so that whoever listens knows it before the script goes on
        return job

    # -------------------------------------------------------------------------------- after the training

    def useNew(self, job: TrainingJob) -> None:
        """Make the new model the current one.

        Raises:
            JobError: There is no new model, or it is a pre-trained start, which cannot segment.
        """
        if job.isPretraining:
            msg = _("{title} cannot segment: choose it as the start model of a fine-tuning.")
            raise JobError(msg.format(title=job.title))
        if not job.hasModel or job.job is None:
            msg = _("{title} has not made a model yet.")
            raise JobError(msg.format(title=job.title))
        self._models.current = job.job.out

    def keepOld(self, job: TrainingJob) -> None:
        """Make the start model the current one again, if there is one; the new one stays in the list."""
        if job.job is not None and job.job.start is not None:
            self._models.current = job.job.start

    def usesNew(self, job: TrainingJob) -> bool:
        """Whether the new model is the current one."""
        return job.job is not None and self._models.current == job.job.out

    # ----------------------------------------------------------------------------------------- the life

    def follow(self, job: TrainingJob) -> None:
        """Hear what is new of a training from now on, and its whole curve, bit by bit."""
        self._states.setdefault(job.path, job.state)
        if job not in self._watched:
            self._watched.append(job)
            self._ticker.start(LOOK_MS, self._look)

    def shutDown(self) -> None:
        """Slicer closes: trainings that may not run on keep their checkpoint and end by themselves."""
        self._ticker.stop()
        self._watched.clear()
        for job in self._jobs.values():
            job.end()

    def _run(self, job: TrainingJob, *, keepRunning: bool) -> TrainingJob:
        job.start(keepRunning=keepRunning)
        self._states[job.path] = job.state
        self.follow(job)
        self._listeners.tell("training")
        return job

    def _job(self, path: Path) -> TrainingJob:
        if path not in self._jobs:
            self._jobs[path] = TrainingJob(path, self._makeRun(path))
        return self._jobs[path]

    def _look(self) -> None:
        """Hear what is new of as many trainings as time allows; the others are next."""
        news, until = False, time.monotonic() + WORK_S
        for job in tuple(self._watched):
            news = self._lookAt(job) or news
            if time.monotonic() > until:
                break
        if not self._watched:
            self._ticker.stop()
        if news:
            self._listeners.tell("training")

    def _lookAt(self, job: TrainingJob) -> bool:
        """Hear what is new; one that has ended is left alone once all of it was heard."""
        heard = job.look()
        before, self._states[job.path] = self._states[job.path], job.state
        self._watched.remove(job)
        if heard or job.state == "running":
            self._watched.append(job)
        if before == "running" and job.state == "finished":
            self._models.changed()
        return heard or job.state != before

    def _takenNames(self) -> set[str]:
        return {path.name.removesuffix(jobs.JOB_ENDING) for path in inside(self._models.folder)}


def _jobFolders(parent: Path) -> list[Path]:
    folders = [jobs.JobFolder(path) for path in inside(parent)]
    return [folder.path for folder in folders if folder.is_ours and folder.job_file.is_file()]


def _tell(task: Task, event: dict[str, Any]) -> None:
    if event.get("event") == "progress":
        text = _("Reading the cases")
        task.progress(text, float(event.get("done") or 0), float(event.get("total") or 0))
