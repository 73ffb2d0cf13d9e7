"""A training seen through its job folder: while it runs, when it stops, fails, or is found again."""

import json
import os
import sys
import time

import pytest

from child_scripts import diesWithin, isAlive
from crgloco import jobs
from crgloco.data.cases import open_cases
from crgloco.errors import JobError, ResourceError
from crgloco.job_file import Job
from crgloco.progress import parse_event
from CRGLoCoSegmentLib.background import training as module
from CRGLoCoSegmentLib.background.ticker import waitUntil
from CRGLoCoSegmentLib.background.training import TrainingRun, newestEvents
from phantoms import write_cases_folder

# What `crgloco train` does to its job folder, without a network.
TRAIN = """
import json, os, sys, time
from pathlib import Path
from crgloco import jobs
from crgloco.commands.parent import stop_at_end_of_input

folder = jobs.JobFolder(Path(sys.argv[1]))
how = sys.argv[2]
if "--stop-on-eof" in sys.argv:
    stop_at_end_of_input(folder.request_stop)
print("words beside the events", flush=True)

def event(kind, **fields):
    with folder.events_file.open("a") as file:
        file.write(json.dumps({"event": kind, **fields}) + "\\n")

if how == "refuse":
    sys.exit("crgloco: The cases are gone. Choose another folder.")
done = int(folder.checkpoint_file.read_text()) if folder.checkpoint_file.exists() else 0
with folder.claimed():
    while done < 100:
        done += 1
        event("progress", done=done, total=100, loss=1 / done)
        folder.checkpoint_file.write_text(str(done))
        if how == "fail":
            event("failed", type="ResourceError", text="The disk is full.", traceback=None)
            sys.exit("crgloco: The disk is full.")
        if how == "vanish":
            os._exit(9)
        if folder.stop_file.exists():
            event("stopped", text="Stopped on request. To go on: crgloco train ...")
            sys.exit(130)
        time.sleep(0.01 if how == "finish" else 0.05)
    folder.finish({"dice": 0.9})
"""


@pytest.fixture
def folder(tmp_path):
    job = Job(tmp_path / "cases", "cr_gloco", tmp_path / "model")
    return jobs.write_job(tmp_path / "größer 1.job", job).path


@pytest.fixture
def runs(folder):
    """Makes runs of one job; none outlives the test."""
    made = []

    def make(how="finish", *words):
        command = [sys.executable, "-c", TRAIN, str(folder), how, *words]
        made.append(TrainingRun(folder, command=command))
        return made[-1]

    yield make
    for run in made:
        run.kill()
        waitUntil(lambda run=run: run.poll() is None or run.state != "running", 5)


def waitFor(run, state, seconds=20):
    events = []
    assert waitUntil(lambda: events.extend(run.poll()) or run.state == state, seconds), (
        run.state,
        run.output(),
    )
    return [*events, *run.poll()]


def waitForEvents(run, seconds=20):
    events = []
    assert waitUntil(lambda: events.extend(run.poll()) or bool(events), seconds), run.output()
    return events


def test_a_job_that_never_ran_is_new(runs):
    run = runs()
    assert (run.state, run.reason, run.poll(), run.attach()) == ("new", "", [], False)


def test_a_run_is_running_at_once_and_finished_at_its_end_with_every_event_once(runs):
    run = runs()
    run.start()
    assert run.state == "running"
    events = waitFor(run, "finished")
    assert [event["done"] for event in events] == list(range(1, 101))
    assert run.files.result() == {"dice": 0.9}
    assert run.reason == ""
    assert run.output() == ["words beside the events"]


def test_starting_what_runs_changes_nothing(runs):
    run = runs("slow")
    run.start()
    child = run._child
    run.start()
    assert run._child is child


def test_a_stop_keeps_the_checkpoint_and_a_new_start_goes_on_from_there(runs):
    run = runs("slow")
    run.start()
    waitForEvents(run)
    run.stop()
    waitFor(run, "stopped")
    assert "Resume" in run.reason
    reached = int(run.files.checkpoint_file.read_text())
    again = runs()
    assert (again.state, again.reason) == ("stopped", run.reason)
    again.poll()
    again.start()
    assert again.state == "running"
    events = waitFor(again, "finished")
    assert events[0]["done"] == reached + 1


