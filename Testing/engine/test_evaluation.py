"""Folders are scored case by case, by name, and what cannot be scored is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crgloco.errors import Cancelled, InputError, LabelError
from crgloco.evaluation import evaluate_folders
from crgloco.io.files import read_volume, write_volume
from crgloco.io.label_files import write_label
from crgloco.io.orientation import Orientation
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import LabelTable
from crgloco.metrics import evaluate_case

TABLE = LabelTable.from_names({"background": 0, "liver": 1, "spleen": 5})
GRID = Geometry((6, 8, 10), (3.0, 1.0, 1.5), (0.0, 0.0, 0.0))


def classes(seed: int) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(0, 3, (3, 2, 2), dtype=np.uint8)
    return blocks.repeat(2, 0).repeat(4, 1).repeat(5, 2)


def write(
    folder: Path, name: str, array: np.ndarray, table: LabelTable = TABLE, grid: Geometry = GRID
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_label(array, grid, table, folder / name)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases with labels beside a dataset.json, and predictions with companions."""
    predictions, labels = tmp_path / "predictions", tmp_path / "cases" / "labelsTr"
    for seed, case in enumerate(("a", "b")):
        write(labels, f"{case}.nii.gz", classes(seed))
        write(predictions, f"{case}.nii.gz", classes(seed + 10))
        for companion in ("global", "local", "confidence", "disagreement"):
            write(predictions, f"{case}_{companion}.nii.gz", classes(seed + 20))
    names = {"background": 0, "liver": 1, "spleen": 5}
    (tmp_path / "cases" / "dataset.json").write_text(json.dumps({"labels": names}))
    return predictions, labels


def test_every_common_case_is_scored_as_its_arrays_are(folders: tuple[Path, Path]) -> None:
    evaluation = evaluate_folders(*folders)
    assert evaluation.names == ("liver", "spleen")
    for seed, case in enumerate(("a", "b")):
        assert evaluation.cases[seed] == evaluate_case(
            classes(seed + 10), classes(seed), GRID.spacing, 3, case=case
        )
    assert evaluation.without_prediction == evaluation.without_label == ()
    assert evaluation.skipped == {}


def test_the_json_names_every_value_and_its_definition(folders: tuple[Path, Path]) -> None:
    evaluation = evaluate_folders(*folders)
    values = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert values["definitions"]["hd95_mm"].startswith("hd95: max of directed 95th percentiles, mm")
    assert values["cases"]["a"]["liver"]["dice"] == evaluation.cases[0].labels[0].dice
    assert values["cases"]["a"]["liver"]["outcome"] == "found"
    assert values["labels"]["spleen"]["n"] == 2
    assert values["mean"]["dice"] == pytest.approx(
        np.mean([values["labels"][name]["dice"] for name in ("liver", "spleen")])
    )
    assert set(values["labels"]["liver"]) <= {*values["definitions"], "name", "n", "n_distances", "absent"}


