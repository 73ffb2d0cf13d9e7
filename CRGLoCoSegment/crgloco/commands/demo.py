"""``crgloco demo``: the main job on a real scan, from segmentation to a fine-tuned model."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from crgloco import jobs, methods, model_store
from crgloco.atomic import LONG_PAUSES_S, PART, patiently, saving
from crgloco.commands import evaluate, predict, train
from crgloco.commands.arguments import (
    BUNDLED_MODELS,
    OK,
    RESOURCES,
    SOME_CASES_FAILED,
    add_command,
    add_device,
    add_quality,
    model_folder,
    whole_number,
)
from crgloco.commands.bars import duration
from crgloco.commands.console import Console
from crgloco.errors import ResourceError
from crgloco.file_names import free_name
from crgloco.job_file import Job

if TYPE_CHECKING:
    from crgloco.commands.arguments import Subparsers
    from crgloco.data.cases import Case

STARTER = BUNDLED_MODELS / "chaos_mr_starter"
SAMPLE = RESOURCES / "Samples" / "chaos_mr"
# A few updates show the way; a real fine-tuning takes some hundred.
ITERATIONS = 20
# On a slow computer the updates end here; the schedule follows the clock.
MINUTES = 2.5


def add_to(commands: Subparsers) -> None:
    """Add the command."""
    text = "segment the sample scans, compare one with its manual label, and fine-tune the starter model"
    parser = add_command(commands, "demo", run, text, positionals=False)
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="default: demo-output")
    parser.add_argument("--model", type=model_folder, default=STARTER, help="default: the starter model")
    parser.add_argument("--sample", type=Path, default=SAMPLE, help="default: the bundled sample")
    parser.add_argument(
        "--iterations",
        type=whole_number,
        default=ITERATIONS,
        metavar="N",
        help=f"default: {ITERATIONS}; at most {MINUTES:g} minutes",
    )
    add_quality(parser)
    add_device(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Walk through all steps, each said before it starts."""
    began = time.monotonic()
    model, out = arguments.model.absolute(), arguments.out.absolute()
    _check_all_there(model, arguments.sample)
    title = model_store.read_card(model).title
    cases = _copy_of_sample(arguments.sample, out / "cases")
    predictions = out / "predictions"

    console.say(f"1 of 4  Segmenting the sample scans with {title!r}")
    answer = predict.predict_to(
        predictions, model, cases, quality=arguments.quality, device=arguments.device, console=console
    )
    console.say("2 of 4  Comparing with the manual label")
    with console.reporter() as report:
        from crgloco.evaluation import evaluate_folders

        evaluation = evaluate_folders(predictions, cases / "labelsTr", report=report)
    evaluate.show(evaluation, console)
    console.say("3 of 4  Drawing the figure")
    figures = [draw_case(case, cases, predictions, out) for case in _labelled(cases)]
    console.say(
        f"4 of 4  Fine-tuning on {len(figures)} labelled scan and the unlabelled rest: "
        f"{arguments.iterations} updates, to show the way; a real fine-tuning takes some hundred"
    )
    tuned = _fine_tune(arguments, model, cases, out, console)
    console.say(f"\nDone in {duration(time.monotonic() - began)}. Everything is in {out}:")
    console.say(_what_is_where(figures, tuned, evaluation.summary.mean.dice))
    console.result(
        {
            "predictions": str(predictions),
            "figures": [str(figure) for figure in figures],
            "evaluation": evaluation.to_json(),
            "model": str(tuned),
            "seconds": round(time.monotonic() - began, 1),
        }
    )
    return SOME_CASES_FAILED if answer["failed"] else OK


def draw_case(case: Case, cases: Path, predictions: Path, out: Path) -> Path:
    """Draw one predicted case from its files; return the picture."""
    import numpy as np

    from crgloco.commands.figure import Scene, draw
    from crgloco.data.cases import open_cases
    from crgloco.data.prediction_record import file_name
    from crgloco.io.files import read_source, read_volume
    from crgloco.io.label_files import read_label

    table = open_cases(cases).table
    assert table is not None
    image = read_source(case.channels[0])
    answers = {
        kind: read_label(path, table, image.geometry).array.astype(np.uint8)
        for kind in ("global", "local", "fused")
        if (path := predictions / file_name(case.name, kind)).exists()
    }
    confidence = read_volume(predictions / file_name(case.name, "confidence")).array.astype(np.float32)
    reference = None
    if case.label is not None:
        reference = read_label(case.label, table, image.geometry).array.astype(np.uint8)
    picture = out / f"{case.name}.png"
    title = f"{case.name}: two resolutions and their fusion"
    draw(Scene(image, table, answers, confidence, reference, title), picture)
    return picture


def _check_all_there(model: Path, sample: Path) -> None:
    for path, what in ((model, "starter model"), (sample, "sample scans")):
        if not path.is_dir():
            msg = (
                f"The {what} should be in {path}, but nothing is there. Install CRGLoCoSegment completely: "
                'from its folder, by `pip install ".[demo]"`; or name others by --model and --sample.'
            )
            raise ResourceError(msg)
    if importlib.util.find_spec("matplotlib") is None:
        msg = "The figure needs matplotlib, which is not installed. Install it: `pip install matplotlib`."
        raise ResourceError(msg)


def _copy_of_sample(sample: Path, cases: Path) -> Path:
    """Copy the sample to where the user may write: a cases folder stores its split and new labels."""
    if not cases.is_dir():
        part = cases.with_name(cases.name + PART)
        with saving(cases):
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(sample, part)
            patiently(lambda: part.rename(cases), LONG_PAUSES_S)
    return cases


def _labelled(cases: Path) -> tuple[Case, ...]:
    from crgloco.data.cases import open_cases

    return open_cases(cases).labelled


def _fine_tune(arguments: argparse.Namespace, model: Path, cases: Path, out: Path, console: Console) -> Path:
    job = Job(
        cases=cases,
        method=methods.DEFAULT,
        out=out / free_name("fine_tuned", lambda name: (out / name).exists()),
        iterations=arguments.iterations,
        minutes=MINUTES,
        start=model,
        device=arguments.device,
        title="Fine-tuned in the demonstration",
    )
    train.check_at_the_door(job)
    folder = jobs.write_job(jobs.folder_beside(job.out), job)
    return train.train(job, folder, console)


def _what_is_where(figures: list[Path], tuned: Path, dice: float | None) -> str:
    lines = [
        "  predictions/<case>.nii.gz               labels, both branches fused",
        "  predictions/<case>_global.nii.gz        labels of the global branch",
        "  predictions/<case>_local.nii.gz         labels of the local branch",
        "  predictions/<case>_confidence.nii.gz    how sure, 0..1",
        "  predictions/<case>_disagreement.nii.gz  how far the branches differ, 0..1",
        "  predictions/predictions.json            time, memory, windows",
        *(f"  {figure.name:<40}image | global | local | fused with doubt" for figure in figures),
        f"  {tuned.name + '/':<40}the new model: model.json and weights.safetensors",
        "  cases/                                  the sample as a cases folder of your own",
    ]
    if dice is not None:
        lines.append(f"Mean Dice of the fused labels against the manual label: {dice:.3f}.")
    lines.append("For research, not for clinical decisions.")
    return "\n".join(lines)
