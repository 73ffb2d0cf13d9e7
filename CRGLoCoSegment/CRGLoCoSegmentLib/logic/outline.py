"""Where global and local differ, found in a thread: for a large volume it takes half a second."""

import logging
from collections.abc import Callable
from typing import Any

from CRGLoCoSegmentLib.background.threads import runInThread
from CRGLoCoSegmentLib.nodes.overlays import disagreementOutline
from CRGLoCoSegmentLib.nodes.segmentations import sharedLabelmap

log = logging.getLogger("CRGLoCoSegment")


def outlineInThread(result: Any, onFound: Callable[[Callable[[], Any]], None], *, ticker: Any = None) -> None:
    """Find where the two answers of a result name different labels.

    Args:
        result: With a global and a local answer; neither is ever edited.
        onFound: Called on the main thread with a function that makes the segmentation node.
        ticker: When the main thread looks.
    """
    first, second = sharedLabelmap(result.global_), sharedLabelmap(result.local)
    runInThread(
        lambda: first != second,
        lambda differs: onFound(lambda: disagreementOutline(result, differs=differs)),
        lambda error: log.error("The disagreement could not be outlined", exc_info=error),
        ticker=ticker,
    )
