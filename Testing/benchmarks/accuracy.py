"""Train and evaluate methods on real scans: one JSON line per run, resumable.

    python Testing/benchmarks/accuracy.py --suite la2018 --methods supervised,cr_gloco:released,cr_gloco \
        --seeds 0,1,2 --out Testing/benchmarks/results/la2018_cpu.jsonl

A method is ``name``, ``name:configuration``, ``name@16`` with another number of labelled cases, ``name@all``
with all training labels, the upper bound, or ``pgl+name``: pre-trained on all training scans first, for as
many updates.
A run is the product's own path: ``fine_tune.run`` on a cases folder that links to the data, then the
predictor with all windows, overlap 0.5, no mirrors, no post-processing; ``without_islands`` are the scores of
the same answers after it, where the model knows structures that are one piece. Nothing is selected: the last
averaged weights are evaluated, on cases that the cases folder does not hold, on their original grid.
``accuracy_report.py`` makes tables and a plot of the lines.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from suites import SUITES, Split, Suite

from crgloco import methods, model_store
from crgloco.evaluation import evaluate_folders
from crgloco.inference.predictor import Predictor
from crgloco.io.files import read_volume
from crgloco.io.label_files import write_label
from crgloco.islands import without_islands
from crgloco.job_file import Job
from crgloco.jobs import write_job
from crgloco.progress import EventLines
from crgloco.training import fine_tune

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CRGLOCO_DATA", REPOSITORY.parent / "shared" / "data"))
BRANCHES = ("fused", "local", "global")
WITHOUT_ISLANDS = "without_islands"
ALL = "all"
KEY = ("suite", "scale", "method", "configuration", "labelled", "fold", "seed", "options")


def make_cases(suite: Suite, split: Split, folder: Path) -> list[str]:
    """Link the training cases into a cases folder without validation; return the names held out."""
    source = DATA / suite.data
    names = (source / "train.list").read_text().split()
    training = [names[number] for number in split.training]
    for part, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        (folder / part).mkdir(parents=True)
        for name in training:
            (folder / part / f"{name}{ending}").symlink_to(source / part / f"{name}{ending}")
    description = json.loads((source / "dataset.json").read_text()) | {"numTraining": len(training)}
    (folder / "dataset.json").write_text(json.dumps(description))
    (folder / "train.list").write_text("\n".join(training))
    parts = {"validation": [], "training": training, "fraction": 0.0, "seed": 0}
    (folder / "crgloco.json").write_text(json.dumps({"format": 1, "split": parts}))
    return [names[number] for number in split.held_out]


def run(suite: Suite, key: dict[str, Any], work: Path) -> dict[str, Any]:
    """Train once, predict the held-out cases, evaluate all branches."""
    _forget_peak_memory()
    split = suite.splits[key["fold"]]
    held_out = make_cases(suite, split, work / "cases")
    start, before = None, {}
    if key.get("start"):
        start, seconds = train(suite, {**key, "method": key["start"], "configuration": "default"}, work)
        before = {"pretraining_seconds": round(seconds, 1)}
    model, seconds = train(suite, key, work, start)
    return {
        **before,
        "training_seconds": round(seconds, 1),
        "updates": model_store.read_card(model).training["updates"],
        "peak_memory_mb": round(_peak_memory_mb()),
        **evaluate(suite, model, held_out, work),
    }


def train(suite: Suite, key: dict[str, Any], work: Path, start: Path | None = None) -> tuple[Path, float]:
    """Train a method on the cases; return its model and the seconds it took."""
    method = key["method"]
    card = methods.card(method).to_json()
    known = {option["name"] for option in card["options"]}
    options = {name: value for name, value in suite.options[key["scale"]].items() if name in known}
    asked = dict(key["options"])
    if card["kind"] == "pretraining":  # the options are those of the method that follows
        asked = {name: value for name, value in asked.items() if name in known}
    if method == "supervised":
        options.pop("unlabelled_batch", None)
    job = Job(
        cases=work / "cases",
        method=method,
        out=work / f"model_{method}",
        config_name=key["configuration"],
        config=options | asked,
        labelled=key["labelled"],
        seed=key["seed"],
        start=start,
    )
    began = time.monotonic()
    with (work / f"events_{method}").open("w") as events:
        model = fine_tune.run(job, write_job(work / f"job_{method}", job), EventLines(events))
    return model, time.monotonic() - began


def evaluate(suite: Suite, model: Path, names: list[str], work: Path) -> dict[str, Any]:
    """Return the mean scores of every branch and the scores of every case."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded = model_store.load(model)
    predictor = Predictor(loaded.network, loaded.preparation, loaded.table, device=device)
    source = DATA / suite.data
    branches = [*BRANCHES[:1], WITHOUT_ISLANDS, *(BRANCHES[1:] if loaded.network.global_ is not None else ())]
    for folder in ("labels", *branches):
        (work / folder).mkdir()
    for name in names:
        volume = read_volume(source / "imagesTr" / f"{name}_0000.nii.gz")
        prediction = predictor.predict([volume], "full")
        (work / "labels" / f"{name}.nii.gz").symlink_to(source / "labelsTr" / f"{name}.nii.gz")
        whole = without_islands(prediction.fused, loaded.one_piece, prediction.global_)
        answers = (prediction.fused, whole, prediction.local, prediction.global_)
        for branch, classes in zip(branches, answers, strict=False):
            assert classes is not None
            write_label(classes, volume.geometry, loaded.table, work / branch / f"{name}.nii.gz")
    results = {
        branch: evaluate_folders(work / branch, work / "labels", loaded.table).to_json()
        for branch in branches
    }
    return {
        **{branch: result["mean"] for branch, result in results.items()},
        "labels": {name: row["dice"] for name, row in results["fused"]["labels"].items()},
        "cases": {
            case: {label: score["dice"] for label, score in scores.items()}
            for case, scores in results["fused"]["cases"].items()
        },
    }


