"""The demonstration, with a tiny model on phantoms; and the figure, as a property of its pixels."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from crgloco.__main__ import main
from crgloco.commands import figure
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import LabelTable
from phantoms import two_ellipsoids

TABLE = LabelTable.from_names({"large": 1, "small": 2})
LPS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def make_scene(array, geometry, reference=None, confidence=None):
    confidence = np.ones(array.shape, np.float32) if confidence is None else confidence
    label = np.zeros(array.shape, np.uint8) if reference is None else reference
    answers = {"global": label, "local": label, "fused": label}
    return figure.Scene(Volume(array, geometry), TABLE, answers, confidence, reference, "phantom")


def test_the_figure_is_a_picture_of_all_panels(tmp_path):
    image, label = two_ellipsoids()
    confidence = np.where(label > 0, 0.5, 1).astype(np.float32)
    scene = make_scene(image, Geometry(image.shape, (3.0, 1.0, 1.0), (0.0, 0.0, 0.0)), label, confidence)
    figure.draw(scene, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def test_a_figure_of_nothing_found_can_be_drawn(tmp_path):
    image = np.zeros((4, 9, 7), np.float32)
    image[2, 3, 3] = 1
    figure.draw(
        make_scene(image, Geometry(image.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))), tmp_path / "f.png"
    )
    assert (tmp_path / "f.png").is_file()


@pytest.mark.parametrize("flip_i", [False, True])
@pytest.mark.parametrize("flip_j", [False, True])
@pytest.mark.parametrize("swap", [False, True])
def test_however_a_scan_lies_front_is_up_and_left_is_on_the_right(flip_i, flip_j, swap):
    shape = (3, 10, 10)
    i, j = np.array([-1.0 if flip_i else 1.0, 0, 0]), np.array([0, -1.0 if flip_j else 1.0, 0])
    columns = (j, i) if swap else (i, j)
    direction = np.stack([*columns, np.array([0, 0, 1.0])], axis=1)
    geometry = Geometry(shape, (5.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(map(tuple, direction.tolist())))
    positions = np.indices(shape)[::-1].reshape(3, -1) * 1.0
    x, y = (direction[:2] @ positions).reshape(2, *shape)
    view = figure.choose_view(make_scene(np.zeros(shape, np.float32), geometry))
    assert (np.diff(view.of(x), axis=1) > 0).all()
    assert (np.diff(view.of(y), axis=0) > 0).all()
    assert view.edges == ("R", "L", "A", "P")


@pytest.mark.parametrize(("axis", "edges"), [(1, ("R", "L", "S", "I")), (2, ("A", "P", "S", "I"))])
def test_coronal_and_sagittal_scans_have_the_head_at_the_top(axis, edges):
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 4.0
    scene = make_scene(
        np.zeros((6, 7, 8), np.float32), Geometry((6, 7, 8), tuple(spacing), (0.0, 0.0, 0.0), LPS)
    )
    view = figure.choose_view(scene)
    z = np.broadcast_to(np.arange(6.0)[:, None, None], (6, 7, 8))
    assert view.axis == axis
    assert view.edges == edges
    assert (np.diff(view.of(z), axis=0) < 0).all()


def test_a_missing_starter_model_is_told(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "out"), "--model", str(tmp_path / "none")]) == 1
    assert "starter model should be in" in capsys.readouterr().err


def test_a_bundled_model_is_known_by_its_name_here_too(tmp_path, capsys):
    words = ["--model", "chaos_mr_starter", "--sample", str(tmp_path / "none")]
    assert main(["demo", "--out", str(tmp_path / "out"), *words]) == 1
    assert "sample scans should be in" in capsys.readouterr().err


def test_a_missing_matplotlib_is_told_before_anything_is_segmented(tmp_path, tiny_model, capsys, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name)
    )
    assert main(["demo", "--out", str(tmp_path / "out"), "--model", str(tiny_model)]) == 1
    assert "pip install matplotlib" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_demonstration_ends_with_pictures_scores_and_a_new_model(
    tiny_model, cases_folder, tmp_path, capsys
):
    out = tmp_path / "out"
    words = ["--out", str(out), "--model", str(tiny_model), "--sample", str(cases_folder), "--device", "cpu"]
    assert main(["demo", *words, "--iterations", "2", "--json"]) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert (out / "phantom_000.png").is_file()
    assert (out / "predictions" / "phantom_001_confidence.nii.gz").is_file()
    assert (out / "fine_tuned" / "model.json").is_file()
    assert answer["model"] == str(out / "fine_tuned")
    assert "dice" in answer["evaluation"]["mean"]
    assert "Everything is in" in said.err
    # A second time: predictions are kept, the first new model stays.
    assert main(["demo", *words, "--iterations", "2"]) == 0
    assert (out / "fine_tuned-2" / "model.json").is_file()
