"""A zip installs one whole model and can do nothing else."""

from __future__ import annotations

import errno
import os
import stat
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cards import make_card, make_tensors
from crgloco import model_store, model_zip
from crgloco.errors import ModelError, ResourceError
from crgloco.model_zip import export_zip, import_zip

Members = list[tuple[str | zipfile.ZipInfo, bytes]]


@pytest.fixture
def a_model(tmp_path: Path) -> Path:
    model_store.save(tmp_path / "models" / "liver", make_card(), make_tensors())
    return tmp_path / "models" / "liver"


@pytest.fixture
def make_zip(a_model: Path, tmp_path: Path) -> Callable[[Callable[[Members], object]], Path]:
    """Make a zip of the model after its members were changed."""

    def make(change: Callable[[Members], object]) -> Path:
        members: Members = [
            (f"liver/{name}", (a_model / name).read_bytes()) for name in ("model.json", "weights.safetensors")
        ]
        change(members)
        with zipfile.ZipFile(tmp_path / "changed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return tmp_path / "changed.zip"

    return make


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_model_survives_export_and_import(a_model: Path, tmp_path: Path) -> None:
    export_zip(a_model, tmp_path / "out" / "liver.zip")
    installed = import_zip(tmp_path / "out" / "liver.zip", tmp_path / "elsewhere")
    assert installed == tmp_path / "elsewhere" / "liver"
    assert model_store.read_card(installed) == model_store.read_card(a_model)
    first, second = model_store.load_tensors(a_model), model_store.load_tensors(installed)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert everything_in(tmp_path / "elsewhere") == ["liver", "liver/model.json", "liver/weights.safetensors"]


def test_a_name_that_is_taken_gets_a_number(a_model: Path, tmp_path: Path) -> None:
    export_zip(a_model, tmp_path / "liver.zip")
    second = import_zip(tmp_path / "liver.zip", a_model.parent)
    third = import_zip(tmp_path / "liver.zip", a_model.parent)
    assert (second.name, third.name) == ("liver-2", "liver-3")
    assert model_store.read_card(third).name == "liver-3"
    assert model_store.check(third) == []


def test_export_never_replaces_a_file_unless_told(a_model: Path, tmp_path: Path) -> None:
    (tmp_path / "liver.zip").write_bytes(b"mine")
    with pytest.raises(ModelError, match="exists already"):
        export_zip(a_model, tmp_path / "liver.zip")
    export_zip(a_model, tmp_path / "liver.zip", overwrite=True)
    assert zipfile.is_zipfile(tmp_path / "liver.zip")


def test_a_damaged_model_is_not_exported(a_model: Path, tmp_path: Path) -> None:
    (a_model / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="damaged"):
        export_zip(a_model, tmp_path / "liver.zip")
    assert not (tmp_path / "liver.zip").exists()


def test_a_full_disk_at_export_leaves_no_zip(
    a_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    (tmp_path / "out").mkdir()
    with pytest.raises(ResourceError, match="disk is full"):
        export_zip(a_model, tmp_path / "out" / "liver.zip")
    assert everything_in(tmp_path / "out") == []


def test_a_full_disk_at_import_leaves_no_model(
    a_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_zip(a_model, tmp_path / "liver.zip")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="disk is full"):
        import_zip(tmp_path / "liver.zip", tmp_path / "elsewhere")
    assert everything_in(tmp_path / "elsewhere") == []


def a_link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("liver/model.json")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda members: members.append(("../evil/model.json", b"{}")), "leads elsewhere"),
        (lambda members: members.append(("/tmp/model.json", b"{}")), "leads elsewhere"),
        (lambda members: members.append(("C:/model.json", b"{}")), "leads elsewhere"),
        (lambda members: members.append(("liver\\..\\model.json", b"{}")), "leads elsewhere"),
        (lambda members: members.append(("liver/../model.json", b"{}")), "leads elsewhere"),
        (lambda members: members.append(("liver/evil.py", b"")), "no part of a model"),
        (lambda members: members.append(("liver/deeper/model.json", b"")), "no part of a model"),
        (lambda members: members.append(("liver/deeper/", b"")), "no part of a model"),
        (lambda members: members.append(("other/model.json", b"{}")), "twice"),
        (lambda members: members.__setitem__(0, ("other/model.json", members[0][1])), "different folders"),
        (lambda members: members.__setitem__(0, (a_link(), b"/etc/passwd")), "link"),
        (lambda members: members.pop(0), "no model.json"),
        (lambda members: members.pop(1), "no weights"),
        (lambda members: members.clear(), "no model.json"),
        (lambda members: members.__setitem__(0, ("liver/model.json", b"{")), "cut off"),
        (lambda members: members.__setitem__(1, ("liver/weights.safetensors", b"x")), "damaged"),
        (
            lambda members: members.__setitem__(1, ("liver/weights.safetensors", bytes(3 * 2**20))),
            "3 MB",
        ),
    ],
)
def test_a_strange_zip_is_refused_and_leaves_nothing(
    make_zip: Callable[..., Path], tmp_path: Path, change: Callable[[Members], object], words: str
) -> None:
    archive = make_zip(change)
    target = tmp_path / "inside" / "models"
    before = everything_in(tmp_path)
    with pytest.raises(ModelError, match=rf"changed.zip cannot be imported: .*{words}"):
        import_zip(archive, target)
    assert everything_in(tmp_path) == before


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_member_that_stands_twice_is_refused(make_zip: Callable[..., Path], tmp_path: Path) -> None:
    archive = make_zip(lambda members: members.append(members[0]))
    with pytest.raises(ModelError, match="twice"):
        import_zip(archive, tmp_path / "models")


