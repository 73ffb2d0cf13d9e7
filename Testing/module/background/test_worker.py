"""Requests to a worker process as they go well, and every way in which they do not."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from child_scripts import diesWithin
from CRGLoCoSegmentLib.background import worker as module
from CRGLoCoSegmentLib.background.ticker import waitUntil
from CRGLoCoSegmentLib.background.worker import Worker

# The engine's own worker, with commands that need no model.
SERVED = """
import os, sys, time
from crgloco import worker
from crgloco.errors import InputError

def echo(request):
    return {key: value for key, value in request.fields.items() if key not in ("id", "command")}

def slow(request):
    for done in range(1000):
        request.check()
        request.event("progress", stage="waiting", done=done, total=1000)
        time.sleep(0.02)
    return {}

def deaf(request):
    request.event("message", text="I do not listen")
    time.sleep(60)
    return {}

def wrong(request):
    raise InputError("scan.nii is cut off.")

def fault(request):
    raise ZeroDivisionError("nobody foresaw this")

def die(request):
    print(request.fields["words"], file=sys.stderr, flush=True)
    os._exit(request.fields["code"])

def crash(request):
    os.kill(os.getpid(), 11)

worker.PATIENCE_S = 0.5
sys.exit(worker.serve_on_stdin({f.__name__: f for f in (echo, slow, deaf, wrong, fault, die, crash)}))
"""

# A child that answers each request only after a lot of rubbish of every kind.
RUBBISH = """
import json, os, sys
for line in sys.stdin:
    number = json.loads(line)["id"]
    os.write(1, b'Loading...\\n@{"event"\\n@{}\\n@{"event": "result"}\\n@{"event": "result", "id": 99}\\n')
    os.write(1, b'@{"event": "result", "id": [1]}\\n@{"event": "error", "id": null}\\n\\xff\\xfe\\x00\\n')
    os.write(1, b'@{"event": 3, "id": true}\\n' + b'@{"event":' + b'[' * 100000 + b'\\n')
    os.write(1, b'x' * 100000 + b'\\n@{"event": "result", ')
    os.write(1, b'"id": %d, "big": "%s"}\\n' % (number, b'y' * 100000))
