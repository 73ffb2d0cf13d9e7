"""The worker as a program sees it: requests in, events out, in a process of its own."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from crgloco.progress import parse_event
from crgloco.worker import PATIENCE_S, give_memory_back
from phantoms import write_cases_folder
from tiny_models import save_tiny_model

# A worker whose commands need no model; "noisy" writes to stdout from Python, from C and from a child.
FAKE = """
import os, subprocess, sys, threading, time
from crgloco import worker
from crgloco.errors import InputError
from crgloco.progress import EventLines

def echo(request):
    return {"said": request.fields.get("text")}

def slow(request):
    for done in range(1000):
        request.check()
        request.event("progress", stage="waiting", done=done, total=1000)
        time.sleep(0.02)
    return {}

def stuck(request):
    request.event("message", text="stuck")
    time.sleep(60)
    return {}

def noisy(request):
    print("python says hello", flush=True)
    os.write(1, b"C says hello\\n")
    subprocess.run([sys.executable, "-c", "print('a child says hello')"])
    return {}

def wrong(request):
    raise InputError("scan.nii is\\ncut off.")

def fault(request):
    raise ZeroDivisionError("nobody foresaw this")

def hog(request):
    request.event("message", text="waiting for the end")
    request.stop.wait()
    time.sleep(0.3)
    sum(range(10**13))  # keeps Python's lock for minutes
    return {}

def poor(request):
    raise MemoryError("Unable to allocate 9 TiB")

def poor_torch(request):
    raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

def gpu(request):
    raise RuntimeError("CUDA error: unspecified launch failure\\nCompile with TORCH_USE_CUDA_DSA.")

def bare(request):
    import a_package_that_nobody_has

def broken(request):
    import crgloco.a_module_that_we_forgot

