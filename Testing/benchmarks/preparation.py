"""What preparation costs: seconds for real cases, memory for a large one, and the choice of tools.

    python Testing/benchmarks/preparation.py [DATA]

``DATA`` is the folder of real scans (default: that of ``CRGLOCO_DATA``, else ``../shared/data``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from crgloco.data.cache import prepare_case
from crgloco.data.cases import Case
from crgloco.data.intensities import ChannelRule
from crgloco.data.preparation import Preparation
from crgloco.data.resampling import SMOOTHED_FROM, resize_image, resize_labels
from crgloco.io.files import Source, read_source
from crgloco.io.label_files import read_label
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import LabelTable

REAL = (
    ("chaos_mr", None),
    ("la2018", (2.0, 2.0, 2.0)),
    ("btcv_ct", None),
    ("btcv_ct", (3.0, 2.0, 2.0)),
)
LABELS = (
    ("chaos_mr", (7.7, 2.5, 2.5)),
    ("la2018", (2.0, 2.0, 2.0)),
    ("btcv_ct", (3.0, 2.0, 2.0)),
    ("hippocampus", (1.5, 1.5, 1.5)),
)


def _seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _cases(root: Path, count: int) -> tuple[list[Case], LabelTable, str]:
    contents = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    cases = []
    for label in sorted((root / "labelsTr").glob("*.nii.gz"))[:count]:
        name = label.name.removesuffix(".nii.gz")
        cases.append(Case(name, (Source(name, root / "imagesTr" / f"{name}_0000.nii.gz"),), label))
    return cases, LabelTable.from_names(contents["labels"]), contents["channel_names"]["0"]


def measure_cases(data: Path) -> None:
    """Print how long fitting and preparing real cases takes, and a second look at the cache."""
    print("data set, target mm | fit s (8 cases) | read s | image s | label s | prepare s | again s | shape")
    for name, spacing in REAL:
        cases, table, channel = _cases(data / name, 8)
        fit = _seconds(lambda c=cases, n=channel, s=spacing: Preparation.fit(c, (n,), s))  # type: ignore[misc]
        preparation = Preparation.fit(cases, (channel,), spacing)
        case = cases[0]
        read = _seconds(lambda c=case: read_source(c.channels[0]))  # type: ignore[misc]
        volume = read_source(case.channels[0])
        assert case.label is not None
        label = read_label(case.label, table)
        image_s = _seconds(lambda p=preparation, v=volume: p.image([v]))  # type: ignore[misc]
        label_s = _seconds(lambda p=preparation, v=label: p.label(v))  # type: ignore[misc]
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder)
            first = _seconds(lambda c=case, p=preparation, t=table, d=cache: prepare_case(c, p, t, d))  # type: ignore[misc]
            again = _seconds(lambda c=case, p=preparation, t=table, d=cache: prepare_case(c, p, t, d))  # type: ignore[misc]
            shape = prepare_case(case, preparation, table, cache).shape
        target = " x ".join(f"{mm:.3g}" for mm in preparation.spacing)
        times = " | ".join(f"{value:.3f}" for value in (fit, read, image_s, label_s, first, again))
        print(f"{name}, {target} | {times} | {shape}")


def measure_labels(data: Path) -> None:
    """Print Dice there and back for the larger share against nearest neighbour, and where structures go."""
    print(
        "\nlabels there and back, 6 cases | Dice: larger share | nearest | volume | moved by voxels K, J, I"
    )
    for name, target in LABELS:
        cases, table, _ = _cases(data / name, 6)
        preparation = Preparation(target, (ChannelRule("mr"),))
        ours, nearest, places = [], [], []
        for case in cases:
            assert case.label is not None
            label = read_label(case.label, table)
            shape = preparation.prepared_geometry(label.geometry).shape
            before = label.array
            back = resize_labels(resize_labels(before, shape), before.shape)
            ours.append(_dice(before, back))
            places += _moves(before, back)
            nearest.append(_dice(before, _nearest(_nearest(before, shape), before.shape)))
        volume, *moved = np.mean(places, 0)
        where = ", ".join(f"{voxels:+.3f}" for voxels in moved)
        print(f"{name} {target} | {np.mean(ours):.4f} | {np.mean(nearest):.4f} | {volume:.4f} | {where}")


def _moves(one: np.ndarray, other: np.ndarray) -> list[tuple[float, ...]]:
    """Return volume after by volume before, and the way of the centre along K, J, I, of each structure."""
    pairs = [(np.argwhere(one == number), np.argwhere(other == number)) for number in np.unique(one)[1:]]
    return [(len(new) / len(old), *(new.mean(0) - old.mean(0))) for old, new in pairs if len(new)]


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    scores = []
    for number in np.unique(one)[1:]:
        inside, found = one == number, other == number
        scores.append(2 * (inside & found).sum() / (inside.sum() + found.sum()))
    return float(np.mean(scores))


def _nearest(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    for axis, (before, after) in enumerate(zip(array.shape, shape, strict=True)):
        array = array.take(((2 * np.arange(after) + 1) * before) // (2 * after), axis)
    return array


def measure_tools() -> None:
    """Print seconds of the ways to resize 200 x 512 x 512 int16, and how far they are from ours."""
    array = (np.random.default_rng(0).normal(size=(200, 512, 512)) * 300).astype(np.int16)
    for shape in ((150, 420, 420), (100, 256, 256)):
        out, zoomed = np.empty(shape, np.float32), np.empty(shape, np.float32)
        ours = _seconds(lambda o=out: resize_image(array, o, lambda part: part.astype(np.float32)))  # type: ignore[misc]
        by_itk, itks = _by_simpleitk(array, shape)
        scipys = _seconds(lambda z=zoomed: _by_scipy(array, z))  # type: ignore[misc]
        print(
            f"\n200 x 512 x 512 int16 (numbers of spread 300) to {shape}: matrices (ours) {ours:.2f} s | "
            f"SimpleITK {itks:.2f} s, differs by {np.abs(by_itk - out).max():.2g} | "
            f"scipy {scipys:.2f} s, differs by {np.abs(zoomed - out).max():.2g}"
        )


def _by_scipy(array: np.ndarray, out: np.ndarray) -> None:
    ratios = [before / after for before, after in zip(array.shape, out.shape, strict=True)]
    sigmas = [(ratio - 1) / 2 if ratio > SMOOTHED_FROM else 0.0 for ratio in ratios]
    smooth = (
        ndimage.gaussian_filter(array, sigmas, output=np.float32, mode="nearest") if any(sigmas) else array
    )
    factors = [1 / ratio for ratio in ratios]
    ndimage.zoom(smooth, factors, output=out, order=1, mode="nearest", grid_mode=True)


def _by_simpleitk(array: np.ndarray, shape: tuple[int, int, int]) -> tuple[np.ndarray, float]:
    started = time.perf_counter()
    ratios = [before / after for before, after in zip(array.shape, shape, strict=True)][::-1]
    image = sitk.GetImageFromArray(array)
    if max(ratios) > SMOOTHED_FROM:
        variances = [((ratio - 1) / 2) ** 2 for ratio in ratios]
        image = sitk.DiscreteGaussian(sitk.Cast(image, sitk.sitkFloat32), variances)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(shape[::-1])
    resampler.SetOutputSpacing(ratios)
    resampler.SetOutputOrigin([(ratio - 1) / 2 for ratio in ratios])
    resampler.SetOutputPixelType(sitk.sitkFloat32)
    resampler.UseNearestNeighborExtrapolatorOn()
    resized = resampler.Execute(image)
    return sitk.GetArrayFromImage(resized), time.perf_counter() - started


def measure_memory() -> None:
    """Print the peak of a process that prepares 512 x 512 x 600 int16, over the volume itself."""
    print("\n512 x 512 x 600 int16 (0.31 GB), 0.8 x 0.7 x 0.7 mm: seconds and peak memory above the volume")
    for target in ("0.8,0.7,0.7", "1,0.8,0.8", "3,2,2", "0.8,0.5,0.5"):
        for what in ("image", "label"):
            command = [sys.executable, __file__, "--memory", what, target]
            print(f"{what} to {target} mm: {subprocess.check_output(command, text=True).strip()}")


def _memory(what: str, target: str) -> None:
    array = np.zeros((600, 512, 512), np.int16)
    array[:] = np.random.default_rng(0).integers(-1000, 1500, (1, 512, 512), np.int16)
    grid = Geometry(array.shape, (0.8, 0.7, 0.7), (0.0, 0.0, 0.0))
    k, j, i = map(float, target.split(","))
    preparation = Preparation((k, j, i), (ChannelRule("ct", -900, 1200, 80, 300),))
    classes = np.zeros(array.shape, np.uint8)
    for number in range(1, 14):  # 13 blocks of 4 % of the volume: about an abdomen
        classes[40 * number : 40 * number + 60, 100:400, 100:300] = number
    before = _peak_gb()
    if what == "image":
        seconds = _seconds(lambda: preparation.image([Volume(array, grid)]))
    else:
        seconds = _seconds(lambda: preparation.label(Volume(classes, grid)))
    shape = preparation.prepared_geometry(grid).shape
    print(f"{seconds:.1f} s, {_peak_gb() - before:.2f} GB, prepared shape {shape}")


def _peak_gb() -> float:
    """Highest resident memory of this process (``ru_maxrss`` would count the parent's, inherited)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 2**20
    return float("nan")


def main() -> None:
    """Print all measurements."""
    parser = argparse.ArgumentParser(description="Print what preparation costs.")
    default = Path(os.environ.get("CRGLOCO_DATA", "../shared/data"))
    parser.add_argument("data", type=Path, nargs="?", default=default, metavar="DATA")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        _memory(*arguments.memory)
        return
    measure_cases(arguments.data)
    measure_labels(arguments.data)
    measure_tools()
    measure_memory()


if __name__ == "__main__":
    main()
