"""Models on disk: a folder with ``model.json`` and ``weights.safetensors``.

A folder is written as ``<name>.part`` and renamed, so no list ever shows half a model. Copying the
folder is installing it. Nothing in it is ever unpickled, and the hash of the weights stands in the card.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crgloco import model_card
from crgloco.atomic import LONG_PAUSES_S, PART, patiently, saving, write_through
from crgloco.errors import ModelError, OptionError, about
from crgloco.file_names import is_litter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import torch

    from crgloco.data.preparation import Preparation
    from crgloco.labels import LabelTable
    from crgloco.model_card import ModelCard
    from crgloco.networks.dual_resolution import DualResolution

CARD = "model.json"
WEIGHTS = "weights.safetensors"
MAXIMUM_CARD = 64 * 2**20  # bytes; a card of 100,000 training cases has about 15 MB


def save(folder: Path, card: ModelCard, tensors: Mapping[str, torch.Tensor]) -> ModelCard:
    """Write a new model; the folder appears only when it is complete.

    Args:
        folder: The model's folder; must not exist. Its name becomes the card's.
        card: The card; name and hash of the weights are filled in here.
        tensors: The weights by name, on any device.

    Returns:
        The card as it was written.

    Raises:
        ModelError: The folder exists already, or the card holds what JSON does not know.
        ResourceError: The disk is full or the folder cannot be written; nothing is left.
    """
    from safetensors.torch import save as to_bytes

    if folder.exists():
        msg = f"{folder} exists already; a model is never overwritten. Choose another name."
        raise ModelError(msg)
    weights = to_bytes({name: _plain(tensor) for name, tensor in tensors.items()})
    card = replace(card, name=folder.name, weights_sha256=hashlib.sha256(weights).hexdigest())
    write_folder(folder, model_card.encode(card), weights)
    return card


def write_folder(folder: Path, card: bytes, weights: bytes) -> None:
    """Write both files beside the target, then rename.

    Raises:
        ResourceError: The disk is full or the folder cannot be written; nothing is left.
    """
    part = folder.with_name(folder.name + PART)
    with saving(folder):
        try:
            # What a killed process may have left under this name is half a model: of no use to anyone.
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            write_through(part / WEIGHTS, weights)
            write_through(part / CARD, card)
            patiently(lambda: part.rename(folder), LONG_PAUSES_S)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def read_card(folder: Path) -> ModelCard:
    """Read what a model says of itself; its weights are not touched.

    Raises:
        ModelError: No model there, a damaged card, or another format; names the folder and the remedy.
    """
    content = _read(folder, CARD, MAXIMUM_CARD)
    with about(folder):
        return model_card.decode(content)


def load_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Read the weights, by name, as saved, onto the CPU after comparing their hash with the card.

    Raises:
        ModelError: A file is missing or damaged; names the folder and the remedy.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    _, weights = read_files(folder)
    try:
        return from_bytes(weights)
    except SafetensorError as error:
        msg = f"{folder / WEIGHTS} is no safetensors file ({error}). Get or train the model anew."
        raise ModelError(msg) from error


def check_weights(folder: Path, card: ModelCard, weights: bytes) -> None:
    """Compare the weights with the hash in the card.

    Raises:
        ModelError: They are not the weights that the card speaks of.
    """
    found = hashlib.sha256(weights).hexdigest()
    if found != card.weights_sha256:
        msg = (
            f"{folder / WEIGHTS} is damaged or belongs to another model: its hash is {found[:12]}..., "
            f"the card says {card.weights_sha256[:12] or 'nothing'}... Copy or import the model again."
        )
        raise ModelError(msg)


def list_models(folders: Iterable[Path]) -> list[tuple[Path, ModelCard | ModelError]]:
    """Find the models inside the given folders, by name; a damaged one is listed with its error.

    A model's own folder is listed too. Folders that do not exist hold no models; ``.part`` folders and
    hidden ones are passed over.
    """
    found: list[tuple[Path, ModelCard | ModelError]] = []
    for parent in folders:
        try:
            found += [(folder, _card_or_error(folder)) for folder in _models_at(parent)]
        except OSError as error:
            found.append((parent, ModelError(f"{parent} cannot be read: {error.strerror}.")))
    return found


def looks_like_model(folder: Path) -> bool:
    """Whether a folder holds at least one of a model's files and is not half written."""
    if folder.name.startswith(".") or folder.name.endswith(PART):
        return False
    try:
        return (folder / CARD).is_file() or (folder / WEIGHTS).is_file()
    except OSError:
        return False


def check(folder: Path) -> list[str]:
    """Return what is wrong with a model, one sentence each; an empty list for a sound one."""
    try:
        tensors = load_tensors(folder)
        card = read_card(folder)
    except ModelError as error:
        return [str(error)]
    problems = []
    if not tensors:
        problems.append(f"{folder / WEIGHTS} holds no weights.")
    strange = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if strange:
        problems.append(f"{folder / WEIGHTS}: {strange[0]!r} holds NaN or infinite numbers. Train it anew.")
    if card.name != folder.name:
        problems.append(f"{folder}: the card calls the model {card.name!r}; the folder's name counts.")
    names = (path.name for path in folder.iterdir())
    others = sorted(name for name in names if name not in (CARD, WEIGHTS) and not is_litter(name))
    if others:
        problems.append(f"{folder} holds {others[0]!r}, which is no part of a model.")
    return problems


