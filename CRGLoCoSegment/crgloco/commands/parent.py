"""Ending with the program that started us: it holds our stdin, and also a crash of it closes that."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from crgloco.commands.arguments import CANCELLED
from crgloco.errors import CRGLoCoError

# A training comes to a checkpoint within seconds; one that has not after this long is lost in something.
PATIENCE_S = 60.0


def stop_at_end_of_input(stop: Callable[[], None]) -> None:
    """Take stdin for ourselves; once it ends, ask for an end, and leave after ``PATIENCE_S`` in any case.

    Args:
        stop: Asks the work for an end; called in a thread, once.
    """
    # Nobody else may see our stdin: on Windows, loading a library waits for a thread that reads it.
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def listen() -> None:
        with suppress(OSError):  # a pipe that broke has ended too
            while os.read(pipe, 4096):
                pass
        with suppress(CRGLoCoError):
            stop()
        time.sleep(PATIENCE_S)
        os._exit(CANCELLED)

    threading.Thread(target=listen, name="stdin", daemon=True).start()
