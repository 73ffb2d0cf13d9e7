"""What a program hears of a cases folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from crgloco.data.case_split import draw_split
from crgloco.data.case_store import accept_label
from crgloco.data.cases import open_cases
from crgloco.data.manifest import Manifest, Split, write_manifest
from crgloco.data.prediction_files import content_of
from crgloco.data.prediction_record import RECORD, file_name
from crgloco.data.provenance import Provenance
from crgloco.errors import Cancelled, CasesError, GeometryError
from crgloco.io.files import read_volume, write_volume
from crgloco.io.orientation import Orientation
from crgloco.io.volume import Volume
from crgloco.labels import LabelTable
from crgloco.progress import Silent
from crgloco.requests.cases import check, list_cases, open_case
from phantoms import write_cases_folder

TABLE = LabelTable.from_names({"large": 1, "small": 2})


@pytest.fixture
def cases(tmp_path):
    return write_cases_folder(tmp_path / "cases", 2, 2)


def predict(root, name, table=TABLE, **record):
    """Write by hand what a prediction leaves."""
    out = root / "predictions"
    out.mkdir(exist_ok=True)
    case = open_cases(root).find(name)
    image = read_volume(case.channels[0].path)
    files = {}
    for kind in ("fused", "global", "confidence"):
        array = np.full(image.array.shape, 2, np.uint8)
        if kind == "confidence":
            array = np.full(image.array.shape, 0.4, np.float32)
        files[kind] = file_name(name, kind)
        write_volume(Volume(array, image.geometry), out / files[kind])
    entry = {
        "case": name,
        "content": content_of(case),
        "quality": "balanced",
        "mean_confidence": 0.75,
        "expected_correction_ml": 1.5,
        "files": files,
        **record,
    }
    path = out / RECORD
    known = json.loads(path.read_text())["cases"] if path.exists() else []
    document = {"format": 1, "model": "abc", "quality": "balanced", "labels": table.to_json()}
    path.write_text(json.dumps({**document, "cases": [*known, entry]}))
    return out


def opened(root, name, out, predictions=None):
    """The answer to ``open``."""
    fields = {"folder": str(root), "case": name, "out": str(out)}
    return open_case({**fields, "predictions": str(predictions) if predictions else None}, Silent())


def states(answer):
    return {case["name"]: case["state"] for case in answer["cases"]}


def test_every_case_is_listed_with_its_state_and_revision(cases):
    split = Split(("phantom_000",), ("phantom_001",), 0.2, 0)
    write_manifest(cases, Manifest(table=TABLE, split=split))
    label = read_volume(cases / "labelsTr" / "phantom_001.nii.gz")
    accept_label(cases, "phantom_001", label, Provenance())
    out = predict(cases, "phantom_002")
    answer = list_cases({"folder": str(cases), "predictions": str(out)}, Silent())
    assert answer["channel_names"] == ["MR"]
    assert LabelTable.from_json(answer["labels"]) == TABLE
    assert states(answer) == {
        "phantom_000": "validation",
        "phantom_001": "corrected",
        "phantom_002": "predicted",
        "phantom_003": "unlabelled",
    }
    rows = {case["name"]: case for case in answer["cases"]}
    assert [rows[name]["revision"] for name in sorted(rows)] == [1, 2, 0, 0]
    assert rows["phantom_002"]["mean_confidence"] == 0.75
    assert rows["phantom_002"]["expected_correction_ml"] == 1.5
    assert rows["phantom_003"]["mean_confidence"] is None


def test_why_a_prediction_failed_is_told(cases):
    out = predict(cases, "phantom_002")
    record = json.loads((out / RECORD).read_text())
    record["cases"] = [{"case": "phantom_002", "error": "phantom_002 is cut off."}]
    (out / RECORD).write_text(json.dumps(record))
    answer = list_cases({"folder": str(cases), "predictions": str(out)}, Silent())
    assert states(answer)["phantom_002"] == "unlabelled"
    assert (
        next(c for c in answer["cases"] if c["name"] == "phantom_002")["reason"] == "phantom_002 is cut off."
    )


@pytest.mark.parametrize("content", ["", "[]", '{"format": 9}', '{"format": 1, "cases": [3]}', "{"])
def test_a_damaged_record_of_predictions_counts_as_none(cases, content):
    (cases / "predictions").mkdir()
    (cases / "predictions" / RECORD).write_text(content)
    fields = {"folder": str(cases), "predictions": str(cases / "predictions")}
    assert "predicted" not in states(list_cases(fields, Silent())).values()
    assert open_case({**fields, "case": "phantom_002", "out": str(cases / "o")}, Silent())["record"] is None


def test_a_plain_folder_of_scans_is_listed_as_unlabelled(cases):
    answer = list_cases({"folder": str(cases / "imagesUl"), "predictions": None}, Silent())
    assert answer["labels"] is None
    assert set(states(answer).values()) == {"unlabelled"}


def test_a_labelled_case_opens_as_image_and_label_values_on_one_grid(cases, tmp_path):
    answer = opened(cases, "phantom_000", tmp_path / "out")
    image = read_volume(cases / "imagesTr" / "phantom_000_0000.nii.gz")
    label = read_volume(cases / "labelsTr" / "phantom_000.nii.gz")
    assert answer["arrays"] == {"image_0": "image_0.npy", "label": "label.npy"}
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "image_0.npy"), image.array)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "label.npy"), label.array)
    assert answer["geometry"]["shape"] == list(image.geometry.shape)
    assert answer["geometry"]["spacing"] == list(image.geometry.spacing)
    assert (answer["role"], answer["revision"], answer["record"]) == ("labelled", 1, None)


def test_a_predicted_case_opens_with_what_was_predicted(cases, tmp_path):
    out = predict(cases, "phantom_002")
    fields = {
        "folder": str(cases),
        "case": "phantom_002",
        "out": str(tmp_path / "o"),
        "predictions": str(out),
    }
    answer = open_case(fields, Silent())
    assert set(answer["arrays"]) == {"image_0", "fused", "global", "confidence"}
    assert np.load(tmp_path / "o" / "fused.npy").dtype == np.uint8
    assert set(np.unique(np.load(tmp_path / "o" / "fused.npy"))) == {2}
    assert set(np.unique(np.load(tmp_path / "o" / "confidence.npy"))) == {102}
    assert answer["record"]["model"] == "abc"
    assert (answer["role"], answer["revision"], answer["notes"]) == ("unlabelled", 0, [])


def test_the_prediction_of_another_image_is_left_out_and_the_case_still_opens(cases, tmp_path):
    out = predict(cases, "phantom_002", content="sha256:other")
    fields = {
        "folder": str(cases),
        "case": "phantom_002",
        "out": str(tmp_path / "o"),
        "predictions": str(out),
    }
    answer = open_case(fields, Silent())
    assert set(answer["arrays"]) == {"image_0"}
    assert answer["record"] is None
    assert "another image" in answer["notes"][0]


@pytest.mark.parametrize(
    ("names", "words"),
    [({"large": 1, "tiny": 2}, "tiny"), ({"large": 1, "small": 3}, "small"), ({"large": 1, "x": 7}, "7 'x'")],
)
def test_a_prediction_with_other_labels_than_the_folder_is_left_out(cases, tmp_path, names, words):
    out = predict(cases, "phantom_002", table=LabelTable.from_names(names))
    fields = {
        "folder": str(cases),
        "case": "phantom_002",
        "out": str(tmp_path / "o"),
        "predictions": str(out),
    }
    answer = open_case(fields, Silent())
    assert answer["record"] is None
    assert words in answer["notes"][0]


def test_a_prediction_whose_file_is_gone_is_left_out_whole(cases, tmp_path):
    out = predict(cases, "phantom_002")
    (out / file_name("phantom_002", "confidence")).unlink()
    fields = {
        "folder": str(cases),
        "case": "phantom_002",
        "out": str(tmp_path / "o"),
        "predictions": str(out),
    }
    answer = open_case(fields, Silent())
    assert set(answer["arrays"]) == {"image_0"}
    assert "left out" in answer["notes"][0]


def test_a_channel_with_turned_axes_is_shown_on_the_grid_of_the_first(tmp_path):
    root = write_cases_folder(tmp_path / "pairs", 0, 1, shape=(8, 10, 12), channels=2)
    path = root / "imagesUl" / "phantom_000_0001.nii.gz"
    before = read_volume(path)
    write_volume(Orientation(flips=(True, False, False)).apply(before), path)
    answer = opened(root, "phantom_000", tmp_path / "o")
    np.testing.assert_array_equal(np.load(tmp_path / "o" / answer["arrays"]["image_1"]), before.array)


def test_a_label_on_another_grid_is_told_and_not_shown(cases, tmp_path):
    path = cases / "labelsTr" / "phantom_000.nii.gz"
    image = sitk.ReadImage(str(path))
    image.SetOrigin((5.0, 0.0, 0.0))
    sitk.WriteImage(image, str(path))
    with pytest.raises(GeometryError, match="different grids"):
        opened(cases, "phantom_000", tmp_path / "o")


def test_a_case_that_is_not_there_is_named(cases, tmp_path):
    with pytest.raises(CasesError, match="nobody"):
        opened(cases, "nobody", tmp_path)


def test_a_check_counts_roles_as_a_training_would_and_writes_nothing(cases):
    before = sorted(cases.rglob("*"))
    answer = check({"folder": str(cases), "unlabelled": []}, Silent())
    assert sorted(cases.rglob("*")) == before
    assert (answer["labelled"], answer["validation"], answer["unlabelled"]) == (1, 1, 2)
    assert not [problem for problem in answer["problems"] if problem["severity"] == "error"]


def test_a_check_tells_which_further_scans_a_training_would_leave_out(cases, tmp_path):
    other = tmp_path / "others"
    other.mkdir()
    source = cases / "imagesTr" / "phantom_000_0000.nii.gz"
    (other / "phantom_002.nii.gz").write_bytes(source.read_bytes())
    answer = check({"folder": str(cases), "unlabelled": [str(other)]}, Silent())
    told = [problem for problem in answer["problems"] if "left out" in problem["text"]]
    assert [problem["severity"] for problem in told] == ["warning"]
    assert str(source) in told[0]["text"]
    assert str(other / "phantom_002.nii.gz") in told[0]["text"]
    assert answer["unlabelled"] == 2


def test_a_check_finds_a_labelled_image_again_that_was_written_in_another_format(cases, tmp_path):
    other = tmp_path / "others"
    other.mkdir()
    write_volume(read_volume(cases / "imagesTr" / "phantom_000_0000.nii.gz"), other / "phantom_002.nrrd")
    answer = check({"folder": str(cases), "unlabelled": [str(other)]}, Silent())
    errors = [problem for problem in answer["problems"] if problem["severity"] == "error"]
    assert [error["case"] for error in errors] == ["phantom_002-2"]
    assert "phantom_000" in errors[0]["text"]
    assert answer["unlabelled"] == 3


def test_an_unlabelled_scan_that_a_training_leaves_out_does_not_forbid_it(cases):
    scans = sorted((cases / "imagesUl").iterdir())
    scans[0].write_bytes(b"no image")
    (problem,) = check({"folder": str(cases), "unlabelled": []}, Silent())["problems"]
    assert problem["severity"] == "warning"
    assert problem["text"].endswith("The training goes on without it.")
    (label,) = [path for path in (cases / "labelsTr").iterdir() if "001" in path.name]
    label.write_bytes(b"no label")
    found = check({"folder": str(cases), "unlabelled": []}, Silent())["problems"]
    assert {problem["case"] for problem in found if problem["severity"] == "error"} == {"phantom_001"}


@pytest.mark.parametrize("labels", [True, False])
def test_a_lost_validation_case_is_told_and_not_counted(cases, labels):
    (measuring,) = draw_split(open_cases(cases)).validating
    whole = check({"folder": str(cases), "labels": labels}, Silent())
    measuring.label.unlink()
    answer = check({"folder": str(cases), "labels": labels}, Silent())
    assert answer["unlabelled"] == whole["unlabelled"]
    (told,) = [p["text"] for p in answer["problems"] if p["text"].startswith("Validation case")]
    assert measuring.name in told


def test_scans_that_are_left_out_are_not_counted(cases):
    scans = sorted((cases / "imagesUl").iterdir())
    before = check({"folder": str(cases)}, Silent())["unlabelled"]
    scans[0].write_bytes(b"no image")
    assert check({"folder": str(cases)}, Silent())["unlabelled"] == before - 1


def test_scans_of_which_none_can_be_used_forbid_a_pre_training(cases):
    for scan in (cases / "imagesUl").iterdir():
        scan.write_bytes(b"no image")
    answer = check({"folder": str(cases / "imagesUl"), "labels": False}, Silent())
    assert [problem["severity"] for problem in answer["problems"]] == ["error", "error"]


@pytest.mark.parametrize("folder", ["none", "empty"])
def test_a_check_of_what_is_no_folder_of_cases_is_an_answer(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    answer = check({"folder": str(tmp_path / folder), "unlabelled": None}, Silent())
    assert [problem["severity"] for problem in answer["problems"]] == ["error"]
    assert answer["labels"] is None


def test_pretraining_needs_no_label_and_takes_any_folder_of_scans(cases, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for source in sorted((cases / "imagesUl").glob("*.nii.gz")):
        (scans / source.name.replace("_0000", "")).write_bytes(source.read_bytes())
    answer = check({"folder": str(scans), "labels": False}, Silent())
    assert (answer["problems"], answer["labels"]) == ([], None)
    assert (answer["labelled"], answer["validation"], answer["unlabelled"]) == (0, 0, 2)


def test_pretraining_learns_from_all_scans_of_a_cases_folder_but_those_for_validation(cases):
    (cases / "labelsTr" / "phantom_000.nii.gz").write_bytes(b"no label at all")
    answer = check({"folder": str(cases), "labels": False}, Silent())
    assert not [problem for problem in answer["problems"] if problem["severity"] == "error"]
    assert (answer["labelled"], answer["validation"], answer["unlabelled"]) == (0, 0, 3)


class Stopping(Silent):
    """Wants an end at the second question."""

    asked = 0

    def check(self):
        self.asked += 1
        if self.asked > 1:
            raise Cancelled("Cancelled.")


def test_a_check_can_be_cancelled(cases):
    with pytest.raises(Cancelled):
        check({"folder": str(cases)}, Stopping())


def test_a_check_for_a_method_tells_that_it_cannot_learn_from_partial_labels(cases):
    books = json.loads((cases / "crgloco.json").read_text()) if (cases / "crgloco.json").exists() else {}
    records = {
        "phantom_000": [{"structures": ["large", "small"]}],
        "phantom_001": [{"structures": ["small"]}],
    }
    (cases / "crgloco.json").write_text(json.dumps({**books, "format": 1, "provenance": records}))

    def said(**fields):
        answer = check({"folder": str(cases), "unlabelled": [], **fields}, Silent())
        return [
            problem["text"] for problem in answer["problems"] if "needs complete labels" in problem["text"]
        ]

    (error,) = said(method="supervised")
    assert "1 of 2 labelled cases" in error
    assert said() == said(method="versemi") == said(method="pgl", labels=False) == []


def test_a_check_for_a_method_tells_that_one_structure_is_too_few_for_it(tmp_path):
    folder = write_cases_folder(tmp_path / "one", labelled=2, unlabelled=1, shape=(8, 8, 8), only="large")

    def said(method):
        return [
            problem["text"]
            for problem in check({"folder": str(folder), "method": method}, Silent())["problems"]
        ]

    (error,) = said("versemi")
    assert "needs at least 2" in error
    assert f"the label table of {folder} has 1" in error
    assert said("supervised") == []


def test_a_case_that_lacks_a_channel_is_not_opened_with_another_in_its_place(cases, tmp_path):
    image = cases / "imagesTr" / "phantom_001_0000.nii.gz"
    image.rename(image.with_name("phantom_001_0001.nii.gz"))
    with pytest.raises(CasesError, match="phantom_001 has no channel 0: found"):
        open_case({"folder": str(cases), "case": "phantom_001", "out": str(tmp_path / "out")}, Silent())
