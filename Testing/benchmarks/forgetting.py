"""How long a training may go on from a model with a few other labels, before the model forgets.

    python Testing/benchmarks/forgetting.py --out FILE

A control of 8 labels (hippocampus, the development cases, 2,000 updates) goes on with 2 or 4 labels that it
has not seen, for 200 to 4,000 updates, without unlabelled scans and, by CR-GLoCo, with the other 46; for
comparison 2 labels from nothing. One JSON line per run, resumable but for the start model. One seed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from accuracy import evaluate, make_cases, train
from suites import SUITES, Split

SUITE = SUITES["hippocampus_dev60"]
FIRST = SUITE.splits[0]
# What follows the labels of the first model in its list, and none of them.
OTHERS = Split(FIRST.training[40:], FIRST.held_out)
START = {"method": "supervised", "labelled": 8, "start": False, "iterations": 2000}
RUNS = (
    {"method": "supervised", "labelled": 2, "start": False, "iterations": 4000},
    *(
        {"method": "supervised", "labelled": labelled, "start": True, "iterations": updates}
        for labelled in (2, 4)
        for updates in (200, 1000, 4000)
    ),
    {"method": "cr_gloco", "labelled": 2, "start": True, "iterations": 1000},
)


def trained(
    run: dict[str, Any], split: Split, work: Path, start: Path | None = None
) -> tuple[Path, dict[str, Any]]:
    """Train and evaluate one run; return the model and the line that tells of it."""
    held_out = make_cases(SUITE, split, work / "cases")
    key = {name: run[name] for name in ("method", "labelled")}
    how = {
        "configuration": "default",
        "scale": "cpu",
        "seed": 0,
        "options": {"iterations": run["iterations"]},
    }
    model, seconds = train(SUITE, key | how, work, start)
    fused = evaluate(SUITE, model, held_out, work)["fused"]
    scores = {"dice": round(fused["dice"], 4), "hd": round(fused["hd95_mm"], 2)}
    return model, {**run, **scores, "sec": round(seconds)}


def main() -> int:
    """Run what is not yet in the output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    done = [json.loads(line) for line in lines]

    def is_missing(run: dict[str, Any]) -> bool:
        return not any(run.items() <= line.items() for line in done)

    def tell(line: dict[str, Any]) -> None:
        with arguments.out.open("a") as file:
            file.write(json.dumps(line) + "\n")

    with tempfile.TemporaryDirectory() as work:
        start, line = trained(START, FIRST, Path(work))
        if is_missing(START):
            tell(line)
        for run in filter(is_missing, RUNS):
            with tempfile.TemporaryDirectory() as more:
                tell(trained(run, OTHERS, Path(more), start if run["start"] else None)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
