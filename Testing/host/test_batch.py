"""The queue of cases to predict: order, failures, cancel, time left; with a worker that the test plays."""

from pathlib import Path
from typing import Any

import pytest

from crgloco.errors import CasesError
from CRGLoCoSegmentLib.logic.batch import Batch, BatchOutcome
from CRGLoCoSegmentLib.logic.listeners import Listeners
from stand_ins import StandInWorker

FOLDER = Path("/cases")
NAMES = ("a", "b", "c", "d", "e")


class Clock:
    """Seconds that the test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def worker() -> StandInWorker:
    return StandInWorker()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def batch(worker: StandInWorker, clock: Clock, notices: list[str]) -> Batch:
    listeners = Listeners()
    listeners.add(notices.append)
    return Batch(compute=worker, listeners=listeners, clock=clock)


HOW = {"model": "/models/m", "quality": "fast", "keep_islands": False, "device": "cpu", "memory_gb": 4.0}


def start(batch: Batch, names: tuple[str, ...] = NAMES, **more: Any) -> tuple[Any, list[Any]]:
    """Start a batch; return the task and what its callbacks heard."""
    heard: list[Any] = []
    task = batch.start(
        FOLDER,
        names,
        HOW,
        onFinished=heard.append,
        onFailed=lambda message, _details: heard.append(message),
        **more,
    )
    return task, heard


def predicted(request: Any, *, kept: bool = False, **record: Any) -> None:
    """Let the worker answer that a case was predicted."""
    request.answer(cases=[{"case": request.fields["case"], "kept": kept, **record}], failed=0)


def test_each_case_is_one_request_and_the_next_waits_for_the_end_of_the_one_before(
    batch: Batch, worker: StandInWorker
):
    start(batch)
    assert [request.fields["case"] for request in worker.requests] == ["a"]
    assert worker.requests[-1].command == "predict"
    places = {"folder": "/cases", "out": str(FOLDER / "predictions")}
    assert worker.requests[-1].fields == {**HOW, **places, "case": "a"}
    predicted(worker.requests[-1])
    assert [request.fields["case"] for request in worker.requests] == ["a", "b"]


def test_the_end_tells_what_was_predicted_kept_and_failed(batch: Batch, worker: StandInWorker):
    _task, heard = start(batch, ("a", "b", "c"))
    predicted(worker.requests[-1])
    predicted(worker.requests[-1], kept=True)
    worker.requests[-1].fail("c_0000.nii.gz cannot be read: it is cut off.")
    outcome = BatchOutcome(("a",), ("b",), {"c": "c_0000.nii.gz cannot be read: it is cut off."})
    assert heard == [outcome]
    assert batch.lastOutcome == outcome
    assert not batch.isRunning
    assert outcome.inWords() == (
        "2 of 3 cases are predicted.\nc: c_0000.nii.gz cannot be read: it is cut off."
    )


def test_one_failure_does_not_stop_the_others(batch: Batch, worker: StandInWorker):
    _task, heard = start(batch)
    for name in NAMES:
        if name == "b":
            worker.requests[-1].fail("b has no image.")
        else:
            predicted(worker.requests[-1])
    assert heard[0].predicted == ("a", "c", "d", "e")
    assert heard[0].failed == {"b": "b has no image."}


def test_a_case_that_failed_within_an_answer_counts_as_failed(batch: Batch, worker: StandInWorker):
    _task, heard = start(batch, ("a",))
    worker.requests[-1].answer(cases=[{"case": "a", "error": "a is empty."}], failed=1)
    assert heard[0].failed == {"a": "a is empty."}


def test_a_worker_that_dies_again_and_again_ends_the_batch(batch: Batch, worker: StandInWorker):
    _task, heard = start(batch)
    for _ in range(3):
        worker.requests[-1].fail("The process was killed.", kind="Died")
    assert heard[0].left == ("d", "e")
    assert set(heard[0].failed) == {"a", "b", "c"}
    assert "stopped because 3 in a row failed" in heard[0].inWords()


def test_one_reason_for_all_ends_the_batch_though_it_names_each_case(batch: Batch, worker: StandInWorker):
    _task, heard = start(batch)
    for _ in range(3):
        worker.requests[-1].fail(
            f"The disk is full; {worker.requests[-1].fields['case']}.nii.gz was not written."
        )
    assert heard[0].left == ("d", "e")


def test_different_reasons_do_not_end_it(batch: Batch, worker: StandInWorker):
    _task, heard = start(batch)
    for number in range(5):
        worker.requests[-1].fail(f"Reason {number}.")
    assert heard[0].left == ()
    assert len(heard[0].failed) == 5


def test_cancel_ends_the_request_and_keeps_what_is_done(batch: Batch, worker: StandInWorker):
    task, heard = start(batch)
    predicted(worker.requests[-1])
    batch.cancel()
    assert worker.requests[-1].wasCancelled
    assert task.state == "cancelled"
    assert heard == ["Cancelled."]
    assert batch.lastOutcome is not None
    assert batch.lastOutcome.cancelled
    assert batch.lastOutcome.predicted == ("a",)
    assert batch.lastOutcome.left == ("b", "c", "d", "e")
    assert not batch.isRunning


def test_an_answer_after_cancel_changes_nothing_and_asks_for_nothing(batch: Batch, worker: StandInWorker):
    start(batch)
    request = worker.requests[-1]
    batch.cancel()
    predicted(request)
    request.confirmCancel()
    assert len(worker.requests) == 1
    assert batch.lastOutcome is not None
    assert batch.lastOutcome.predicted == ()


def test_a_worker_that_is_ended_ends_the_batch(batch: Batch, worker: StandInWorker):
    task, heard = start(batch)
    worker.requests[-1].confirmCancel()
    assert task.state == "cancelled"
    assert heard == ["Cancelled."]
    assert not batch.isRunning


def test_a_second_batch_is_refused_while_one_runs(batch: Batch, worker: StandInWorker):
    start(batch)
    with pytest.raises(CasesError, match="being predicted already"):
        start(batch)


def test_another_batch_may_start_when_the_first_has_ended(batch: Batch, worker: StandInWorker):
    start(batch, ("a",))
    predicted(worker.requests[-1])
    _task, heard = start(batch, ("b",))
    predicted(worker.requests[-1], kept=True)
    assert heard[0].kept == ("b",)


def test_nothing_to_do_ends_at_once(batch: Batch, worker: StandInWorker):
    _task, heard = start(batch, ())
    assert heard == [BatchOutcome((), (), {})]
    assert worker.requests == []


def test_each_predicted_case_is_told_with_its_record(batch: Batch, worker: StandInWorker):
    told: list[Any] = []
    start(batch, ("a",), onCase=lambda name, record: told.append((name, record["mean_confidence"])))
    predicted(worker.requests[-1], mean_confidence=0.8)
    assert told == [("a", 0.8)]


def test_the_time_left_counts_predicted_cases_and_not_kept_ones(
    batch: Batch, worker: StandInWorker, clock: Clock
):
    told: list[Any] = []
    start(batch, onProgress=lambda *values: told.append(values))
    assert told[-1][3] is None
    predicted(worker.requests[-1], kept=True)
    assert told[-1][3] is None
    clock.now += 60
    predicted(worker.requests[-1])
    assert told[-1][1:] == (2, 5, 180)
    clock.now += 30
    worker.requests[-1].tell(event="progress", stage="local windows", done=3, total=9)
    assert told[-1] == ("Case 3 of 5, c: local windows", 2.5, 5, 150)
    assert batch.progress is not None
    assert batch.progress.secondsLeft == 150


def test_panels_hear_of_the_start_each_case_and_the_end_but_not_of_every_step(
    batch: Batch, worker: StandInWorker, notices: list[str], clock: Clock
):
    start(batch, ("a",))
    clock.now += 1
    worker.requests[-1].tell(event="progress", stage="global view", done=0, total=1)
    before = len(notices)
    for step in range(50):
        worker.requests[-1].tell(event="progress", stage="local windows", done=step, total=50)
    assert len(notices) == before
    predicted(worker.requests[-1])
    assert set(notices) == {"batch"}
    assert len(notices) > before
    assert batch.progress is None
