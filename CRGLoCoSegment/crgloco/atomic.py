"""Writing that is all or nothing: beside the target first, then renamed.

A reader sees the old file, the new file, or none; never half a file. What the operating system says
of a full disk or of a missing permission becomes a ``ResourceError`` in the user's words.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crgloco.errors import ResourceError

PART = ".part"
# On Windows a file that somebody has open, if only to read it, can be neither renamed nor removed.
SHARES_NO_DELETION = os.name == "nt"
PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2)

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
    errno.ENAMETOOLONG: "the name is too long. Choose a shorter one",
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
        reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}. Choose another folder")
        if error.errno == errno.EEXIST and error.filename2 is not None:  # a rename, on Windows
            reason = "it exists already. Choose another name"
        msg = f"{path} cannot be written: {reason}."
        raise ResourceError(msg) from error


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Give the place beside a file to write to; at the end it takes the file's name.

    On failure the file that was there stays, and nothing is left beside it.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    part = path.with_name(path.name + PART)
    with saving(path):
        try:
            yield part
            patiently(lambda: part.replace(path))
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise


def patiently(act: Callable[[], object]) -> None:
    """Rename or remove a file, again for a moment while Windows says that somebody reads it."""
    for pause in PAUSES_S if SHARES_NO_DELETION else ():
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
        wait: Until the disk has it: for a slow disk, a moment. Who has no time leaves that to ``settle``.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    with appearing(path) as part:
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
