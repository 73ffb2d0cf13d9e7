"""A model on disk is whole, unaltered and never overwritten, or it is refused in words."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cards import make_card, make_tensors
from crgloco import model_store
from crgloco.errors import ModelError, ResourceError
from crgloco.model_card import FORMAT, ModelCard
from tiny_models import save_tiny_model


@pytest.fixture
def a_model(tmp_path: Path) -> Path:
    model_store.save(tmp_path / "models" / "liver", make_card(), make_tensors())
    return tmp_path / "models" / "liver"


def test_card_and_weights_come_back_unchanged(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "liver"
    card = model_store.save(folder, make_card(name="draft"), make_tensors())
    assert card.name == "liver"
    assert len(card.weights_sha256) == 64
    assert model_store.read_card(folder) == card
    loaded = model_store.load_tensors(folder)
    assert set(loaded) == set(make_tensors())
    for name, tensor in make_tensors().items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].dtype == tensor.dtype
    assert model_store.check(folder) == []
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.safetensors"]


def test_shared_and_channels_last_tensors_are_stored(tmp_path: Path) -> None:
    weight = torch.randn(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d).requires_grad_()
    tensors = {"encoder": weight, "copy": weight, "part": weight[:, 0]}
    model_store.save(tmp_path / "m", make_card(), tensors)
    loaded = model_store.load_tensors(tmp_path / "m")
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_a_model_is_never_overwritten(a_model: Path) -> None:
    before = (a_model / "weights.safetensors").read_bytes()
    with pytest.raises(ModelError, match="exists already"):
        model_store.save(a_model, make_card(), make_tensors(1))
    assert (a_model / "weights.safetensors").read_bytes() == before


def test_what_a_killed_process_left_does_not_hinder(tmp_path: Path) -> None:
    (tmp_path / "liver.part").mkdir()
    (tmp_path / "liver.part" / "weights.safetensors").write_bytes(b"half")
    model_store.save(tmp_path / "liver", make_card(), make_tensors())
    assert [path.name for path in tmp_path.iterdir()] == ["liver"]


@pytest.mark.parametrize("failing_file", ["weights.safetensors", "model.json"])
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "error"),
    ],
)
def test_a_failing_disk_leaves_nothing_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_file: str, number: int, words: str
) -> None:
    real = Path.open

    def failing(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if path.name == failing_file and "w" in mode:
            real(path, mode).close()
            raise OSError(number, os.strerror(number))
        return real(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(ResourceError, match=f"liver cannot be written: .*{words}"):
        model_store.save(tmp_path / "liver", make_card(), make_tensors())
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="disk is full"):
        model_store.save(tmp_path / "liver", make_card(), make_tensors())
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_models_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ResourceError, match="liver cannot be written"):
        model_store.save(tmp_path / "models" / "liver", make_card(), make_tensors())


def test_a_card_that_json_does_not_know_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be written as JSON"):
        model_store.save(tmp_path / "liver", make_card(training={"dice": float("nan")}), make_tensors())
    assert list(tmp_path.iterdir()) == []


def test_a_single_changed_bit_in_the_weights_is_found(a_model: Path) -> None:
    file = a_model / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"liver.weights.safetensors is damaged.*again"):
        model_store.load_tensors(a_model)
    assert "damaged" in model_store.check(a_model)[0]


def test_weights_of_another_kind_are_refused_even_with_the_right_hash(a_model: Path) -> None:
    content = b"\x80\x04 a pickle"
    (a_model / "weights.safetensors").write_bytes(content)
    card = json.loads((a_model / "model.json").read_text())
    card["weights_sha256"] = hashlib.sha256(content).hexdigest()
    (a_model / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="no safetensors file"):
        model_store.load_tensors(a_model)


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_missing_file_is_named_with_the_remedy(a_model: Path, name: str) -> None:
    (a_model / name).unlink()
    with pytest.raises(ModelError, match=rf"liver holds no {name}.*import the model again"):
        model_store.load_tensors(a_model)
    [(folder, error)] = model_store.list_models([a_model.parent])
    assert folder == a_model
    assert isinstance(error, ModelError)


def test_a_folder_that_is_not_there_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model.json"):
        model_store.read_card(tmp_path / "nothing")


def test_a_card_of_another_format_names_the_folder(a_model: Path) -> None:
    card = json.loads((a_model / "model.json").read_text()) | {"format": FORMAT + 1}
    (a_model / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=rf"liver: The model has format {FORMAT + 1}.*Update"):
        model_store.read_card(a_model)


def test_a_card_cut_off_names_the_folder(a_model: Path) -> None:
    file = a_model / "model.json"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match="liver: The model card is damaged or cut off"):
        model_store.read_card(a_model)


def test_a_huge_card_is_not_read(a_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "MAXIMUM_CARD", 100)
    with pytest.raises(ModelError, match="larger than"):
        model_store.read_card(a_model)


def test_a_file_that_may_not_be_read_is_told(a_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ModelError, match=r"model.json cannot be read: Permission denied"):
        model_store.read_card(a_model)


def test_the_list_shows_good_models_damaged_ones_and_nothing_else(a_model: Path, tmp_path: Path) -> None:
    models = a_model.parent
    (models / "broken").mkdir()
    (models / "broken" / "model.json").write_text("{")
    (models / "half.part").mkdir()
    (models / "half.part" / "model.json").write_text("{}")
    (models / ".hidden").mkdir()
    (models / ".hidden" / "model.json").write_text("{}")
    (models / "photos").mkdir()
    (models / "note.txt").write_text("hello")
    found = model_store.list_models([models, tmp_path / "not there"])
    assert [(path.name, type(entry)) for path, entry in found] == [
        ("broken", ModelError),
        ("liver", ModelCard),
    ]


def test_a_models_own_folder_is_listed_as_itself_and_a_damaged_one_with_its_error(a_model: Path) -> None:
    [(folder, card)] = model_store.list_models([a_model])
    assert folder == a_model
    assert isinstance(card, ModelCard)
    (a_model / model_store.CARD).write_text("{")
    [(_, error)] = model_store.list_models([a_model])
    assert isinstance(error, ModelError)


def test_the_list_never_raises_for_a_folder_that_may_not_be_read(
    a_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    [(folder, error)] = model_store.list_models([a_model.parent])
    assert folder == a_model.parent
    assert "Permission denied" in str(error)


def test_a_copied_and_renamed_model_still_loads(a_model: Path) -> None:
    renamed = a_model.rename(a_model.with_name("my liver"))
    assert set(model_store.load_tensors(renamed)) == set(make_tensors())
    assert ["the folder's name counts" in problem for problem in model_store.check(renamed)] == [True]


def test_branches_are_fused_as_the_card_says_not_as_the_option_would_be_today(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")
    card = json.loads((folder / "model.json").read_text())
    assert {branch["name"]: branch["weight"] for branch in card["branches"]} == {"local": 1.0, "global": 0.25}
    next(branch for branch in card["branches"] if branch["name"] == "global")["weight"] = 1.0
    del card["config"]["global_weight"]  # as models were written before there was the option
    (folder / "model.json").write_text(json.dumps(card))
    loaded = model_store.load(folder)
    assert loaded.network.local.weight == 1.0
    assert loaded.network.global_.weight == 1.0


def test_check_names_weights_that_are_not_finite_and_foreign_files(tmp_path: Path) -> None:
    tensors = make_tensors()
    tensors["stem.bias"][2] = torch.nan
    model_store.save(tmp_path / "liver", make_card(), tensors)
    (tmp_path / "liver" / "run.py").write_text("")
    problems = model_store.check(tmp_path / "liver")
    assert "'stem.bias' holds NaN" in problems[0]
    assert "'run.py'" in problems[1]
    model_store.save(tmp_path / "empty", make_card(), {})
    assert "no weights" in model_store.check(tmp_path / "empty")[0]


@pytest.mark.parametrize("name", [".DS_Store", "._model.json", "desktop.ini"])
def test_what_systems_leave_in_a_folder_makes_no_model_unsound(a_model: Path, name: str) -> None:
    (a_model / name).write_bytes(b"")
    assert model_store.check(a_model) == []


def test_reading_a_card_needs_no_torch(a_model: Path) -> None:
    code = (
        "import sys, pathlib; from crgloco import model_store; "
        "model_store.list_models([pathlib.Path(sys.argv[1])]); assert 'torch' not in sys.modules"
    )
    package = str(Path(model_store.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", code, str(a_model.parent)],
        check=True,
        env={**os.environ, "PYTHONPATH": package},
    )


def test_weights_are_read_as_plain_bytes(a_model: Path) -> None:
    card, weights = model_store.read_files(a_model)
    assert io.BytesIO(weights).read(8) == (a_model / "weights.safetensors").read_bytes()[:8]
    assert card.name == "liver"
