"""A job is a folder that tells what it does, also to a program that was not there."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from crgloco import jobs
from crgloco.errors import JobError, ResourceError
from crgloco.folder_lock import locked
from crgloco.job_file import Job, read_job
from crgloco.jobs import JobFolder, write_job


def a_job(root: Path, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "cases": root / "cases",
        "method": "cr_gloco",
        "out": root / "models" / "new",
        "unlabelled": (root / "more", root / "dicom"),
        "config": {"rate": 0.1},
        "labelled": 4,
        "minutes": 2.5,
        "start": root / "models" / "old",
    }
    return Job(**{**values, **changes})


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_job_survives_its_folder(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    folder = write_job(tmp_path / "jobs" / "1", job)
    assert read_job(folder.path) == job
    assert read_job(folder.job_file) == job
    assert {path.name for path in folder.path.iterdir()} == {"job.json", ".crgloco-job"}


def test_relative_paths_of_a_program_are_stored_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = read_job(write_job(tmp_path / "job", Job(Path("cases"), "supervised", Path("out"))).path)
    assert (job.cases, job.out, job.start) == (tmp_path / "cases", tmp_path / "out", None)


def test_the_same_job_may_be_written_again_and_another_may_not(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    write_job(tmp_path / "job", job)
    folder = write_job(tmp_path / "job", job)
    folder.checkpoint_file.touch()
    named = r'another job already \(seed 0 there, 1 here, start .*old" there, null here\)'
    with pytest.raises(JobError, match=named):
        write_job(tmp_path / "job", dataclasses.replace(job, seed=1, start=None))
    assert read_job(tmp_path / "job") == job


def test_a_job_that_was_refused_before_it_began_makes_room_for_the_corrected_one(tmp_path: Path) -> None:
    refused, corrected = a_job(tmp_path), a_job(tmp_path, start=None)
    folder = write_job(tmp_path / "job", refused)
    left = (folder.events_file, folder.log_file, folder.split_file, folder.taught_file, folder.process_file)
    for file in left:
        file.write_text("of the refused one")
    assert read_job(write_job(folder.path, corrected).path) == corrected
    assert {path.name for path in folder.path.iterdir()} == {"job.json", ".crgloco-job"}
    assert folder.state == "new"


def test_a_job_whose_process_is_still_starting_makes_no_room(tmp_path: Path) -> None:
    first, second = a_job(tmp_path), a_job(tmp_path, seed=1)
    folder = write_job(tmp_path / "job", first)
    with pytest.raises(JobError, match="still starting"):
        write_job(folder.path, second)
    assert read_job(folder.path) == first
    with folder.claimed():
        folder.events_file.touch()
    assert read_job(write_job(folder.path, second).path) == second


def test_a_job_whose_process_never_came_makes_room_after_a_minute(tmp_path: Path) -> None:
    folder, other = write_job(tmp_path / "job", a_job(tmp_path)), a_job(tmp_path, seed=1)
    written = folder.job_file.stat().st_mtime
    os.utime(folder.job_file, (written - 61, written - 61))
    assert read_job(write_job(folder.path, other).path) == other


@pytest.mark.parametrize("kept", ["checkpoint", "rounds", "result.json"])
def test_a_job_that_has_begun_makes_no_room(tmp_path: Path, kept: str) -> None:
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    for name in (kept, "events.jsonl"):
        (folder.path / name).write_text("of the first one")
    before = contents(folder.path)
    with pytest.raises(JobError, match="another job already"):
        write_job(folder.path, a_job(tmp_path, seed=1))
    assert contents(folder.path) == before


def test_a_job_that_is_worked_on_or_was_written_by_hand_makes_no_room(tmp_path: Path) -> None:
    other = a_job(tmp_path, seed=1)
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    with folder.claimed(), pytest.raises(JobError, match="another job already"):
        write_job(folder.path, other)
    by_hand = tmp_path / "hand.job"
    by_hand.mkdir()
    text = json.dumps({"cases": "cases", "method": "supervised", "out": "../models/new"})
    (by_hand / "job.json").write_text(text)
    with pytest.raises(JobError, match="another job already"):
        write_job(by_hand, other)
    assert contents(by_hand) == {"job.json": text}


def test_a_job_that_is_claimed_while_another_asks_for_its_folder_stays(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    folder.events_file.touch()
    with ThreadPoolExecutor(1) as pool:
        with locked(folder.path):
            other = pool.submit(write_job, folder.path, a_job(tmp_path, seed=1))
            time.sleep(0.1)
            assert not other.done()
            folder.process_file.write_text(json.dumps(a_claim()))
        with pytest.raises(JobError, match="another job already"):
            other.result()
    assert read_job(folder.path) == a_job(tmp_path)


@pytest.mark.parametrize("known", [False, True])
def test_a_folder_with_files_of_the_user_becomes_no_job_folder(tmp_path: Path, *, known: bool) -> None:
    folder, job = tmp_path / "study", a_job(tmp_path)
    folder.mkdir()
    if known:  # the job that is asked for, written by hand
        (folder / "job.json").write_text(json.dumps(job.to_json()))
    for name in ("checkpoint", "log.txt", "result.json", "scan.nii.gz", "split.json"):
        (folder / name).write_text("by hand")
    before = contents(folder)
    with pytest.raises(
        JobError, match=r"study .*holds checkpoint, log.txt, result.json and 2 more; .*Choose"
    ):
        write_job(folder, job)
    assert contents(folder) == before


def test_an_empty_folder_and_one_with_the_job_alone_may_become_a_job_folder(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    left = [(".DS_Store", "of macOS"), ("desktop.ini", "of Windows"), ("Thumbs.db", "of Windows")]
    for name, content in (*left, ("job.json", json.dumps(job.to_json()))):
        folder = tmp_path / name.strip(".")
        folder.mkdir()
        (folder / name).write_text(content)
        assert not JobFolder(folder).is_ours
        assert write_job(folder, job).is_ours
        assert contents(folder)[name] == content


def test_a_job_folder_is_known_again_by_its_mark_or_as_that_of_an_earlier_version(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    for name in ("any name", "earlier.job"):
        folder = write_job(tmp_path / name, job)
        folder.events_file.touch()
        folder.checkpoint_file.touch()
    folder.mark_file.unlink()
    assert write_job(tmp_path / "any name", job).is_ours
    assert write_job(tmp_path / "earlier.job", job).is_ours


def test_a_full_disk_leaves_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ResourceError, match="disk is full"):
        write_job(tmp_path / "job", a_job(tmp_path))
    assert list((tmp_path / "job").iterdir()) == []


def test_who_claims_a_job_waits_for_the_disk_and_who_writes_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[str] = []
    monkeypatch.setattr(jobs, "settle", lambda path: settled.append(path.name))
    monkeypatch.setattr(os, "fsync", lambda _: settled.append("waited"))
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    assert settled == []
    with folder.claimed():
        assert settled == [folder.mark_file.name, "job.json", "waited"]
    assert read_job(folder.path) == a_job(tmp_path)


def test_the_state_follows_the_life_of_a_job(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    assert folder.state == "new"
    with folder.claimed():
        assert folder.state == "running"
        assert folder.process_id() == os.getpid()
        folder.checkpoint_file.write_bytes(b"...")
    assert folder.state == "stopped"
    with folder.claimed():
        folder.finish({"model": "models/new", "dice": 0.9})
        assert folder.state == "running"
    assert folder.state == "finished"
    assert folder.result() == {"model": "models/new", "dice": 0.9}
    assert folder.log_file.parent == folder.path


def test_a_job_is_released_when_its_work_fails(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    with pytest.raises(ValueError, match="ours"), folder.claimed():
        raise ValueError("ours")
    assert not folder.process_file.exists()


def test_another_live_process_keeps_the_job_until_it_is_killed(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    code = (
        "import pathlib, sys, time; from crgloco.jobs import JobFolder\n"
        "with JobFolder(pathlib.Path(sys.argv[1])).claimed(): print('ready', flush=True); time.sleep(60)"
    )
    package = str(Path(sys.modules[Job.__module__].__file__ or "").parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": package},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert folder.state == "running"
        assert folder.process_id() == child.pid
        with pytest.raises(JobError, match=f"worked on by process {child.pid}"), folder.claimed():
            pass
        child.kill()
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        # Killed and not yet waited for: it is nobody's any more.
        assert folder.state == "stopped"
    assert folder.state == "stopped"
    with folder.claimed():
        assert folder.state == "running"


CLAIM_AT_ONCE = """
import pathlib, sys, time
from crgloco.errors import JobError
from crgloco.jobs import JobFolder
folder, go = map(pathlib.Path, sys.argv[1:])
print("ready", flush=True)
while not go.exists():
    pass
