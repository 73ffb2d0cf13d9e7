"""Writing that is all or nothing: beside the target first, then renamed.

A reader sees the old file, the new file, or none; never half a file. What the operating system says
of a full disk or of a missing permission becomes a ``ResourceError`` in the user's words.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from crgloco.errors import ResourceError

PART = ".part"
# On Windows a file that somebody has open, if only to read it, can be neither renamed nor removed.
SHARES_NO_DELETION = os.name == "nt"
# So long a window may wait for it without anybody noticing.
PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2)
# Who scans for viruses, makes backups or synchronises holds a new file, and so its folder, for seconds.
LONG_PAUSES_S = (*PAUSES_S, 0.4, 0.8, 1.6, 3.2, 4.0)
# Refused, in use by another process, and in part locked by one; the first is said of folders in use too.
_HELD = (5, 32, 33)
# From about here on, Windows may find a file's path too long, and says that its folder does not exist.
_LONG = 200

_REASONS = {
    errno.ENOSPC: "the disk is full. Make room and try again",
    errno.EDQUOT: "your disk quota is used up. Make room and try again",
    errno.EFBIG: "the disk cannot hold a file of that size. Choose another one",
    errno.ENOENT: "its folder does not exist. Make it, or choose another one",
    errno.ENOTDIR: "its folder is no folder. Choose another one",
    errno.EEXIST: "a file has the name of its folder. Choose another one",
    errno.EACCES: "there is no permission to write there. Choose another folder or change its permissions",
    errno.EPERM: "there is no permission to write there. Choose another folder or change its permissions",
    errno.EROFS: "the disk is read-only. Choose another folder",
    errno.ENAMETOOLONG: "its name, or the path to it, is too long. Choose a shorter one",
}


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn what the operating system says while writing into our words.

    Args:
        path: The file or folder that is being written, named in the message.

    Raises:
        ResourceError: Instead of any ``OSError`` of the body.
    """
    try:
        yield
    except OSError as error:
        msg = f"{path} cannot be written: {_reason(path, error)}."
        raise ResourceError(msg) from error


def _reason(path: Path, error: OSError) -> str:
    if getattr(error, "winerror", None) in _HELD:
        return (
            "another program has it open (wait a moment, or close it), or there is no permission to write "
            "there (choose another folder)"
        )
    if error.errno == errno.EEXIST and error.filename2 is not None:  # a rename, on Windows
        return "it exists already. Choose another name"
    if error.errno == errno.ENOENT and SHARES_NO_DELETION and len(str(path)) > _LONG and path.parent.is_dir():
        return _REASONS[errno.ENAMETOOLONG]
    return _REASONS.get(error.errno or 0, f"{error.strerror or error}. Choose another folder")


@contextmanager
def appearing(path: Path, pauses: Sequence[float] = PAUSES_S) -> Iterator[Path]:
    """Give the place beside a file to write to; at the end it takes the file's name.

    On failure the file that was there stays, and nothing is left beside it.

    Args:
        path: The file.
        pauses: As of ``patiently``.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    part = path.with_name(path.name + PART)
    with saving(path):
        try:
            yield part
            patiently(lambda: part.replace(path), pauses)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise


def patiently(act: Callable[[], object], pauses: Sequence[float] = PAUSES_S) -> None:
    """Rename or remove a file or a folder, again and again while Windows says that somebody has it open.

    Args:
        act: What may be done again if it failed.
        pauses: Seconds between the attempts; ``LONG_PAUSES_S`` where no window waits.
    """
    for pause in pauses if SHARES_NO_DELETION else ():
        try:
            act()
        except PermissionError:
            time.sleep(pause)
        else:
            return
    act()


def write_bytes(path: Path, content: bytes, *, wait: bool = True) -> None:
    """Write a whole file; on failure the file that was there stays, and nothing is left beside it.

    Args:
        path: The file.
        content: All of it.
        wait: Until the disk has it: for a slow disk, a moment, and for whoever has the file open, seconds.
            Who has no time leaves the disk to ``settle``.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    with appearing(path, LONG_PAUSES_S if wait else PAUSES_S) as part:
        if wait:
            write_through(part, content)
        else:
            part.write_bytes(content)


def settle(path: Path) -> None:
    """Wait until the disk has a file that was written without waiting.

    Raises:
        ResourceError: The disk is full, or the file cannot be opened.
    """
    # Windows settles only what may be written; elsewhere a job that is write-protected is none the less read.
    with saving(path), path.open("rb+" if os.name == "nt" else "rb") as file:
        os.fsync(file.fileno())


def write_through(path: Path, content: bytes) -> None:
    """Write a new file and wait until the disk has it, so that a later rename never outruns it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
