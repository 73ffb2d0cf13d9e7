"""Are the places that the panel sends users to those where the answer is wrong?

    python Testing/benchmarks/where_to_look.py --out FILE

The starter model, quality ``balanced``, on the scans it never trained on. Counted are the wrong voxels
within 20 mm of the first 1, 3, 5 and 10 places, as a share of all that are wrong: by our ranking, by
uncertain voxels drawn at random, and by somebody who knows the errors and chooses places among them likewise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crgloco import model_store
from crgloco.inference.confidence import UNCERTAIN_BELOW
from crgloco.inference.predictor import Predictor
from crgloco.inference.regions import PLACE_MM, uncertain_regions
from crgloco.io.files import read_volume
from crgloco.io.label_files import read_label

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CRGLOCO_DATA", REPOSITORY.parent / "shared" / "data")) / "chaos_mr"
STARTER = REPOSITORY / "CRGLoCoSegment" / "Resources" / "Models" / "chaos_mr_starter"
CASES = ("chaos_13", "chaos_32", "chaos_37")
FIRST = (1, 3, 5, 10)
DRAWS = 50

Points = npt.NDArray[np.float64]


def shares(wrong: Points, places: Points) -> list[float]:
    """Return the share of wrong voxels (mm) that lie near the first places (mm), for each of ``FIRST``."""
    near = [((wrong - place) ** 2).sum(1) < PLACE_MM**2 for place in places[: max(FIRST)]]
    return [float(np.any(near[:count], axis=0).mean()) for count in FIRST]


def of_case(predictor: Predictor, name: str) -> dict[str, list[float]]:
    """Return the shares of one scan, by each way to choose places."""
    volume = read_volume(DATA / "imagesTr" / f"{name}_0000.nii.gz")
    truth = read_label(DATA / "labelsTr" / f"{name}.nii.gz", predictor.table, volume.geometry).array
    prediction = predictor.predict([volume])
    spacing = np.array(volume.geometry.spacing)
    errors = np.argwhere(prediction.fused != truth)
    uncertain = np.argwhere(prediction.confidence < UNCERTAIN_BELOW * 255)
    rng = np.random.default_rng(0)
    drawn = [
        shares(errors * spacing, rng.choice(uncertain, max(FIRST), replace=False) * spacing)
        for _ in range(DRAWS)
    ]
    ranked = np.array([region.centre for region in uncertain_regions(prediction)])
    # Whoever knows the errors is told of them as doubt, the rest is sure.
    doubtful = np.where(prediction.fused != truth, 0, 255).astype(np.uint8)
    known = np.array(
        [
            region.centre
            for region in uncertain_regions(
                replace(prediction, confidence=doubtful, global_=None, fused=np.ones_like(truth))
            )
        ]
    )
    return {
        "ranked": shares(errors * spacing, ranked * spacing),
        "drawn": np.mean(drawn, axis=0).tolist(),
        "known": shares(errors * spacing, known * spacing),
    }


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    predictor = Predictor.of(model_store.load(STARTER))
    cases = {name: of_case(predictor, name) for name in CASES}
    mean: dict[str, Any] = {
        way: [round(float(share), 4) for share in np.mean([case[way] for case in cases.values()], axis=0)]
        for way in ("ranked", "drawn", "known")
    }
    arguments.out.write_text(json.dumps({"first": FIRST, "mean": mean, "cases": cases}, indent=1) + "\n")
    print(json.dumps(mean, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
