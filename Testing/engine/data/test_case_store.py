"""Growing a cases folder without ever losing a label."""

import gzip
import itertools
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crgloco.data.case_check import check
from crgloco.data.case_files import assert_case_name
from crgloco.data.case_store import accept_label, add_case, create_cases, revisions
from crgloco.data.cases import open_cases
from crgloco.data.provenance import Provenance, content_hash, source_hash
from crgloco.errors import CasesError, GeometryError, InputError, LabelError, ResourceError
from crgloco.folder_lock import LOCK
from crgloco.io.files import find_volumes, read_geometry, read_volume, write_volume
from crgloco.io.orientation import Orientation
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import LabelTable
from phantoms import two_ellipsoids, write_cases_folder

SHAPE = (6, 8, 8)
OBLIQUE = ((0.8, -0.6, 0.0), (0.6, 0.8, 0.0), (0.0, 0.0, -1.0))
GRID = Geometry(SHAPE, (2.0, 1.0, 1.5), (10.0, -20.0, 30.0), OBLIQUE)
TABLE = LabelTable.from_names({"large": 1, "small": 2})


def image(seed: int = 0) -> Volume:
    return Volume(two_ellipsoids(SHAPE, seed)[0], GRID)


def label(seed: int = 0) -> Volume:
    return Volume(two_ellipsoids(SHAPE, seed)[1], GRID)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "cases"
    create_cases(root, TABLE, ["MR"])
    add_case(root, "first", [image(0)], label(0))
    add_case(root, "second", [image(1)])
    return root


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def training(root: Path) -> int:
    return int(json.loads((root / "dataset.json").read_text())["numTraining"])


def test_a_made_folder_is_open_at_once_and_keeps_its_table(tmp_path: Path) -> None:
    table = LabelTable.from_json([{"value": 4, "name": "liver", "colour": [9, 8, 7], "terminology": "t"}])
    folder = create_cases(tmp_path / "new", table, ["CT", "PET"])
    assert folder.table == table
    assert folder.channel_names == ("CT", "PET")
    assert folder == open_cases(tmp_path / "new")
    with pytest.raises(CasesError, match="already"):
        create_cases(tmp_path / "new", table, ["CT"])


def test_a_folder_needs_a_channel_and_a_known_ending(tmp_path: Path) -> None:
    with pytest.raises(CasesError, match="channel name"):
        create_cases(tmp_path / "a", TABLE, [])
    with pytest.raises(CasesError, match="ending"):
        create_cases(tmp_path / "a", TABLE, ["CT"], file_ending=".jpg")


def test_added_cases_lie_where_nnunet_looks_for_them(root: Path) -> None:
    assert files(root) == {
        *("dataset.json", "crgloco.json", "imagesTr/first_0000.nii.gz"),
        *("labelsTr/first.nii.gz", "imagesUl/second_0000.nii.gz"),
    }
    assert training(root) == 1
    assert [problem for problem in check(root) if problem.severity == "error"] == []


def test_accepting_a_label_makes_an_unlabelled_case_a_labelled_one(root: Path) -> None:
    given = Provenance(model="starter", edits_voxels=12, edits_ml=0.036, annotator="radiologist")
    before = content_hash(root / "imagesUl/second_0000.nii.gz")
    path = accept_label(root, "second", label(1), given)
    folder = open_cases(root)
    assert [case.name for case in folder.labelled] == ["first", "second"]
    assert folder.unlabelled == ()
    assert training(root) == 2
    stored = read_volume(path)
    np.testing.assert_array_equal(stored.array, label(1).array)
    assert stored.geometry.same_grid(GRID)
    assert stored.array.dtype == np.uint8
    (record,) = revisions(root)["second"]
    assert (record.model, record.edits_voxels, record.annotator) == ("starter", 12, "radiologist")
    assert (record.revision, record.content_hash) == (1, content_hash(path))
    assert record.image_hashes == (before,)
    assert record.time_utc.endswith("+00:00")


