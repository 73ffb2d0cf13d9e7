"""Small made-up scans with known labels, for tests that need no patient."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

if TYPE_CHECKING:
    from crgloco.data.cases import Case

Shape = tuple[int, int, int]


def two_ellipsoids(shape: Shape = (24, 32, 32), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An image of two ellipsoids in noise, and its labels.

    Args:
        shape: Voxels along K, J, I.
        seed: Moves and resizes the ellipsoids a little and draws the noise.

    Returns:
        The image, float32 (K, J, I): background near 0, class 1 near 100, class 2 near 200, noise of
        standard deviation 10; and the label, uint8 (K, J, I), with classes 1 (larger) and 2 (smaller).
    """
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, dtype=np.uint8)
    for value, centre, radius in ((1, 0.35, 0.24), (2, 0.72, 0.16)):
        centres = (centre + rng.uniform(-0.04, 0.04, size=3)) * np.array(shape)
        radii = np.maximum(radius * rng.uniform(0.85, 1.15, size=3) * np.array(shape), 0.6)
        label[_ellipsoid(shape, centres, radii)] = value
    image = 100.0 * label + rng.normal(0.0, 10.0, size=shape)
    return image.astype(np.float32), label


def _ellipsoid(shape: Shape, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    axes = np.ogrid[tuple(slice(0, size) for size in shape)]
    distance = sum(((axis + 0.5 - c) / r) ** 2 for axis, c, r in zip(axes, centres, radii, strict=True))
    return np.asarray(distance <= 1.0)


def write_cases_folder(
    folder: Path,
    labelled: int = 3,
    unlabelled: int = 3,
    *,
    shape: Shape = (24, 32, 32),
    spacing: tuple[float, float, float] = (1.0, 1.0, 2.0),
    seed: int = 0,
    only: str = "",
    channels: int = 1,
) -> Path:
    """Write an nnU-Net raw data set of phantoms, with unlabelled cases beside it.

    Args:
        folder: Is made if missing. Gets `imagesTr`, `labelsTr`, `imagesUl` and `dataset.json`.
        labelled: Cases `phantom_000`, `phantom_001`, ...
        unlabelled: Cases numbered on from there.
        shape: Voxels along K, J, I.
        spacing: Millimetres along I, J, K.
        seed: Of the first case; the others count on from it.
        only: The one structure, "large" or "small", that the label table has, as value 1.
        channels: How many a case has; each shows the same ellipsoids, one brighter than the other.

    Returns:
        The folder.
    """
    classes = {"large": 1, "small": 2}
    for number in range(labelled + unlabelled):
        image, label = two_ellipsoids(shape, seed=seed + number)
        label = (label == classes[only]).astype(np.uint8) if only else label
        case = f"phantom_{number:03d}"
        images = "imagesTr" if number < labelled else "imagesUl"
        for channel in range(channels):
            _write((channel + 1) * image, folder / images / f"{case}_{channel:04d}.nii.gz", spacing)
        if number < labelled:
            _write(label, folder / "labelsTr" / f"{case}.nii.gz", spacing)
    contents = {
        "channel_names": {"0": "MR"} if channels == 1 else {str(n): f"MR{n}" for n in range(channels)},
        "labels": {"background": 0, **({only: 1} if only else classes)},
        "numTraining": labelled,
        "file_ending": ".nii.gz",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(contents, indent=2), encoding="utf-8")
    return folder


def edit_json(path: Path, **changes: object) -> None:
    """Change entries of a JSON file, which is made if it is missing."""
    document = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**document, **changes}))


def names(cases: Iterable[Case]) -> list[str]:
    """The names of cases, in order."""
    return [case.name for case in cases]


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything in a folder: equal as long as nobody writes."""
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in [folder, *folder.rglob("*")]}


def _write(array: np.ndarray, file: Path, spacing: tuple[float, float, float]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(file))
