"""Metrics equal naive twins, and nothing that is missing flatters or ruins a mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
)
from scipy import ndimage

from crgloco.errors import GeometryError, LabelError
from crgloco.metrics import (
    CaseScores,
    LabelScores,
    evaluate_case,
    summarise,
    surface_distances,
    where_both_found,
)

SPACING = (3.0, 0.8, 1.2)


def blobs(seed: int, classes: int = 4, shape: tuple[int, int, int] = (9, 12, 11)) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(classes, *shape)), (0, 2, 2, 2))
    return noise.argmax(0).astype(np.uint8)


def one_hot(array: np.ndarray, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.from_numpy(array).long(), classes).movedim(-1, 0)[None].float()


def naive_directed(first: np.ndarray, second: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Distance of each surface voxel of the first to the nearest of the second, by all pairs."""

    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inside = padded.copy()
        for axis in range(3):
            inside &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
        return np.argwhere(padded & ~inside) * np.asarray(spacing)

    difference = surface(first)[:, None] - surface(second)[None]
    return np.sqrt((difference**2).sum(-1)).min(1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spacing", [SPACING, (1.5, 1.5, 1.5)])
def test_distances_equal_all_pairs_of_surface_voxels(seed: int, spacing: tuple[float, float, float]) -> None:
    first, second = blobs(seed) == 1, blobs(seed + 10) == 1
    measures = surface_distances(first, second, spacing)
    there, back = naive_directed(first, second, spacing), naive_directed(second, first, spacing)
    assert measures.hd95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-6)
    assert measures.asd_mm == pytest.approx(np.concatenate([there, back]).mean(), rel=1e-6)
    there, back = (naive_directed(a, b, (1, 1, 1)) for a, b in ((first, second), (second, first)))
    assert measures.hd95_voxels == pytest.approx(np.percentile(np.concatenate([there, back]), 95), rel=1e-6)
    assert measures.asd_voxels == pytest.approx(there.mean(), rel=1e-6)


# MONAI's own call of get_mask_edges warns about MONAI's own argument (1.6.1).
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("seed", range(3))
def test_all_measures_in_mm_equal_those_of_monai_on_whole_volumes(seed: int) -> None:
    prediction, reference = blobs(seed), blobs(seed + 10)
    scores = evaluate_case(prediction, reference, SPACING, 4).labels
    pair = {"y_pred": one_hot(prediction, 4), "y": one_hot(reference, 4), "include_background": False}
    monai = {
        "dice": compute_dice(**pair),
        "jaccard": compute_iou(**pair),
        "hd95_mm": compute_hausdorff_distance(**pair, percentile=95, spacing=SPACING),
        "asd_mm": compute_average_surface_distance(**pair, symmetric=True, spacing=SPACING),
    }
    for measure, expected in monai.items():
        assert [getattr(label, measure) for label in scores] == pytest.approx(expected[0].tolist(), rel=1e-5)


def test_a_shift_along_the_slices_is_measured_in_their_millimetres() -> None:
    reference = np.zeros((20, 8, 8), np.uint8)
    reference[4:8] = 1
    prediction = np.roll(reference, 6, 0)
    label = evaluate_case(prediction, reference, SPACING, 2).labels[0]
    assert label.outcome == "found"
    assert (label.dice, label.jaccard) == (0.0, 0.0)
    assert label.hd95_mm == pytest.approx(6 * 3.0)
    assert label.hd95_voxels == pytest.approx(6)


def test_a_perfect_prediction_scores_one_and_zero_millimetres() -> None:
    array = blobs(1)
    for label in evaluate_case(array, array, SPACING, 4).labels:
        assert label == LabelScores("found", 1.0, 1.0, 0.0, 0.0, 0.0, 0.0)


def test_a_mask_of_one_voxel_at_the_border_has_a_surface() -> None:
    reference = np.zeros((4, 4, 4), np.uint8)
    reference[0, 0, 0] = 1
    prediction = np.zeros_like(reference)
    prediction[0, 0, 3] = 1
    assert evaluate_case(prediction, reference, SPACING, 2).labels[0].hd95_mm == pytest.approx(3.6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.tuples(*[st.integers(0, 4)] * 3))
def test_symmetric_measures_ignore_order_and_position(seed: int, shift: tuple[int, int, int]) -> None:
    first, second = blobs(seed, 3, (5, 6, 7)), blobs(seed + 1, 3, (5, 6, 7))
    forth, back = (evaluate_case(a, b, SPACING, 3).labels for a, b in ((first, second), (second, first)))
    for one, other in zip(forth, back, strict=True):
        for measure in ("dice", "jaccard", "hd95_mm", "asd_mm", "hd95_voxels"):
            assert getattr(one, measure) == pytest.approx(getattr(other, measure))
    bands = [(n, 4 - n) for n in shift]
    moved = evaluate_case(np.pad(first, bands), np.pad(second, bands), SPACING, 3).labels
    for number, (one, other) in enumerate(zip(forth, moved, strict=True), 1):
        assert one == other, number


