"""What CUDA, or ROCm on a GPU of AMD, says when a GPU fails, in words for the user; needs no torch."""

from __future__ import annotations

import re

from crgloco.errors import ResourceError

_FAULT = re.compile(r"\b(CUDA|HIP|cuDNN|NCCL)\b.*\berror\b|\bmiopenStatus\w+")
# An index out of range, found out on the GPU: a fault of ours, which keeps its traceback.
_OURS = "device-side assert"


def in_words(error: BaseException) -> ResourceError | None:
    """Return what to tell the user if a GPU, its driver or the way to it failed; else ``None``.

    After most of these a process can use its GPU no more, whatever it tries; a new process can.
    """
    first = str(error).partition("\n")[0].strip()
    if not isinstance(error, RuntimeError) or not _FAULT.search(first) or _OURS in first:
        return None
    return ResourceError(
        f"The GPU failed ({first}). Try again. If it fails again, restart the computer and update the driver "
        "of the GPU, or choose the CPU as device (--device cpu)."
    )
