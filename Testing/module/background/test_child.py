"""Real child processes, well-behaved and not: what they say arrives, and none outlives its parent."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from child_scripts import LAUNCHER, Listener, diesWithin, isAlive
from CRGLoCoSegmentLib.background import child as module
from CRGLoCoSegmentLib.background.child import Child
from CRGLoCoSegmentLib.background.program import moduleFolder
from CRGLoCoSegmentLib.background.ticker import Beat, SharedTicker, waitUntil

onPosix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


class NoTicker:
    """Nobody looks unless the test polls."""

    def start(self, milliseconds, callback):
        pass

    def stop(self):
        pass


def test_lines_logs_and_the_exit_code_arrive_on_the_main_thread_in_order():
    threads = set()
    code = "import sys\nfor n in range(50): print(n)\nprint('oops', file=sys.stderr)\nsys.exit(3)"
    listener = Listener(code)
    listener.child._callbacks["line"] = lambda line: (
        threads.add(threading.current_thread()),
        listener.lines.append(line),
    )
    listener.wait()
    assert listener.lines == [str(n) for n in range(50)]
    assert (listener.log, listener.codes) == (["oops"], [3])
    assert threads == {threading.main_thread()}
    assert not listener.child.isRunning()


def test_line_ends_of_windows_half_lines_and_bytes_that_are_no_text_are_taken_as_they_come():
    code = "import os; os.write(1, b'one\\r\\ntw\\xffo\\n\\nthree')"
    assert Listener(code).wait().lines == ["one", "tw\ufffdo", "", "three"]


def test_letters_of_all_languages_arrive_and_go_out():
    listener = Listener("import sys\nfor line in sys.stdin: print(line.strip()[::-1])")
    listener.child.write("Größe 肝臓 \N{GREEK SMALL LETTER ALPHA}")
    assert listener.waitFor("\N{GREEK SMALL LETTER ALPHA}") == "α 臓肝 eßörG"
    listener.child.end()


def test_a_line_of_five_million_letters_arrives_whole():
    (line,) = Listener("print('x' * 5_000_000)").wait().lines
    assert len(line) == 5_000_000


def test_of_a_line_beyond_all_bounds_the_beginning_arrives_and_the_next_line_whole(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_LINE", 1000)
    lines = Listener("print('x' * 3_000_000); print('next')").wait().lines
    assert lines == ["x" * 1000, "next"]


def test_of_a_progress_bar_in_the_log_the_last_state_arrives():
    code = "import sys; sys.stderr.write('10%\\r20%\\r30%\\ndone\\n' + 'y' * 9000)"
    assert Listener(code).wait().log == ["30%", "done", "y" * module.LONGEST_LOG_LINE]


def test_a_program_that_is_not_there_is_an_end_with_a_reason():
    listener = Listener("", program="/no/such/python").wait()
    assert listener.codes == [None]
    assert "/no/such/python" in listener.log[0]


def test_a_working_directory_that_is_not_there_is_an_end_with_a_reason(tmp_path):
    listener = Listener("", cwd=tmp_path / "none").wait()
    assert listener.codes == [None]
    assert listener.log


def test_making_a_child_and_writing_to_one_that_never_reads_takes_no_time():
    began = time.monotonic()
    listener = Listener("import time; print('up', flush=True); time.sleep(100)")
    for _ in range(100):
        listener.child.write("x" * 100_000)
    listener.child.closeInput()
    assert time.monotonic() - began < 1
    listener.waitFor("up")
    pid = listener.child.pid
    began = time.monotonic()
    listener.child.end(patience=0.3)
    assert time.monotonic() - began < 1.5
    assert diesWithin(pid, 2)


def test_a_flood_of_lines_never_holds_the_main_thread_for_long_and_nothing_is_lost():
    listener = Listener("for n in range(100_000): print(n)", ticker=NoTicker())
    longest, end = 0.0, time.monotonic() + 30
    while not listener.codes and time.monotonic() < end:
        began = time.thread_time()  # what a busy machine takes away meanwhile is not ours
        listener.child.poll()
        longest = max(longest, time.thread_time() - began)
        time.sleep(0.001)
    assert longest < module.WORK_S + 0.02
    assert listener.lines == [str(n) for n in range(100_000)]


def test_a_child_that_nobody_listens_to_fills_no_memory_and_can_be_ended():
    listener = Listener("while True: print('x' * 1000)", ticker=NoTicker())
    time.sleep(0.5)
    assert listener.child._arrived.qsize() <= module.WAITING_LINES
    began = time.monotonic()
    listener.child.end(patience=0.2)
    assert time.monotonic() - began < 1.5
    assert diesWithin(listener.child.pid, 2)


def test_a_callback_that_fails_does_not_keep_the_next_line_back(caplog):
    listener = Listener("print('one'); print('two')", ticker=NoTicker())
    heard = []

    def fail(line):
        heard.append(line)
        raise ValueError(line)

    listener.child._callbacks["line"] = fail
    assert waitUntil(lambda: listener.child.poll() or bool(listener.codes), 20)
    assert heard == ["one", "two"]
    assert "ValueError: one" in caplog.text


def test_the_end_of_input_ends_a_polite_child_at_once_and_without_a_word():
    listener = Listener("import sys; print('up', flush=True); sys.stdin.read(); print('bye')")
    listener.waitFor("up")
    began = time.monotonic()
    listener.child.end()
    assert time.monotonic() - began < 1
    time.sleep(0.1)
    listener.child.poll()
    assert (listener.lines, listener.codes) == (["up"], [])
    assert not listener.child.isRunning()


@onPosix
def test_a_child_that_ignores_everything_is_killed_within_five_seconds():
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(100)"
    listener = Listener(code)
    listener.waitFor("up")
    began = time.monotonic()
    listener.child.end()
    assert time.monotonic() - began < 5
    assert diesWithin(listener.child.pid, 1)


def test_ending_twice_and_ending_what_has_ended_takes_no_time():
    listener = Listener("pass").wait()
    began = time.monotonic()
    listener.child.end()
    listener.child.end()
    listener.child.kill()
    assert time.monotonic() - began < 1


@onPosix
@pytest.mark.parametrize("way", ["kill", "end"])
def test_what_a_launcher_started_ends_with_it(way):
    listener = Listener(LAUNCHER)
    inner = int(listener.waitFor("pid").split()[1])
    listener.waitFor("inner")
    if way == "kill":
        listener.child.kill()
        listener.wait()
        assert listener.codes == [-9]
    else:
        listener.child.end(patience=0.2)
    assert diesWithin(inner, 2)


@onPosix
def test_a_launcher_that_was_killed_leaves_no_orphan_and_its_end_is_told():
    listener = Listener(LAUNCHER)
    inner = int(listener.waitFor("pid").split()[1])
    listener.waitFor("inner")
    os.kill(listener.child.pid, signal.SIGKILL)
    listener.wait(5)
    assert listener.codes == [-9]
    assert diesWithin(inner, 2)


def test_a_child_that_is_killed_before_it_started_never_starts(tmp_path):
    """If this process is late, it has just started, and still does nothing."""
    code = f"import time; time.sleep(60); open({str(tmp_path / 'ran')!r}, 'w')"
    listener = Listener(code, ticker=NoTicker())
    listener.child.kill()
    assert waitUntil(lambda: listener.child.poll() or bool(listener.codes), 10)
    assert listener.codes[0] != 0
    assert not (tmp_path / "ran").exists()


def test_a_child_has_our_environment_with_utf8_and_without_buffers(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    names = ["PYTHONUNBUFFERED", "PYTHONUTF8", "CUDA_VISIBLE_DEVICES"]
    code = f"import os, json; print(json.dumps([os.environ.get(name) for name in {names}]))"
    assert json.loads(Listener(code).wait().lines[0]) == ["1", "1", "3"]
    assert "PYTHONUNBUFFERED" not in os.environ


def test_a_child_without_a_pipe_reads_an_empty_input():
    assert Listener("import sys; print(repr(sys.stdin.read()))", stdin=False).wait().lines == ["''"]


def test_what_a_child_says_can_go_to_a_file_instead(tmp_path):
    code = "import sys; print('out'); sys.stdout.flush(); print('err', file=sys.stderr)"
    listener = Listener(code, output=tmp_path / "said.txt").wait()
    assert (tmp_path / "said.txt").read_text().split() == ["out", "err"]
    assert (listener.lines, listener.log) == ([], [])


def test_a_folder_that_cannot_be_written_is_an_end_with_a_reason(tmp_path):
    listener = Listener("", output=tmp_path / "none" / "said.txt").wait()
    assert listener.codes == [None]
    assert "said.txt" in listener.log[0]


def test_a_child_that_closes_its_output_and_goes_on_is_still_running():
    code = "import os, time; os.close(1); os.close(2); time.sleep(1)"
    listener = Listener(code)
    assert not waitUntil(lambda: bool(listener.codes), 0.5)
    listener.wait(5)


def test_a_parent_that_is_killed_takes_its_child_along(tmp_path):
    """As when Slicer crashes: the pipe closes, and a child that reads it ends by itself."""
    code = """
import sys, time
sys.path[:0] = sys.argv[1:]
from CRGLoCoSegmentLib.background.child import Child
reading = "import sys; print('up', flush=True); sys.stdin.read()"
child = Child([sys.executable, "-c", reading], onLine=print, onLog=print, onEnd=print)
while child.pid is None:
    time.sleep(0.01)
print("pid", child.pid, flush=True)
time.sleep(100)
"""
    listener = Listener(code, str(moduleFolder()))
    pid = int(listener.waitFor("pid").split()[1])
    assert isAlive(pid)
    os.kill(listener.child.pid, 9)
    listener.wait()
    assert diesWithin(pid, 3)


def test_children_share_one_beat_and_leave_it_when_they_end():
    beat = Beat()
    made = [
        Child(
            [sys.executable, "-c", "print(1)"],
            onLine=print,
            onLog=print,
            onEnd=lambda _code: None,
            ticker=SharedTicker(beat),
        )
        for _ in range(2)
    ]
    assert len(beat._callbacks) == 2
    assert waitUntil(lambda: not any(child.isRunning() for child in made), 20, beat=beat)
    assert beat._callbacks == []
