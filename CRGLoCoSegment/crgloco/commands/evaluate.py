"""``crgloco evaluate``: score predictions against labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from crgloco.commands.arguments import OK, SOME_CASES_FAILED, add_command
from crgloco.commands.console import Console

if TYPE_CHECKING:
    from crgloco.commands.arguments import Subparsers
    from crgloco.evaluation import Evaluation
    from crgloco.metrics import LabelSummary

_COLUMNS = ("structure", "cases", "Dice", "Jaccard", "HD95 mm", "ASD mm", "missed", "false presence")


def add_to(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(commands, "evaluate", run, "score predictions against labels", positionals=False)
    parser.add_argument(
        "--predictions", type=Path, required=True, metavar="DIR", help="folder of the predictions"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the true labels: labelsTr of a cases folder, or one that looks like it",
    )


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Score, show the table, and name every case that could not be scored."""
    from crgloco.evaluation import evaluate_folders

    with console.reporter() as report:
        evaluation = evaluate_folders(arguments.predictions, arguments.labels, report=report)
    if not console.for_programs:
        show(evaluation, console)
    console.result(evaluation.to_json())
    return SOME_CASES_FAILED if evaluation.skipped else OK


def show(evaluation: Evaluation, console: Console) -> None:
    """Show means per structure, and what was left out."""
    rows = [_row(row, row.n) for row in evaluation.summary.labels]
    rows.append(_row(evaluation.summary.mean, len(evaluation.cases)))  # its n counts structures of cases
    console.table(f"Cases scored: {len(evaluation.cases)}", _COLUMNS, rows)
    for case, reason in evaluation.skipped.items():
        console.say(f"Not scored: {case}: {reason}")
    for names, what in (
        (evaluation.without_prediction, "Labels without a prediction"),
        (evaluation.without_label, "Predictions without a label"),
        (evaluation.not_scored, "Structures that only one side knows"),
    ):
        if names:
            console.say(f"{what}: {', '.join(names)}")


def _row(row: LabelSummary, cases: int) -> tuple[str, ...]:
    return (
        row.name,
        str(cases),
        _number(row.dice, 3),
        _number(row.jaccard, 3),
        _number(row.hd95_mm, 2),
        _number(row.asd_mm, 2),
        str(row.missed),
        str(row.false_presence),
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
