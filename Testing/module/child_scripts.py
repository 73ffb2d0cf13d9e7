"""Small programs as child processes, and what tests ask of them."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from CRGLoCoSegmentLib.background.child import Child
from CRGLoCoSegmentLib.background.ticker import waitUntil

# Writes its own id and that of a child of its own that forwards nothing and never ends, as a launcher does.
LAUNCHER = """
import subprocess, sys, time
code = "import sys, time; print('inner', flush=True); time.sleep(100)"
child = subprocess.Popen([sys.executable, "-c", code])
print("pid", child.pid, flush=True)
child.wait()
"""


class Listener:
    """A child together with all that it said."""

    def __init__(self, code: str, *arguments: str, program: str = sys.executable, **options: Any) -> None:
        self.lines: list[str] = []
        self.log: list[str] = []
        self.codes: list[int | None] = []
        self.child = Child(
            [program, "-c", code, *arguments],
            onLine=self.lines.append,
            onLog=self.log.append,
            onEnd=self.codes.append,
            **options,
        )

    def wait(self, seconds: float = 20) -> "Listener":
        """Wait for its end."""
        assert waitUntil(lambda: bool(self.codes), seconds), (self.lines, self.log)
        return self

    def waitFor(self, text: str, seconds: float = 20) -> str:
        """Wait for a line that begins so; return it."""
        found = lambda: [line for line in self.lines if line.startswith(text)]  # noqa: E731
        assert waitUntil(lambda: bool(found()), seconds), (self.lines, self.log)
        return found()[0]


def isAlive(pid: int) -> bool:
    """Whether there is a process of that number that is more than a memory of its parent."""
    status = Path(f"/proc/{pid}/stat")
    if status.is_file():
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def diesWithin(pid: int, seconds: float) -> bool:
    """Whether a process is gone soon."""
    end = time.monotonic() + seconds
    while isAlive(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
