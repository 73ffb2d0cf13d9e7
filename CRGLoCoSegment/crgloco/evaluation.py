"""Score a folder of predictions against a folder of labels.

Files are matched by name, structures by name too: a model may number its labels otherwise than the
project that it is tested on. Nothing is resampled; a case on two grids is named and passed over. Where
the labels are those of a cases folder, a case is scored on the structures that its label shows.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crgloco.data.case_files import LABELS
from crgloco.data.manifest import read_manifest
from crgloco.data.prediction_files import assert_is_result
from crgloco.data.prediction_record import KINDS, read_predictions
from crgloco.errors import InputError, LabelError
from crgloco.file_names import is_file, is_litter
from crgloco.io.files import volume_stem
from crgloco.io.label_files import read_label
from crgloco.io.orientation import on_grid
from crgloco.io.volume_file import volume_suffix
from crgloco.labels import LabelTable
from crgloco.metrics import DEFINITIONS, CaseScores, Summary, evaluate_case, summarise
from crgloco.progress import Reporter, Silent

if TYPE_CHECKING:
    from pathlib import Path

COMPANIONS = tuple(f"_{kind}" for kind in KINDS if kind != "fused")


@dataclass(frozen=True)
class Evaluation:
    """Scores of all cases that could be scored, and what could not.

    Attributes:
        names: The scored structures, in the order of each case's scores.
        cases: Scores per case, sorted by name.
        summary: Means and counts.
        without_prediction: Labels that no prediction has the name of.
        without_label: Predictions that no label has the name of.
        skipped: Why a case could not be scored, by case.
        not_scored: Structures that only the labels or only the predictions know.
    """

    names: tuple[str, ...]
    cases: tuple[CaseScores, ...]
    summary: Summary
    without_prediction: tuple[str, ...] = ()
    without_label: tuple[str, ...] = ()
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    not_scored: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return scores per case and structure, means, counts and every definition as plain values."""
        return {
            "definitions": DEFINITIONS,
            "mean": dataclasses.asdict(self.summary.mean),
            "labels": {row.name: dataclasses.asdict(row) for row in self.summary.labels},
            "cases": {
                case.case: dict(zip(self.names, map(dataclasses.asdict, case.labels), strict=True))
                for case in self.cases
            },
            "without_prediction": list(self.without_prediction),
            "without_label": list(self.without_label),
            "skipped": self.skipped,
            "not_scored": list(self.not_scored),
        }


def evaluate_folders(
    predictions: Path, labels: Path, table: LabelTable | None = None, *, report: Reporter | None = None
) -> Evaluation:
    """Score every case that both folders have, ``<case>.nii.gz`` or another format that we read.

    The predictor's companions (``<case>_global`` and so on) are passed over, and so are results that are
    not those of the last prediction.

    Args:
        predictions: Folder of label volumes; with ``predictions.json``, its label table is used for them.
        labels: Folder of the true label volumes, such as ``labelsTr``.
        table: Label table of the labels; ``None`` to find it in ``dataset.json`` there or one folder
            up, else in ``predictions.json``.
        report: Is told about progress and may stop the work.

    Raises:
        InputError: A folder is missing, no case is in both, or none of them can be read.
        LabelError: No label table was found, or the tables share no structure.
        Cancelled: The reporter asked for an end.
    """
    report = report or Silent()
    predicted, truth = _volumes(predictions), _volumes(labels)
    predicted = {case: path for case, path in predicted.items() if not _is_companion(case, predicted, truth)}
    predicted_table, true_table = _tables(predictions, labels, table)
    names = tuple(name for name in true_table.names[1:] if name in predicted_table.names)
    if not names:
        msg = f"The structures of {labels} and of {predictions} have no name in common."
        raise LabelError(msg)
    shown, stored = _shown(labels, names), read_predictions(predictions)
    scores, skipped = [], {}
    common = sorted(set(predicted) & set(truth))
    for done, case in enumerate(common):
        report.check()
        report.event("progress", stage="evaluate", done=done, total=len(common))
        try:
            assert_is_result(predicted[case], case, stored)
            pair = (predicted[case], predicted_table), (truth[case], true_table)
            scores.append(_score(case, *pair, names, shown.get(case)))
        except InputError as error:
            skipped[case] = str(error)
            report.event("message", text=f"{case} was passed over: {error}")
    report.event("progress", stage="evaluate", done=len(common), total=len(common))
    if not scores:
        nothing = (
            f"No file in {predictions} has the name of a label in {labels}. Give the folder of the results, "
            "and the one with a label of the same name for each case (labelsTr of a cases folder)."
        )
        raise InputError(next(iter(skipped.values()), nothing))
    return Evaluation(
        names,
        tuple(scores),
        summarise(scores, names),
        without_prediction=tuple(sorted(set(truth) - set(predicted))),
        without_label=tuple(sorted(set(predicted) - set(truth))),
        skipped=skipped,
        not_scored=tuple(sorted(set(true_table.names) ^ set(predicted_table.names))),
    )


