"""The fine-tune section: choices, check, start, stop, resume, curve, old against new model."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import qt
import slicer

import crgloco
from crgloco import methods
from crgloco.errors import JobError, ModelError
from crgloco.job_file import read_job
from crgloco.jobs import JobFolder
from CRGLoCoSegmentLib.logic import SegmentLogic
from CRGLoCoSegmentLib.logic.case_rows import CaseRow
from CRGLoCoSegmentLib.logic.training import Training
from CRGLoCoSegmentLib.logic.training_record import ComparisonRow
from CRGLoCoSegmentLib.panels.fine_tune import FineTunePanel
from CRGLoCoSegmentLib.panels.learning_curve import DICE, LOSS, niceCeiling, smoothed, thinned
from CRGLoCoSegmentLib.panels.training_monitor import comparisonText
from phantoms import write_cases_folder
from stand_in_run import StandInRun
from stand_ins import StandInWorker, addVolume
from tiny_models import save_tiny_model

RESOURCES = Path(__file__).parents[2] / "CRGLoCoSegment" / "Resources"
ALL_WELL = {
    "problems": [], "labelled": 2, "validation": 1, "unlabelled": 2, "channel_names": ["MR"],
    "labels": [{"value": 1, "name": "large"}, {"value": 2, "name": "small"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases_folder(tmp_path_factory.mktemp("data") / "cases", labelled=3, unlabelled=2)


@pytest.fixture(scope="module")
def tinyModel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "ellipsoids")


class Bench:
    """The panel over a logic whose processes are stand-ins."""

    def __init__(self, models: Path, **parts: Any) -> None:
        self.runs: dict[Path, StandInRun] = {}
        self.logic = SegmentLogic(**parts)
        self.checker = parts.get("checker")
        self.logic.settings.set("modelsFolder", str(models))
        self.panels: list[FineTunePanel] = []

    def useStandInRuns(self) -> None:
        self.logic.__dict__["training"] = Training(
            settings=self.logic.settings,
            listeners=self.logic.listeners,
            models=self.logic.models,
            checker=self.logic.checker,
            makeRun=lambda path: self.runs.setdefault(path, StandInRun(path)),
        )
        self.logic.environment.problem = lambda: ""

    def open(self) -> FineTunePanel:
        panel = FineTunePanel(self.logic, RESOURCES)
        self.logic.listeners.add(panel.refresh)
        self.panels.append(panel)
        return panel

    def answer(self, **changes: Any) -> None:
        """Answer the newest check."""
        self.checker.of("check")[-1].answer(**ALL_WELL | changes)

    def newest(self) -> StandInRun:
        return list(self.runs.values())[-1]

    def tell(
        self, *events: dict[str, Any], state: str = "running", reason: str = "", details: str = ""
    ) -> None:
        """Let the newest training say something."""
        run = self.newest()
        run.events, run.state, run.reason, run.details = list(events), state, reason, details
        self.logic.training._look()
        self.logic.training._look()

    def close(self) -> None:
        for panel in self.panels:
            self.logic.listeners.remove(panel.refresh)
            panel.cleanup()
            panel.widget.deleteLater()
        self.logic.shutDown()


@pytest.fixture
def bench(scene: Any, cases: Path, tinyModel: Path, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(
        tmp_path / "models", compute=StandInWorker(), files=StandInWorker(), checker=StandInWorker()
    )
    bench.useStandInRuns()
    bench.logic.settings.set("casesFolder", str(cases))
    bench.logic.models.current = tinyModel
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "ellipsoids").symlink_to(tinyModel)
    bench.logic.models.current = tmp_path / "models" / "ellipsoids"
    yield bench
    bench.close()


def progress(step: int, total: int = 20, loss: float = 1.0) -> dict[str, Any]:
    return {"event": "progress", "stage": "training", "done": step, "total": total, "seconds_left": 65.0,
            "losses": {"total": loss}}  # fmt: skip


def texts(table: Any) -> list[list[str]]:
    cells = [
        [table.item(row, column) for column in range(table.columnCount)] for row in range(table.rowCount)
    ]
    return [[cell.text() for cell in row] for row in cells]


def entries(combo: Any) -> list[str]:
    return [combo.itemText(number) for number in range(combo.count)]


def begun(bench: Bench, **found: Any) -> FineTunePanel:
    """A panel whose training has just been started."""
    panel = bench.open()
    panel.ui.startButton.click()
    bench.answer(**found)
    return panel


# ------------------------------------------------------------------------------------------ the choices


def test_methods_start_models_and_a_free_name_are_on_offer(bench: Bench, cases: Path):
    ui = bench.open().ui
    titles = [method["title"] for method in bench.logic.training.methods()]
    assert entries(ui.methodCombo)[:-1] == titles[:-1]
    assert entries(ui.methodCombo)[-1] == "PGL pre-training: pre-train on my unlabelled folder"
    assert methods.card(methods.DEFAULT).reference in ui.methodCombo.toolTip
    assert ui.methodCombo.itemData(1, qt.Qt.ToolTipRole) == bench.logic.training.methods()[1]["reference"]
    assert entries(ui.startModelCombo)[-1] == "None: train from scratch"
    assert ui.startModelCombo.currentText == "Two ellipsoids"
    assert ui.titleEdit.text.startswith("Two ellipsoids fine-tuned 20")
    assert ui.casesFolderEdit.currentPath == str(cases)


def test_two_start_models_with_one_title_are_told_apart_by_their_folders(bench: Bench, tinyModel: Path):
    shutil.copytree(tinyModel, bench.logic.models.folder / "ellipsoids-2")
    ui = bench.open().ui
    assert entries(ui.startModelCombo)[1:3] == [
        "Two ellipsoids (ellipsoids)",
        "Two ellipsoids (ellipsoids-2)",
    ]


def test_a_start_model_that_was_deleted_is_replaced_by_no_other_until_the_user_chooses(
    bench: Bench, tinyModel: Path
):
    chosen = bench.logic.models.folder / "ellipsoids-2"
    shutil.copytree(tinyModel, chosen)
    ui = bench.open().ui
    ui.startModelCombo.setCurrentIndex(ui.startModelCombo.findData(str(chosen)))
    chosen.rename(chosen.with_name(".away"))
    for _again in range(2):
        bench.logic.models.changed()
        assert ui.startModelCombo.currentText == "ellipsoids-2 (lost or damaged)"
    ui.titleEdit.text = "Ours"
    ui.startButton.click()
    assert f"{chosen} holds no model.json" in ui.messageLabel.text
    assert bench.checker.of("check") == []
    chosen.with_name(".away").rename(chosen)
    bench.logic.models.changed()
    assert ui.startModelCombo.currentText == "Two ellipsoids (ellipsoids-2)"
    shutil.rmtree(chosen)
    ui.startModelCombo.setCurrentIndex(0)
    bench.logic.models.changed()
    assert not [title for title in entries(ui.startModelCombo) if "lost" in title]


def test_the_configuration_sets_the_options_and_the_number_of_updates(bench: Bench):
    panel = bench.open()
    panel.ui.startModelCombo.setCurrentIndex(panel.ui.startModelCombo.count - 1)
    released = methods.card("cr_gloco").configurations["released"]
    panel.ui.configurationCombo.setCurrentIndex(entries(panel.ui.configurationCombo).index("released"))
    assert panel.ui.iterationsSpinBox.value == released["iterations"]
    shown = {name: value for name, value in panel.setup.form.values().items() if name in released}
    assert shown == {name: value for name, value in released.items() if name != "iterations"}
    assert panel.setup.form.changed() == {}


def test_from_a_start_model_few_labels_are_taught_for_a_short_while_unless_the_user_wants_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    rows = [CaseRow(str(number), "corrected") for number in range(3)]
    rows += [CaseRow("measures", "validation"), CaseRow("bare", "predicted")]
    monkeypatch.setattr(bench.logic.cases, "rows", rows)
    ui = bench.open().ui
    assert ui.iterationsSpinBox.value == 3 * 100 + 20
    rows.append(CaseRow("new", "corrected"))
    bench.logic.listeners.tell("cases")
    assert ui.iterationsSpinBox.value == 4 * 100 + 20
    ui.methodCombo.setCurrentIndex(ui.methodCombo.findData("supervised"))
    assert ui.iterationsSpinBox.value == 4 * 100
    ui.methodCombo.setCurrentIndex(ui.methodCombo.findData("pgl"))  # looks at no label
    assert ui.iterationsSpinBox.value == 4000
    ui.methodCombo.setCurrentIndex(ui.methodCombo.findData("supervised"))
    ui.methodCombo.setCurrentIndex(0)
    ui.startModelCombo.setCurrentIndex(ui.startModelCombo.count - 1)
    assert ui.iterationsSpinBox.value == 4000
    ui.startModelCombo.setCurrentIndex(0)
    ui.iterationsSpinBox.setValue(1234)
    rows.append(CaseRow("newest", "corrected"))
    bench.logic.listeners.tell("cases")
    ui.startModelCombo.setCurrentIndex(ui.startModelCombo.count - 1)
    assert ui.iterationsSpinBox.value == 1234


def test_the_engine_counts_the_cases_where_no_number_of_updates_is_named_and_the_check_shows_what_suits(
    bench: Bench,
):
    """The folder may not be listed yet, and further unlabelled scans are in no list."""
    ui = begun(bench, labelled=2, unlabelled=30).ui
    (path,) = bench.runs
    assert read_job(path).iterations is None
    assert ui.iterationsSpinBox.value == 2 * 100 + 30 * 20
    bench.tell(state="stopped")
    ui.iterationsSpinBox.value = 123
    ui.startButton.click()
    assert read_job(list(bench.runs)[-1]).iterations == 123


def test_another_method_brings_its_own_options(bench: Bench, processEvents: Callable[[], None]):
    panel = bench.open()
    for number, method in enumerate(bench.logic.training.methods()):
        panel.ui.methodCombo.setCurrentIndex(number)
        processEvents()
        wanted = {option["name"] for option in method["options"]} - {"iterations"}
        assert set(panel.setup.form.fields) == wanted
        assert entries(panel.ui.configurationCombo) == list(method["configurations"])
        assert panel.ui.optionsBox.layout().count() == 1


def test_a_start_model_brings_its_networks_and_without_one_they_can_be_chosen(bench: Bench):
    panel = bench.open()
    panel.ui.optionsBox.collapsed = panel.setup.form.advancedBox.collapsed = False
    width = panel.setup.form.fields["width"].widget
    assert (width.value, width.enabled) == (4, False)  # as the tiny model was made
    assert "start model" in width.toolTip
    assert panel.setup.request().options == {}
    panel.ui.startModelCombo.setCurrentIndex(panel.ui.startModelCombo.count - 1)
    assert (width.value, width.enabled) == (32, True)
    assert panel.setup.request().startModel is None
    assert panel.ui.titleEdit.text.startswith("New model 20")


def test_changed_options_stay_when_models_come_or_another_one_is_in_use(bench: Bench):
    panel = bench.open()
    panel.setup.form.fields["threshold"].widget.value = 0.9
    bench.logic.models.changed()
    bench.logic.models.current = next(path for path, _card in bench.logic.models.list())
    assert panel.setup.request().options == {"threshold": 0.9}


def test_every_choice_reaches_the_request(bench: Bench, cases: Path, tmp_path: Path, answers: Any):
    panel = bench.open()
    ui = panel.ui
    answers.put(str(tmp_path))
    ui.addUnlabelledButton.click()
    ui.iterationsSpinBox.value = 123
    ui.minutesCheckBox.checked = True
    ui.minutesSpinBox.value = 7
    ui.deviceCombo.setCurrentIndex(ui.deviceCombo.findData("cpu"))
    ui.keepRunningCheckBox.checked = True
    panel.setup.form.fields["threshold"].widget.value = 0.9
    ui.titleEdit.text = " Liver 3 "
    request = panel.setup.request()
    assert (request.title, request.casesFolder, request.unlabelledFolders) == ("Liver 3", cases, (tmp_path,))
    assert (request.startModel, request.method) == (bench.logic.models.current, "cr_gloco")
    assert (request.iterations, request.minutes, request.device) == (123, 7.0, "cpu")
    assert (request.options, request.keepRunning) == ({"threshold": 0.9}, True)


def test_folders_of_unlabelled_scans_are_added_once_removed_and_remembered(
    bench: Bench, tmp_path: Path, answers: Any
):
    ui = bench.open().ui
    for _again in range(2):
        answers.put(str(tmp_path))
        ui.addUnlabelledButton.click()
    answers.put("")  # the dialog was cancelled
    ui.addUnlabelledButton.click()
    assert ui.unlabelledList.count == 1
    assert bench.open().setup.unlabelledFolders == (tmp_path,)
    assert not ui.removeUnlabelledButton.enabled
    ui.unlabelledList.setCurrentRow(0)
    assert ui.removeUnlabelledButton.enabled
    ui.removeUnlabelledButton.click()
    assert bench.logic.settings.get("unlabelledFolders") == []


def test_what_belongs_to_the_computer_is_remembered_after_a_start(bench: Bench):
    panel = bench.open()
    panel.ui.methodCombo.setCurrentIndex(1)
    panel.ui.minutesCheckBox.checked = True
    panel.ui.minutesSpinBox.value = 33
    panel.ui.startButton.click()
    bench.answer()
    again = bench.open().ui
    assert again.methodCombo.currentIndex == 1
    assert (again.minutesCheckBox.checked, again.minutesSpinBox.value) == (True, 33)
    assert again.minutesSpinBox.enabled


def test_a_cases_folder_chosen_here_is_the_one_of_the_cases_section(
    bench: Bench, tmp_path: Path, cases: Path, waitUntil: Any
):
    ui = bench.open().ui
    ui.casesFolderEdit.currentPath = str(tmp_path)
    waitUntil(lambda: bench.logic.settings.folder("casesFolder") == tmp_path)
    bench.logic.cases.open(cases)
    assert ui.casesFolderEdit.currentPath == str(cases)


def test_no_folder_on_the_way_to_the_typed_one_is_opened_and_nothing_typed_is_overwritten(
    bench: Bench, tmp_path: Path, cases: Path, waitUntil: Any, monkeypatch: pytest.MonkeyPatch
):
    opened: list[Path] = []
    monkeypatch.setattr(bench.logic.cases, "open", opened.append)
    ui, meant = bench.open().ui, tmp_path / "other"
    meant.mkdir()
    for typed in (*reversed(tmp_path.parents), tmp_path, meant.with_name("oth"), meant):
        ui.casesFolderEdit.currentPath = str(typed)
        bench.logic.listeners.tell("cases")
        assert ui.casesFolderEdit.currentPath == str(typed)
    waitUntil(lambda: opened)
    assert opened == [meant]


def test_a_typed_name_stays_and_a_proposed_one_follows_the_start_model(bench: Bench):
    panel = bench.open()
    panel.ui.titleEdit.qtObject_.setText("My liver")
    panel.ui.titleEdit.qtObject_.textEdited.emit("My liver")
    panel.ui.startModelCombo.setCurrentIndex(panel.ui.startModelCombo.count - 1)
    assert panel.ui.titleEdit.text == "My liver"
    panel.ui.startButton.click()
    bench.answer(unlabelled=0)
    assert panel.ui.titleEdit.text.startswith("New model 20")


# -------------------------------------------------------------------------------- the check and the start


def test_the_check_tells_how_far_it_is_and_what_it_found(bench: Bench, cases: Path):
    ui = bench.open().ui
    ui.checkButton.click()
    (asked,) = bench.checker.of("check")
    assert asked.fields == {"folder": str(cases), "unlabelled": [], "method": "cr_gloco"}
    asked.tell(event="progress", stage="check", done=1, total=5)
    assert ui.checkLabel.text == "Reading the cases: 1 of 5"
    assert not ui.startButton.enabled
    asked.answer(**ALL_WELL | {"problems": [{"severity": "warning", "case": "a", "text": "It is empty."}]})
    assert texts(ui.findingsTable) == [["Warning", "a", "It is empty."]]
    assert ui.checkLabel.text.endswith("Warnings: 1.")
    assert ui.startButton.enabled
    assert bench.runs == {}


def test_the_rows_of_what_was_found_are_as_high_as_their_texts(bench: Bench, picture: Any, tmp_path: Path):
    panel = bench.open()
    picture(panel.widget, tmp_path / "before.png", width=500)
    panel.ui.checkButton.click()
    bench.answer(problems=[{"severity": "warning", "case": "a", "text": "It lies on another grid. " * 6}])
    table = panel.ui.findingsTable.qtObject_
    for width in (500, 900):
        picture(panel.widget, tmp_path / "after.png", width=width)
        assert table.rowHeight(0) == table.sizeHintForRow(0)


def test_a_check_can_be_cancelled_and_says_so(bench: Bench):
    ui = bench.open().ui
    ui.checkButton.click()
    assert ui.checkButton.text == "Cancel the check"
    ui.checkButton.click()
    assert bench.checker.of("check")[0].wasCancelled
    assert ui.checkLabel.text == "Cancelled."
    assert ui.checkButton.text == "Check the cases"


def test_start_checks_first_and_errors_keep_it_from_starting(bench: Bench):
    ui = bench.open().ui
    ui.startButton.click()
    assert bench.runs == {}
    bench.answer(problems=[{"severity": "error", "case": "a", "text": "It is cut off."}])
    assert bench.runs == {}
    assert "mend the errors" in ui.messageLabel.text
    assert texts(ui.findingsTable) == [["Error", "a", "It is cut off."]]
    ui.startButton.click()  # nothing has changed: the answer is still known
    assert len(bench.checker.of("check")) == 1
    bench.logic.listeners.tell("cases")
    ui.startButton.click()
    assert len(bench.checker.of("check")) == 2


def test_what_was_checked_with_other_choices_is_checked_again(bench: Bench, tmp_path: Path, answers: Any):
    ui = bench.open().ui
    wrong = [{"severity": "error", "case": "a", "text": "It is cut off."}]
    ui.startButton.click()
    bench.answer(problems=wrong)
    answers.put(str(tmp_path))
    changes = (
        ui.addUnlabelledButton.click,
        lambda: ui.startModelCombo.setCurrentIndex(ui.startModelCombo.count - 1),
        lambda: ui.methodCombo.setCurrentIndex(1),
    )
    for number, change in enumerate(changes, start=2):
        change()
        ui.startButton.click()
        assert len(bench.checker.of("check")) == number
        bench.answer(problems=wrong)
    assert bench.runs == {}


def test_cases_with_other_labels_than_the_start_models_are_found_before_the_start(bench: Bench):
    ui = bench.open().ui
    ui.startButton.click()
    bench.answer(labels=[{"value": 1, "name": "liver"}])
    assert bench.runs == {}
    assert "the start model knows 1 large, 2 small" in texts(ui.findingsTable)[0][2]


def test_after_a_good_check_the_training_runs_as_it_was_asked_for(bench: Bench, cases: Path):
    panel = begun(bench)
    (path,) = bench.runs
    job = read_job(path)
    assert (job.cases, job.start) == (cases, bench.logic.models.current)
    assert (job.iterations, job.minutes) == (None, None)
    assert bench.newest().calls == [("start", False)]
    ui = panel.ui
    assert (ui.startButton.enabled, ui.stopButton.enabled, ui.resumeButton.enabled) == (False, True, False)
    assert "being trained" in ui.startButton.toolTip
    assert ui.statusLabel.text == "Starting"
    assert ui.titleEdit.text.endswith("(2)")


def preTrained(bench: Bench, name: str = "start") -> Path:
    """A model without branches, as pre-training makes it."""
    folder = bench.logic.models.folder / name
    shutil.copytree(bench.logic.models.current, folder)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"name": name, "title": "My start", "branches": []}))
    return folder


def test_a_pre_trained_model_is_a_start_and_nothing_that_segments(bench: Bench):
    segmenting = bench.logic.models.current
    start = preTrained(bench)
    bench.logic.models.changed()
    assert start not in [path for path, _card in bench.logic.models.segmenting()]
    bench.logic.models.current = start
    assert bench.logic.models.current != start
    bench.logic.models.current = segmenting
    with pytest.raises(ModelError, match="cannot segment by itself"):
        bench.logic.segment(addVolume(), start)
    ui = bench.open().ui
    assert "My start (pre-trained)" in entries(ui.startModelCombo)
    ui.startModelCombo.setCurrentIndex(ui.startModelCombo.findData(str(start)))
    ui.startButton.click()
    bench.answer(labels=[{"value": 1, "name": "liver"}])
    assert read_job(next(iter(bench.runs))).start == start


def test_pretraining_starts_on_scans_alone_and_ends_without_a_comparison(bench: Bench, tmp_path: Path):
    panel = bench.open()
    ui = panel.ui
    ui.methodCombo.setCurrentIndex(ui.methodCombo.findData("pgl"))
    assert " pre-trained 20" in ui.titleEdit.text
    ui.startModelCombo.setCurrentIndex(ui.startModelCombo.count - 1)
    assert ui.titleEdit.text.startswith("Pre-trained 20")
    ui.casesFolderEdit.currentPath = str(tmp_path)
    ui.startButton.click()
    assert bench.checker.of("check")[-1].fields["labels"] is False
    bench.answer(labelled=0, validation=0, labels=None)
    (path,) = bench.runs
    job = read_job(path)
    assert (job.method, job.cases, job.start) == ("pgl", tmp_path, None)
    shutil.copytree(bench.logic.models.current, job.out)
    bench.tell({"event": "model", "path": str(job.out), "title": job.title}, state="finished")
    assert "cannot segment by itself" in ui.comparisonLabel.text
    assert not ui.useNewButton.enabled
    with pytest.raises(JobError, match="start model of a fine-tuning"):
        bench.logic.training.useNew(panel.monitor.job)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda ui: setattr(ui.titleEdit, "text", "  "), "Give the new model a name."),
        (lambda ui: setattr(ui.titleEdit, "text", "ellipsoids"), "exists already. Choose another name."),
        (lambda ui: setattr(ui.titleEdit, "text", "?!"), "a name with at least one letter or digit."),
        (
            lambda ui: setattr(ui.casesFolderEdit, "currentPath", ""),
            "Choose the folder of the labelled cases.",
        ),
    ],
)
def test_what_is_missing_is_said_beside_the_button(bench: Bench, spoil: Callable[[Any], None], said: str):
    panel = bench.open()
    spoil(panel.ui)
    panel.ui.startButton.click()
    assert said in panel.ui.messageLabel.text
    assert bench.checker.of("check") == []
    assert bench.runs == {}


def test_what_keeps_a_training_from_starting_is_said_before_the_cases_are_read(bench: Bench):
    panel, folder = bench.open(), bench.logic.models.folder
    (folder / "file").write_text("in the way")
    ui = panel.ui
    panel.setup.form.fields["learning_rate"].widget.text = "-1"
    ui.startButton.click()
    assert "earning rate" in ui.messageLabel.text
    panel.setup.form.fields["learning_rate"].widget.text = "0.01"
    bench.logic.settings.set("modelsFolder", str(folder / "file" / "models"))
    ui.startButton.click()
    assert "cannot be written: its folder is no folder" in ui.messageLabel.text
    assert bench.checker.of("check") == []


def test_an_option_that_cannot_be_used_is_said_in_words(bench: Bench):
    panel = bench.open()
    panel.setup.form.fields["learning_rate"].widget.text = "fast"
    panel.ui.startButton.click()
    assert panel.ui.messageLabel.text.startswith("Learning rate: 'fast' cannot be used.")


def test_without_the_packages_nothing_is_started_and_the_way_out_is_named(bench: Bench):
    bench.logic.environment.problem = lambda: "PyTorch: not installed."
    ui = bench.open().ui
    ui.startButton.click()
    assert ui.messageLabel.text == "PyTorch: not installed. See the section Environment."
    assert bench.checker.of("check") == []


# ---------------------------------------------------------------------------------------- while it runs


def stagesOfTheEngine() -> list[str]:
    engine = Path(crgloco.__file__).parent
    files = [*engine.glob("training/*.py"), engine / "data" / "preparation.py"]
    return sorted(
        {stage for file in files for stage in re.findall(r'stage="([^"]+)"', file.read_text("utf-8"))}
    )


@pytest.mark.parametrize("stage", stagesOfTheEngine())
def test_every_stage_of_a_training_has_words_of_its_own(bench: Bench, stage: str):
    panel = begun(bench)
    bench.tell({"event": "progress", "stage": stage, "done": 1, "total": 1_234_567})
    assert not panel.ui.statusLabel.text.startswith(stage)
    assert panel.ui.statusLabel.text.endswith("1 of 1234567")


def test_progress_time_left_curve_and_log_follow_the_training(bench: Bench):
    panel = begun(bench)
    bench.tell({"event": "progress", "stage": "preparing", "done": 1, "total": 4})
    assert panel.ui.statusLabel.text == "Preparing the scans: 1 of 4"
    bench.tell(
        {"event": "message", "text": "Training on 2 labelled cases."}, progress(5), progress(10, loss=0.5)
    )
    assert panel.ui.statusLabel.text == "Update 10 of 20, about 1:05 left"
    assert panel.ui.progressBar.value == panel.ui.progressBar.maximum // 2
    assert panel.monitor.curve.losses == [(5, 1.0), (10, 0.5)]
    assert panel.ui.logEdit.plainText == "Training on 2 labelled cases."
    bench.tell({"event": "validation", "step": 10, "dice": 0.7}, {"event": "message", "text": "Half-way."})
    assert panel.monitor.curve.scores == [(10, 0.7)]
    assert panel.ui.logEdit.plainText == "Training on 2 labelled cases.\nHalf-way."


def test_a_double_click_on_stop_does_not_end_it_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    panel = begun(bench)
    bench.tell(progress(5))
    panel.ui.stopButton.click()
    panel.ui.stopButton.click()
    assert bench.newest().calls[-1] == "stop"
    monkeypatch.setattr("CRGLoCoSegmentLib.panels.fine_tune.DOUBLE_CLICK_S", 0.0)
    panel.ui.stopButton.click()
    assert bench.newest().calls[-1] == "kill"


def test_stop_keeps_the_state_and_resume_goes_on(bench: Bench):
    panel = begun(bench)
    ui = panel.ui
    bench.tell(progress(5))
    ui.stopButton.click()
    assert bench.newest().calls[-1] == "stop"
    assert ui.stopButton.text == "End at once"
    assert "the state is kept" in ui.statusLabel.text
    stopped = {"event": "stopped", "text": "Stopped. To go on: crgloco train x", "reason": "Stopped."}
    bench.tell(stopped, state="stopped", reason="It was stopped.")
    assert ui.logEdit.plainText == "Stopped. Press Resume to go on."
    assert (ui.startButton.enabled, ui.stopButton.enabled, ui.resumeButton.enabled) == (True, False, True)
    assert (ui.stopButton.text, ui.statusLabel.text) == ("Stop", "It was stopped.")
    ui.keepRunningCheckBox.checked = True
    ui.resumeButton.click()
    assert bench.newest().calls[-1] == ("start", True)
    assert not ui.resumeButton.enabled


def test_a_failure_is_told_in_words_with_the_details_in_the_log(bench: Bench):
    panel = begun(bench)
    failed = {"event": "failed", "type": "ResourceError", "text": "The disk is full.", "traceback": None}
    bench.tell(progress(5), failed, state="failed", reason="The disk is full.", details="Traceback: line 1")
    assert panel.ui.statusLabel.text == "The disk is full."
    assert panel.ui.logEdit.plainText == "The disk is full.\nTraceback: line 1"
    assert texts(panel.ui.jobsTable)[0][1] == "failed"
    assert panel.ui.resumeButton.enabled


def test_at_the_end_old_and_new_stand_side_by_side_and_the_user_chooses(bench: Bench):
    panel = begun(bench)
    (path,) = bench.runs
    old, new = bench.logic.models.current, save_tiny_model(read_job(path).out)
    comparison = {"event": "comparison", "new": {"dice": 0.8, "per_label": {"large": 0.9, "a_cyst": 0.7},
                  "hd95_mm": 3.0, "hd95_mm_per_label": {"large": 3.0, "a_cyst": None}},
                  "start": {"dice": 0.75, "per_label": {"large": 0.95, "a_cyst": 0.55},
                  "hd95_mm": 4.25, "hd95_mm_per_label": {"large": 4.25, "a_cyst": None}}}  # fmt: skip
    bench.tell(progress(20), comparison, {"event": "model", "path": str(new)}, state="finished")
    ui = panel.ui
    assert texts(ui.comparisonTable) == [
        ["All (mean)", "0.750", "0.800", "+0.050", "4.2", "3.0"],
        ["large", "0.950", "0.900", "-0.050", "4.2", "3.0"],
        ["a cyst", "0.550", "0.700", "+0.150", "-", "-"],
    ]
    assert (ui.useNewButton.enabled, ui.keepOldButton.enabled) == (True, False)
    ui.useNewButton.click()
    assert bench.logic.models.current == new
    assert "The new model is in use. Worse than before: large (-0.05)." in ui.comparisonLabel.text
    assert "On the whole" not in ui.comparisonLabel.text
    ui.keepOldButton.click()
    assert bench.logic.models.current == old
    assert str(new) in [ui.startModelCombo.itemData(n) for n in range(ui.startModelCombo.count)]


def test_a_new_model_that_was_deleted_is_not_called_ready(bench: Bench):
    panel = begun(bench)
    (path,) = bench.runs
    new = save_tiny_model(read_job(path).out)
    bench.tell({"event": "model", "path": str(new)}, state="finished")
    assert panel.ui.statusLabel.text.endswith(" is ready.")
    shutil.rmtree(new)
    panel.enter()
    assert panel.ui.statusLabel.text.endswith(f" was trained, but its model is not in {new} any more.")


def test_a_new_model_that_is_worse_is_called_so():
    mean, kidney, liver = (
        ComparisonRow("", 0.9, 0.85),
        ComparisonRow("left_kidney", 0.9, 0.79),
        ComparisonRow("liver", 0.9, 0.89),
    )
    text = comparisonText([mean, kidney, liver], ["case {1}"], usesNew=False)
    assert "Worse than before: left kidney (-0.11). On the whole the old model is better." in text
    assert "The labels of case {1} were made" in text
    better = [ComparisonRow("", 0.85, 0.9), ComparisonRow("liver", None, 0.9)]
    assert "Worse" not in comparisonText(better, usesNew=True)


def test_without_validation_cases_the_panel_says_why_there_is_no_comparison(bench: Bench):
    panel = begun(bench)
    bench.tell(progress(20), {"event": "model", "path": "x"}, state="finished")
    assert "no validation cases" in panel.ui.comparisonLabel.text
    assert texts(panel.ui.comparisonTable) == []


def test_an_earlier_training_can_be_looked_at_while_another_one_runs(bench: Bench):
    panel = begun(bench)
    first = bench.newest()
    bench.tell(
        progress(7), {"event": "stopped", "text": "Stopped."}, state="stopped", reason="It was stopped."
    )
    panel.ui.startButton.click()
    bench.tell(progress(3))
    rows = [row[1:3] for row in texts(panel.ui.jobsTable)]
    assert sorted(rows) == [["running", "3/20"], ["stopped", "7/20"]]
    shown = panel.monitor.job.path
    panel.ui.jobsTable.selectRow(next(n for n, row in enumerate(rows) if row[0] == "stopped"))
    assert panel.monitor.job.path == first.folder
    assert panel.monitor.job.path != shown
    assert panel.monitor.curve.losses == [(7, 1.0)]
    assert not panel.ui.resumeButton.enabled  # one at a time


def test_a_training_on_another_computer_is_told_and_leaves_this_one_free(bench: Bench):
    panel = begun(bench)
    bench.tell(progress(7), reason="It runs on the computer station2.")
    assert panel.ui.statusLabel.text.startswith("It runs on the computer station2. Update 7 of 20")
    assert panel.ui.startButton.enabled
    with pytest.raises(JobError, match="cannot be resumed: It runs on the computer station2"):
        bench.logic.training.resume(panel.monitor.job)


def test_neither_the_curve_nor_a_path_is_left_in_the_scene(bench: Bench, scene: Any):
    before = scene.GetNumberOfNodes()
    panel = begun(bench)
    bench.tell(progress(5), progress(10))
    scene.Clear()
    assert scene.GetNumberOfNodes() == before
    assert panel.monitor.curve.losses == [(5, 1.0), (10, 1.0)]


def test_a_panel_that_is_closed_cancels_its_check(bench: Bench):
    panel = bench.open()
    panel.ui.checkButton.click()
    panel.cleanup()
    assert bench.checker.of("check")[0].wasCancelled


def test_every_control_has_a_tooltip():
    panel_file = (RESOURCES / "UI" / "fineTune.ui").read_text(encoding="utf-8")
    assert panel_file.count("<string/>") == 0
    widget = slicer.util.loadUI(str(RESOURCES / "UI" / "fineTune.ui"))
    for kind in (
        "QPushButton",
        "QComboBox",
        "QCheckBox",
        "QSpinBox",
        "QLineEdit",
        "QTableWidget",
        "QListWidget",
    ):
        controls = [
            one for one in widget.findChildren(kind) if one.objectName and "qt_" not in one.objectName
        ]
        assert [one.objectName for one in controls if not one.toolTip] == []


# ------------------------------------------------------------------------------------------- the curve


def test_the_axis_of_the_loss_ends_at_a_round_number_above_it():
    assert [niceCeiling(value) for value in (0.9, 1.0, 1.1, 2.3, 0.013, 90, 0.0)] == [
        1,
        1,
        1.2,
        2.4,
        0.016,
        100,
        1,
    ]


def test_many_points_become_few_that_keep_their_mean():
    points = [(float(x), float(x % 2)) for x in range(10_000)]
    few = thinned(points, 300)
    assert len(few) <= 300
    assert few[-1][0] == 9999
    assert all(abs(y - 0.5) < 0.02 for _x, y in few)
    assert smoothed([(0, 1.0), (1, 0.0)], 0.25) == [(0, 1.0), (1, 0.75)]


def test_the_curve_is_painted_in_both_colours_and_says_so_when_there_is_none(
    bench: Bench, picture: Callable[..., Path], tmp_path: Path
):
    curve = begun(bench).monitor.curve
    curve.resize(400, 200)
    empty = _colours(picture(curve, tmp_path / "empty.png"))
    curve.setPoints([(1, 2.0), (50, 1.0), (100, 0.5)], [(50, 0.6), (100, 0.8)], 100)
    painted = _colours(picture(curve, tmp_path / "curve.png"))
    lines = {LOSS.lower(), DICE.lower()}
    assert lines <= painted
    assert not lines & empty


def test_the_lines_of_the_curve_stand_out_from_a_light_and_a_dark_panel_and_its_numbers_are_text(
    bench: Bench, picture: Callable[..., Path], tmp_path: Path
):
    for line in (LOSS, DICE):
        for panel in ("#ffffff", "#efefef", "#323232"):
            assert contrast(line, panel) > 3, (line, panel)
    curve = begun(bench).monitor.curve
    curve.resize(400, 200)
    curve.setPoints([(1, 2.0), (100, 0.5)], [(50, 0.6)], 100)
    line = curve.fontMetrics().height()
    besideTheAxes = _colours(picture(curve, tmp_path / "curve.png"), below=2 * line, width=2 * line)
    assert curve.palette.color(qt.QPalette.WindowText).name() in besideTheAxes
    assert not {LOSS.lower(), DICE.lower()} & besideTheAxes


def contrast(one: str, other: str) -> float:
    """Of two colours ``#RRGGBB``, as WCAG 2 defines it: 3 is enough for lines, 4.5 for texts."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _colours(file: Path, below: int = 0, width: int = 0) -> set[str]:
    image = qt.QImage(str(file))
    columns, rows = range(width or image.width()), range(below, image.height())
    return {qt.QColor(image.pixel(x, y)).name() for x in columns for y in rows}


