"""How good a segmentation is: Dice, Jaccard, HD95 and surface distance, with a policy for what is not there.

The policy (nothing is ever scored 0 mm, infinite or a magic number):

    reference  prediction  outcome           Dice, Jaccard      distances
    present    present     "found"           counted            counted
    present    empty       "missed"          0, counted         left out, counted as missed
    empty      present     "false presence"  0, counted         left out, counted as false presence
    empty      empty       "absent"          not scored         not scored
    unknown    either      "unknown"         not scored         not scored

A reference is unknown where its label was not made to show the structure.
Means are over cases per structure, then over structures. The background never enters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from crgloco.errors import GeometryError, LabelError

if TYPE_CHECKING:
    from crgloco.io.volume import Spacing

Outcome = Literal["found", "missed", "false presence", "absent", "unknown"]
Classes = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float64]

MEASURES = ("dice", "jaccard", "hd95_mm", "asd_mm", "hd95_voxels", "asd_voxels")
_COUNTS = ("n", "n_distances", "missed", "false_presence", "absent")
DEFINITIONS = {
    "dice": "2 |P and R| / (|P| + |R|), 0..1",
    "jaccard": "|P and R| / |P or R|, 0..1",
    "hd95_mm": "hd95: max of directed 95th percentiles, mm (MONAI)",
    "asd_mm": "asd: mean of both directed surface distances together, mm (MONAI, symmetric=True)",
    "hd95_voxels": "hd95: 95th percentile of both directed distances pooled, voxels (medpy, most papers)",
    "asd_voxels": "asd: mean distance from prediction to reference only, voxels (medpy, most papers)",
    "missed": "in the reference and not in the prediction, cases: Dice 0, no distance",
    "false_presence": "in the prediction and not in the reference, cases: Dice 0, no distance",
    "mean": "over cases per structure, then over structures; background never enters",
}


@dataclass(frozen=True)
class SurfaceDistances:
    """How far two surfaces lie apart.

    Attributes:
        hd95_mm: Larger of the two directed 95th percentiles, mm.
        asd_mm: Mean over the surface voxels of both, mm.
        hd95_voxels: 95th percentile of both directed distances pooled, voxels (the papers' 95HD).
        asd_voxels: Mean from prediction to reference, voxels (the papers' ASD).
    """

    hd95_mm: float
    asd_mm: float
    hd95_voxels: float
    asd_voxels: float


@dataclass(frozen=True)
class LabelScores:
    """One structure in one case; ``None`` where the policy gives no value.

    Attributes:
        outcome: Which of the five situations the case is in.
        dice: 0..1.
        jaccard: 0..1.
        hd95_mm, asd_mm, hd95_voxels, asd_voxels: As in ``SurfaceDistances``.
    """

    outcome: Outcome
    dice: float | None = None
    jaccard: float | None = None
    hd95_mm: float | None = None
    asd_mm: float | None = None
    hd95_voxels: float | None = None
    asd_voxels: float | None = None


@dataclass(frozen=True)
class CaseScores:
    """All structures of one case: entry 0 belongs to class 1."""

    labels: tuple[LabelScores, ...]
    case: str = ""

    @property
    def mean_dice(self) -> float | None:
        """Mean over the scored structures, 0..1; ``None`` if the case has nothing to score."""
        return _mean(label.dice for label in self.labels)


@dataclass(frozen=True)
class LabelSummary:
    """One structure over all cases; a mean without any case behind it is ``None``.

    Attributes:
        name: Name of the structure, or ``"mean"``.
        n: Cases behind Dice and Jaccard.
        n_distances: Cases behind the distances.
        missed: Cases where the prediction lacks a structure that is there.
        false_presence: Cases where the prediction has a structure that is not there.
        absent: Cases with neither, not scored.
    """

    name: str
    n: int
    n_distances: int
    missed: int
    false_presence: int
    absent: int
    dice: float | None
    jaccard: float | None
    hd95_mm: float | None
    asd_mm: float | None
    hd95_voxels: float | None
    asd_voxels: float | None


@dataclass(frozen=True)
class Summary:
    """A table: one row per structure, and the mean of the rows."""

    labels: tuple[LabelSummary, ...]
    mean: LabelSummary


def evaluate_case(
    prediction: Classes,
    reference: Classes,
    spacing: Spacing,
    classes: int,
    *,
    distances: bool = True,
    case: str = "",
    known: Collection[int] | None = None,
) -> CaseScores:
    """Score one case.

    Args:
        prediction: Class numbers (K, J, I).
        reference: Class numbers (K, J, I) on the same grid.
        spacing: Millimetres along K, J, I.
        classes: Number of classes C, background included.
        distances: Whether to compute surface distances too; overlap alone is many times faster.
        case: Name of the case, kept in the result.
        known: Classes that the reference shows; ``None`` for all. The others are not scored.

    Raises:
        GeometryError: The arrays differ in shape.
        LabelError: A class number is C or more.
    """
    counts = _joint_counts(prediction, reference, classes)
    boxes = _union_boxes(prediction, reference, classes) if distances else None
    scores = []
    for number in range(1, classes):
        score = _overlap(counts, number) if known is None or number in known else LabelScores("unknown")
        if boxes is not None and score.outcome == "found":
            box = boxes[number - 1]
            distance = surface_distances(prediction[box] == number, reference[box] == number, spacing)
            score = replace(score, **dataclasses.asdict(distance))
        scores.append(score)
    return CaseScores(tuple(scores), case)


def surface_distances(prediction: Mask, reference: Mask, spacing: Spacing) -> SurfaceDistances:
    """Measure two non-empty masks (K, J, I); spacing in mm along K, J, I.

    A surface is the voxels of a mask that touch its outside over a face; the border of the array
    counts as outside. Millimetres follow MONAI, voxels the definitions of medpy that most papers use.
    """
    # MONAI costs seconds to import: whoever wants Dice only, as a trainer does, never pays for it.
    from monai.metrics.utils import get_mask_edges, get_surface_distance

    edges = get_mask_edges(np.pad(prediction, 1), np.pad(reference, 1), crop=False)

    def directed(size: Spacing) -> tuple[Distances, Distances]:
        there = get_surface_distance(edges[0], edges[1], spacing=size)
        back = get_surface_distance(edges[1], edges[0], spacing=size)
        return np.asarray(there, float), np.asarray(back, float)

    there, back = directed(spacing)
    isotropic = len(set(spacing)) == 1
    there_voxels, back_voxels = (
        (there / spacing[0], back / spacing[0]) if isotropic else directed((1.0, 1.0, 1.0))
    )
    return SurfaceDistances(
        hd95_mm=max(_percentile95(there), _percentile95(back)),
        asd_mm=float(np.concatenate([there, back]).mean()),
        hd95_voxels=_percentile95(np.concatenate([there_voxels, back_voxels])),
        asd_voxels=float(there_voxels.mean()),
    )


def summarise(cases: Sequence[CaseScores], names: Sequence[str]) -> Summary:
    """Average over cases per structure, then over structures.

    Args:
        cases: The scored cases.
        names: Name of each structure, class 1 first.
    """
    rows = tuple(
        _summary_row(name, [case.labels[position] for case in cases]) for position, name in enumerate(names)
    )
    columns: dict[str, Any] = {count: sum(getattr(row, count) for row in rows) for count in _COUNTS}
    columns |= {measure: _mean(getattr(row, measure) for row in rows) for measure in MEASURES}
    return Summary(rows, LabelSummary("mean", **columns))


def where_both_found(
    first: Sequence[CaseScores], second: Sequence[CaseScores]
) -> tuple[tuple[CaseScores, ...], tuple[CaseScores, ...]]:
    """Keep the distances only where both methods found the structure; overlaps stay.

    For two methods that miss different cases: their distances are comparable only on the cases that
    both found. The cases must be the same, in the same order.

    Raises:
        ValueError: The cases differ.
    """
    if [case.case for case in first] != [case.case for case in second]:
        msg = "Two methods can be compared only on the same cases in the same order."
        raise ValueError(msg)
    pairs = [
        (_where_found(mine, other), _where_found(other, mine))
        for mine, other in zip(first, second, strict=True)
    ]
    return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)


def _where_found(case: CaseScores, other: CaseScores) -> CaseScores:
    kept = (
        label
        if label.outcome == partner.outcome == "found"
        else LabelScores(label.outcome, label.dice, label.jaccard)
        for label, partner in zip(case.labels, other.labels, strict=True)
    )
    return replace(case, labels=tuple(kept))


def _joint_counts(prediction: Classes, reference: Classes, classes: int) -> npt.NDArray[np.int64]:
    """Count voxels per (reference class, prediction class): (C, C). One slice at a time bounds memory."""
    if prediction.shape != reference.shape:
        msg = f"Prediction {prediction.shape} and reference {reference.shape} differ in shape."
        raise GeometryError(msg)
    highest = max(int(prediction.max(initial=0)), int(reference.max(initial=0)))
    if highest >= classes:
        msg = f"Class number {highest} was found; the label table has the classes 0..{classes - 1}."
        raise LabelError(msg)
    counts = np.zeros(classes * classes, np.int64)
    for predicted, truth in zip(prediction, reference, strict=True):
        pair = truth.astype(np.int32) * classes + predicted
        counts += np.bincount(pair.ravel(), minlength=classes * classes)
    return counts.reshape(classes, classes)


def _overlap(counts: npt.NDArray[np.int64], number: int) -> LabelScores:
    both = int(counts[number, number])
    truth, predicted = int(counts[number].sum()), int(counts[:, number].sum())
    if truth + predicted == 0:
        return LabelScores("absent")
    if truth == 0 or predicted == 0:
        return LabelScores("missed" if truth else "false presence", dice=0.0, jaccard=0.0)
    return LabelScores("found", 2 * both / (truth + predicted), both / (truth + predicted - both))


def _union_boxes(prediction: Classes, reference: Classes, classes: int) -> list[tuple[slice, slice, slice]]:
    """Return, for every class from 1, the smallest box around it in either array."""
    found = [ndimage.find_objects(array, max_label=classes - 1) for array in (prediction, reference)]
    boxes = []
    for pair in zip(*found, strict=True):
        present = [box for box in pair if box is not None] or [(slice(0, 0),) * 3]
        k, j, i = (
            slice(min(axis.start for axis in axes), max(axis.stop for axis in axes))
            for axes in zip(*present, strict=True)
        )
        boxes.append((k, j, i))
    return boxes


def _summary_row(name: str, scores: Sequence[LabelScores]) -> LabelSummary:
    outcomes = [score.outcome for score in scores]
    return LabelSummary(
        name,
        n=sum(score.dice is not None for score in scores),
        n_distances=sum(score.hd95_mm is not None for score in scores),
        missed=outcomes.count("missed"),
        false_presence=outcomes.count("false presence"),
        absent=outcomes.count("absent"),
        **{measure: _mean(getattr(score, measure) for score in scores) for measure in MEASURES},
    )


def _percentile95(distances: Distances) -> float:
    return float(np.percentile(distances, 95))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
