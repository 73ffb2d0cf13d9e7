"""What a model gains when labels are added and it goes on, at several shares of the learning rate.

    python Testing/benchmarks/going_on.py --method supervised --out FILE

A model of 8 labels (hippocampus, the development cases, 2,000 updates) goes on with 16 labels for 1,000
updates, once for every share; for comparison one is trained on the 16 from nothing for as many updates in
all. One JSON line per run, resumable but for the start model. The share is that of the whole rate.
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
from suites import SUITES

SUITE = "hippocampus_dev60"
FIRST, THEN = 8, 16
UPDATES, MORE = 2000, 1000
SHARES = (0.03, 0.1, 0.3, 1.0)


def trained(
    key: dict[str, Any], labelled: int, work: Path, start: Path | None = None, **options: Any
) -> tuple[Path, dict[str, Any]]:
    """Train and evaluate; return the model and the line that tells of it."""
    suite = SUITES[SUITE]
    held_out = make_cases(suite, suite.splits[0], work / "cases")
    model, seconds = train(suite, {**key, "labelled": labelled, "options": options}, work, start)
    fused = evaluate(suite, model, held_out, work)["fused"]
    scores = {name: round(fused[name], 4) for name in ("dice", "hd95_mm")}
    return model, {**key, "labelled": labelled, **options, **scores, "seconds": round(seconds)}


def main() -> int:
    """Run what is not yet in the output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="supervised")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    key = {"method": arguments.method, "configuration": "default", "scale": "cpu", "seed": arguments.seed}
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    done = [json.loads(line) for line in lines]

    def tell(what: str, line: dict[str, Any]) -> None:
        with arguments.out.open("a") as file:
            file.write(json.dumps({"run": what, **line}) + "\n")

    def missing(what: str) -> bool:
        return not any(
            (line["run"], line["method"], line["seed"]) == (what, arguments.method, arguments.seed)
            for line in done
        )

    with tempfile.TemporaryDirectory() as work:
        start, line = trained(key, FIRST, Path(work), iterations=UPDATES)
        if missing("start"):
            tell("start", line)
        for share in SHARES:
            if missing(f"on at {share}"):
                with tempfile.TemporaryDirectory() as more:
                    rate = share / THEN
                    options = {"iterations": MORE, "start_rate": rate}
                    tell(f"on at {share}", trained(key, THEN, Path(more), start, **options)[1])
        if missing("from nothing"):
            with tempfile.TemporaryDirectory() as more:
                tell("from nothing", trained(key, THEN, Path(more), iterations=UPDATES + MORE)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
