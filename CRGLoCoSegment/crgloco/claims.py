"""The claim of a process on a piece of work: what it writes, and whether who wrote it still works."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from crgloco.errors import ResourceError


@dataclass(frozen=True)
class Holder:
    """A process that holds a claim.

    Attributes:
        process: Its number on its computer.
        host: The name of its computer.
    """

    process: int
    host: str

    @property
    def is_here(self) -> bool:
        """Whether it runs on this computer."""
        return self.host == socket.gethostname()


def claim_of_this_process() -> dict[str, Any]:
    """Return plain values by which this process is known again.

    Raises:
        ResourceError: psutil is missing.
    """
    created, since_boot = _start()
    return {"pid": os.getpid(), "created": created, "since_boot": since_boot, "host": socket.gethostname()}


def live_holder(claim: Mapping[str, Any]) -> Holder | None:
    """Return the live process that made a claim; a reused number is not taken for it.

    One that cannot be looked at, on another computer or of another user, counts as alive until its claim is
    deleted. Without psutil nothing works on this one: the engine that would needs it too.

    Args:
        claim: Of ``claim_of_this_process``; claims of earlier versions name no computer, and are of this one.
    """
    try:
        holder = Holder(int(claim["pid"]), str(claim.get("host") or socket.gethostname()))
        created, since_boot = float(claim["created"]), float(claim.get("since_boot", math.nan))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return holder if not holder.is_here or _lives(holder.process, created, since_boot) else None


def started() -> float:
    """Return when this process was started, in seconds since 1970.

    Raises:
        ResourceError: psutil is missing.
    """
    return _start()[0]


def _start(number: int | None = None) -> tuple[float, float]:
    """Return when a process, this one unless named, was started: since 1970, and since the computer was."""
    psutil = _psutil()
    booted = psutil.boot_time()  # first: older versions of psutil count the start from what this reads
    created = psutil.Process(number).create_time()
    return created, created - booted


def _lives(number: int, created: float, since_boot: float) -> bool:
    try:
        psutil = _psutil()
    except ResourceError:
        return False
    try:
        start = _start(number)
        # On Linux both follow a clock that is set, their difference does not; elsewhere the start does not.
        same = abs(start[0] - created) < 1 or abs(start[1] - since_boot) < 1
        return same and psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except (ValueError, psutil.Error):
        return False


def _psutil() -> ModuleType:
    """Return the package, imported late: it is no part of what Slicer brings."""
    try:
        import psutil
    except ImportError as error:
        msg = "The Python package psutil is missing. Install it, then try again."
        raise ResourceError(msg) from error
    return psutil
