"""The one timer: who is called, how often, and who no longer."""

import ctypes
import os
import threading
import time

import pytest

from CRGLoCoSegmentLib.background.threads import runInThread
from CRGLoCoSegmentLib.background.ticker import BEAT, Beat, SharedTicker, waitUntil


@pytest.fixture
def beat():
    """A beat that ends with its test: where there is Qt its timer is a real one, and would go on."""
    own = Beat()
    yield own
    for callback in tuple(own._callbacks):
        own.remove(callback)


def test_a_ticker_is_called_at_its_own_pace(beat):
    calls, now = [], [0.0]
    ticker = SharedTicker(beat, clock=lambda: now[0])
    ticker.start(100, lambda: calls.append(now[0]))
    for _ in range(50):
        now[0] += 0.02
        beat.fire()
    assert 9 <= len(calls) <= 11


def test_a_stopped_ticker_is_called_no_longer_also_by_one_before_it(beat):
    calls = []
    first, second = SharedTicker(beat), SharedTicker(beat)
    first.start(0, second.stop)
    second.start(0, lambda: calls.append(1))
    beat.fire()
    assert calls == []


def test_starting_again_replaces_the_callback(beat):
    calls = []
    ticker = SharedTicker(beat)
    ticker.start(0, lambda: calls.append("old"))
    ticker.start(0, lambda: calls.append("new"))
    beat.fire()
    assert calls == ["new"]


def test_a_callback_that_fails_keeps_the_others_running(beat, caplog):
    calls = []
    beat.add(lambda: 1 / 0)
    beat.add(lambda: calls.append(1))
    beat.fire()
    assert calls == [1]
    assert "ZeroDivisionError" in caplog.text


def test_a_callback_may_wait_for_another_one_in_its_turn(beat):
    """As a dialog does that opens in a callback, and runs the event loop meanwhile."""
    calls = []
    beat.add(lambda: calls.append(1))

    def dialog():
        beat.remove(dialog)
        assert waitUntil(lambda: len(calls) > 3, 5, beat=beat)

    beat.add(dialog)
    beat.fire()
    assert len(calls) > 3


def test_waiting_ends_at_its_time():
    began = time.monotonic()
    assert waitUntil(lambda: False, 0.1) is False
    assert 0.1 <= time.monotonic() - began < 1


@pytest.mark.skipif(os.name == "nt", reason="a function of POSIX")
def test_threads_get_their_turn_also_where_the_event_loop_keeps_pythons_lock(beat):
    """As Slicer's own event loop may: a function of C that never lets the lock go stands for it."""
    eventLoop = ctypes.PyDLL(None).usleep
    answers = []
    job = runInThread(lambda: sum(range(200)), answers.append, answers.append, ticker=SharedTicker(beat))
    began = time.monotonic()
    while not answers and time.monotonic() - began < 10:
        eventLoop(20_000)
        beat.fire()
    assert answers == [19900]
    assert time.monotonic() - began < 1
    assert job.isOver


def test_while_a_thread_computes_for_us_a_beat_leaves_it_more_time():
    before, hold = BEAT.threads, threading.Event()
    job, other = (runInThread(hold.wait, lambda _value: None, pytest.fail) for _ in range(2))
    other.cancel()
    other.cancel()
    assert BEAT.threads == before + 1
    start = time.monotonic()
    BEAT.fire()
    assert time.monotonic() - start >= 0.005
    hold.set()
    assert waitUntil(lambda: job.isOver, 5)
    assert BEAT.threads == before
