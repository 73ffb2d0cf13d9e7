"""Cases folders with label tables of their own become one, and nothing of them is lost or changed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crgloco.data.case_check import check
from crgloco.data.case_merging import merge_cases
from crgloco.data.case_store import accept_label, revisions
from crgloco.data.cases import CasesFolder, open_cases
from crgloco.data.provenance import Provenance
from crgloco.errors import Cancelled, CasesError, GeometryError, LabelError
from crgloco.io.files import read_geometry, read_volume, write_volume
from crgloco.io.label_files import read_label
from crgloco.io.volume import Geometry, Volume
from phantoms import write_cases_folder
from tiny_training import Recorder

SHAPE = (6, 8, 8)
OBLIQUE = ((0.8, -0.6, 0.0), (0.6, 0.8, 0.0), (0.0, 0.0, -1.0))


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return write_cases_folder(tmp_path / "livers", 3, 1, shape=SHAPE, only="large")


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return write_cases_folder(tmp_path / "spleens", 2, 2, shape=SHAPE, only="small", seed=50)


def rename(root: Path, **labels: int) -> None:
    document = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**document, "labels": {"background": 0, **labels}}))


def drawn(folder: CasesFolder, case: str) -> dict[str, np.ndarray]:
    """Structure -> voxels, of a label."""
    assert folder.table is not None
    classes = read_label(folder.find(case).label, folder.table).array
    return {
        name: classes == number for number, name in enumerate(folder.table.names) if (classes == number).any()
    }


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_the_table_is_the_union_and_every_label_shows_what_its_folder_knew(first: Path, second: Path) -> None:
    out = first.parent / "both"
    folder = merge_cases([first, second], out)
    assert folder.root == out
    assert folder.table is not None
    assert [(each.value, each.name) for each in folder.table.labels] == [(1, "large"), (2, "small")]
    assert len({each.colour for each in folder.table.labels}) == 2
    shown = {case.name: case.structures for case in folder.labelled}
    wanted = {f"livers_phantom_{n:03d}": ("large",) for n in range(3)}
    assert shown == wanted | {f"spleens_phantom_{n:03d}": ("small",) for n in range(2)}
    for root, only in ((first, "large"), (second, "small")):
        old = open_cases(root)
        for case in old.labelled:
            before, after = drawn(old, case.name), drawn(folder, f"{root.name}_{case.name}")
            assert set(after) == {"background", only}
            assert all(np.array_equal(before[name], after[name]) for name in before)


def test_one_that_opens_has_all_that_a_cases_folder_has_and_no_error(first: Path, second: Path) -> None:
    out = merge_cases([first, second], first.parent / "both").root
    document = json.loads((out / "dataset.json").read_text())
    assert (document["name"], document["numTraining"]) == ("both", 5)
    assert document["labels"] == {"background": 0, "large": 1, "small": 2}
    order = (out / "train.list").read_text().splitlines()
    assert [name.split("_")[0] for name in order] == ["livers", "spleens", "livers", "spleens", "livers"]
    assert len(json.loads((out / "crgloco.json").read_text())["split"]["validation"]) == 1
    waiting = {path.name.removesuffix("_0000.nii.gz") for path in (out / "imagesUl").iterdir()}
    assert waiting == {"livers_phantom_003", "spleens_phantom_002", "spleens_phantom_003"}
    assert [problem for problem in check(out) if problem.severity == "error"] == []
    assert [path.name for path in out.parent.iterdir() if ".part" in path.name] == []


def test_the_folders_stay_as_they_are_and_images_are_the_same_files(first: Path, second: Path) -> None:
    before = files(first), files(second)
    out = merge_cases([first, second], first.parent / "both").root
    assert (files(first), files(second)) == before
    image = "imagesTr/livers_phantom_000_0000.nii.gz"
    assert (out / image).samefile(first / "imagesTr/phantom_000_0000.nii.gz")


def test_where_links_are_impossible_images_are_copied(
    first: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    out = merge_cases([first, second], first.parent / "both").root
    old, new = first / "imagesTr/phantom_000_0000.nii.gz", out / "imagesTr/livers_phantom_000_0000.nii.gz"
    assert not new.samefile(old)
    assert new.read_bytes() == old.read_bytes()


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_a_label_comes_back_on_exactly_its_own_grid(first: Path, second: Path, ending: str) -> None:
    """Also where the folders differ in format: then the images are converted."""
    grid = Geometry(SHAPE, (2.0, 1.0, 1.5), (10.1, -20.3, 30.7), OBLIQUE)
    for place, name in (("imagesTr", "phantom_001_0000"), ("labelsTr", "phantom_001")):
        path = second / place / f"{name}.nii.gz"
        write_volume(Volume(read_volume(path).array, grid), path)
    if ending != ".nii.gz":
        for path in [*second.glob("imagesTr/*"), *second.glob("labelsTr/*")]:
            write_volume(read_volume(path), path.with_name(path.name.replace(".nii.gz", ending)))
            path.unlink()
        document = json.loads((second / "dataset.json").read_text())
        (second / "dataset.json").write_text(json.dumps({**document, "file_ending": ending}))
    before = read_geometry(second / f"labelsTr/phantom_001{ending}")
    out = merge_cases([first, second], first.parent / "both").root
    after = read_geometry(out / "labelsTr/spleens_phantom_001.nii.gz")
    if ending == ".nii.gz":
        assert after == before
    assert after.same_grid(before)
    assert read_geometry(out / "imagesTr/spleens_phantom_001_0000.nii.gz").same_grid(after)
    assert [problem for problem in check(out) if problem.severity == "error"] == []


def test_names_that_differ_only_in_case_are_one_structure_whatever_their_values(
    first: Path, second: Path
) -> None:
    rename(first, large=1, Liver=7)
    rename(second, LARGE=4, liver=1)
    folder = merge_cases([first, second], first.parent / "both")
    assert folder.table is not None
    assert folder.table.names == ("background", "large", "Liver")
    assert {case.structures for case in folder.labelled} == {None}
    old = drawn(open_cases(second), "phantom_000")
    assert np.array_equal(drawn(folder, "spleens_phantom_000")["Liver"], old["liver"])


def test_names_that_are_one_file_on_macos_are_told_apart(first: Path, second: Path, tmp_path: Path) -> None:
    """There the second image would be passed over, and its label would take the place of the first one's."""
    composed, apart = "M\u00fcller", "Mu\u0308ller"
    for root, name in ((first, composed), (second, apart)):
        (root / "imagesTr/phantom_000_0000.nii.gz").rename(root / f"imagesTr/{name}_0000.nii.gz")
        (root / "labelsTr/phantom_000.nii.gz").rename(root / f"labelsTr/{name}.nii.gz")
    names = {case.name for case in merge_cases([first, second], tmp_path / "both").labelled}
    assert {f"livers_{composed}", f"spleens_{apart}"} <= names