def test_cases_without_partner_are_named(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    write(labels, "c.nii.gz", classes(3))
    write(predictions, "d.nii.gz", classes(3))
    evaluation = evaluate_folders(predictions, labels)
    assert evaluation.without_prediction == ("c",)
    assert evaluation.without_label == ("d",)
    assert [case.case for case in evaluation.cases] == ["a", "b"]


def test_a_case_that_is_truly_named_like_a_companion_is_scored(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    write(labels, "a_local.nii.gz", classes(5))
    assert [case.case for case in evaluate_folders(predictions, labels).cases] == ["a", "a_local", "b"]


def test_what_macos_leaves_beside_a_file_is_no_case(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        (folder / "._a.nii.gz").write_bytes(b"Mac OS X")
    evaluation = evaluate_folders(*folders)
    assert [case.case for case in evaluation.cases] == ["a", "b"]
    assert evaluation.skipped == {}


def test_a_prediction_on_another_grid_is_named_and_passed_over(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    shifted = Geometry(GRID.shape, GRID.spacing, (0.0, 2.0, 0.0))
    write(predictions, "a.nii.gz", classes(10), grid=shifted)
    evaluation = evaluate_folders(predictions, labels)
    assert [case.case for case in evaluation.cases] == ["b"]
    first, _, second = evaluation.skipped["a"].partition(" against ")
    assert first.startswith("The label ")
    assert "different grids" in first
    assert "2.00" not in first
    assert "2.00" in second


def test_a_label_that_is_a_link_to_nothing_is_named(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    (labels / "a.nii.gz").unlink()
    (labels / "a.nii.gz").symlink_to("/annex/objects/key")
    assert "Fetch that file" in evaluate_folders(predictions, labels).skipped["a"]


def test_a_label_with_turned_axes_is_scored_as_it_lies(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    before = evaluate_folders(predictions, labels)
    turned = Orientation((1, 0, 2), (True, False, False)).apply(read_volume(labels / "a.nii.gz"))
    write_volume(turned, labels / "a.nii.gz")
    assert evaluate_folders(predictions, labels) == before


def test_unreadable_and_foreign_predictions_are_named_and_passed_over(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    write_volume(Volume(np.full(GRID.shape, 9, np.uint8), GRID), predictions / "a.nii.gz")
    events = Events()
    evaluation = evaluate_folders(predictions, labels, report=events)
    assert "value 9" in evaluation.skipped["a"]
    assert any("a was passed over" in event.get("text", "") for event in events.seen)
    (predictions / "b.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match="value 9"):
        evaluate_folders(predictions, labels)


def test_structures_are_matched_by_name_not_by_value(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    other = LabelTable.from_names({"spleen": 1, "kidney": 2, "liver": 3})
    ours_to_theirs = np.array([0, 3, 1], np.uint8)
    expected = evaluate_folders(predictions, labels)
    for seed, case in enumerate(("a", "b")):
        write(predictions, f"{case}.nii.gz", ours_to_theirs[classes(seed + 10)], other)
    (predictions / "predictions.json").write_text(json.dumps({"labels": other.to_json()}))
    evaluation = evaluate_folders(predictions, labels)
    assert evaluation.cases == expected.cases
    assert evaluation.not_scored == ("kidney",)


def test_a_structure_that_the_model_does_not_know_is_not_scored(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    only_liver = LabelTable.from_names({"liver": 1})
    for case in ("a", "b"):
        write(predictions, f"{case}.nii.gz", (classes(1) == 1).astype(np.uint8), only_liver)
    (predictions / "predictions.json").write_text(json.dumps({"labels": only_liver.to_json()}))
    evaluation = evaluate_folders(predictions, labels)
    assert (evaluation.names, evaluation.not_scored) == (("liver",), ("spleen",))


def test_the_table_may_come_from_the_predictions_or_from_the_caller(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    expected = evaluate_folders(predictions, labels)
    (labels.parent / "dataset.json").unlink()
    with pytest.raises(LabelError, match="No label table was found"):
        evaluate_folders(predictions, labels)
    assert evaluate_folders(predictions, labels, TABLE) == expected
    (predictions / "predictions.json").write_text(json.dumps({"labels": TABLE.to_json()}))
    assert evaluate_folders(predictions, labels) == expected
    with pytest.raises(LabelError, match="no name in common"):
        evaluate_folders(predictions, labels, LabelTable.from_names({"heart": 1, "lung": 5}))


@pytest.mark.parametrize("text", ["{", '{"labels": {"liver": "1"}}', '{"labels": [1]}'])
def test_a_damaged_table_is_told_with_its_file(folders: tuple[Path, Path], text: str) -> None:
    predictions, labels = folders
    (labels.parent / "dataset.json").write_text(text)
    with pytest.raises(LabelError, match=r"dataset.json cannot be read"):
        evaluate_folders(predictions, labels)


def test_folders_that_cannot_be_compared_are_told(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, labels = folders
    with pytest.raises(InputError, match="is no folder"):
        evaluate_folders(tmp_path / "nowhere", labels)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has the name of a label"):
        evaluate_folders(tmp_path / "empty", labels)
    (labels / "a.nrrd").write_bytes(b"")
    with pytest.raises(InputError, match=r"a.nii.gz and a.nrrd; one file per case"):
        evaluate_folders(predictions, labels)


class Events:
    """A reporter that remembers, and stops at the given check."""

    def __init__(self, stop_at: int = 1000) -> None:
        self.seen: list[dict[str, Any]] = []
        self._left = stop_at

    def event(self, kind: str, **fields: Any) -> None:
        self.seen.append({"event": kind, **fields})

    def check(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Cancelled("stop")


def test_progress_is_told_and_an_end_is_heard(folders: tuple[Path, Path]) -> None:
    events = Events()
    evaluate_folders(*folders, report=events)
    assert [(event["done"], event["total"]) for event in events.seen] == [(0, 2), (1, 2), (2, 2)]
    with pytest.raises(Cancelled):
        evaluate_folders(*folders, report=Events(stop_at=1))


def test_a_case_of_a_cases_folder_is_scored_on_what_its_label_shows(folders: tuple[Path, Path]) -> None:
    full = evaluate_folders(*folders)
    records = {"a": [{"structures": ["spleen"]}], "b": [{"revision": 1}]}
    (folders[1].parent / "crgloco.json").write_text(json.dumps({"format": 1, "provenance": records}))
    evaluation = evaluate_folders(*folders)
    assert [score.outcome for score in evaluation.cases[0].labels] == ["unknown", "found"]
    assert evaluation.cases[0].labels[1] == full.cases[0].labels[1]
    assert evaluation.cases[1] == full.cases[1]


def record(folders: tuple[Path, Path], *cases: dict[str, Any], begun: list[str]) -> None:
    document = {"format": 1, "model": "A", "labels": TABLE.to_json(), "cases": list(cases), "begun": begun}
    (folders[0] / "predictions.json").write_text(json.dumps(document))


def test_a_folder_of_results_is_scored_in_full(folders: tuple[Path, Path]) -> None:
    expected = evaluate_folders(*folders)
    record(folders, {"case": "a"}, {"case": "b"}, begun=["a", "b"])
    assert evaluate_folders(*folders) == expected


def test_a_file_that_was_never_ours_is_scored_beside_results(folders: tuple[Path, Path]) -> None:
    record(folders, {"case": "a"}, begun=["a"])
    assert [case.case for case in evaluate_folders(*folders).cases] == ["a", "b"]


def test_the_result_of_another_model_is_named_and_passed_over(folders: tuple[Path, Path]) -> None:
    record(folders, {"case": "b"}, begun=["a", "b"])
    evaluation = evaluate_folders(*folders)
    assert [case.case for case in evaluation.cases] == ["b"]
    assert "a.nii.gz is not described by predictions.json" in evaluation.skipped["a"]


def test_the_older_result_of_a_case_that_failed_since_is_passed_over(folders: tuple[Path, Path]) -> None:
    record(folders, {"case": "a", "error": "The scan is empty."}, {"case": "b"}, begun=["a", "b"])
    evaluation = evaluate_folders(*folders)
    assert [case.case for case in evaluation.cases] == ["b"]
    assert "which failed: The scan is empty. Predict" in evaluation.skipped["a"]
