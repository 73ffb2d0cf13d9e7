"""From a job to a new model: cases, preparation, training, comparison, model folder."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crgloco import __version__, methods, model_store
from crgloco.data.cache import PreparedCase, is_there, prepare_case
from crgloco.data.case_store import revisions
from crgloco.data.cases import Case, source_hash
from crgloco.data.dataset import SampleStream, Slots
from crgloco.data.patches import TrainingCase
from crgloco.data.preparation import Preparation
from crgloco.errors import CasesError, ModelError, OptionError, ResourceError
from crgloco.inference.device import choose_device
from crgloco.inference.execution import tells_of_memory
from crgloco.inference.predictor import Predictor
from crgloco.jobs import Job, JobFolder
from crgloco.labels import LabelTable
from crgloco.methods.base import Method, Task
from crgloco.metrics import where_both_found
from crgloco.model_card import BranchCard, ModelCard
from crgloco.networks.dual_resolution import DualResolution
from crgloco.networks.options import NETWORK_OPTIONS, DualResolutionOptions
from crgloco.options import from_mapping, three_numbers, to_mapping
from crgloco.progress import Reporter
from crgloco.training.checkpoint import Checkpoint
from crgloco.training.distributed import Team, join_team, leave_team
from crgloco.training.rounds import Rounds
from crgloco.training.selection import Selection, select_cases, select_scans
from crgloco.training.trainer import Schedule, Trainer
from crgloco.training.validation import assert_usable, in_short, score, score_and_calibrate, score_cases

RESIDENT_SHARE = 0.4
LICENCE = "As the training data; not to be passed on unless their licence allows it."


@dataclass(frozen=True)
class Run:
    """Everything that stands before the first update.

    Attributes:
        job: What was asked for.
        selection: Cases by role.
        preparation: How scans become arrays.
        config: The method's options.
        task: What the scans are like.
        device: Where the networks run.
        team: The processes that share the run.
        parent: The start model.
    """

    job: Job
    selection: Selection
    preparation: Preparation
    config: DualResolutionOptions
    task: Task
    device: torch.device
    team: Team
    parent: model_store.StartModel | None


def run(job: Job, folder: JobFolder, report: Reporter) -> Path:
    """Train the model that a job asks for; called again after a stop, it resumes.

    Args:
        job: What to train on what.
        folder: Where checkpoint and events are kept.
        report: Hears ``progress``, ``message``, ``validation`` and ``model``; may stop.

    Returns:
        The new model's folder.

    Raises:
        CRGLoCoError: Anything the user can repair; the checkpoint stays.
    """
    if job.out.exists():
        msg = f"{job.out} exists already; a model is never overwritten. Choose another name."
        raise ModelError(msg)
    device = choose_device(job.device)
    team = join_team(device.type)
    claim = folder.claimed() if team.leads else contextlib.nullcontext()
    try:
        with claim:
            return _run(job, folder, report, device, team)
    except (MemoryError, RuntimeError) as error:
        if not tells_of_memory(error):
            raise
        where = "computer" if device.type == "cpu" else "GPU"
        msg = (
            f"The memory of the {where} does not suffice for this training. Close other programs that use "
            "it; else train with a smaller window (option window_voxels) or fewer crops per update "
            "(labelled_batch, unlabelled_batch)."
        )
        raise ResourceError(msg) from error
    finally:
        leave_team()


def _run(job: Job, folder: JobFolder, report: Reporter, device: torch.device, team: Team) -> Path:
    if device.type == "cuda":
        device = torch.device("cuda", team.local_rank if team.processes > 1 else device.index or 0)
    select = select_scans if methods.card(job.method).kind == "pretraining" else select_cases
    selection = select(job, folder.path / "split.json")
    parent = None if job.start is None else model_store.load_start(job.start)
    config = resolve_config(job, parent)
    preparation = _preparation(config, selection, parent, report)
    for text in (*selection.left_out, _in_words(selection)):
        report.event("message", text=text)
    if methods.card(job.method).kind == "segmentation":
        assert_usable(selection.validation, selection.channel_names, selection.table, report)
    prepared = _prepare(selection, preparation, job.out.parent / ".crgloco-cache", report)
    _assert_shown(selection, prepared)
    task = _task(config, selection, prepared, preparation, parent)
    started = Run(job, selection, preparation, config, task, device, team, parent)
    method = build_method(started, report)
    labelled, unlabelled = prepared[: len(selection.labelled)], prepared[len(selection.labelled) :]
    trainer = _trainer(started, method, folder, labelled, unlabelled, report)
    timings = trainer.fit()
    if not team.leads:
        return job.out
    training = {"updates": timings.updates, "waiting_share": round(timings.waiting_share, 4)}
    return _finish(started, method, folder, training, report)


def resolve_config(job: Job, parent: model_store.StartModel | None) -> DualResolutionOptions:
    """Return the method's options: named configuration, then the start model's networks, then the job's own.

    Raises:
        OptionError: There is no such method, configuration or option, or a value is out of range.
    """
    card = methods.card(job.method)
    if job.config_name not in card.configurations:
        known = ", ".join(card.configurations)
        msg = f"{job.method!r} has no configuration {job.config_name!r}. Configurations: {known}."
        raise OptionError(msg)
    values = dict(card.configurations[job.config_name])
    if parent is not None:
        values.update(
            {name: parent.card.config[name] for name in NETWORK_OPTIONS if name in parent.card.config}
        )
    values.update(job.config)
    if job.iterations is not None:
        values["iterations"] = job.iterations
    config: DualResolutionOptions = from_mapping(methods.get(job.method).Config, values)
    return config


def build_method(started: Run, report: Reporter) -> Method:
    """Build the method on its device, with the weights of the start model where they fit."""
    torch.manual_seed(started.job.seed)
    method = methods.get(started.job.method)(started.config, started.task)
    if started.parent is not None:
        taken = method.start_from(started.parent.tensors)
        report.event("message", text=_taken_in_words(started.parent, taken, method))
    return method.to(started.device)


def _preparation(
    config: DualResolutionOptions,
    selection: Selection,
    parent: model_store.StartModel | None,
    report: Reporter,
) -> Preparation:
    spacing = three_numbers(config.spacing, "spacing")
    if parent is None:
        cases = (*selection.labelled, *selection.unlabelled)
        return Preparation.fit(cases, selection.channel_names, spacing, report)
    table = parent.card.labels
    same = (table.names, table.values) == (selection.table.names, selection.table.values)
    if not same and not model_store.is_pretraining(parent.card):
        msg = (
            f"The start model {parent.card.name!r} knows {', '.join(table.names[1:])}; the cases are "
            f"labelled with {', '.join(selection.table.names[1:])}. "
            "Choose a start model with the same label table."
        )
        raise ModelError(msg)
    if len(parent.preparation.rules) != len(selection.channel_names):
        msg = (
            f"The start model {parent.card.name!r} expects {len(parent.preparation.rules)} channels; the "
            f"cases have {len(selection.channel_names)}."
        )
        raise ModelError(msg)
    if spacing is not None and not np.allclose(spacing, parent.preparation.spacing, rtol=1e-3):
        known = ",".join(f"{mm:g}" for mm in parent.preparation.spacing)
        msg = (
            f"The start model {parent.card.name!r} sees voxels of {known} mm and goes on so; the option "
            f"spacing asks for {config.spacing}. Leave it out, or train without a start model."
        )
        raise OptionError(msg)
    return parent.preparation


def _prepare(
    selection: Selection, preparation: Preparation, cache: Path, report: Reporter
) -> list[PreparedCase]:
    cases: Sequence[Case] = (*selection.labelled, *selection.unlabelled)
    prepared = []
    new = [not is_there(case, cache) for case in cases]
    for number, case in enumerate(cases):
        report.check()
        table = selection.table if number < len(selection.labelled) else None
        prepared.append(prepare_case(case, preparation, table, cache, report))
        report.event("progress", stage="preparing", done=number + 1, total=len(cases))
        _check_space(cache, prepared, sum(new[number + 1 :]))
    return prepared


def _assert_shown(selection: Selection, prepared: Sequence[PreparedCase]) -> None:
    """Refuse labels in which nothing was drawn: what they teach is that there is nothing."""
    labelled = prepared[: len(selection.labelled)]
    if labelled and not any(number > 0 for case in labelled for number in case.locations()):
        names = ", ".join(selection.table.names[1:])
        msg = (
            f"No label of the {len(labelled)} training case(s) shows any structure ({names}): there is "
            "nothing to learn. Check that the labels were saved with these values."
        )
        raise CasesError(msg)


def _check_space(cache: Path, prepared: list[PreparedCase], left: int) -> None:
    sizes = [2 * case.channels * int(np.prod(case.shape)) for case in prepared]
    need = int(np.mean(sizes) * left)
    free = shutil.disk_usage(cache).free
    if need > free:
        msg = (
            f"The prepared cases need about {need >> 20} MB more, but {cache} has {free >> 20} MB free. "
            "Free some space, or put the new model on another disk."
        )
        raise ResourceError(msg)


def _task(
    config: DualResolutionOptions,
    selection: Selection,
    prepared: Sequence[PreparedCase],
    preparation: Preparation,
    parent: model_store.StartModel | None,
) -> Task:
    flips = flip_axes(selection.table) if config.flips == "auto" else ()
    if parent is not None:
        known = Task.from_json(parent.card.network)
        return replace(known, classes=selection.table.classes, flip_axes=flips)
    return Task(
        channels=len(selection.channel_names),
        classes=selection.table.classes,
        spacing=preparation.spacing,
        shapes=tuple(case.shape for case in prepared),
        flip_axes=flips,
    )


def flip_axes(table: LabelTable) -> tuple[int, ...]:
    """Return the axes of prepared arrays that may be mirrored: not I, left-right, where a label names a side.

    Args:
        table: The label table.
    """
    return (0, 1, 2) if table.mirrored_classes() is None else (0, 1)


def _trainer(
    started: Run,
    method: Method,
    folder: JobFolder,
    labelled: Sequence[PreparedCase],
    unlabelled: Sequence[PreparedCase],
    report: Reporter,
) -> Trainer:
    job, config, team = started.job, started.config, started.team
    assert_enough_at_once(method, config.labelled_batch, team.processes)
    home = started.device if _fits(started.device, [*labelled, *unlabelled]) else None
    sides = [[TrainingCase.open(case, home) for case in side] for side in (labelled, unlabelled)]
    slots = Slots(config.labelled_batch, config.unlabelled_batch, team.rank, team.processes)
    threads = 1 if started.device.type == "cpu" else 4
    stream = SampleStream(sides[0], sides[1], method.views, slots, job.seed, threads=threads)
    schedule = Schedule(
        config.iterations, learning_rate(started), job.seed, job.minutes, _validation_steps(started)
    )
    partial = {case.name: list(case.known) for case in labelled if case.known is not None}
    identity = {
        "method": job.method,
        "config": to_mapping(config),
        "task": started.task.to_json(),
        "seed": job.seed,
        "cases": [case.folder.name for case in (*labelled, *unlabelled)],
        "labelled": len(labelled),
        **({"known": partial} if partial else {}),
    }
    checkpoint = Checkpoint(folder.checkpoint_file, identity)

    def validate(step: int) -> dict[str, Any]:
        del step
        return score(_predictor(started, method.averaged), started.selection.validation, report)

    rounds = Rounds(
        folder.rounds_folder,
        {case.name: case for case in unlabelled},
        lambda: _predictor(started, method.averaged),
        report,
        team,
    )
    wanted = validate if started.selection.validation and method.kind == "segmentation" else None
    return Trainer(method, schedule, stream, report, checkpoint, wanted, team, rounds)


def assert_enough_at_once(method: Method, labelled: int, processes: int) -> None:
    """Refuse to share so few labelled samples that a process could not do a part of the method.

    Raises:
        OptionError: A process would have too few.
    """
    if labelled // processes < method.labelled_at_once:
        least = method.labelled_at_once * processes
        msg = (
            f"{method.title} needs {method.labelled_at_once} labelled windows in each process and update. "
            f"Set labelled_batch to at least {least} for {processes} process(es)."
        )
        raise OptionError(msg)


def learning_rate(started: Run) -> float:
    """Return the rate at the start of a run; at the full one, a model soon forgets what it knew."""
    goes_on = started.parent is not None and not model_store.is_pretraining(started.parent.card)
    return started.config.learning_rate * (started.config.start_rate if goes_on else 1.0)


def _fits(device: torch.device, cases: Sequence[PreparedCase]) -> bool:
    """Whether all prepared cases may live on the device, so that no copy ever stalls the loop."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    need = sum((2 * case.channels + 1) * int(np.prod(case.shape)) for case in cases)
    return need < RESIDENT_SHARE * free


