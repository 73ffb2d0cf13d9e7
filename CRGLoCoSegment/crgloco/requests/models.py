"""Requests to a model; the last one stays warm between requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from crgloco import model_store
from crgloco.data.cases import Case, open_cases
from crgloco.data.scans import case_of_channels, find_scans
from crgloco.errors import CRGLoCoError, GeometryError, OptionError
from crgloco.inference.prediction import Prediction
from crgloco.inference.predictor import MEMORY_BUDGET_GB, QUALITIES
from crgloco.inference.results import describe
from crgloco.inference.service import How, Service, Work, assert_channels_fit
from crgloco.io.files import assert_usable_image, source_geometry
from crgloco.io.volume import Geometry, Volume, assert_same_grid
from crgloco.labels import LabelTable
from crgloco.progress import Reporter
from crgloco.requests import fields as read
from crgloco.requests.arrays import ArrayFolder, read_volumes
from crgloco.requests.fields import Answer, Fields

REGIONS_LISTED = 20


class ModelRequests:
    """Answers requests to a model.

    Args:
        service: Holds the model.
    """

    def __init__(self, service: Service | None = None) -> None:
        self._service = service if service is not None else Service()

    def answer(self, command: str, fields: Fields, report: Reporter) -> Answer:
        """Answer a request.

        Args:
            command: ``"load"``, ``"segment"``, ``"predict"``, ``"estimate"``, ``"rank"`` or ``"unload"``.
            fields: As in the description of ``crgloco.worker``.
            report: Hears of progress, may stop.

        Raises:
            OptionError: A field is missing or of the wrong kind.
            CRGLoCoError: The request cannot be fulfilled; also where its only case failed.
        """
        commands: dict[str, Callable[[Fields, Reporter], Answer]] = {
            "load": self._load,
            "segment": self._segment,
            "predict": self._predict,
            "estimate": self._estimate,
            "rank": self._rank,
            "unload": self._unload,
        }
        return commands[command](fields, report)

    def _load(self, fields: Fields, report: Reporter) -> Answer:
        warm = self._service.load(read.path(fields, "model"), read.text(fields, "device", "auto"), report)
        return {"model": warm.card.to_json(), "device": str(warm.device)}

    def _segment(self, fields: Fields, report: Reporter) -> Answer:
        how = _how(fields)
        volumes = _images(fields)
        job = self._service.job(read.path(fields, "model"), **how, report=report)
        grid, predictor = volumes[0].geometry, job.predictor
        prediction = job.predict(volumes, report)
        del volumes
        report.check()
        record = describe(prediction, predictor.table, regions=REGIONS_LISTED)
        return {
            **record,
            "model": job.model,
            "title": job.title,
            "labels": predictor.table.to_json(),
            "geometry": grid.to_json(),
            "arrays": _write(prediction, predictor.table, read.path(fields, "out"), report),
        }

    def _predict(self, fields: Fields, report: Reporter) -> Answer:
        model, out = read.path(fields, "model"), read.path(fields, "out")
        answer = self._service.predict(model, _scans(fields), out, **_how(fields), report=report)
        if answer["failed"] and len(answer["cases"]) == 1:
            raise CRGLoCoError(answer["cases"][0]["error"])
        return answer

    def _rank(self, fields: Fields, report: Reporter) -> Answer:
        model, out = read.path(fields, "model"), read.optional_path(fields, "out")
        return self._service.rank(model, _scans(fields), out, **_how(fields), report=report)

    def _estimate(self, fields: Fields, report: Reporter) -> Answer:
        del report
        model = read.path(fields, "model")
        grid = _grid(fields) if "shape" in fields else _grid_of(model, _scans(fields))
        return self._service.estimate(model, grid, **_work(fields)).to_json()

    def _unload(self, fields: Fields, report: Reporter) -> Answer:
        del fields, report
        self._service.unload()
        return {}


def _images(fields: Fields) -> tuple[Volume, ...]:
    volumes = read_volumes(fields, "arrays")
    if not volumes:
        msg = "'arrays' must list the channels of the volume; nothing was given."
        raise OptionError(msg)
    for number, volume in enumerate(volumes):
        name = f"Channel {number}" if len(volumes) > 1 else "The volume"
        assert_usable_image(volume, Path(name))
        assert_same_grid(volumes[0].geometry, volume.geometry, f"The channels 0 and {number}")
    return volumes


def _write(prediction: Prediction, table: LabelTable, out: Path, report: Reporter) -> Answer:
    """Write what there is, labels as values of the table."""
    folder = ArrayFolder(out)
    labels = {"fused": prediction.fused, "global": prediction.global_, "local": prediction.local}
    for kind, classes in labels.items():
        report.check()
        if classes is not None:
            folder.write(kind, table.to_values(classes))
    folder.write("confidence", prediction.confidence)
    folder.write("disagreement", prediction.disagreement)
    return folder.names


def _scans(fields: Fields) -> Path | Sequence[Case]:
    """Return ``input``; or one case: ``case`` of ``folder``, or a list of files as ``channels``."""
    if fields.get("folder") is not None:
        folder = read.path(fields, "folder")
        case = open_cases(folder).find(read.text(fields, "case"))
        assert_channels_fit(read.path(fields, "model"), folder)
        return (case,)
    paths = fields.get("channels")
    if paths is None:
        return read.path(fields, "input")
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
        msg = f"'channels' must be a list of files; found {paths!r}."
        raise OptionError(msg)
    return (case_of_channels(read.text(fields, "name", "scan"), [Path(path) for path in paths]),)


def _grid_of(model: Path, scans: Path | Sequence[Case]) -> Geometry:
    if isinstance(scans, Path):
        scans = find_scans(scans, len(model_store.read_card(model).channel_names))
    return source_geometry(scans[0].channels[0])


def _how(fields: Fields) -> How:
    return {**_work(fields), "keep_islands": read.flag(fields, "keep_islands")}


def _work(fields: Fields) -> Work:
    quality = read.text(fields, "quality", "balanced")
    if quality not in QUALITIES:
        msg = f"There is no quality {quality!r}; choose one of {', '.join(QUALITIES)}."
        raise OptionError(msg)
    memory = read.number(fields, "memory_gb", MEMORY_BUDGET_GB)
    if memory is None or memory <= 0:
        msg = f"'memory_gb' must be a number above 0; found {memory!r}."
        raise OptionError(msg)
    return {"quality": quality, "device": read.text(fields, "device", "auto"), "memory_gb": memory}


def _grid(fields: Fields) -> Geometry:
    try:
        shape, spacing = [int(n) for n in fields["shape"]], [float(mm) for mm in fields["spacing"]]
        k, j, i = shape
        z, y, x = spacing
        return Geometry((k, j, i), (z, y, x), (0.0, 0.0, 0.0))
    except (KeyError, TypeError, ValueError, GeometryError) as error:
        msg = (
            f"'shape' (voxels K, J, I) and 'spacing' (mm K, J, I) need three positive numbers each ({error})."
        )
        raise OptionError(msg) from error