def test_a_failure_is_told_in_its_own_words_also_to_who_looks_later(runs):
    run = runs("fail")
    run.start()
    waitFor(run, "failed")
    assert run.reason == "The disk is full."
    later = runs()
    assert (later.state, later.reason) == ("failed", "The disk is full.")


def test_a_run_that_is_refused_at_the_door_says_why(runs):
    run = runs("refuse")
    run.start()
    waitFor(run, "failed")
    assert run.reason == "The cases are gone. Choose another folder."
    assert "words beside the events" in run.details


def test_a_refusal_after_an_earlier_stop_is_not_taken_for_that_stop(runs):
    run = runs("slow")
    run.start()
    waitForEvents(run)
    run.stop()
    waitFor(run, "stopped")
    refused = runs("refuse")
    refused.start()
    waitFor(refused, "failed")
    assert refused.reason == "The cases are gone. Choose another folder."


def test_a_run_that_vanishes_fails_with_words_and_can_be_resumed(runs):
    run = runs("vanish")
    run.start()
    waitFor(run, "failed")
    assert "exit code 9" in run.reason
    later = runs()
    assert later.state == "stopped"
    assert "interrupted" in later.reason
    later.start()
    waitFor(later, "finished")


def test_a_program_that_cannot_be_started_is_a_failure(folder):
    run = TrainingRun(folder, command=["/no/such/PythonSlicer"])
    run.start()
    waitFor(run, "failed")
    assert "/no/such/PythonSlicer" in run.reason


def test_killing_ends_it_at_once_and_is_no_failure(runs):
    run = runs("slow")
    run.start()
    waitForEvents(run)
    pid = run.files.process_id()
    run.kill()
    waitFor(run, "stopped", 5)
    assert diesWithin(pid, 1)
    assert "interrupted" in run.reason  # not: killed, perhaps for want of memory


def test_a_run_that_dies_by_itself_after_one_that_was_killed_says_why(runs):
    run = runs("slow")
    run.start()
    waitForEvents(run)
    run.kill()
    waitFor(run, "stopped", 5)
    run._command[-1] = "vanish"
    run.start()
    waitFor(run, "failed")
    assert "exit code 9" in run.reason


def test_a_run_that_outlives_slicer_is_found_again_with_all_its_events_and_stopped(runs):
    first = runs("slow")
    first.start(keepRunning=True)
    seen = waitForEvents(first)
    first.end()
    second = runs("slow")
    assert second.attach()
    assert second.state == "running"
    assert waitForEvents(second)[: len(seen)] == seen
    # In a file: a pipe would break with Slicer, and the training with the next word it says.
    assert second.output() == ["words beside the events"]
    pid = second.files.process_id()
    second.stop()
    waitFor(second, "stopped")
    assert diesWithin(pid, 2)


def test_a_run_of_an_earlier_slicer_can_be_killed(runs):
    first = runs("slow")
    first.start(keepRunning=True)
    waitForEvents(first)
    second = runs("slow")
    pid = second.files.process_id()
    second.kill()
    assert diesWithin(pid, 2)
    waitFor(second, "stopped", 5)


def test_a_run_on_another_computer_says_where_and_is_not_ended_here(runs, folder):
    claim = {"pid": os.getpid(), "created": 1.0, "host": "station2"}
    (folder / "process.json").write_text(json.dumps(claim))
    run = runs()
    assert run.state == "running"
    assert "station2" in run.reason
    assert str(folder / "process.json") in run.reason
    with pytest.raises(JobError, match="on the computer station2"):
        run.kill()
    (folder / "process.json").unlink()
    run.poll()
    assert run.state != "running"


