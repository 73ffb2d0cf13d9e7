"""The errors that users can cause or repair.

    CRGLoCoError            anything we say to the user in words
     ├─ InputError          a file or folder that cannot be read as a scan
     │   ├─ GeometryError   two grids differ that must be one, or a grid that cannot be used
     │   └─ LabelError      label values outside the table, or tables in conflict
     ├─ CasesError          a cases folder that cannot serve its purpose
     ├─ ModelError          a model folder that is damaged, foreign or of another format
     ├─ OptionError         an option that does not exist or a value out of range
     ├─ JobError            a job folder that cannot be run or resumed
     ├─ ResourceError       disk full, folder not writable, memory or device missing
     ├─ TrainingDiverged    the loss of a training is no longer a number
     └─ Cancelled           the user asked for an end; nothing is wrong

Every message says what was found, where (path), and what to do. The command line prints it as one
line; anything that is not a ``CRGLoCoError`` is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class CRGLoCoError(Exception):
    """Base of everything that is told to the user as one clear line."""


class InputError(CRGLoCoError):
    """A file or folder cannot be read as a scan."""


class GeometryError(InputError):
    """Grids differ that must be equal, or a grid cannot be used."""


class LabelError(InputError):
    """Label values lie outside the table, or two label tables are in conflict."""


class CasesError(CRGLoCoError):
    """A cases folder cannot serve its purpose."""


class ModelError(CRGLoCoError):
    """A model folder is damaged, foreign or of another format."""


class OptionError(CRGLoCoError):
    """An option does not exist, or its value is out of range."""


class JobError(CRGLoCoError):
    """A job folder cannot be run or resumed."""


class ResourceError(CRGLoCoError):
    """The disk is full, a folder is not writable, memory or the asked device is missing."""


class TrainingDiverged(CRGLoCoError):
    """The loss of a training is no longer a number."""


class Cancelled(CRGLoCoError):
    """The user asked for an end."""


@contextmanager
def about(what: object) -> Iterator[None]:
    """Put in front of an error that arises inside what it speaks of, such as a file."""
    try:
        yield
    except CRGLoCoError as error:
        msg = f"{what}: {error}"
        raise type(error)(msg) from error