def test_a_missed_structure_counts_as_zero_dice_and_has_no_distance() -> None:
    reference = blobs(2, 2)
    assert evaluate_case(np.zeros_like(reference), reference, SPACING, 2).labels == (
        LabelScores("missed", 0.0, 0.0),
    )


def test_a_falsely_present_structure_counts_as_zero_dice_and_has_no_distance() -> None:
    prediction = blobs(2, 2)
    scores = evaluate_case(prediction, np.zeros_like(prediction), SPACING, 2)
    assert scores.labels == (LabelScores("false presence", 0.0, 0.0),)


def test_a_structure_that_neither_has_is_not_scored() -> None:
    empty = np.zeros((3, 3, 3), np.uint8)
    scores = evaluate_case(empty, empty, SPACING, 3)
    assert scores.labels == (LabelScores("absent"), LabelScores("absent"))
    assert scores.mean_dice is None


def test_dice_alone_equals_dice_with_distances() -> None:
    prediction, reference = blobs(3), blobs(4)
    quick = evaluate_case(prediction, reference, SPACING, 4, distances=False)
    full = evaluate_case(prediction, reference, SPACING, 4)
    assert [label.dice for label in quick.labels] == [label.dice for label in full.labels]
    assert all(label.hd95_mm is None for label in quick.labels)


def test_arrays_of_other_shape_or_class_numbers_are_refused() -> None:
    array = np.zeros((3, 3, 3), np.uint8)
    with pytest.raises(GeometryError, match="differ in shape"):
        evaluate_case(array, array[:2], SPACING, 2)
    with pytest.raises(LabelError, match="Class number 2"):
        evaluate_case(array + 2, array, SPACING, 2)


def found(dice: float, hd95: float) -> LabelScores:
    return LabelScores("found", dice, dice / (2 - dice), hd95, hd95 / 2, hd95, hd95 / 2)


def test_the_summary_counts_what_is_behind_each_mean() -> None:
    missed, false_presence, absent = (
        LabelScores("missed", 0.0, 0.0),
        LabelScores("false presence", 0.0, 0.0),
        LabelScores("absent"),
    )
    cases = [
        CaseScores((found(0.9, 2.0), absent)),
        CaseScores((found(0.7, 4.0), absent)),
        CaseScores((missed, false_presence)),
        CaseScores((absent, absent)),
    ]
    summary = summarise(cases, ["liver", "spleen"])
    liver, spleen = summary.labels
    assert (liver.n, liver.n_distances, liver.missed, liver.false_presence, liver.absent) == (3, 2, 1, 0, 1)
    assert liver.dice == pytest.approx(1.6 / 3)
    assert liver.hd95_mm == pytest.approx(3.0)
    assert (spleen.n, spleen.n_distances, spleen.missed, spleen.false_presence, spleen.absent) == (
        1,
        0,
        0,
        1,
        3,
    )
    assert spleen.dice == 0.0
    assert spleen.hd95_mm is None
    # Over cases per structure, then over structures; not over all pairs at once.
    assert summary.mean.dice == pytest.approx(1.6 / 3 / 2)
    assert summary.mean.hd95_mm == pytest.approx(3.0)
    assert (summary.mean.n, summary.mean.missed, summary.mean.false_presence) == (4, 1, 1)


def test_a_summary_of_no_case_has_no_mean() -> None:
    summary = summarise([], ["liver"])
    assert summary.mean.dice is None
    assert summary.labels[0].n == 0


def test_two_methods_are_compared_in_distance_only_where_both_found() -> None:
    missed = LabelScores("missed", 0.0, 0.0)
    mine = [CaseScores((found(0.9, 2.0),), "a"), CaseScores((found(0.5, 9.0),), "b")]
    other = [CaseScores((found(0.8, 3.0),), "a"), CaseScores((missed,), "b")]
    first, second = where_both_found(mine, other)
    assert summarise(first, ["x"]).mean.hd95_mm == 2.0
    assert summarise(second, ["x"]).mean.hd95_mm == 3.0
    assert summarise(first, ["x"]).mean.dice == pytest.approx(0.7)
    with pytest.raises(ValueError, match="same cases"):
        where_both_found(mine, other[:1])


def test_what_a_reference_does_not_show_is_not_scored_and_counted_nowhere() -> None:
    prediction, reference = blobs(0), np.where(blobs(1) == 2, 0, blobs(1))
    full = evaluate_case(prediction, reference, SPACING, 4)
    part = evaluate_case(prediction, reference, SPACING, 4, known=(1, 3))
    assert part.labels == (full.labels[0], LabelScores("unknown"), full.labels[2])
    row = summarise([part], ["a", "b", "c"]).labels[1]
    assert (row.n, row.missed, row.false_presence, row.absent, row.dice) == (0, 0, 0, 0, None)
    assert evaluate_case(prediction, reference, SPACING, 4, known=(1, 2, 3)) == full