def read_files(folder: Path) -> tuple[ModelCard, bytes]:
    """Read card and raw weights and compare the hash, without building tensors.

    Raises:
        ModelError: A file is missing or damaged.
    """
    card = read_card(folder)
    weights = _read(folder, WEIGHTS)
    check_weights(folder, card, weights)
    return card, weights


def _models_at(folder: Path) -> list[Path]:
    """Return the folder itself, where it is a model, and the models directly in it."""
    paths = (folder, *sorted(folder.iterdir())) if folder.is_dir() else ()
    return [path for path in paths if looks_like_model(path)]


def _card_or_error(folder: Path) -> ModelCard | ModelError:
    try:
        card = read_card(folder)
        if not (folder / WEIGHTS).is_file():
            return ModelError(f"{folder} holds no {WEIGHTS}. Copy or import the model again.")
    except ModelError as error:
        return error
    return card


def _read(folder: Path, name: str, largest: int | None = None) -> bytes:
    path = folder / name
    try:
        if largest is not None and path.stat().st_size > largest:
            msg = f"{path} is larger than {largest >> 20} MB; this is not a model of CRGLoCoSegment."
            raise ModelError(msg)
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"{folder} holds no {name}. Choose a model's folder, or copy or import the model again."
        raise ModelError(msg) from error
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}. Check its permissions and the disk."
        raise ModelError(msg) from error


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """Own memory in plain order: safetensors refuses shared memory, and channels-last is not stored."""
    import torch

    return tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run.

    Attributes:
        card: What the model says of itself.
        network: Both branches, in evaluation mode, on the device.
        preparation: How scans become arrays.
        table: The label table.
        temperature: Calibration of the confidence.
        flip_axes: Axes along which the body may be mirrored.
        one_piece: Class numbers of structures that were one piece in every label it learned from.
    """

    card: ModelCard
    network: DualResolution
    preparation: Preparation
    table: LabelTable
    temperature: float
    flip_axes: tuple[int, ...]
    one_piece: tuple[int, ...] = ()


def classes_told(card: ModelCard, key: str) -> tuple[int, ...]:
    """Return the class numbers of structures that an entry of ``training`` names; older cards lack some."""
    names = card.training.get(key)
    known = names if isinstance(names, list) else []
    return tuple(number for number, name in enumerate(card.labels.names) if number and name in known)


def is_pretraining(card: ModelCard) -> bool:
    """Whether a model only starts the training of others: it has no branch that could predict."""
    return not card.branches


def assert_segments(card: ModelCard, folder: Path) -> None:
    """Refuse a model that cannot predict.

    Raises:
        ModelError: It is a pre-trained start.
    """
    if is_pretraining(card):
        msg = (
            f"{folder} is a pre-trained start and cannot segment by itself. Fine-tune it on labelled cases "
            "first: choose it as the start model."
        )
        raise ModelError(msg)


@dataclass(frozen=True)
class StartModel:
    """What a training takes over from an earlier one.

    Attributes:
        card: What the model says of itself.
        tensors: Its weights by name, on the CPU.
        preparation: How scans become arrays.
    """

    card: ModelCard
    tensors: dict[str, torch.Tensor]
    preparation: Preparation


def load_start(folder: Path) -> StartModel:
    """Read a model that a training shall start from: one that segments, or a pre-trained one.

    Raises:
        ModelError: A file is missing or damaged.
    """
    from crgloco.data.preparation import Preparation

    card = read_card(folder)
    return StartModel(card, load_tensors(folder), Preparation.from_json(card.preparation))


def load(folder: Path) -> LoadedModel:
    """Build the networks of a model, on the CPU, and fill in its weights; imports torch and MONAI.

    Raises:
        ModelError: The folder is damaged, or the weights do not fit the method's networks.
    """
    return build(folder, read_card(folder), load_tensors(folder))


def build(folder: Path, card: ModelCard, tensors: Mapping[str, torch.Tensor]) -> LoadedModel:
    """Do what ``load`` does with a card and weights that were read before.

    Args:
        folder: Names the model in messages.
        card: From ``read_card``.
        tensors: From ``load_tensors``.

    Raises:
        ModelError: The model cannot segment, or the weights do not fit the method's networks.
    """
    from crgloco import methods
    from crgloco.data.preparation import Preparation
    from crgloco.methods.base import Task
    from crgloco.options import from_mapping

    assert_segments(card, folder)
    try:
        kind = methods.get(card.method)
        task = Task.from_json(card.network)
        network = kind(from_mapping(kind.Config, card.config), task).averaged
        network.load_state_dict(tensors)
    except (OptionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        msg = f"{folder}: the weights do not fit the method {card.method!r} of this version ({reason})."
        raise ModelError(msg) from error
    network.weigh({branch.name: branch.weight for branch in card.branches})
    return LoadedModel(
        card,
        network.eval(),
        Preparation.from_json(card.preparation),
        card.labels,
        card.calibration["temperature"],
        task.flip_axes,
        classes_told(card, "one_piece"),
    )
