"""``crgloco predict``: segment one scan, a folder of scans, or the cases of a cases folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from crgloco.commands.arguments import (
    FAILED,
    OK,
    SOME_CASES_FAILED,
    add_command,
    add_device,
    add_islands,
    add_model,
    add_quality,
)
from crgloco.commands.bars import duration, millilitres
from crgloco.commands.console import Console

if TYPE_CHECKING:
    from crgloco.commands.arguments import Subparsers
    from crgloco.inference.service import How

_COLUMNS = ("case", "time", "memory", "windows", "confidence", "expected correction")


def add_to(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(commands, "predict", run, "segment scans at two resolutions", positionals=False)
    add_model(parser)
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="FILE|DIR",
        help="a volume, a DICOM series, a folder of either, or a cases folder",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    add_quality(parser)
    add_islands(parser)
    add_device(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Segment; exit code 3 if some cases of several failed, 1 if the only one did."""
    answer = predict_to(
        arguments.out,
        arguments.model,
        arguments.input,
        quality=arguments.quality,
        device=arguments.device,
        keep_islands=arguments.keep_islands,
        console=console,
    )
    console.result(answer)
    if not answer["failed"]:
        return OK
    return FAILED if len(answer["cases"]) == 1 else SOME_CASES_FAILED


def predict_to(
    out: Path, model: Path, scans: Path, *, console: Console, **how: Unpack[How]
) -> dict[str, Any]:
    """Segment scans, and tell what was found; returns what ``predictions.json`` holds."""
    with console.reporter() as report:
        from crgloco.inference.service import Service

        answer = Service().predict(model, scans, out, report=report, **how)
    show(answer, out, console)
    return answer


def show(answer: dict[str, Any], out: Path, console: Console) -> None:
    """Show one row per case, and the names of those that failed."""
    done = [case for case in answer["cases"] if "error" not in case]
    if done:
        console.table(f"Results in {out}", _COLUMNS, [_row(case) for case in done])
    for case in done:
        for note in (*_islands_in_words(case), *case["notes"]):
            console.say(f"{case['case']}: {note}")
    failed = [case["case"] for case in answer["cases"] if "error" in case]
    if failed:
        console.say(f"Failed: {', '.join(failed)}. The reasons are in {out / 'predictions.json'}.")


def _islands_in_words(case: dict[str, Any]) -> list[str]:
    """Say what was removed; records of earlier versions tell nothing."""
    removed = [f"{millilitres(ml)} ml of {name}" for name, ml in case.get("islands_ml", {}).items()]
    return [f"removed as islands: {', '.join(removed)}; --keep-islands leaves them"] if removed else []


def _row(case: dict[str, Any]) -> tuple[str, ...]:
    return (
        case["case"],
        "kept" if case["kept"] else duration(case["seconds"]),
        f"{case['peak_memory_mb'] / 1024:.1f} GB",
        f"{case['windows_run']} of {case['windows_possible']}",
        f"{case['mean_confidence']:.2f}",
        f"{millilitres(case['expected_correction_ml'])} ml",
    )
