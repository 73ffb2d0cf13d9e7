"""Arrays to and from the worker: plain ``.npy`` files; any thread."""

from pathlib import Path

import numpy as np
from slicer.i18n import tr as _

from crgloco.atomic import appearing
from crgloco.errors import InputError


def saveArray(array: np.ndarray, path: Path) -> Path:
    """Write an array, also a view of a node's memory; the file appears whole or not at all.

    Args:
        array: Of plain numbers.
        path: Ends in ``.npy``; its folder is made.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written; nothing is left.
    """
    with appearing(path) as part:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.save(file, array, allow_pickle=False)
    return path


def loadArray(path: Path) -> np.ndarray:
    """Read one array.

    Raises:
        InputError: The file is not there, cut off, or no plain array.
    """
    try:
        with path.open("rb") as file:
            return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        msg = _("The result {path} cannot be read ({reason}). Ask for it again.")
        raise InputError(msg.format(path=path, reason=error)) from error
