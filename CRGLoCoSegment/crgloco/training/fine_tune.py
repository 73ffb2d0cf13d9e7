"""From a job to a new model: cases, preparation, training, comparison, model folder."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from crgloco import gpu_faults, methods, model_store
from crgloco.data.cache import PreparedCase
from crgloco.data.dataset import SampleStream, Slots
from crgloco.data.patches import TrainingCase
from crgloco.errors import Cancelled, CasesError, ModelError, OptionError, ResourceError
from crgloco.inference.device import choose_device
from crgloco.job_file import Job
from crgloco.jobs import JobFolder
from crgloco.memory_faults import tells_of_memory
from crgloco.methods.base import Method, Task, settled
from crgloco.networks.options import NETWORK_OPTIONS, DualResolutionOptions, updates_going_on
from crgloco.options import from_mapping, three_numbers, to_mapping
from crgloco.progress import Reporter
from crgloco.training.checkpoint import Checkpoint
from crgloco.training.distributed import Team, agree, join_team, leave_team, own_gpu
from crgloco.training.finishing import finish
from crgloco.training.pieces import pieces_of
from crgloco.training.preparing import Prepared, assert_goes_on, prepare, taught_without_label, teaches_on
from crgloco.training.rounds import Rounds
from crgloco.training.run import Run
from crgloco.training.selection import select_cases, select_scans
from crgloco.training.taught import remember, taught_before
from crgloco.training.trainer import Schedule, Trainer
from crgloco.training.validation import assert_usable, score

RESIDENT_SHARE = 0.4
MIRRORED = (0, 1)  # K and J where scans are mirrored at all: left-right would make the names of sides wrong
LEAST_TAKEN = 0.5  # of the numbers in the networks: with a new head or stem it is far more


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
    device = choose_device(job.device, report, number=own_gpu())
    team = join_team(device.type)
    claim = folder.claimed() if team.leads else contextlib.nullcontext()
    alone = True  # what fails, fails in this process; who finishes or stops does so with all others
    try:
        with claim:
            model = _run(job, folder, report, device, team)
        alone = False
        return model
    except Cancelled:
        alone = False
        raise
    except (MemoryError, RuntimeError) as error:
        if not tells_of_memory(error):
            fault = gpu_faults.in_words(error)
            if fault is None:
                raise
            raise fault from error
        where = "computer" if device.type == "cpu" else "GPU"
        msg = (
            f"The memory of the {where} does not suffice for this training. Close other programs that use "
            "it; else train with a smaller window (option window_voxels) or fewer crops per update "
            "(labelled_batch, unlabelled_batch)."
        )
        raise ResourceError(msg) from error
    finally:
        leave_team(alone=alone)


def _run(job: Job, folder: JobFolder, report: Reporter, device: torch.device, team: Team) -> Path:
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
    select = select_scans if methods.card(job.method).kind == "pretraining" else select_cases
    selection = select(job, folder.split_file)
    parent = None if job.start is None else model_store.load_start(job.start)
    config = resolve_config(job, parent)
    spacing = three_numbers(config.spacing, "spacing")
    if parent is not None:
        assert_goes_on(parent, selection, spacing)
    for text in selection.left_out:
        report.event("message", text=text)
    if methods.card(job.method).kind == "segmentation":
        assert_usable(selection.validation, selection.channel_names, selection.table, report)
    cache = job.out.parent / ".crgloco-cache"
    before = taught_before(folder, selection, cache, report)
    cases = prepare(selection, spacing, parent, cache, report) if before is None else before
    if not agree(team, repr([case.folder.name for case in (*cases.labelled, *cases.unlabelled)])):
        msg = "Not every process could read the same scans. See to it that all can be read, and start again."
        raise CasesError(msg)
    report.event("message", text=_in_words(cases, config, parent))
    task = _task(config, cases, parent)
    config = _as_long_as_they_teach(settled(config, task), job, cases, parent, report)
    pieces = pieces_of(cases.labelled, parent if teaches_on(cases.labelled, parent) else None)
    started = Run(job, cases, config, task, device, team, parent, pieces)
    method = build_method(started, report)
    trainer = _trainer(started, method, folder, report)
    if team.leads and not folder.checkpoint_file.exists():  # else it may yet be refused for what is there now
        remember(cases, folder)
    timings = trainer.fit()
    del trainer  # on a GPU its cases and its optimiser make room for what measures the model
    if not team.leads:
        return job.out
    if timings.updates < config.iterations:
        text = f"The time of {job.minutes:g} min ended the training: {timings.updates} of {config.iterations}"
        report.event("message", text=f"{text} updates are done.")
    training = {"updates": timings.updates, "waiting_share": round(timings.waiting_share, 4)}
    return finish(started, method, folder, training, report)


def resolve_config(job: Job, parent: model_store.StartModel | None) -> DualResolutionOptions:
    """Return the method's options: named configuration, then the start model's networks, then the job's own.

    Raises:
        OptionError: There is no such method, configuration or option, or a value is out of range.
    """
    known = {} if parent is None else parent.card.config
    values = {
        **methods.configuration(job.method, job.config_name),
        **{name: known[name] for name in NETWORK_OPTIONS if name in known},
        **job.config,
        **({} if job.iterations is None else {"iterations": job.iterations}),
    }
    config: DualResolutionOptions = from_mapping(methods.get(job.method).Config, values)
    return config


def build_method(started: Run, report: Reporter) -> Method:
    """Build the method on its device, with the weights of the start model where they fit.

    Raises:
        ModelError: Nothing fits.
        OptionError: Little fits, by options of the networks that the job names.
    """
    torch.manual_seed(started.job.seed)
    method = methods.get(started.job.method)(started.config, started.task)
    if started.parent is not None:
        taken = method.start_from(started.parent.tensors)
        _assert_not_lost(started, started.parent, taken, method)
        report.event("message", text=_taken_in_words(started.parent, taken, method))
    return method.to(started.device)


def _assert_not_lost(
    started: Run, parent: model_store.StartModel, taken: Sequence[str], method: Method
) -> None:
    """Refuse options of the job's own by which most of what the start model knows would be lost."""
    own, known = to_mapping(started.config), parent.card.config
    named = [name for name in NETWORK_OPTIONS if name in started.job.config and name in known]
    others = [name for name in named if own[name] != known[name]]
    weights = method.networks.state_dict()
    # Methods have more and fewer networks than one another; what both have is not lost by an option.
    shared = min(_numbers(weights, weights), _numbers(parent.tensors, parent.tensors))
    if not others or _numbers(weights, taken) >= LEAST_TAKEN * shared:
        return
    has, asked = (", ".join(f"{name}={values[name]}" for name in others) for values in (known, own))
    msg = (
        f"The start model {parent.card.name!r} has {has}: with {asked} only {len(taken)} of its "
        f"{len(parent.tensors)} weights fit. Leave {' and '.join(others)} to the start model, or train "
        "without one."
    )
    raise OptionError(msg)