@pytest.mark.skipif(os.name != "posix", reason="Windows lets few users make links")
@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_scan_that_imagestr_only_links_to_is_never_removed(root: Path, linked: str) -> None:
    images, waiting = root / "imagesTr", root / "imagesUl"
    scan = waiting / "second_0000.nii.gz"
    content = scan.read_bytes()
    if linked == "file":
        (images / scan.name).symlink_to(scan)
    else:
        for file in tuple(images.iterdir()):
            file.replace(waiting / file.name)
        images.rmdir()
        images.symlink_to(waiting)
    accept_label(root, "second", label(1), Provenance())
    assert scan.read_bytes() == content
    assert (images / scan.name).read_bytes() == content


def test_an_image_that_cannot_be_moved_stays_and_its_label_is_accepted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.unlink

    def unlink(path: Path, *, missing_ok: bool = False) -> None:
        if path.parent.name == "imagesUl" and path.suffix == ".gz":
            raise PermissionError(13, "somebody reads it")
        whole(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    accept_label(root, "second", label(1), Provenance())
    assert (root / "imagesUl/second_0000.nii.gz").exists()
    assert [case.name for case in open_cases(root).labelled] == ["first", "second"]
    assert training(root) == 2
    assert len(revisions(root)["second"]) == 1


def test_an_accepted_label_keeps_the_one_before(root: Path) -> None:
    first = content_hash(root / "labelsTr/first.nii.gz")
    for number in (1, 2):
        accept_label(root, "first", label(number), Provenance())
    assert [record.revision for record in revisions(root)["first"]] == [1, 2, 3]
    assert content_hash(root / "labelsTr_revisions/first.r001.nii.gz") == first
    np.testing.assert_array_equal(
        read_volume(root / "labelsTr_revisions/first.r002.nii.gz").array, label(1).array
    )
    np.testing.assert_array_equal(read_volume(root / "labelsTr/first.nii.gz").array, label(2).array)
    accept_label(root, "first", label(2), Provenance())
    assert revisions(root)["first"][-1].revision == 4


def test_a_label_of_unknown_origin_counts_as_the_first_revision(tmp_path: Path) -> None:
    root = write_cases_folder(tmp_path, 2, 1, shape=SHAPE)
    grid = read_geometry(root / "imagesTr/phantom_000_0000.nii.gz")
    accept_label(root, "phantom_000", Volume(label(3).array, grid), Provenance())
    assert [record.revision for record in revisions(root)["phantom_000"]] == [2]
    assert (root / "labelsTr_revisions/phantom_000.r001.nii.gz").exists()


def test_a_revision_that_is_kept_is_never_overwritten(root: Path) -> None:
    accept_label(root, "first", label(1), Provenance())
    (root / "labelsTr_revisions/first.r002.nii.gz").write_bytes(b"precious")
    path = accept_label(root, "first", label(2), Provenance())
    assert (root / "labelsTr_revisions/first.r002.nii.gz").read_bytes() == b"precious"
    assert revisions(root)["first"][-1].revision == 4
    np.testing.assert_array_equal(read_volume(path).array, label(2).array)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (
            Volume(label().array, Geometry(SHAPE, (2.0, 1.0, 1.5), (10.0, -20.0, 31.0), OBLIQUE)),
            GeometryError,
        ),
        (
            Volume(label().array[:5], Geometry((5, 8, 8), (2.0, 1.0, 1.5), GRID.origin, OBLIQUE)),
            GeometryError,
        ),
        (Volume(np.where(label().array == 2, 9, label().array), GRID), LabelError),
        (Volume(label().array * 0.5, GRID), LabelError),
    ],
)
def test_a_label_that_does_not_fit_is_refused_and_nothing_changes(
    root: Path, wrong: Volume, kind: type[Exception]
) -> None:
    before = files(root), content_hash(root / "labelsTr/first.nii.gz"), revisions(root)
    with pytest.raises(kind, match="first"):
        accept_label(root, "first", wrong, Provenance())
    assert (files(root), content_hash(root / "labelsTr/first.nii.gz"), revisions(root)) == before


