"""A new method is one file: found in the list, trained, predicted with, and named in the model card.

That any method's options make a form in Slicer is Testing/host/test_option_form.py, with this one too.
"""

from __future__ import annotations

import json

import SimpleITK as sitk

from sixth_method import NAME, engine_with_sixth_method, run_engine

OPTIONS = ["local_window=12,16,16", "global_window=24,32,32", "width=4", "levels=3", "certainty=0.25"]


def test_one_file_makes_a_method_that_is_listed_trains_and_predicts(cases_folder, tmp_path):
    folder = engine_with_sixth_method(tmp_path / "engine")
    listed = {card["name"]: card for card in run_engine(folder, "methods")}
    assert listed[NAME]["title"] == "Entropy minimisation"
    assert listed[NAME]["kind"] == "segmentation"
    assert "certainty" in {option["name"] for option in listed[NAME]["options"]}

    model = tmp_path / "model"
    words = ["--method", NAME, "--cases", cases_folder, "--out", model, "--iterations", "2"]
    run_engine(folder, "train", *words, "--device", "cpu", "--set", *OPTIONS)
    card = json.loads((model / "model.json").read_text(encoding="utf-8"))
    assert (card["method"], card["config"]["certainty"]) == (NAME, 0.25)
    assert [branch["name"] for branch in card["branches"]] == ["local"]

    out = tmp_path / "out"
    run_engine(
        folder, "predict", "--model", model, "--input", cases_folder, "--out", out, "--quality", "fast"
    )
    answers = [file for file in out.rglob("*.nii.gz") if "confidence" not in file.name]
    assert answers
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(answers[0]))).ndim == 3
