"""``crgloco train``: from flags or a job file to a new model; started again, it resumes."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from crgloco import jobs, methods, model_store
from crgloco.atomic import PART
from crgloco.commands.arguments import (
    CANCELLED,
    FAILED,
    OK,
    add_command,
    add_device,
    add_unlabelled,
    model_folder,
    positive_number,
    seed_number,
    whole_number,
)
from crgloco.commands.console import Console, silent_reporter
from crgloco.commands.parent import stop_at_end_of_input
from crgloco.errors import Cancelled, CRGLoCoError, ModelError, ResourceError
from crgloco.job_file import Job, read_job
from crgloco.memory_faults import tells_of_memory
from crgloco.options import from_mapping, parse_assignments
from crgloco.progress import Reporter

if TYPE_CHECKING:
    from crgloco.commands.arguments import Subparsers

_FLAGS = (
    *("cases", "unlabelled", "method", "out", "title", "config_name", "set", "labelled", "iterations"),
    *("minutes", "seed", "start"),
)


def add_to(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(commands, "train", run, "train a model on labelled and unlabelled scans")
    parser.add_argument("job_file", nargs="?", type=Path, metavar="job.json", help="a job instead of flags")
    parser.add_argument("--cases", type=Path, metavar="DIR", help="the cases folder")
    add_unlabelled(parser, "folders of further scans without label: volumes or DICOM series")
    parser.add_argument(
        "--method",
        default=None,
        metavar="NAME",
        help=f"default: {methods.DEFAULT}; `crgloco methods` lists all",
    )
    parser.add_argument("--out", type=Path, metavar="MODEL", help="folder of the new model")
    parser.add_argument("--title", default=None, help="name of the new model as users see it")
    parser.add_argument(
        "--config-name",
        default=None,
        metavar="NAME",
        help="a named configuration of the method; `crgloco methods NAME` lists them",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="options of the method; `crgloco methods NAME` lists them",
    )
    parser.add_argument(
        "--labelled",
        type=whole_number,
        metavar="N",
        help="use the first N labels only, those for validation included; other cases serve as unlabelled, "
        "unless they are for validation",
    )
    parser.add_argument(
        "--iterations",
        type=whole_number,
        metavar="N",
        help="updates; if not given, as many as the method says, and with --start at most 100 for each "
        "label and 20 for each unlabelled scan",
    )
    parser.add_argument(
        "--minutes",
        type=positive_number,
        metavar="N",
        help="time budget of the job, over all its calls",
    )
    parser.add_argument("--seed", type=seed_number, metavar="N", help="default: 0")
    parser.add_argument("--start", type=model_folder, metavar="MODEL", help="model to start from")
    parser.add_argument(
        "--job", type=Path, metavar="DIR", help="where checkpoint and events are kept; default: MODEL.job"
    )
    parser.add_argument(
        "--stop-on-eof",
        action="store_true",
        help="keep the checkpoint and end when stdin ends, with the program that started this one",
    )
    add_device(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Train; a stop keeps the checkpoint and says how to resume."""
    job, folder = _read_job(arguments) if arguments.job_file else _job_of_flags(arguments)
    if not _leads():
        return _follow(job, folder)
    check_at_the_door(job)
    folder = jobs.write_job(folder.path, job)
    if arguments.stop_on_eof:
        stop_at_end_of_input(folder.request_stop)
    model = train(job, folder, console)
    # Its terminal may be gone, or its log's disk full: the model is there none the less.
    with suppress(ResourceError, BrokenPipeError):
        console.say(f"The new model is in {model}.")
    console.result({"model": str(model), **folder.result()})
    return OK


def train(job: Job, folder: jobs.JobFolder, console: Console) -> Path:
    """Run a job that is written already; return the new model's folder.

    Raises:
        Cancelled: Stopped by the user; the message says how to resume.
        CRGLoCoError: Anything the user can repair.
    """
    files = {"stop_file": folder.stop_file, "copy": folder.events_file, "log": folder.log_file}
    # Held until the end is told: whoever sees that nobody holds the job reads at once how it ended.
    with folder.claimed(), console.reporter(**files, patient=_in_team()) as report:
        try:
            return _fine_tuning()(job, folder, report)
        except Cancelled as error:
            msg = f"{error} To go on: crgloco train {_quoted(folder.job_file)}"
            report.event("stopped", text=msg, reason=str(error))
            raise Cancelled(msg) from error
        except Exception as error:
            # Whoever opens the job later, Slicer for one, learns from its files how it ended.
            known = isinstance(error, CRGLoCoError)
            trace = None if known else traceback.format_exc()
            report.event("failed", type=type(error).__name__, text=str(error), traceback=trace)
            raise