def test_an_earlier_record_of_a_structure_that_has_another_name_by_now_is_named(
    first: Path, second: Path, tmp_path: Path
) -> None:
    records = [{"revision": 1, "structures": ["lever"]}, {"revision": 2, "structures": ["large"]}]
    manifest = {"format": 1, "provenance": {"phantom_000": records}}
    (first / "crgloco.json").write_text(json.dumps(manifest))
    with pytest.raises(LabelError, match=r"phantom_000 in .*livers.crgloco\.json.*lever"):
        merge_cases([first, second], tmp_path / "both")


def test_names_that_do_not_clash_stay_and_clashing_ones_are_told_apart_for_good(
    first: Path, second: Path, tmp_path: Path
) -> None:
    for path in second.rglob("phantom_001*"):
        path.rename(path.with_name(path.name.replace("phantom_001", "own")))
    twin = write_cases_folder(tmp_path / "elsewhere" / "livers", 1, 0, shape=SHAPE, only="large", seed=90)
    folder = merge_cases([first, second, twin], tmp_path / "all")
    names = {case.name for case in folder.labelled}
    assert "own" in names
    assert {"livers_phantom_000", "livers_phantom_000-2", "spleens_phantom_000"} <= names
    assert len(names) == 6


def test_provenance_comes_along_and_a_new_revision_counts_on(first: Path, second: Path) -> None:
    label = read_volume(first / "labelsTr/phantom_000.nii.gz")
    given = Provenance(model="abc", edits_voxels=3, annotator="student", structures=("large",))
    for _ in range(2):
        accept_label(first, "phantom_000", label, given)
    before = revisions(first)["phantom_000"]
    assert [record.structures for record in before] == [None, None]
    out = merge_cases([first, second], first.parent / "both").root
    earlier, last = revisions(out)["livers_phantom_000"]
    assert earlier == replace(before[0], structures=("large",))
    assert (last.model, last.edits_voxels, last.time_utc) == ("abc", 3, before[1].time_utc)
    assert (last.revision, last.structures) == (before[1].revision, ("large",))
    accept_label(out, "livers_phantom_000", label, Provenance())
    assert revisions(out)["livers_phantom_000"][-1].revision == last.revision + 1
    assert revisions(out)["livers_phantom_000"][-1].structures == ("large",)


def test_a_merged_folder_is_merged_again_and_keeps_what_its_labels_show(
    first: Path, second: Path, tmp_path: Path
) -> None:
    both = merge_cases([first, second], tmp_path / "both").root
    third = write_cases_folder(tmp_path / "third", 1, 0, shape=SHAPE, seed=90)
    rename(third, kidney=1, small=2)
    folder = merge_cases([both, third], tmp_path / "all")
    shown = {case.name: case.structures for case in folder.labelled}
    assert shown["phantom_000"] == ("small", "kidney")
    assert shown["livers_phantom_000"] == ("large",)


