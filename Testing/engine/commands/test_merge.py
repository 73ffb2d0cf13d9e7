"""Two folders with one structure each: merged, refused by most methods, learnt and predicted by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crgloco import methods
from crgloco.__main__ import main
from crgloco.data.cases import open_cases
from crgloco.errors import CasesError
from crgloco.job_file import Job
from crgloco.training.selection import select_cases
from phantoms import write_cases_folder

SHAPE = (12, 16, 16)
TINY = ["local_window=12,16,16", "global_window=12,16,16", "width=4", "levels=3"]
SEGMENTING = [name for name in methods.available() if methods.card(name).kind == "segmentation"]
COMPLETE = [name for name in SEGMENTING if not methods.card(name).partial_labels]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    first = write_cases_folder(tmp_path / "larges", 2, 1, shape=SHAPE, only="large")
    return first, write_cases_folder(tmp_path / "smalls", 2, 0, shape=SHAPE, only="small", seed=40)


@pytest.fixture
def merged(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["cases", "merge", *map(str, folders), "--out", str(tmp_path / "both")]) == 0
    said = capsys.readouterr().out
    assert "4 labelled cases (large: 2 cases, small: 2), 1 of them for validation, and 1 unlabelled" in said
    return tmp_path / "both"


def test_a_merged_folder_is_listed_and_checked_with_what_its_labels_show(
    merged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cases", "check", str(merged)]) == 0
    assert "4 of 4 labels show some structures only (large: 2 cases, small: 2)" in capsys.readouterr().out
    assert main(["cases", "list", str(merged), "--json"]) == 0
    shown = {row["name"]: row["structures"] for row in json.loads(capsys.readouterr().out)["cases"]}
    assert shown["smalls_phantom_001"] == ["small"]
    assert shown["phantom_002"] is None  # unlabelled
    assert main(["cases", "list", str(merged)]) == 0
    assert "larges_phantom_000\tlabelled\tlarge only" in capsys.readouterr().out.replace(
        "validation", "labelled"
    )


def test_programs_hear_what_was_merged_and_errors_are_one_line(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["cases", "merge", *map(str, folders), "--out", str(tmp_path / "both")]
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [label["name"] for label in answer["labels"]] == ["large", "small"]
    assert (answer["labelled"], answer["validation"], answer["unlabelled"]) == (4, 1, 1)
    assert main(words) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["cases", "merge", str(folders[0]), "--out", str(tmp_path / "one")]) == 1
    assert "at least two" in capsys.readouterr().err
    assert main(["cases", "merge", *map(str, folders)]) == 2


@pytest.mark.parametrize("name", COMPLETE)
def test_a_method_that_needs_complete_labels_refuses_before_anything_starts(
    name: str, merged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (merged / "crgloco.json").read_bytes()
    out = tmp_path / "model"
    assert main(["train", "--cases", str(merged), "--method", name, "--out", str(out)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"{methods.card(name).title} needs complete labels, but 4 of 4 labelled cases" in said
    assert "Choose VerSemi" in said
    assert "or complete the labels" in said
    assert not (tmp_path / "model.job").exists()
    with pytest.raises(CasesError, match="needs complete labels"):  # also where a job is run by itself
        select_cases(Job(cases=merged, method=name, out=out), tmp_path / "split.json")
    assert (merged / "crgloco.json").read_bytes() == before


def test_some_method_learns_from_partial_labels_and_most_do_not() -> None:
    assert "versemi" in set(SEGMENTING) - set(COMPLETE)
    assert {"supervised", methods.DEFAULT} <= set(COMPLETE)


def test_labels_that_are_not_used_need_not_be_complete(merged: Path, tmp_path: Path) -> None:
    """Pre-training looks at no label; and a structure that none of the first labels shows is named."""
    methods.assert_suited("pgl", open_cases(merged))
    with pytest.raises(CasesError, match="No label to learn from shows small"):
        select_cases(Job(cases=merged, method="versemi", out=tmp_path / "m", labelled=1), tmp_path / "s.json")


def test_two_structures_of_two_folders_are_learnt_and_predicted_by_one_model(
    merged: Path, tmp_path: Path
) -> None:
    out, answers = tmp_path / "model", tmp_path / "answers"
    words = ["--cases", str(merged), "--method", "versemi", "--iterations", "3", "--device", "cpu"]
    assert main(["train", *words, "--out", str(out), "--set", *TINY]) == 0
    card = json.loads((out / "model.json").read_text())
    assert [label["name"] for label in card["labels"]] == ["large", "small"]
    dice = card["training"]["metrics"]["new"]["per_label"]
    assert sum(value is None for value in dice.values()) == 1  # the one validation label shows one of them
    scans = ["--model", str(out), "--input", str(merged / "imagesUl"), "--out", str(answers)]
    assert main(["predict", *scans, "--quality", "fast", "--device", "cpu"]) == 0
    record = json.loads((answers / "predictions.json").read_text())
    assert [label["name"] for label in record["labels"]] == ["large", "small"]
    assert (answers / "phantom_002.nii.gz").is_file()