try:
    with JobFolder(folder).claimed():
        print("claimed", flush=True)
        time.sleep(60)
except JobError:
    print("refused", flush=True)
"""


def test_of_processes_that_start_together_one_gets_the_job(tmp_path: Path) -> None:
    folder, go = write_job(tmp_path / "job", a_job(tmp_path)), tmp_path / "go"
    words = [sys.executable, "-c", CLAIM_AT_ONCE, str(folder.path), str(go)]
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True)) for _ in range(4)
        ]
        for child in children:
            stack.callback(child.kill)
        outputs = [child.stdout for child in children if child.stdout is not None]
        assert [output.readline() for output in outputs] == ["ready\n"] * 4
        go.touch()
        assert sorted(output.readline() for output in outputs) == ["claimed\n", *["refused\n"] * 3]


def test_who_checks_while_another_claims_waits_and_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    with ThreadPoolExecutor(1) as pool:
        with locked(folder.path):
            second = pool.submit(folder.claimed().__enter__)
            time.sleep(0.1)
            assert not second.done()
            folder.process_file.write_text(json.dumps({**a_claim(), "host": "elsewhere"}))
        with pytest.raises(JobError, match="on the computer elsewhere"):
            second.result()


def a_claim() -> dict[str, Any]:
    return {"pid": os.getpid(), "created": psutil.Process().create_time()}


def test_a_claim_of_another_computer_holds_until_it_is_deleted(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    folder.process_file.write_text(json.dumps({"pid": 7, "created": 1.0, "host": "station2"}))
    assert folder.state == "running"
    assert folder.process_id() is None  # of a process here, which could be killed
    words = r"process 7 on the computer station2\. .*delete .*process\.json and start again"
    with pytest.raises(JobError, match=words), folder.claimed():
        pass
    folder.process_file.unlink()
    with folder.claimed():
        assert json.loads(folder.process_file.read_text())["host"] == socket.gethostname()


def test_a_claim_that_was_freed_by_hand_is_not_let_go_for_who_holds_it_now(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    other = {"pid": 7, "created": 1.0, "host": "station2"}
    with folder.claimed():
        folder.process_file.write_text(json.dumps(other))
    assert json.loads(folder.process_file.read_text()) == other


def test_a_claim_of_an_earlier_version_is_of_this_computer(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    folder.process_file.write_text(json.dumps(a_claim()))
    assert folder.process_id() == os.getpid()


def test_who_holds_a_job_may_ask_again_and_the_first_lets_it_go(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    with folder.claimed():
        with folder.claimed():
            assert folder.state == "running"
        assert folder.state == "running"
    assert folder.process_id() is None


def test_a_reused_process_id_is_not_taken_for_the_job(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    claim = {"pid": os.getpid(), "created": psutil.Process().create_time() - 1000}
    folder.process_file.write_text(json.dumps(claim))
    assert folder.state == "stopped"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"pid": "x", "created": 1}',
        '{"pid": -1}',
        '{"pid": -1, "created": 1}',
        '{"host": "a"}',
    ],
)
def test_a_damaged_claim_is_no_claim(tmp_path: Path, text: str) -> None:
    folder = JobFolder(tmp_path)
    folder.process_file.write_text(text)
    assert folder.process_id() is None


def test_a_stop_can_be_asked_for_and_taken_back(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.clear_stop()
    folder.request_stop()
    folder.request_stop()
    assert folder.stop_file.exists()
    folder.clear_stop()
    assert not folder.stop_file.exists()
    with pytest.raises(ResourceError):
        JobFolder(tmp_path / "nowhere").request_stop()


def test_only_a_stop_from_before_the_process_started_is_forgotten(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    folder.request_stop()
    with folder.claimed():
        assert folder.stop_file.exists()
    long_ago = psutil.Process().create_time() - 60
    os.utime(folder.stop_file, (long_ago, long_ago))
    with folder.claimed():
        assert not folder.stop_file.exists()


def test_a_stop_from_the_future_stops_nobody_for_ever(tmp_path: Path) -> None:
    """The clock was set back, or that of the file server is ahead."""
    folder = write_job(tmp_path / "job", a_job(tmp_path))
    folder.request_stop()
    os.utime(folder.stop_file, (time.time() + 3600, time.time() + 3600))
    with folder.claimed():
        assert not folder.stop_file.exists()
