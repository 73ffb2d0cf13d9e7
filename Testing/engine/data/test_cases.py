"""Opening a cases folder."""

import json
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from crgloco.data.case_split import draw_split
from crgloco.data.cases import Case, assert_channels, assert_no_gap, open_cases, open_unlabelled
from crgloco.data.prediction_record import KINDS, file_name
from crgloco.data.scans import case_of_channels, find_scans
from crgloco.errors import CasesError, LabelError
from crgloco.io.files import write_volume
from crgloco.io.volume import Geometry, Volume
from phantoms import edit_json, names, state, two_ellipsoids, write_cases_folder

Read = Callable[[Path], tuple[Case, ...]]

SHAPE = (6, 8, 8)
GRID = Geometry(SHAPE, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def write_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(Volume(two_ellipsoids(SHAPE, seed)[0], GRID), path)


def open_all(root: Path) -> tuple[Case, ...]:
    folder = open_cases(root)
    return (*folder.labelled, *folder.unlabelled)


def test_opening_tells_labelled_from_unlabelled_and_writes_nothing(root: Path) -> None:
    before = state(root)
    folder = open_cases(root)
    assert names(folder.labelled) == [f"phantom_{n:03d}" for n in range(5)]
    assert names(folder.unlabelled) == ["phantom_005", "phantom_006"]
    assert folder.table is not None
    assert folder.table.names == ("background", "large", "small")
    assert folder.channel_names == ("MR",)
    assert folder.validation == ()
    assert state(root) == before


def test_train_list_gives_the_order_and_later_cases_follow(root: Path) -> None:
    (root / "train.list").write_text("phantom_003\nphantom_001\nnowhere\nphantom_003\n")
    expected = [f"phantom_{n:03d}" for n in (3, 1, 0, 2, 4)]
    assert names(open_cases(root).labelled) == expected


def test_a_plain_folder_of_volumes_is_unlabelled(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a_2019.nrrd", "c_0000.mha"):
        write_image(tmp_path / name)
    (tmp_path / "._b.nii.gz").write_bytes(b"macOS")
    folder = open_cases(tmp_path)
    assert folder.table is None
    assert names(folder.unlabelled) == ["a_2019", "b", "c"]
    assert folder.labelled == ()
    assert names(open_unlabelled(tmp_path, 1)) == ["a_2019", "b", "c"]


def write_results(folder: Path, *cases: str) -> None:
    for case in cases:
        for kind in KINDS:
            write_image(folder / file_name(case, kind))
    edit_json(folder / "predictions.json", format=1, begun=list(cases))


def test_results_beside_the_scans_are_no_scans(tmp_path: Path) -> None:
    for name in ("a_0000.nii.gz", "b.nrrd", "other_confidence.nii.gz"):
        write_image(tmp_path / name)
    write_results(tmp_path, "a", "b")
    assert names(open_unlabelled(tmp_path, 1)) == names(open_all(tmp_path)) == ["a", "b", "other_confidence"]
    assert names(find_scans(tmp_path / "a_0000.nii.gz", 1)) == ["a"]


def test_a_scan_that_takes_the_place_of_one_that_failed_is_a_scan(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nii.gz")
    failed = {"case": "a", "error": "a.nrrd is empty."}
    edit_json(tmp_path / "predictions.json", format=1, begun=["a"], cases=[failed])
    assert names(open_unlabelled(tmp_path, 1)) == ["a"]
    edit_json(
        tmp_path / "predictions.json", hashes={"a.nii.gz": "sha256:0"}
    )  # an earlier prediction went well
    with pytest.raises(CasesError, match="holds no scans but results"):
        open_unlabelled(tmp_path, 1)


def test_a_folder_of_results_alone_holds_no_scans(tmp_path: Path) -> None:
    write_results(tmp_path, "a")
    with pytest.raises(CasesError, match="holds no scans but results of predictions"):
        open_unlabelled(tmp_path, 1)


def test_volumes_below_a_folder_are_named_as_such(tmp_path: Path) -> None:
    file = tmp_path / "sub-01" / "anat" / "sub-01_T2w.nii.gz"
    file.parent.mkdir(parents=True)
    write_image(file)
    with pytest.raises(CasesError, match=r"not below it, as .*sub-01_T2w\.nii\.gz is"):
        open_unlabelled(tmp_path, 1)


def test_channels_of_a_case_are_put_together_in_order(tmp_path: Path) -> None:
    for case in ("x", "y"):
        for number in (1, 0):
            write_image(tmp_path / f"{case}_{number:04d}.nii.gz")
    assert names(open_unlabelled(tmp_path, 1)) == ["x", "x_0001", "y", "y_0001"]
    cases = open_unlabelled(tmp_path, 2)
    assert [[source.path.name for source in case.channels] for case in cases] == [
        ["x_0000.nii.gz", "x_0001.nii.gz"],
        ["y_0000.nii.gz", "y_0001.nii.gz"],
    ]


@pytest.mark.parametrize("read", [open_all, partial(open_unlabelled, channels=2)])
@pytest.mark.parametrize("place", ["imagesTr", "imagesUl"])
def test_a_later_channel_never_takes_the_place_of_a_missing_one(
    tmp_path: Path, place: str, read: Read
) -> None:
    root = write_cases_folder(tmp_path / "cases", 1, 1, shape=SHAPE, channels=2)
    second = next((root / place).glob("*_0001.nii.gz"))
    third = second.rename(second.with_name(second.name.replace("_0001", "_0002")))
    name = second.name.removesuffix("_0001.nii.gz")
    cases = {case.name: case for case in read(root)}
    assert len(cases) == 2
    with pytest.raises(CasesError, match=f"{name} has no channel 1: found {re.escape(str(third))} instead"):
        assert_channels(cases.pop(name), ("T1", "T2"))
    (whole,) = cases.values()
    assert_channels(whole, ("T1", "T2"))


@pytest.mark.parametrize("read", [open_all, partial(open_unlabelled, channels=1)])
def test_a_single_file_of_another_channel_is_not_the_first_channel(root: Path, read: Read) -> None:
    image = root / "imagesTr/phantom_001_0000.nii.gz"
    image.rename(image.with_name("phantom_001_0001.nii.gz"))
    (case,) = (case for case in read(root) if case.name == "phantom_001")
    with pytest.raises(CasesError, match="phantom_001 has no channel 0: found"):
        assert_channels(case, ("MR",))


def test_in_a_plain_folder_of_several_channels_numbers_are_channels_too(tmp_path: Path) -> None:
    for number in (0, 2):
        write_image(tmp_path / f"x_{number:04d}.nii.gz")
    (case,) = open_unlabelled(tmp_path, 2)
    with pytest.raises(CasesError, match="x has no channel 1"):
        assert_channels(case, ("T1", "T2"))
    (pointed_at,) = find_scans(tmp_path / "x_0000.nii.gz", 2)
    with pytest.raises(CasesError, match="x has no channel 1"):
        assert_no_gap(pointed_at)


def test_channels_that_were_given_in_order_keep_it_whatever_their_files_are_called(tmp_path: Path) -> None:
    paths = [tmp_path / "T2_0005.nii.gz", tmp_path / "a_0000.nii.gz"]
    for path in paths:
        write_image(path)
    case = case_of_channels("given", paths)
    assert_channels(case, ("T2", "T1"))
    assert [source.path for source in case.channels] == paths


def test_a_cases_folder_read_as_unlabelled_gives_all_its_images(root: Path) -> None:
    assert names(open_unlabelled(root, 1)) == [f"phantom_{n:03d}" for n in range(7)]
    assert all(case.label is None for case in open_unlabelled(root, 1))


def test_dicom_series_are_unlabelled_cases(data_root: Path) -> None:
    cases = open_unlabelled(data_root / "dicom" / "STS_008_CT_rtstruct", 1)
    assert len(cases) == 1
    assert cases[0].channels[0].series_uid


def test_an_image_without_label_counts_as_unlabelled(root: Path) -> None:
    (root / "labelsTr/phantom_002.nii.gz").unlink()
    folder = open_cases(root)
    assert "phantom_002" in names(folder.unlabelled)
    assert "phantom_002" not in names(folder.labelled)


@pytest.mark.parametrize("make_folder", [False, True])
def test_a_missing_or_empty_folder_is_refused(tmp_path: Path, *, make_folder: bool) -> None:
    root = tmp_path / "none"
    if make_folder:
        root.mkdir()
    with pytest.raises(CasesError, match="none"):
        open_cases(root)
    with pytest.raises(CasesError, match="none"):
        open_unlabelled(root, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": {"background": 0, "organ": [1, 2]}}, "no regions"),
        ({"labels": {"0": "background", "1": "organ"}}, "MSD"),
        ({"labels": {"background": 0, "organ": 1, "ignore": 2}}, "ignore"),
        ({"labels": {"organ": 1}}, "background"),
        ({"labels": ["organ"]}, "map names"),
        ({"labels": {"background": 0}}, "empty"),
        ({"channel_names": {"1": "MR"}}, "channel_names"),
        ({"channel_names": {}}, "channel_names"),
        ({"channel_names": "MR"}, "channel_names"),
        ({"file_ending": ".png"}, "file ending"),
        ({"dataset": {}}, "'dataset'"),
    ],
)
def test_a_dataset_json_that_cannot_be_used_is_named(
    root: Path, changes: dict[str, object], words: str
) -> None:
    edit_json(root / "dataset.json", **changes)
    with pytest.raises((CasesError, LabelError), match=words) as caught:
        open_cases(root)
    assert "dataset.json" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", '{"labels": {}}'])
def test_a_dataset_json_that_is_no_json_or_incomplete_is_named(root: Path, text: str) -> None:
    (root / "dataset.json").write_text(text)
    with pytest.raises(CasesError, match=r"dataset\.json"):
        open_cases(root)


def test_a_missing_dataset_json_is_named(root: Path) -> None:
    (root / "dataset.json").unlink()
    with pytest.raises(CasesError, match=r"has no dataset\.json"):
        open_cases(root)


def test_colours_come_from_our_table_when_both_tables_agree(root: Path) -> None:
    labels = [
        {"value": 1, "name": "large", "colour": [1, 2, 3], "terminology": "a~b"},
        {"value": 2, "name": "small"},
    ]
    edit_json(root / "crgloco.json", format=1, labels=labels)
    table = open_cases(root).table
    assert table is not None
    assert table.labels[0].colour == (1, 2, 3)
    assert table.labels[0].terminology == "a~b"


@pytest.mark.parametrize(
    "labels",
    [
        [{"value": 1, "name": "small"}, {"value": 2, "name": "large"}],
        [{"value": 1, "name": "large"}],
        [{"value": 1, "name": "large"}, {"value": 2, "name": "small"}, {"value": 3, "name": "more"}],
    ],
)
def test_label_tables_in_conflict_are_refused_naming_both(
    root: Path, labels: list[dict[str, object]]
) -> None:
    edit_json(root / "crgloco.json", format=1, labels=labels)
    with pytest.raises(LabelError, match=r"crgloco\.json and .* dataset\.json"):
        open_cases(root)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"split": 3},
        {"split": {"validation": "phantom_000"}},
        {"provenance": []},
        {"provenance": {"a": [{"patient": "x"}]}},
        {"provenance": {"a": 5}},
        {"labels": [{"value": "one"}]},
    ],
)
def test_a_crgloco_json_that_cannot_be_used_is_refused(root: Path, changes: dict[str, object]) -> None:
    edit_json(root / "crgloco.json", **{"format": 1, **changes})
    with pytest.raises((CasesError, LabelError)):
        open_cases(root)


