"""Ending a process with everything it started: PythonSlicer is a launcher, the work is its child's."""

import contextlib
import os
import signal
import subprocess
from typing import Any


def startOptions() -> dict[str, Any]:
    """Return the options of ``Popen`` that ``killTree`` counts on; on Windows no console window opens."""
    if os.name == "nt":
        return {"creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0)}
    return {"start_new_session": True}


def killTree(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process of ours and its children; on POSIX also where only the children are left."""
    if os.name == "nt":
        killByNumber(process.pid)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def killByNumber(pid: int) -> None:
    """Kill a process, perhaps one that an earlier Slicer started, and its children."""
    try:
        import psutil
    except ImportError:  # comes with the engine's packages, not with Slicer
        _kill(pid)
        return
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.Error):
                one.kill()


def _kill(pid: int) -> None:
    if os.name != "nt":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
        return
    # Windows itself knows the children; in a process of its own, so that nobody waits for it.
    words = ["taskkill", "/F", "/T", "/PID", str(pid)]
    with contextlib.suppress(OSError):
        quiet = subprocess.DEVNULL
        subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=quiet, **startOptions())
