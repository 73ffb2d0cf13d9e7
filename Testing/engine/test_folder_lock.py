"""One writer at a time in a folder; the lock of a killed writer holds nobody up."""

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from crgloco import folder_lock
from crgloco.claims import claim_of_this_process
from crgloco.errors import ResourceError
from crgloco.folder_lock import LOCK, locked

A_NUMBER_NOBODY_HAS = 2**22 + 12345
PARENT = psutil.Process(os.getppid())


def write_lock(folder: Path, content: object, *, age: float = 0.0) -> Path:
    lock = folder / LOCK
    lock.write_text(json.dumps(content) if content else "")
    os.utime(lock, (time.time() - age, time.time() - age))
    return lock


def test_a_living_writer_is_respected_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text()).items() >= claim_of_this_process().items()
        with (
            pytest.raises(ResourceError, match="Another program is writing"),
            locked(tmp_path, patience_s=0.1),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "age", "abandoned"),
    [
        ({}, 10_000, False),
        ({"pid": PARENT.pid, "created": PARENT.create_time()}, 10_000, False),  # however slow it is
        ({"pid": A_NUMBER_NOBODY_HAS}, 0, True),
        ({"created": 0, "since_boot": 0}, 0, True),  # the number was given again
        ({"host": "elsewhere"}, 10, False),
        ({"host": "elsewhere"}, 1000, True),
    ],
)
def test_a_lock_holds_while_its_writer_lives_and_a_quarter_hour_from_elsewhere(
    tmp_path: Path, change: dict[str, Any], age: float, *, abandoned: bool
) -> None:
    lock = write_lock(tmp_path, claim_of_this_process() | change, age=age)
    if abandoned:
        with locked(tmp_path, patience_s=2):
            pass
        assert not lock.exists()
    else:
        with pytest.raises(ResourceError), locked(tmp_path, patience_s=0.1):
            pass


def test_a_lock_that_somebody_else_took_over_meanwhile_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = write_lock(tmp_path, claim_of_this_process() | {"pid": A_NUMBER_NOBODY_HAS})
    faster = json.dumps(claim_of_this_process())
    rename = Path.rename

    def rename_too_late(path: Path, target: Path) -> Path:
        if path == lock:
            lock.write_text(faster)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_too_late)
    with pytest.raises(ResourceError), locked(tmp_path, patience_s=0.1):
        pass
    assert lock.read_text() == faster
    assert list(tmp_path.iterdir()) == [lock]


def test_a_lock_that_passes_on_while_it_is_looked_at_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder ends, and looks dead then; the next one has it already."""
    path = tmp_path / LOCK
    path.write_text(json.dumps(claim_of_this_process() | {"lock": "first"}))

    def pass_on(_: Path, __: str) -> bool:
        path.write_text(json.dumps(claim_of_this_process() | {"lock": "next"}))
        return True

    monkeypatch.setattr(folder_lock, "_is_abandoned", pass_on)
    monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("a lock that is held was taken away"))
    folder_lock._remove_if_abandoned(path)
    assert json.loads(path.read_text())["lock"] == "next"


def test_a_disk_too_full_for_the_lock_is_told_and_no_half_lock_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fdopen", full)
        with pytest.raises(ResourceError, match="the disk is full"), locked(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_could_not_be_removed_holds_nobody_up_and_what_was_done_under_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows nobody removes a file that another program, say OneDrive, has open."""

    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError(13, "in use", str(path))

    with monkeypatch.context() as windows:
        windows.setattr(Path, "unlink", refuse)
        with locked(tmp_path):
            (tmp_path / "label").touch()
    assert (tmp_path / LOCK).exists()
    # One that this process does hold, in another thread for example, is respected.
    with locked(tmp_path, patience_s=1), pytest.raises(ResourceError), locked(tmp_path, patience_s=0.1):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["label"]


@pytest.mark.parametrize("content", ["", "[1, 2", [1, 2]])
def test_a_lock_that_was_never_finished_is_waited_for_ten_seconds(tmp_path: Path, content: object) -> None:
    lock = write_lock(tmp_path, content)
    with pytest.raises(ResourceError), locked(tmp_path, patience_s=0.1):
        pass
    os.utime(lock, (time.time() - 60, time.time() - 60))
    with locked(tmp_path, patience_s=2):
        pass
    assert not lock.exists()
