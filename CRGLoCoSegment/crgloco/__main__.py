"""The command line ``crgloco``.

Exit codes: 0 done, 1 an error that is told in one line, 2 wrong usage, 3 some cases of a batch failed,
130 cancelled.
"""

from __future__ import annotations

import argparse
import io
import locale
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from crgloco import __version__, gpu_faults
from crgloco.commands import cases, demo, evaluate, methods, models, predict, rank, train
from crgloco.commands.arguments import CANCELLED, FAILED
from crgloco.commands.console import STDOUT, Console, let_go_of_stdout
from crgloco.errors import Cancelled, CRGLoCoError, ResourceError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after ``crgloco``; those of the process without.

    Returns:
        The exit code.
    """
    _speak_into_the_void()
    _never_stumble_over_letters()
    _open_any_name()
    _share_the_cores()
    try:
        return _run(parser().parse_args(argv))
    except SystemExit as end:  # argparse ends so, after help or wrong usage
        return int(end.code or 0)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "worker":
        from crgloco import worker

        return worker.main()
    if arguments.events and arguments.json == STDOUT:
        arguments.usage(
            "--events and --json both write to stdout; give the JSON a file, or choose one of them"
        )
    console = Console(arguments.events, arguments.json, arguments.debug)
    try:
        console.assert_can_tell()
        return int(arguments.run(arguments, console))
    except (CRGLoCoError, KeyboardInterrupt, MemoryError) as error:
        if arguments.debug:
            traceback.print_exc()
        told = _in_our_words(error)
        console.error(told)
        return CANCELLED if isinstance(told, Cancelled) else FAILED
    except BrokenPipeError:
        # Whoever read our output has left (`crgloco ... | head`); Python must not complain at its end.
        let_go_of_stdout()
        return FAILED
    except Exception as error:
        fault = gpu_faults.in_words(error)
        if fault is None:
            console.fault(error)
            raise
        if arguments.debug:
            traceback.print_exc()
        console.error(fault)
        return FAILED


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; imports neither torch nor MONAI."""
    top = argparse.ArgumentParser(
        prog="crgloco",
        description="Dual-resolution segmentation of medical volumes, and training on few labelled and many "
        "unlabelled scans. For research, not for clinical decisions.",
    )
    top.add_argument("--version", action="version", version=f"crgloco {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (demo, train, predict, evaluate, rank, methods, models, cases):
        module.add_to(commands)
    help_text = "serve requests of a program: JSON lines on stdin, event lines on stdout"
    more = f"{help_text}; `python -m pydoc crgloco.worker` shows them"
    commands.add_parser("worker", help=help_text, description=more)
    return top


def _in_our_words(error: BaseException) -> CRGLoCoError:
    if isinstance(error, CRGLoCoError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Cancelled("Cancelled.")
    msg = f"The computer's memory does not suffice ({error}). Close other programs and try again."
    return ResourceError(msg)


def _share_the_cores() -> None:
    """Let OpenMP's threads sleep while they wait for each other; read when torch starts.

    By default they keep the cores busy meanwhile. With Slicer, a training or another program on the same
    cores, that made a small network 2.5 to 18 times slower here (measured on 2 cores).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _speak_into_the_void() -> None:
    """Let a process that was started without stdout or stderr (``pythonw``, ``2>&-``) do its work too."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  (to the end)


def _never_stumble_over_letters() -> None:
    """Let a file name with letters that the console lacks be shown with escapes instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _open_any_name() -> None:
    """Let ITK, which hands file names to the C library as UTF-8, open those with umlauts on Windows too."""
    if os.name == "nt":
        with suppress(locale.Error):
            locale.setlocale(locale.LC_CTYPE, ".UTF-8")


if __name__ == "__main__":
    sys.exit(main())
