"""``crgloco cases``: what a cases folder holds, what is wrong with it, and several made one."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crgloco.commands.arguments import OK, SOME_CASES_FAILED, add_command, add_unlabelled
from crgloco.commands.console import Console
from crgloco.errors import CasesError, InputError

if TYPE_CHECKING:
    from crgloco.commands.arguments import Subparsers
    from crgloco.progress import Reporter


def add_to(commands: Subparsers) -> None:
    """Add the command and its actions."""
    help_text = "list and check the cases of a folder, or merge folders"
    actions = commands.add_parser("cases", help=help_text, description=help_text).add_subparsers(
        required=True, metavar="ACTION"
    )
    parser = add_command(actions, "check", run_check, "read every image and label, and say what is wrong")
    parser.add_argument("folder", type=Path, metavar="DIR", help="a cases folder, or a flat folder of scans")
    add_unlabelled(
        parser, "folders of further scans without label, as for a training: also what is there twice is told"
    )
    parser.add_argument(
        "--method",
        metavar="NAME",
        help="look as a training by this method would: what it only leaves out is a warning",
    )
    parser = add_command(actions, "list", run_list, "list labelled, validation and unlabelled cases")
    parser.add_argument("folder", type=Path, metavar="DIR", help="a cases folder")
    parser = add_command(
        actions, "merge", run_merge, "make one cases folder of several, each with labels of its own"
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="cases folders, at least two")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new cases folder")


def run_check(arguments: argparse.Namespace, console: Console) -> int:
    """List the problems per case; exit code 3 if a case cannot be used."""
    with console.reporter() as report:
        look = _check_folder if arguments.method is None else _check_for_training
        try:
            problems = look(arguments, report)
        except (CasesError, InputError) as error:  # a further folder that cannot be opened
            problems = [{"case": "", "severity": "error", "text": str(error), "spared": False}]
    for problem in problems:
        case = f"{problem['case']}: " if problem["case"] else ""
        console.say(f"{problem['severity']}: {case}{problem['text']}")
    errors = sum(problem["severity"] == "error" for problem in problems)
    if errors:
        console.say(f"Cases or files that cannot be used as they are: {errors}.")
    else:
        console.say(f"{arguments.folder} can be used." + (f" Warnings: {len(problems)}." if problems else ""))
    console.result(problems)
    return SOME_CASES_FAILED if errors else OK


def _check_folder(arguments: argparse.Namespace, report: Reporter) -> list[dict[str, Any]]:
    from crgloco.data.case_check import Problem, check
    from crgloco.data.cases import open_cases
    from crgloco.data.further_scans import with_further

    folder, problems = arguments.folder, []
    if arguments.unlabelled:
        folder, copies = with_further(open_cases(folder), arguments.unlabelled)
        problems = [Problem("", "warning", copy.text) for copy in copies]
    return [dataclasses.asdict(problem) for problem in (*problems, *check(folder, report))]


def _check_for_training(arguments: argparse.Namespace, report: Reporter) -> list[dict[str, Any]]:
    """Look at the folder with the eyes of the training: its split, its method, what it leaves out."""
    from crgloco import methods
    from crgloco.requests.cases import check

    fields = {
        "folder": str(arguments.folder),
        "unlabelled": [str(path) for path in arguments.unlabelled],
        "method": arguments.method,
        "labels": methods.card(arguments.method).kind != "pretraining",
    }
    problems: list[dict[str, Any]] = check(fields, report)["problems"]
    return problems


def run_list(arguments: argparse.Namespace, console: Console) -> int:
    """List the cases with their role."""
    from crgloco.data.cases import open_cases

    folder = open_cases(arguments.folder)
    cases = []
    for case in (*folder.labelled, *folder.unlabelled):
        role, only = folder.role(case), case.structures
        console.say(f"{case.name}\t{role}" + (f"\t{', '.join(only)} only" if only else ""))
        cases.append({"name": case.name, "role": role, "structures": only})
    labels = folder.table.to_json() if folder.table is not None else None
    console.result({"channel_names": list(folder.channel_names), "labels": labels, "cases": cases})
    return OK


def run_merge(arguments: argparse.Namespace, console: Console) -> int:
    """Write the new folder, and say what is in it."""
    from crgloco.data.case_merging import merge_cases
    from crgloco.data.partial_labels import in_words

    with console.reporter() as report:
        folder = merge_cases(arguments.folders, arguments.out, report)
    assert folder.table is not None
    counts = in_words(folder.labelled, folder.table)
    console.say(
        f"{folder.root} has {len(folder.labelled)} labelled cases ({counts}), {len(folder.validating)} of "
        f"them for validation, and {len(folder.unlabelled)} unlabelled ones."
    )
    console.result(
        {
            "folder": str(folder.root),
            "labels": folder.table.to_json(),
            "labelled": len(folder.labelled),
            "validation": len(folder.validating),
            "unlabelled": len(folder.unlabelled),
        }
    )
    return OK
