"""Train and evaluate methods on real scans: one JSON line per run, resumable; then a table.

    python Testing/benchmarks/accuracy.py --suite la2018 --methods supervised,cr_gloco:released,cr_gloco \
        --seeds 0,1,2 --out Testing/benchmarks/results/la2018_cpu.jsonl
    python Testing/benchmarks/accuracy.py --suite la2018 --table \
        --out Testing/benchmarks/results/la2018_cpu.jsonl

A run is the product's own path: ``fine_tune.run`` on a cases folder that links to the data, then the
predictor with all windows, overlap 0.5, no mirrors, no post-processing. Nothing is selected: the last
averaged weights are evaluated, on cases that the cases folder does not hold, on their original grid.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from crgloco import model_store
from crgloco.evaluation import evaluate_folders
from crgloco.inference.predictor import Predictor
from crgloco.io.files import read_volume
from crgloco.io.label_files import write_label
from crgloco.jobs import Job, write_job
from crgloco.progress import EventLines
from crgloco.training import fine_tune

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CRGLOCO_DATA", REPOSITORY.parent / "shared" / "data"))
BRANCHES = ("fused", "local", "global")


@dataclass(frozen=True)
class Suite:
    """What is trained on and what is evaluated.

    Attributes:
        data: Folder below the data folder.
        training: Range of ``train.list`` that the cases folder holds.
        held_out: Range that is evaluated.
        labelled: How many of the training cases keep their labels.
        options: Options of every run.
        semi_supervised: Further options of methods that use unlabelled scans.
    """

    data: str
    training: tuple[int, int]
    held_out: tuple[int, int]
    labelled: int
    options: dict[str, Any]
    semi_supervised: dict[str, Any] = field(default_factory=dict)


SUITES = {
    "la2018": Suite(
        "la2018",
        training=(0, 40),
        held_out=(40, 60),
        labelled=4,
        options={
            "spacing": "2,2,2",
            "network": "fast",
            "width": 16,
            "local_window": "24,40,56",
            "global_window": "32,56,80",
            "labelled_batch": 2,
        },
        semi_supervised={"unlabelled_batch": 2},
    ),
}


def make_cases(suite: Suite, folder: Path) -> list[str]:
    """Link the training cases into a cases folder without validation; return the names held out."""
    source = DATA / suite.data
    names = (source / "train.list").read_text().split()
    training = names[slice(*suite.training)]
    for part, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        (folder / part).mkdir(parents=True)
        for name in training:
            (folder / part / f"{name}{ending}").symlink_to(source / part / f"{name}{ending}")
    description = json.loads((source / "dataset.json").read_text()) | {"numTraining": len(training)}
    (folder / "dataset.json").write_text(json.dumps(description))
    (folder / "train.list").write_text("\n".join(training))
    split = {"validation": [], "training": training, "fraction": 0.0, "seed": 0}
    (folder / "crgloco.json").write_text(json.dumps({"format": 1, "split": split}))
    return names[slice(*suite.held_out)]


def run(suite: Suite, key: dict[str, Any], work: Path) -> dict[str, Any]:
    """Train once, predict the held-out cases, evaluate all branches."""
    held_out = make_cases(suite, work / "cases")
    extra = {} if key["method"] == "supervised" else suite.semi_supervised
    job = Job(
        cases=work / "cases",
        method=key["method"],
        out=work / "model",
        config_name=key["configuration"],
        config=suite.options | extra | key["options"],
        labelled=suite.labelled,
        seed=key["seed"],
    )
    began = time.monotonic()
    with (work / "events").open("w") as events:
        model = fine_tune.run(job, write_job(work / "job", job), EventLines(events))
    seconds = time.monotonic() - began
    updates = model_store.read_card(model).training["updates"]
    return {
        "training_seconds": round(seconds, 1),
        "updates": updates,
        **evaluate(suite, model, held_out, work),
    }


def evaluate(suite: Suite, model: Path, names: list[str], work: Path) -> dict[str, Any]:
    """Return the mean scores of every branch and the Dice of every case."""
    loaded = model_store.load(model, torch.device("cpu"))
    predictor = Predictor(loaded.network, loaded.preparation, loaded.table)
    source = DATA / suite.data
    for folder in ("labels", *BRANCHES):
        (work / folder).mkdir()
    for name in names:
        volume = read_volume(source / "imagesTr" / f"{name}_0000.nii.gz")
        prediction = predictor.predict([volume], "full")
        (work / "labels" / f"{name}.nii.gz").symlink_to(source / "labelsTr" / f"{name}.nii.gz")
        for branch, classes in zip(
            BRANCHES, (prediction.fused, prediction.local, prediction.global_), strict=True
        ):
            write_label(classes, volume.geometry, loaded.table, work / branch / f"{name}.nii.gz")
    results = {
        branch: evaluate_folders(work / branch, work / "labels", loaded.table).to_json()
        for branch in BRANCHES
    }
    return {
        **{branch: result["mean"] for branch, result in results.items()},
        "cases": {
            case: {label: score["dice"] for label, score in scores.items()}
            for case, scores in results["fused"]["cases"].items()
        },
    }


def table(entries: list[dict[str, Any]]) -> str:
    """Return mean and standard deviation over seeds as a Markdown table."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        options = ", ".join(f"{name} {value}" for name, value in entry["options"].items())
        groups[f"{entry['method']} | {entry['configuration']} | {options}"].append(entry)
    lines = [
        "| method | configuration | options | seeds | Dice fused | local | global | HD95 mm | ASD mm | min |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, group in groups.items():
        cells = [_spread([100 * entry[branch]["dice"] for entry in group]) for branch in BRANCHES]
        cells += [_spread([entry["fused"][metric] for entry in group]) for metric in ("hd95_mm", "asd_mm")]
        minutes = statistics.median(entry["training_seconds"] / 60 for entry in group)
        lines.append(f"| {name} | {len(group)} | {' | '.join(cells)} | {minutes:.1f} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


def main() -> int:
    """Run what is not yet in the output, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", choices=SUITES, required=True)
    parser.add_argument("--methods", default="supervised,cr_gloco:released,cr_gloco")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true", help="print the table of what is there, run nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options = {key: json.loads(value) for key, _, value in (word.partition("=") for word in arguments.set)}
    text = arguments.out.read_text() if arguments.out.exists() else ""
    done = [json.loads(line) for line in text.splitlines()]
    if arguments.table:
        print(table(done))
        return 0
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in map(int, arguments.seeds.split(",")):
        for method, _, configuration in (word.partition(":") for word in arguments.methods.split(",")):
            key = {
                "suite": arguments.suite,
                "method": method,
                "configuration": configuration or "default",
                "seed": seed,
                "options": options,
            }
            if any(all(entry[name] == value for name, value in key.items()) for entry in done):
                continue
            with tempfile.TemporaryDirectory() as work:
                entry = key | run(SUITES[arguments.suite], key, Path(work))
            done.append(entry)
            with arguments.out.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(json.dumps({name: entry[name] for name in (*key, "training_seconds", "fused")}), flush=True)
    print(table(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