def _numbers(weights: Mapping[str, torch.Tensor], names: Iterable[str]) -> int:
    return sum(weights[name].numel() for name in names)


def _task(config: DualResolutionOptions, cases: Prepared, parent: model_store.StartModel | None) -> Task:
    selection = cases.selection
    flips = MIRRORED if config.flips == "auto" else ()
    if parent is not None:
        known = Task.from_json(parent.card.network)
        return replace(known, classes=selection.table.classes, flip_axes=flips)
    return Task(
        channels=len(selection.channel_names),
        classes=selection.table.classes,
        spacing=cases.preparation.spacing,
        shapes=tuple(case.shape for case in (*cases.labelled, *cases.unlabelled)),
        flip_axes=flips,
    )


def _trainer(started: Run, method: Method, folder: JobFolder, report: Reporter) -> Trainer:
    job, config, team = started.job, started.config, started.team
    labelled, unlabelled = started.cases.labelled, started.cases.unlabelled
    assert_enough_at_once(method, config.labelled_batch, team.processes)
    home = started.device if _fits(started.device, [*labelled, *unlabelled]) else None
    sides = [[TrainingCase.open(case, home) for case in side] for side in (labelled, unlabelled)]
    slots = Slots(config.labelled_batch, config.unlabelled_batch, team.rank, team.processes)
    threads = 1 if started.device.type == "cpu" else 4
    stream = SampleStream(sides[0], sides[1], method.views, slots, job.seed, threads=threads)
    schedule = Schedule(
        config.iterations, learning_rate(started, method), job.seed, job.minutes, _validation_steps(started)
    )
    checkpoint = Checkpoint(folder.checkpoint_file, _identity(started))

    def validate() -> dict[str, Any]:
        return score(started.predictor(method.averaged), started.selection.validation, report)

    rounds = Rounds(
        folder.rounds_folder,
        {case.name: case for case in unlabelled},
        lambda: started.predictor(method.averaged, keep_islands=True),
        report,
        team,
    )
    wanted = validate if started.selection.validation and method.kind == "segmentation" else None
    return Trainer(method, schedule, stream, report, checkpoint, wanted, team, rounds)


