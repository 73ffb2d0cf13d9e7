"""Every fault that a scan or a label can have, wherever a command meets it: named, and nothing is lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from crgloco.__main__ import main
from crgloco.data.case_split import draw_split
from crgloco.data.cases import open_cases
from crgloco.errors import Cancelled
from crgloco.io.files import read_volume
from phantoms import write_cases_folder

TINY = ["--device", "cpu", "--set", "local_window=12,16,16", "global_window=24,32,32", "width=4", "levels=3"]
DAMAGED, SOME_FAILED, STOPPED = 1, 3, 130


def written(array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def fault(path: Path) -> None:
        image = sitk.ReadImage(str(path))
        other = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
        if other.GetSize() == image.GetSize():
            other.CopyInformation(image)
        sitk.WriteImage(other, str(path))

    return fault


def with_voxel(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[3, 4, 5] = value
        return array

    return change


def moved(path: Path) -> None:
    image = sitk.ReadImage(str(path))
    image.SetOrigin((5.0, 0.0, 0.0))
    sitk.WriteImage(image, str(path))


IMAGE_FAULTS = {
    "no image": lambda path: path.write_text("not an image"),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "2-D": written(np.zeros((32, 32), np.float32)),
    "4-D": written(np.random.default_rng(0).normal(size=(2, 6, 8, 8)).astype(np.float32)),
    "one voxel thin": changed(lambda array: array[:1]),
    "NaN": changed(with_voxel(np.nan)),
    "infinite": changed(with_voxel(np.inf)),
    "the same everywhere": changed(np.zeros_like),
}
LABEL_FAULTS = {
    "no image": IMAGE_FAULTS["no image"],
    "cut off": IMAGE_FAULTS["cut off"],
    "value outside the table": changed(with_voxel(9)),
    "another grid": moved,
    "another shape": changed(lambda array: array[:-1]),
}
images = pytest.mark.parametrize("fault", IMAGE_FAULTS.values(), ids=IMAGE_FAULTS)
labels = pytest.mark.parametrize("fault", LABEL_FAULTS.values(), ids=LABEL_FAULTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = write_cases_folder(tmp_path / "cases", 3, 2)
    draw_split(open_cases(root))
    return root


@pytest.fixture
def trained(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Train up to the first update; says which unlabelled scans would teach."""

    def fit(trainer):
        names = ", ".join(case.name for case in trainer.stream.unlabelled)
        msg = f"taught: {names} in voxels of {trainer.method.task.spacing} mm"
        raise Cancelled(msg)

    monkeypatch.setattr("crgloco.training.trainer.Trainer.fit", fit)
    words = ["train", "--cases", str(folder), "--out", str(tmp_path / "model"), "--iterations", "2"]
    return lambda *more: main([*words, *more] if "--start" in more else [*words, *TINY])


def image_of(root: Path, name: str) -> Path:
    return next(root.glob(f"images*/{name}_0000.nii.gz"))


