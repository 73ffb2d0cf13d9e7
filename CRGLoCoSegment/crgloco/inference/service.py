"""What commands and the worker ask of a model; the last model stays warm between requests."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crgloco import model_store
from crgloco.data.scans import case_of_channels, find_scans
from crgloco.errors import CRGLoCoError, GeometryError, OptionError
from crgloco.inference import folder
from crgloco.inference.device import choose_device
from crgloco.inference.estimate import Estimate, estimate
from crgloco.inference.predictor import QUALITIES, Predictor, Quality
from crgloco.io.files import source_geometry
from crgloco.io.volume import Geometry
from crgloco.progress import Reporter

if TYPE_CHECKING:
    import torch

    from crgloco.data.cases import Case
    from crgloco.model_card import ModelCard

Answer = dict[str, Any]
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Warm:
    """A model that is ready.

    Attributes:
        folder: Where it came from.
        card: Its card; the hash in it tells when the folder holds another model.
        device: Where it was asked to run.
        predictor: What segments.
    """

    folder: Path
    card: ModelCard
    device: torch.device
    predictor: Predictor


class Service:
    """Predicts, ranks and estimates; keeps one model in memory."""

    def __init__(self) -> None:
        self._warm: Warm | None = None

    def load(self, model: Path, device: str = "auto") -> Warm:
        """Return the model, from memory if folder, weights and device are those of the last time.

        Raises:
            ModelError: The model cannot be used.
            ResourceError: There is no such device.
        """
        card, where = model_store.read_card(model), choose_device(device)
        warm = self._warm
        if warm is None or (warm.folder, warm.card, warm.device) != (model.absolute(), card, where):
            self._warm = None  # two models at once may be more than the GPU holds
            self._warm = warm = _warmed(model, where)
        return warm

    def unload(self) -> None:
        """Forget the model."""
        self._warm = None

    def predict(
        self,
        model: Path,
        scans: Path | Sequence[Case],
        out: Path,
        *,
        quality: Quality = "balanced",
        device: str = "auto",
        memory_gb: float = 6.0,
        report: Reporter,
    ) -> Answer:
        """Segment scans into a folder; returns what ``predictions.json`` holds.

        Args:
            model: The model's folder.
            scans: Whatever ``find_scans`` understands, or cases.
            out: Folder of the results.
            quality: ``"fast"``, ``"balanced"`` or ``"full"``.
            device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
            memory_gb: Memory of the process to stay below.
            report: Hears of progress, may stop.
        """
        cases = _cases(model, scans)
        return folder.predict_folder(self._job(model, quality, device, memory_gb, report), cases, out, report)

    def rank(
        self,
        model: Path,
        scans: Path | Sequence[Case],
        out: Path | None = None,
        *,
        quality: Quality = "balanced",
        device: str = "auto",
        memory_gb: float = 6.0,
        report: Reporter,
    ) -> Answer:
        """Order scans by the expected benefit of correcting them; arguments as of ``predict``."""
        cases = _cases(model, scans)
        return folder.rank(self._job(model, quality, device, memory_gb, report), cases, out, report)

    def estimate(
        self, model: Path, grid: Geometry, quality: Quality = "balanced", device: str = "auto"
    ) -> Estimate:
        """Return what a prediction will take; the model need not be loaded for it."""
        return estimate(model_store.read_card(model), grid, quality, choose_device(device))

    def answer(self, command: str, fields: Fields, report: Reporter) -> Answer:
        """Answer a request of the worker.

        Args:
            command: ``"load"``, ``"predict"``, ``"estimate"``, ``"rank"`` or ``"unload"``.
            fields: As in the description of ``crgloco.worker``.
            report: Hears of progress, may stop.

        Raises:
            OptionError: A field is missing or of the wrong kind.
            CRGLoCoError: The request cannot be fulfilled; also where its only case failed.
        """
        commands: dict[str, Callable[[Fields, Reporter], Answer]] = {
            "load": self._answer_load,
            "predict": self._answer_predict,
            "estimate": self._answer_estimate,
            "rank": self._answer_rank,
            "unload": self._answer_unload,
        }
        return commands[command](fields, report)

    def _answer_load(self, fields: Fields, report: Reporter) -> Answer:
        del report
        warm = self.load(_path(fields, "model"), _text(fields, "device", "auto"))
        return {"model": warm.card.to_json(), "device": str(warm.device)}

    def _answer_predict(self, fields: Fields, report: Reporter) -> Answer:
        answer = self.predict(
            _path(fields, "model"), _scans(fields), _path(fields, "out"), **_how(fields), report=report
        )
        if answer["failed"] and len(answer["cases"]) == 1:
            raise CRGLoCoError(answer["cases"][0]["error"])
        return answer

    def _answer_rank(self, fields: Fields, report: Reporter) -> Answer:
        out = _path(fields, "out") if fields.get("out") is not None else None
        return self.rank(_path(fields, "model"), _scans(fields), out, **_how(fields), report=report)

    def _answer_estimate(self, fields: Fields, report: Reporter) -> Answer:
        del report
        model = _path(fields, "model")
        grid = _grid(fields) if "shape" in fields else _grid_of(_cases(model, _scans(fields))[0])
        how = _how(fields)
        return self.estimate(model, grid, how["quality"], how["device"]).to_json()

    def _answer_unload(self, fields: Fields, report: Reporter) -> Answer:
        del fields, report
        self.unload()
        return {}

    def _job(
        self, model: Path, quality: Quality, device: str, memory_gb: float, report: Reporter
    ) -> folder.FolderJob:
        report.event("progress", stage="loading the model", done=0, total=1)
        warm = self.load(model, device)
        report.check()
        return folder.FolderJob(warm.predictor, warm.card.weights_sha256, quality, memory_gb)


def _warmed(model: Path, device: torch.device) -> Warm:
    loaded = model_store.load(model, device)
    predictor = Predictor(
        loaded.network,
        loaded.preparation,
        loaded.table,
        temperature=loaded.temperature,
        device=device,
        flip_axes=loaded.flip_axes,
    )
    return Warm(model.absolute(), loaded.card, device, predictor)


def _cases(model: Path, scans: Path | Sequence[Case]) -> Sequence[Case]:
    if not isinstance(scans, Path):
        return scans
    return find_scans(scans, len(model_store.read_card(model).channel_names))


def _grid_of(case: Case) -> Geometry:
    return source_geometry(case.channels[0])


def _scans(fields: Fields) -> Path | Sequence[Case]:
    """Return ``input``, or the one case of ``channels``, a list of files, with its ``name``."""
    paths = fields.get("channels")
    if paths is None:
        return _path(fields, "input")
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
        msg = f"'channels' must be a list of files; found {paths!r}."
        raise OptionError(msg)
    return (case_of_channels(_text(fields, "name", "scan"), [Path(path) for path in paths]),)


def _how(fields: Fields) -> dict[str, Any]:
    quality = _text(fields, "quality", "balanced")
    if quality not in QUALITIES:
        msg = f"There is no quality {quality!r}; choose one of {', '.join(QUALITIES)}."
        raise OptionError(msg)
    memory = fields.get("memory_gb", 6.0)
    if isinstance(memory, bool) or not isinstance(memory, (int, float)) or not memory > 0:
        msg = f"'memory_gb' must be a number above 0; found {memory!r}."
        raise OptionError(msg)
    return {"quality": quality, "device": _text(fields, "device", "auto"), "memory_gb": float(memory)}


def _grid(fields: Fields) -> Geometry:
    try:
        shape, spacing = [int(n) for n in fields["shape"]], [float(mm) for mm in fields["spacing"]]
        if not all(math.isfinite(mm) for mm in spacing):
            msg = f"not finite: {spacing}"
            raise ValueError(msg)
        k, j, i = shape
        z, y, x = spacing
        return Geometry((k, j, i), (z, y, x), (0.0, 0.0, 0.0))
    except (KeyError, TypeError, ValueError, GeometryError) as error:
        msg = (
            f"'shape' (voxels K, J, I) and 'spacing' (mm K, J, I) need three positive numbers each ({error})."
        )
        raise OptionError(msg) from error


def _path(fields: Fields, key: str) -> Path:
    return Path(_text(fields, key))


def _text(fields: Fields, key: str, default: str | None = None) -> str:
    value = fields.get(key, default)
    if not isinstance(value, str) or not value:
        msg = f"{key!r} must be a text; found {value!r}."
        raise OptionError(msg)
    return value