def _fine_tuning() -> Callable[[Job, jobs.JobFolder, Reporter], Path]:
    """Load torch and return what trains.

    Raises:
        ResourceError: The memory does not even suffice for torch's libraries.
    """
    try:
        from crgloco.training import fine_tune
    except (MemoryError, OSError) as error:
        if not tells_of_memory(error):
            raise
        msg = "The computer's memory does not suffice to load torch. Close other programs, then try again."
        raise ResourceError(msg) from error
    return fine_tune.run


def _quoted(path: Path) -> str:
    """Return a path as the shell of this computer wants it; ``cmd`` knows double quotes only."""
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))


def check_at_the_door(job: Job) -> None:
    """Refuse what can be seen to fail, before torch is imported and hours are spent.

    Raises:
        ModelError: The new model exists already or has the name of an unfinished one, or the start model
            cannot be read.
        OptionError: There is no such method, configuration or option.
        CasesError: The cases folder cannot be used, or its labels show less than the method needs.
    """
    if job.out.exists():
        msg = f"{job.out} exists already; a model is never overwritten. Choose another name with --out."
        raise ModelError(msg)
    if job.out.name.endswith(PART):
        msg = (
            f"{job.out}: names that end in {PART} are those of unfinished files. Choose another one (--out)."
        )
        raise ModelError(msg)
    named = methods.configuration(job.method, job.config_name)
    from_mapping(methods.card(job.method).config, {**named, **job.config})
    if job.start is not None:
        model_store.read_card(job.start)
    from crgloco.data.case_split import first_labelled
    from crgloco.data.cases import open_cases

    folder = open_cases(job.cases)
    methods.assert_suited(
        job.method, folder if job.labelled is None else first_labelled(folder, job.labelled)
    )


def _read_job(arguments: argparse.Namespace) -> tuple[Job, jobs.JobFolder]:
    given = [name for name in _FLAGS if getattr(arguments, name)]
    given += ["device"] if arguments.device != "auto" else []
    if given:
        arguments.usage(f"a job file or --{given[0].replace('_', '-')}, not both")
    job = read_job(arguments.job_file)
    path = arguments.job_file.absolute()
    home = jobs.JobFolder(path if path.is_dir() else path.parent)
    # A job that somebody wrote by hand among files of his own gets a folder beside the model.
    own = home.may_be_ours and path in (home.path, home.job_file)
    usual = home.path if own else jobs.folder_beside(job.out)
    return job, jobs.JobFolder(arguments.job or usual)


def _job_of_flags(arguments: argparse.Namespace) -> tuple[Job, jobs.JobFolder]:
    missing = [name for name in ("cases", "out") if getattr(arguments, name) is None]
    if missing:
        arguments.usage(f"--{missing[0]} is missing: give --cases and --out, or a job.json")
    job = Job(
        cases=arguments.cases.absolute(),
        method=arguments.method or methods.DEFAULT,
        out=arguments.out.absolute(),
        unlabelled=tuple(path.absolute() for path in arguments.unlabelled),
        config_name=arguments.config_name or "default",
        config=parse_assignments(arguments.set),
        labelled=arguments.labelled,
        iterations=arguments.iterations,
        minutes=arguments.minutes,
        seed=arguments.seed or 0,
        start=arguments.start.absolute() if arguments.start is not None else None,
        device=arguments.device,
        title=arguments.title or "",
    )
    return job, jobs.JobFolder(arguments.job or jobs.folder_beside(job.out))


def _follow(job: Job, folder: jobs.JobFolder) -> int:
    """Take part in a training whose first process speaks, and writes, for all."""
    if folder.is_ours:  # else the first process makes it, or refuses it
        folder.forget_old_stop()
    with silent_reporter(folder.stop_file) as report:
        from crgloco.training import fine_tune

        try:
            fine_tune.run(job, folder, report)
        except Cancelled:
            return CANCELLED
        except CRGLoCoError as error:
            # It may be this process alone that failed; event lines are the first one's.
            Console().error(error)
            return FAILED
    return OK


def _leads() -> bool:
    """Whether this process speaks and writes files; `torchrun` numbers its processes in the environment."""
    return os.environ.get("RANK", "0") == "0"


def _in_team() -> bool:
    """Whether `torchrun` started this process; it hears Ctrl-C as we do, and passes it on."""
    return "TORCHELASTIC_RUN_ID" in os.environ
