"""Arrays in a thread: whole, bit for bit, and with words when the disk is full."""

import errno
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from crgloco.errors import InputError, ResourceError
from crgloco.io.volume import Geometry
from crgloco.requests import arrays as engine
from CRGLoCoSegmentLib.background.arrays import loadArray, saveArray
from CRGLoCoSegmentLib.background.threads import runInThread
from CRGLoCoSegmentLib.background.ticker import waitUntil


class Ends:
    """What the callbacks heard."""

    def __init__(self):
        self.done, self.errors = [], []

    def wait(self):
        assert waitUntil(lambda: bool(self.done or self.errors), 20)
        return self


def written(array, path):
    ends = Ends()
    runInThread(lambda: saveArray(array, path), ends.done.append, ends.errors.append)
    return ends.wait()


def read(path):
    ends = Ends()
    runInThread(lambda: loadArray(path), ends.done.append, ends.errors.append)
    return ends.wait()


@pytest.mark.parametrize("kind", ["int16", "uint8", "float64"])
def test_the_engine_reads_what_we_write_and_we_read_it_back(tmp_path, kind):
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(kind)
    path = tmp_path / "new" / "a.npy"
    assert written(array, path).done == [path]
    grid = Geometry((2, 3, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    volume = engine.read_volume({"file": str(path), "geometry": grid.to_json()}, "The image")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_array_equal(read(path).done[0], array)
    assert [item.name for item in path.parent.iterdir()] == ["a.npy"]


def test_a_view_of_every_other_voxel_is_written_as_it_looks(tmp_path):
    array = np.arange(64.0).reshape(4, 4, 4)[::2, ::-1, 1:]
    written(array, tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)


def test_a_full_disk_is_told_in_words_and_leaves_nothing(tmp_path, monkeypatch):
    def full(file, *_args, **_options):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    (error,) = written(np.zeros(3), tmp_path / "a.npy").errors
    assert isinstance(error, ResourceError)
    assert "the disk is full" in str(error)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(__import__("os"), "mkfifo"), reason="limits of POSIX")
def test_a_limit_of_the_system_on_file_sizes_is_told_in_words(tmp_path):
    import resource
    import signal

    @contextmanager
    def limited(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)

    with limited(100_000):
        (error,) = written(np.zeros((50, 100, 100)), tmp_path / "a.npy").errors
    assert isinstance(error, ResourceError)
    assert "a.npy cannot be written" in str(error)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_array_is_told_by_its_path(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"nonsense")
    (error,) = read(tmp_path / "a.npy").errors
    assert isinstance(error, InputError)
    assert "a.npy" in str(error)
    assert (tmp_path / "a.npy").exists()


def test_a_pickle_is_never_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert isinstance(read(tmp_path / "a.npy").errors[0], InputError)


def test_a_function_runs_in_a_thread_and_its_answer_comes_on_the_main_one():
    threads, ends = [], Ends()
    runInThread(
        lambda: threads.append(threading.current_thread()) or 7,
        lambda value: (threads.append(threading.current_thread()), ends.done.append(value)),
        ends.errors.append,
    )
    assert ends.wait().done == [7]
    assert threads[0] is not threading.main_thread()
    assert threads[1] is threading.main_thread()


def test_a_function_that_fails_hands_its_error_over():
    ends = Ends()
    runInThread(lambda: 1 / 0, ends.done.append, ends.errors.append)
    assert isinstance(ends.wait().errors[0], ZeroDivisionError)


def test_nobody_hears_of_a_job_that_was_cancelled():
    go, ends = threading.Event(), Ends()
    job = runInThread(lambda: go.wait(10), ends.done.append, ends.errors.append)
    job.cancel()
    go.set()
    assert waitUntil(lambda: bool(ends.done or ends.errors), 0.2) is False
    assert job.isOver
