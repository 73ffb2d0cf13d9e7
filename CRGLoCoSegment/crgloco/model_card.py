"""What a model says of itself: ``model.json`` beside its weights.

The card alone lets a list be shown, a volume be prepared and the network be built; no torch is needed
to read it. Its format number changes whenever an older or newer engine would misread it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crgloco.errors import LabelError, ModelError
from crgloco.json_values import is_number
from crgloco.labels import LabelTable

FORMAT = 1

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class BranchCard:
    """One branch as the predictor runs it.

    Attributes:
        name: ``"global"`` or ``"local"``, or a name of the method's own.
        window: Voxels of the prepared grid along K, J, I that one run sees.
        scale: Size of the network's input over the window along K, J, I, 0..1; 1 is full resolution.
        weight: Share in the fused answer, 0 or more; 0 is shown and not fused.
    """

    name: str
    window: Shape
    scale: tuple[float, float, float]
    weight: float

    def to_json(self) -> dict[str, Any]:
        """Return the branch as plain values."""
        return {
            "name": self.name,
            "window": list(self.window),
            "scale": list(self.scale),
            "weight": self.weight,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> BranchCard:
        """Read what ``to_json`` wrote.

        Raises:
            ModelError: A key is missing, or a value is out of range.
        """
        _refuse_other_keys(values, {"name", "window", "scale", "weight"}, "branch of the model card")
        window, scale = tuple(values["window"]), tuple(values["scale"])
        numbers = [*window, *scale, values["weight"]]
        if (
            len(window) != 3
            or len(scale) != 3
            or not all(is_number(number) for number in numbers)
            or not all(isinstance(size, int) and size >= 1 for size in window)
            or not all(0 < factor <= 1 for factor in scale)
            or values["weight"] < 0
        ):
            msg = f"The branch {values['name']!r} has an impossible window, scale or weight."
            raise ModelError(msg)
        k, j, i = window
        scale_k, scale_j, scale_i = (float(factor) for factor in scale)
        return cls(str(values["name"]), (k, j, i), (scale_k, scale_j, scale_i), float(values["weight"]))


@dataclass(frozen=True)
class ModelCard:
    """Everything about a model but its weights.

    Attributes:
        name: Name of the model's folder.
        title: Name shown to users.
        method: Name of the method in ``crgloco.methods``.
        config: The method's options.
        labels: The structures it segments.
        channel_names: Its input channels, in order, for example ``("CT",)``.
        preparation: ``Preparation.to_json()``.
        network: Plan of the networks, as the method wrote it.
        branches: The networks as inference runs them.
        calibration: ``{"temperature": float}``.
        intended_use: For whom and what, and what it was not tested on.
        licence: Licence of the weights.
        attribution: Sources of the training data that must be named.
        parent: ``weights_sha256`` of the model that training started from.
        training: Cases with content hashes, iterations, seed, metrics, deviations, recipe.
        engine: Version of crgloco that wrote it.
        created: Time in UTC, ISO 8601.
        weights_sha256: Hash of ``weights.safetensors``, hexadecimal; empty before it is saved.
        format: Format number of this card.
    """

    name: str
    title: str
    method: str
    config: dict[str, Any]
    labels: LabelTable
    channel_names: tuple[str, ...]
    preparation: dict[str, Any]
    network: dict[str, Any]
    branches: tuple[BranchCard, ...]
    calibration: dict[str, float] = field(default_factory=lambda: {"temperature": 1.0})
    intended_use: str = ""
    licence: str = ""
    attribution: str = ""
    parent: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    engine: str = ""
    created: str = ""
    weights_sha256: str = ""
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return the card as plain values, the format number first."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        values |= {
            "labels": self.labels.to_json(),
            "channel_names": list(self.channel_names),
            "branches": [branch.to_json() for branch in self.branches],
        }
        return {"format": values.pop("format"), **values}

    @classmethod
    def from_json(cls, values: Any) -> ModelCard:
        """Read what ``to_json`` wrote.

        Raises:
            ModelError: Another format number, a missing or unknown key, or a value of a wrong kind.
        """
        if not isinstance(values, dict) or "format" not in values:
            msg = "The model card holds no format number; this is not a model of CRGLoCoSegment."
            raise ModelError(msg)
        if values["format"] != FORMAT:
            msg = (
                f"The model has format {values['format']!r}; this version reads format {FORMAT}. "
                "Update CRGLoCoSegment, or get the model for this version."
            )
            raise ModelError(msg)
        _refuse_other_keys(values, {entry.name for entry in dataclasses.fields(cls)}, "model card")
        _check_kinds(values)
        try:
            read = {
                "labels": LabelTable.from_json(values["labels"]),
                "channel_names": tuple(str(name) for name in values["channel_names"]),
                "branches": tuple(BranchCard.from_json(branch) for branch in values["branches"]),
            }
        except (LabelError, KeyError, TypeError, AttributeError) as error:
            msg = f"The model card cannot be read: {error}."
            raise ModelError(msg) from error
        return cls(**{**values, **read})


def encode(card: ModelCard) -> bytes:
    """Return the text of ``model.json``.

    Raises:
        ModelError: The card holds what JSON does not know (NaN, an array, a path).
    """
    try:
        text = json.dumps(card.to_json(), indent=2, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        msg = f"The card of model {card.name!r} cannot be written as JSON: {error}."
        raise ModelError(msg) from error
    # A folder's name need not be text: such a character is written as JSON's escape, and read back as it was.
    return (text + "\n").encode(errors="backslashreplace")


def decode(content: bytes) -> ModelCard:
    """Read the text of ``model.json``.

    Raises:
        ModelError: The text is cut off or no JSON, or the card is not ours.
    """
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        msg = f"The model card is damaged or cut off ({error}). Copy or import the model again."
        raise ModelError(msg) from error
    return ModelCard.from_json(values)


def _refuse_other_keys(values: Mapping[str, Any], known: set[str], where: str) -> None:
    missing, unknown = sorted(known - set(values)), sorted(set(values) - known)
    if missing or unknown:
        parts = [f"{missing[0]!r} is missing"] if missing else []
        parts += [f"{unknown[0]!r} is unknown"] if unknown else []
        msg = f"The {where} is not complete or not ours: {' and '.join(parts)}."
        raise ModelError(msg)


def _check_kinds(values: Mapping[str, Any]) -> None:
    texts = ("name", "title", "method", "intended_use", "licence", "attribution", "engine", "created")
    kinds: dict[str, tuple[type, ...]] = {
        **dict.fromkeys((*texts, "weights_sha256"), (str,)),
        **dict.fromkeys(("config", "preparation", "network", "calibration", "training"), (dict,)),
        **dict.fromkeys(("labels", "channel_names", "branches"), (list,)),
        "parent": (str, type(None)),
    }
    for key, kind in kinds.items():
        if not isinstance(values[key], kind):
            msg = f"{key!r} of the model card has a value of a wrong kind: {values[key]!r:.80}."
            raise ModelError(msg)
    temperature = values["calibration"].get("temperature")
    if not is_number(temperature) or temperature <= 0:
        msg = f"The temperature of the model card must be a positive number; found {temperature!r}."
        raise ModelError(msg)
