"""Scores of a model on validation cases: cheap ones in between, distances at the end."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from crgloco.data.cases import open_cases
from crgloco.io.files import read_source
from crgloco.io.label_files import read_label
from crgloco.metrics import where_both_found
from crgloco.progress import Silent
from crgloco.training.validation import (
    _as_shown,
    _calibration,
    in_short,
    score,
    score_and_calibrate,
    score_cases,
)
from phantoms import write_cases_folder


class Shifted:
    """A model whose answer is the label, moved by some voxels along I."""

    def __init__(self, folder, voxels, *, without=None):
        self.table, self._voxels, self._without = folder.table, voxels, without
        self._labels = {case.name: case for case in folder.labelled}
        self._order = iter(folder.labelled)

    def predict(self, *_asked, **_more):
        case = next(self._order)
        grid = read_source(case.channels[0]).geometry
        classes = np.roll(read_label(case.label, self.table, grid).array, self._voxels, axis=2)
        classes[classes == self._without] = 0
        return SimpleNamespace(fused=classes, geometry=grid)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return open_cases(write_cases_folder(tmp_path_factory.mktemp("data") / "cases", labelled=1, unlabelled=0))


def test_in_between_only_overlaps_are_measured(folder):
    scores = score(Shifted(folder, 0), folder.labelled, Silent())
    assert scores["dice"] == 1.0
    assert set(scores) == {"dice", "per_label"}


def test_at_the_end_hd95_is_measured_in_millimetres_for_each_structure(folder):
    short = in_short(score_cases(Shifted(folder, 1), folder.labelled, Silent()), folder.table)
    spacing = read_source(folder.labelled[0].channels[0]).geometry.spacing[2]
    assert set(short["hd95_mm_per_label"]) == set(short["per_label"]) == set(folder.table.names[1:])
    assert short["hd95_mm"] == pytest.approx(spacing)


def test_distances_count_only_where_both_models_found_the_structure(folder):
    new = score_cases(Shifted(folder, 1), folder.labelled, Silent())
    old = score_cases(Shifted(folder, 0, without=2), folder.labelled, Silent())
    first, second = folder.table.names[1:3]
    for scores in where_both_found(new, old):
        short = in_short(scores, folder.table)
        assert short["hd95_mm_per_label"][first] is not None
        assert short["hd95_mm_per_label"][second] is None


def test_a_case_is_scored_on_what_its_label_shows(folder):
    (case,) = folder.labelled
    part = replace(case, structures=("small",))
    full, some = (score(Shifted(folder, 1), (each,), Silent())["per_label"] for each in (case, part))
    assert full["large"] is not None
    assert some == {"large": None, "small": full["small"]}


def test_calibration_counts_as_background_what_a_label_does_not_show():
    logs = np.log(np.array([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]], np.float32))
    merged = np.exp(_as_shown(logs, (2,)))
    np.testing.assert_allclose(merged, [[0.7, 0.0, 0.3], [0.3, 0.0, 0.7]], rtol=1e-5)
    assert _as_shown(logs, None) is logs
    assert _as_shown(logs, (1, 2)) is logs
    found = _calibration(_as_shown(logs, (2,)), np.array([0, 2]))
    assert all(np.isfinite(value) for value in found.values())


def test_an_answer_that_a_label_does_not_show_is_no_error_of_the_confidence(folder, tmp_path):
    class Sure(Shifted):
        """98 % sure of the small structure, and of the large one everywhere else."""

        def predict(self, *asked, probes, **_more):
            answer = super().predict(*asked)
            answer.fused[answer.fused == 0] = 1
            logs = np.full((len(probes), 3), np.log(0.01), np.float32)
            logs[np.arange(len(probes)), answer.fused[tuple(probes.T)]] = np.log(0.98)
            return SimpleNamespace(**vars(answer), probes=logs)

    (case,) = folder.labelled
    part = replace(case, label=tmp_path / "part.nii.gz", structures=("small",))
    sitk.WriteImage(sitk.ChangeLabel(sitk.ReadImage(case.label), {1: 0}), part.label)
    _, found = score_and_calibrate(Sure(folder, 0), (part,), Silent())
    assert found["error_before"] < 0.05
