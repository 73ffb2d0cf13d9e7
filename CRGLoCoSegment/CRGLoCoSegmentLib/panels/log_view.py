"""A log that grows while somebody may be reading it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def followingEnd(edit: Any) -> Iterator[None]:
    """Let the view of a growing text follow its end, unless the user has scrolled up to read.

    Args:
        edit: The ``QPlainTextEdit``, which grows within the ``with`` block.
    """
    bar = edit.verticalScrollBar()
    wasAtEnd = bar.value >= bar.maximum
    yield
    if wasAtEnd:
        bar.value = bar.maximum
