"""JSON documents in which one entry is what it must not be, as an editor or a script leaves them."""

import copy
from collections.abc import Callable, Iterator
from functools import reduce
from operator import getitem
from typing import Any

from crgloco.errors import CRGLoCoError

NONSENSE: tuple[Any, ...] = (
    None, "text", "", True, -1, 1.5, 10**400, float("inf"), float("nan"), [], {}, [None], [[1]], {"a": 1},
)  # fmt: skip


def refused(document: Any, read: Callable[[Any], object]) -> dict[str, str]:
    """Read every damaged form of a document; an error that is none of ours passes on, with its place.

    Returns:
        Place and kind of the damage, such as ``"labels.0.value: None"``, and the message that refused it.
    """
    messages = {}
    for damage, changed in _damaged(document):
        try:
            read(changed)
        except CRGLoCoError as error:
            messages[damage] = str(error)
        except Exception as error:
            error.add_note(damage)
            raise
    return messages


def _damaged(document: Any) -> Iterator[tuple[str, Any]]:
    """Every entry, at any depth, replaced by everything else, and left out."""
    for place in _places(document):
        name = ".".join(map(str, place))
        for nonsense in NONSENSE:
            changed, parent = _copied(document, place)
            parent[place[-1]] = nonsense
            yield f"{name}: {str(nonsense)[:20]}", changed
        changed, parent = _copied(document, place)
        del parent[place[-1]]
        yield f"{name}: missing", changed


def _copied(document: Any, place: tuple[Any, ...]) -> tuple[Any, Any]:
    changed = copy.deepcopy(document)
    return changed, reduce(getitem, place[:-1], changed)


def _places(document: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield (*above, key)
        if isinstance(value, (dict, list)):
            yield from _places(value, (*above, key))
