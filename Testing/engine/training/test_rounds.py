"""Pseudo-labels of a round: frozen on disk, found again, left out where predictions disagree."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from crgloco.data.cache import PreparedCase
from crgloco.data.patches import TrainingCase
from crgloco.errors import Cancelled, ResourceError
from crgloco.io.volume import Geometry
from crgloco.training.distributed import Team
from crgloco.training.rounds import Rounds
from tiny_training import Recorder

SHAPE = (4, 6, 8)


@dataclass
class FakePredictor:
    """Answers 1 where the image is above 0; counts how often it is asked."""

    asked: list[np.ndarray] = field(default_factory=list)
    unsteady: bool = False

    def predict_prepared(self, image, geometry, *, prepared):
        assert geometry.shape == prepared.shape == image.shape[1:]
        self.asked.append(image)
        # Either the brighter half, whatever its values, or what is brighter than a number.
        fused = (image[0] > (1.0 if self.unsteady else np.median(image[0]))).astype(np.uint8)
        return type("Answer", (), {"fused": fused})()


def prepared(folder: Path, seed: int = 0) -> PreparedCase:
    folder.mkdir()
    image = np.random.default_rng(seed).normal(size=(1, *SHAPE)).astype(np.float16)
    np.save(folder / "image.npy", image)
    grid = Geometry(SHAPE, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    return PreparedCase(folder.name, folder, SHAPE, 1, labelled=False, geometry=grid, source="")


@pytest.fixture
def case(tmp_path):
    return prepared(tmp_path / "case")


def rounds_of(tmp_path, case, predictor, report=None):
    return Rounds(tmp_path / "rounds", {case.name: case}, lambda: predictor, report or Recorder(), Team())


def same(label):
    return label


def test_a_pseudo_label_lies_on_the_grid_of_its_case_and_knows_its_voxels(tmp_path, case):
    labelled = rounds_of(tmp_path, case, FakePredictor()).labeller(1)(TrainingCase.open(case), same)
    expected = np.asarray(case.image()[0] > np.median(case.image()[0]))
    assert np.array_equal(labelled.label.numpy(), expected)
    assert len(labelled.locations[1]) == expected.sum()
    assert torch.equal(labelled.image, TrainingCase.open(case).image)


def test_within_a_round_labels_stay_and_the_next_round_renews_them(tmp_path, case):
    predictor = FakePredictor()
    rounds = rounds_of(tmp_path, case, predictor)
    for _ in range(2):  # the second time as after a resume
        rounds.labeller(1)(TrainingCase.open(case), same)
    assert len(predictor.asked) == 1
    rounds.labeller(2)(TrainingCase.open(case), same)
    assert len(predictor.asked) == 2
    assert [folder.name for folder in (tmp_path / "rounds").iterdir()] == ["002"]


def test_pseudo_labels_of_a_run_that_was_given_up_are_forgotten(tmp_path, case):
    predictor = FakePredictor()
    rounds = rounds_of(tmp_path, case, predictor)
    rounds.labeller(1)(TrainingCase.open(case), same)
    rounds.forget()
    assert not rounds.folder.exists()
    rounds.labeller(1)(TrainingCase.open(case), same)
    assert len(predictor.asked) == 2


def test_refinement_is_part_of_what_is_frozen(tmp_path, case):
    rounds = rounds_of(tmp_path, case, FakePredictor())
    first = rounds.labeller(1)(TrainingCase.open(case), lambda label: label * 2)
    again = rounds.labeller(1)(TrainingCase.open(case), same)
    assert set(np.unique(first.label)) == {0, 2}
    assert torch.equal(first.label, again.label)


@pytest.mark.parametrize(
    ("agreement", "unsteady", "kept"),
    [(0, True, True), (0.9, False, True), (0.9, True, False), (0.8, True, False)],
)
def test_a_case_whose_prediction_changes_with_its_grey_values_is_left_out(
    tmp_path, case, agreement, unsteady, kept
):
    predictor = FakePredictor(unsteady=unsteady)
    rounds = rounds_of(tmp_path, case, predictor)
    for _ in range(2):  # also when it is read again
        found = rounds.labeller(1)(TrainingCase.open(case), same, agreement=agreement)
        assert (found is not None) == kept
    assert len(predictor.asked) == (1 if agreement == 0 else 2)


def test_a_stop_between_cases_keeps_those_that_are_done(tmp_path, case):
    other = prepared(tmp_path / "other", 1)
    predictor, report = FakePredictor(), Recorder(stop_after=2)
    rounds = Rounds(tmp_path / "rounds", {"case": case, "other": other}, lambda: predictor, report, Team())
    labeller = rounds.labeller(1)
    labeller(TrainingCase.open(case), same)
    with pytest.raises(Cancelled):
        labeller(TrainingCase.open(other), same)
    assert len(predictor.asked) == 1
    again = Rounds(tmp_path / "rounds", {"case": case, "other": other}, lambda: predictor, Recorder(), Team())
    for each in (case, other):
        again.labeller(1)(TrainingCase.open(each), same)
    assert len(predictor.asked) == 2


def test_a_full_disk_is_told_in_words_and_leaves_no_half_label(tmp_path, case, monkeypatch):
    def fill(file, label, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    labeller = rounds_of(tmp_path, case, FakePredictor()).labeller(1)
    monkeypatch.setattr("crgloco.training.rounds.np.save", fill)
    with pytest.raises(ResourceError, match="the disk is full"):
        labeller(TrainingCase.open(case), same)
    assert not list((tmp_path / "rounds" / "001").iterdir())
