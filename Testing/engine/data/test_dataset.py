"""Samples of an update: repeatable, resumable, shared among processes, read ahead."""

import threading
import time
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from crgloco.data.dataset import SampleStream, Slots
from crgloco.errors import OptionError
from tiny_training import phantom_case

LABELLED = [phantom_case(number, shape=(4, 4, 4)) for number in range(3)]
UNLABELLED = [phantom_case(number, labelled=False, shape=(4, 4, 4)) for number in range(10, 15)]


def note(case, rng):
    """A view that only writes down what it was given."""
    return case.name, int(rng.integers(10**9))


def stream(slots: Slots | None = None, *, seed: int = 0, **options) -> SampleStream:
    return SampleStream(LABELLED, UNLABELLED, note, slots or Slots(2, 2), seed, **options)


def contents(samples):
    return samples.labelled, samples.unlabelled, int(samples.rng.integers(10**9))


def test_the_same_seed_gives_the_same_samples_and_another_seed_others():
    first, again, other = ([contents(stream(seed=s).samples(step)) for step in range(6)] for s in (0, 0, 1))
    assert first == again
    assert first != other


def test_an_update_has_the_asked_numbers_from_the_right_sides():
    for step in range(8):
        samples = stream(Slots(2, 3)).samples(step)
        assert [name in {case.name for case in LABELLED} for name, *_ in samples.labelled] == [True] * 2
        assert [name in {case.name for case in UNLABELLED} for name, *_ in samples.unlabelled] == [True] * 3


def test_every_case_is_read_once_before_any_is_read_again():
    names = [name for step in range(30) for name, *_ in stream().samples(step).labelled]
    for turn in range(20):
        assert len(set(names[3 * turn : 3 * turn + 3])) == 3
    assert set(Counter(names).values()) == {20}
    assert len({tuple(names[3 * turn : 3 * turn + 3]) for turn in range(20)}) > 2  # in an order of its own


def test_no_two_samples_share_their_randomness_nor_that_of_the_whole_batch():
    draws = []
    for step in range(20):
        samples = stream().samples(step)
        draws += [draw for _, draw in (*samples.labelled, *samples.unlabelled)]
        draws.append(int(samples.rng.integers(10**9)))
    assert len(set(draws)) == len(draws) == 100


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_share_an_update_make_what_one_would_have_made(processes):
    alone = stream(Slots(4, 8))
    team = [stream(Slots(4, 8, rank, processes)) for rank in range(processes)]
    for step in range(5):
        whole, parts = alone.samples(step), [one.samples(step) for one in team]
        assert sorted(whole.labelled) == sorted(sample for part in parts for sample in part.labelled)
        assert sorted(whole.unlabelled) == sorted(sample for part in parts for sample in part.unlabelled)
        draw = int(whole.rng.integers(10**9))
        assert [int(part.rng.integers(10**9)) for part in parts] == [draw] * processes


@pytest.mark.parametrize(("labelled", "unlabelled"), [(1, 2), (2, 1), (3, 3)])
def test_an_update_that_cannot_be_shared_evenly_is_refused_in_words(labelled, unlabelled):
    with pytest.raises(OptionError, match="2 processes cannot share"):
        Slots(labelled, unlabelled, 0, 2)


def test_a_run_that_starts_in_the_middle_continues_exactly():
    whole = [contents(samples) for samples in stream().steps(0, 9)]
    assert [contents(samples) for samples in stream().steps(4, 9)] == whole[4:]
    assert list(stream().steps(9, 9)) == []


@pytest.mark.parametrize(("ahead", "threads"), [(0, 1), (1, 1), (3, 4), (20, 3)])
def test_reading_ahead_keeps_order_and_contents(ahead, threads):
    expected = [contents(stream().samples(step)) for step in range(7)]
    assert [contents(samples) for samples in stream(ahead=ahead, threads=threads).steps(0, 7)] == expected


def test_samples_are_made_while_the_last_ones_are_in_use():
    made = []

    def count(case, rng):
        made.append(case.name)

    steps = SampleStream(LABELLED, [], count, Slots(1, 0), 0, ahead=2).steps(0, 10)
    next(steps)
    deadline = time.monotonic() + 5
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(made) == 3  # the one in use and two ahead, not all ten
    steps.close()


def test_without_unlabelled_cases_there_are_no_unlabelled_samples():
    samples = SampleStream(LABELLED, [], note, Slots(2, 2), 0).samples(0)
    assert len(samples.labelled) == 2
    assert samples.unlabelled == []


def test_an_error_while_reading_reaches_the_caller_and_no_thread_stays():
    def fail(case, rng):
        raise OSError("the disk is gone")

    steps = SampleStream(LABELLED, [], fail, Slots(1, 0), 0).steps(0, 5)
    with pytest.raises(OSError, match="the disk is gone"):
        next(steps)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("samples")]


def test_closing_early_ends_the_reading_threads():
    steps = stream(threads=2).steps(0, 100)
    list(islice(steps, 2))
    steps.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("samples")]


def test_the_draw_for_the_whole_batch_differs_from_update_to_update():
    draws = {int(stream().samples(step).rng.integers(10**9)) for step in range(50)}
    assert len(draws) == 50
    assert np.all(np.array(sorted(draws)) >= 0)
