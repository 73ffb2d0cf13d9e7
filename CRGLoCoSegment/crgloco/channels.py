"""Channels by name: ``T1, T2`` and ``T2, T1`` are the same scans, and not in the same order.

Names are compared without capitals and without spaces around them. A single channel goes by any name: what
one project calls ``MR``, another calls ``T2``.
"""

from __future__ import annotations

from collections.abc import Sequence

from crgloco.errors import ModelError


def channel_key(name: str) -> str:
    """Return what two names of one channel have in common."""
    return name.strip().casefold()


def order_by_name(wanted: Sequence[str], found: Sequence[str]) -> tuple[int, ...] | None:
    """Return where each wanted channel is among those found; ``None`` where the names do not tell.

    Names in the same order are taken as they are, even if two of them are equal.
    """
    ours, theirs = [channel_key(name) for name in wanted], [channel_key(name) for name in found]
    if len(ours) != len(theirs):
        return None
    if len(ours) == 1 or ours == theirs:
        return tuple(range(len(ours)))
    if len(set(ours)) < len(ours) or set(ours) != set(theirs):
        return None
    return tuple(theirs.index(name) for name in ours)


def in_same_order(wanted: Sequence[str], found: Sequence[str]) -> bool:
    """Whether the channels found are the wanted ones, one by one."""
    return order_by_name(wanted, found) == tuple(range(len(wanted)))


def in_other_order(wanted: Sequence[str], found: Sequence[str]) -> bool:
    """Whether channels, taken one by one, would be taken for one another: a known name has another place."""
    if len(wanted) < 2 or len(found) < 2:
        return False
    known = {channel_key(name) for name in wanted}
    pairs = [(channel_key(ours), channel_key(theirs)) for ours, theirs in zip(wanted, found, strict=False)]
    return any(theirs != ours and theirs in known for ours, theirs in pairs)


def assert_same_order(model: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    """Refuse cases whose channels a model would take for one another.

    Args:
        model: Begins the sentence, for example ``"The model 'liver'"``.
        wanted: Channels of the model.
        found: Channels of the cases.

    Raises:
        ModelError: A channel of the model has another place in the cases.
    """
    if in_other_order(wanted, found):
        msg = (
            f"{model} expects the channels {', '.join(wanted)}; the cases have {', '.join(found)}, so one "
            "would be taken for the other. Number the scans (_0000, _0001, ...) and the channel_names in "
            "dataset.json of the cases as the model does, or choose another model."
        )
        raise ModelError(msg)
