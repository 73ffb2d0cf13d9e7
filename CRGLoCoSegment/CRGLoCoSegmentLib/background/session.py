"""A private temporary folder of this process, and an end for those that crashed processes left."""

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

PREFIX = "CRGLoCoSegment-"
LOCK = "in-use"
FORGOTTEN_S = 24 * 3600.0


@functools.cache
def sessionFolder() -> Path:
    """Return the folder, made at the first call; it goes with the process, and only its user can look in."""
    parent = temporaryFolder()
    # Not by tempfile: on Windows it tries for hours where the folder may not be written.
    folder = parent / f"{PREFIX}{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o700)
    held = (folder / LOCK).open("wb")
    _lock(held)
    atexit.register(_remove, folder, held)
    threading.Thread(target=removeLeftovers, args=(parent,), name="CRGLoCoSegment", daemon=True).start()
    return folder


def temporaryFolder() -> Path:
    """Return Slicer's own temporary folder, which its users may have moved to a larger disk."""
    try:
        from slicer import app

        chosen = Path(app.temporaryPath)
    except (ImportError, AttributeError):
        return Path(tempfile.gettempdir())
    return chosen if chosen.is_dir() else Path(tempfile.gettempdir())


def removeLater(folder: Path) -> None:
    """Remove a folder in a thread: a large one would keep everybody waiting."""
    threading.Thread(target=shutil.rmtree, args=(folder, True), name="CRGLoCoSegment", daemon=True).start()


def removeLeftovers(parent: Path) -> None:
    """Remove the folders of processes that are gone: those whose lock nobody holds."""
    for folder in parent.glob(f"{PREFIX}*"):
        # Another user's folder, or one that has just been made and is not locked yet, stays.
        with contextlib.suppress(OSError):
            if (folder / LOCK).exists():
                with (folder / LOCK).open("r+b") as file:
                    _lock(file)
            elif time.time() - folder.stat().st_mtime < FORGOTTEN_S:
                continue
            shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path, held: Any) -> None:
    held.close()
    shutil.rmtree(folder, ignore_errors=True)


def _lock(file: Any) -> None:
    """Hold a file for this process; the system lets it go when the process ends, however it ends.

    Raises:
        OSError: Another process holds it.
    """
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
