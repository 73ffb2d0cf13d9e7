"""Ctrl-C, a kill at any moment, and the same command again: the model is that of an uninterrupted run."""

from __future__ import annotations

import json
import random
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from phantoms import write_cases_folder
from training_programs import TINY, TrainingProgram

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # seconds, but the computer may be shared

UPDATES = 150
SHAPE = (12, 16, 16)


@dataclass(frozen=True)
class Course:
    """What happened: a run without a break, and one that was stopped, killed and finished."""

    whole: Path
    broken: Path
    stopped_code: int
    stopped_said: str
    stopped_after: int
    killed_after: int


def words_of(cases: Path, out: Path) -> list[str]:
    more = ["--iterations", str(UPDATES), "--seed", "3", "--device", "cpu", *TINY]
    return ["train", "--cases", str(cases), "--out", str(out), *more]


def broken_off(words: list[str], out: Path) -> tuple[int, str, int, int]:
    """Start, Ctrl-C, start, kill, start: one and the same command."""
    with TrainingProgram(words, out) as first:
        first.wait_for_update(1)
        first.process.send_signal(signal.SIGINT)  # as Ctrl-C does
        code, said, after = first.end(), first.said, first.updates
    with TrainingProgram(words, out) as second:
        second.wait_for_update(random.randint(after + 1, UPDATES * 2 // 3))
        second.process.kill()
        second.end()
        killed = second.updates
    with TrainingProgram(words, out) as third:
        assert third.end() == 0, third.said
    return code, said, after, killed


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    folder = tmp_path_factory.mktemp("course")
    cases = write_cases_folder(folder / "cases", labelled=2, unlabelled=2, shape=SHAPE)
    whole, broken = folder / "whole", folder / "broken"
    with TrainingProgram(words_of(cases, whole), whole) as uninterrupted:
        code, said, after, killed = broken_off(words_of(cases, broken), broken)
        assert uninterrupted.end() == 0, uninterrupted.said
    return Course(whole, broken, code, said, after, killed)


def test_ctrl_c_ends_in_one_line_that_says_how_to_go_on_with_code_130(course: Course) -> None:
    assert course.stopped_code == 130
    assert "Traceback" not in course.stopped_said
    said = [line for line in course.stopped_said.splitlines() if line]
    assert said[-2] == "Stopping at the next step. Ctrl-C again ends at once."
    assert said[-1].startswith("crgloco: Stopped on request after ")
    assert f"crgloco train {course.broken}.job/job.json" in said[-1]


def test_both_interruptions_came_in_the_midst_of_the_training(course: Course) -> None:
    assert 0 < course.stopped_after < course.killed_after < UPDATES


def test_the_same_command_again_ends_with_the_weights_of_an_uninterrupted_run(course: Course) -> None:
    whole, broken = (folder / "weights.safetensors" for folder in (course.whole, course.broken))
    assert whole.read_bytes() == broken.read_bytes(), f"killed after {course.killed_after} updates"
    cards = [json.loads((folder / "model.json").read_text()) for folder in (course.whole, course.broken)]
    assert cards[0]["weights_sha256"] == cards[1]["weights_sha256"]
    assert cards[0]["calibration"] == cards[1]["calibration"]
    assert [card["training"]["updates"] for card in cards] == [UPDATES, UPDATES]
