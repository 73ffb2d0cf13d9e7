import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from CRGLoCoSegmentLib.nodes.changes import labelChanges
from grids import TABLE, patient

SHAPE = (3, 4, 5)
NAMES = [label.name for label in TABLE.labels]
arrays = st.integers(0, 2**32).map(
    lambda seed: np.random.default_rng(seed).choice(TABLE.values, SHAPE).astype(np.uint8)
)


@patient
@given(now=arrays, before=arrays)
def test_changes_are_those_of_a_naive_count(now, before):
    changes = labelChanges(now, {"fused": before}, TABLE, voxelMl=0.5)
    assert changes.voxels == np.count_nonzero(now != before)
    assert changes.ml == 0.5 * changes.voxels
    for label in TABLE.labels:
        change = changes.labels[label.name]
        assert change.added == np.count_nonzero((now == label.value) & (before != label.value))
        assert change.removed == np.count_nonzero((now != label.value) & (before == label.value))
        assert change.ml == 0.5 * change.voxels


@patient
@given(
    now=arrays,
    first=arrays,
    second=arrays,
    starts=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["fused", "global"])),
)
def test_each_label_is_compared_with_the_answer_it_started_from(now, first, second, starts):
    before = {"fused": first, "global": second}
    changes = labelChanges(now, before, TABLE, voxelMl=1.0, starts=starts)
    anywhere = np.zeros(SHAPE, bool)
    for label in TABLE.labels:
        origin = before[starts.get(label.name, "fused")]
        differs = (now == label.value) != (origin == label.value)
        anywhere |= differs
        assert changes.labels[label.name].voxels == differs.sum()
    assert changes.voxels == anywhere.sum()


def test_equal_arrays_have_not_changed():
    now = np.full(SHAPE, 3, np.uint8)
    changes = labelChanges(now, {"fused": now}, TABLE, voxelMl=1.0)
    assert changes.voxels == 0
    assert set(changes.labels) == set(NAMES)
