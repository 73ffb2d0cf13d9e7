"""The split that is drawn once."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from crgloco.data.case_split import draw_split, first_labelled
from crgloco.data.cases import open_cases
from crgloco.data.manifest import read_manifest, write_manifest
from crgloco.data.provenance import Provenance
from crgloco.errors import CasesError, OptionError, ResourceError
from crgloco.io.files import write_volume
from crgloco.io.volume import Geometry, Volume
from phantoms import edit_json, names, state, two_ellipsoids, write_cases_folder

SHAPE = (6, 8, 8)


def test_the_split_is_drawn_once_and_new_cases_teach(root: Path) -> None:
    folder = draw_split(open_cases(root), fraction=0.4)
    assert len(folder.validation) == 2
    assert set(names(folder.training)) | set(folder.validation) == set(names(folder.labelled))
    assert names(folder.validating) == list(folder.validation)
    shutil.move(root / "imagesUl/phantom_005_0000.nii.gz", root / "imagesTr")
    shutil.copy(root / "labelsTr/phantom_000.nii.gz", root / "labelsTr/phantom_005.nii.gz")
    again = draw_split(open_cases(root), fraction=0.8, seed=5)
    assert again.validation == folder.validation
    assert "phantom_005" in names(again.training)
    assert open_cases(root).validation == folder.validation


def test_the_seed_decides_the_split(root: Path) -> None:
    drawn = {draw_split(open_cases(root), seed=seed, store=False).validation for seed in range(12)}
    assert len(drawn) > 2
    assert draw_split(open_cases(root), seed=3, store=False) == draw_split(
        open_cases(root), seed=3, store=False
    )
    assert not (root / "crgloco.json").exists()


def test_one_labelled_case_teaches_and_never_measures_later(tmp_path: Path) -> None:
    root = write_cases_folder(tmp_path, 1, 1, shape=SHAPE)
    assert draw_split(open_cases(root)).validation == ()
    shutil.move(root / "imagesUl/phantom_001_0000.nii.gz", root / "imagesTr")
    shutil.copy(root / "labelsTr/phantom_000.nii.gz", root / "labelsTr/phantom_001.nii.gz")
    assert draw_split(open_cases(root)).validation == ("phantom_001",)


def test_labels_drawn_by_hand_measure_before_corrected_answers_of_a_model(root: Path) -> None:
    corrected = {"phantom_000", "phantom_001", "phantom_003"}
    history = {name: (Provenance(model="a" * 64, revision=1),) for name in corrected}
    history["phantom_002"] = (Provenance(model="a" * 64, revision=1), Provenance(revision=2))
    write_manifest(root, replace(read_manifest(root), provenance=history))
    by_hand = set(names(open_cases(root).labelled)) - corrected
    for seed in range(12):
        drawn = draw_split(open_cases(root), fraction=0.4, seed=seed, store=False).validation
        assert len(drawn) == 2
        assert set(drawn) <= by_hand
    most = draw_split(open_cases(root), fraction=0.8, store=False).validation
    assert by_hand < set(most)


def test_a_plain_folder_has_no_split(tmp_path: Path) -> None:
    grid = Geometry(SHAPE, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    write_volume(Volume(two_ellipsoids(SHAPE)[0], grid), tmp_path / "a.nii.gz")
    assert draw_split(open_cases(tmp_path)).validation == ()
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


def test_a_split_can_be_kept_elsewhere_and_then_comes_first(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    first = draw_split(open_cases(root), seed=1, split_file=file)
    assert not (root / "crgloco.json").exists()
    assert draw_split(open_cases(root), seed=2, split_file=file) == first
    draw_split(open_cases(root), seed=7)
    assert draw_split(open_cases(root), split_file=file) == first


def test_a_folder_that_cannot_be_written_says_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    folder = open_cases(root)
    monkeypatch.setattr("crgloco.folder_lock.os.open", refuse)
    with pytest.raises(ResourceError, match=r"split .* cannot be stored in .*Make the folder writable"):
        draw_split(folder)
    assert draw_split(folder, store=False).validation


@pytest.mark.skipif(os.name != "posix", reason="Windows marks folders for other reasons")
def test_a_folder_marked_read_only_stays_untouched_even_for_root(root: Path, tmp_path: Path) -> None:
    folder = open_cases(root)
    root.chmod(0o555)
    before = state(root)
    try:
        with pytest.raises(ResourceError, match="marked read-only"):
            draw_split(folder)
        assert draw_split(folder, split_file=tmp_path / "split.json").validation
        assert state(root) == before
    finally:
        root.chmod(0o755)


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_a_fraction_out_of_range_is_refused(root: Path, fraction: float) -> None:
    with pytest.raises(OptionError, match="fraction"):
        draw_split(open_cases(root), fraction=fraction)


def test_storing_the_split_keeps_entries_we_do_not_know(root: Path) -> None:
    edit_json(root / "crgloco.json", format=1, notes="keep me")
    draw_split(open_cases(root))
    assert read_manifest(root).document["notes"] == "keep me"


def test_the_first_labelled_keep_their_labels_and_others_become_unlabelled(root: Path) -> None:
    edit_json(root / "crgloco.json", format=1, split={"validation": ["phantom_001", "phantom_004"]})
    folder = first_labelled(open_cases(root), 2)
    assert names(folder.labelled) == ["phantom_000", "phantom_001"]
    assert folder.validation == ("phantom_001",)
    assert names(folder.unlabelled) == [f"phantom_{n:03d}" for n in (2, 3, 5, 6)]
    assert all(case.label is None for case in folder.unlabelled)
    with pytest.raises(CasesError, match="5 labelled"):
        first_labelled(open_cases(root), 6)
