"""How much of each label was changed: pure numpy, for any thread."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.nodes.images import Array


@dataclass(frozen=True)
class LabelChange:
    """What became of one label.

    Attributes:
        added: Voxels that have it now and had not.
        removed: Voxels that had it and have not now.
        ml: Volume of both together.
    """

    added: int
    removed: int
    ml: float

    @property
    def voxels(self) -> int:
        """Voxels that were added or removed."""
        return self.added + self.removed


@dataclass(frozen=True)
class Changes:
    """What became of all labels.

    Attributes:
        voxels: Voxels whose label is another one now.
        ml: Their volume.
        labels: By the label's name; labels without a change are there too.
    """

    voxels: int
    ml: float
    labels: Mapping[str, LabelChange]


def labelChanges(
    now: Array,
    before: Mapping[str, Array],
    table: LabelTable,
    *,
    voxelMl: float,
    starts: Mapping[str, str] | None = None,
) -> Changes:
    """Compare label values (K, J, I), each label with the answer that it started from. Any thread.

    Args:
        now: The corrected labels.
        before: The answers, by kind.
        table: Which value is what.
        voxelMl: Volume of a voxel.
        starts: Name of a label -> kind; the first kind for the others.
    """
    given = dict(starts or {})
    kinds = {label.value: given.get(label.name, next(iter(before))) for label in table.labels}
    added, removed = (np.zeros(max(table.values) + 1, np.int64) for _ in range(2))
    changed = 0
    for k in range(now.shape[0]):  # plane by plane: what is compared stays in the processor's cache
        anywhere = np.zeros(now.shape[1:], bool)
        for kind, answer in before.items():
            differs = now[k] != answer[k]
            if not differs.any():
                continue
            ours = np.array([kinds.get(value) == kind for value in range(added.size)])
            new, old = now[k][differs], answer[k][differs]
            added += np.bincount(new[ours[new]], minlength=added.size)
            removed += np.bincount(old[ours[old]], minlength=added.size)
            anywhere[differs] |= ours[new] | ours[old]
        changed += int(np.count_nonzero(anywhere))
    labels = {
        label.name: _change(int(added[label.value]), int(removed[label.value]), voxelMl)
        for label in table.labels
    }
    return Changes(changed, changed * voxelMl, labels)


def _change(added: int, removed: int, voxelMl: float) -> LabelChange:
    return LabelChange(added, removed, (added + removed) * voxelMl)
