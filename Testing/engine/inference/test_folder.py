"""Many scans: one failure stops nothing, finished ones are kept, all is on record."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from crgloco.data.cases import open_cases, open_unlabelled
from crgloco.data.intensities import ChannelRule
from crgloco.data.prediction_files import assert_is_result
from crgloco.data.prediction_record import read_predictions
from crgloco.data.preparation import Preparation
from crgloco.data.scans import find_scans
from crgloco.errors import Cancelled, CasesError, InputError, ResourceError
from crgloco.inference import results
from crgloco.inference.folder import FolderJob, predict_folder, rank
from crgloco.inference.predictor import Predictor
from crgloco.io.files import read_geometry, read_volume, write_volume
from crgloco.io.label_files import read_label
from crgloco.labels import LabelTable
from crgloco.progress import Silent
from fake_models import FakeModel
from phantoms import write_cases_folder

PREPARATION = Preparation((2.0, 1.0, 1.0), (ChannelRule("mr"),))
# The second structure has the value 5 in files: class numbers must not leak.
TABLE = LabelTable.from_names({"large": 1, "small": 5})
ENDINGS = ("", "_global", "_local", "_confidence", "_disagreement")


def job(quality="balanced", model="a", *, keep_islands=False, one_piece=(), **options):
    predictor = Predictor(FakeModel(**options), PREPARATION, TABLE, one_piece=one_piece)
    return FolderJob(predictor, model, quality, keep_islands=keep_islands)


@pytest.fixture
def cases(tmp_path):
    return open_cases(write_cases_folder(tmp_path / "cases", 0, 3)).unlabelled


class Recorder(Silent):
    def __init__(self, stop_at=None):
        self.events, self.stop_at = [], stop_at

    def event(self, kind, **fields):
        self.events.append((kind, fields))

    def check(self):
        started = [fields for kind, fields in self.events if kind == "case" and fields["state"] == "started"]
        if self.stop_at is not None and len(started) >= self.stop_at:
            raise Cancelled("Stopped on request.")

    def states(self):
        return [
            fields["state"] for kind, fields in self.events if kind == "case" and fields["state"] != "started"
        ]


def test_every_result_lies_on_the_grid_of_its_scan(cases, tmp_path):
    answer = predict_folder(job(), cases, tmp_path / "out")
    assert answer["failed"] == 0
    for case, record in zip(cases, answer["cases"], strict=True):
        grid = read_geometry(case.channels[0].path)
        for ending in ENDINGS:
            assert read_geometry(tmp_path / "out" / f"{case.name}{ending}.nii.gz").same_grid(grid)
        label = read_label(tmp_path / "out" / f"{case.name}.nii.gz", TABLE, grid)
        assert set(np.unique(label.array)) <= {0, 1, 2}
        confidence = read_volume(tmp_path / "out" / f"{case.name}_confidence.nii.gz").array
        assert 0 <= confidence.min() < confidence.max() <= 1
        assert record["windows_run"] <= record["windows_possible"]
        assert record["volumes_ml"]["large"] == pytest.approx((label.array == 1).sum() * 0.002, abs=1e-3)
    stored = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert set(stored.pop("hashes")) == {
        f"{case.name}{kind}.nii.gz" for case in cases for kind in ENDINGS[:3]
    }
    assert stored == answer | {"begun": [case.name for case in cases]}


def test_fast_writes_no_local_labels_and_removes_old_ones(cases, tmp_path):
    predict_folder(job(), cases[:1], tmp_path / "out")
    record = predict_folder(job("fast"), cases[:1], tmp_path / "out")["cases"][0]
    assert "local" not in record["files"]
    assert not (tmp_path / "out" / f"{cases[0].name}_local.nii.gz").exists()


def test_one_bad_scan_stops_nothing(cases, tmp_path):
    cases[1].channels[0].path.write_bytes(b"no scan")
    report = Recorder()
    answer = predict_folder(job(), cases, tmp_path / "out", report)
    assert report.states() == ["done", "failed", "done"]
    assert answer["failed"] == 1
    assert cases[1].channels[0].path.name in answer["cases"][1]["error"]
    assert set(answer["cases"][1]) == {"case", "error"}


def test_a_case_that_lacks_a_channel_is_named_and_the_others_are_done(tmp_path):
    root = write_cases_folder(tmp_path / "cases", 0, 2, channels=2)
    second = root / "imagesUl/phantom_000_0001.nii.gz"
    second.rename(second.with_name("phantom_000_0002.nii.gz"))
    twice = Preparation(PREPARATION.spacing, PREPARATION.rules * 2)
    pair_job = FolderJob(Predictor(FakeModel(), twice, TABLE), "a")
    lacking, whole = predict_folder(pair_job, open_unlabelled(root, 2), None)["cases"]
    assert "phantom_000 has no channel 1: found" in lacking["error"]
    assert "error" not in whole


def test_a_second_prediction_into_the_folder_of_the_scans_keeps_the_first(tmp_path):
    scans = write_cases_folder(tmp_path / "cases", 0, 2) / "imagesUl"
    scans = scans.rename(tmp_path / "scans")
    image = sitk.ReadImage(str(scans / "phantom_001_0000.nii.gz"))
    sitk.WriteImage(image, str(scans / "other.nrrd"))
    predict_folder(job(), open_unlabelled(scans, 1), scans)
    again = predict_folder(job(), open_unlabelled(scans, 1), scans)
    assert [record["case"] for record in again["cases"]] == ["other", "phantom_000", "phantom_001"]
    assert all(record["kept"] for record in again["cases"])


def test_a_constant_scan_is_named(cases, tmp_path):
    image = sitk.ReadImage(str(cases[0].channels[0].path))
    sitk.WriteImage(image * 0, str(cases[0].channels[0].path))
    answer = predict_folder(job(), cases[:1], tmp_path / "out")
    assert "same number" in answer["cases"][0]["error"]


def test_finished_cases_are_kept_and_others_done(cases, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Cancelled):
        predict_folder(job(), cases, out, Recorder(stop_at=2))
    assert len(json.loads((out / "predictions.json").read_text())["cases"]) == 1
    report = Recorder()
    answer = predict_folder(job(), cases, out, report)
    assert report.states() == ["kept", "done", "done"]
    assert [record["kept"] for record in answer["cases"]] == [True, False, False]


def test_an_interrupted_repetition_forgets_no_finished_case(cases, tmp_path):
    out = tmp_path / "out"
    predict_folder(job(), cases, out)
    with pytest.raises(Cancelled):
        predict_folder(job(), cases, out, Recorder(stop_at=2))
    report = Recorder()
    predict_folder(job(), cases, out, report)
    assert report.states() == ["kept"] * 3


@pytest.mark.parametrize("change", ["scan", "model", "quality", "islands", "missing file"])
def test_what_is_out_of_date_is_done_again(cases, tmp_path, change):
    out = tmp_path / "out"
    predict_folder(job(), cases[:1], out)
    again = job()
    if change == "scan":
        image = sitk.ReadImage(str(cases[0].channels[0].path))
        sitk.WriteImage(image + 1, str(cases[0].channels[0].path))
    elif change == "model":
        again = job(model="b")
    elif change == "quality":
        again = job("full")
    elif change == "islands":
        again = job(keep_islands=True)
    else:
        (out / f"{cases[0].name}_global.nii.gz").unlink()
    report = Recorder()
    predict_folder(again, cases[:1], out, report)
    assert report.states() == ["done"]


def test_the_record_tells_the_volume_of_what_was_removed(cases, tmp_path):
    kept = predict_folder(job(keep_islands=True, one_piece=(1,)), cases[:1], tmp_path / "kept")["cases"][0]
    removed = predict_folder(job(one_piece=(1,)), cases[:1], tmp_path / "removed")["cases"][0]
    assert (kept["islands_ml"], kept["keep_islands"], removed["keep_islands"]) == ({}, True, False)
    assert set(removed["islands_ml"]) == {"large"}
    gone = kept["volumes_ml"]["large"] - removed["volumes_ml"]["large"]
    assert removed["islands_ml"]["large"] == pytest.approx(gone, abs=2e-3)
    assert gone > 0


def test_without_a_folder_nothing_is_written(cases, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    answer = predict_folder(job(), cases, None)
    assert sorted(tmp_path.rglob("*")) == before
    assert all(record["files"] == {} for record in answer["cases"])


def test_events_name_their_case(cases, tmp_path):
    report = Recorder()
    predict_folder(job(), cases, tmp_path / "out", report)
    assert {fields["case"] for _, fields in report.events} == {case.name for case in cases}


def corrected(path):
    """Erase a structure in a label file, as another program would."""
    label = read_volume(path)
    label.array[label.array == 5] = 0
    write_volume(label, path)
    return path.read_bytes()


@pytest.mark.parametrize("again", [{}, {"model": "b"}, {"quality": "fast"}, {"keep_islands": True}])
@pytest.mark.parametrize("ending", ENDINGS[:3])
def test_a_result_that_was_corrected_in_its_file_is_not_replaced_and_the_others_are(
    cases, tmp_path, again, ending
):
    out = tmp_path / "out"
    predict_folder(job(), cases, out)
    edited = out / f"{cases[1].name}{ending}.nii.gz"
    mine = corrected(edited)
    for _ in range(2):  # what was refused once is refused again
        answer = predict_folder(job(**again), cases, out)
        assert ["error" in record for record in answer["cases"]] == [False, True, False]
        assert f"{edited.name} was changed after it was predicted" in answer["cases"][1]["error"]
        assert edited.read_bytes() == mine
    edited.rename(tmp_path / "mine.nii.gz")
    assert predict_folder(job(**again), cases, out)["failed"] == 0
    assert edited.is_file() or ending == "_local"


def test_what_a_run_that_was_killed_had_begun_to_replace_is_not_taken_for_a_correction(
    cases, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    predict_folder(job(), cases, out)

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(results, "write_volume", kill)  # after the labels
        with pytest.raises(KeyboardInterrupt):
            predict_folder(job(model="b"), cases, out)
    edited = out / f"{cases[2].name}.nii.gz"
    corrected(edited)
    answer = predict_folder(job(model="c"), cases, out)
    assert ["error" in record for record in answer["cases"]] == [False, False, True]


def test_ranking_puts_the_largest_expected_correction_first(cases):
    cases[0].channels[0].path.write_bytes(b"no scan")
    answer = rank(job(sharpness=1.0), cases)
    values = [record.get("expected_correction_ml") for record in answer["cases"]]
    assert values[2] is None
    assert values[0] >= values[1] > 0
    assert answer["cases"][0]["regions"][0]["expected_ml"] > 0


def test_cases_that_would_overwrite_each_other_are_refused(cases, tmp_path):
    twin = type(cases[0])(f"{cases[0].name}_local", cases[1].channels)
    with pytest.raises(CasesError, match="same file"):
        predict_folder(job(), [cases[0], twin], tmp_path / "out")
    with pytest.raises(CasesError, match="same file"):
        predict_folder(job(), [cases[0], cases[0]], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_an_error_in_words(cases, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ResourceError, match="cannot be written"):
        predict_folder(job(), cases, tmp_path / "out")


def test_one_case_at_a_time_the_record_keeps_the_others_and_why_they_failed(cases, tmp_path):
    out = tmp_path / "out"
    cases[1].channels[0].path.write_bytes(b"cut off")
    for case in cases:
        predict_folder(job(), [case], out)
    stored = json.loads((out / "predictions.json").read_text())
    records = {record["case"]: record for record in stored["cases"]}
    assert set(records) == {case.name for case in cases}
    assert "error" in records[cases[1].name]
    assert stored["failed"] == 0  # of the last run
    write_volume(read_volume(cases[0].channels[0].path), cases[1].channels[0].path)
    answer = predict_folder(job(), cases, out)
    assert [record["kept"] for record in answer["cases"]] == [True, False, True]


class Meanwhile(Recorder):
    """Lets another run into the same folder happen while the first case is done."""

    def __init__(self, other):
        super().__init__()
        self._other = other

    def event(self, kind, **fields):
        super().event(kind, **fields)
        other, self._other = self._other, lambda: None
        other()


def record_of(out):
    return json.loads((out / "predictions.json").read_text())


def test_a_run_into_the_same_folder_meanwhile_loses_no_record(cases, tmp_path):
    out = tmp_path / "out"
    predict_folder(job(), cases[:2], out, Meanwhile(lambda: predict_folder(job(), cases[2:], out)))
    names = [case.name for case in cases]
    assert [record["case"] for record in record_of(out)["cases"]] == names
    assert record_of(out)["begun"] == names
    report = Recorder()
    predict_folder(job(), cases, out, report)
    assert report.states() == ["kept"] * 3


def test_a_run_over_the_same_cases_meanwhile_is_joined(cases, tmp_path):
    out = tmp_path / "out"
    predict_folder(job(), cases[1:], out)
    cases[1].channels[0].path.write_bytes(b"cut off")
    meanwhile = Meanwhile(lambda: predict_folder(job(), cases, out))
    meanwhile.stop_at = 2
    with pytest.raises(Cancelled):
        predict_folder(job(), cases, out, meanwhile)
    errors = {record["case"]: "error" in record for record in record_of(out)["cases"]}
    assert errors == {cases[0].name: False, cases[1].name: True, cases[2].name: False}


def test_runs_at_the_same_time_keep_all_records(cases, tmp_path):
    out = tmp_path / "out"
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda case: predict_folder(job(), [case], out), cases))
    assert {record["case"] for record in record_of(out)["cases"]} == {case.name for case in cases}
    assert sorted(path.name for path in out.iterdir() if not path.name.endswith(".nii.gz")) == [
        "predictions.json"
    ]


def test_results_of_another_model_meanwhile_are_done_again_and_not_refused(cases, tmp_path):
    out = tmp_path / "out"
    predict_folder(job(), cases[:1], out, Meanwhile(lambda: predict_folder(job(model="b"), cases[1:], out)))
    assert record_of(out)["begun"] == [case.name for case in cases]
    assert [record["case"] for record in record_of(out)["cases"]] == [cases[0].name]
    report = Recorder()
    predict_folder(job(), cases, out, report)
    assert report.states() == ["kept", "done", "done"]


def test_the_records_of_cases_in_another_quality_stay(cases, tmp_path):
    out = tmp_path / "out"
    predict_folder(job("fast"), cases[:1], out)
    predict_folder(job("balanced"), cases[1:], out)
    assert [record["quality"] for record in record_of(out)["cases"]] == ["balanced", "balanced", "fast"]
    report = Recorder()
    predict_folder(job("fast"), cases[:1], out, report)
    assert report.states() == ["kept"]


@pytest.mark.parametrize(("stop_at", "done"), [(0, 0), (1, 0), (2, 1)])
def test_a_run_that_was_cancelled_lays_no_claim_to_cases_that_it_never_came_to(
    cases, tmp_path, stop_at, done
):
    out = tmp_path / "out"
    with pytest.raises(Cancelled):
        predict_folder(job(), cases, out, Recorder(stop_at=stop_at))
    assert record_of(out)["begun"] == [case.name for case in cases[:done]]
    mine = out / f"{cases[2].name}.nii.gz"
    mine.write_bytes(b"mine")
    with pytest.raises(CasesError, match="no earlier result of ours"):
        predict_folder(job(), cases, out)
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("record", ["cut off", '{"predictions": []}', '{"format": 99, "cases": []}', "[]"])
def test_where_the_record_is_damaged_or_somebody_elses_nothing_is_replaced(cases, tmp_path, record):
    out = tmp_path / "out"
    predict_folder(job(), cases, out)
    (out / "predictions.json").write_text(record)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(CasesError, match=r"predictions.json cannot be read .* Choose another folder"):
        predict_folder(job(model="b"), cases, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_record_that_an_editor_has_given_a_mark_of_its_encoding_is_read(cases, tmp_path):
    out = tmp_path / "out"
    predict_folder(job(), cases[:1], out)
    label = out / f"{cases[0].name}.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(label)) * 0, str(label))  # a correction by hand
    corrected = label.read_bytes()
    record = out / "predictions.json"
    record.write_bytes(b"\xef\xbb\xbf" + record.read_bytes())
    answer = predict_folder(job(model="b"), cases[:1], out)
    assert "was changed after it was predicted" in answer["cases"][0]["error"]
    assert label.read_bytes() == corrected


def test_a_repetition_that_is_killed_leaves_no_record_that_describes_another_models_label(
    cases, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    predict_folder(job(), cases[:2], out)
    label = out / f"{cases[0].name}.nii.gz"

    def killed(*_: object) -> None:
        raise SystemExit(9)

    monkeypatch.setattr("crgloco.inference.results.write_volume", killed)  # after the labels
    with pytest.raises(SystemExit):
        predict_folder(job(model="b"), cases[:1], out)
    assert [record["case"] for record in record_of(out)["cases"]] == [cases[1].name]
    with pytest.raises(InputError, match="was never finished"):
        assert_is_result(label, cases[0].name, read_predictions(out))
    monkeypatch.undo()
    report = Recorder()
    written = label.read_bytes()
    sitk.WriteImage(sitk.ReadImage(str(label)) * 0, str(label))  # corrected by hand after the crash
    assert "was changed" in predict_folder(job(), cases[:1], out)["cases"][0]["error"]
    label.write_bytes(written)
    predict_folder(job(), cases[:1], out, report)
    assert report.states() == ["done"]


def test_a_name_that_is_too_long_for_its_results_fails_alone(cases, tmp_path):
    long = replace(cases[0], name="x" * 240)
    report = Recorder()
    answer = predict_folder(job(), [long, cases[1]], tmp_path / "out", report)
    assert report.states() == ["failed", "done"]
    assert "5 bytes too long" in answer["cases"][0]["error"]


def test_cases_that_differ_in_capitals_only_are_refused_for_windows_would_write_one_file(cases, tmp_path):
    with pytest.raises(CasesError, match="would write the same file"):
        predict_folder(
            job(), [replace(cases[0], name="Pat"), replace(cases[1], name="pat")], tmp_path / "out"
        )


def test_a_record_of_an_earlier_version_is_gone_on_with(cases, tmp_path):
    out = tmp_path / "out"
    predict_folder(job(), cases[:2], out)
    earlier = {key: value for key, value in record_of(out).items() if key != "begun"}
    (out / "predictions.json").write_text(json.dumps(earlier))
    report = Recorder()
    predict_folder(job(), cases, out, report)
    assert report.states() == ["kept", "kept", "done"]
    assert record_of(out)["begun"] == [case.name for case in cases]


@pytest.fixture
def scans(cases, tmp_path):
    """Two scans in a plain folder, with a label beside them that somebody drew."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for case in cases[:2]:
        shutil.copy(case.channels[0].path, folder / f"{case.name}.nii.gz")
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_result_never_takes_the_place_of_its_scan(scans):
    before = contents(scans)
    with pytest.raises(CasesError, match="would replace the scan"):
        predict_folder(job(), find_scans(scans, 1), scans)
    assert contents(scans) == before


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_is_no_result_is_never_replaced(scans, tmp_path, ending):
    out = tmp_path / "labels"
    out.mkdir()
    drawn = out / f"{find_scans(scans, 1)[1].name}{ending}.nii.gz"
    drawn.write_bytes(b"hours of work")
    with pytest.raises(CasesError, match="no earlier result of ours"):
        predict_folder(job(), find_scans(scans, 1), out)
    assert contents(out) == {drawn.name: b"hours of work"}
    drawn.rename(tmp_path / "moved away")
    assert predict_folder(job(), find_scans(scans, 1), out)["failed"] == 0


