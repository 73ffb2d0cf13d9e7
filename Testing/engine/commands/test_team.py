"""``torchrun`` starts ``crgloco train`` twice: one training, told once, that one process could have done."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from crgloco.__main__ import main
from crgloco.jobs import JobFolder
from phantoms import write_cases_folder
from training_programs import TINY, TrainingProgram, events_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # seconds, but the computer may be shared

UPDATES = 20
PROGRAM = Path(__file__).parents[1] / "unhurried_program.py"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(PROGRAM)]
# Gradients are summed in another order: the way from the first weights to the last differs by less than this
# share of its length. Rounding alone is 1e-6 of it; where it turns one voxel over the kink of a ReLU, 3e-4.
# On a processor that computes in bf16 it is some percent.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Course:
    """What happened: a team that was stopped by a file and started again."""

    folder: Path
    code: int
    said: str
    said_later: str
    stopped_after: int

    @property
    def job(self) -> JobFolder:
        """The job's folder."""
        return JobFolder(self.folder / "team.job")


def words_of(folder: Path, name: str, updates: int = UPDATES, labelled_batch: int = 2) -> list[str]:
    train = ["train", "--cases", str(folder / "cases"), "--out", str(folder / name), "--device", "cpu"]
    options = [f"labelled_batch={labelled_batch}", "optimiser=sgd", "learning_rate=0.01"]
    return [*train, "--method", "supervised", "--iterations", str(updates), *TINY, *options]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    folder = tmp_path_factory.mktemp("course")
    write_cases_folder(folder / "cases", labelled=3, unlabelled=1, shape=(12, 16, 16))
    words, out = words_of(folder, "team"), folder / "team"
    with TrainingProgram(words, out, TORCHRUN) as first:
        first.wait_for_update(1)
        first.job.request_stop()
        code, after = first.end(), first.updates
        assert first.job.checkpoint_file.is_file(), first.said
    with TrainingProgram(words, out, TORCHRUN) as second:
        assert second.end() == 0, second.said
    return Course(folder, code, first.said, second.said, after)


def weights(course: Course, name: str) -> torch.Tensor:
    file = load_file(course.folder / name / "weights.safetensors")
    return torch.cat([file[key].flatten().double() for key in sorted(file)])


def test_a_team_learns_what_one_process_with_the_same_batch_learns(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crgloco.networks.precision.has_bf16", lambda _device: False)
    assert main(words_of(course.folder, "alone")) == 0
    assert main(words_of(course.folder, "half", labelled_batch=1)) == 0
    assert main(words_of(course.folder, "first", updates=1)) == 0
    team, alone, half, first = (weights(course, name) for name in ("team", "alone", "half", "first"))
    way = float((alone - first).norm())
    assert float((team - alone).norm()) < TOLERANCE * way
    assert float((half - alone).norm()) > 50 * TOLERANCE * way  # each process for itself would land here


def test_a_stop_file_ends_the_whole_team_in_one_line_and_the_checkpoint_stays(course: Course) -> None:
    assert course.code == 1  # torchrun's own, whatever its processes end with
    assert 0 < course.stopped_after < UPDATES
    lines = [line for line in course.said.splitlines() if line.startswith("crgloco: ")]
    assert len(lines) == 1, course.said
    assert "Stopped on request after" in lines[0]


def test_nothing_is_told_twice(course: Course) -> None:
    events = events_of(course.job)
    done = [event["done"] for event in events if event.get("stage") == "training"]
    assert done == sorted(set(done))
    kinds = Counter(event["event"] for event in events)
    assert (kinds["stopped"], kinds["model"], kinds["message"]) == (1, 1, 2)  # one message for each start
    for said in (course.said, course.said_later):
        assert said.count("Training on 2 labelled") == 1
    log = course.job.log_file.read_text(encoding="utf-8")
    assert log.count("Training on 2 labelled") == 2


def test_one_model_is_left_and_no_trace_of_the_work(course: Course) -> None:
    card = json.loads((course.folder / "team" / "model.json").read_text(encoding="utf-8"))
    assert card["training"]["updates"] == UPDATES
    left = {path.name for path in course.job.path.iterdir() if path != course.job.mark_file}
    assert left == {"job.json", "events.jsonl", "log.txt", "result.json"}
    assert not list(course.folder.glob("*.part*"))