def test_the_end_of_slicer_stops_a_run_that_shall_not_outlive_it_without_waiting(runs):
    run = runs("slow", "--stop-on-eof")
    run.start()
    waitForEvents(run)
    pid, began = run.files.process_id(), time.monotonic()
    run.end()
    assert time.monotonic() - began < 1
    assert diesWithin(pid, 5)
    waitFor(run, "stopped")
    assert run.files.checkpoint_file.exists()


def test_the_end_of_slicer_leaves_a_run_alone_that_may_outlive_it(runs):
    run = runs("slow")
    run.start(keepRunning=True)
    waitForEvents(run)
    pid = run.files.process_id()
    run.end()
    time.sleep(0.5)
    assert isAlive(pid)


def test_only_a_run_that_must_not_outlive_slicer_is_told_to_listen(folder):
    run = TrainingRun(folder)
    assert run._words(keepRunning=False)[-4:] == [
        "crgloco",
        "train",
        str(run.files.job_file),
        "--stop-on-eof",
    ]
    assert run._words(keepRunning=True)[-1] == str(run.files.job_file)


def test_long_histories_come_in_pieces_and_damaged_lines_are_left_out(runs, folder, monkeypatch):
    monkeypatch.setattr(module, "READ_AT_ONCE", 1000)
    lines = [json.dumps({"event": "progress", "done": n}) for n in range(200)]
    lines.insert(50, "{damaged")
    lines.insert(60, '"no event"')
    (folder / "events.jsonl").write_text("\n".join(lines) + '\n{"event": "half')
    run = runs()
    polls = [run.poll() for _ in range(20)]
    assert [event["done"] for events in polls for event in events] == list(range(200))
    assert max(len(events) for events in polls) < 60
    with (folder / "events.jsonl").open("a") as file:
        file.write('way"}\n')
    assert run.poll() == [{"event": "halfway"}]


def test_who_asks_for_the_newest_event_does_not_wait_for_all_others(folder, monkeypatch):
    read = []
    monkeypatch.setattr(module, "parse_event", lambda line: read.append(line) or parse_event(line))
    lines = [json.dumps({"event": "progress", "done": n}) for n in range(1000)]
    (folder / "events.jsonl").write_text("\n".join(lines) + '\n{"event": "half')
    assert next(newestEvents(jobs.JobFolder(folder)))["done"] == 999
    assert len(read) == 2


def test_an_event_longer_than_what_is_read_at_once_still_arrives(runs, folder, monkeypatch):
    monkeypatch.setattr(module, "READ_AT_ONCE", 100)
    long = {"event": "failed", "text": "x", "traceback": "y" * 1000}
    (folder / "events.jsonl").write_text(json.dumps(long) + "\n" + json.dumps({"event": "next"}) + "\n")
    run = runs()
    events = [event for _ in range(30) for event in run.poll()]
    assert events == [long, {"event": "next"}]


def test_a_folder_that_cannot_be_written_is_told_when_it_starts(runs, folder, monkeypatch):
    def refuse(_self):
        raise ResourceError("It cannot be written.")

    monkeypatch.setattr(jobs.JobFolder, "clear_stop", refuse)
    run = runs()
    with pytest.raises(ResourceError):
        run.start()
    assert run.state == "new"


@pytest.mark.slow
def test_a_real_training_is_started_stopped_found_again_and_finished(tmp_path):
    cases = write_cases_folder(tmp_path / "cases", 2, 1)
    options = {"local_window": "12,16,16", "global_window": "24,32,32", "width": 4, "levels": 3}
    job = Job(cases, "cr_gloco", tmp_path / "new", config=options, iterations=24, device="cpu")
    folder = jobs.write_job(tmp_path / "new.job", job).path
    run = TrainingRun(folder)
    run.start()
    assert run.state == "running"
    events = []
    assert waitUntil(
        lambda: events.extend(run.poll()) or any(event.get("stage") == "training" for event in events), 100
    ), run.output()
    run.stop()
    waitFor(run, "stopped", 60)
    again = TrainingRun(folder)
    assert again.state == "stopped"
    again.start()
    waitFor(again, "finished", 100)
    assert (tmp_path / "new" / "model.json").is_file()
    assert len(open_cases(cases).labelled) == 2
