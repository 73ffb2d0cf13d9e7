"""Fine-tuning as logic: what is asked for, what is told, and real trainings that outlive a Slicer session."""

import dataclasses
import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crgloco import jobs, methods
from crgloco.errors import JobError, ModelError, OptionError, ResourceError
from crgloco.job_file import Job, read_job
from crgloco.model_store import read_card
from CRGLoCoSegmentLib.background.training import TrainingRun
from CRGLoCoSegmentLib.background.worker import Worker, WorkerError
from CRGLoCoSegmentLib.logic.cases_check import casesCheck
from CRGLoCoSegmentLib.logic.listeners import Listeners
from CRGLoCoSegmentLib.logic.models import Models, inside
from CRGLoCoSegmentLib.logic.training import Training
from CRGLoCoSegmentLib.logic.training_record import MOST_POINTS, TrainingRecord, comparisonRows
from CRGLoCoSegmentLib.logic.training_request import TrainingRequest, folderName, proposedTitle
from CRGLoCoSegmentLib.settings import Settings
from phantoms import write_cases_folder
from stand_in_run import StandInRun
from tiny_models import save_tiny_model

TODAY = date(2026, 11, 21)


class FakeFiles:
    """Stands for the worker that checks cases."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.callbacks: dict[str, Any] = {}

    def ask(self, command: str, fields: dict[str, Any], **callbacks: Any) -> Any:
        self.asked.append((command, fields))
        self.callbacks = callbacks
        return SimpleNamespace(cancel=lambda: self.asked.append(("cancel", {})))


class Session:
    """One Slicer session as far as trainings go."""

    def __init__(self, folder: Path, **parts: Any) -> None:
        self.notices: list[str] = []
        self.runs: dict[Path, Any] = {}
        self.files = FakeFiles()
        self.settings, self.listeners = Settings(), Listeners()
        self.settings.set("modelsFolder", str(folder))
        self.listeners.add(self.notices.append)
        self.models = Models(
            folder / "bundled", settings=self.settings, files=self.files, listeners=self.listeners
        )
        self.training = Training(
            settings=self.settings, listeners=self.listeners, models=self.models, checker=self.files, **parts
        )


@pytest.fixture(scope="module")
def startModel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("start") / "ellipsoids")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases_folder(tmp_path_factory.mktemp("data") / "cases", labelled=3, unlabelled=2)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    session = Session(
        tmp_path / "models", makeRun=lambda path: session.runs.setdefault(path, StandInRun(path))
    )
    return session


@pytest.fixture
def request_(cases: Path, startModel: Path) -> TrainingRequest:
    return TrainingRequest("Ellipsoids 2", cases, startModel=startModel, iterations=20, device="cpu")


# ------------------------------------------------------------------------------------- before the start


def test_methods_come_as_data_the_default_first_and_pretraining_last(session: Session):
    names = [method["name"] for method in session.training.methods()]
    assert set(names) == set(methods.available())
    assert [method["kind"] for method in session.training.methods()][-2:] == ["segmentation", "pretraining"]
    assert names[0] == methods.DEFAULT
    assert all(
        method["title"] and method["reference"] and method["options"] for method in session.training.methods()
    )


def test_a_request_becomes_the_job_that_the_engine_runs(cases: Path, startModel: Path, tmp_path: Path):
    out, folders = tmp_path / "Liver_2", (tmp_path,)
    options = {"threshold": 0.9}
    request = TrainingRequest(
        " Liver 2 ", cases, folders, startModel, "cr_gloco", "released", options, 50, 2.5, "cpu", 3
    )
    assert request.toJob(out) == Job(
        cases=cases, method="cr_gloco", out=out, unlabelled=folders, config_name="released", config=options,
        iterations=50, minutes=2.5, seed=3, start=startModel, device="cpu", title="Liver 2",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "magic"}, "no method 'magic'"),
        ({"configName": "magic"}, "no configuration magic"),
        ({"options": {"colour": 1}}, "Unknown option 'colour'"),
        ({"options": {"threshold": 7.0}}, "must lie in"),
    ],
)
def test_what_the_engine_would_refuse_is_refused_at_once(cases: Path, change: dict[str, Any], said: str):
    with pytest.raises(OptionError, match=said):
        TrainingRequest("New", cases, **change).toJob(Path("new"))


def test_a_script_may_give_paths_as_text(cases: Path, startModel: Path):
    texts = TrainingRequest("New", str(cases), (str(cases / "imagesUl"),), str(startModel))
    assert texts == TrainingRequest("New", cases, (cases / "imagesUl",), startModel)


def test_whether_unlabelled_scans_are_learnt_from_follows_from_the_options(cases: Path):
    assert TrainingRequest("a", cases).usesUnlabelled
    assert not TrainingRequest("a", cases, options={"unlabelled_batch": 0}).usesUnlabelled
    assert not TrainingRequest("a", cases, method="supervised").usesUnlabelled


def test_proposed_names_are_free_and_do_not_grow_with_every_fine_tuning():
    first = proposedTitle("Abdomen", (), TODAY)
    assert first == "Abdomen fine-tuned 2026-11-21"
    assert proposedTitle("Abdomen", {folderName(first)}, TODAY) == f"{first} (2)"
    assert proposedTitle("Abdomen fine-tuned 2025-01-31 (2)", (), TODAY) == first
    assert proposedTitle("", (), TODAY) == "New model 2026-11-21"


def test_a_long_name_leaves_room_for_what_makes_the_next_one_free():
    long = "Abdomen MR of the university hospital, all structures, trained on the whole cohort"
    first = proposedTitle(long, (), TODAY)
    assert first.startswith("Abdomen MR of the university hospital")
    assert first.endswith(" fine-tuned 2026-11-21")
    second = proposedTitle(first, {folderName(first)}, TODAY)
    assert second == f"{first} (2)"
    assert folderName(second).endswith("_2")


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Liver/left: 2", "Liver_left_2"),
        ("  Ménisque  ", "Ménisque"),
        ("../..", ""),
        ("x" * 200, "x" * 80),
        ("a.part", "a.part_"),
        ("aux", "_aux"),
        ("Con.2", "_Con.2"),
    ],
)
def test_a_title_becomes_a_folder_name_that_every_system_accepts(title: str, name: str):
    assert folderName(title) == name


def test_the_start_writes_the_job_beside_the_new_model_and_runs_it(
    session: Session, request_: TrainingRequest
):
    job = session.training.start(request_)
    assert job.path == session.models.folder / "Ellipsoids_2.job"
    assert read_job(job.path) == request_.toJob(session.models.folder / "Ellipsoids_2")
    assert session.runs[job.path].calls == [("start", False)]
    assert (job.title, job.state, job.canResume) == ("Ellipsoids 2", "running", False)
    assert session.notices == ["training"]


@pytest.mark.parametrize("taken", ["Ellipsoids_2", "ellipsoids_2", "Ellipsoids_2.job"])
def test_a_name_in_use_is_refused_whether_of_a_model_or_of_a_training(
    session: Session, request_: TrainingRequest, taken: str
):
    (session.models.folder / taken).mkdir(parents=True)
    with pytest.raises(ModelError, match="exists already"):
        session.training.start(request_)
    assert session.runs == {}


def test_a_training_whose_folder_was_deleted_is_not_taken_for_the_next_one_of_its_name(
    session: Session, request_: TrainingRequest
):
    first = session.training.start(request_)
    session.runs.pop(first.path).state = "failed"
    shutil.rmtree(first.path)
    second = session.training.start(dataclasses.replace(request_, iterations=40))
    assert second.job is not None
    assert second.job.iterations == 40
    assert session.training.known() == [second]


def test_a_name_without_letters_and_a_start_model_that_is_gone_are_refused(
    session: Session, request_: TrainingRequest, tmp_path: Path, cases: Path
):
    with pytest.raises(ModelError, match="letter or digit"):
        session.training.start(TrainingRequest("...", cases))
    with pytest.raises(ModelError, match="gone"):
        session.training.start(TrainingRequest("New", cases, startModel=tmp_path / "gone"))
    assert not session.models.folder.exists()


def test_a_models_folder_that_takes_nothing_new_is_told_at_once(
    session: Session, request_: TrainingRequest, monkeypatch: pytest.MonkeyPatch
):
    session.training.assertStartable(request_)
    assert list(session.models.folder.iterdir()) == []

    def refuse(path: Path, *_: Any, **__: Any) -> None:
        if path.parent == session.models.folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ResourceError, match="no permission to write there"):
        session.training.assertStartable(request_)


# -------------------------------------------------------------------------------------------- the check

ANSWER = {
    "problems": [{"severity": "warning", "case": "b", "text": "It is empty."},
                 {"severity": "error", "case": "a", "text": "It is cut off."}],
    "labelled": 4, "validation": 1, "unlabelled": 9, "channel_names": ["MR"],
    "labels": [{"value": 1, "name": "large"}, {"value": 2, "name": "small"}],
}  # fmt: skip


def test_the_check_lists_errors_first_and_counts_the_cases():
    check = casesCheck(ANSWER)
    assert [(finding.severity, finding.case) for finding in check.findings] == [
        ("error", "a"),
        ("warning", "b"),
    ]
    assert check.hasErrors
    assert check.summary() == (
        "Labelled: 4 to learn from, 1 for validation. Unlabelled: 9. Errors to mend first: 1."
    )


@pytest.mark.parametrize(
    ("change", "severity", "said"),
    [
        ({"labelled": 0}, "error", "no labelled case to learn from"),
        ({"validation": 0}, "warning", "cannot be compared"),
        ({"unlabelled": 0}, "warning", "no unlabelled scans"),
        ({"labels": [{"value": 1, "name": "large"}]}, "error", "1 large; the start model knows 1 large, 2"),
        ({"labels": [{"value": 3, "name": "large"}, {"value": 2, "name": "small"}]}, "error", "same labels"),
        ({"channel_names": ["T1", "T2"]}, "error", r"2 image channels \(T1, T2\); the start model expects 1"),
    ],
)  # fmt: skip
def test_what_would_spoil_the_training_is_found_before_it_starts(
    startModel: Path, change: dict[str, Any], severity: str, said: str
):
    check = casesCheck(ANSWER | {"problems": []} | change, read_card(startModel), usesUnlabelled=True)
    (finding,) = check.findings
    assert finding.severity == severity
    assert re.search(said, finding.text)


@pytest.mark.parametrize(
    ("found", "severities"),
    [(["t1", "T2 "], []), (["T2", "T1"], ["error"]), (["T2", "FLAIR"], ["error"]), (["A", "B"], ["warning"])],
)
def test_channels_are_compared_by_their_names(startModel: Path, found: list[str], severities: list[str]):
    card = dataclasses.replace(read_card(startModel), channel_names=("T1", "T2"))
    findings = casesCheck(ANSWER | {"problems": [], "channel_names": found}, card).findings
    assert [finding.severity for finding in findings] == severities
    assert all(", ".join(found) in finding.text and "T1, T2" in finding.text for finding in findings)


def test_a_pretrained_model_knows_no_labels_and_suits_all(startModel: Path):
    card = dataclasses.replace(read_card(startModel), branches=())
    other = ANSWER | {"problems": [], "labels": [{"value": 1, "name": "liver"}]}
    assert casesCheck(other, card).findings == ()


def test_pretraining_asks_for_scans_alone(session: Session, cases: Path):
    request = TrainingRequest("a", cases, method="pgl")
    assert request.isPretraining
    heard: list[Any] = []
    session.training.check(cases, pretraining=True, onFinished=heard.append)
    assert session.files.asked == [("check", {"folder": str(cases), "unlabelled": [], "labels": False})]
    bare = {"problems": [], "labelled": 0, "validation": 0, "unlabelled": 7, "channel_names": ["MR"]}
    session.files.callbacks["onResult"](bare)
    assert heard[0].summary() == "To learn from, without labels: 7. All is well."
    none = casesCheck(bare | {"unlabelled": 0}, pretraining=True)
    assert [finding.severity for finding in none.findings] == ["error"]


def test_a_folder_that_cannot_be_read_is_not_called_empty_as_well(startModel: Path):
    answer = {"problems": [{"severity": "error", "case": "", "text": "No folder."}], "labels": None}
    check = casesCheck(answer, read_card(startModel), usesUnlabelled=True)
    assert [finding.text for finding in check.findings] == ["No folder."]


def test_the_check_asks_its_worker_and_can_be_cancelled(session: Session, cases: Path, tmp_path: Path):
    heard: list[Any] = []
    task = session.training.check(
        cases, (tmp_path,), onProgress=lambda *p: heard.append(p[:3]), onFinished=heard.append,
        onFailed=lambda *f: heard.append(f),
    )  # fmt: skip
    assert session.files.asked == [("check", {"folder": str(cases), "unlabelled": [str(tmp_path)]})]
    session.files.callbacks["onProgress"]({"event": "progress", "stage": "check", "done": 1, "total": 5})
    assert heard == [("Reading the cases", 1.0, 5.0)]
    task.cancel()
    assert session.files.asked[1:] == [("cancel", {})]
    assert task.state == "cancelled"
    assert heard[1:] == [("Cancelled.", "")]


def test_a_check_that_fails_says_why(session: Session, cases: Path):
    heard: list[Any] = []
    session.training.check(cases, onFailed=lambda *f: heard.append(f))
    session.files.callbacks["onError"](WorkerError("The process died.", "Died", "last words"))
    assert heard == [("The process died.", "last words")]


# ------------------------------------------------------------------------------------------- the record


def progress(step: int, total: int = 100, loss: float = 1.0) -> dict[str, Any]:
    return {"event": "progress", "stage": "training", "done": step, "total": total, "seconds_left": 9.0,
            "losses": {"total": loss, "supervised_local": loss / 2}}  # fmt: skip


def record(*events: dict[str, Any]) -> TrainingRecord:
    story = TrainingRecord()
    for event in events:
        story.hear(event)
    return story


def test_the_curve_holds_losses_with_their_parts_and_the_validation_dice():
    story = record(
        progress(10),
        progress(20, loss=0.5),
        {"event": "validation", "step": 20, "dice": 0.7, "per_label": {}},
    )
    assert story.losses == [
        (10, {"total": 1.0, "supervised_local": 0.5}),
        (20, {"total": 0.5, "supervised_local": 0.25}),
    ]
    assert story.scores == [(20, 0.7)]
    assert (story.updates, story.updatesTotal, story.secondsLeft) == (20, 100, 9.0)


def test_a_resumed_training_goes_on_where_its_checkpoint_was():
    story = record(
        progress(10), progress(20), {"event": "validation", "step": 20, "dice": 0.7}, progress(12, loss=2.0)
    )
    assert [step for step, _parts in story.losses] == [10, 12]
    assert story.scores == []


def test_the_curve_of_a_day_long_training_stays_small_and_keeps_its_shape():
    story = record(*(progress(step, 50_000, loss=1 / step) for step in range(1, 20_001)))
    assert len(story.losses) <= MOST_POINTS
    assert all(parts["total"] == 1 / step for step, parts in story.losses)
    assert story.losses[-1][0] > 19_900


def test_a_models_folder_that_cannot_be_read_counts_as_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_folder: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert inside(tmp_path) == []


def test_losses_that_are_no_numbers_are_left_out():
    assert record({**progress(10), "losses": {"total": None}}).losses == []


def test_an_end_is_told_and_has_no_time_left():
    story = record(
        progress(10), {"event": "failed", "type": "X", "text": "The disk is full.", "traceback": "T"}
    )
    assert (story.messages, story.secondsLeft) == (["The disk is full."], None)


def test_old_and_new_model_stand_side_by_side_with_the_mean_first():
    story = record(
        {"event": "comparison", "new": {"dice": 0.8, "per_label": {"large": 0.9, "small": 0.7}},
         "start": {"dice": 0.75, "per_label": {"large": 0.9, "small": 0.6}}}
    )  # fmt: skip
    rows = [
        (row.label, row.old, row.new, round(row.difference or 0, 6))
        for row in comparisonRows(story.comparison)
    ]
    assert rows == [("", 0.75, 0.8, 0.05), ("large", 0.9, 0.9, 0.0), ("small", 0.6, 0.7, 0.1)]
    alone = record({"event": "comparison", "new": {"dice": 0.8, "per_label": {"large": 0.9}}})
    assert [(row.label, row.old, row.difference) for row in comparisonRows(alone.comparison)] == [
        ("", None, None),
        ("large", None, None),
    ]
    assert comparisonRows(record({"event": "comparison"}).comparison) == []


# ------------------------------------------------------------------------------------------ one session


def test_listeners_hear_of_news_and_of_nothing_else(session: Session, request_: TrainingRequest):
    job = session.training.start(request_)
    run = session.runs[job.path]
    session.notices.clear()
    session.training._look()
    assert session.notices == []
    run.events = [progress(10)]
    session.training._look()
    assert session.notices == ["training"]
    run.events, run.state = [{"event": "model", "path": "x"}], "finished"
    session.training._look()
    assert session.notices == ["training", "models", "training"]
    session.training._look()
    session.training._look()
    assert session.notices == ["training", "models", "training"]


def test_a_stop_asked_for_twice_ends_the_training_at_once(session: Session, request_: TrainingRequest):
    job = session.training.start(request_)
    session.training.stop(job)
    assert job.isStopping
    session.training.stop(job)
    assert session.runs[job.path].calls[1:] == ["stop", "kill"]
    session.runs[job.path].state = "stopped"
    job.look()
    assert not job.isStopping
    session.training.stop(job)
    assert len(session.runs[job.path].calls) == 3


def test_a_stopped_training_is_resumed_and_a_running_or_finished_one_is_not(
    session: Session, request_: TrainingRequest
):
    job = session.training.start(request_)
    with pytest.raises(JobError, match="cannot be resumed: it is running"):
        session.training.resume(job)
    session.runs[job.path].state = "stopped"
    session.training.resume(job, keepRunning=True)
    assert session.runs[job.path].calls[1:] == [("start", True)]
    session.runs[job.path].state = "finished"
    with pytest.raises(JobError, match="has finished"):
        session.training.resume(job)


def test_the_list_shows_every_job_folder_also_a_damaged_one(session: Session, request_: TrainingRequest):
    session.training.start(request_)
    damaged = session.models.folder / "Old.job"
    damaged.mkdir()
    (damaged / "job.json").write_text("{")
    (session.models.folder / "no_job.job").mkdir()
    found = {job.title: job for job in session.training.jobs()}
    assert set(found) == {"Ellipsoids 2", "Old"}
    assert not found["Old"].canResume
    assert "job.json" in found["Old"].reason


def test_how_far_an_earlier_training_came_is_known_before_its_story_is_read(
    session: Session, request_: TrainingRequest
):
    job = session.training.start(request_)
    lines = [json.dumps(progress(step)) for step in range(1, 1001)]
    (job.path / "events.jsonl").write_text("\n".join([*lines, '{"event": "validation"}', ""]))
    again = Session(session.models.folder, makeRun=StandInRun)
    assert [found.updates for found in again.training.jobs()] == [(1000, 100)]


def test_a_training_that_another_slicer_started_is_noticed(
    session: Session, request_: TrainingRequest, monkeypatch: Any
):
    job = session.training.start(request_)
    session.runs[job.path].state = "stopped"
    monkeypatch.setattr(jobs.JobFolder, "state", "running")
    session.training.jobs()
    assert session.runs[job.path].calls[-1] == "attach"
    assert job.state == "running"


def test_the_new_model_becomes_current_only_when_the_user_says_so(
    session: Session, request_: TrainingRequest, startModel: Path
):
    session.models.current = startModel
    job = session.training.start(request_)
    with pytest.raises(JobError, match="not made a model"):
        session.training.useNew(job)
    save_tiny_model(session.models.folder / "Ellipsoids_2")
    session.runs[job.path].state = "finished"
    assert session.models.current == startModel
    session.training.useNew(job)
    assert session.training.usesNew(job)
    session.training.keepOld(job)
    assert session.models.current == startModel


def test_closing_slicer_lets_go_of_every_training(session: Session, request_: TrainingRequest):
    job = session.training.start(request_)
    session.training.shutDown()
    assert session.runs[job.path].calls[-1] == "end"


# ---------------------------------------------------------------------------------------- real trainings


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Callable[[], Session]]:
    """Makes Slicer sessions with real processes, one after the other; what still runs is killed."""
    made: list[Session] = []

    def begin() -> Session:
        made.append(Session(tmp_path / "models"))
        return made[-1]

    yield begin
    for session in made:
        for job in session.training.jobs():
            job._run.kill()
        session.training.shutDown()


def waitForCurve(session: Session, job: Any, waitUntil: Callable[..., None]) -> None:
    waitUntil(lambda: job.record.losses or job.state != "running", 60)
    assert job.state == "running", (job.reason, job.output())


@pytest.mark.slow
def test_a_training_survives_slicer_and_is_resumed_to_a_new_model(
    sessions: Callable[[], Session], request_: TrainingRequest, waitUntil: Callable[..., None], heartbeat: Any
):
    first = sessions()
    with heartbeat() as beat:
        job = first.training.start(TrainingRequest(**{**vars(request_), "iterations": 60}))
        waitForCurve(first, job, waitUntil)
        began = time.monotonic()
        first.training.shutDown()
        assert time.monotonic() - began < 1

        second = sessions()
        (found,) = second.training.jobs()
        waitUntil(lambda: second.training.jobs()[0].state == "stopped", 30)
        assert "Resume goes on from there" in found.reason
        assert (found.path / "checkpoint").is_file()
        second.training.resume(found)
        second.training.wait(found, 120)
    assert beat.longest < beat.limit
    assert (found.state, found.reason) == ("finished", "")
    assert found.record.updates == 60
    assert [row.label for row in found.rows()] == ["", "large", "small"]
    assert all(row.old is not None and row.new is not None for row in found.rows())
    steps = [step for step, _parts in found.record.losses]
    assert steps == sorted(set(steps))
    second.training.useNew(found)
    assert second.models.card().title == "Ellipsoids 2"
    assert "models" in second.notices


@pytest.mark.slow
def test_a_training_that_may_run_on_is_found_by_the_next_session_and_can_be_ended_there(
    sessions: Callable[[], Session], request_: TrainingRequest, waitUntil: Callable[..., None]
):
    first = sessions()
    job = first.training.start(
        TrainingRequest(**{**vars(request_), "iterations": 100_000, "keepRunning": True})
    )
    waitForCurve(first, job, waitUntil)
    first.training.shutDown()
    second = sessions()
    (found,) = second.training.jobs()
    assert found.state == "running"
    waitUntil(lambda: found.record.losses, 20)
    with pytest.raises(JobError, match="it is running"):
        second.training.resume(found)
    second.training.stop(found)
    second.training.stop(found)
    waitUntil(lambda: found.state != "running", 20)
    assert found.state == "stopped"
    assert "Resume" in found.reason
    assert found.canResume


@pytest.mark.slow
def test_a_training_whose_process_is_killed_says_so_and_can_be_resumed(
    sessions: Callable[[], Session], request_: TrainingRequest, waitUntil: Callable[..., None]
):
    import psutil

    session = sessions()
    job = session.training.start(TrainingRequest(**{**vars(request_), "iterations": 100_000}))
    waitForCurve(session, job, waitUntil)
    number = jobs.JobFolder(job.path).process_id()
    assert number is not None
    psutil.Process(number).kill()
    waitUntil(lambda: job.state != "running", 20)
    assert (job.state, job.canResume) == ("failed", True)
    assert "was killed" in job.reason


@pytest.mark.slow
def test_a_start_is_pre_trained_on_a_plain_folder_of_scans_and_a_fine_tuning_begins_from_it(
    sessions: Callable[[], Session], cases: Path, tmp_path: Path
):
    scans = tmp_path / "scans"
    scans.mkdir()
    for path in (cases / "imagesUl").glob("*.nii.gz"):
        shutil.copy(path, scans / path.name.replace("_0000", ""))
    session = sessions()
    tiny = {
        "network": "fast",
        "local_window": "16,16,16",
        "global_window": "16,16,16",
        "width": 4,
        "levels": 3,
    }
    options = {**tiny, "hidden": 8, "projected": 8, "unlabelled_batch": 1}
    request = TrainingRequest(
        "My start", scans, method="pgl", options=options, iterations=2, device="cpu"
    )  # fmt: skip
    job = session.training.wait(session.training.start(request), 60)
    assert (job.state, job.reason) == ("finished", "")
    assert (job.isPretraining, job.rows()) == (True, [])
    assert job.job is not None
    start = job.job.out
    assert start in [path for path, _card in session.models.list()]
    assert start not in [path for path, _card in session.models.segmenting()]
    fine = TrainingRequest("Tuned", cases, startModel=start, method="supervised", iterations=1, device="cpu")
    tuned = session.training.wait(session.training.start(fine), 60)
    assert (tuned.state, tuned.reason) == ("finished", "")
    session.training.useNew(tuned)


def test_a_training_that_cannot_begin_says_why_in_the_users_words(
    sessions: Callable[[], Session], cases: Path, tmp_path: Path, waitUntil: Callable[..., None]
):
    session = sessions()
    empty = tmp_path / "empty"
    empty.mkdir()
    job = session.training.start(TrainingRequest("Nothing", empty, iterations=2, device="cpu"))
    waitUntil(lambda: job.state != "running", 60)
    assert job.state == "failed"
    assert str(empty) in job.reason
    assert "Traceback" not in job.reason


def test_the_real_check_reads_the_cases_in_its_worker(
    sessions: Callable[[], Session], cases: Path, startModel: Path, waitUntil: Callable[..., None]
):
    session, heard = sessions(), []
    worker = Worker("check")
    session.training._checker = worker
    try:
        task = session.training.check(
            cases,
            (),
            startModel,
            usesUnlabelled=True,
            onFinished=heard.append,
            onFailed=lambda *f: heard.append(f),
        )
        waitUntil(lambda: not task.isRunning(), 60)
    finally:
        worker.end()
    (check,) = heard
    assert (check.labelled, check.validation, check.unlabelled, check.hasErrors) == (2, 1, 2, False)


def test_real_runs_have_what_the_fake_one_pretends():
    for name in ("poll", "start", "stop", "kill", "end", "attach", "output"):
        assert callable(getattr(TrainingRun, name))
