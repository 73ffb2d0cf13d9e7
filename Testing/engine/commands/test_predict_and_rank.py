"""Predict, evaluate and rank from the command line, with a tiny model on phantoms."""

from __future__ import annotations

import json
import shutil

import pytest

from crgloco.__main__ import main
from crgloco.commands.bars import millilitres
from crgloco.data.cases import open_cases
from crgloco.io.files import read_geometry
from crgloco.progress import parse_event

KINDS = ("", "_global", "_local", "_confidence", "_disagreement")


def predict(model, scans, out, *words):
    return main(["predict", "--model", str(model), "--input", str(scans), "--out", str(out), *words])


def test_a_cases_folder_is_predicted_evaluated_and_ranked(tiny_model, cases_folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(tiny_model, cases_folder, out, "--device", "cpu") == 0
    for case in ("phantom_000", "phantom_001"):
        assert all((out / f"{case}{kind}.nii.gz").is_file() for kind in KINDS)
    image = read_geometry(cases_folder / "imagesTr" / "phantom_000_0000.nii.gz")
    assert read_geometry(out / "phantom_000.nii.gz") == image
    record = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    assert {"seconds", "peak_memory_mb", "mean_confidence", "windows_run", "windows_possible"} <= set(
        record["cases"][0]
    )
    capsys.readouterr()

    words = ["--predictions", str(out), "--labels", str(cases_folder / "labelsTr"), "--json"]
    assert main(["evaluate", *words]) == 0
    assert set(json.loads(capsys.readouterr().out)["labels"]) == {"large", "small"}

    words = ["--model", str(tiny_model), "--input", str(cases_folder), "--out", str(out), "--json"]
    assert main(["rank", *words]) == 0
    ranked = json.loads(capsys.readouterr().out)["cases"]
    benefits = [case["expected_correction_ml"] for case in ranked]
    assert benefits == sorted(benefits, reverse=True)
    assert all(case["kept"] for case in ranked)
    assert {case["case"] for case in ranked} == {case.name for case in open_cases(cases_folder).unlabelled}


def test_islands_are_told_and_stay_on_request(tiny_model, cases_folder, tmp_path, capsys):
    card = json.loads((tiny_model / "model.json").read_text(encoding="utf-8"))
    card["training"]["one_piece"] = ["large", "small"]
    whole = tmp_path / "whole"
    shutil.copytree(tiny_model, whole)
    (whole / "model.json").write_text(json.dumps(card), encoding="utf-8")
    scan = cases_folder / "imagesTr" / "phantom_000_0000.nii.gz"
    assert predict(whole, scan, tmp_path / "out", "--device", "cpu") == 0
    assert "removed as islands: " in " ".join(capsys.readouterr().out.split())
    assert predict(whole, scan, tmp_path / "out", "--device", "cpu", "--keep-islands") == 0
    assert "removed as islands" not in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))["cases"][0]
    assert (record["keep_islands"], record["kept"], record["islands_ml"]) == (True, False, {})


def test_a_single_file_is_predicted_and_programs_hear_events_only(tiny_model, cases_folder, tmp_path, capsys):
    scan = cases_folder / "imagesTr" / "phantom_000_0000.nii.gz"
    assert predict(tiny_model, scan, tmp_path / "out", "--events", "--quality", "fast") == 0
    events = [parse_event(line) for line in capsys.readouterr().out.splitlines()]
    assert None not in events
    assert events[-1]["event"] == "result"
    assert any(event["event"] == "progress" for event in events)


def test_one_bad_case_of_several_is_named_and_ends_with_code_3(tiny_model, cases_folder, tmp_path, capsys):
    (cases_folder / "imagesUl" / "phantom_001_0000.nii.gz").write_bytes(b"no scan")
    assert predict(tiny_model, cases_folder, tmp_path / "out", "--quality", "fast") == 3
    said = capsys.readouterr()
    assert "Failed: phantom_001" in said.out
    assert (tmp_path / "out" / "phantom_000.nii.gz").is_file()


def test_a_single_scan_that_cannot_be_read_ends_with_code_1(tiny_model, tmp_path, capsys):
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan")
    assert predict(tiny_model, tmp_path / "bad.nii.gz", tmp_path / "out") == 1
    assert "bad.nii.gz" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["none.nii.gz", "none"])
def test_a_scan_that_is_not_there_is_told(tiny_model, tmp_path, capsys, name):
    assert predict(tiny_model, tmp_path / name, tmp_path / "out") == 1
    assert "does not exist" in capsys.readouterr().err


def test_a_model_of_two_channels_wants_two_files(tmp_path, cases_folder, capsys):
    from tiny_models import save_tiny_model

    model = save_tiny_model(tmp_path / "two", channels=("T1", "T2"))
    scan = cases_folder / "imagesTr" / "phantom_000_0000.nii.gz"
    assert predict(model, scan, tmp_path / "out") == 1
    assert "1 of 2 channels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("volume", "text"), [(0.0, "0.00"), (1234.567, "1234.57"), (12.345, "12.35"), (0.00012, "0.00012")]
)
def test_volumes_are_shown_in_plain_figures_whatever_their_size(volume, text):
    assert millilitres(volume) == text
