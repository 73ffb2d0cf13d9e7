"""Everything that is wrong with a cases folder is named before anything starts."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from crgloco.data.case_check import check
from crgloco.data.cases import open_cases
from crgloco.errors import Cancelled
from crgloco.io.files import read_geometry, read_volume, write_volume
from crgloco.io.orientation import Orientation
from crgloco.io.volume import Geometry, Volume
from crgloco.progress import Silent
from phantoms import two_ellipsoids, write_cases_folder

SHAPE = (6, 8, 8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_cases_folder(tmp_path / "cases", 4, 2, shape=SHAPE)


def problems(root: Path, severity: str = "error") -> dict[str, str]:
    return {problem.case: problem.text for problem in check(root) if problem.severity == severity}


def replace_image(root: Path, case: str, array: np.ndarray) -> None:
    path = next(root.glob(f"images*/{case}_0000.nii.gz"))
    write_volume(Volume(array, read_geometry(path)), path)


def split(root: Path, *validation: str) -> None:
    (root / "crgloco.json").write_text(json.dumps({"format": 1, "split": {"validation": list(validation)}}))


def test_a_good_folder_has_no_problems(root: Path) -> None:
    assert check(root) == ()
    assert check(open_cases(root)) == ()


@pytest.mark.parametrize("case", ["phantom_001", "phantom_004"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text", ""),
        ("empty", ""),
        ("cut", ""),
        ("nan", "NaN"),
        ("infinite", "infinite"),
        ("constant", "same number"),
    ],
)
def test_images_that_cannot_be_used_are_named(root: Path, case: str, name: str, words: str) -> None:
    path = next(root.glob(f"images*/{case}_0000.nii.gz"))
    array = two_ellipsoids(SHAPE, 1)[0]
    if name in {"text", "empty"}:
        path.write_bytes(b"no image" if name == "text" else b"")
    elif name == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    else:
        array[1, 2, 3] = {"nan": np.nan, "infinite": np.inf}.get(name, 0)
        replace_image(root, case, np.zeros_like(array) if name == "constant" else array)
    found = problems(root)
    assert list(found) == [case]
    assert str(path) in found[case]
    assert words in found[case]


@pytest.mark.parametrize("shape", [(8, 8), (2, 6, 8, 8), (1, 8, 8)])
def test_images_of_other_dimensions_are_named(root: Path, shape: tuple[int, ...]) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(0).random(shape, np.float32), isVector=False)
    path = root / "imagesUl/phantom_004_0000.nii.gz"
    sitk.WriteImage(image, str(path))
    assert str(path) in problems(root)["phantom_004"]


def test_a_truncated_gzip_inside_a_whole_file_is_named(root: Path) -> None:
    path = root / "imagesTr/phantom_002_0000.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-40]))
    assert "phantom_002" in problems(root)


def test_missing_and_surplus_channels_are_named(root: Path) -> None:
    shutil.copy(root / "imagesTr/phantom_001_0000.nii.gz", root / "imagesTr/phantom_001_0001.nii.gz")
    assert "2 channels" in problems(root)["phantom_001"]
    document = json.loads((root / "dataset.json").read_text())
    document["channel_names"] = {"0": "T1", "1": "T2"}
    (root / "dataset.json").write_text(json.dumps(document))
    found = problems(root)
    assert "1 channels; 2 are needed (T1, T2)" in found["phantom_000"]
    assert "phantom_001" not in found
    assert "same image" in problems(root, "warning")["phantom_001"]


def test_a_case_whose_first_channel_is_missing_is_named(root: Path) -> None:
    (root / "imagesTr/phantom_001_0000.nii.gz").rename(root / "imagesTr/phantom_001_0003.nii.gz")
    assert "no channel 0" in problems(root)["phantom_001"]


def test_a_label_on_another_grid_is_named_and_its_values_too(root: Path) -> None:
    path = root / "labelsTr/phantom_001.nii.gz"
    grid = read_geometry(path)
    moved = Geometry(grid.shape, grid.spacing, (5.0, 0.0, 0.0), grid.direction)
    write_volume(Volume(read_volume(path).array, moved), path)
    assert "different grids" in problems(root)["phantom_001"]
    write_volume(Volume(np.full(SHAPE, 7, np.uint8), grid), path)
    assert "Label value 7" in problems(root)["phantom_001"]


def test_a_label_with_turned_axes_is_usable_and_told(root: Path) -> None:
    path = root / "labelsTr/phantom_001.nii.gz"
    write_volume(Orientation(flips=(True, False, False)).apply(read_volume(path)), path)
    assert problems(root) == {}
    assert "run otherwise than those" in problems(root, "warning")["phantom_001"]


def test_a_channel_with_turned_axes_is_usable_and_told(tmp_path: Path) -> None:
    root = write_cases_folder(tmp_path / "pairs", 2, 0, shape=SHAPE, channels=2)
    path = root / "imagesTr/phantom_001_0001.nii.gz"
    write_volume(Orientation(flips=(True, False, False)).apply(read_volume(path)), path)
    assert problems(root) == {}
    assert f"The axes of the image {path} run otherwise" in problems(root, "warning")["phantom_001"]


@pytest.mark.parametrize("path", ["labelsTr/phantom_001.nii.gz", "imagesTr/phantom_001_0000.nii.gz"])
def test_a_link_to_a_file_that_was_not_fetched_is_named(root: Path, path: str) -> None:
    (root / path).unlink()
    (root / path).symlink_to("/annex/objects/key")
    assert "which does not exist. Fetch that file first" in problems(root)["phantom_001"]
    assert open_cases(root).find("phantom_001").label is not None


def test_empty_labels_and_labels_that_never_occur_are_told(root: Path) -> None:
    path = root / "labelsTr/phantom_001.nii.gz"
    write_volume(Volume(np.zeros(SHAPE, np.uint8), read_geometry(path)), path)
    assert "is empty" in problems(root, "warning")["phantom_001"]
    document = json.loads((root / "dataset.json").read_text())
    document["labels"]["third"] = 5
    (root / "dataset.json").write_text(json.dumps(document))
    texts = " ".join(problem.text for problem in check(root))
    assert "5 third is drawn in no case" in texts
    assert "gaps" in texts


def test_labels_without_image_and_images_without_label_are_told(root: Path) -> None:
    shutil.copy(root / "labelsTr/phantom_001.nii.gz", root / "labelsTr/lonely.nii.gz")
    (root / "labelsTr/phantom_002.nii.gz").unlink()
    assert "label without image" in problems(root)["lonely"]
    assert "no label" in problems(root, "warning")["phantom_002"]


def test_wrong_counts_and_strange_files_are_told(root: Path) -> None:
    (root / "imagesTr/notes.txt").write_text("x")
    (root / "imagesTr/phantom.nii.gz").write_text("x")
    (root / "labelsTr/phantom_000.nii.gz.77.part").write_text("x")
    (root / "imagesTr/._phantom_000_0000.nii.gz").write_text("x")
    (root / "train.list").write_text("phantom_000\nnowhere\n")
    shutil.move(root / "imagesUl/phantom_004_0000.nii.gz", root / "imagesTr")
    found = [problem for problem in check(root) if not problem.case]
    texts = "\n".join(problem.text for problem in found)
    assert {problem.severity for problem in found} == {"warning"}
    missing = "phantom.nii.gz is ignored: images are called <case>_0000.nii.gz"
    for words in ("notes.txt", missing, "interrupted write", "nowhere", "numTraining 4"):
        assert words in texts
    assert "._phantom" not in texts


@pytest.mark.parametrize("again", ["phantom_004", "phantom_003"])
def test_the_same_image_twice_is_a_leak(root: Path, again: str) -> None:
    original = read_volume(root / "imagesTr/phantom_000_0000.nii.gz")
    replace_image(root, again, original.array.astype(np.float64))  # other bytes, same voxels
    found = problems(root)
    assert list(found) == [again]
    assert "phantom_000" in found[again]
    assert "same image" in found[again]


@pytest.mark.parametrize("way", [Orientation(flips=(False, True, False)), Orientation((2, 1, 0))])
def test_an_image_that_a_converter_has_turned_round_is_the_same_image(root: Path, way: Orientation) -> None:
    original = read_volume(root / "imagesTr/phantom_000_0000.nii.gz")
    write_volume(way.apply(original), root / "imagesUl/phantom_004_0000.nii.gz")
    assert "same image" in problems(root)["phantom_004"]


def test_an_image_whose_place_was_lost_is_the_same_image_and_told_once(root: Path) -> None:
    array = read_volume(root / "imagesTr/phantom_000_0000.nii.gz").array
    nowhere = Geometry(array.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((-1, 0, 0), (0, -1, 0), (0, 0, 1)))
    write_volume(Volume(array, nowhere), root / "imagesUl/phantom_004_0000.nii.gz")
    assert [found.case for found in check(root) if "same image" in found.text] == ["phantom_004"]


def test_of_two_labelled_copies_the_one_that_teaches_goes(root: Path) -> None:
    replace_image(root, "phantom_003", read_volume(root / "imagesTr/phantom_000_0000.nii.gz").array)
    split(root, "phantom_003")
    found = problems(root)
    assert list(found) == ["phantom_000"]
    assert "validation" in found["phantom_000"]


def test_unlabelled_copies_are_only_a_warning(root: Path) -> None:
    replace_image(root, "phantom_005", read_volume(root / "imagesUl/phantom_004_0000.nii.gz").array)
    assert "phantom_005" in problems(root, "warning")
    assert problems(root) == {}


def test_validation_cases_must_exist_and_be_labelled(root: Path) -> None:
    split(root, "phantom_000", "phantom_004", "nowhere")
    found = problems(root, "warning")
    assert "has no label" in found["phantom_004"]
    assert "nowhere" in found[""]
    split(root, *(f"phantom_00{n}" for n in range(4)))
    assert "none is left to teach" in problems(root)[""]


def test_a_name_in_both_image_folders_is_refused_unless_it_is_the_same_image(root: Path) -> None:
    shutil.copy(root / "imagesTr/phantom_000_0000.nii.gz", root / "imagesUl/phantom_000_0000.nii.gz")
    assert check(root) == ()
    shutil.copy(root / "imagesTr/phantom_001_0000.nii.gz", root / "imagesUl/phantom_000_0000.nii.gz")
    assert "imagesUl" in problems(root)["phantom_000"]


def test_names_that_differ_in_case_only_are_told(root: Path) -> None:
    replace_image(root, "phantom_005", two_ellipsoids(SHAPE, 44)[0])
    (root / "imagesUl/phantom_005_0000.nii.gz").rename(root / "imagesUl/PHANTOM_004_0000.nii.gz")
    assert "upper and lower case" in " ".join(problems(root, "warning").values())


def test_names_that_differ_in_how_accents_are_stored_only_are_told(root: Path) -> None:
    for number, name in ((4, "M\u00fcller"), (5, "Mu\u0308ller")):
        (root / f"imagesUl/phantom_{number:03d}_0000.nii.gz").rename(root / f"imagesUl/{name}_0000.nii.gz")
    assert "one file on Windows or macOS" in " ".join(problems(root, "warning").values())


def test_a_label_changed_after_acceptance_is_told(root: Path) -> None:
    record = {"revision": 3, "content_hash": "sha256:0"}
    (root / "crgloco.json").write_text(json.dumps({"format": 1, "provenance": {"phantom_001": [record]}}))
    assert "changed after" in problems(root, "warning")["phantom_001"]


@pytest.mark.parametrize(
    ("labelled", "severity", "words"), [(0, "error", "no labelled"), (1, "warning", "one")]
)
def test_too_few_labelled_cases_are_told(tmp_path: Path, labelled: int, severity: str, words: str) -> None:
    root = write_cases_folder(tmp_path, labelled, 2, shape=SHAPE)
    assert words in problems(root, severity)[""]


def test_a_plain_folder_is_checked_too(tmp_path: Path) -> None:
    write_volume(Volume(two_ellipsoids(SHAPE)[0], Geometry(SHAPE, (1, 1, 1), (0, 0, 0))), tmp_path / "a.nrrd")
    (tmp_path / "b.nrrd").write_text("x")
    found = check(tmp_path)
    assert [(problem.case, problem.severity) for problem in found] == [("", "warning"), ("b", "error")]


def test_a_folder_that_cannot_be_opened_is_one_problem(root: Path) -> None:
    (root / "dataset.json").unlink()
    (problem,) = check(root)
    assert problem.severity == "error"
    assert problem.case == ""
    assert "dataset.json" in problem.text


def test_a_case_without_label_can_be_spared_and_one_with_a_label_cannot(root: Path) -> None:
    for name in ("imagesTr/phantom_001", "imagesUl/phantom_005"):
        (root / f"{name}_0000.nii.gz").write_bytes(b"")
    found = {problem.case: problem for problem in check(root) if problem.severity == "error"}
    assert {name: problem.spared for name, problem in found.items()} == {
        "phantom_001": False,
        "phantom_005": True,
    }


def test_a_check_tells_its_progress_and_can_be_stopped(root: Path) -> None:
    class Watcher(Silent):
        def __init__(self) -> None:
            self.done: list[int] = []

        def event(self, kind: str, **fields: int) -> None:
            assert kind == "progress"
            self.done.append(fields["done"])

        def check(self) -> None:
            if len(self.done) > 2:
                msg = "stop"
                raise Cancelled(msg)

    watcher = Watcher()
    with pytest.raises(Cancelled):
        check(root, watcher)
    assert watcher.done == [0, 1, 2]


@pytest.mark.data
@pytest.mark.parametrize("name", ["chaos_mr", "hippocampus"])
def test_real_folders_have_no_errors(data_root: Path, name: str) -> None:
    assert [problem for problem in check(data_root / name) if problem.severity == "error"] == []


@pytest.mark.parametrize(("case", "spared"), [("phantom_000", False), ("phantom_001", True)])
def test_a_case_without_its_second_channel_is_an_error_that_only_a_label_makes_serious(
    tmp_path: Path, case: str, *, spared: bool
) -> None:
    root = write_cases_folder(tmp_path / "pairs", 1, 1, shape=SHAPE, channels=2)
    image = next(root.glob(f"images*/{case}_0001.nii.gz"))
    image.rename(image.with_name(f"{case}_0002.nii.gz"))
    (problem,) = (problem for problem in check(root) if problem.severity == "error")
    assert (problem.case, problem.spared) == (case, spared)
    assert "has no channel 1: found" in problem.text
