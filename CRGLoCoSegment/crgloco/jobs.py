"""A training job as a folder: ``job.json`` in; events, log, checkpoint and, at the end, a result out.

What a job is doing is read from its files and from the process that claimed it, so that it can be
asked by anyone, also after Slicer was closed: a file named ``stop`` asks for an end at the next step, and
the same job started again resumes. A mark says that we made the folder: only there are files replaced and
removed, which in another folder could be the user's own.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from crgloco import claims
from crgloco.atomic import patiently, saving, settle, write_bytes
from crgloco.errors import JobError
from crgloco.file_names import is_litter
from crgloco.folder_lock import locked
from crgloco.job_file import JOB_FILE, Job, read_job

JobState = Literal["new", "running", "stopped", "finished"]
JOB_ENDING = ".job"
_MARK = "CRGLoCoSegment made this folder for a training, which replaces and removes files in it.\n"
_NAMED = 3
_CLOCKS_DIFFER_S = 2.0
_STARTING_S = 60.0  # from job.json to the claim of its process, which a busy computer takes long to start


@dataclass(frozen=True)
class JobFolder:
    """The files of one job, by name."""

    path: Path

    @property
    def job_file(self) -> Path:
        """The job itself."""
        return self.path / JOB_FILE

    @property
    def mark_file(self) -> Path:
        """Says that ``write_job`` made the folder."""
        return self.path / ".crgloco-job"

    @property
    def is_ours(self) -> bool:
        """Whether the folder is one of a training; before there was a mark, its name alone said so."""
        return self.mark_file.is_file() or self.path.name.endswith(JOB_ENDING)

    @property
    def may_be_ours(self) -> bool:
        """Whether a training may write here: it made the folder, or nothing but a job lies in it."""
        # The mark is looked for after the files: another process of a team may make both just now.
        return not _foreign(self) or self.is_ours

    @property
    def events_file(self) -> Path:
        """One JSON event per line."""
        return self.path / "events.jsonl"

    @property
    def log_file(self) -> Path:
        """What the process said beside its events."""
        return self.path / "log.txt"

    @property
    def checkpoint_file(self) -> Path:
        """What is needed to resume."""
        return self.path / "checkpoint"

    @property
    def rounds_folder(self) -> Path:
        """Pseudo-labels of methods that learn in rounds."""
        return self.path / "rounds"

    @property
    def taught_file(self) -> Path:
        """The prepared cases that the run began with."""
        return self.path / "taught.json"

    @property
    def split_file(self) -> Path:
        """Keeps the split of a cases folder that can only be read."""
        return self.path / "split.json"

    @property
    def stop_file(self) -> Path:
        """Asks for an end as long as it exists."""
        return self.path / "stop"

    @property
    def process_file(self) -> Path:
        """The process that works on the job."""
        return self.path / "process.json"

    @property
    def result_file(self) -> Path:
        """Written once, when the job has reached its end."""
        return self.path / "result.json"

    @property
    def has_begun(self) -> bool:
        """Whether there is anything to go on from, or a result."""
        kept = (self.checkpoint_file, self.rounds_folder, self.result_file)
        return any(path.exists() for path in kept)

    @property
    def is_starting(self) -> bool:
        """Whether it was written so lately that its process may still be about to claim it."""
        if self.process_file.exists() or self.events_file.exists():
            return False
        return abs(time.time() - self.job_file.stat().st_mtime) < _STARTING_S

    @property
    def state(self) -> JobState:
        """What the job is doing, from its files and the process that claimed it."""
        if self.holder() is not None:
            return "running"
        if self.result_file.is_file():
            return "finished"
        if any(file.exists() for file in (self.checkpoint_file, self.events_file, self.process_file)):
            return "stopped"
        return "new"

    def process_id(self) -> int | None:
        """Return the id of the live process on this computer that works on the job."""
        holder = self.holder()
        return holder.process if holder is not None and holder.is_here else None

    def holder(self) -> claims.Holder | None:
        """Return the live process that works on the job; one on another computer counts as alive."""
        return claims.live_holder(_read_mapping(self.process_file))

    def assert_free(self) -> None:
        """Refuse a job that a live process works on.

        Raises:
            JobError: With the process, its computer, and what to do.
        """
        holder = self.holder()
        if holder is None:
            return
        msg = f"{self.path} is being worked on by process {holder.process}"
        if holder.is_here:
            msg += " on this computer. Stop it first."
        else:
            msg += (
                f" on the computer {holder.host}. Stop it there first. If that computer is gone, or trains "
                f"no more, delete {self.process_file} and start again."
            )
        raise JobError(msg)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the job for this process; a stop that was asked for before it started is forgotten.

        Who holds it already may ask again; the first one lets it go.

        Raises:
            JobError: Another live process works on it.
            ResourceError: The folder cannot be written, or psutil is missing.
        """
        if self.process_id() == os.getpid():
            yield
            return
        claim = self._claim()
        try:
            yield
        finally:
            if _read_mapping(self.process_file) == claim:  # else it was deleted, and another may hold the job
                patiently(lambda: self.process_file.unlink(missing_ok=True))

    def _claim(self) -> dict[str, Any]:
        """Claim the job; of several processes that try at the same time, one succeeds."""
        claim = claims.claim_of_this_process()
        with locked(self.path):
            self.assert_free()
            self.forget_old_stop()
            for written in (self.mark_file, self.job_file):
                if written.is_file():
                    settle(written)
            write_bytes(self.process_file, json.dumps(claim).encode())
        return claim

    def forget_old_stop(self) -> None:
        """Take back a wish for an end from before this process was started.

        One that came while it was still importing torch is meant for it, and stays.

        Raises:
            ResourceError: The folder cannot be written, or psutil is missing.
        """
        created = claims.started()
        with suppress(FileNotFoundError):  # another process of a team was faster
            wished = self.stop_file.stat().st_mtime
            # One from the future is of a clock that was set back, or a file server's: of unknown age.
            if wished < created or wished > time.time() + _CLOCKS_DIFFER_S:
                self.clear_stop()

    def request_stop(self) -> None:
        """Ask for an end at the next step.

        Raises:
            ResourceError: The folder cannot be written.
        """
        with saving(self.stop_file):
            self.stop_file.touch()

    def clear_stop(self) -> None:
        """Take the wish for an end back.

        Raises:
            ResourceError: The folder cannot be written.
        """
        with saving(self.stop_file):
            self.stop_file.unlink(missing_ok=True)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Mark the job as finished.

        Args:
            result: Plain values, such as the new model's folder and its scores; finite numbers only.

        Raises:
            ResourceError: The folder cannot be written.
        """
        write_bytes(self.result_file, _encode(result))

    def result(self) -> dict[str, Any]:
        """Return what ``finish`` was told; empty while the job is not finished."""
        return _read_mapping(self.result_file)


def folder_beside(out: Path) -> Path:
    """Return where a job is kept if nobody says otherwise.

    Args:
        out: The new model's folder.
    """
    return out.with_name(out.name + JOB_ENDING)


def write_job(folder: Path, job: Job) -> JobFolder:
    """Make a job's folder; the very same job may be written again, to resume it.

    A job that was refused, failed or ended before there was anything to go on from makes room for another.
    Slicer's window calls this, so it does not wait for the disk; the process that claims the job does.

    Raises:
        JobError: The folder holds another job that has begun, is worked on or just starting, or files that
            are none of a job's.
        ResourceError: The folder cannot be written.
    """
    target = JobFolder(folder)
    job = job.absolute()
    known = target.job_file.exists()
    if known and (former := read_job(folder)) != job:
        _make_room(target, _differences(former, job))
        known = False
    _assert_nothing_foreign(target)
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not target.mark_file.is_file():
        write_bytes(target.mark_file, _MARK.encode(), wait=False)
    if not known:
        write_bytes(target.job_file, _encode(job.to_json()), wait=False)
    return target


def _differences(former: Job, job: Job) -> str:
    """Name the fields in which two jobs differ, with both values."""
    there, here = former.to_json(), job.to_json()
    values = ((name, json.dumps(there[name]), json.dumps(here[name])) for name in there)
    return ", ".join(f"{name} {then} there, {now} here" for name, then, now in values if then != now)


def _make_room(target: JobFolder, differences: str) -> None:
    """Remove a job that never began; what it left must not be taken for words of the next one."""
    _assert_may_be_replaced(target, differences)
    said = (target.events_file, target.log_file)
    left = (target.split_file, target.taught_file, target.process_file, target.job_file)
    with locked(target.path):
        _assert_may_be_replaced(target, differences)
        with saving(target.path):
            for file in (*said, *left):
                file.unlink(missing_ok=True)


def _assert_may_be_replaced(target: JobFolder, differences: str) -> None:
    free = target.mark_file.is_file() and not target.has_begun and target.holder() is None
    if free and not target.is_starting:
        return
    starting = ", whose process is still starting" if free else ""
    msg = (
        f"{target.path} holds another job already{starting} ({differences}). Go on with that one by its own "
        "options, delete the folder, or choose another one."
    )
    raise JobError(msg)


def _assert_nothing_foreign(target: JobFolder) -> None:
    """Refuse to make a job's folder of one that is in use for something else."""
    foreign = _foreign(target)
    # The mark is looked for after the files: another process of a team may make both just now.
    if not foreign or target.mark_file.is_file() or _is_of_an_earlier_version(target):
        return
    more = len(foreign) - _NAMED
    names = ", ".join(foreign[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    msg = (
        f"{target.path} is no folder of a training, but holds {names}; the training could replace or remove "
        "files there. Choose another folder for the job, or move them away."
    )
    raise JobError(msg)


def _foreign(target: JobFolder) -> list[str]:
    """Name what lies beside ``job.json``; of what systems leave behind, we touch nothing."""
    if not target.path.is_dir():
        return []
    with saving(target.path):
        names = sorted(path.name for path in target.path.iterdir())
    return [name for name in names if name != target.job_file.name and not is_litter(name)]


def _is_of_an_earlier_version(target: JobFolder) -> bool:
    return target.is_ours and target.job_file.is_file() and target.events_file.is_file()


def _encode(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()


def _read_mapping(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