def _score(
    case: str,
    predicted: tuple[Path, LabelTable],
    truth: tuple[Path, LabelTable],
    names: tuple[str, ...],
    known: set[int] | None,
) -> CaseScores:
    prediction, reference = read_label(*predicted), read_label(*truth)
    what = f"The label {truth[0]} and the prediction {predicted[0]}"
    reference = on_grid(reference, prediction.geometry, what)
    return evaluate_case(
        _numbering(predicted[1], names)[prediction.array],
        _numbering(truth[1], names)[reference.array],
        reference.geometry.spacing,
        len(names) + 1,
        case=case,
        known=known,
    )


def _shown(labels: Path, names: tuple[str, ...]) -> dict[str, set[int]]:
    """Return the scored structures of each case whose label in a cases folder does not show all of them."""
    if labels.absolute().name != LABELS:
        return {}
    manifest = read_manifest(labels.absolute().parent)
    parts = {case: manifest.structures(case) for case in manifest.provenance}
    return {
        case: {number for number, name in enumerate(names, 1) if name in part}
        for case, part in parts.items()
        if part is not None
    }


def _numbering(table: LabelTable, names: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Map the table's class numbers to 1, 2, ... in the order of the names; others become background."""
    wanted = {name: number for number, name in enumerate(names, 1)}
    return np.array([wanted.get(name, 0) for name in table.names], np.uint8)


def _volumes(folder: Path) -> dict[str, Path]:
    """Return the volumes of a flat folder by case."""
    if not folder.is_dir():
        msg = f"{folder} is no folder. Give one that holds label files (.nii.gz, .nrrd, .mha, ...)."
        raise InputError(msg)
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if volume_suffix(path) is None or is_litter(path.name) or not is_file(path):
            continue
        case = volume_stem(path)
        if case in found:
            msg = f"{folder} holds {found[case].name} and {path.name}; one file per case is needed."
            raise InputError(msg)
        found[case] = path
    return found


def _is_companion(name: str, predicted: dict[str, Path], truth: dict[str, Path]) -> bool:
    """Whether a file belongs to another prediction; a case that truly has such a name has a label too."""
    return name not in truth and any(
        name.endswith(ending) and name.removesuffix(ending) in predicted for ending in COMPANIONS
    )


def _tables(predictions: Path, labels: Path, table: LabelTable | None) -> tuple[LabelTable, LabelTable]:
    """Return the label tables of the predictions and of the labels."""
    truth = table
    for folder in (labels, labels.absolute().parent):
        truth = truth or _table_in(folder / "dataset.json")
    predicted = _table_in(predictions / "predictions.json")
    found = predicted or truth
    if found is None:
        msg = (
            f"No label table was found: there is no dataset.json in {labels} or one folder up, and no "
            f"predictions.json with labels in {predictions}. Put a dataset.json beside the labels."
        )
        raise LabelError(msg)
    return predicted or found, truth or found


def _table_in(file: Path) -> LabelTable | None:
    """Read the ``labels`` of a JSON file, nnU-Net's or ours; ``None`` if there are none."""
    if not file.is_file():
        return None
    try:
        values = json.loads(file.read_bytes())
        entries = values.get("labels") if isinstance(values, dict) else None
        if isinstance(entries, dict):
            return LabelTable.from_names(entries)
        return LabelTable.from_json(entries) if isinstance(entries, list) else None
    except (ValueError, OSError, LabelError) as error:
        msg = f"The label table in {file} cannot be read: {error}"
        raise LabelError(msg) from error
