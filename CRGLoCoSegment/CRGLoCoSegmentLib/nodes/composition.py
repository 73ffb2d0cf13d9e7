"""Labels taken from different answers, put together voxel by voxel: pure numpy, for any thread.

Where two labels claim one voxel, the label that the fused answer names there gets it, if it is one of the
two; otherwise the one that stands first in the label table. Nothing of that is silent: what a label lost
is counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.nodes.images import Array

FUSED = "fused"


@dataclass(frozen=True)
class Composition:
    """Labels from different answers.

    Attributes:
        values: Label values (K, J, I).
        lost: Name of a label -> voxels that it claimed and another label got; only where there are any.
    """

    values: Array
    lost: Mapping[str, int]


def compose(answers: Mapping[str, Array], table: LabelTable, starts: Mapping[str, str]) -> Composition:
    """Take each label from the answer that was chosen for it.

    Args:
        answers: Kind -> label values (K, J, I), ``"fused"`` among them.
        table: The labels.
        starts: Name of a label -> kind; ``"fused"`` for the others.
    """
    fused = answers[FUSED]
    kinds = sorted({starts.get(label.name, FUSED) for label in table.labels})
    if kinds == [FUSED]:
        return Composition(fused.copy(), {})
    lookups = [_claims(table, starts, kind, fused.dtype) for kind in kinds]
    values = np.zeros_like(fused)
    lost = np.zeros(max(table.values) + 1, np.int64)
    for k in range(fused.shape[0]):
        claims = np.stack([lookup[answers[kind][k]] for lookup, kind in zip(lookups, kinds, strict=True)])
        values[k] = _decided(claims, fused[k])
        losers = claims[(claims > 0) & (claims != values[k])]
        if losers.size:
            lost += np.bincount(losers, minlength=lost.size)
    names = {label.name: int(lost[label.value]) for label in table.labels if lost[label.value]}
    return Composition(values, names)


def _claims(table: LabelTable, starts: Mapping[str, str], kind: str, dtype: np.dtype) -> Array:
    """Return, for each label value, itself if it is taken from this kind of answer, else 0."""
    lookup = np.zeros(max(table.values) + 1, dtype)
    for label in table.labels:
        if starts.get(label.name, FUSED) == kind:
            lookup[label.value] = label.value
    return lookup


def _decided(claims: Array, fused: Array) -> Array:
    """Return the label of each voxel of a plane; claims are (kinds, J, I), 0 where none is made."""
    highest = np.iinfo(claims.dtype).max
    # Values of the table grow with the position in it, so the first label is the smallest value.
    first = np.where(claims > 0, claims, highest).min(axis=0)
    first[(claims == 0).all(axis=0)] = 0
    named = (claims == fused).any(axis=0) & (fused > 0)
    decided: Array = np.where(named, fused, first)
    return decided
