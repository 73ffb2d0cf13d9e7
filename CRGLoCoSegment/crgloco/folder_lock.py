"""One writer at a time in a folder, across processes and computers.

The lock is a file that is created exclusively, which every file system can do. It says who holds it,
so that the lock of a process that was killed is recognised and removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crgloco import claims
from crgloco.atomic import SHARES_NO_DELETION, patiently, saving
from crgloco.errors import ResourceError

LOCK = "crgloco.json.lock"
_ABANDONED_S = 900.0  # writing a case takes seconds; on another computer we can only go by the clock
_UNFINISHED_S = 10.0  # a lock file is written at once; empty for longer means its writer was killed
_held: set[str] = set()  # the locks that this process holds just now


@contextmanager
def locked(root: Path, *, patience_s: float = 20.0) -> Iterator[None]:
    """Hold the folder's lock.

    Args:
        root: A cases folder, a job's, or one of results.
        patience_s: Seconds to wait for another writer.

    Raises:
        ResourceError: The folder is not writable, another program keeps writing, or psutil is missing.
    """
    _assert_not_marked_read_only(root)
    path = root / LOCK
    end = time.monotonic() + patience_s
    own = uuid.uuid4().hex
    claim = json.dumps({**claims.claim_of_this_process(), "lock": own})
    _held.add(own)
    try:
        while not _created(path, claim):
            _remove_if_abandoned(path)
            if time.monotonic() > end:
                msg = f"Another program is writing in {root}. Try again; if none is, delete {path}."
                raise ResourceError(msg)
            time.sleep(0.02)
        try:
            yield
        finally:
            # A file that stays, because somebody has it open, is a lock no more: nobody holds it.
            with contextlib.suppress(PermissionError):
                patiently(lambda: path.unlink(missing_ok=True))
    finally:
        _held.discard(own)


def _assert_not_marked_read_only(root: Path) -> None:
    """Respect the mark even where the system would let us write: root in a container may write anywhere."""
    if os.name == "posix" and root.is_dir() and not root.stat().st_mode & 0o222:
        msg = f"{root} cannot be written: it is marked read-only. Make the folder writable."
        raise ResourceError(msg)


def _created(path: Path, claim: str) -> bool:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    except OSError as error:
        if isinstance(error, PermissionError) and SHARES_NO_DELETION and path.exists():
            return False  # it is being removed while somebody reads it
        msg = (
            f"{path.parent} cannot be written: {error.strerror or error}. "
            "Make the folder writable, or free space on its disk."
        )
        raise ResourceError(msg) from error
    try:
        with saving(path), os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(claim)
    except ResourceError:
        path.unlink(missing_ok=True)
        raise
    return True


def _remove_if_abandoned(path: Path) -> None:
    """Take an abandoned lock away by renaming it: of several who try, one succeeds."""
    before = _content(path)
    # Read again: whoever held it when it was read may have ended since, and another one holds it.
    if before is None or not _is_abandoned(path, before) or _content(path) != before:
        return
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError):
        path.rename(aside)
        if _content(aside) != before:  # somebody was faster and holds it now: give it back
            aside.rename(path)
        else:
            aside.unlink()


def _is_abandoned(path: Path, content: str) -> bool:
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return False
    try:
        claim = dict(json.loads(content))
    except (ValueError, TypeError):
        return age > _UNFINISHED_S
    holder = claims.live_holder(claim)
    if holder is not None and holder.is_here and holder.process == os.getpid():
        return "lock" in claim and claim["lock"] not in _held
    return holder is None or (not holder.is_here and age > _ABANDONED_S)


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
