"""Arrays to and from the worker: plain ``.npy`` files, written and read in a thread."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from slicer.i18n import tr as _

from crgloco.atomic import appearing
from crgloco.errors import InputError
from CRGLoCoSegmentLib.background.threads import ThreadJob, runInThread


def writeArray(
    array: np.ndarray,
    path: Path,
    onDone: Callable[[Path], None],
    onError: Callable[[Exception], None],
) -> ThreadJob:
    """Write an array in a thread; the file appears whole or not at all.

    Args:
        array: May be a view of a node's memory; it is read during the call of the thread.
        path: Ends in ``.npy``; its folder is made.
        onDone: Called on the main thread with the path.
        onError: Called on the main thread; a ``ResourceError`` in words where the disk is full.
    """
    return runInThread(lambda: saveArray(array, path), onDone, onError)


def readArrays(
    files: Mapping[str, Path | str],
    onDone: Callable[[dict[str, np.ndarray]], None],
    onError: Callable[[Exception], None],
) -> ThreadJob:
    """Read arrays in a thread.

    Args:
        files: Name -> ``.npy`` file.
        onDone: Called on the main thread with name -> array.
        onError: Called on the main thread.
    """
    paths = {name: Path(path) for name, path in files.items()}

    def load() -> dict[str, np.ndarray]:
        return {name: loadArray(path) for name, path in paths.items()}

    return runInThread(load, onDone, onError)


def saveArray(array: np.ndarray, path: Path) -> Path:
    """Write an array; what ``writeArray`` does in its thread.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written; nothing is left.
    """
    with appearing(path) as part:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.save(file, array, allow_pickle=False)
    return path


def loadArray(path: Path) -> np.ndarray:
    """Read one array; what ``readArrays`` does in its thread.

    Raises:
        InputError: The file is not there, cut off, or no plain array.
    """
    try:
        with path.open("rb") as file:
            return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        msg = _("The result {path} cannot be read ({reason}). Ask for it again.")
        raise InputError(msg.format(path=path, reason=error)) from error