def test_a_scan_that_is_labelled_in_one_folder_is_not_taken_again_as_unlabelled(
    first: Path, second: Path
) -> None:
    shutil.copy(first / "imagesTr/phantom_001_0000.nii.gz", second / "imagesUl/again.nii.gz")
    report = Recorder()
    folder = merge_cases([first, second], first.parent / "both", report)
    assert "again" not in {case.name for case in folder.unlabelled}
    (said,) = report.of_kind("message")
    assert "again" in said["text"]
    assert "left out" in said["text"]


def test_what_does_not_fit_together_is_refused_and_nothing_is_left(
    first: Path, second: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def refused(match: str, *roots: Path, error: type[Exception] = CasesError) -> None:
        with pytest.raises(error, match=match):
            merge_cases(roots, out)
        assert not out.exists()
        assert [path for path in tmp_path.iterdir() if ".part" in path.name] == []

    refused("at least two different", first)
    refused("at least two different", first, first)
    refused("plain folder of scans", first, second / "imagesUl")
    refused("is no folder", first, tmp_path / "nowhere")
    document = json.loads((second / "dataset.json").read_text())
    for channels in ({"0": "CT"}, {"0": "MR", "1": "MR"}):
        (second / "dataset.json").write_text(json.dumps({**document, "channel_names": channels}))
        refused(
            r"channels differ: MR in .*livers, .*CT|channels differ: MR in .*livers, MR, MR", first, second
        )
    (second / "dataset.json").write_text(json.dumps(document))
    rename(second, small=1, Small=2)
    refused("has small, Small: different by case only", first, second, error=LabelError)
    rename(second, small=1)
    copy = shutil.copy(
        first / "imagesTr/phantom_001_0000.nii.gz", second / "imagesTr/phantom_001_0000.nii.gz"
    )
    refused("one scan, labelled twice", first, second)
    write_volume(read_volume(second / "imagesUl/phantom_002_0000.nii.gz"), Path(copy))
    moved = second / "labelsTr/phantom_001.nii.gz"
    grid = read_geometry(moved)
    write_volume(Volume(read_volume(moved).array, Geometry(SHAPE, grid.spacing, (9.0, 0, 0))), moved)
    refused("different grids", first, second, error=GeometryError)


@pytest.mark.parametrize("place", ["imagesTr", "imagesUl"])
def test_a_case_that_lacks_a_channel_is_not_merged(tmp_path: Path, place: str) -> None:
    roots = [
        write_cases_folder(tmp_path / name, 1, 1, shape=SHAPE, only=name, seed=seed, channels=2)
        for name, seed in (("large", 0), ("small", 50))
    ]
    second = next((roots[1] / place).glob("*_0001.nii.gz"))
    second.rename(second.with_name(second.name.replace("_0001", "_0002")))
    with pytest.raises(CasesError, match=r"has no channel 1: found .*_0002\.nii\.gz instead"):
        merge_cases(roots, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["inner", "imagesTr/inner"])
def test_a_new_folder_inside_one_that_is_merged_is_refused(first: Path, second: Path, place: str) -> None:
    before = files(second)
    with pytest.raises(CasesError, match="which is merged and must stay as it is"):
        merge_cases([first, second], second / place)
    assert files(second) == before


def test_an_existing_folder_is_never_touched(first: Path, second: Path, tmp_path: Path) -> None:
    before = files(first)
    for taken in (first, tmp_path):
        with pytest.raises(CasesError, match="exists already"):
            merge_cases([first, second], taken)
    assert files(first) == before


@pytest.mark.parametrize("after", [3, 8, 14])
def test_an_interrupted_merge_leaves_nothing(first: Path, second: Path, tmp_path: Path, after: int) -> None:
    with pytest.raises(Cancelled):
        merge_cases([first, second], tmp_path / "out", Recorder(stop_after=after))
    assert {path.name for path in tmp_path.iterdir()} == {"livers", "spleens"}


def test_what_a_killed_merge_leaves_is_refused_as_cases(
    first: Path, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill runs no clean-up: here, the clean-up does nothing."""
    monkeypatch.setattr("crgloco.data.case_merging.shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(Cancelled):
        merge_cases([first, second], tmp_path / "out", Recorder(stop_after=14))
    (left,) = [path for path in tmp_path.iterdir() if path.name not in {"livers", "spleens"}]
    assert left.name.endswith(".part")
    with pytest.raises(CasesError, match=r"has no dataset\.json"):
        open_cases(left)
