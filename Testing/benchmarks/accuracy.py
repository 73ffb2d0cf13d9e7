"""Train and evaluate methods on real scans; one JSON line per run, resumable.

    python Testing/benchmarks/accuracy.py --suite la2018 --methods supervised,cr_gloco:released,cr_gloco \
        --seeds 0,1,2 --out Testing/benchmarks/results/la2018_cpu.jsonl

A run is the product's own path: ``fine_tune.run`` on a cases folder (links to the data), then
``predict`` with quality ``full`` without mirrors... see ``SUITES`` for what is trained and evaluated. Nothing is selected:
the last averaged weights are evaluated, on cases that are not part of the cases folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crgloco import model_store
from crgloco.errors import Cancelled
from crgloco.evaluation import evaluate_folders
from crgloco.inference.predictor import Predictor
from crgloco.io.files import read_volume
from crgloco.io.label_files import read_label, write_label
from crgloco.jobs import Job, write_job
from crgloco.progress import EventLines
from crgloco.training import fine_tune

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CRGLOCO_DATA", REPOSITORY.parent / "shared" / "data"))


@dataclass(frozen=True)
class Suite:
    """What is trained on and what is evaluated.

    Attributes:
        data: Folder below the data folder.
        training: Cases of ``train.list`` in the cases folder, first and behind the last.
        held_out: Cases that are evaluated, likewise.
        labelled: How many of the training cases keep their labels.
        options: Options of every run.
    """

    data: str
    training: tuple[int, int]
    held_out: tuple[int, int]
    labelled: int
    options: dict[str, Any]


SUITES = {
    "la2018": Suite(
        "la2018",
        (0, 40),
        (40, 60),
        4,
        {
            "spacing": "2,2,2",
            "width": 16,
            "iterations": 1000,
            "local_window": "24,40,56",
            "global_window": "32,56,80",
        },
    ),
}


def make_cases(suite: Suite, folder: Path) -> list[str]:
    """Link the training cases into a cases folder without validation; return the names held out."""
    source = DATA / suite.data
    names = (source / "train.list").read_text().split()
    training = names[slice(*suite.training)]
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for name in training:
        (folder / "imagesTr" / f"{name}_0000.nii.gz").symlink_to(source / "imagesTr" / f"{name}_0000.nii.gz")
        (folder / "labelsTr" / f"{name}.nii.gz").symlink_to(source / "labelsTr" / f"{name}.nii.gz")
    description = json.loads((source / "dataset.json").read_text()) | {"numTraining": len(training)}
    (folder / "dataset.json").write_text(json.dumps(description))
    (folder / "train.list").write_text("\n".join(training))
    split = {"validation": [], "training": training, "fraction": 0.0, "seed": 0}
    (folder / "crgloco.json").write_text(json.dumps({"format": 1, "split": split}))
    return names[slice(*suite.held_out)]


def run(
    suite: Suite, method: str, configuration: str, seed: int, options: dict[str, Any], work: Path
) -> dict[str, Any]:
    """Train once, predict the held-out cases, evaluate fused and local labels."""
    cases = work / "cases"
    held_out = make_cases(suite, cases)
    own = dict(suite.options | options)
    if configuration == "released":
        own.pop("width", None)
    job = Job(
        cases=cases,
        method=method,
        out=work / "model",
        config_name=configuration,
        config=own,
        labelled=suite.labelled,
        seed=seed,
    )
    folder = write_job(work / "job", job)
    began = time.monotonic()
    with (work / "events").open("w") as events:
        model = fine_tune.run(job, folder, EventLines(events))
    seconds = time.monotonic() - began
    scores = evaluate(suite, model, held_out, work)
    card = model_store.read_card(model)
    return {"training_seconds": round(seconds, 1), "updates": card.training["updates"], **scores}


def evaluate(suite: Suite, model: Path, names: list[str], work: Path) -> dict[str, Any]:
    """Return Dice, HD95 and ASD in mm of the fused and of the local labels, all windows, no mirrors."""
    loaded = model_store.load(model, torch.device("cpu"))
    predictor = Predictor(loaded.network, loaded.preparation, loaded.table)
    source = DATA / suite.data
    labels = work / "labels"
    labels.mkdir()
    for name in names:
        volume = read_volume(source / "imagesTr" / f"{name}_0000.nii.gz")
        prediction = predictor.predict([volume], "full")
        (labels / f"{name}.nii.gz").symlink_to(source / "labelsTr" / f"{name}.nii.gz")
        for branch, classes in (
            ("fused", prediction.fused),
            ("local", prediction.local),
            ("global", prediction.global_),
        ):
            (work / branch).mkdir(exist_ok=True)
            write_label(classes, volume.geometry, loaded.table, work / branch / f"{name}.nii.gz")
    return {
        branch: evaluate_folders(work / branch, labels, loaded.table).to_json()["mean"]
        for branch in ("fused", "local", "global")
    }


def main() -> int:
    """Run what is not yet in the output, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", choices=SUITES, required=True)
    parser.add_argument("--methods", default="supervised,cr_gloco:released,cr_gloco")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    options = {key: json.loads(value) for key, _, value in (word.partition("=") for word in arguments.set)}
    done = (
        [json.loads(line) for line in arguments.out.read_text().splitlines()]
        if arguments.out.exists()
        else []
    )
    for seed in map(int, arguments.seeds.split(",")):
        for word in arguments.methods.split(","):
            method, _, configuration = word.partition(":")
            key = {
                "suite": arguments.suite,
                "method": method,
                "configuration": configuration or "default",
                "seed": seed,
                "options": options,
            }
            if any(all(entry.get(k) == v for k, v in key.items()) for entry in done):
                continue
            with tempfile.TemporaryDirectory() as work:
                result = run(SUITES[arguments.suite], method, key["configuration"], seed, options, Path(work))
            done.append(key | result)
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            with arguments.out.open("a") as file:
                file.write(json.dumps(key | result) + "\n")
            print(json.dumps(key | result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
