"""Where global and local differ, found in a thread: for a large volume it takes half a second."""

import logging
from collections.abc import Callable
from typing import Any

from crgloco.errors import CRGLoCoError
from CRGLoCoSegmentLib.background.threads import runInThread
from CRGLoCoSegmentLib.nodes.export import comparableLabels
from CRGLoCoSegmentLib.nodes.overlays import disagreementOutline
from CRGLoCoSegmentLib.nodes.snapshots import snapshotOf

log = logging.getLogger("CRGLoCoSegment")


def outlineInThread(result: Any, onFound: Callable[[Callable[[], Any]], None]) -> None:
    """Find where the two answers of a result name different labels.

    Args:
        result: With a global and a local answer; as they are now, also where somebody has painted into them.
        onFound: Called on the main thread with a function that makes the segmentation node.
    """
    try:
        answers = (result.global_, result.local)
        now = [snapshotOf(answer, result.volume, copy=False) for answer in answers]
    except CRGLoCoError as error:
        _log(error)
        return
    table = result.table
    runInThread(
        lambda: comparableLabels(now[0], table) != comparableLabels(now[1], table),
        lambda differs: onFound(lambda: disagreementOutline(differs, result.volume)),
        _log,
    )


def _log(error: Exception) -> None:
    log.error("The disagreement could not be outlined", exc_info=error)
