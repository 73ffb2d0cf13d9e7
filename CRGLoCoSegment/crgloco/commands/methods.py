"""``crgloco methods``: what can learn here, with every option; needs no torch."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from crgloco import methods
from crgloco.commands.arguments import OK, add_command
from crgloco.commands.console import Console
from crgloco.options import range_text

if TYPE_CHECKING:
    from crgloco.commands.arguments import Subparsers


def add_to(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(commands, "methods", run, "list the learning methods and their options")
    parser.add_argument("name", nargs="?", help="one method, with all its options")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """List all methods, or show one."""
    names = [arguments.name] if arguments.name else list(methods.available())
    cards = [methods.card(name) for name in names]
    if not console.for_programs:
        for card in cards:
            if arguments.name:
                _show(console, card.to_json())
            else:
                configurations = ", ".join(card.configurations)
                console.say(
                    f"{card.name}: {card.title}\n    {card.reference}\n    configurations: {configurations}"
                )
        if not arguments.name:
            console.say("\nOptions of one of them: crgloco methods NAME")
    console.result([card.to_json() for card in cards])
    return OK


def _show(console: Console, card: dict[str, Any]) -> None:
    console.say(f"{card['title']}\n{card['reference']}\n")
    for name, values in card["configurations"].items():
        changed = " ".join(f"{key}={value}" for key, value in values.items())
        console.say(f"--config-name {name}: {changed or 'all options as below'}")
    rows = [
        (option["name"], _default(option), option.get("unit", ""), _range(option), option["help"])
        for option in card["options"]
    ]
    console.table(
        "Options, changed by --set NAME=VALUE", ("name", "default", "unit", "allowed", "what it does"), rows
    )


def _default(option: dict[str, Any]) -> str:
    written = str(option["default"])
    return f"{written} (automatic)".lstrip() if option.get("automatic") else written


def _range(option: dict[str, Any]) -> str:
    if "choices" in option:
        return ", ".join(option["choices"])
    return range_text(option.get("minimum"), option.get("maximum"))