def contents(root: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*.nii.gz")}


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.strip().splitlines()[-1]


@images
def test_a_scan_that_cannot_be_segmented_is_named_and_the_others_are_done(
    folder, tiny_model, tmp_path, capsys, fault
):
    fault(image_of(folder, "phantom_003"))
    before = contents(folder)
    words = ["predict", "--model", str(tiny_model), "--input", str(folder / "imagesUl"), "--device", "cpu"]
    assert main([*words, "--quality", "fast", "--out", str(tmp_path / "out")]) == SOME_FAILED
    said = capsys.readouterr().err
    assert "phantom_003" in said
    assert "Traceback" not in said
    made = {path.name for path in (tmp_path / "out").glob("*.nii.gz")}
    assert "phantom_004_0000.nii.gz" in made or "phantom_004.nii.gz" in made
    assert not [name for name in made if name.startswith("phantom_003")]
    assert contents(folder) == before


@images
def test_an_unlabelled_scan_that_cannot_be_used_is_left_out_of_the_training(folder, trained, capsys, fault):
    fault(image_of(folder, "phantom_003"))
    assert trained() == STOPPED
    said = capsys.readouterr().err
    assert "phantom_003 is left out of the unlabelled scans." in said
    assert "and 1 unlabelled cases" in said
    assert "taught: phantom_004" in said


@images
def test_a_labelled_scan_that_cannot_be_used_ends_the_training_before_it_begins(
    folder, trained, capsys, fault
):
    teacher = open_cases(folder).training[0]
    fault(teacher.channels[0].path)
    before = contents(folder)
    assert trained() == DAMAGED
    assert teacher.name in last_line(capsys)
    assert contents(folder) == before


@labels
@pytest.mark.parametrize("role", ["training", "validating"])
def test_a_label_that_cannot_be_used_ends_the_training_before_it_begins(folder, trained, capsys, role, fault):
    case = getattr(open_cases(folder), role)[0]
    assert case.label is not None
    fault(case.label)
    before = contents(folder)
    assert trained() == DAMAGED
    assert case.name in last_line(capsys)
    assert contents(folder) == before


@pytest.fixture
def no_text_beside(folder: Path, no_text: str) -> Path:
    """A cases folder one of whose unlabelled scans has a name that is no text."""
    image_of(folder, "phantom_003").rename(folder / "imagesUl" / f"{no_text}_0000.nii.gz")
    return folder


def test_a_name_that_is_no_text_is_told_and_the_other_scans_are_done(
    no_text_beside, tiny_model, tmp_path, capsys
):
    scans, out = no_text_beside / "imagesUl", tmp_path / "out"
    words = ["predict", "--model", str(tiny_model), "--input", str(scans), "--device", "cpu"]
    assert (
        main([*words, "--quality", "fast", "--out", str(out), "--json", str(tmp_path / "all")]) == SOME_FAILED
    )
    assert r"M\xfcller_0000.nii.gz has a name that is no valid text" in capsys.readouterr().err
    assert (out / "phantom_004.nii.gz").is_file()
    assert [case["case"] for case in json.loads((tmp_path / "all").read_bytes())["cases"]][1] == "phantom_004"


def test_a_check_tells_a_name_that_is_no_text(no_text_beside, capsys):
    assert main(["cases", "check", str(no_text_beside), "--json"]) == SOME_FAILED
    (problem,) = [one for one in json.loads(capsys.readouterr().out) if one["severity"] == "error"]
    assert r"M\xfcller_0000.nii.gz has a name that is no valid text" in problem["text"]


def test_a_scan_whose_name_is_no_text_is_left_out_of_the_training(no_text_beside, trained, tmp_path, capsys):
    assert trained("--unlabelled", str(no_text_beside / "imagesUl")) == STOPPED
    said = capsys.readouterr().err
    assert "left out of the unlabelled scans. " in said
    assert r"M\xfcller_0000.nii.gz has a name that is no valid text" in said
    assert "taught: phantom_004" in said


def without_second_channel(root: Path, name: str) -> None:
    path = next(root.glob(f"images*/{name}_0001.nii.gz"))
    path.rename(path.with_name(f"{name}_0002.nii.gz"))


def test_an_unlabelled_case_that_lacks_a_channel_is_left_out_of_the_training(folder, trained, capsys):
    write_cases_folder(folder, 3, 2, channels=2)
    without_second_channel(folder, "phantom_003")
    assert trained() == STOPPED
    said = capsys.readouterr().err
    assert "phantom_003 has no channel 1: found" in said
    assert "phantom_003 is left out of the unlabelled scans." in said
    assert "taught: phantom_004" in said


@pytest.mark.parametrize("role", ["training", "validating"])
def test_a_labelled_case_that_lacks_a_channel_ends_the_training_before_it_begins(
    folder, trained, capsys, role
):
    write_cases_folder(folder, 3, 2, channels=2)
    case = getattr(open_cases(folder), role)[0]
    without_second_channel(folder, case.name)
    assert trained() == DAMAGED
    assert f"{case.name} has no channel 1: found" in last_line(capsys)


def test_with_a_start_model_too_another_channel_never_teaches(folder, trained, tiny_model, capsys):
    case = open_cases(folder).training[0]
    path = case.channels[0].path
    path.rename(path.with_name(f"{case.name}_0001.nii.gz"))
    assert trained("--start", str(tiny_model)) == DAMAGED
    assert f"{case.name} has no channel 0: found" in last_line(capsys)


@images
def test_a_check_names_the_scan(folder, capsys, fault):
    fault(image_of(folder, "phantom_003"))
    assert main(["cases", "check", str(folder)]) == SOME_FAILED
    assert "error: phantom_003" in capsys.readouterr().out


@images
def test_a_check_for_a_method_tells_that_its_training_goes_on_without_the_scan(folder, capsys, fault):
    fault(image_of(folder, "phantom_003"))
    assert main(["cases", "check", str(folder), "--method", "cr_gloco"]) == 0
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "phantom_003" in line]
    assert told.startswith("warning: ")
    assert told.endswith("The training goes on without it.")


