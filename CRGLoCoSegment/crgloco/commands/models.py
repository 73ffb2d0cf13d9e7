"""``crgloco models``: list, check, export and import models; a list needs no torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crgloco import model_store
from crgloco.commands.arguments import BUNDLED_MODELS, OK, SOME_CASES_FAILED, add_command, model_folder
from crgloco.commands.console import Console
from crgloco.errors import ModelError

if TYPE_CHECKING:
    from crgloco.commands.arguments import Subparsers
    from crgloco.model_card import ModelCard


def add_to(commands: Subparsers) -> None:
    """Add the command and its four actions."""
    help_text = "list, check, export and import models"
    actions = commands.add_parser("models", help=help_text, description=help_text).add_subparsers(
        required=True, metavar="ACTION"
    )
    parser = add_command(actions, "list", run_list, "list the models in folders")
    parser.add_argument(
        "folders",
        nargs="*",
        type=model_folder,
        metavar="DIR",
        help="folders that hold models, or models; without any: the bundled models and the current folder",
    )
    parser = add_command(actions, "check", run_check, "check that models are whole and unchanged")
    parser.add_argument("models", nargs="+", type=model_folder, metavar="MODEL")
    parser = add_command(actions, "export", run_export, "write a model as a zip file")
    parser.add_argument("model", type=model_folder, metavar="MODEL")
    parser.add_argument("zip", type=Path, metavar="ZIP")
    parser.add_argument("--overwrite", action="store_true", help="replace ZIP if it exists")
    parser = add_command(actions, "import", run_import, "install a model from a zip file")
    parser.add_argument("zip", type=Path, metavar="ZIP")
    parser.add_argument(
        "--into", type=Path, default=Path(), metavar="DIR", help="default: the current folder"
    )


def run_list(arguments: argparse.Namespace, console: Console) -> int:
    """List models, the damaged ones with their error."""
    _assert_folders(arguments.folders)
    folders = arguments.folders or [BUNDLED_MODELS, Path()]
    found = model_store.list_models(folders)
    if not console.for_programs:
        if not found:
            console.say(f"No models in {', '.join(str(folder) for folder in folders)}.")
        for folder, card in found:
            console.say(f"{folder}\n    {card if isinstance(card, ModelError) else _in_words(card)}")
    console.result([_entry(folder, card) for folder, card in found])
    return OK


def run_check(arguments: argparse.Namespace, console: Console) -> int:
    """Check files, hashes and numbers."""
    problems = {str(folder): model_store.check(folder) for folder in arguments.models}
    for folder, found in problems.items():
        for text in found or [f"{folder}: sound."]:
            console.say(text)
    console.result([{"path": folder, "problems": found} for folder, found in problems.items()])
    return SOME_CASES_FAILED if any(problems.values()) else OK


def run_export(arguments: argparse.Namespace, console: Console) -> int:
    """Write the zip.

    Raises:
        ModelError: The zip exists already, and may not be replaced; or the model is damaged.
    """
    from crgloco.model_zip import export_zip

    if arguments.zip.exists() and not arguments.overwrite:
        msg = f"{arguments.zip} exists already. Choose another name, or replace it with --overwrite."
        raise ModelError(msg)
    export_zip(arguments.model, arguments.zip, overwrite=arguments.overwrite)
    console.say(f"Model {arguments.model} was written to {arguments.zip}.")
    console.result({"zip": str(arguments.zip)})
    return OK


def run_import(arguments: argparse.Namespace, console: Console) -> int:
    """Install the model."""
    from crgloco.model_zip import import_zip

    folder = import_zip(arguments.zip, arguments.into)
    console.say(f"The model is now in {folder}.")
    console.result({"path": str(folder)})
    return OK


def _assert_folders(paths: Sequence[Path]) -> None:
    for path in paths:
        if not path.is_dir():
            found = "is no folder" if path.exists() else "does not exist"
            msg = f"{path} {found}. Give a folder of models, or a model's own."
            raise ModelError(msg)


def _entry(folder: Path, card: ModelCard | ModelError) -> dict[str, Any]:
    if isinstance(card, ModelError):
        return {"path": str(folder), "error": str(card)}
    return {"path": str(folder), "card": card.to_json()}


def _in_words(card: ModelCard) -> str:
    labels = ", ".join(card.labels.names[1:])
    return f"{card.title} ({card.method}), on {', '.join(card.channel_names)}: {labels}"
