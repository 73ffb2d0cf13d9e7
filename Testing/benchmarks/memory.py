"""Peak memory of segmenting a large CT: 512 x 512 x 600 voxels of int16, 14 classes, on the CPU.

    python Testing/benchmarks/memory.py [--quality balanced] [--shape 600 512 512] [--json FILE]

A child process segments a made-up torso and reports the largest memory that the system ever gave it
(``ru_maxrss``, torch and the scan included). Weights are those that segment the made-up scan by its
values, so that as much as in a patient is open for the local branch; the network is as wide as the
starter's (``--width``), its windows and maps are those of the default configuration.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "CRGLoCoSegment"))

CLASSES = 14
LIMIT_GB = 6.0
# Structures differ by 40 HU; prepared values stay below 10 standard deviations.
SCALE = 60.0


def torso(shape: tuple[int, int, int]):
    """Return an int16 scan of 13 ellipsoids of different values in a body in air."""
    import numpy as np

    rng = np.random.default_rng(0)
    scan = np.full(shape, -1000, np.int16)
    j, i = np.ogrid[: shape[1], : shape[2]]
    body = ((j / shape[1] - 0.5) / 0.36) ** 2 + ((i / shape[2] - 0.5) / 0.45) ** 2 <= 1
    centres = rng.uniform(0.3, 0.7, size=(CLASSES - 1, 3))
    radii = rng.uniform(0.04, 0.11, size=(CLASSES - 1, 3))
    for k in range(shape[0]):
        scan[k][body] = 0
        for number, (centre, radius) in enumerate(zip(centres, radii, strict=True), start=1):
            rest = 1 - ((k / shape[0] - centre[0]) / radius[0]) ** 2
            if rest > 0:
                inside = ((j / shape[1] - centre[1]) / radius[1]) ** 2
                inside = inside + ((i / shape[2] - centre[2]) / radius[2]) ** 2
                scan[k][inside <= rest] = 40 * number
        scan[k] += rng.integers(-5, 6, size=shape[1:], dtype=np.int16)
    return scan


def child(shape: tuple[int, int, int], quality: str, width: int) -> None:
    """Segment once and print one line of JSON."""
    import torch

    from crgloco.data.intensities import ChannelRule
    from crgloco.data.preparation import Preparation
    from crgloco.inference.predictor import Predictor
    from crgloco.io.volume import Geometry, Volume
    from crgloco.labels import LabelTable
    from crgloco.networks.backbones import StemmedDynUNet
    from crgloco.networks.dual_resolution import DualResolution
    from crgloco.networks.plan import plan_windows

    class ByValue(DualResolution):
        """The default network does its whole work; its answer is replaced by one read off the image."""

        def low_resolution(self, tensor):
            logits, features = super().low_resolution(tensor)
            return self._read(tensor, logits), features

        def full_resolution(self, tensor, context=None):
            return self._read(tensor, super().full_resolution(tensor, context))

        def _read(self, tensor, logits):
            values = torch.nn.functional.interpolate(tensor, logits.shape[2:]) * SCALE / 40
            for number in range(CLASSES):
                reach = 0.5 if number else 1.0
                logits[:, number] *= 0.01
                logits[:, number] -= 12 * ((values[:, 0] - number).abs() - reach).clamp_min(0)
            return logits

    spacing = (1.0, 0.8, 0.8)
    windows = plan_windows([shape], spacing, 400_000)
    widths = tuple(min(width * 2**level, 4 * width) for level in range(4))
    reduced = tuple(mm / share for mm, share in zip(spacing, windows.scale, strict=True))
    torch.manual_seed(0)
    model = ByValue(
        StemmedDynUNet(1, widths, windows.local, spacing),
        StemmedDynUNet(1, widths, windows.local, reduced),
        windows,
        CLASSES,
        context=True,
    ).eval()
    rule = ChannelRule("ct", -160.0, 560.0, 0.0, SCALE)
    predictor = Predictor(
        model,
        Preparation(spacing, (rule,)),
        LabelTable.from_names({f"structure {number}": number for number in range(1, CLASSES)}),
        one_piece=tuple(range(1, CLASSES)),
    )
    volume = Volume(torso(shape), Geometry(shape, spacing, (0.0, 0.0, 0.0)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    result = predictor.predict([volume], quality, memory_budget_gb=LIMIT_GB)  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    print(
        json.dumps(
            {
                "shape": shape,
                "quality": quality,
                "classes": CLASSES,
                "width": width,
                "local_window": windows.local,
                "global_window": windows.global_,
                "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
                "before_gb": round(before, 2),
                "seconds": round(seconds, 1),
                "windows_run": result.windows_run,
                "windows_possible": result.windows_possible,
                "structures_found": len(set(result.fused[::4, ::4, ::4].ravel().tolist())) - 1,
                "islands_voxels": sum(result.islands.values()),
                "notes": result.notes,
                "threads": torch.get_num_threads(),
            }
        )
    )


def main() -> int:
    """Run the child and compare its peak with the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(600, 512, 512), metavar=("K", "J", "I"))
    parser.add_argument("--quality", default="balanced", choices=("fast", "balanced", "full"))
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(tuple(options.shape), options.quality, options.width)
        return 0
    shape = [str(n) for n in options.shape]
    command = [
        sys.executable,
        __file__,
        "--child",
        "--quality",
        options.quality,
        "--width",
        str(options.width),
    ]
    done = subprocess.run(
        [*command, "--shape", *shape], check=True, capture_output=True, text=True, env=dict(os.environ)
    )
    result = json.loads(done.stdout.splitlines()[-1])
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    print(f"Peak {result['peak_gb']} GiB; the limit is {LIMIT_GB} GiB.")
    return 0 if result["peak_gb"] < LIMIT_GB else 1


if __name__ == "__main__":
    sys.exit(main())
