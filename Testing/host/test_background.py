"""The background in an application: Qt's event loop alone drives it, and the window never stands still."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from CRGLoCoSegmentLib.background.arrays import loadArray, saveArray
from CRGLoCoSegmentLib.background.session import sessionFolder
from CRGLoCoSegmentLib.background.threads import runInThread
from CRGLoCoSegmentLib.background.ticker import BEAT, SharedTicker
from CRGLoCoSegmentLib.background.worker import Worker
from tiny_models import save_tiny_model

# The engine's own worker, in which one command also crashes for good.
WITH_CRASH = """
import os, sys
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
from crgloco import worker

def crash(request):
    request.event("progress", stage="local windows", done=1, total=2)
    request.stop.wait(60)

sys.exit(worker.serve_on_stdin({**worker.engine_commands(), "crash": crash}))
"""


class Heard:
    """What the callbacks of a request heard."""

    def __init__(self, worker, command, **fields):
        self.results, self.errors, self.events = [], [], []
        self.request = worker.ask(
            command,
            fields,
            onResult=self.results.append,
            onError=self.errors.append,
            onProgress=self.events.append,
        )

    def isOver(self):
        return bool(self.results or self.errors)


@pytest.fixture
def worker():
    made = Worker("compute", command=[sys.executable, "-c", WITH_CRASH])
    yield made
    made.end()


def test_a_timer_of_qt_beats_while_somebody_waits_and_rests_else(waitUntil):
    calls, ticker = [], SharedTicker()
    ticker.start(0, lambda: calls.append(1))
    waitUntil(lambda: len(calls) > 3, 5)
    assert BEAT._timer.active
    ticker.stop()
    if not BEAT._callbacks:
        assert not BEAT._timer.active


def test_a_volume_goes_to_the_real_worker_and_back_while_the_window_lives(
    worker, waitUntil, heartbeat, tmp_path
):
    """256 x 256 x 40 voxels, all on Qt's event loop: write, segment, read."""
    model = save_tiny_model(tmp_path / "tiny")
    shape = (40, 256, 256)
    image = np.random.default_rng(0).normal(0, 50, shape).astype(np.float32)
    geometry = {
        "shape": list(shape),
        "spacing": [4.0, 1.5, 1.5],
        "origin": [0.0, 0.0, 0.0],
        "direction": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    }
    fields = {"model": model, "device": "cpu", "quality": "fast", "out": tmp_path / "out"}
    fields["arrays"] = [{"file": tmp_path / "in.npy", "geometry": geometry}]
    gaps = []
    while not gaps or (
        gaps[-1] >= heartbeat.limit and len(gaps) < 4
    ):  # a busy machine may take the core away once
        with heartbeat() as beat:
            found = thereAndBack(worker, waitUntil, image, fields)
        gaps.append(beat.longest)
        assert set(found) == {"fused", "global", "confidence", "disagreement"}
        assert {array.shape for array in found.values()} == {shape}
    assert min(gaps) < heartbeat.limit, gaps


def thereAndBack(worker, waitUntil, image, fields):
    """Write a volume, have it segmented, read what was found."""
    done, errors = [], []
    path = fields["arrays"][0]["file"]
    runInThread(lambda: saveArray(image, path), done.append, errors.append)
    waitUntil(lambda: bool(done or errors), 20)
    heard = Heard(worker, "segment", **fields)
    waitUntil(heard.isOver, 200)
    assert not heard.errors, heard.errors
    files = {kind: fields["out"] / name for kind, name in heard.results[0]["arrays"].items()}
    load = lambda: {kind: loadArray(file) for kind, file in files.items()}  # noqa: E731
    runInThread(load, done.append, errors.append)
    waitUntil(lambda: len(done) > 1 or bool(errors), 20)
    assert not errors, errors
    return done[1]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_worker_killed_in_the_middle_of_work_is_told_and_the_next_request_works(worker, waitUntil):
    heard = Heard(worker, "crash")
    waitUntil(lambda: bool(heard.events), 30)
    os.kill(worker.pid, 9)
    waitUntil(heard.isOver, 5)
    assert heard.errors[0].kind == "Died"
    assert "Close other programs" in str(heard.errors[0])
    again = Heard(worker, "probe")
    waitUntil(again.isOver, 60)
    assert again.results[0]["packages"]["torch"]


def test_a_worker_ends_within_five_seconds_and_without_orphan(worker, waitUntil):
    heard = Heard(worker, "crash")
    waitUntil(lambda: bool(heard.events), 30)
    pid, began = worker.pid, time.monotonic()
    worker.end()
    assert time.monotonic() - began < 5
    assert not Path(f"/proc/{pid}").exists() or not Path("/proc/self").exists()


def test_temporary_files_lie_where_slicer_wants_them():
    import slicer

    folder = sessionFolder()
    assert folder.is_dir()
    assert folder.parent == Path(slicer.app.temporaryPath)
