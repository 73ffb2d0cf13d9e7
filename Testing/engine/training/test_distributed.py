"""Two processes (gloo, CPU) that share a run against one process with the same whole batch."""

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from crgloco.errors import Cancelled
from crgloco.job_file import Job
from crgloco.jobs import JobFolder
from crgloco.progress import Silent
from crgloco.training import fine_tune
from crgloco.training.distributed import (
    Team,
    agree,
    agreed_stop,
    average_gradients,
    join_team,
    leave_team,
    own_gpu,
)
from tiny_training import differing, weights_of

pytestmark = pytest.mark.timeout(600)

MEMBER = Path(__file__).with_name("team_member.py")
# Gradients are summed in another order: float32 rounding, carried through three updates.
TOLERANCE = 2e-6


def member_module():
    spec = importlib.util.spec_from_file_location("team_member", MEMBER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def team_results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("team")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    paths = os.pathsep.join([str(MEMBER.parents[1]), os.environ.get("PYTHONPATH", "")])
    members = [
        subprocess.Popen(
            [sys.executable, str(MEMBER), str(folder)],
            env={**os.environ, **here, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [member.communicate(timeout=500)[0] for member in members]
    finally:
        for member in members:
            member.kill()
    assert [member.returncode for member in members] == [0, 0], "\n".join(outputs)
    return folder


def weights(folder: Path, name: str, rank: int) -> dict[str, torch.Tensor]:
    return torch.load(folder / f"{name}-{rank}.pt", weights_only=True)


@pytest.mark.parametrize("name", ["supervised", "released", "default", "soft", "hurried"])
def test_all_processes_hold_the_same_weights_bitwise(team_results, name):
    first, second = (weights(team_results, name, rank) for rank in range(2))
    assert differing(first, second) == []


@pytest.mark.parametrize("name", ["supervised", "released"])
def test_two_processes_learn_what_one_process_with_the_whole_batch_learns(team_results, name, monkeypatch):
    member = member_module()
    monkeypatch.setattr(member.training, "mixed_precision", None)  # restored after the test
    member.in_float32()
    method = getattr(member, name)()
    start = weights_of(method)
    member.train(method, Team())
    alone, together = weights_of(method), weights(team_results, name, 0)
    moved = max(float((alone[key] - start[key]).abs().max()) for key in alone)
    assert moved > 100 * TOLERANCE
    for key, value in alone.items():
        torch.testing.assert_close(
            together[key], value, rtol=0, atol=TOLERANCE, msg=lambda m, k=key: f"{k}: {m}"
        )


def test_only_the_leading_process_reports_and_writes_checkpoints(team_results):
    told = [json.loads((team_results / f"told-{rank}.json").read_text()) for rank in range(2)]
    assert told[0]["supervised"] == 3
    assert told[1]["supervised"] == 0
    assert sorted(file.name for file in team_results.glob("*.checkpoint")) == [
        "default-0.checkpoint", "released-0.checkpoint", "soft-0.checkpoint", "supervised-0.checkpoint"
    ]  # fmt: skip


def test_a_stop_asked_of_one_process_ends_all_after_the_same_update(team_results):
    ends = [json.loads((team_results / f"told-{rank}.json").read_text())["stopped"] for rank in range(2)]
    assert ends[0] == ends[1]
    assert "after 2 updates" in ends[0]


def test_a_process_on_its_own_is_its_own_team(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert own_gpu() is None
    team = join_team("cpu")
    assert team == Team(0, 1, 0)
    assert team.leads
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join_team("cpu") == Team()
    leave_team()


@pytest.mark.parametrize(
    ("device", "nccl", "backend"), [("cuda", True, "nccl"), ("cuda", False, "gloo"), ("cpu", True, "gloo")]
)
def test_gpus_speak_by_nccl_where_torch_has_it(device, nccl, backend, monkeypatch):
    chosen = []
    answers = {"is_nccl_available": nccl, "is_initialized": False, "get_rank": 1, "get_world_size": 2}
    for name, answer in answers.items():
        monkeypatch.setattr(torch.distributed, name, lambda answer=answer: answer)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda name, **_: chosen.append(name))
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert join_team(device) == Team(1, 2, 1, device)
    assert chosen == [backend]


@pytest.mark.parametrize(
    ("backend", "alone", "ended"), [("nccl", True, 0), ("nccl", False, 1), ("gloo", True, 1)]
)
def test_a_process_that_fails_alone_does_not_wait_for_the_others_in_nccl(backend, alone, ended, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: backend)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: calls.append(backend))
    leave_team(alone=alone)
    assert len(calls) == ended


@pytest.mark.parametrize(
    ("error", "alone"),
    [(None, False), (Cancelled("Stopped."), False), (MemoryError(), True), (OSError(), True)],
)
def test_who_finishes_or_stops_leaves_with_all_and_who_fails_alone(error, alone, tmp_path, monkeypatch):
    left = []
    monkeypatch.setattr(fine_tune, "leave_team", lambda *, alone: left.append(alone))
    monkeypatch.setattr(fine_tune, "_run", Mock(side_effect=error, return_value=tmp_path))
    (tmp_path / "job").mkdir()
    job = Job(cases=tmp_path, method="supervised", out=tmp_path / "model", device="cpu")
    with contextlib.suppress(Exception):
        fine_tune.run(job, JobFolder(tmp_path / "job"), Silent())
    assert left == [alone]


def test_each_process_of_a_team_takes_the_gpu_of_its_number(monkeypatch):
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert own_gpu() == 1


def test_alone_one_agrees_with_oneself():
    assert agree(Team(), "a\nb")


def test_processes_agree_where_all_hold_the_same_text_and_only_there(team_results):
    for rank in range(2):
        told = json.loads((team_results / f"agreed-{rank}.json").read_text())
        assert told == {"same": True, "different": False}


def test_alone_gradients_stay_and_a_wish_is_a_decision():
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.arange(3.0)
    average_gradients([parameter], Team())
    assert torch.equal(parameter.grad, torch.arange(3.0))
    assert agreed_stop(Team(), wanted=True)
    assert not agreed_stop(Team(), wanted=False)
