"""``crgloco rank``: which unlabelled case is most worth correcting next."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crgloco.commands.arguments import (
    OK,
    SOME_CASES_FAILED,
    add_command,
    add_device,
    add_islands,
    add_model,
    add_quality,
)
from crgloco.commands.bars import millilitres
from crgloco.commands.console import Console

if TYPE_CHECKING:
    from crgloco.commands.arguments import Subparsers

_COLUMNS = ("rank", "case", "expected correction, ml", "confidence", "look at (LPS, mm)")


def add_to(commands: Subparsers) -> None:
    """Add the command."""
    text = "order scans by the expected benefit of correcting them"
    parser = add_command(commands, "rank", run, text, positionals=False)
    add_model(parser)
    parser.add_argument("--input", type=Path, required=True, metavar="DIR", help="a cases folder or scans")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="keep the predictions here, and use those that are there already",
    )
    add_quality(parser)
    add_islands(parser)
    add_device(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Predict each case, and list them with the place to look at."""
    with console.reporter() as report:
        from crgloco.inference.service import Service

        answer = Service().rank(
            arguments.model,
            arguments.input,
            arguments.out,
            quality=arguments.quality,
            device=arguments.device,
            keep_islands=arguments.keep_islands,
            report=report,
        )
    show(answer, console)
    console.result(answer)
    return SOME_CASES_FAILED if answer["failed"] else OK


def show(answer: dict[str, Any], console: Console) -> None:
    """Show the cases, the one most worth correcting first, with the place to look at."""
    rows = []
    for number, case in enumerate((case for case in answer["cases"] if "error" not in case), 1):
        region = case["regions"][0] if case["regions"] else None
        place = "-" if region is None else ", ".join(f"{mm:.2f}" for mm in region["position"])
        correction = millilitres(case["expected_correction_ml"])
        rows.append((str(number), case["case"], correction, f"{case['mean_confidence']:.2f}", place))
    console.table("Correct these first", _COLUMNS, rows)
    for case in answer["cases"]:
        if "error" in case:
            console.say(f"Failed: {case['case']}: {case['error']}")
