import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from CRGLoCoSegmentLib.nodes.composition import compose
from grids import TABLE, patient

SHAPE = (3, 4, 5)
KINDS = ("fused", "global", "local")
answers = st.integers(0, 2**32).map(
    lambda seed: {
        kind: np.random.default_rng((seed, number)).choice(TABLE.values, SHAPE).astype(np.uint8)
        for number, kind in enumerate(KINDS)
    }
)
starts = st.dictionaries(st.sampled_from([label.name for label in TABLE.labels]), st.sampled_from(KINDS))


@patient
@given(given_=answers, chosen=starts)
def test_labels_are_composed_as_a_naive_loop_does(given_, chosen):
    composed = compose(given_, TABLE, chosen)
    lost = {}
    for place in np.ndindex(SHAPE):
        claims = [
            label for label in TABLE.labels if given_[chosen.get(label.name, "fused")][place] == label.value
        ]
        winner = next((label for label in claims if label.value == given_["fused"][place]), None)
        winner = winner or (claims[0] if claims else None)
        assert composed.values[place] == (winner.value if winner else 0)
        for label in claims:
            if label is not winner:
                lost[label.name] = lost.get(label.name, 0) + 1
    assert composed.lost == lost


@patient
@given(given_=answers, kind=st.sampled_from(KINDS))
def test_all_labels_from_one_answer_are_that_answer(given_, kind):
    composed = compose(given_, TABLE, {label.name: kind for label in TABLE.labels})
    assert np.array_equal(composed.values, given_[kind])
    assert composed.lost == {}


@patient
@given(given_=answers, chosen=starts)
def test_every_voxel_that_no_other_label_claims_is_kept(given_, chosen):
    composed = compose(given_, TABLE, chosen)
    for label in TABLE.labels:
        claimed = np.count_nonzero(given_[chosen.get(label.name, "fused")] == label.value)
        assert np.count_nonzero(composed.values == label.value) == claimed - composed.lost.get(label.name, 0)


def test_the_answers_are_not_written_to():
    given_ = {kind: np.full(SHAPE, 3, np.uint8) for kind in KINDS}
    composed = compose(given_, TABLE, {})
    composed.values[...] = 0
    assert all((array == 3).all() for array in given_.values())