def test_a_case_is_found_by_name(root: Path) -> None:
    assert open_cases(root).find("phantom_006").label is None
    with pytest.raises(CasesError, match="nobody"):
        open_cases(root).find("nobody")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "labelled", "classes"),
    [("chaos_mr", 12, 5), ("hippocampus", 208, 3), ("la2018", 60, 2), ("btcv_ct", 12, 14)],
)
def test_real_folders_open_fast_in_the_order_of_their_list(
    data_root: Path, name: str, labelled: int, classes: int
) -> None:
    before = state(data_root / name)
    started = time.monotonic()
    folder = open_cases(data_root / name)
    assert time.monotonic() - started < 1
    assert len(folder.labelled) == labelled
    assert folder.table is not None
    assert folder.table.classes == classes
    assert names(folder.labelled) == (data_root / name / "train.list").read_text().split()
    assert draw_split(folder, store=False).validation
    assert state(data_root / name) == before


def test_labels_that_all_have_another_ending_than_the_description_says_are_not_passed_over(tmp_path) -> None:
    root = write_cases_folder(tmp_path / "cases", 2, 1)
    description = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**description, "file_ending": ".nrrd"}))
    with pytest.raises(CasesError, match=r"files end in .nrrd, but .*nii.gz does not"):
        open_cases(root)