@pytest.mark.parametrize("name", ["imagesTr", "labelsTr", "imagesUl"])
def test_results_do_not_go_into_a_cases_folder(cases, tmp_path, name):
    with pytest.raises(CasesError, match="Choose another folder for the results"):
        predict_folder(job(), cases, tmp_path / "any" / name)


def test_what_a_killed_run_left_without_a_record_is_its_own(scans, tmp_path, monkeypatch):
    out, found = tmp_path / "out", find_scans(scans, 1)

    def kill_at_the_second(volume, path):
        if found[1].name in path.name:
            raise KeyboardInterrupt
        write_volume(volume, path)

    with monkeypatch.context() as context:
        context.setattr(results, "write_volume", kill_at_the_second)  # after the labels
        with pytest.raises(KeyboardInterrupt):
            predict_folder(job(), found, out)
    assert (out / f"{found[1].name}_local.nii.gz").is_file()
    report = Recorder()
    assert predict_folder(job(), found, out, report)["failed"] == 0
    assert report.states() == ["kept", "done"]


def test_a_scan_that_is_too_large_for_the_memory_ends_alone(cases, tmp_path, monkeypatch):
    predictor = Predictor(FakeModel(), PREPARATION, TABLE)
    whole, calls = predictor.predict, []

    def short(volumes, *arguments, **options):
        calls.append(volumes)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(volumes, *arguments, **options)

    monkeypatch.setattr(predictor, "predict", short)
    answer = predict_folder(FolderJob(predictor, "a"), cases, tmp_path / "out")
    assert answer["failed"] == 1
    assert "memory does not suffice for this scan" in answer["cases"][1]["error"]
    assert "error" not in answer["cases"][2]


def test_a_fault_of_ours_is_not_taken_for_a_bad_scan(cases, tmp_path, monkeypatch):
    predictor = Predictor(FakeModel(), PREPARATION, TABLE)

    def faulty(*_arguments, **_options):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(predictor, "predict", faulty)
    with pytest.raises(RuntimeError, match="shapes"):
        predict_folder(FolderJob(predictor, "a"), cases, tmp_path / "out")


def test_a_full_disk_ends_the_batch_and_leaves_no_half_result(cases, tmp_path, monkeypatch):
    out, whole = tmp_path / "out", results.write_volume

    def full(volume, path):
        if path.name.startswith(cases[1].name):
            raise ResourceError(f"{path} cannot be written: the disk is full.")
        whole(volume, path)

    monkeypatch.setattr(results, "write_volume", full)
    report = Recorder()
    with pytest.raises(ResourceError, match="disk is full"):
        predict_folder(job(), cases, out, report)
    assert report.states() == ["done"]
    assert list(out.glob(f"{cases[1].name}*")) == []
    assert len(list(out.glob(f"{cases[0].name}*"))) == 5
    monkeypatch.undo()
    assert predict_folder(job(), cases, out)["failed"] == 0
