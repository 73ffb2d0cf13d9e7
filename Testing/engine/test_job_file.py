"""What a job file says is read whole, or refused with the key."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from crgloco.errors import JobError
from crgloco.job_file import Job, read_job
from damage import refused

MINIMAL = {"cases": "cases", "method": "supervised", "out": "../models/new"}


def write_text(folder: Path, values: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "job.json").write_text(json.dumps(values))
    return folder


def test_any_damage_of_a_job_is_refused_in_words_or_does_no_harm(tmp_path: Path) -> None:
    job = {
        **MINIMAL,
        "unlabelled": ["more"],
        "start": "old",
        "labelled": 4,
        "minutes": 5,
        "config": {"iterations": 5},
    }
    found = refused(job, lambda values: read_job(write_text(tmp_path / "job", values)))
    assert {"cases: missing", "labelled: -1", "minutes: inf", "unlabelled.0: None", "start: "} <= found.keys()
    assert all("job.json" in text for text in found.values())


def test_relative_paths_start_at_the_job(tmp_path: Path) -> None:
    job = read_job(write_text(tmp_path / "job", {**MINIMAL, "unlabelled": ["more", "/data"], "start": "old"}))
    base = tmp_path / "job"
    assert job.cases == base / "cases"
    assert job.out == base / "../models/new"
    assert job.unlabelled == (base / "more", Path("/data"))
    assert job.start == base / "old"


def test_a_tilde_in_a_job_is_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(tmp_path / "home")
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("USERPROFILE", home)  # Windows' word for it
    job = Job.from_json({"cases": "~/cases", "method": "supervised", "out": "~mine/model"}, tmp_path)
    assert job.cases == tmp_path / "home" / "cases"
    assert job.out == tmp_path / "~mine" / "model"


def test_what_a_job_leaves_out_gets_the_defaults(tmp_path: Path) -> None:
    job = read_job(write_text(tmp_path / "job", MINIMAL))
    assert (job.config, job.config_name, job.seed, job.device) == ({}, "default", 0, "auto")
    assert (job.labelled, job.iterations, job.minutes) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 3}, "'epochs' is unknown. Known keys: cases, method"),
        ({"cases": None}, "'cases' is missing"),
        ({"out": ""}, "'out' is missing"),
        ({"method": 3}, "'method' cannot be used: 3"),
        ({"cases": 3}, "'cases' cannot be used"),
        ({"iterations": 0}, "'iterations' cannot be used: 0"),
        ({"iterations": True}, "'iterations'"),
        ({"iterations": 1.5}, "'iterations'"),
        ({"minutes": 0}, "'minutes'"),
        ({"minutes": float("nan")}, "'minutes'"),
        ({"labelled": 0}, "'labelled'"),
        ({"seed": -1}, "'seed'"),
        ({"seed": 2**63}, "'seed' cannot be used: 9223372036854775808. .*from 0 to 9223372036854775807"),
        ({"config": []}, "'config'"),
        ({"unlabelled": "folder"}, "'unlabelled'"),
        ({"start": ""}, "'start'"),
        ({"device": None}, "'device'"),
    ],
)
def test_a_job_that_cannot_be_used_is_refused_with_the_key(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    folder = write_text(tmp_path / "job", MINIMAL | change)
    with pytest.raises(JobError, match=rf"job.json: .*{words}"):
        read_job(folder)


def test_a_missing_or_damaged_job_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JobError, match=r"job.json does not exist"):
        read_job(tmp_path)
    (tmp_path / "job.json").write_text('{"cases": "a", ')
    with pytest.raises(JobError, match=r"job.json is no JSON, or is cut off"):
        read_job(tmp_path)
    (tmp_path / "job.json").write_text("[1]")
    with pytest.raises(JobError, match="a JSON object"):
        read_job(tmp_path)

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(JobError, match="cannot be read: Permission denied"):
        read_job(tmp_path)
