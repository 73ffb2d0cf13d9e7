"""Why a child process ended, in the user's words: from its exit code and its last lines."""

import re
from collections.abc import Sequence

from slicer.i18n import tr as _

from crgloco.memory_faults import speaks_of_memory

LAUNCHER_LOST = "failed to obtain launcher executable name"
# Slicer's launcher says so of every crash and every kill, and makes exit code 1 of whatever it was.
CRASH_IN_LAUNCHER = "exit abnormally - report the problem"
_NO_MODULE = re.compile(r"No module named '?([\w.]+)'?")
_TOLD = re.compile(r"^crgloco: (.+)$")
# Popen gives a signal as a negative number, a shell or launcher as 128 + signal, Windows its own codes.
_CRASHED = {-11, 139, -6, 134, -7, 135, -4, 132, 0xC0000005, -1073741819, 0xC0000409, 0xC000001D}
_NO_MEMORY_CODES = {0xC0000017, -1073741801}


def whyEnded(code: int | None, log: Sequence[str]) -> str:
    """Return one or two sentences: what happened, and what to do.

    Args:
        code: Exit code; ``None`` if the process could not be started at all.
        log: The last lines that it wrote.
    """
    text = "\n".join(log)
    if LAUNCHER_LOST in text.lower():
        return _(
            "Slicer's Python could not be started because a folder name on the way to it has letters beyond "
            "plain ASCII. Install Slicer into a folder without such letters, for example C:\\Slicer."
        )
    if code is None:
        return _("The background process could not be started: {reason}. Install Slicer again.").format(
            reason=log[-1] if log else "?"
        )
    missing = _NO_MODULE.search(text)
    if missing:
        return _(
            "The Python package {name} is missing. Install it in the section Environment, then try again."
        ).format(name=missing[1].partition(".")[0])
    told = next((found[1] for line in reversed(log) if (found := _TOLD.match(line))), None)
    if told is not None:
        return told
    if code in _NO_MEMORY_CODES or speaks_of_memory(text):
        return _(
            "The computer's memory did not suffice. Close other programs, or choose a lower quality or less "
            "memory, and try again."
        )
    return _byCode(code, hidden=CRASH_IN_LAUNCHER in text.lower())


def _byCode(code: int, *, hidden: bool) -> str:
    if hidden:
        return _(
            "The background process crashed or was killed, most often because the computer's memory was used "
            "up. Slicer is not affected. Close other programs, choose a lower quality, or choose the CPU as "
            "device, and try again."
        )
    if code in {-9, 137}:
        return _(
            "The background process was killed, most often because the computer's memory was used up. Close "
            "other programs, or choose a lower quality, and try again."
        )
    if code in _CRASHED:
        return _(
            "The background process crashed (exit code {code}). Slicer is not affected; try again, or choose "
            "the CPU as device."
        ).format(code=code)
    if code in {-15, 143}:
        return _("The background process was ended from outside. Try again.")
    return _("The background process ended unexpectedly (exit code {code}). Try again.").format(code=code)
