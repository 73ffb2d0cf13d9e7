"""How good a model is on the validation cases, and how sure it may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from crgloco.data.cases import Case
from crgloco.inference.confidence import draw_probes, expected_calibration_error, fit_temperature
from crgloco.inference.predictor import Predictor
from crgloco.io.files import read_source
from crgloco.io.label_files import read_label
from crgloco.io.volume import Volume
from crgloco.labels import LabelTable
from crgloco.metrics import evaluate_case, summarise
from crgloco.progress import Reporter

PROBES_PER_CASE = 20_000


def score(predictor: Predictor, cases: tuple[Case, ...], report: Reporter) -> dict[str, Any]:
    """Return the Dice of every structure, and their mean, over the given cases.

    Args:
        predictor: The model, ready to segment.
        cases: Labelled cases that the network never trained on.
        report: May stop; is told of each case.
    """
    table, scores = predictor.table, []
    for number, case in enumerate(cases):
        volumes, label = _read(case, table)
        prediction = predictor.predict(volumes, "balanced", _Quiet(report))
        scores.append(
            evaluate_case(
                prediction.fused,
                label,
                prediction.geometry.spacing,
                table.classes,
                distances=False,
                case=case.name,
            )
        )
        report.event("progress", stage="validation", done=number + 1, total=len(cases))
    summary = summarise(scores, table.names[1:])
    return {"dice": summary.mean.dice, "per_label": {row.name: row.dice for row in summary.labels}}


def calibrate(predictor: Predictor, cases: tuple[Case, ...], report: Reporter) -> dict[str, float]:
    """Fit the temperature of the confidence on the validation cases.

    Returns:
        ``temperature``, and the expected calibration error before and after (0..1).
    """
    logs: list[npt.NDArray[np.float32]] = []
    truth: list[npt.NDArray[np.uint8]] = []
    for number, case in enumerate(cases):
        volumes, label = _read(case, predictor.table)
        probes = draw_probes(label, PROBES_PER_CASE, np.random.default_rng(number))
        prediction = predictor.predict(volumes, "balanced", _Quiet(report), probes=probes)
        if prediction.probes is not None:
            logs.append(prediction.probes)
        truth.append(label[tuple(probes.T)])
        report.event("progress", stage="calibration", done=number + 1, total=len(cases))
    all_logs, all_truth = np.concatenate(logs), np.concatenate(truth)
    temperature = fit_temperature(all_logs, all_truth)
    errors = [_error(all_logs / t, all_truth) for t in (1.0, temperature)]
    return {"temperature": temperature, "error_before": errors[0], "error_after": errors[1]}


def _read(case: Case, table: LabelTable) -> tuple[tuple[Volume, ...], npt.NDArray[np.uint8]]:
    volumes = tuple(read_source(source) for source in case.channels)
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
