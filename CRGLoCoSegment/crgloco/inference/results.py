"""One prediction as users get it: in numbers, and in the files of a folder of results."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crgloco.atomic import saving
from crgloco.data.prediction_record import LABEL_KINDS, SHARE_KINDS, file_name, note_written
from crgloco.errors import ResourceError
from crgloco.histogram import histogram
from crgloco.inference.confidence import expected_correction_ml
from crgloco.inference.prediction import Prediction
from crgloco.inference.regions import uncertain_regions
from crgloco.io.files import write_volume
from crgloco.io.label_files import write_label
from crgloco.labels import LabelTable

REGIONS_KEPT = 5


def describe(prediction: Prediction, table: LabelTable, *, regions: int = REGIONS_KEPT) -> dict[str, Any]:
    """Return the numbers of a prediction as plain values, ready for JSON.

    Args:
        prediction: What was found.
        table: The structures of the model that found it.
        regions: Largest number of uncertain regions; each also has the ``name`` of its structure.
    """
    voxel_ml = math.prod(prediction.geometry.spacing) / 1000
    counts = histogram(prediction.fused)
    names = table.names
    return {
        "quality": prediction.quality,
        "seconds": round(prediction.seconds, 3),
        "peak_memory_mb": round(prediction.peak_memory_mb, 1),
        "peak_gpu_mb": round(prediction.peak_gpu_mb, 1),
        "windows_run": prediction.windows_run,
        "windows_possible": prediction.windows_possible,
        "mean_confidence": round(prediction.mean_confidence, 4),
        "expected_correction_ml": rounded_ml(expected_correction_ml(prediction)),
        "volumes_ml": {
            name: rounded_ml(float(counts[number] * voxel_ml)) for number, name in enumerate(names) if number
        },
        "islands_ml": {names[n]: rounded_ml(count * voxel_ml) for n, count in prediction.islands.items()},
        "regions": [
            {**asdict(region), "name": names[region.label]}
            for region in uncertain_regions(prediction, at_most=regions)
        ],
        "notes": list(prediction.notes),
    }


def rounded_ml(volume: float) -> float:
    """Round a volume to cubic millimetres, one of a smaller object to four digits."""
    digits = 3 if volume <= 0 else max(3, 3 - math.floor(math.log10(volume)))
    return round(volume, digits)


def write_prediction(prediction: Prediction, table: LabelTable, out: Path, name: str) -> dict[str, str]:
    """Write the volumes of a prediction; what it does not have is removed if it lies there from before.

    Returns:
        Kind (``fused``, ``global``, ``local``, ``confidence``, ``disagreement``) -> file name.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    files: dict[str, str] = {}
    try:
        _write_volumes(prediction, table, out, name, files)
    except ResourceError:
        for file in files.values():  # half a result would be taken for a whole one
            with suppress(OSError):
                (out / file).unlink()
        raise
    return files


def _write_volumes(
    prediction: Prediction, table: LabelTable, out: Path, name: str, files: dict[str, str]
) -> None:
    labels = (prediction.fused, prediction.global_, prediction.local)
    for kind, classes in zip(LABEL_KINDS, labels, strict=True):
        path = out / file_name(name, kind)
        if classes is None:
            with saving(path):
                path.unlink(missing_ok=True)
        else:
            write_label(classes, prediction.geometry, table, path)
            files[kind] = path.name
            if kind == "fused":
                note_written(path)
    shares = (prediction.confidence, prediction.disagreement)
    for kind, values in zip(SHARE_KINDS, shares, strict=True):
        path = out / file_name(name, kind)
        write_volume(prediction.share(values), path)
        files[kind] = path.name
