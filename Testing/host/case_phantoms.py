"""A small cases folder on disk with cases in all states, made by the engine's own functions."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crgloco.data.case_store import accept_label, add_case, create_cases
from crgloco.data.cases import open_cases
from crgloco.data.manifest import Split, read_manifest, write_manifest
from crgloco.data.prediction_files import content_of
from crgloco.data.provenance import Provenance
from crgloco.io.files import write_volume
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import Label, LabelTable

SHAPE = (6, 8, 10)
LIVER, SPLEEN = 1, 7
TABLE = LabelTable((Label(LIVER, "liver", (230, 159, 0)), Label(SPLEEN, "spleen", (86, 180, 233))))
# Oblique, left-handed, anisotropic: whatever shifts or flips shows.
GRID = Geometry(
    SHAPE, (3.0, 1.0, 1.5), (-31.0, 12.5, 77.25), ((0.0, 0.8, 0.6), (1.0, 0.0, 0.0), (0.0, -0.6, 0.8))
)


def scan(seed: int, grid: Geometry = GRID) -> Volume:
    """Make a scan of noise."""
    return Volume(np.random.default_rng(seed).normal(100, 20, grid.shape).astype(np.float32), grid)


def label(seed: int = 0, grid: Geometry = GRID) -> Volume:
    """Make a label of two boxes, as label values."""
    values = np.zeros(grid.shape, np.uint8)
    values[1:4, 2:5, 2:6] = LIVER
    values[2:5, 5:8, 6 + seed % 3 :] = SPLEEN
    return Volume(values, grid)


def makeFolder(root: Path) -> Path:
    """Make a folder of six cases.

    ``done`` is labelled, ``held`` is for validation and predicted, ``mild`` and ``wrong`` are predicted (most
    is expected to be wrong with ``wrong``), ``new_1`` and ``new_2`` have nothing yet.
    """
    create_cases(root, TABLE, ["MR"])
    for seed, name in enumerate(("done", "held", "mild", "wrong", "new_1", "new_2")):
        add_case(root, name, [scan(seed)])
    for name in ("done", "held"):
        accept_label(root, name, label(), Provenance(model="m", edits_voxels=3, edits_ml=0.1))
    manifest = read_manifest(root)
    write_manifest(root, replace(manifest, split=Split(("held",), ("done",), 0.2, 0)))
    predict(root, {"held": 90.0, "mild": 1.5, "wrong": 12.25})
    return root


def predict(root: Path, expected: dict[str, float], table: LabelTable = TABLE) -> None:
    """Leave predictions as ``crgloco predict`` does; ``expected`` is the volume to correct of each case."""
    folder, out = open_cases(root), root / "predictions"
    out.mkdir(exist_ok=True)
    records = []
    for number, (name, millilitres) in enumerate(expected.items()):
        files = _writePrediction(out, name, number)
        records.append(
            {
                "case": name,
                "content": content_of(folder.find(name)),
                "quality": "balanced",
                "mean_confidence": round(0.9 - millilitres / 200, 4),
                "expected_correction_ml": millilitres,
                "volumes_ml": {"liver": 0.1, "spleen": 0.2},
                "regions": [],
                "files": files,
            }
        )
    document = {
        "format": 1,
        "model": "abc",
        "quality": "balanced",
        "labels": table.to_json(),
        "cases": records,
        "failed": 0,
    }
    (out / "predictions.json").write_text(json.dumps(document), encoding="utf-8")


def _writePrediction(out: Path, name: str, number: int) -> dict[str, str]:
    shares = np.random.default_rng(number).random(SHAPE).astype(np.float32)
    volumes: dict[str, Any] = {
        "fused": label(number),
        "global": label(number + 1),
        "local": label(number),
        "confidence": Volume(shares, GRID),
        "disagreement": Volume(1 - shares, GRID),
    }
    files = {}
    for kind, volume in volumes.items():
        path = out / f"{name}{'' if kind == 'fused' else '_' + kind}.nii.gz"
        write_volume(volume, path)
        files[kind] = path.name
    return files