"""


class Heard:
    """What the callbacks of one request heard."""

    def __init__(self, worker, command, **fields):
        self.results, self.errors, self.events, self.cancelled = [], [], [], 0
        self.worker = worker
        self.request = worker.ask(
            command,
            fields,
            onResult=self.results.append,
            onError=self.errors.append,
            onProgress=self.events.append,
            onCancelled=self._cancel,
        )

    def _cancel(self):
        self.cancelled += 1

    def wait(self, seconds=20):
        assert self.worker.wait(self.request, seconds), (self.request.state, self.worker.logLines())
        assert len(self.results) + len(self.errors) + self.cancelled == 1
        return self

    def waitForEvent(self, seconds=20):
        assert waitUntil(lambda: bool(self.events), seconds), self.worker.logLines()


@pytest.fixture
def worker():
    made = Worker("test", command=[sys.executable, "-c", SERVED])
    yield made
    made.end()


def other(code):
    return Worker("test", command=[sys.executable, "-c", code])


def test_nothing_is_started_before_the_first_request(worker):
    assert (worker.isRunning(), worker.isBusy(), worker.pid) == (False, False, None)
    worker.end()


def test_an_answer_arrives_with_paths_numbers_and_letters_as_they_were(worker):
    fields = {"path": Path("/tmp/ä b"), "n": np.int64(3), "x": np.float32(0.5), "text": "肝"}
    heard = Heard(worker, "echo", **fields).wait()
    assert heard.results == [{"path": "/tmp/ä b", "n": 3, "x": 0.5, "text": "肝"}]
    assert heard.request.state == "done"
    assert not worker.isBusy()
    assert worker.pid == worker._child.pid


def test_what_cannot_be_sent_is_refused_at_once_and_leaves_nothing_open(worker):
    with pytest.raises(TypeError, match="cannot be sent"):
        Heard(worker, "echo", thing=object())
    assert not worker.isBusy()


def test_requests_are_answered_in_order_by_one_process(worker):
    all_heard = [Heard(worker, "echo", number=number) for number in range(20)]
    pids = {heard.wait() and worker.pid for heard in all_heard}
    assert [heard.results[0]["number"] for heard in all_heard] == list(range(20))
    assert len(pids) == 1


def test_a_request_is_waiting_then_running_and_tells_its_progress(worker):
    first, second = Heard(worker, "slow"), Heard(worker, "slow")
    assert first.request.state == "waiting"
    first.waitForEvent()
    assert (first.request.state, second.request.state) == ("running", "waiting")
    assert first.events[0] == {"event": "progress", "stage": "waiting", "done": 0, "total": 1000}
    first.request.cancel()
    first.wait()


def test_an_error_of_the_engine_arrives_with_its_kind(worker):
    (error,) = Heard(worker, "wrong").wait().errors
    assert (str(error), error.kind) == ("scan.nii is cut off.", "InputError")


def test_a_fault_of_ours_arrives_with_its_traceback(worker):
    (error,) = Heard(worker, "fault").wait().errors
    assert error.kind == "Fault"
    assert "nobody foresaw this" in str(error)
    assert "Traceback" in error.details


def test_an_unknown_command_is_an_error_and_no_end(worker):
    (error,) = Heard(worker, "sing").wait().errors
    assert "sing" in str(error)
    assert Heard(worker, "echo").wait().results


# -------------------------------------------------------------------------------------------- cancelling


def test_a_running_request_is_cancelled_and_the_process_goes_on(worker):
    heard = Heard(worker, "slow")
    heard.waitForEvent()
    pid = worker.pid
    heard.request.cancel()
    heard.request.cancel()
    assert heard.wait(5).request.state == "cancelled"
    assert Heard(worker, "echo").wait().results
    assert worker.pid == pid


def test_a_waiting_request_is_cancelled_while_another_runs(worker):
    first, second = Heard(worker, "slow"), Heard(worker, "echo")
    first.waitForEvent()
    second.request.cancel()
    assert second.wait(5).cancelled == 1
    assert first.request.state == "running"
    first.request.cancel()
    first.wait(5)


def test_a_request_that_was_cancelled_before_the_process_was_up_never_runs(worker):
    heard = Heard(worker, "slow")
    heard.request.cancel()
    assert heard.wait().cancelled == 1
    assert heard.events == []


def test_cancelling_what_is_over_changes_nothing(worker):
    heard = Heard(worker, "echo").wait()
    heard.request.cancel()
    assert Heard(worker, "echo").wait().results
    assert (heard.request.state, heard.cancelled) == ("done", 0)


def test_work_that_does_not_hear_a_cancel_is_ended_and_what_waits_behind_it_still_runs(worker, monkeypatch):
    monkeypatch.setattr(module, "CANCEL_PATIENCE_S", 0.5)
    deaf, behind = Heard(worker, "deaf"), Heard(worker, "echo", text="still wanted")
    deaf.waitForEvent()
    pid, began = worker.pid, time.monotonic()
    deaf.request.cancel()
    assert deaf.wait(5).cancelled == 1
    assert time.monotonic() - began < 3
    assert diesWithin(pid, 1)
    assert behind.wait().results == [{"text": "still wanted"}]
    assert worker.pid != pid


def test_no_cancel_takes_longer_than_five_seconds():
    assert module.CANCEL_PATIENCE_S + module.WATCH_MS / 1000 < 5


# -------------------------------------------------------------------------------------- processes that die


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_every_open_request_of_a_killed_worker_fails_with_words_and_the_next_one_starts_a_new_one(worker):
    all_heard = [Heard(worker, "slow"), Heard(worker, "echo")]
    all_heard[0].waitForEvent()
    pid = worker.pid
    os.kill(pid, signal.SIGKILL)
    for heard in all_heard:
        (error,) = heard.wait(5).errors
        assert error.kind == "Died"
        assert "memory" in str(error)
        assert heard.request.state == "failed"
    assert (worker.isRunning(), worker.isBusy(), worker.pid) == (False, False, None)
    assert Heard(worker, "echo").wait().results
    assert worker.pid != pid


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_crash_in_native_code_is_told_as_one(worker):
    (error,) = Heard(worker, "crash").wait().errors
    assert error.kind == "Died"
    assert "crashed" in str(error)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory.", 1, "memory did not suffice"),
        ("ModuleNotFoundError: No module named 'torch'", 1, "torch is missing"),
        ("something else", 7, "exit code 7"),
        ("", 0, "ended unexpectedly"),
    ],
)
def test_the_last_words_of_a_worker_tell_why_it_died(worker, words, code, said):
    (error,) = Heard(worker, "die", words=words, code=code).wait().errors
    assert (error.kind, said in str(error)) == ("Died", True), str(error)
    assert words in error.details


def test_the_last_words_of_an_earlier_worker_are_not_taken_for_those_of_a_later_one(worker):
    (first,) = Heard(worker, "die", words="torch.OutOfMemoryError: CUDA out of memory.", code=1).wait().errors
    (second,) = Heard(worker, "die", words="something else", code=7).wait().errors
    assert ["memory" in str(error) for error in (first, second)] == [True, False]
    assert "OutOfMemoryError" not in second.details


def test_a_request_that_was_cancelled_when_the_worker_died_is_cancelled(worker):
    heard = Heard(worker, "deaf")
    heard.waitForEvent()
    heard.request.cancel()
    os.kill(worker.pid, 9)
    assert heard.wait(5).cancelled == 1


def test_a_callback_may_ask_anew_when_the_worker_died(worker):
    second = []
    first = Heard(worker, "slow")
    first.request._onError = lambda error: (
        first.errors.append(error),
        second.append(Heard(worker, "echo", text="again")),
    )
    first.waitForEvent()
    os.kill(worker.pid, 9)
    first.wait(5)
    assert second[0].wait().results == [{"text": "again"}]


def test_a_worker_that_cannot_be_started_fails_the_request_with_the_reason():
    worker = Worker("test", command=["/no/such/PythonSlicer", "-m", "crgloco", "worker"])
    for _ in range(2):
        (error,) = Heard(worker, "echo").wait().errors
        assert error.kind == "Died"
        assert "/no/such/PythonSlicer" in str(error)


def test_the_launchers_trouble_with_letters_in_a_folder_is_explained():
    worker = other("import sys; sys.exit('error: Failed to obtain launcher executable name')")
    (error,) = Heard(worker, "echo").wait().errors
    assert "plain ASCII" in str(error)


def test_a_python_without_the_engine_is_told_by_the_packages_name():
    (error,) = Heard(other("import a_package_of_nobody"), "echo").wait().errors
    assert "a_package_of_nobody is missing" in str(error)


def test_a_worker_that_ends_by_itself_between_requests_is_started_again():
    code = "import sys, json\nn = json.loads(sys.stdin.readline())['id']\nprint('@' + json.dumps(%s))"
    worker = other(code % "{'event': 'result', 'id': n}")
    for _ in range(2):
        Heard(worker, "echo").wait()
        assert waitUntil(lambda: not worker.isRunning(), 10)


# ------------------------------------------------------------------------------------------------ rubbish


def test_rubbish_on_stdout_is_log_and_answers_among_it_are_found():
    worker = other(RUBBISH)
    for _ in range(2):
        (answer,) = Heard(worker, "echo").wait().results
        assert len(answer["big"]) == 100_000
    assert "Loading..." in worker.logLines()
    worker.end()


def test_a_callback_that_fails_keeps_nothing_else_from_its_end(worker, caplog):
    first = Heard(worker, "slow")
    first.request._onProgress = lambda _event: 1 / 0
    second = Heard(worker, "echo")
    assert waitUntil(lambda: "ZeroDivisionError" in caplog.text, 20)
    first.request.cancel()
    assert second.wait().results


# ------------------------------------------------------------------------------------------------- the end


def test_ending_tells_open_requests_and_leaves_no_process(worker):
    heard = [Heard(worker, "slow"), Heard(worker, "echo")]
    heard[0].waitForEvent()
    pid, began = worker.pid, time.monotonic()
    worker.end()
    assert time.monotonic() - began < 2
    assert diesWithin(pid, 1)
    assert [one.cancelled for one in heard] == [1, 1]
    assert not worker.isBusy()


def test_ending_a_worker_that_is_deaf_takes_less_than_five_seconds(worker):
    heard = Heard(worker, "deaf")
    heard.waitForEvent()
    pid, began = worker.pid, time.monotonic()
    worker.end()
    assert time.monotonic() - began < 5
    assert diesWithin(pid, 1)


def test_a_worker_may_be_asked_again_after_its_end(worker):
    Heard(worker, "echo").wait()
    worker.end()
    assert Heard(worker, "echo").wait().results


def test_a_script_waits_no_longer_than_it_wants(worker):
    heard = Heard(worker, "slow")
    assert worker.wait(heard.request, 0.2) is False
    assert heard.request.isOpen()


def test_a_request_is_one_line_of_json(worker):
    heard = Heard(worker, "echo", text="two\nlines")
    assert "\n" not in heard.request.line
    assert json.loads(heard.request.line)["id"] == heard.request.id
    assert heard.wait().results == [{"text": "two\nlines"}]