@labels
def test_a_check_names_the_label(folder, capsys, fault):
    fault(folder / "labelsTr" / "phantom_001.nii.gz")
    assert main(["cases", "check", str(folder)]) == SOME_FAILED
    assert "error: phantom_001" in capsys.readouterr().out


@images
def test_scans_of_which_none_can_be_used_pre_train_nothing(tmp_path, capsys, fault):
    root = write_cases_folder(tmp_path / "scans", 0, 2)
    for path in (root / "imagesUl").iterdir():
        fault(path)
    words = ["train", "--method", "pgl", "--cases", str(root / "imagesUl"), "--out", str(tmp_path / "model")]
    assert main([*words, "--iterations", "2", *TINY]) == DAMAGED
    said = last_line(capsys)
    assert "None of the scans can be used" in said
    assert "phantom_00" in said  # which one, and what is wrong with it
    assert not (tmp_path / "model").exists()


def test_a_ct_pre_training_is_fitted_on_the_scans_that_can_be_read(folder, trained, capsys, tmp_path):
    description = folder / "dataset.json"
    description.write_text(description.read_text().replace('"MR"', '"CT"'))
    for label in (folder / "labelsTr").iterdir():
        label.unlink()
    image_of(folder, "phantom_004").write_bytes(image_of(folder, "phantom_003").read_bytes()[:3000])
    words = ["train", "--method", "pgl", "--cases", str(folder), "--out", str(tmp_path / "encoder")]
    assert main([*words, "--iterations", "2", *TINY]) == STOPPED
    assert "phantom_004 is left out of the unlabelled scans." in capsys.readouterr().err


def test_what_is_left_out_does_not_shape_the_preparation(folder, trained, capsys):
    """Beside six scans with voxels of 9 mm, each of them faulty, the others are prepared as without them."""
    assert trained() == STOPPED
    before = taught(capsys)
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(image_of(folder, "phantom_003"))))
    for number in range(6):
        faulty = array.copy()
        faulty[number, 4, 5] = np.nan
        image = sitk.GetImageFromArray(faulty)
        image.SetSpacing((9.0, 9.0, 9.0))
        sitk.WriteImage(image, str(folder / "imagesUl" / f"coarse_{number}_0000.nii.gz"))
    assert trained() == STOPPED
    assert taught(capsys) == before


def taught(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "taught: " in line]
    return line.partition(" To go on")[0]


def test_a_label_of_another_grid_is_never_moved_to_fit(folder):
    label = folder / "labelsTr" / "phantom_001.nii.gz"
    moved(label)
    assert read_volume(label).geometry != replace(
        read_volume(label).geometry, origin=read_volume(image_of(folder, "phantom_001")).geometry.origin
    )
