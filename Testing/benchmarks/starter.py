"""Train the bundled starter model from the CHAOS scans, or pack and evaluate one.

    python Testing/benchmarks/starter.py train  --out /tmp/chaos_mr_starter  # an hour on one core
    python Testing/benchmarks/starter.py pack   --model /tmp/chaos_mr_starter  # into Resources/Models
    python Testing/benchmarks/starter.py evaluate --out Testing/benchmarks/results/starter.json

``chaos_13`` and ``chaos_32`` are the bundled sample and never train; ``chaos_37`` calibrates the
confidence. The weights of the last update are packed: nothing is selected.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


from crgloco import model_store
from crgloco.evaluation import evaluate_folders
from crgloco.inference.predictor import Predictor
from crgloco.io.files import read_volume
from crgloco.io.label_files import write_label
from crgloco.job_file import Job
from crgloco.jobs import folder_beside, write_job
from crgloco.progress import EventLines
from crgloco.training import fine_tune

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CRGLOCO_DATA", REPOSITORY.parent / "shared" / "data")) / "chaos_mr"
STARTER = REPOSITORY / "CRGLoCoSegment" / "Resources" / "Models" / "chaos_mr_starter"
SAMPLE = ("chaos_13", "chaos_32")
VALIDATION = ("chaos_37",)
OPTIONS = {
    "width": 16,
    "levels": 5,
    "local_window": "40,80,80",
    "global_window": "40,240,240",
    "mixing": 0.5,
    "iterations": 4000,
}
LICENCE = "CC BY-SA 4.0"
ATTRIBUTION = (
    "Trained on T2-SPIR scans of the CHAOS data set: Kavur A. E. et al., Medical Image Analysis 69:101950, "
    "2021; doi:10.5281/zenodo.3431873; preprocessed upstream by Ouyang et al., ECCV 2020."
)


def train(out: Path) -> None:
    """Train on ten scans, of which one only calibrates."""
    with tempfile.TemporaryDirectory() as work:
        cases = Path(work) / "cases"
        names = [name for name in (DATA / "train.list").read_text().split() if name not in SAMPLE]
        for part, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
            (cases / part).mkdir(parents=True)
            for name in names:
                shutil.copy(DATA / part / f"{name}{ending}", cases / part)
        description = json.loads((DATA / "dataset.json").read_text()) | {"numTraining": len(names)}
        (cases / "dataset.json").write_text(json.dumps(description))
        training = [name for name in names if name not in VALIDATION]
        split = {"validation": list(VALIDATION), "training": training, "fraction": 0.1, "seed": 0}
        (cases / "crgloco.json").write_text(json.dumps({"format": 1, "split": split}))
        job = Job(cases=cases, method="cr_gloco", out=out, config=OPTIONS)
        fine_tune.run(job, write_job(folder_beside(out), job), EventLines())


def pack(model: Path) -> None:
    """Copy a model into the resources in half precision, with licence and attribution."""
    card = dataclasses.replace(
        model_store.read_card(model),
        title="Abdomen, T2 MR: liver, kidneys, spleen (starter)",
        licence=LICENCE,
        attribution=ATTRIBUTION,
    )
    # Half precision is half the download; networks compute in float32 or bf16 all the same.
    weights = {name: tensor.half() for name, tensor in model_store.load_tensors(model).items()}
    model_store.save(STARTER, card, weights)


def evaluate(out: Path, quality: str) -> None:
    """Write the scores of the cases that never trained; the calibration case stands apart."""
    loaded = model_store.load(STARTER)
    predictor = Predictor.of(loaded)
    with tempfile.TemporaryDirectory() as work:
        predictions, labels = Path(work) / "predictions", Path(work) / "labels"
        predictions.mkdir()
        labels.mkdir()
        for name in (*SAMPLE, *VALIDATION):
            volume = read_volume(DATA / "imagesTr" / f"{name}_0000.nii.gz")
            prediction = predictor.predict([volume], quality)
            write_label(prediction.fused, volume.geometry, loaded.table, predictions / f"{name}.nii.gz")
            (labels / f"{name}.nii.gz").symlink_to(DATA / "labelsTr" / f"{name}.nii.gz")
        result = evaluate_folders(predictions, labels, loaded.table).to_json()
    means = {
        case: sum(scores["dice"] for scores in values.values()) / len(values)
        for case, values in result["cases"].items()
    }
    summary = {
        "quality": quality,
        "never_trained": list(SAMPLE),
        "calibration": list(VALIDATION),
        "dice": means,
    }
    out.write_text(json.dumps(summary | result, indent=1) + "\n")
    print(json.dumps(summary, indent=1))


def main() -> int:
    """Train, pack or evaluate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "pack", "evaluate"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--quality", default="balanced")
    arguments = parser.parse_args()
    if arguments.what == "train":
        train(arguments.out)
    elif arguments.what == "pack":
        pack(arguments.model)
    else:
        evaluate(arguments.out, arguments.quality)
    return 0


if __name__ == "__main__":
    sys.exit(main())
