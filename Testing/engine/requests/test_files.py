"""Requests to a second worker that never needs torch: model files and the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from crgloco import model_store, worker
from crgloco.errors import ModelError
from crgloco.inference.device import fault_of
from crgloco.progress import Silent
from crgloco.requests import graphics, machine
from crgloco.requests.files import COMMANDS
from phantoms import write_cases_folder
from tiny_models import save_tiny_model


def test_the_worker_offers_every_file_command():
    assert set(worker.FILE_COMMANDS) == set(COMMANDS)


def test_a_model_goes_out_as_a_zip_and_comes_back(tmp_path):
    model = save_tiny_model(tmp_path / "models" / "tiny")
    fields = {"model": str(model), "zip": str(tmp_path / "tiny.zip")}
    assert COMMANDS["export_model"](fields, Silent()) == {"zip": str(tmp_path / "tiny.zip")}
    with pytest.raises(ModelError, match="exists already"):
        COMMANDS["export_model"](fields, Silent())
    COMMANDS["export_model"]({**fields, "overwrite": True}, Silent())
    answer = COMMANDS["import_model"]({"zip": fields["zip"], "into": str(tmp_path / "models")}, Silent())
    assert answer == {"path": str(tmp_path / "models" / "tiny-2")}
    assert model_store.check(tmp_path / "models" / "tiny-2") == []


def test_the_machine_is_described_in_plain_values():
    answer = machine.probe({}, Silent())
    json.dumps(answer, allow_nan=False)
    assert answer["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert answer["torch"].startswith(answer["packages"]["torch"].partition("+")[0])
    assert 0 < answer["memory_free_mb"] < answer["memory_total_mb"]
    assert answer["packages"]["monai"]


def test_a_missing_torch_and_a_broken_one_are_told_apart(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert graphics.look() == {"torch": None, "cuda_build": None, "gpus": [], "torch_error": ""}
    monkeypatch.setattr(machine, "metadata", _NoPackages)
    assert set(machine.probe({}, Silent())["packages"].values()) == {None}


def test_a_gpu_that_torch_has_no_code_for_is_listed_with_its_fault(monkeypatch):
    def ones(*_size, **_options):
        raise RuntimeError("CUDA error: no kernel image is available\nSearch for it in the manual.")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**30, 2**31))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA GeForce GTX 770")
    monkeypatch.setattr(torch, "ones", ones)
    fault_of.cache_clear()
    (gpu,) = graphics.look()["gpus"]
    fault_of.cache_clear()
    assert gpu == {
        "name": "NVIDIA GeForce GTX 770",
        "free_mb": 1024,
        "total_mb": 2048,
        "fault": "CUDA error: no kernel image is available",
    }


def test_a_gpu_that_is_too_full_for_cuda_to_start_is_listed_with_nothing_free(monkeypatch):
    def full(*_, **__):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", full)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=2**31))
    monkeypatch.setattr(torch, "ones", full)
    fault_of.cache_clear()
    answer = graphics.look()
    fault_of.cache_clear()
    assert answer["gpus"] == [{"name": "NVIDIA H200", "free_mb": 0, "total_mb": 2048, "fault": ""}]
    assert answer["torch_error"] == ""


def python_that(folder, monkeypatch, does):
    """Put a script in the place of Python."""
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


@pytest.mark.skipif(os.name == "nt", reason="a script of POSIX")
def test_a_look_at_torch_that_never_ends_is_given_up(tmp_path, monkeypatch):
    python_that(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(graphics, "PATIENCE_S", 0.2)
    assert "did not answer" in machine.probe({}, Silent())["torch_error"]


@pytest.mark.skipif(os.name == "nt", reason="a script of POSIX")
def test_a_look_at_torch_that_crashes_is_told_and_ends_nothing_else(tmp_path, monkeypatch):
    python_that(tmp_path, monkeypatch, "echo first >&2; echo 'the driver is gone' >&2; kill -9 $$")
    answer = machine.probe({}, Silent())
    assert (answer["torch"], answer["gpus"], answer["torch_error"]) == (None, [], "the driver is gone")
    python_that(tmp_path, monkeypatch, "exit 7")
    assert machine.probe({}, Silent())["torch_error"] == "The process ended with code 7."


class _NoPackages:
    class PackageNotFoundError(Exception):
        pass

    @classmethod
    def version(cls, name):
        raise cls.PackageNotFoundError(name)


# All file commands, one after the other, in a Python where importing torch is an error.
WITHOUT_TORCH = """
import json, sys
sys.modules["torch"] = sys.modules["monai"] = None
from crgloco import worker
from crgloco.progress import Silent

class Request(Silent):
    def __init__(self, **fields):
        self.fields = fields

commands = worker.engine_commands()
root, model, out = sys.argv[1:]
ask = lambda command, **fields: commands[command](Request(command=command, **fields))
case = ask("cases", folder=root, predictions=None)["cases"][0]["name"]
opened = ask("open", folder=root, case=case, out=out, predictions=None)
label = {"file": f"{out}/{opened['arrays']['label']}", "geometry": opened["geometry"]}
ask("accept", folder=root, case=case, label=label)
ask("write_label", label=label, table=opened["labels"], path=f"{out}/label.nrrd")
ask("create", folder=f"{out}/new", table=opened["labels"], channel_names=["MR"])
ask("check", folder=root, unlabelled=[])
ask("export_model", model=model, zip=f"{out}/m.zip")
assert ask("probe")["torch"], "looked at in a process of its own"
ask("import_model", zip=f"{out}/m.zip", into=f"{out}/models")
print(json.dumps(sorted(name for name in sys.modules if name.partition(".")[0] in ("torch", "monai"))))
"""


def test_no_file_command_imports_torch(tmp_path):
    cases = write_cases_folder(tmp_path / "cases", 2, 0)
    model = save_tiny_model(tmp_path / "tiny")
    words = [sys.executable, "-c", WITHOUT_TORCH, str(cases), str(model), str(tmp_path / "out")]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["monai", "torch"]  # the two None that we put there


def test_what_slicer_asks_of_jobs_needs_no_psutil(tmp_path):
    code = """
import sys
from types import SimpleNamespace
sys.modules["psutil"] = None
from pathlib import Path
from crgloco import jobs
from crgloco.job_file import Job
from crgloco.errors import ResourceError
folder = jobs.write_job(Path(sys.argv[1]), Job(Path("cases"), "cr_gloco", Path("out")))
assert folder.state == "new"
folder.process_file.write_text('{"pid": 1, "created": 0}')
assert folder.state == "stopped"
folder.process_file.write_text('{"pid": 1, "created": 0, "host": "elsewhere"}')
assert folder.state == "running"
folder.process_file.unlink()
try:
    with folder.claimed():
        raise SystemExit("claimed without psutil")
except ResourceError as error:
    assert "psutil" in str(error)
"""
    words = [sys.executable, "-c", code, str(tmp_path / "job")]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