def _identity(started: Run) -> dict[str, Any]:
    """Return what a run is: a checkpoint of one that differs in any of it is refused."""
    labelled, unlabelled = started.cases.labelled, started.cases.unlabelled
    partial = {case.name: list(case.known) for case in labelled if case.known is not None}
    return {
        "method": started.job.method,
        "config": to_mapping(started.config),
        "task": started.task.to_json(),
        "seed": started.job.seed,
        "cases": [case.folder.name for case in (*labelled, *unlabelled)],
        "labelled": len(labelled),
        **({"known": partial} if partial else {}),
        **({"start": started.parent.card.weights_sha256} if started.parent else {}),
    }


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


def _as_long_as_they_teach(
    config: DualResolutionOptions,
    job: Job,
    cases: Prepared,
    parent: model_store.StartModel | None,
    report: Reporter,
) -> DualResolutionOptions:
    """Return fewer updates where a run goes on with few cases, unless somebody asked for a number; say so."""
    named = methods.configuration(job.method, job.config_name)
    asked = job.iterations is not None or "iterations" in job.config or "iterations" in named
    if asked or not teaches_on(cases.labelled, parent):
        return config
    unlabelled = len(taught_without_label(cases, config))
    updates = updates_going_on(config.iterations, len(cases.labelled), unlabelled)
    text = f"Going on from a model: {updates} updates suit these cases, as no number was named."
    report.event("message", text=text)
    return replace(config, iterations=updates)


def learning_rate(started: Run, method: Method) -> float:
    """Return the rate at the start of a run; at the full one, few labels make a model forget what it knew.

    Where none of its heads fits, nothing segments yet: what is new would hardly learn at a small rate.
    """
    labelled, parent = started.cases.labelled, started.parent
    goes_on = parent is not None and teaches_on(labelled, parent) and _has_head_of(parent, method)
    share = started.config.start_rate * len(labelled) if goes_on else 1.0
    return started.config.learning_rate * min(1.0, share)


def _has_head_of(parent: model_store.StartModel, method: Method) -> bool:
    """Whether at least one head of a method can be, as a whole, that of the start model."""
    known = method.fitting(parent.tensors)
    heads = [part for part in method.networks.named_children() if part[0].endswith("_head")]
    return any(all(f"{name}.{key}" in known for key in head.state_dict()) for name, head in heads)


def _fits(device: torch.device, cases: Sequence[PreparedCase]) -> bool:
    """Whether all prepared cases may live on the device, so that no copy ever stalls the loop."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    need = sum((2 * case.channels + 1) * math.prod(case.shape) for case in cases)
    return need < RESIDENT_SHARE * free


def _validation_steps(started: Run) -> int:
    """Four validations on a GPU; on a CPU, where each takes minutes, one half-way."""
    return max(1, started.config.iterations // (4 if started.device.type == "cuda" else 2))


def _taken_in_words(parent: model_store.StartModel, taken: Sequence[str], method: Method) -> str:
    """List what starts from the model and what starts at random, part by part."""
    names = set(method.networks.state_dict())
    fresh = sorted({".".join(name.split(".")[:2]) for name in names - set(taken)})
    rest = f" New: {', '.join(fresh)}." if fresh else ""
    return f"{len(taken)} of {len(names)} weights start from {parent.card.title!r}.{rest}"


def _in_words(cases: Prepared, config: DualResolutionOptions, parent: model_store.StartModel | None) -> str:
    validation, unlabelled = cases.selection.validation, len(cases.unlabelled)
    drawn = len(taught_without_label(cases, config))
    text = (
        f"Training on {len(cases.labelled)} labelled and {drawn} unlabelled cases; "
        f"{len(validation)} are kept for validation."
    )
    if drawn < unlabelled:
        text += f" Scans without label, {unlabelled} here, teach nothing (unlabelled_batch=0)."
    if validation or not cases.labelled:
        return text
    text += " Nothing will be measured, and the confidence of the new model is not calibrated."
    if len(cases.labelled) == 1 and parent is not None and parent.card.branches:
        text += f" A single label may well make it worse on other scans: keep {parent.card.title!r}."
    return text
