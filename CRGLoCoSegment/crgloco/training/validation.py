"""How good a model is on the validation cases, and how sure it may be."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from crgloco.data.cases import Case, assert_channels
from crgloco.data.partial_labels import known_classes
from crgloco.inference.confidence import draw_probes, expected_calibration_error, fit_temperature
from crgloco.inference.prediction import Prediction
from crgloco.inference.predictor import Predictor
from crgloco.io.files import read_channels
from crgloco.io.label_files import read_label
from crgloco.io.volume import Volume
from crgloco.labels import LabelTable
from crgloco.metrics import CaseScores, evaluate_case, summarise
from crgloco.progress import Reporter

PROBES_PER_CASE = 20_000


def assert_usable(
    cases: tuple[Case, ...], channel_names: Sequence[str], table: LabelTable, report: Reporter
) -> None:
    """Read every case once, before hours of training that they are to measure.

    Raises:
        CasesError: A case has another number of channels.
        InputError: An image or a label cannot be used.
        GeometryError: Image and label lie on different grids.
        LabelError: Label values outside the table.
    """
    for number, case in enumerate(cases):
        report.check()
        assert_channels(case, channel_names)
        _read(case, table)
        report.event("progress", stage="checking validation", done=number + 1, total=len(cases))


def score(predictor: Predictor, cases: tuple[Case, ...], report: Reporter) -> dict[str, Any]:
    """Return the Dice of every structure, and their mean, over the given cases; see ``score_cases``."""
    return in_short(score_cases(predictor, cases, report, distances=False), predictor.table)


def score_cases(
    predictor: Predictor, cases: tuple[Case, ...], report: Reporter, *, distances: bool = True
) -> list[CaseScores]:
    """Score a model on every one of the given cases.

    Args:
        predictor: The model, ready to segment.
        cases: Labelled cases that the network never trained on; each is scored on what its label shows.
        report: May stop; is told of each case.
        distances: Whether surface distances are measured too; overlap alone is many times faster.
    """
    return [
        _case_score(prediction, label, predictor.table, case, distances=distances)
        for case, label, prediction, _ in _predicted(predictor, cases, report)
    ]


def score_and_calibrate(
    predictor: Predictor, cases: tuple[Case, ...], report: Reporter
) -> tuple[list[CaseScores], dict[str, float]]:
    """Return what ``score_cases`` does, and the temperature of the confidence; every case is predicted once.

    Args:
        predictor: The model with temperature 1, ready to segment.
        cases: Labelled cases that the network never trained on.
        report: May stop; is told of each case.

    Returns:
        The scores; and ``temperature`` with the expected calibration error before and after (0..1).
    """
    scores = []
    logs: list[npt.NDArray[np.float32]] = []
    truth: list[npt.NDArray[np.uint8]] = []
    for case, label, prediction, probes in _predicted(predictor, cases, report, probes=PROBES_PER_CASE):
        scores.append(_case_score(prediction, label, predictor.table, case))
        assert probes is not None
        assert prediction.probes is not None
        logs.append(_as_shown(prediction.probes, known_classes(case, predictor.table)))
        truth.append(label[tuple(probes.T)])
    return scores, _calibration(np.concatenate(logs), np.concatenate(truth))


def _predicted(
    predictor: Predictor, cases: tuple[Case, ...], report: Reporter, *, probes: int = 0
) -> Iterator[tuple[Case, npt.NDArray[np.uint8], Prediction, npt.NDArray[np.int64] | None]]:
    """Yield each case with its label, its prediction, and so many voxels of it drawn for calibration."""
    for number, case in enumerate(cases):
        volumes, label = _read(case, predictor.table)
        drawn = draw_probes(label, probes, np.random.default_rng(number)) if probes else None
        yield case, label, predictor.predict(volumes, "balanced", _Quiet(report), probes=drawn), drawn
        report.event("progress", stage="validation", done=number + 1, total=len(cases))


def _calibration(logs: npt.NDArray[np.float32], truth: npt.NDArray[np.uint8]) -> dict[str, float]:
    temperature = fit_temperature(logs, truth)
    errors = [_error(logs / t, truth) for t in (1.0, temperature)]
    return {"temperature": temperature, "error_before": errors[0], "error_after": errors[1]}


def _case_score(
    prediction: Prediction,
    label: npt.NDArray[np.uint8],
    table: LabelTable,
    case: Case,
    *,
    distances: bool = True,
) -> CaseScores:
    return evaluate_case(
        prediction.fused,
        label,
        prediction.geometry.spacing,
        table.classes,
        distances=distances,
        case=case.name,
        known=known_classes(case, table),
    )


def _as_shown(logs: npt.NDArray[np.float32], known: Collection[int] | None) -> npt.NDArray[np.float32]:
    """Count as background what a label does not show, as the label does: (N, C) to (N, C)."""
    hidden = [] if known is None else [c for c in range(1, logs.shape[1]) if c not in known]
    if not hidden:
        return logs
    merged = logs.copy()
    merged[:, 0] = np.logaddexp.reduce(logs[:, [0, *hidden]], axis=1)
    merged[:, hidden] = -np.inf
    return merged


def in_short(scores: Sequence[CaseScores], table: LabelTable) -> dict[str, Any]:
    """Return mean and structures as ``dice`` and ``per_label``; where measured, also HD95 in mm."""
    summary = summarise(scores, table.names[1:])
    short = {"dice": summary.mean.dice, "per_label": {row.name: row.dice for row in summary.labels}}
    if summary.mean.n_distances:
        short["hd95_mm"] = summary.mean.hd95_mm
        short["hd95_mm_per_label"] = {row.name: row.hd95_mm for row in summary.labels}
    return short


def _read(case: Case, table: LabelTable) -> tuple[tuple[Volume, ...], npt.NDArray[np.uint8]]:
    volumes = read_channels(case.channels)
    assert case.label is not None
    return volumes, read_label(case.label, table, volumes[0].geometry).array.astype(np.uint8)


def _error(logits: npt.NDArray[np.float32], truth: npt.NDArray[np.uint8]) -> float:
    probability = torch.from_numpy(logits).softmax(1)
    confidence, label = (part.numpy() for part in probability.max(1))
    return expected_calibration_error(confidence, label == truth)


class _Quiet:
    """Passes on the wish to stop, and nothing else: windows of validation cases are no news."""

    def __init__(self, report: Reporter) -> None:
        self._report = report

    def event(self, kind: str, **fields: Any) -> None:
        """Tell messages only."""
        if kind == "message":
            self._report.event(kind, **fields)

    def check(self) -> None:
        """Stop if the outer reporter does."""
        self._report.check()
