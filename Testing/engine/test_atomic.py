"""A file that is written is there whole, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from crgloco import atomic
from crgloco.atomic import saving, settle, write_bytes
from crgloco.errors import ResourceError
from crgloco.model_store import write_folder


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    write_bytes(file, b"old")
    write_bytes(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_keeps_the_old_file_and_leaves_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.bin"
    write_bytes(file, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match=r"a.bin cannot be written: the disk is full. Make room"):
        write_bytes(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_replaced_is_never_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.bin"
    write_bytes(file, b"old")

    def refuse(*_: Path) -> None:
        raise PermissionError(13, "in use")

    for name in ("replace", "rename"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(ResourceError, match="no permission"):
        write_bytes(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_who_has_no_time_writes_without_waiting_and_lets_another_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, waited = tmp_path / "a.bin", []
    write_bytes(file, b"old")
    monkeypatch.setattr(os, "fsync", waited.append)
    write_bytes(file, b"new", wait=False)
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]
    assert not waited
    settle(file)
    assert len(waited) == 1
    assert file.read_bytes() == b"new"
    with pytest.raises(ResourceError, match=r"b.bin cannot be written: its folder does not exist"):
        settle(tmp_path / "b.bin")


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="its folder does not exist"):
        write_bytes(tmp_path / "nowhere" / "a.bin", b"")


def test_a_fault_that_is_not_of_the_disk_keeps_its_kind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ours"), saving(tmp_path):
        raise ValueError("ours")


def test_on_windows_a_file_that_somebody_reads_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "SHARES_NO_DELETION", True)
    tries: list[int] = []

    def act() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise PermissionError(13, "somebody reads it")

    atomic.patiently(act, (0.0, 0.0))
    assert len(tries) == 3

    def never() -> None:
        raise PermissionError(13, "no permission")

    with pytest.raises(PermissionError):
        atomic.patiently(never, (0.0, 0.0))


def test_a_folder_that_somebody_looks_into_is_given_ten_seconds_where_no_window_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(13, "in use", str(path), None, str(target))

    monkeypatch.setattr(atomic, "SHARES_NO_DELETION", True)
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ResourceError, match="no permission"):
        write_folder(tmp_path / "model", b"{}", b"weights")
    assert 10 < sum(waited) < 15
    waited.clear()
    with pytest.raises(ResourceError, match="no permission"):
        write_bytes(tmp_path / "a.bin", b"from a window", wait=False)
    assert 0 < sum(waited) < 0.5
    assert list(tmp_path.iterdir()) == []


def test_what_windows_means_by_no_permission_and_by_no_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = PermissionError(13, "Zugriff verweigert")
    held.winerror = 5  # type: ignore[attr-defined]
    with (
        pytest.raises(ResourceError, match=r"another program has it open .* no permission"),
        saving(tmp_path),
    ):
        raise held
    missing = FileNotFoundError(2, "Das System kann den angegebenen Pfad nicht finden")
    long = tmp_path / ("x" * 200)
    with pytest.raises(ResourceError, match="its folder does not exist"), saving(long):
        raise missing
    monkeypatch.setattr(atomic, "SHARES_NO_DELETION", True)
    with pytest.raises(ResourceError, match="the path to it, is too long"), saving(long):
        raise missing


def test_elsewhere_it_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "SHARES_NO_DELETION", False)
    tries: list[int] = []

    def act() -> None:
        tries.append(1)
        raise PermissionError(13, "no permission")

    with pytest.raises(PermissionError):
        atomic.patiently(act)
    assert len(tries) == 1
