"""Labels that a program hands over: checked like all others, nothing is overwritten, nothing is half done."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from array_files import OBLIQUE, grid_fields, reference
from crgloco.data.case_check import check
from crgloco.data.case_store import create_cases, revisions
from crgloco.data.cases import open_cases
from crgloco.errors import CasesError, GeometryError, InputError, LabelError, OptionError, ResourceError
from crgloco.io.files import read_volume, write_volume
from crgloco.io.orientation import Orientation
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import LabelTable
from crgloco.progress import Silent
from crgloco.requests.labels import accept, create, write_label
from phantoms import two_ellipsoids, write_cases_folder

TABLE = LabelTable.from_names({"large": 3, "small": 700})


@pytest.fixture
def cases(tmp_path):
    return write_cases_folder(tmp_path / "cases", 2, 1)


def new_case(tmp_path, root, **changes):
    """The fields of a new case in a new folder."""
    image, classes = two_ellipsoids((6, 8, 10))
    return {
        "folder": str(root),
        "case": "a",
        "label": reference(TABLE.to_values(classes), tmp_path / "in" / "label.npy", OBLIQUE),
        "images": [reference(image, tmp_path / "in" / "image.npy", OBLIQUE)],
        "table": TABLE.to_json(),
        "channel_names": ["MR"],
        "provenance": {"model": "abc", "edits_voxels": 12, "edits_ml": 0.5, "annotator": "radiologist"},
        **changes,
    }


def label_of(cases, tmp_path, name="phantom_002"):
    """A label of a case that is there, on its grid."""
    where = "imagesUl" if name == "phantom_002" else "imagesTr"
    grid = read_volume(cases / where / f"{name}_0000.nii.gz").geometry
    values = two_ellipsoids(grid.shape, 5)[1]
    return values, reference(values, tmp_path / "in" / "label.npy", grid)


def test_a_label_of_an_unlabelled_case_is_accepted_with_its_provenance(cases, tmp_path):
    values, label = label_of(cases, tmp_path)
    provenance = {"model": "abc", "edits_voxels": 7.0, "edits_ml": 0.25, "annotator": "student"}
    fields = {"folder": str(cases), "case": "phantom_002", "label": label, "provenance": provenance}
    answer = accept(fields, Silent())
    assert (answer["case"], answer["revision"], answer["created"]) == ("phantom_002", 1, False)
    np.testing.assert_array_equal(read_volume(cases / "labelsTr" / "phantom_002.nii.gz").array, values)
    (kept,) = revisions(cases)["phantom_002"]
    assert (kept.model, kept.edits_voxels, kept.edits_ml, kept.annotator) == ("abc", 7, 0.25, "student")


def test_a_second_label_is_a_new_revision_and_the_first_one_is_kept(cases, tmp_path):
    before = (cases / "labelsTr" / "phantom_000.nii.gz").read_bytes()
    label = label_of(cases, tmp_path, "phantom_000")[1]
    answer = accept({"folder": str(cases), "case": "phantom_000", "label": label}, Silent())
    assert answer["revision"] == 2
    assert (cases / "labelsTr_revisions" / "phantom_000.r001.nii.gz").read_bytes() == before


def test_what_a_first_label_shows_is_not_forgotten_when_its_record_could_not_be_written(
    cases, tmp_path, monkeypatch
):
    values, label = label_of(cases, tmp_path)
    np.save(label["file"], np.where(values == 1, values, 0))
    provenance = {"model": "abc", "looked_for": ["large"]}
    fields = {"folder": str(cases), "case": "phantom_002", "label": label, "provenance": provenance}

    def full(root, manifest):
        msg = "The disk is full."
        raise ResourceError(msg)

    with monkeypatch.context() as patched:
        patched.setattr("crgloco.data.case_store.write_manifest", full)
        with pytest.raises(ResourceError):
            accept(fields, Silent())
    accept(fields, Silent())
    assert open_cases(cases).find("phantom_002").structures == ("large",)


def test_a_new_case_makes_its_folder_and_reads_back_bit_for_bit(tmp_path):
    root = tmp_path / "new" / "cases"
    answer = accept(new_case(tmp_path, root), Silent())
    assert answer["created"]
    assert answer["revision"] == 1
    case = open_cases(root).find("a")
    image, label = read_volume(case.channels[0].path), read_volume(case.label)
    np.testing.assert_array_equal(image.array, np.load(tmp_path / "in" / "image.npy"))
    np.testing.assert_array_equal(label.array, np.load(tmp_path / "in" / "label.npy"))
    assert image.geometry.same_grid(OBLIQUE)
    assert set(np.unique(label.array)) == {0, 3, 700}
    assert not [problem for problem in check(root) if problem.severity == "error"]


def test_the_same_new_case_again_is_a_revision_of_it(tmp_path):
    root = tmp_path / "cases"
    accept(new_case(tmp_path, root), Silent())
    answer = accept(new_case(tmp_path, root), Silent())
    assert (answer["created"], answer["revision"]) == (False, 2)


def test_the_image_of_a_case_is_known_again_though_slicer_has_turned_its_axes_round(tmp_path):
    root, fields = tmp_path / "cases", new_case(tmp_path, tmp_path / "cases")
    accept(fields, Silent())
    way = Orientation((0, 2, 1), (False, True, False))
    for what, given in (("label", fields["label"]), ("image", fields["images"][0])):
        turned = way.apply(Volume(np.load(given["file"]), OBLIQUE))
        given.update(reference(turned.array, tmp_path / "in" / f"turned_{what}.npy", turned.geometry))
    answer = accept(fields, Silent())
    assert (answer["created"], answer["revision"]) == (False, 2)
    label = read_volume(open_cases(root).find("a").label)
    np.testing.assert_array_equal(label.array, np.load(tmp_path / "in" / "label.npy"))


def test_another_image_under_the_name_of_a_case_is_refused_and_nothing_changes(tmp_path):
    root = tmp_path / "cases"
    accept(new_case(tmp_path, root), Silent())
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    other = two_ellipsoids((6, 8, 10), seed=9)[0]
    fields = new_case(tmp_path, root)
    fields["images"] = [reference(other, tmp_path / "in" / "other.npy", OBLIQUE)]
    with pytest.raises(CasesError, match="another image"):
        accept(fields, Silent())
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("names", "words"), [({"liver": 3, "small": 700}, "liver"), ({"large": 4, "small": 700}, "large")]
)
def test_a_folder_whose_labels_mean_something_else_is_refused(tmp_path, names, words):
    root = tmp_path / "cases"
    create_cases(root, LabelTable.from_names(names), ["MR"])
    with pytest.raises(LabelError, match=words):
        accept(new_case(tmp_path, root), Silent())
    assert not open_cases(root).labelled


def test_a_folder_with_further_labels_is_fine(tmp_path):
    root = tmp_path / "cases"
    create_cases(root, LabelTable.from_names({"large": 3, "small": 700, "more": 9}), ["MR"])
    assert accept(new_case(tmp_path, root), Silent())["created"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"case": "a/b"}, CasesError),
        ({"images": None}, CasesError),
        ({"table": None}, CasesError),
        ({"channel_names": ["MR", "CT"]}, OptionError),
        ({"table": [{"value": 1}]}, LabelError),
        ({"table": "large"}, OptionError),
        ({"provenance": {"patient": "Doe"}}, OptionError),
        ({"provenance": {"annotator": "x" * 100}}, OptionError),
        ({"provenance": [1]}, OptionError),
    ],
)
def test_what_cannot_become_a_case_leaves_no_folder_behind(tmp_path, change, error):
    root = tmp_path / "cases"
    with pytest.raises(error):
        accept(new_case(tmp_path, root, **change), Silent())
    assert not root.exists()


def test_label_and_image_on_two_grids_leave_no_folder_behind(tmp_path):
    fields = new_case(tmp_path, tmp_path / "cases")
    moved = Geometry(OBLIQUE.shape, OBLIQUE.spacing, (0.0, 0.0, 0.0), OBLIQUE.direction)
    fields["label"]["geometry"] = grid_fields(moved)
    with pytest.raises(GeometryError, match="different grids"):
        accept(fields, Silent())
    assert not (tmp_path / "cases").exists()


def test_a_value_outside_the_table_leaves_no_folder_behind(tmp_path):
    fields = new_case(tmp_path, tmp_path / "cases")
    fields["label"] = reference(np.full(OBLIQUE.shape, 5), tmp_path / "in" / "label.npy", OBLIQUE)
    with pytest.raises(LabelError, match="5 is not in the label table"):
        accept(fields, Silent())
    assert not (tmp_path / "cases").exists()


def test_an_image_with_nothing_in_it_is_refused(tmp_path):
    fields = new_case(tmp_path, tmp_path / "cases")
    fields["images"] = [reference(np.ones(OBLIQUE.shape), tmp_path / "in" / "i.npy", OBLIQUE)]
    with pytest.raises(InputError, match="same number"):
        accept(fields, Silent())


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    root = tmp_path / "documents"
    root.mkdir()
    (root / "letter.txt").write_text("dear")
    with pytest.raises(CasesError, match=r"letter\.txt"):
        accept(new_case(tmp_path, root), Silent())
    with pytest.raises(CasesError, match=r"letter\.txt"):
        create({"folder": str(root), "table": TABLE.to_json(), "channel_names": ["MR"]}, Silent())
    assert [path.name for path in root.iterdir()] == ["letter.txt"]


def test_a_case_without_image_is_refused_in_a_folder_that_lacks_it(cases, tmp_path):
    label = label_of(cases, tmp_path)[1]
    with pytest.raises(CasesError, match="Add its image first"):
        accept({"folder": str(cases), "case": "other", "label": label}, Silent())


def test_an_empty_cases_folder_is_made(tmp_path):
    root = tmp_path / "cases"
    fields = {"folder": str(root), "table": TABLE.to_json(), "channel_names": ["T1", "T2"]}
    assert create(fields, Silent()) == {"folder": str(root)}
    folder = open_cases(root)
    assert folder.channel_names == ("T1", "T2")
    assert folder.table == TABLE
    with pytest.raises(CasesError):
        create(fields, Silent())


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_label_is_written_with_its_values_in_any_format(tmp_path, ending):
    values = TABLE.to_values(two_ellipsoids((6, 8, 10))[1]).astype(np.int32)
    path = tmp_path / f"label{ending}"
    label = reference(values, tmp_path / "in.npy", OBLIQUE)
    answer = write_label({"label": label, "table": TABLE.to_json(), "path": str(path)}, Silent())
    assert answer == {"path": str(path)}
    stored = read_volume(path)
    np.testing.assert_array_equal(stored.array, values)
    assert stored.geometry.same_grid(OBLIQUE)
    assert stored.array.dtype == np.uint16


def test_a_label_whose_axes_were_turned_is_written_as_the_file_of_its_scan_stores_them(tmp_path):
    image, classes = two_ellipsoids((6, 8, 10))
    values, scan, path = TABLE.to_values(classes), tmp_path / "scan.nii.gz", tmp_path / "label.nii.gz"
    write_volume(Volume(image, OBLIQUE), scan)
    turn = Orientation((0, 2, 1), (True, False, True))
    seen = turn.apply(Volume(values, OBLIQUE))
    label = reference(np.ascontiguousarray(seen.array), tmp_path / "in.npy", seen.geometry)
    fields = {"label": label, "table": TABLE.to_json(), "path": str(path), "scan": str(scan)}
    write_label(fields, Silent())
    stored = read_volume(path)
    np.testing.assert_array_equal(stored.array, values)
    assert stored.geometry == read_volume(scan).geometry

    scan.unlink()  # then it lies where it was seen
    write_label(fields, Silent())
    np.testing.assert_array_equal(read_volume(path).array, seen.array)
    assert read_volume(path).geometry.same_grid(seen.geometry)


def test_a_label_that_lies_elsewhere_than_the_file_of_its_scan_stays_where_it_lies(tmp_path):
    image, classes = two_ellipsoids((6, 8, 10))
    scan, path = tmp_path / "scan.nii.gz", tmp_path / "label.nii.gz"
    write_volume(Volume(image, replace(OBLIQUE, origin=(0.0, 0.0, 0.0))), scan)
    label = reference(TABLE.to_values(classes), tmp_path / "in.npy", OBLIQUE)
    write_label({"label": label, "table": TABLE.to_json(), "path": str(path), "scan": str(scan)}, Silent())
    assert read_volume(path).geometry.same_grid(OBLIQUE)


def test_a_label_file_with_a_strange_value_is_not_written(tmp_path):
    label = reference(np.full(OBLIQUE.shape, 5), tmp_path / "in.npy", OBLIQUE)
    with pytest.raises(LabelError):
        write_label({"label": label, "table": TABLE.to_json(), "path": str(tmp_path / "a.nii")}, Silent())
    assert not (tmp_path / "a.nii").exists()


def test_neither_books_nor_files_hold_more_than_what_was_given(tmp_path):
    root = tmp_path / "cases"
    accept(new_case(tmp_path, root), Silent())
    books = json.loads((root / "crgloco.json").read_text())
    assert str(tmp_path) not in json.dumps(books)
    assert {path.name for path in root.rglob("*") if path.is_file()} == {
        "a.nii.gz",
        "a_0000.nii.gz",
        "crgloco.json",
        "dataset.json",
    }


def test_who_vouches_for_structures_is_told_what_the_label_shows(cases, tmp_path):
    _, label = label_of(cases, tmp_path)
    fields = {"folder": str(cases), "case": "phantom_002", "label": label}
    accept({**fields, "provenance": {"structures": ["large", "small"]}}, Silent())
    assert open_cases(cases).find("phantom_002").structures is None
    with pytest.raises(LabelError, match="no heart"):
        accept({**fields, "provenance": {"structures": ["heart"]}}, Silent())


def test_a_first_label_shows_what_the_model_looked_for_and_a_later_one_what_it_showed_before(cases, tmp_path):
    values, _ = label_of(cases, tmp_path)
    grid = read_volume(cases / "imagesUl" / "phantom_002_0000.nii.gz").geometry
    large = open_cases(cases).table.labels[0].value
    label = reference(np.where(values == large, values, 0), tmp_path / "in" / "large.npy", grid)
    fields = {"folder": str(cases), "case": "phantom_002", "label": label}
    accept({**fields, "provenance": {"looked_for": ["large"]}}, Silent())
    assert open_cases(cases).find("phantom_002").structures == ("large",)
    accept({**fields, "provenance": {"looked_for": []}}, Silent())
    assert open_cases(cases).find("phantom_002").structures == ("large",)


def test_who_is_second_to_make_a_folder_writes_into_that_of_the_first(tmp_path, monkeypatch):
    first = [TABLE]

    def just_made(root, table, channels):
        if first:
            create_cases(root, first.pop(), channels)  # by another program, a moment ago
        return create_cases(root, table, channels)

    monkeypatch.setattr("crgloco.requests.labels.create_cases", just_made)
    assert accept(new_case(tmp_path, tmp_path / "same"), Silent())["revision"] == 1
    first.append(LabelTable.from_names({"heart": 3}))
    with pytest.raises(LabelError):
        accept(new_case(tmp_path, tmp_path / "other"), Silent())
    assert open_cases(tmp_path / "other").table == LabelTable.from_names({"heart": 3})
