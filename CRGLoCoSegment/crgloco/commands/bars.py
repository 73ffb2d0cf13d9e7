"""Progress for people: bars with the time left on a terminal, plain lines elsewhere, a log file."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

# A plain log gets a line of progress at most this often, seconds.
LINE_EVERY = 10.0


class Unread:
    """A stream that may be lost: its terminal is closed, nobody reads the pipe, a log's disk is full.

    Hours of work must not end because their progress cannot be told.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with suppress(OSError):
            self._stream.flush()


class Bars:
    """A reporter with one bar per stage, on stderr; a stage that is done makes room for the next."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f}/{task.total:.0f}", markup=False),
            _TimeLeft(),
            TextColumn("{task.fields[remark]}", markup=False),
            console=Console(file=cast(TextIO, Unread(sys.stderr)), highlight=False, markup=False),
            expand=True,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def event(self, kind: str, **fields: Any) -> None:
        """Move a bar, or print the sentence above the bars."""
        if kind == "progress" and fields.get("total"):
            self._move(str(fields.get("stage", "")), fields)
        elif text := in_words(kind, fields):
            self._progress.console.print(text, markup=False, highlight=False)

    def check(self) -> None:
        """Never stop."""

    def _move(self, stage: str, fields: dict[str, Any]) -> None:
        if stage not in self._tasks:
            for task in self._tasks.values():
                self._progress.remove_task(task)
            self._tasks = {stage: self._progress.add_task(stage, remark="", seconds_left=None)}
        self._progress.update(
            self._tasks[stage],
            total=float(fields["total"]),
            completed=float(fields["done"]),
            remark=_losses(fields),
            seconds_left=fields.get("seconds_left"),
        )


class _TimeLeft(ProgressColumn):
    """What the work itself says of the time left, else what the speed so far suggests."""

    def render(self, task: Task) -> Text:
        """Return the time left in words."""
        left = task.fields.get("seconds_left")
        left = task.time_remaining if left is None else left
        return Text("" if left is None or task.finished else f"{duration(left)} left", style="cyan")


class PlainLines:
    """A reporter that writes lines: sentences at once, progress every ten seconds and at the end of a stage.

    Args:
        stream: Where the lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = Unread(stream)
        self._stage = ""
        self._began = 0.0
        self._told = 0.0

    def event(self, kind: str, **fields: Any) -> None:
        """Write a line, or nothing."""
        if kind == "progress" and fields.get("total"):
            self._progress(str(fields.get("stage", "")), fields)
        elif text := in_words(kind, fields):
            self._write(text)

    def check(self) -> None:
        """Never stop."""

    def _progress(self, stage: str, fields: dict[str, Any]) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began, self._told = stage, now, now
        done, total = float(fields["done"]), float(fields["total"])
        if done < total and now - self._told < LINE_EVERY:
            return
        self._told = now
        left = fields.get("seconds_left")
        if left is None and done > 0:
            left = (now - self._began) / done * (total - done)
        words = [f"{stage}: {done:.0f} of {total:.0f}"]
        words += [f"{duration(left)} left"] if left is not None and done < total else []
        words += [losses] if (losses := _losses(fields)) else []
        self._write(", ".join(words))

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class LogFile:
    """A reporter that adds sentences with date and time to a file.

    Args:
        path: The file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def event(self, kind: str, **fields: Any) -> None:
        """Add a line for what is not progress; of a failure also where in the program it arose."""
        ended = kind in {"stopped", "failed"}
        if text := str(fields.get("traceback") or fields["text"]) if ended else in_words(kind, fields):
            with suppress(OSError), self._open() as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def check(self) -> None:
        """Never stop."""

    def _open(self) -> TextIO:
        # a file name need not be text
        return self._path.open("a", encoding="utf-8", errors="backslashreplace")


def in_words(kind: str, fields: dict[str, Any]) -> str:
    """Return an event as a sentence; empty for what only programs want to know."""
    if kind == "message":
        return str(fields.get("text", ""))
    if kind == "validation":
        dice = fields.get("mean_dice", fields.get("dice"))
        value = f"{dice:.3f}" if isinstance(dice, float) else "not known"
        return f"Validation after {fields.get('step', 0)} updates: mean Dice {value}."
    return ""


def millilitres(volume: float) -> str:
    """Return a volume in ml with two decimals; one of a small thing with two figures that count."""
    return f"{volume:.2f}" if volume == 0 or volume >= 0.01 else f"{volume:.2g}"


def duration(seconds: float) -> str:
    """Return a time in the words of a clock: ``"42 s"``, ``"3 min 05 s"``, ``"2 h 10 min"``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _losses(fields: dict[str, Any]) -> str:
    total = (fields.get("losses") or {}).get("total")
    return f"loss {total:.3f}" if isinstance(total, float) else ""
