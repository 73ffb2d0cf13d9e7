"""What torch, numpy and the systems say when there is no memory left; needs no torch."""

from __future__ import annotations

import errno
import re

PAGING_FILE_TOO_SMALL = 1455  # of Windows, whose sentence is in the language of the computer
_SAID = re.compile(
    r"out of memory|not enough memory|can.t allocate memory|cannot allocate memory|bad_?\s?alloc|MemoryError"
    # cuDNN 9 has a name each for the computer's memory and the GPU's: CUDNN_STATUS_..._ALLOCATION_FAILED.
    r"|_ALLOC(ATION)?_FAILED|miopenStatusAllocFailed"
    # cuBLAS on a full GPU; and torch where it could not even count who fills it (MIG, WSL; pytorch 112377).
    r"|CUBLAS_STATUS_NOT_INITIALIZED|NVML_SUCCESS =="
    # cuDNN tries one way of a convolution after the other, and never says that all wanted too much memory.
    r"|unable to find an engine to execute this computation"
    rf"|WinError {PAGING_FILE_TOO_SMALL}\b",
    re.IGNORECASE,
)


def speaks_of_memory(text: str) -> bool:
    """Whether a text of a program says that the memory of the computer or of a GPU is full."""
    return _SAID.search(text) is not None


def tells_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the computer or of a GPU is full.

    Torch has a class of its own for its allocator on a GPU only; the driver, cuBLAS, cuDNN, the CPU's
    allocator say it in words; the system by a number, for example when a library of torch is loaded.
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM or getattr(error, "winerror", None) == PAGING_FILE_TOO_SMALL
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and speaks_of_memory(str(error))
