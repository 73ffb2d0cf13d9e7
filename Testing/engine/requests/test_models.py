"""Segmenting arrays: the same answer as from files, labels as values of the model's table."""

from __future__ import annotations

import json
import shutil
import weakref

import numpy as np
import pytest
from scipy import ndimage

from array_files import OBLIQUE, reference
from crgloco import model_store
from crgloco.errors import CasesError, CRGLoCoError, GeometryError, InputError, ModelError, OptionError
from crgloco.inference import service
from crgloco.inference.service import Service
from crgloco.io.files import read_volume
from crgloco.io.volume import Geometry
from crgloco.labels import LabelTable
from crgloco.progress import Silent
from crgloco.requests.models import ModelRequests
from phantoms import two_ellipsoids, write_cases_folder
from tiny_models import save_tiny_model

GRID = Geometry((24, 32, 32), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
TABLE = LabelTable.from_names({"large": 7, "small": 600})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model whose label values are not its class numbers."""
    plain = save_tiny_model(tmp_path_factory.mktemp("models") / "plain")
    document = json.loads((plain / "model.json").read_text())
    document["labels"] = TABLE.to_json()
    (plain / "model.json").write_text(json.dumps(document))
    return plain


@pytest.fixture(scope="module")
def requests():
    return ModelRequests()


def segmented(requests, folder, tmp_path, report=None, **changes):
    image = two_ellipsoids()[0]
    fields = {
        "model": str(folder),
        "arrays": [reference(image, tmp_path / "in.npy", GRID)],
        "out": str(tmp_path / "out"),
        "device": "cpu",
        **changes,
    }
    return requests.answer("segment", fields, report or Silent())


def test_the_answer_describes_model_regions_and_arrays(requests, model, tmp_path):
    answer = segmented(requests, model, tmp_path)
    assert set(answer["arrays"]) == {"fused", "global", "local", "confidence", "disagreement"}
    assert answer["model"] == model_store.read_card(model).weights_sha256
    assert answer["title"] == "Two ellipsoids"
    assert LabelTable.from_json(answer["labels"]) == TABLE
    assert answer["geometry"]["shape"] == [24, 32, 32]
    assert set(answer["volumes_ml"]) == {"large", "small"}
    assert answer["regions"]
    for region in answer["regions"]:
        assert region["name"] == ("background", "large", "small")[region["label"]]
    json.dumps(answer, allow_nan=False)


def test_arrays_hold_label_values_and_bytes(requests, model, tmp_path):
    answer = segmented(requests, model, tmp_path)
    arrays = {kind: np.load(tmp_path / "out" / name) for kind, name in answer["arrays"].items()}
    assert {array.shape for array in arrays.values()} == {(24, 32, 32)}
    for kind in ("fused", "global", "local"):
        assert arrays[kind].dtype == np.uint16
        assert set(np.unique(arrays[kind])) <= {0, 7, 600}
    assert arrays["confidence"].dtype == arrays["disagreement"].dtype == np.uint8


def test_an_array_and_a_file_of_the_same_scan_get_the_same_answer(requests, model, tmp_path):
    cases = write_cases_folder(tmp_path / "cases", 1, 0)
    scan = cases / "imagesTr" / "phantom_000_0000.nii.gz"
    volume = read_volume(scan)
    entry = reference(volume.array, tmp_path / "scan.npy", volume.geometry)
    answer = segmented(requests, model, tmp_path, arrays=[entry], quality="full")
    fields = {"model": str(model), "input": str(scan), "out": str(tmp_path / "files"), "quality": "full"}
    record = requests.answer("predict", {**fields, "device": "cpu"}, Silent())["cases"][0]
    for kind, name in record["files"].items():
        from_file = read_volume(tmp_path / "files" / name).array
        from_array = np.load(tmp_path / "out" / answer["arrays"][kind])
        expected = from_array if kind in {"fused", "global", "local"} else from_array / np.float32(255)
        np.testing.assert_array_equal(from_file, expected)
    assert record["mean_confidence"] == answer["mean_confidence"]
    assert record["regions"] == answer["regions"][: len(record["regions"])]


def test_islands_are_removed_unless_they_shall_stay(requests, model, tmp_path):
    document = json.loads((model / "model.json").read_text())
    document["training"]["one_piece"] = ["large", "small"]
    whole = tmp_path / "whole"
    shutil.copytree(model, whole)
    (whole / "model.json").write_text(json.dumps(document))
    answers = {}
    for keep in (False, True):
        out = tmp_path / str(keep)
        answer = segmented(requests, whole, tmp_path, keep_islands=keep, out=str(out))
        labels = np.load(out / answer["arrays"]["fused"])
        answers[keep] = (answer["islands_ml"], [len(list(pieces_of(labels == n))) for n in (7, 600)])
    assert answers[True][0] == {}
    assert answers[False][0]
    assert sum(answers[True][1]) > sum(answers[False][1]) > 0
    with pytest.raises(OptionError, match="'keep_islands' must be true or false; found 'no'"):
        segmented(requests, whole, tmp_path, keep_islands="no")


def pieces_of(mask):
    return range(ndimage.label(mask, np.ones((3, 3, 3)))[1])


def test_an_oblique_left_handed_volume_keeps_its_grid(requests, model, tmp_path):
    entry = reference(two_ellipsoids(OBLIQUE.shape)[0], tmp_path / "oblique.npy", OBLIQUE)
    answer = segmented(requests, model, tmp_path, arrays=[entry])
    assert np.load(tmp_path / "out" / "fused.npy").shape == OBLIQUE.shape
    for region in answer["regions"]:
        where = OBLIQUE.affine @ [*region["centre"][::-1], 1.0]
        np.testing.assert_allclose(region["position"], where[:3], atol=1e-6)


def test_a_fast_answer_has_no_local_labels(requests, model, tmp_path):
    assert "local" not in segmented(requests, model, tmp_path, quality="fast")["arrays"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"arrays": []}, OptionError),
        ({"arrays": None}, OptionError),
        ({"quality": "best"}, OptionError),
        ({"memory_gb": -1}, OptionError),
        ({"memory_gb": True}, OptionError),
        ({"model": "/nowhere"}, ModelError),
        ({"out": None}, OptionError),
    ],
)
def test_what_cannot_be_asked_is_refused_and_leaves_nothing(requests, model, tmp_path, change, error):
    with pytest.raises(error):
        segmented(requests, model, tmp_path, **change)
    assert not (tmp_path / "out").exists()


def test_an_empty_volume_is_refused_by_what_it_is(requests, model, tmp_path):
    entry = reference(np.zeros(GRID.shape), tmp_path / "z.npy", GRID)
    with pytest.raises(InputError, match="The volume holds the same number"):
        segmented(requests, model, tmp_path, arrays=[entry])


def test_channels_on_two_grids_are_refused(requests, model, tmp_path):
    first = reference(two_ellipsoids()[0], tmp_path / "a.npy", GRID)
    moved = Geometry(GRID.shape, GRID.spacing, (9.0, 0.0, 0.0))
    second = reference(two_ellipsoids()[0], tmp_path / "b.npy", moved)
    with pytest.raises(GeometryError, match="channels 0 and 1"):
        segmented(requests, model, tmp_path, arrays=[first, second])


def test_the_model_is_loaded_once_for_two_volumes(model, tmp_path, monkeypatch):
    loaded = []
    load = model_store.load
    monkeypatch.setattr(model_store, "load", lambda *a: loaded.append(a) or load(*a))
    requests = ModelRequests(Service())
    segmented(requests, model, tmp_path / "a")
    segmented(requests, model, tmp_path / "b")
    assert len(loaded) == 1


def test_a_model_is_gone_before_the_next_one_is_loaded(model, tmp_path, monkeypatch):
    service, left = Service(), []
    first = weakref.ref(service.load(model, "cpu"))
    load = model_store.load
    monkeypatch.setattr(model_store, "load", lambda folder: left.append(first()) or load(folder))
    service.load(save_tiny_model(tmp_path / "other"), "cpu")
    assert left == [None]


def test_one_case_of_a_folder_is_predicted_and_the_others_stay_known(requests, model, tmp_path):
    cases = write_cases_folder(tmp_path / "cases", 0, 3)
    out = cases / "predictions"
    (cases / "imagesUl" / "phantom_001_0000.nii.gz").write_bytes(b"cut off")
    fields = {"model": str(model), "folder": str(cases), "out": str(out), "device": "cpu"}
    assert requests.answer("predict", {**fields, "case": "phantom_000"}, Silent())["failed"] == 0
    with pytest.raises(CRGLoCoError):
        requests.answer("predict", {**fields, "case": "phantom_001"}, Silent())
    requests.answer("predict", {**fields, "case": "phantom_002"}, Silent())
    records = {r["case"]: r for r in json.loads((out / "predictions.json").read_text())["cases"]}
    assert set(records) == {"phantom_000", "phantom_001", "phantom_002"}
    assert "error" in records["phantom_001"]
    kept = requests.answer("predict", {**fields, "case": "phantom_000"}, Silent())["cases"][0]
    assert kept["kept"]
    with pytest.raises(CasesError, match="phantom_009"):
        requests.answer("predict", {**fields, "case": "phantom_009"}, Silent())


def test_an_estimate_keeps_to_the_memory_that_the_user_allows(requests, model, monkeypatch):
    seen = []
    whole = service.estimate

    def watched(*arguments, budget_gb):
        seen.append(budget_gb)
        return whole(*arguments, budget_gb=budget_gb)

    monkeypatch.setattr(service, "estimate", watched)
    fields = {"model": str(model), "device": "cpu", "shape": [24, 32, 32], "spacing": [2, 1, 1]}
    requests.answer("estimate", {**fields, "memory_gb": 2.5}, Silent())
    assert seen == [2.5]


def test_an_estimate_takes_a_shape_or_a_case(requests, model, tmp_path):
    cases = write_cases_folder(tmp_path / "cases", 0, 1)
    fields = {"model": str(model), "device": "cpu"}
    of_shape = {**fields, "shape": [24, 32, 32], "spacing": [2, 1, 1]}
    of_case = {**fields, "folder": str(cases), "case": "phantom_000"}
    first, second = (requests.answer("estimate", entry, Silent()) for entry in (of_shape, of_case))
    assert first["windows_possible"] == second["windows_possible"]
    with pytest.raises(OptionError, match="shape"):
        requests.answer("estimate", {**of_shape, "spacing": [1, 1]}, Silent())


@pytest.mark.parametrize("command", ["predict", "rank"])
def test_a_cases_folder_with_the_channels_in_another_order_is_refused(requests, tmp_path, command):
    model = save_tiny_model(tmp_path / "two", channels=("MR1", "MR0"))
    cases = write_cases_folder(tmp_path / "cases", 0, 1, channels=2)
    fields = {"model": str(model), "out": str(tmp_path / "out"), "device": "cpu"}
    for scans in ({"input": str(cases)}, {"folder": str(cases), "case": "phantom_000"}):
        with pytest.raises(ModelError, match="the channels MR1, MR0; the cases have MR0, MR1, so"):
            requests.answer(command, {**fields, **scans}, Silent())
    assert not (tmp_path / "out").exists()


def test_a_plain_folder_of_scans_names_no_channels(requests, tmp_path):
    model = save_tiny_model(tmp_path / "two", channels=("MR1", "MR0"))
    cases = write_cases_folder(tmp_path / "cases", 0, 1, channels=2)
    fields = {"model": str(model), "out": str(tmp_path / "out"), "device": "cpu", "quality": "fast"}
    assert requests.answer("predict", {**fields, "input": str(cases / "imagesUl")}, Silent())["failed"] == 0
