"""The temporary folder: private, one per process, gone with it."""

import os
import stat
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from child_scripts import Listener
from CRGLoCoSegmentLib.background import session
from CRGLoCoSegmentLib.background.program import moduleFolder

MADE = """
import os, sys, time
sys.path[:0] = sys.argv[1:2]
sys.modules["slicer"] = None
import tempfile
tempfile.tempdir = sys.argv[2]
from CRGLoCoSegmentLib.background.session import sessionFolder
folder = sessionFolder()
(folder / "deep").mkdir()
(folder / "deep" / "a.npy").write_bytes(b"x")
assert sessionFolder() is folder
print("made", folder, flush=True)
if sys.argv[3] == "stay":
    time.sleep(100)
"""


def made(tmp_path, what):
    listener = Listener(MADE, str(moduleFolder()), str(tmp_path), what)
    return listener, Path(listener.waitFor("made").split(" ", 1)[1])


def test_a_folder_goes_with_its_process(tmp_path):
    listener, folder = made(tmp_path, "go")
    listener.wait()
    assert listener.codes == [0]
    assert folder.parent == tmp_path
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_only_its_user_can_look_in(tmp_path):
    listener, folder = made(tmp_path, "stay")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    listener.child.end(0)


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_uses_stays(tmp_path):
    killed, left = made(tmp_path, "stay")
    alive, used = made(tmp_path, "stay")
    killed.child.kill()
    killed.wait()
    (tmp_path / "CRGLoCoSegment-being-made").mkdir()
    (tmp_path / "of somebody else").mkdir()
    assert left.exists()
    session.removeLeftovers(tmp_path)
    assert not left.exists()
    assert (used / "deep" / "a.npy").exists()
    assert {item.name for item in tmp_path.iterdir()} == {
        used.name,
        "CRGLoCoSegment-being-made",
        "of somebody else",
    }
    alive.child.end(0)


def test_the_next_process_removes_it_without_being_asked(tmp_path):
    killed, left = made(tmp_path, "stay")
    killed.child.kill()
    killed.wait()
    alive, _ = made(tmp_path, "stay")
    end = time.monotonic() + 10
    while left.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not left.exists()
    alive.child.end(0)


def test_an_old_folder_that_lost_its_lock_is_removed(tmp_path):
    folder = tmp_path / "CRGLoCoSegment-half-removed"
    folder.mkdir()
    long_ago = time.time() - 2 * session.FORGOTTEN_S
    os.utime(folder, (long_ago, long_ago))
    session.removeLeftovers(tmp_path)
    assert not folder.exists()


def test_temporary_files_go_where_slicer_puts_its_own_unless_that_disk_is_gone(monkeypatch, tmp_path):
    for chosen in (tmp_path, tmp_path / "gone"):
        monkeypatch.setattr("slicer.app", SimpleNamespace(temporaryPath=str(chosen)), raising=False)
        system = Path(tempfile.gettempdir())
        assert session.temporaryFolder() == (chosen if chosen.exists() else system)


def test_python_of_slicer_is_its_launcher_else_this_one(monkeypatch, tmp_path):
    from CRGLoCoSegmentLib.background import program

    monkeypatch.setenv("PATH", str(tmp_path))
    assert program.pythonProgram() == [sys.executable]
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    (tmp_path / name).write_text("")
    (tmp_path / name).chmod(0o755)
    assert program.pythonProgram() == [str(tmp_path / name)]
    assert program.engineCommand("worker")[1:] == ["-m", "crgloco", "worker"]
    assert (program.moduleFolder() / "crgloco" / "__main__.py").is_file()
