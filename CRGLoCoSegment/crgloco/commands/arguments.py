"""What several commands take: how they speak, the device, the quality, and a model by folder or name."""

from __future__ import annotations

import argparse
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from crgloco.commands.console import STDOUT, Console
from crgloco.job_file import LARGEST_SEED

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  (argparse has no public name)

Run = Callable[[argparse.Namespace, Console], int]

OK = 0
FAILED = 1
SOME_CASES_FAILED = 3
CANCELLED = 130


def resources(package: Path) -> Path:
    """Return the folder of the starter model and the sample scans.

    They lie beside the package in a checkout, in Slicer and in an editable installation; any other
    installation puts data in a folder of the environment, or of the user.

    Args:
        package: Folder of the package.
    """
    beside = package.parent / "Resources"
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    installed = (Path(sysconfig.get_path("data", scheme)) / "share" / "crgloco" for scheme in schemes)
    return next((folder for folder in (beside, *installed) if (folder / "Models").is_dir()), beside)


RESOURCES = resources(Path(__file__).parents[1])
BUNDLED_MODELS = RESOURCES / "Models"


def add_command(
    commands: Subparsers, name: str, run: Run, text: str, *, positionals: bool = True
) -> argparse.ArgumentParser:
    """Add a command with the flags that all of them share.

    Args:
        commands: Where it is added.
        name: What the user types.
        run: Does the work and returns the exit code.
        text: What it does, in one sentence.
        positionals: Whether it takes words without a flag; a file behind ``--json`` could be one of them.
    """
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run, usage=parser.error)
    group = parser.add_argument_group("how it speaks")
    _add_json(group, optional_file=not positionals)
    group.add_argument("--events", action="store_true", help="write event lines @{json} on stdout")
    group.add_argument("--debug", action="store_true", help="show where in the program an error arose")
    return parser


def _add_json(group: argparse._ArgumentGroup, *, optional_file: bool) -> None:
    either = group.add_mutually_exclusive_group()
    if optional_file:
        help_text = "write the result as JSON: to FILE, or to stdout without FILE"
        either.add_argument("--json", nargs="?", const=STDOUT, metavar="FILE", help=help_text)
    else:
        help_text = "write the result as JSON to stdout"
        either.add_argument("--json", action="store_const", const=STDOUT, help=help_text)
    help_text = "write the result as JSON to FILE; only an earlier result is replaced"
    either.add_argument("--json-file", dest="json", metavar="FILE", help=help_text)


def add_unlabelled(parser: argparse.ArgumentParser, help_text: str) -> None:
    """Add the folders of further scans that a training, or the check before it, looks at."""
    parser.add_argument(
        "--unlabelled", type=Path, nargs="+", action="extend", default=[], metavar="DIR", help=help_text
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device", type=device_name, default="auto", metavar="{auto,cpu,cuda}", help="default: auto"
    )


def add_quality(parser: argparse.ArgumentParser) -> None:
    """Add ``--quality``."""
    parser.add_argument(
        "--quality",
        choices=("fast", "balanced", "full"),
        default="balanced",
        help="fast: global branch only; balanced (default): local windows where the global answer leaves "
        "something open; full: all local windows, and mirrors where the model was trained with them",
    )


def add_islands(parser: argparse.ArgumentParser) -> None:
    """Add ``--keep-islands``."""
    parser.add_argument(
        "--keep-islands",
        action="store_true",
        help="leave pieces apart from the main one, also of structures that were one piece in every label "
        "the model learned from",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``."""
    parser.add_argument(
        "--model", type=model_folder, required=True, metavar="MODEL", help="folder or name of a bundled model"
    )


def model_folder(text: str) -> Path:
    """Return a model's folder; a plain name that is no folder here may be one of the bundled models."""
    path, bundled = Path(text), BUNDLED_MODELS / text
    return bundled if not path.exists() and len(path.parts) == 1 and bundled.is_dir() else path


def device_name(text: str) -> str:
    """Check the form of a device's name, such as ``cuda:1``."""
    kind, colon, number = text.partition(":")
    if text in ("auto", "cpu", "cuda") or (kind == "cuda" and colon and number.isdigit()):
        return text
    msg = f"expected auto, cpu, cuda or cuda:N, found {text!r}"
    raise argparse.ArgumentTypeError(msg)


def whole_number(text: str) -> int:
    """Check a number of things: 1, 2, 3 and so on."""
    if text.isdigit() and int(text) >= 1:
        return int(text)
    msg = f"expected a whole number of at least 1, found {text!r}"
    raise argparse.ArgumentTypeError(msg)


def seed_number(text: str) -> int:
    """Check a seed: 0, 1, 2 and so on."""
    if text.isdigit() and int(text) <= LARGEST_SEED:
        return int(text)
    msg = f"expected a whole number from 0 to {LARGEST_SEED}, found {text!r}"
    raise argparse.ArgumentTypeError(msg)


def positive_number(text: str) -> float:
    """Check an amount above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if 0 < value < float("inf"):
        return value
    msg = f"expected a number above 0, found {text!r}"
    raise argparse.ArgumentTypeError(msg)