worker.PATIENCE_S = 1.0
functions = (echo, slow, stuck, noisy, wrong, fault, hog, poor, poor_torch, gpu, bare, broken)
commands = {f.__name__: f for f in functions}
sys.exit(worker.serve_on_stdin(commands))
"""


class Program:
    """The other side of the worker: writes requests, collects events."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.log: list[str] = []
        self.threads = [
            threading.Thread(target=self._collect, daemon=True),
            threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    def _collect(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)

    def ask(self, command: str, number: int | str | None = None, **fields: Any) -> None:
        self.write(json.dumps({"command": command, "id": number, **fields}) + "\n")

    def write(self, text: str) -> None:
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def event(self, *kinds: str, number: Any = ..., timeout: float = 60.0) -> dict[str, Any]:
        """The next event of one of the kinds (and of one request); every line must be an event."""
        end = time.monotonic() + timeout
        while True:
            line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            event = parse_event(line)
            assert event is not None, f"not an event: {line!r}"
            if event["event"] in kinds and (number is ... or event.get("id") == number):
                return event

    def last(self, number: int | str, timeout: float = 60.0) -> dict[str, Any]:
        return self.event("result", "error", "cancelled", number=number, timeout=timeout)

    def end(self) -> None:
        """Kill it if a test failed half-way; collect what it said."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        for thread in self.threads:
            thread.join(20)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()


@pytest.fixture
def fake(tmp_path):
    program = Program("-c", FAKE)
    yield program
    program.end()


def test_the_first_event_tells_the_process_id(fake):
    assert fake.event("ready", "error")["pid"] == fake.process.pid


@pytest.mark.parametrize("attempt", range(5))
def test_the_first_event_is_ready_also_where_lines_wait_before_the_worker_listens(fake, attempt):
    fake.write("what?\n" * 20 + json.dumps({"command": "sing", "id": 1}) + "\n")
    fake.ask("echo", 2, text=attempt)
    assert parse_event(fake.lines.get(timeout=60))["event"] == "ready"
    for number in (*[None] * 20, 1):
        assert fake.event("ready", "error", "result")["id"] == number
    assert fake.last(2)["said"] == attempt


def test_a_request_is_told_when_its_turn_comes(fake):
    fake.ask("slow", 1)
    fake.ask("echo", 2)
    assert fake.event("started")["id"] == 1
    fake.event("progress", number=1)
    fake.ask("cancel", 1)
    assert fake.event("cancelled", "started")["event"] == "cancelled"
    assert fake.event("started")["id"] == 2
    assert fake.last(2)["event"] == "result"


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        ("poor", "ResourceError", "memory"),
        ("poor_torch", "ResourceError", "memory"),
        ("bare", "ResourceError", "a_package_that_nobody_has is missing"),
        ("broken", "Fault", "a_module_that_we_forgot"),
    ],
)
def test_a_lack_of_memory_or_of_a_package_is_told_in_words(fake, command, kind, words):
    fake.ask(command, 1)
    error = fake.last(1)
    assert error["type"] == kind
    assert words in error["text"]
    assert "Traceback" in error["traceback"]
    fake.ask("echo", 2)
    assert fake.last(2)["event"] == "result"


def test_a_gpu_that_fails_is_told_in_words_and_ends_the_worker_for_a_new_one(fake):
    fake.ask("gpu", 1)
    error = fake.last(1)
    assert error["type"] == "ResourceError"
    assert "The GPU failed (CUDA error: unspecified launch failure)" in error["text"]
    assert fake.process.wait(60) == 0


def test_memory_that_a_failed_gpu_does_not_give_back_hides_no_answer(monkeypatch):
    def lost():
        raise RuntimeError("CUDA error: unspecified launch failure")

    cuda = SimpleNamespace(is_available=lambda: True, empty_cache=lost)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    give_memory_back()


def test_an_answer_carries_the_id_of_its_request(fake):
    fake.ask("echo", 7, text="é")
    fake.ask("echo", "seven", text="b")
    assert fake.last(7) == {"event": "result", "id": 7, "said": "é"}
    assert fake.last("seven")["said"] == "b"


def test_what_libraries_print_never_reaches_the_events(fake):
    fake.ask("noisy", 1)
    fake.ask("echo", 2)
    assert fake.last(1)["event"] == "result"
    assert fake.last(2)["event"] == "result"
    fake.process.stdin.close()
    fake.process.wait(20)
    fake.threads[1].join(20)
    log = "".join(fake.log)
    assert "python says hello" in log
    assert "C says hello" in log
    assert "a child says hello" in log


def test_a_failing_request_is_told_in_one_line_and_does_not_end_the_worker(fake):
    fake.ask("wrong", 1)
    error = fake.last(1)
    assert (error["event"], error["type"], error["text"]) == ("error", "InputError", "scan.nii is cut off.")
    fake.ask("fault", 2)
    error = fake.last(2)
    assert error["type"] == "Fault"
    assert "nobody foresaw this" in error["text"]
    assert "Traceback" in error["traceback"]
    fake.ask("echo", 3)
    assert fake.last(3)["event"] == "result"


@pytest.mark.parametrize(
    "line", ["what?", "[1, 2]", "{}", '{"command": 3}', '{"command": "echo"}', '{"command": "sing", "id": 1}']
)
def test_a_line_that_is_no_request_is_answered_by_an_error(fake, line):
    fake.write(line + "\n")
    assert fake.event("error")["text"]
    fake.ask("echo", 5)
    assert fake.last(5)["event"] == "result"


def test_bytes_that_are_no_text_are_answered_by_an_error(fake):
    fake.process.stdin.buffer.write(b"\xff\xfe\x00garbage\n")
    fake.process.stdin.flush()
    assert fake.event("error")["text"]
    fake.ask("echo", 5)
    assert fake.last(5)["event"] == "result"


def test_an_empty_line_is_passed_over(fake):
    fake.write("\n  \n")
    fake.ask("echo", 1)
    assert fake.event("error", "result")["event"] == "result"


def test_an_id_in_use_is_refused_and_the_first_request_goes_on(fake):
    fake.ask("slow", 1)
    fake.event("progress", number=1)
    fake.ask("echo", 1)
    assert "still open" in fake.event("error", number=1)["text"]
    fake.ask("cancel", 1)
    assert fake.last(1)["event"] == "cancelled"


def test_a_running_request_is_cancelled_and_the_next_one_runs(fake):
    fake.ask("slow", 1)
    fake.event("progress", number=1)
    fake.ask("cancel", 1)
    assert fake.last(1, timeout=5)["event"] == "cancelled"
    fake.ask("echo", 1)
    assert fake.last(1)["event"] == "result"


def test_a_waiting_request_is_cancelled_at_once_while_another_runs(fake):
    fake.ask("slow", 1)
    fake.ask("echo", 2)
    fake.event("progress", number=1)
    fake.ask("cancel", 2)
    assert fake.last(2, timeout=5)["event"] == "cancelled"
    fake.ask("cancel", 1)
    assert fake.last(1)["event"] == "cancelled"
    fake.ask("echo", 3)
    assert fake.event("result", "cancelled", "error")["id"] == 3


def test_cancelling_what_is_over_is_no_error(fake):
    fake.ask("echo", 1)
    fake.last(1)
    fake.ask("cancel", 1)
    fake.ask("echo", 2)
    assert fake.event("error", "result", "cancelled")["id"] == 2


def test_the_end_of_stdin_ends_the_worker_in_the_middle_of_work(fake):
    fake.ask("slow", 1)
    fake.event("progress", number=1)
    began = time.monotonic()
    fake.process.stdin.close()
    assert fake.process.wait(10) == 0
    assert time.monotonic() - began < PATIENCE_S + 1


def test_the_end_of_stdin_ends_also_work_that_never_listens(fake):
    fake.ask("stuck", 1)
    fake.event("message", number=1)
    fake.process.stdin.close()
    assert fake.process.wait(10) == 0


def test_the_end_of_stdin_ends_also_work_that_keeps_pythons_lock(fake):
    fake.ask("hog", 1)
    fake.event("message", number=1)
    fake.process.stdin.close()
    fake.process.wait(4)


def test_a_worker_outlives_its_program_by_less_than_five_seconds():
    from crgloco import worker

    assert worker.PATIENCE_S + 0.5 < 4


def test_a_shutdown_ends_the_worker(fake):
    fake.ask("slow", 1)
    fake.event("progress", number=1)
    fake.ask("shutdown")
    assert fake.last(1)["event"] == "cancelled"
    assert fake.process.wait(10) == 0


@pytest.mark.skipif(os.name == "nt", reason="a closed pipe shows itself otherwise on Windows")
def test_a_worker_that_nobody_listens_to_ends():
    reading, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", FAKE], stdin=subprocess.PIPE, stdout=writing) as process:
        os.close(writing)
        process.stdin.write(b'{"id": 1, "command": "slow"}\n')
        process.stdin.flush()
        assert os.read(reading, 1)
        os.close(reading)
        assert process.wait(10) == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "ellipsoids")


@pytest.fixture
def worker():
    program = Program("-m", "crgloco", "worker")
    yield program
    program.end()


@pytest.mark.slow
def test_a_real_worker_estimates_predicts_twice_ranks_and_ends(worker, model, tmp_path):
    assert worker.event("ready")["pid"] == worker.process.pid
    cases = write_cases_folder(tmp_path / "cases", 1, 1)
    scan = str(cases / "imagesTr" / "phantom_000_0000.nii.gz")
    worker.ask("estimate", 1, model=str(model), input=scan)
    estimate = worker.last(1, 120)
    assert estimate["event"] == "result", estimate
    assert estimate["fits"]
    worker.ask("estimate", 2, model=str(model), shape=[9000, 9000, 9000], spacing=[0.01, 0.01, 0.01])
    assert not worker.last(2)["fits"]
    worker.ask("predict", 3, model=str(model), input=scan, out=str(tmp_path / "out"), device="cpu")
    result = worker.last(3, 120)
    assert result["cases"][0]["case"] == "phantom_000"
    assert (tmp_path / "out" / "phantom_000_confidence.nii.gz").is_file()
    worker.ask("predict", 4, model=str(model), channels=[scan], name="again", out=str(tmp_path / "out"))
    assert worker.last(4, 120)["cases"][0]["case"] == "again"
    worker.ask("predict", 5, model=str(model), input=str(tmp_path / "none.nii.gz"), out=str(tmp_path / "out"))
    assert worker.last(5)["event"] == "error"
    worker.ask("predict", 6, model=str(tmp_path), input=scan, out=str(tmp_path / "out"))
    assert worker.last(6)["type"] == "ModelError"
    worker.ask("rank", 7, model=str(model), input=str(cases), quality="fast")
    assert [case["case"] for case in worker.last(7, 120)["cases"]] == ["phantom_001"]
    worker.ask("predict", 8, model=str(model), input=scan, out=str(tmp_path / "out"), quality="best")
    assert "quality" in worker.last(8)["text"]
    worker.ask("unload", 9)
    assert worker.last(9)["event"] == "result"
    worker.process.stdin.close()
    assert worker.process.wait(20) == 0


def test_a_real_worker_segments_an_array_and_predicts_a_case_of_a_folder(worker, model, tmp_path):
    cases = write_cases_folder(tmp_path / "cases", 1, 1)
    worker.ask("open", 1, folder=str(cases), case="phantom_001", out=str(tmp_path / "in"))
    opened = worker.last(1)
    assert opened["event"] == "result", opened
    image = {"file": str(tmp_path / "in" / opened["arrays"]["image_0"]), "geometry": opened["geometry"]}
    wish = {"model": str(model), "arrays": [image], "device": "cpu", "quality": "fast"}
    worker.ask("segment", 2, **wish, out=str(tmp_path / "out"))
    answer = worker.last(2, 120)
    assert answer["event"] == "result", answer
    assert (tmp_path / "out" / answer["arrays"]["fused"]).is_file()
    out = cases / "predictions"
    wish = {"model": str(model), "folder": str(cases), "case": "phantom_001", "out": str(out)}
    worker.ask("predict", 3, **wish, device="cpu", quality="fast")
    assert worker.last(3, 120)["failed"] == 0
    worker.ask("cases", 4, folder=str(cases), predictions=str(out))
    assert [case["state"] for case in worker.last(4)["cases"]] == ["corrected", "predicted"]
    label = {"file": str(tmp_path / "out" / answer["arrays"]["fused"]), "geometry": answer["geometry"]}
    worker.ask("accept", 5, folder=str(cases), case="phantom_001", label=label)
    assert worker.last(5)["revision"] == 1
    worker.ask("accept", 6, folder=str(cases), case="phantom_001", label={"file": 3})
    assert worker.last(6)["type"] in {"OptionError", "GeometryError"}


@pytest.mark.slow
def test_a_real_prediction_is_cancelled_and_cut_short_by_the_end_of_stdin(worker, model, tmp_path):
    cases = write_cases_folder(tmp_path / "cases", 1, 0, shape=(64, 96, 96))
    scan = str(cases / "imagesTr" / "phantom_000_0000.nii.gz")
    wish = {"model": str(model), "input": scan, "out": str(tmp_path / "out"), "quality": "full"}
    worker.ask("predict", 1, **wish)
    while worker.event("progress", number=1, timeout=120)["stage"] != "local windows":
        pass
    worker.ask("cancel", 1)
    assert worker.last(1, 20)["event"] == "cancelled"
    worker.ask("predict", 2, **wish)
    while worker.event("progress", number=2, timeout=120)["stage"] != "local windows":
        pass
    worker.process.stdin.close()
    assert worker.process.wait(10) == 0
    assert not list((tmp_path / "out").glob("*.part"))
