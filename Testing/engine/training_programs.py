"""Trainings of tiny phantoms as real programs: watched by their events, stopped, killed, started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from crgloco.jobs import JobFolder
from crgloco.progress import EVENT_PREFIX, parse_event

TINY = ["--set", "local_window=8,12,12", "global_window=12,16,16", "width=4", "levels=3"]
# Far more than any of this takes: two cores may be shared with other work.
PATIENCE_S = 200.0


def events_of(job: JobFolder) -> list[dict[str, Any]]:
    """What a training has told so far; of a line that is just being written, nothing."""
    told = job.events_file.read_text(encoding="utf-8") if job.events_file.is_file() else ""
    return [event for line in told.splitlines() if (event := parse_event(EVENT_PREFIX + line))]


class TrainingProgram:
    """``crgloco train`` in a process of its own; ends with the ``with`` block at the latest.

    Args:
        words: What follows ``crgloco``; the job lies beside the model, as ``<out>.job``.
        out: The new model's folder.
        start: What follows ``python`` and starts it, such as ``-m torch.distributed.run -m crgloco``.
    """

    def __init__(self, words: Sequence[str], out: Path, start: Sequence[str] = ("-m", "crgloco")) -> None:
        self.job = JobFolder(out.with_name(out.name + ".job"))
        self._said = out.with_name(f"{out.name}.said-{time.monotonic_ns()}")
        self._before = len(events_of(self.job))
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, *start, *words],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def said(self) -> str:
        """What a person has read so far."""
        return self._said.read_text(encoding="utf-8")

    @property
    def updates(self) -> int:
        """The last update that was told since this program was started; 0 before the first."""
        events = events_of(self.job)[self._before :]
        done = [event["done"] for event in events if event.get("stage") == "training"]
        return max(done, default=0)

    def wait_for_update(self, number: int) -> None:
        """Return once so many updates were told; fail if the program ends before."""
        end = time.monotonic() + PATIENCE_S
        while self.updates < number:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.02)

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        return self.process.wait(PATIENCE_S)