ALL_48 = [
    Orientation(order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]


@pytest.mark.parametrize("way", ALL_48[1::7])
def test_a_label_with_turned_axes_is_stored_on_the_grid_of_its_image(root: Path, way: Orientation) -> None:
    path = accept_label(root, "first", way.apply(label(1)), Provenance())
    stored = read_volume(path)
    assert stored.geometry.same_grid(GRID)
    np.testing.assert_array_equal(stored.array, label(1).array)


def test_a_further_channel_with_turned_axes_is_stored_on_the_grid_of_the_first(tmp_path: Path) -> None:
    root = tmp_path / "two"
    create_cases(root, TABLE, ["T1", "T2"])
    first, second = image(0), image(1)
    add_case(root, "both", [first, Orientation(flips=(True, True, False)).apply(second)])
    stored = read_volume(root / "imagesUl/both_0001.nii.gz")
    assert stored.geometry.same_grid(first.geometry)
    np.testing.assert_array_equal(stored.array, second.array)


@pytest.mark.parametrize("way", ALL_48[::7])
@pytest.mark.parametrize("voxels", [0.5, 1.0, -1.0])
def test_a_label_with_turned_axes_that_lies_beside_its_image_is_refused(
    root: Path, way: Orientation, voxels: float
) -> None:
    beside = tuple((GRID.affine @ [voxels, 0.0, 0.0, 1.0])[:3].tolist())
    wrong = way.apply(Volume(label(1).array, replace(GRID, origin=beside)))
    before = content_hash(root / "labelsTr/first.nii.gz")
    with pytest.raises(GeometryError, match="first and its image lie on different grids"):
        accept_label(root, "first", wrong, Provenance())
    assert content_hash(root / "labelsTr/first.nii.gz") == before


def test_a_case_that_lacks_a_channel_gets_no_label_and_nothing_changes(root: Path) -> None:
    path = root / "imagesUl/second_0000.nii.gz"
    path.rename(root / "imagesTr/second_0001.nii.gz")
    before = files(root)
    with pytest.raises(CasesError, match=r"second has no channel 0: found .*second_0001\.nii\.gz instead"):
        accept_label(root, "second", label(1), Provenance())
    assert files(root) == before


def test_a_case_that_does_not_exist_cannot_get_a_label(root: Path) -> None:
    with pytest.raises(CasesError, match="no case 'third'"):
        accept_label(root, "third", label(), Provenance())


def test_a_full_disk_leaves_the_old_label_valid(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(volume: Volume, path: Path) -> None:
        path.write_bytes(b"half")
        msg = "The disk is full."
        raise ResourceError(msg)

    before = files(root), content_hash(root / "labelsTr/first.nii.gz")
    monkeypatch.setattr("crgloco.data.case_store.write_volume", full)
    with pytest.raises(ResourceError):
        accept_label(root, "first", label(1), Provenance())
    assert (files(root), content_hash(root / "labelsTr/first.nii.gz")) == before


def test_a_first_label_that_could_not_be_recorded_is_not_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would count as a label that shows all structures, whatever its provenance said."""

    def full(root: Path, manifest: object) -> None:
        msg = "The disk is full."
        raise ResourceError(msg)

    before = files(root)
    with monkeypatch.context() as patched:
        patched.setattr("crgloco.data.case_store.write_manifest", full)
        with pytest.raises(ResourceError):
            accept_label(root, "second", label(1), Provenance(structures=("large",)))
    assert files(root) == before
    assert open_cases(root).find("second").label is None


def test_the_disk_has_a_label_and_a_copied_image_before_what_was_there_goes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = set()
    whole = os.fsync

    def fsync(descriptor: int) -> None:
        settled.add(os.fstat(descriptor).st_ino)
        whole(descriptor)

    def no_links(path: Path, target: Path) -> None:
        raise PermissionError(1, "this disk knows no links")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    path = accept_label(root, "second", label(1), Provenance())
    assert {path.stat().st_ino, (root / "imagesTr/second_0000.nii.gz").stat().st_ino} <= settled


def test_a_damaged_scan_of_another_case_does_not_keep_a_label_from_being_accepted(root: Path) -> None:
    waiting = root / "imagesUl/other.nrrd"
    write_volume(image(2), waiting)
    waiting.write_bytes(waiting.read_bytes()[:-100])
    write_volume(label(2), root / "labelsTr/other.nii.gz")
    accept_label(root, "second", label(1), Provenance())
    assert [record.revision for record in revisions(root)["second"]] == [1]
    assert training(root) == 2
    assert waiting.exists()
    assert "other" in {problem.case for problem in check(root) if problem.severity == "error"}


def test_files_of_another_format_and_dicom_series_are_converted(tmp_path: Path, data_root: Path) -> None:
    root = tmp_path / "cases"
    create_cases(root, TABLE, ["MR"])
    write_volume(image(2), tmp_path / "scan.nrrd")
    add_case(root, "nrrd", [tmp_path / "scan.nrrd"])
    write_volume(image(3), root / "imagesUl" / "loose.mha")
    (source,) = find_volumes(data_root / "dicom" / "STS_008_MR_T1_rtstruct")
    add_case(root, "dicom", [source])
    np.testing.assert_array_equal(read_volume(root / "imagesUl/nrrd_0000.nii.gz").array, image(2).array)
    accept_label(root, "loose", label(3), Provenance())
    np.testing.assert_array_equal(read_volume(root / "imagesTr/loose_0000.nii.gz").array, image(3).array)
    assert [case.name for case in open_cases(root).labelled] == ["loose"]
    assert [case.name for case in open_cases(root).unlabelled] == ["dicom", "nrrd"]
    assert [problem for problem in check(root) if problem.severity == "error"] == []


def test_a_file_in_the_folders_format_stays_byte_for_byte_what_it_was(tmp_path: Path) -> None:
    root = tmp_path / "cases"
    create_cases(root, TABLE, ["MR"])
    write_volume(image(2), tmp_path / "scan.nii")
    packed = gzip.compress((tmp_path / "scan.nii").read_bytes(), 1)
    (tmp_path / "scan.nii.gz").write_bytes(packed)
    add_case(root, "third", [tmp_path / "scan.nii.gz"])
    assert (root / "imagesUl/third_0000.nii.gz").read_bytes() == packed
    (root / "imagesTr").rmdir()  # as in a folder that never had a label
    accept_label(root, "third", label(2), Provenance(time_utc="2026-01-02T03:04:05+00:00"))
    assert (root / "imagesTr/third_0000.nii.gz").read_bytes() == packed
    (record,) = revisions(root)["third"]
    assert record.image_hashes == (content_hash(root / "imagesTr/third_0000.nii.gz"),)
    assert record.time_utc == "2026-01-02T03:04:05+00:00"


def test_a_case_of_several_channels_and_a_label_file_is_added_whole(tmp_path: Path) -> None:
    root = tmp_path / "cases"
    create_cases(root, TABLE, ["T1", "T2"], file_ending=".nrrd")
    write_volume(label(), tmp_path / "drawn.mha")
    case = add_case(
        root, "both", [image(0), image(1)], tmp_path / "drawn.mha", provenance=Provenance(model="m")
    )
    assert [source.path.name for source in case.channels] == ["both_0000.nrrd", "both_0001.nrrd"]
    assert revisions(root)["both"][0].model == "m"
    assert check(root)[0].text.endswith("Label another one.")
    with pytest.raises(CasesError, match="1 channels"):
        add_case(root, "one", [image(0)])
    shifted = Volume(image(1).array, Geometry(SHAPE, (2.0, 1.0, 1.5), (0.0, 0.0, 0.0), OBLIQUE))
    with pytest.raises(GeometryError, match="Channels 1 and 0"):
        add_case(root, "shifted", [image(0), shifted])


def test_an_image_that_shows_nothing_is_not_added(root: Path) -> None:
    with pytest.raises(InputError, match="channel 0 of blank"):
        add_case(root, "blank", [Volume(np.zeros(SHAPE), GRID)])
    assert not any("blank" in name for name in files(root))


@pytest.mark.parametrize("name", ["first", "SECOND"])
def test_a_name_that_is_taken_is_refused(root: Path, name: str) -> None:
    with pytest.raises(CasesError, match="already"):
        add_case(root, name, [image(7)])


def test_a_name_that_macos_takes_for_another_one_is_refused(root: Path) -> None:
    composed, apart = "M\u00fcller", "Mu\u0308ller"
    add_case(root, apart, [image(7)], label(7))
    with pytest.raises(CasesError, match="already"):
        add_case(root, composed, [image(8)])


def test_what_is_left_of_adding_a_case_is_completed_with_the_same_scans_only(tmp_path: Path) -> None:
    root = tmp_path / "two"
    create_cases(root, TABLE, ["T1", "T2"])
    write_volume(image(0), root / "imagesUl/both_0000.nii.gz")
    with pytest.raises(CasesError, match="already"):
        add_case(root, "both", [image(7), image(8)])
    np.testing.assert_array_equal(read_volume(root / "imagesUl/both_0000.nii.gz").array, image(0).array)
    add_case(root, "both", [image(0), image(8)])
    assert len(open_cases(root).find("both").channels) == 2


@pytest.mark.parametrize("left", [0, 1])
def test_a_labelled_case_that_lost_a_channel_gets_none_of_another_scan(tmp_path: Path, left: int) -> None:
    root = tmp_path / "two"
    create_cases(root, TABLE, ["T1", "T2"])
    add_case(root, "both", [image(0), image(1)], label(0))
    (root / f"imagesTr/both_{1 - left:04d}.nii.gz").unlink()
    before = files(root), content_hash(root / "labelsTr/both.nii.gz")
    with pytest.raises(CasesError, match="already"):
        add_case(root, "both", [image(5), image(6)], label(5))
    assert (files(root), content_hash(root / "labelsTr/both.nii.gz")) == before


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "a\\b",
        " a",
        "a ",
        "a.",
        ".a",
        "a:b",
        "a\nb",
        "nul",
        "COM1.x",
        "a*",
        "x" * 201,
        "M\udcfcller",
    ],
)
def test_names_that_are_no_file_names_everywhere_are_refused(root: Path, name: str) -> None:
    with pytest.raises(CasesError, match="case name"):
        add_case(root, name, [image()])


@pytest.mark.parametrize("name", ["case_01", "Fall 7", "Ümläut", "日本", "a_0000", "a.b"])
def test_other_names_work_from_adding_to_accepting(root: Path, name: str) -> None:
    assert_case_name(name)
    add_case(root, name, [image(5)], label(5))
    assert open_cases(root).find(name).label is not None
    assert training(root) == 2


def die_before_change(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End this process before it changes the disk for the given time."""
    changes = itertools.count()
    for owner, name in (
        (os, "open"),
        (Path, "replace"),
        (Path, "rename"),
        (Path, "unlink"),
        (Path, "hardlink_to"),
        (Path, "mkdir"),
        (Path, "write_bytes"),
    ):
        original = getattr(owner, name)

        def watched(*args: object, _original: Callable[..., object] = original, **options: object) -> object:
            if next(changes) == number:
                os._exit(9)
            return _original(*args, **options)

        monkeypatch.setattr(owner, name, watched)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is killed by forking")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("case", ["first", "second"])
def test_killed_anywhere_the_folder_is_valid_and_the_next_accept_finishes(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(40):
        root = tmp_path / f"cases{step}"
        create_cases(root, TABLE, ["T1", "T2"])
        add_case(root, "first", [image(0), image(10)], label(0))
        add_case(root, "second", [image(1), image(11)])
        child = os.fork()
        if child == 0:
            die_before_change(step, monkeypatch)
            accept_label(root, case, label(3), Provenance())
            os._exit(0)
        finished = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [problem for problem in check(root) if problem.severity == "error"] == []
        folder = open_cases(root)
        assert {one.name for one in (*folder.labelled, *folder.unlabelled)} == {"first", "second"}
        accept_label(root, case, label(4), Provenance())
        np.testing.assert_array_equal(read_volume(root / f"labelsTr/{case}.nii.gz").array, label(4).array)
        if case == "first":
            kept = root / "labelsTr_revisions/first.r001.nii.gz"
            np.testing.assert_array_equal(read_volume(kept).array, label(0).array)
        assert training(root) == (1 if case == "first" else 2)
        assert len(list((root / "imagesUl").glob("second_*"))) == (2 if case == "first" else 0)
        assert not (root / LOCK).exists()
        if finished:
            assert step > 5
            return
    pytest.fail("the child never finished")


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    root = tmp_path / "cases"
    create_cases(root, TABLE, ["MR"])
    for number in range(4):
        add_case(root, f"case{number}", [image(number)])
    work = [(f"case{number % 4}", number) for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda item: accept_label(root, item[0], label(item[1]), Provenance()), work))
    history = revisions(root)
    assert [[record.revision for record in history[f"case{n}"]] for n in range(4)] == [[1, 2, 3]] * 4
    assert training(root) == 4
    assert len(list((root / "labelsTr_revisions").iterdir())) == 8


def test_content_hashes_follow_bytes_not_names(tmp_path: Path, data_root: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abc")
    expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b") == expected
    with pytest.raises(InputError, match="missing"):
        content_hash(tmp_path / "missing")
    for folder, names in (("one", "xy"), ("two", "ba")):
        (tmp_path / folder).mkdir()
        for name, content in zip(names, (b"1", b"2"), strict=True):
            (tmp_path / folder / name).write_bytes(content)
    assert content_hash(tmp_path / "one") == content_hash(tmp_path / "two")
    (source,) = find_volumes(data_root / "dicom" / "STS_008_MR_T1_rtstruct")
    assert source_hash(source).startswith("sha256:")


@pytest.mark.parametrize(("suffix", "key"), [(".mhd", "ElementDataFile = "), (".nhdr", "data file: ")])
def test_a_header_is_hashed_with_its_data_file(tmp_path: Path, suffix: str, key: str) -> None:
    header = tmp_path / f"scan{suffix}"
    header.write_text(f"NDims = 3\n{key}scan.raw\n")
    (tmp_path / "scan.raw").write_bytes(b"1")
    before = content_hash(header)
    (tmp_path / "scan.raw").write_bytes(b"2")
    assert content_hash(header) != before
    header.write_text(f"NDims = 3\n{key}LOCAL\n")
    assert content_hash(header)


@pytest.mark.parametrize(
    ("suffix", "named"),
    [
        (".nhdr", "data file: s_%02d.raw 0 2 1 2"),
        (".nhdr", "data file: s_%02d.raw 2 0 -1"),
        (".nhdr", "data file: LIST\ns_00.raw\ns_01.raw\ns_02.raw"),
        (".nhdr", "data file: LIST 2\ns_00.raw\ns_01.raw\ns_02.raw"),
        (".mhd", "ElementDataFile = s_%02d.raw 0 2 1"),
        (".mhd", "ElementDataFile = LIST\ns_00.raw\ns_01.raw\ns_02.raw"),
        (".mhd", "ElementDataFile = LIST 2\ns_00.raw\ns_01.raw\ns_02.raw"),
    ],
)
def test_a_header_is_hashed_with_every_slice_file_in_its_order(
    tmp_path: Path, suffix: str, named: str
) -> None:
    header, slices = tmp_path / f"scan{suffix}", [tmp_path / f"s_{n:02d}.raw" for n in range(3)]
    size = "NDims = 3\nDimSize = 1 1 3\n" if suffix == ".mhd" else ""
    header.write_text(f"{size}{named}\n")
    hashes = set()
    for content in ("abc", "acb", "xbc", "axc", "abx"):
        for file, letter in zip(slices, content, strict=True):
            file.write_text(letter)
        hashes.add(content_hash(header))
    assert len(hashes) == 5
    (slices[2]).unlink()
    with pytest.raises(InputError, match=r"s_02\.raw"):
        content_hash(header)


def test_provenance_survives_json_and_knows_no_other_fields() -> None:
    given = Provenance(model="m", edits_voxels=3, edits_ml=0.1, image_hashes=("sha256:1",), revision=2)
    assert Provenance.from_json(json.loads(json.dumps(given.to_json()))) == given
    with pytest.raises(CasesError, match="patient"):
        Provenance.from_json({"patient": "somebody"})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_nnunets_own_integrity_check_passes(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    multiprocessing = pytest.importorskip("multiprocessing.pool")
    integrity = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    import nnunetv2.utilities.utils as nnunet_utils

    class Context:
        """Threads instead of processes: the same checks, in a second."""

        Pool = staticmethod(multiprocessing.ThreadPool)

    monkeypatch.setattr(integrity.multiprocessing, "get_context", lambda _kind: Context)
    monkeypatch.setattr(nnunet_utils, "Pool", multiprocessing.ThreadPool)
    integrity.verify_dataset_integrity(str(root), 2)
    accept_label(root, "second", label(1), Provenance())
    accept_label(root, "first", label(2), Provenance())
    integrity.verify_dataset_integrity(str(root), 2)
    printed = capsys.readouterr().out
    assert printed.count("verify_dataset_integrity Done") == 2
    assert "Error" not in printed
    assert "Warning" not in printed