def default_methods(suite: Suite, scale: str) -> list[str]:
    """Return all methods that the suite asks for, as they are named on the command line."""
    kinds = {name: methods.card(name).kind for name in methods.available()}
    everything = [
        name for name, kind in kinds.items() if kind == "segmentation" and name not in suite.refused_by
    ]
    everything += ["cr_gloco:released"]
    everything += [f"{name}+supervised" for name, kind in kinds.items() if kind == "pretraining"]
    chosen = list(suite.methods) if scale == "cpu" and suite.methods else everything
    more = [f"{name}@{labelled}" for labelled in suite.also if scale == "gpu" for name in chosen]
    return [*chosen, *more, f"supervised@{ALL}"]


def keys_of(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what identifies each run that was asked for, seed by seed."""
    suite = SUITES[arguments.suite]
    chosen = arguments.methods.split(",") if arguments.methods else default_methods(suite, arguments.scale)
    options = {name: json.loads(value) for name, _, value in (word.partition("=") for word in arguments.set)}
    keys = []
    for seed in map(int, arguments.seeds.split(",")):
        for word in chosen:
            name, _, amount = word.partition("@")
            start, _, name = name.rpartition("+")
            method, _, configuration = name.partition(":")
            for fold in map(int, arguments.folds.split(",") if arguments.folds else range(len(suite.splits))):
                split = suite.splits[fold]
                labelled = len(split.training) if amount == ALL else int(amount or suite.labelled)
                key = {
                    "suite": arguments.suite,
                    "scale": arguments.scale,
                    "method": method,
                    "configuration": configuration or "default",
                    "labelled": labelled,
                    "fold": fold,
                    "seed": seed,
                    "options": options,
                }
                if start:
                    key["start"] = start
                keys.append(key)
    return keys


def _key(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what identified the run of a line."""
    return {name: entry[name] for name in (*KEY, "start") if name in entry}


def _forget_peak_memory() -> None:
    """Let the peak of the process begin anew, where the system (Linux) can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_mb() -> float:
    """Return the peak of the process since ``_forget_peak_memory``; elsewhere since it began."""
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Run what is not yet in the output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", choices=SUITES, required=True)
    parser.add_argument("--scale", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--methods", help="default: all that the suite names, and the upper bound")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--folds", help="numbers from 0; default: all of the suite")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    text = arguments.out.read_text() if arguments.out.exists() else ""
    done = [json.loads(line) for line in text.splitlines()]
    for key in keys_of(arguments):
        if any(_key(entry) == key for entry in done):
            continue
        with tempfile.TemporaryDirectory() as work:
            entry = key | run(SUITES[arguments.suite], key, Path(work))
        with arguments.out.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(json.dumps({name: entry[name] for name in (*key, "training_seconds", "fused")}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
