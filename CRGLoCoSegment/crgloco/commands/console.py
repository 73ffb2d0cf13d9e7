"""How a command speaks: bars on a terminal, plain lines elsewhere, JSON or event lines for programs.

What a person reads while the work goes on is written to stderr, results to stdout; so a pipe gets
results only. With ``--events`` stdout carries nothing but event lines, with ``--json`` one document.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, cast

from rich.console import Console as RichConsole
from rich.table import Table

from crgloco.commands.bars import Bars, LogFile, PlainLines, Unread
from crgloco.commands.result_file import Result, as_text, assert_may_be_written, write_result
from crgloco.errors import ResourceError
from crgloco.progress import EventLines, Reporter

STDOUT = "-"


@dataclass(frozen=True)
class Console:
    """Where the answers of one command go.

    Attributes:
        events: Event lines on stdout, for a program that listens.
        json: ``"-"`` for one JSON document on stdout, a path for a file; ``None`` for neither.
        debug: Tracebacks also for errors that are told in one line.
    """

    events: bool = False
    json: str | None = None
    debug: bool = False

    @property
    def for_programs(self) -> bool:
        """Whether stdout is read by a program and must hold no words."""
        return self.events or self.json == STDOUT

    def say(self, text: str) -> None:
        """Tell a person something; raises as ``result`` where it is the result."""
        print(text, file=self._for_people(), flush=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table to a person; columns of numbers are aligned to the right."""
        table = Table(title=title, title_justify="left", title_style="bold")
        for number, column in enumerate(columns):
            numbers = all(row[number][:1].isdigit() or row[number] in {"", "-"} for row in rows)
            table.add_column(column, justify="right" if numbers else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        # Without a terminal there is no width to keep to: a log must not fold its numbers.
        width = None if sys.stdout.isatty() else 200
        RichConsole(file=self._for_people(), width=width, highlight=False, markup=False).print(table)

    def assert_can_tell(self) -> None:
        """Refuse, before the work starts, a file that the result must not be written to.

        Raises:
            OptionError: It is a folder, its folder is missing, or it exists and is no earlier result.
        """
        if self.json not in (None, STDOUT):
            assert_may_be_written(Path(self.json))

    def result(self, values: Result) -> None:
        """Hand the result to programs: as a document with ``--json``, as the last event with ``--events``.

        Raises:
            OptionError: See ``assert_can_tell``.
            ResourceError: The file of ``--json``, or stdout, cannot be written.
        """
        if self.events:
            EventLines(_stdout()).event(
                "result", **(values if isinstance(values, dict) else {"items": values})
            )
        if self.json is None:
            return
        if self.json == STDOUT:
            print(as_text(values), end="", file=_stdout(), flush=True)
        else:
            write_result(Path(self.json), values)

    def error(self, error: Exception) -> None:
        """Tell what went wrong in one line."""
        text = " ".join(str(error).split())
        if self.events:
            EventLines(_unread(sys.stdout)).event("error", type=type(error).__name__, text=text)
        print(f"crgloco: {text}", file=_unread(sys.stderr), flush=True)

    def fault(self, error: Exception) -> None:
        """Tell a listening program of a fault of ours; a person sees the traceback."""
        if self.events:
            text = f"{type(error).__name__}: {error}"
            EventLines(_unread(sys.stdout)).event("error", type="Fault", text=text)

    def _for_people(self) -> TextIO:
        return _unread(sys.stderr) if self.for_programs else _stdout()

    @contextmanager
    def reporter(
        self,
        *,
        stop_file: Path | None = None,
        copy: Path | None = None,
        log: Path | None = None,
        patient: bool = False,
    ) -> Iterator[Reporter]:
        """Follow long work; the first Ctrl-C asks for a clean end, the second ends at once.

        Args:
            stop_file: Work stops once this file exists.
            copy: Collects the events, one JSON object per line.
            log: Collects the sentences, with the time.
            patient: Whether the second Ctrl-C is the first one again, passed on by the program that started
                this one; that program then ends us if it takes too long.
        """
        with ExitStack() as stack:
            silence = stack.enter_context(Path(os.devnull).open("w"))
            lines = EventLines(_stdout() if self.events else silence, stop_file=stop_file, copy=copy)
            listeners: list[Reporter] = [lines]
            if log is not None:
                listeners.append(LogFile(log))
            if not self.events:
                on_terminal = sys.stderr.isatty()
                listeners.append(stack.enter_context(Bars()) if on_terminal else PlainLines(sys.stderr))
            stack.enter_context(_stopped_by_signals(lines.stop_requested, patient=patient))
            yield Together(listeners)


class _Written:
    """stdout, where results go: a full disk is told in one line."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)

    def write(self, text: str) -> int:
        """Write, or say why not."""
        with _told():
            return sys.stdout.write(text)

    def flush(self) -> None:
        """Flush, or say why not."""
        with _told():
            sys.stdout.flush()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        let_go_of_stdout()
        if isinstance(error, BrokenPipeError):
            raise
        msg = f"The output cannot be written: {error.strerror or error}."
        raise ResourceError(msg) from error


def let_go_of_stdout() -> None:
    """Let vanish what stdout still holds: Python would complain of it at its end."""
    with suppress(OSError):  # in tests it is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stdout() -> TextIO:
    return cast(TextIO, _Written())


def _unread(stream: TextIO) -> TextIO:
    return cast(TextIO, Unread(stream))


@contextmanager
def silent_reporter(stop_file: Path) -> Iterator[Reporter]:
    """Follow the work of a process for which another one speaks; signals are heard as by a patient reporter.

    Args:
        stop_file: Work stops once this file exists.
    """
    with Path(os.devnull).open("w") as silence:
        lines = EventLines(silence, stop_file=stop_file)
        with _stopped_by_signals(lines.stop_requested, patient=True, silent=True):
            yield lines


class Together:
    """Several reporters as one."""

    def __init__(self, listeners: Sequence[Reporter]) -> None:
        self._listeners = tuple(listeners)

    def event(self, kind: str, **fields: Any) -> None:
        """Tell all of them."""
        for listener in self._listeners:
            listener.event(kind, **fields)

    def check(self) -> None:
        """Raise ``Cancelled`` if any of them wants an end."""
        for listener in self._listeners:
            listener.check()


Handler = Callable[[int, FrameType | None], Any] | int | None


@contextmanager
def _stopped_by_signals(
    stop: threading.Event, *, patient: bool = False, silent: bool = False
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        if stop.is_set():
            if patient:
                return
            raise KeyboardInterrupt
        stop.set()
        if silent:
            return
        hint = " Ctrl-C again ends at once." if number == signal.SIGINT and not patient else ""
        print(f"\nStopping at the next step.{hint}", file=sys.stderr, flush=True)

    before: dict[int, Handler] = {
        number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