# ------------------------------------------------------------------------------------ a real training


@pytest.mark.slow
def test_twenty_real_updates_through_the_panel_never_stop_the_gui(
    scene: Any, cases: Path, tinyModel: Path, tmp_path: Path, waitUntil: Callable[..., None], heartbeat: Any,
    picture: Callable[..., Path],
):  # fmt: skip
    (tmp_path / "models").mkdir()
    bench = Bench(tmp_path / "models")
    bench.logic.settings.set("casesFolder", str(cases))
    bench.logic.models.current = tinyModel
    (tmp_path / "models" / "ellipsoids").symlink_to(tinyModel)
    bench.logic.models.current = tmp_path / "models" / "ellipsoids"
    panel = bench.open()
    ui = panel.ui
    try:
        ui.iterationsSpinBox.value = 20
        ui.deviceCombo.setCurrentIndex(ui.deviceCombo.findData("cpu"))
        with heartbeat() as beat:
            ui.startButton.click()
            waitUntil(lambda: panel.monitor.job is not None or ui.messageLabel.text, 60)
            assert ui.messageLabel.text == ""
            waitUntil(lambda: panel.monitor.job.state != "running", 120)
            waitUntil(lambda: ui.comparisonTable.rowCount, 10)
        job = panel.monitor.job
        assert (job.state, job.reason, job.output()) == ("finished", "", job.output())
        assert beat.longest < beat.limit
        assert [row[0] for row in texts(ui.comparisonTable)] == ["All (mean)", "large", "small"]
        assert panel.monitor.curve.losses[-1][0] == 20
        assert panel.monitor.curve.scores[-1][0] == 20
        assert JobFolder(job.path).state == "finished"
        ui.useNewButton.click()
        assert bench.logic.models.card().title.startswith("Two ellipsoids fine-tuned")
        panel.widget.resize(460, 1200)
        assert picture(panel.widget, tmp_path / "fine_tune.png").stat().st_size > 10_000
    finally:
        bench.close()


def test_labels_that_began_as_the_old_models_answers_are_named_beside_the_comparison(bench: Bench):
    panel = begun(bench)
    scores = {"new": {"dice": 0.8, "per_label": {"large": 0.8}}, "start": {"dice": 1.0, "per_label": {}}}
    bench.tell({"event": "comparison", **scores, "made_from_start": ["b"]}, state="finished")
    assert "The labels of b were made by correcting the old model's own answers" in (
        panel.ui.comparisonLabel.text
    )