def test_weights_over_the_bound_are_not_unpacked(
    make_zip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_zip(list)
    monkeypatch.setattr(model_zip, "MAXIMUM_WEIGHTS", 10)
    with pytest.raises(ModelError, match="would become"):
        import_zip(archive, tmp_path / "models")


def test_a_member_that_is_larger_than_it_says_is_not_unpacked(
    make_zip: Callable[..., Path], tmp_path: Path
) -> None:
    large = 64 * 2**20
    archive = make_zip(lambda members: members.__setitem__(1, ("liver/weights.safetensors", bytes(large))))
    content = archive.read_bytes()
    assert content.count(large.to_bytes(4, "little")) == 2
    archive.write_bytes(content.replace(large.to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="damaged"):
            import_zip(archive, tmp_path / "models")
        assert tracemalloc.get_traced_memory()[1] < large / 8
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_could_unpack_without_bound_is_refused(a_model: Path, tmp_path: Path, packing: int) -> None:
    with zipfile.ZipFile(tmp_path / "liver.zip", "w", packing) as archive:
        for name in ("model.json", "weights.safetensors"):
            archive.write(a_model / name, f"liver/{name}")
    with pytest.raises(ModelError, match="packed in an unusual way"):
        import_zip(tmp_path / "liver.zip", tmp_path / "models")


def test_a_damaged_name_is_refused_as_any_damage(make_zip: Callable[..., Path], tmp_path: Path) -> None:
    def rename(members: Members) -> None:
        members[:] = [(str(member).replace("liver/", "Leber ä/"), content) for member, content in members]

    archive = make_zip(rename)
    content = archive.read_bytes()
    letter = "ä".encode()
    last = content.rindex(letter)
    for damaged in (content.replace(letter, b"\xff\xff", 1), content[:last] + b"\xff" + content[last + 1 :]):
        archive.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"changed.zip is no zip file, or is damaged"):
            import_zip(archive, tmp_path / "models")


def test_an_entry_without_a_name_is_refused(make_zip: Callable[..., Path], tmp_path: Path) -> None:
    archive = make_zip(lambda members: members.append(("?/", b"")))
    archive.write_bytes(archive.read_bytes().replace(b"?/", b"\0/"))
    with pytest.raises(ModelError, match="leads elsewhere"):
        import_zip(archive, tmp_path / "models")


def test_a_file_that_is_no_zip_or_is_cut_off_is_refused(a_model: Path, tmp_path: Path) -> None:
    export_zip(a_model, tmp_path / "liver.zip")
    content = (tmp_path / "liver.zip").read_bytes()
    (tmp_path / "other").mkdir()
    for damaged in (b"", b"no zip", content[:-30], content[: len(content) // 2]):
        (tmp_path / "bad.zip").write_bytes(damaged)
        with pytest.raises(ModelError, match=r"bad.zip is no zip file"):
            import_zip(tmp_path / "bad.zip", tmp_path / "other")
    assert everything_in(tmp_path / "other") == []
    with pytest.raises(ModelError, match=r"none.zip cannot be read: No such file"):
        import_zip(tmp_path / "none.zip", tmp_path / "other")


def test_a_zip_with_one_byte_changed_gives_the_model_or_our_error(a_model: Path, tmp_path: Path) -> None:
    export_zip(a_model, tmp_path / "liver.zip")
    content = (tmp_path / "liver.zip").read_bytes()
    right = model_store.read_card(a_model).weights_sha256
    for position in range(0, len(content), 23):
        changed = bytearray(content)
        changed[position] ^= 0xFF
        (tmp_path / "bad.zip").write_bytes(changed)
        try:
            installed = import_zip(tmp_path / "bad.zip", tmp_path / "other")
        except ModelError:
            continue
        assert model_store.read_card(installed).weights_sha256 == right
        model_store.load_tensors(installed)


def test_a_flat_zip_and_one_made_on_a_mac_are_accepted(make_zip: Callable[..., Path], tmp_path: Path) -> None:
    def flat(members: Members) -> None:
        members[:] = [(str(name).removeprefix("liver/"), content) for name, content in members]

    def mac(members: Members) -> None:
        members[:] = [
            ("liver/", b""),
            *members,
            ("__MACOSX/liver/._model.json", b"x"),
            ("liver/.DS_Store", b"x"),
        ]

    assert import_zip(make_zip(flat), tmp_path / "a").name == "liver"
    installed = import_zip(make_zip(mac), tmp_path / "b")
    assert everything_in(installed) == ["model.json", "weights.safetensors"]


@pytest.mark.parametrize(
    ("name", "folder"),
    [("a|b*c", "a_b_c"), ("x.part", "x"), (" . ", "model"), ("Leber ä", "Leber ä"), ("NUL.part", "_NUL")],
)
def test_the_folder_gets_a_name_that_every_system_allows(
    make_zip: Callable[..., Path], tmp_path: Path, name: str, folder: str
) -> None:
    def rename(members: Members) -> None:
        members[:] = [(str(member).replace("liver/", f"{name}/"), content) for member, content in members]

    assert import_zip(make_zip(rename), tmp_path / "elsewhere").name == folder
