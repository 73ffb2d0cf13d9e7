"""What a model says of itself, in words: for lists, details and tooltips."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from crgloco.errors import OptionError
from crgloco.labels import LabelTable
from crgloco.methods import card as methodCard
from crgloco.model_card import ModelCard
from crgloco.model_store import classes_told


def listTitles(found: Sequence[tuple[Path, Any]]) -> dict[str, str]:
    """Return what each model is called in a list; two with one title are told apart by their folders.

    Args:
        found: Folder and card of each, or what is wrong with it.
    """
    titles = {
        str(path): card.title if isinstance(card, ModelCard) else _("{name} (damaged)").format(name=path.name)
        for path, card in found
    }
    names = list(titles.values())
    return {
        path: f"{title} ({Path(path).name})" if names.count(title) > 1 else title
        for path, title in titles.items()
    }


def labelsText(table: LabelTable) -> str:
    """Return the structures with their colours, as rich text."""
    # Held together, else a square ends a line and its name begins the next.
    return " ".join(f"{swatch(label.colour)}&nbsp;{escape(plainName(label.name))}" for label in table.labels)


def swatch(colour: tuple[int, int, int]) -> str:
    """Return a square in a colour, as rich text."""
    return f'<span style="color:rgb({colour[0]},{colour[1]},{colour[2]})">&#9632;</span>'


def plainName(name: str) -> str:
    """Return a label's name as people write it."""
    return name.replace("_", " ")


def detailsText(card: ModelCard, titles: Mapping[str, str]) -> str:
    """Return training, licence and intended use, as rich text.

    Args:
        card: The model.
        titles: Title of every known model by the hash of its weights, to name the parent.
    """
    lines = [trainingText(card), validationText(card), _parentText(card, titles)]
    lines += [_("Channels: {names}.").format(names=", ".join(card.channel_names))]
    lines += [_("Licence: {licence}.").format(licence=card.licence)] if card.licence else []
    lines += [card.attribution, card.intended_use]
    paragraphs = [escape(line) for line in lines if line]
    if card.intended_use:
        paragraphs[-1] = f"<b>{paragraphs[-1]}</b>"
    return "<br>".join(paragraphs)


def trainingText(card: ModelCard) -> str:
    """Return by which method and on how many cases it was trained."""
    labelled, unlabelled = (len(card.training.get(kind) or {}) for kind in ("labelled", "unlabelled"))
    method = _methodTitle(card.method)
    if not labelled and not unlabelled:
        return _("Method: {method}.").format(method=method)
    text = _("Trained by {method} on {labelled} labelled and {unlabelled} unlabelled cases, {date}.")
    return text.format(method=method, labelled=labelled, unlabelled=unlabelled, date=card.created[:10])


def validationText(card: ModelCard) -> str:
    """Return its Dice on validation cases, or that it was not measured."""
    scores = (card.training.get("metrics") or {}).get("new") or {}
    cases = len(card.training.get("validation") or {})
    if not isinstance(scores.get("dice"), (int, float)):
        return _("Not measured on validation cases.")
    text = _("Dice on {cases} validation case: {dice} ({labels}).")
    if cases != 1:
        text = _("Dice on {cases} validation cases: {dice} ({labels}).")
    return text.format(cases=cases, dice=f"{scores['dice']:.2f}", labels=_perLabel(scores))


def onePieceText(card: ModelCard) -> str:
    """Return the structures whose islands are removed from predictions, or an empty text."""
    return ", ".join(plainName(card.labels.names[number]) for number in classes_told(card, "one_piece"))


def _perLabel(scores: Mapping[str, Any]) -> str:
    known = {
        name: dice for name, dice in (scores.get("per_label") or {}).items() if isinstance(dice, (int, float))
    }
    return ", ".join(f"{plainName(name)} {dice:.2f}" for name, dice in known.items())


def _parentText(card: ModelCard, titles: Mapping[str, str]) -> str:
    if not card.parent:
        return ""
    title = titles.get(card.parent)
    if title is None:
        return _("Fine-tuned from a model that is not on this computer.")
    return _("Fine-tuned from {title}.").format(title=title)


def _methodTitle(name: str) -> str:
    try:
        return methodCard(name).title
    except OptionError:  # a model of a newer version, or of somebody's own method
        return name
