"""A training as Slicer sees it: a child process to start and stop, and a job folder that tells everything.

What the job does is read from its files, so that a training that was started before Slicer was closed is
found again just as it is.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from slicer.i18n import tr as _

from crgloco.claims import Holder
from crgloco.jobs import JobFolder
from crgloco.progress import parse_event
from CRGLoCoSegmentLib.background.child import Child
from CRGLoCoSegmentLib.background.endings import whyEnded
from CRGLoCoSegmentLib.background.process_tree import killByNumber
from CRGLoCoSegmentLib.background.program import engineCommand, moduleFolder

State = Literal["new", "running", "stopped", "finished", "failed"]

OUTPUT = "output.txt"
READ_AT_ONCE = 2**18  # bytes of events of one poll
TAIL = 2**16  # bytes
SHOWN_LINES = 20


class TrainingRun:
    """One job folder: start, watch, stop, resume.

    Args:
        folder: With the ``job.json`` that ``crgloco.jobs.write_job`` wrote.
        command: Program and arguments instead of ``crgloco train``.

    Attributes:
        files: The job's files.
        state: ``"new"``, ``"running"``, ``"stopped"`` (can be resumed), ``"finished"`` or ``"failed"``;
            as of the last ``poll``, ``start`` or ``attach``.
        reason: Why it failed or stopped, or where it runs if not here, in the user's words; else empty.
        details: Traceback or last lines of output of a failure.
    """

    def __init__(self, folder: Path, *, command: Sequence[str] | None = None) -> None:
        self.files = JobFolder(folder)
        self.state: State = "new"
        self.reason = ""
        self.details = ""
        self._command = list(command) if command is not None else None
        self._child: Child | None = None
        self._ending: tuple[int | None] | None = None  # exit code of a process of ours that has ended
        self._killed = False  # at the user's wish, which is no failure
        self._sizeBefore = 0  # of the events when it started
        self._log: list[str] = []
        self._offset = 0
        self._keepRunning = False
        self.attach()

    def start(self, *, keepRunning: bool = False) -> None:
        """Start or resume the job; returns at once.

        Args:
            keepRunning: Train on when Slicer is closed; else the training then keeps its checkpoint and
                ends.

        Raises:
            ResourceError: The job's folder cannot be written.
        """
        if self.state == "running":
            return
        self.files.clear_stop()
        self._ending, self._log, self._keepRunning, self._killed = None, [], keepRunning, False
        self._sizeBefore = _size(self.files.events_file)
        self._child = Child(
            self._words(keepRunning=keepRunning),
            onLine=self._log.append,
            onLog=self._log.append,
            onEnd=self._ended,
            cwd=moduleFolder(),
            stdin=not keepRunning,
            output=self.files.path / OUTPUT,
        )
        self._look()

    def attach(self) -> bool:
        """Look at a job that somebody else started; return whether it runs. ``poll`` gives all its events."""
        self._offset = 0
        self._look()
        return self.state == "running"

    def stop(self) -> None:
        """Ask for an end at the next step; the checkpoint stays.

        Raises:
            ResourceError: The job's folder cannot be written; ``kill`` still works.
        """
        self.files.request_stop()

    def kill(self) -> None:
        """End it at once; what came after the last checkpoint is lost.

        Raises:
            JobError: It runs on another computer.
        """
        if self._child is not None:
            self._killed = True
            self._child.kill()
            return
        number = self.files.process_id()
        if number is not None:
            killByNumber(number)
        else:
            self.files.assert_free()

    def end(self) -> None:
        """Slicer closes: unless it may run on, the training keeps its checkpoint and ends. Never waits."""
        if self._child is not None and not self._keepRunning:
            self._child.closeInput()

    def poll(self) -> list[dict[str, Any]]:
        """Return the events since the last poll, and bring ``state`` and ``reason`` up to date."""
        if self._child is not None:
            self._child.poll()
        events = self._newEvents()
        self._look()
        return events

    def output(self) -> list[str]:
        """Return the last lines that the process wrote beside its events."""
        return [*self._log, *_tail(self.files.path / OUTPUT)][-SHOWN_LINES:]

    # ------------------------------------------------------------------------------- what the files say

    def _words(self, *, keepRunning: bool) -> list[str]:
        if self._command is not None:
            return self._command
        listening = [] if keepRunning else ["--stop-on-eof"]
        return engineCommand("train", str(self.files.job_file), *listening)

    def _ended(self, code: int | None) -> None:
        self._child, self._ending = None, (code,)

    def _newEvents(self) -> list[dict[str, Any]]:
        """Whole lines only, and no more than a bit at once: a long curve comes in several polls."""
        try:
            with self.files.events_file.open("rb") as file:
                file.seek(self._offset)
                content = file.read(READ_AT_ONCE)
                if len(content) == READ_AT_ONCE:
                    content += file.readline()  # to the end of its line, however long that is
        except OSError:
            return []
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        return [event for line in complete.splitlines() if (event := _event(line)) is not None]

    def _look(self) -> None:
        self.state, self.reason, self.details = self._seen()

    def _seen(self) -> tuple[State, str, str]:
        holder = self.files.holder()
        if self._child is not None or holder is not None:
            return "running", self._whereElse(holder), ""
        if self.files.result_file.is_file():
            return "finished", "", ""
        last = self._lastEvent()
        if last.get("event") == "failed":
            return "failed", str(last.get("text", "")), str(last.get("traceback") or "")
        if last.get("event") != "stopped" and self._ending is not None and not self._killed:
            lines = self.output()
            return "failed", whyEnded(self._ending[0], lines), "\n".join(lines)
        return self._unfinished(stopped=last.get("event") == "stopped")

    def _whereElse(self, holder: Holder | None) -> str:
        if holder is None or holder.is_here:
            return ""
        text = _(
            "It runs on the computer {host} (process {number}). If that computer is gone, or trains no more, "
            "delete {file}."
        )
        return text.format(host=holder.host, number=holder.process, file=self.files.process_file)

    def _unfinished(self, *, stopped: bool) -> tuple[State, str, str]:
        if self.files.state == "new":
            return "new", "", ""
        if stopped:
            return "stopped", _("The training was stopped. Resume goes on from there."), ""
        return "stopped", _("The training was interrupted. Resume goes on from its last checkpoint."), ""

    def _lastEvent(self) -> dict[str, Any]:
        """The last event; of a run of ours only what it said itself, not what one before it said."""
        if self._ending is not None and _size(self.files.events_file) <= self._sizeBefore:
            return {}
        return next(newestEvents(self.files), {})


def newestEvents(files: JobFolder) -> Iterator[dict[str, Any]]:
    """Yield the events of a job from the newest one back, as many as its file's last bytes hold."""
    for line in reversed(_tail(files.events_file)):
        if event := _event(line.encode()):
            yield event


def _event(line: bytes) -> dict[str, Any] | None:
    return parse_event("@" + line.decode("utf-8", errors="replace"))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _tail(file: Path) -> list[str]:
    try:
        with file.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - TAIL))
            return stream.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []
