"""From trained weights to a model: measured on the validation cases, calibrated, described, saved."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from crgloco import __version__, model_store
from crgloco.atomic import LONG_PAUSES_S, patiently
from crgloco.data.case_store import revisions
from crgloco.data.provenance import source_hash
from crgloco.jobs import JobFolder
from crgloco.methods.base import Method
from crgloco.metrics import where_both_found
from crgloco.model_card import BranchCard, ModelCard
from crgloco.model_store import StartModel
from crgloco.options import to_mapping
from crgloco.progress import Reporter
from crgloco.training.preparing import taught_without_label
from crgloco.training.run import Run
from crgloco.training.validation import in_short, score_and_calibrate, score_cases

LICENCE = "As the training data; not to be passed on unless their licence allows it."


def finish(
    started: Run, method: Method, folder: JobFolder, training: dict[str, Any], report: Reporter
) -> Path:
    """Save the trained model, after it was compared with its start model; clear the job folder.

    Args:
        started: The run.
        method: The trained method.
        folder: Where the run kept its state; its checkpoint is removed.
        training: What the card tells of the training so far.
        report: Hears ``comparison`` and ``model``.

    Returns:
        The model's folder.

    Raises:
        ResourceError: The model cannot be written.
    """
    job, selection = started.job, started.selection
    calibration: dict[str, float] = {"temperature": 1.0}
    scores: dict[str, Any] = {}
    if selection.validation and method.kind == "segmentation":
        new = started.predictor(method.averaged)
        cases, calibration = score_and_calibrate(new, selection.validation, report)
        scores["new"] = in_short(cases, selection.table)
        if job.start is not None and started.parent is not None and started.parent.card.branches:
            # As it was at the beginning: its folder may be renamed, deleted or another model's by now.
            loaded = model_store.build(job.start, started.parent.card, started.parent.tensors)
            start = started.predictor(loaded.network)
            # Distances are comparable only where both found a structure; overlaps stay.
            both = where_both_found(cases, score_cases(start, selection.validation, report))
            scores["new"], scores["start"] = (in_short(part, selection.table) for part in both)
            scores["made_from_start"] = _made_from(started.parent, started)
        report.event("comparison", **scores)
    card = _card(started, method, calibration, {**training, "metrics": scores})
    model_store.save(job.out, card, method.weights_to_keep())
    folder.finish({"model": str(job.out), "metrics": scores})
    for file in (folder.checkpoint_file, folder.taught_file):
        with suppress(OSError):  # in use: the model is there, and what is left over does no harm
            patiently(partial(file.unlink, missing_ok=True), LONG_PAUSES_S)
    shutil.rmtree(folder.rounds_folder, ignore_errors=True)
    report.event("model", path=str(job.out), title=card.title, metrics=scores)
    return job.out


def _made_from(parent: StartModel, started: Run) -> list[str]:
    """Name the validation cases whose labels are the start model's own answers, corrected.

    On them the start model looks better than it is: what nobody changed agrees with it by itself.
    """
    history = revisions(started.job.cases)
    return [
        case.name
        for case in started.selection.validation
        if history.get(case.name) and history[case.name][-1].model == parent.card.weights_sha256
    ]


def _card(started: Run, method: Method, calibration: dict[str, float], training: dict[str, Any]) -> ModelCard:
    job, selection = started.job, started.selection
    branches = tuple(
        BranchCard(branch.name, branch.window, branch.scale, branch.weight) for branch in method.branches()
    )
    # Whoever goes on correcting meanwhile moves scans: what was taught is known from its beginning.
    unlabelled = taught_without_label(started.cases, started.config)
    roles = {
        "labelled": {case.name: case.source for case in started.cases.labelled},
        "unlabelled": {case.name: case.source for case in unlabelled},
        "validation": {case.name: source_hash(case.channels[0]) for case in selection.validation},
    }
    return ModelCard(
        name=job.out.name,
        title=job.title or job.out.name,
        method=job.method,
        config=to_mapping(started.config),
        labels=selection.table,
        channel_names=selection.channel_names,
        preparation=started.preparation.to_json(),
        network=started.task.to_json(),
        branches=branches,
        calibration=calibration,
        intended_use="Research only; every result must be checked by an expert. Not a medical device.",
        licence=LICENCE,
        parent=None if started.parent is None else started.parent.card.weights_sha256,
        training={
            **roles,
            "configuration": job.config_name,
            "seed": job.seed,
            "deviations": list(method.deviations),
            **started.pieces.to_json(selection.table),
            **training,
        },
        engine=__version__,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
