"""What a value that came from JSON is: to JSON's readers ``true`` is a number too, and infinity is one."""

from __future__ import annotations

import sys
from typing import Any


def is_text(value: Any) -> bool:
    """Whether it is a text, an empty one too."""
    return isinstance(value, str)


def are_texts(value: Any) -> bool:
    """Whether it is a list of texts, an empty one too."""
    return isinstance(value, (list, tuple)) and all(map(is_text, value))


def is_whole(value: Any) -> bool:
    """Whether it is a whole number, written as one."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a number that a float holds, neither infinite nor NaN."""
    return (is_whole(value) or isinstance(value, float)) and abs(value) <= sys.float_info.max