def _validation_steps(started: Run) -> int:
    """Four validations on a GPU; on a CPU, where each takes minutes, one half-way."""
    return max(1, started.config.iterations // (4 if started.device.type == "cuda" else 2))


def _finish(
    started: Run, method: Method, folder: JobFolder, training: dict[str, Any], report: Reporter
) -> Path:
    job, selection = started.job, started.selection
    calibration: dict[str, float] = {"temperature": 1.0}
    scores: dict[str, Any] = {}
    if selection.validation and method.kind == "segmentation":
        new = _predictor(started, method.averaged)
        cases, calibration = score_and_calibrate(new, selection.validation, report)
        scores["new"] = in_short(cases, selection.table)
        if job.start is not None and started.parent is not None and started.parent.card.branches:
            loaded = model_store.load(job.start)
            start = _predictor(started, loaded.network)
            # Distances are comparable only where both found a structure; overlaps stay.
            both = where_both_found(cases, score_cases(start, selection.validation, report))
            scores["new"], scores["start"] = (in_short(part, selection.table) for part in both)
            scores["made_from_start"] = _made_from_start(started)
        report.event("comparison", **scores)
    card = _card(started, method, calibration, {**training, "metrics": scores})
    model_store.save(job.out, card, method.weights_to_keep())
    folder.finish({"model": str(job.out), "metrics": scores})
    folder.checkpoint_file.unlink(missing_ok=True)
    shutil.rmtree(folder.rounds_folder, ignore_errors=True)
    report.event("model", path=str(job.out), title=card.title, metrics=scores)
    return job.out


def _made_from_start(started: Run) -> list[str]:
    """Name the validation cases whose labels are the start model's own answers, corrected.

    On them the start model looks better than it is: what nobody changed agrees with it by itself.
    """
    parent, root = started.parent, started.job.cases
    history = revisions(root) if parent is not None else {}
    return [
        case.name
        for case in started.selection.validation
        if parent is not None
        and history.get(case.name)
        and history[case.name][-1].model == parent.card.weights_sha256
    ]


def _predictor(started: Run, network: DualResolution) -> Predictor:
    return Predictor(network, started.preparation, started.selection.table, device=started.device)


def _card(started: Run, method: Method, calibration: dict[str, float], training: dict[str, Any]) -> ModelCard:
    job, selection = started.job, started.selection
    branches = tuple(
        BranchCard(branch.name, branch.window, branch.scale, branch.weight) for branch in method.branches()
    )
    roles = {
        "labelled": selection.labelled,
        "unlabelled": selection.unlabelled,
        "validation": selection.validation,
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
            **{role: {case.name: _hash(case) for case in cases} for role, cases in roles.items()},
            "configuration": job.config_name,
            "seed": job.seed,
            "deviations": list(method.deviations),
            **training,
        },
        engine=__version__,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def _hash(case: Case) -> str:
    return source_hash(case.channels[0])


def _taken_in_words(parent: model_store.StartModel, taken: Sequence[str], method: Method) -> str:
    """List what starts from the model and what starts at random, part by part."""
    names = set(method.networks.state_dict())
    fresh = sorted({".".join(name.split(".")[:2]) for name in names - set(taken)})
    rest = f" New: {', '.join(fresh)}." if fresh else ""
    return f"{len(taken)} of {len(names)} weights start from {parent.card.title!r}.{rest}"


def _in_words(selection: Selection) -> str:
    text = (
        f"Training on {len(selection.labelled)} labelled and {len(selection.unlabelled)} unlabelled cases; "
        f"{len(selection.validation)} are kept for validation."
    )
    if selection.validation or not selection.labelled:
        return text
    return f"{text} Nothing will be measured, and the confidence of the new model is not calibrated."
