"""Requests about a cases folder: what is in it, one case of it, what is wrong with it. Nothing is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crgloco.data.case_check import Problem
from crgloco.data.case_check import check as check_folder
from crgloco.data.case_split import draw_split
from crgloco.data.case_store import revisions
from crgloco.data.cases import Case, CasesFolder, assert_no_gap, open_cases
from crgloco.data.further_scans import with_further
from crgloco.data.prediction_files import content_of
from crgloco.data.prediction_record import KINDS, LABEL_KINDS, Predictions, file_name, read_predictions
from crgloco.errors import CasesError, CRGLoCoError, InputError, LabelError
from crgloco.io.files import read_source, read_volume
from crgloco.io.label_files import read_label
from crgloco.io.orientation import on_grid
from crgloco.io.volume import Geometry, assert_same_grid
from crgloco.labels import LabelTable
from crgloco.methods import assert_suited, card
from crgloco.progress import Reporter
from crgloco.requests import fields as read
from crgloco.requests.arrays import ArrayFolder
from crgloco.requests.fields import Answer, Fields
from crgloco.requests.tables import assert_all_known


def list_cases(fields: Fields, report: Reporter) -> Answer:
    """Answer ``cases``: what there is, by name, and how far each case is."""
    del report
    root, predictions = read.path(fields, "folder"), read.optional_path(fields, "predictions")
    folder, predicted = open_cases(root), read_predictions(predictions)
    numbers = _revisions(folder)
    cases = sorted((*folder.labelled, *folder.unlabelled), key=lambda case: case.name)
    return {
        "channel_names": list(folder.channel_names),
        "labels": _table(folder),
        "cases": [_row(case, folder.role(case), numbers.get(case.name, 0), predicted) for case in cases],
    }


def open_case(fields: Fields, report: Reporter) -> Answer:
    """Answer ``open``: image, label and prediction of one case as arrays on one grid."""
    folder, name = open_cases(read.path(fields, "folder")), read.text(fields, "case")
    case, out = folder.find(name), ArrayFolder(read.path(fields, "out"))
    assert_no_gap(case)
    grid = _write_images(case, out, report)
    if case.label is not None and folder.table is not None:
        label = read_label(case.label, folder.table, grid)
        out.write("label", folder.table.to_values(label.array))
    predictions = read.optional_path(fields, "predictions")
    record, notes = None, []
    try:
        record = _write_prediction(case, folder.table, grid, predictions, out, report)
    except InputError as error:  # the case can still be drawn by hand
        notes.append(f"The prediction of {name} is left out. {error}")
        for kind in KINDS:
            out.names.pop(kind, None)
    labels = _table(folder)
    if labels is None and record is not None and predictions is not None:
        model_table = read_predictions(predictions).table
        labels = model_table.to_json() if model_table is not None else None
    return {
        "arrays": out.names,
        "geometry": grid.to_json(),
        "channel_names": list(folder.channel_names),
        "labels": labels,
        "record": record,
        "role": folder.role(case),
        "revision": _revisions(folder).get(name, 0),
        "notes": notes,
    }


def check(fields: Fields, report: Reporter) -> Answer:
    """Answer ``check``: read every image and label, and say what is wrong before a training starts.

    With ``labels`` false, as for pre-training, any folder of scans will do, and labels are not looked at.
    With ``method``, labels that show less than that method needs are an error. Unlabelled scans that the
    training would leave out are a warning, as long as others are left.
    """
    root, labels = read.path(fields, "folder"), read.flag(fields, "labels", default=True)
    try:
        folder = open_cases(root)
        if labels or folder.labelled:
            folder = draw_split(folder, store=False)
        whole, copies = with_further(folder, map(Path, read.texts(fields, "unlabelled")))
    except CRGLoCoError as error:
        problem = dataclasses.asdict(Problem("", "error", str(error)))
        counts = {"labelled": 0, "validation": 0, "unlabelled": 0}
        return {"problems": [problem], **counts, "channel_names": [], "labels": None}
    # Together, so that one image in two places is found: what is measured must not have taught.
    told = [Problem("", "warning", copy.text) for copy in copies]
    if not labels:
        told += [Problem("", "warning", text) for text in whole.lost.values()]
        whole = _bare(whole)
    found = _as_training_takes_them(whole, check_folder(whole, report, labels=labels))
    problems = (*_unsuited(whole, fields), *told, *found)
    left_out = {problem.case for problem in found if problem.spared} | set(whole.lost)
    return {
        "problems": [dataclasses.asdict(problem) for problem in problems],
        "labelled": len(whole.training),
        "validation": len(whole.validating),
        "unlabelled": sum(case.name not in left_out for case in whole.unlabelled),
        "channel_names": list(folder.channel_names),
        "labels": _table(whole),
    }


def _unsuited(folder: CasesFolder, fields: Fields) -> tuple[Problem, ...]:
    if fields.get("method") is None:
        return ()
    method = read.text(fields, "method")
    if folder.table is None and card(method).kind == "segmentation":
        text = f"{folder.root} has no labelled case; {card(method).title} needs one. Choose a cases folder."
        return (Problem("", "error", text),)
    try:
        assert_suited(method, folder)
    except CasesError as error:
        return (Problem("", "error", str(error)),)
    return ()


def _as_training_takes_them(folder: CasesFolder, problems: Sequence[Problem]) -> list[Problem]:
    spared = {problem.case for problem in problems if problem.spared}
    if not folder.labelled and len(spared) == len(folder.unlabelled):
        return list(problems)
    return [
        dataclasses.replace(
            problem, severity="warning", text=f"{problem.text} The training goes on without it."
        )
        if problem.spared
        else problem
        for problem in problems
    ]


def _bare(folder: CasesFolder) -> CasesFolder:
    """Return the scans that pre-training learns from: all but those for validation, and no label."""
    teaching = tuple(dataclasses.replace(case, label=None) for case in folder.training)
    others = (case for case in folder.unlabelled if case.name not in folder.validation)
    return dataclasses.replace(
        folder, table=None, labelled=(), unlabelled=(*teaching, *others), validation=()
    )


def _row(case: Case, role: str, revision: int, predicted: Predictions) -> Answer:
    record = predicted.record(case.name) or {}
    found = "mean_confidence" in record
    states = {"validation": "validation", "labelled": "corrected"}
    return {
        "name": case.name,
        "state": states.get(role, "predicted" if found else "unlabelled"),
        "revision": revision,
        "mean_confidence": record.get("mean_confidence"),
        "expected_correction_ml": record.get("expected_correction_ml"),
        "model": predicted.model if found else "",
        "reason": str(record.get("error", "")),
    }


def _revisions(folder: CasesFolder) -> dict[str, int]:
    """Revision of every label; 1 for one that was there before anybody kept books."""
    known = {} if folder.table is None else revisions(folder.root)
    return {
        case.name: known[case.name][-1].revision if known.get(case.name) else 1 for case in folder.labelled
    }


def _table(folder: CasesFolder) -> list[Answer] | None:
    return None if folder.table is None else folder.table.to_json()


def _write_images(case: Case, out: ArrayFolder, report: Reporter) -> Geometry:
    grid: Geometry | None = None
    for number, source in enumerate(case.channels):
        report.check()
        report.event("progress", stage="reading", done=number, total=len(case.channels))
        volume = read_source(source)
        grid = grid or volume.geometry
        volume = on_grid(volume, grid, f"The channels {number} and 0 of {case.name}")
        out.write(f"image_{number}", volume.array)
    if grid is None:
        msg = f"Case {case.name} has no image. Add it to the cases folder first."
        raise InputError(msg)
    return grid


def _write_prediction(
    case: Case,
    table: LabelTable | None,
    grid: Geometry,
    folder: Path | None,
    out: ArrayFolder,
    report: Reporter,
) -> Answer | None:
    """Write what was predicted for exactly this image; return its record, or ``None`` without one.

    Raises:
        InputError: It is of another image, of other labels, or cannot be read.
    """
    predictions = read_predictions(folder)
    record = predictions.record(case.name)
    if folder is None or record is None or "error" in record:
        return None
    if record.get("content") != content_of(case):
        msg = "It was made of another image. Predict the case again."
        raise InputError(msg)
    if predictions.table is None:
        msg = "Its record names no labels. Predict the case again."
        raise LabelError(msg)
    if table is not None:
        assert_all_known(predictions.table, table, "It")
    files = dict(record.get("files", {}))
    for kind in KINDS:
        report.check()
        if kind in files:
            _write_kind(kind, folder / file_name(case.name, kind), grid, predictions.table, out)
    return {**record, "model": predictions.model, "quality": record.get("quality", predictions.quality)}


def _write_kind(kind: str, path: Path, grid: Geometry, table: LabelTable | None, out: ArrayFolder) -> None:
    if kind in LABEL_KINDS and table is not None:
        out.write(kind, table.to_values(read_label(path, table, grid).array))
        return
    volume = read_volume(path)
    assert_same_grid(volume.geometry, grid, f"{path} and the image")
    out.write(kind, np.rint(np.clip(volume.array, 0, 1) * 255).astype(np.uint8))
