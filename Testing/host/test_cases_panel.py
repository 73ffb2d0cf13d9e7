"""The section of the cases, clicked: real panel, real files worker, predictions played by the test."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import qt
import slicer

from case_phantoms import GRID, TABLE, label, makeFolder, scan
from crgloco.data.case_store import revisions
from crgloco.errors import CasesError
from CRGLoCoSegmentLib.background.worker import Worker
from CRGLoCoSegmentLib.logic import SegmentLogic
from CRGLoCoSegmentLib.nodes.results import setCorrected
from CRGLoCoSegmentLib.nodes.volumes import volumeNodeFromVolume
from CRGLoCoSegmentLib.panels.cases import CasesPanel
from CRGLoCoSegmentLib.parameters import Parameters, Quality
from CRGLoCoSegmentLib.views.layout import TWO_PANES
from grids import segmentationFromLabels
from stand_ins import StandInWorker

RESOURCES = Path(__file__).parents[2] / "CRGLoCoSegment" / "Resources"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return makeFolder(tmp_path_factory.mktemp("cases") / "template")


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "cases"))


@pytest.fixture(scope="module")
def files() -> Iterator[Worker]:
    worker = Worker("files")
    yield worker
    worker.end()


@pytest.fixture
def logic(scene: Any, files: Worker, monkeypatch: pytest.MonkeyPatch) -> SegmentLogic:
    made = SegmentLogic(files=files, compute=StandInWorker())
    monkeypatch.setattr(made.environment, "problem", lambda: "")
    return made


@pytest.fixture
def panel(logic: SegmentLogic, waitUntil: Any) -> Iterator[CasesPanel]:
    """The panel, on a parameter node, as the module holds it."""
    made = CasesPanel(logic, RESOURCES)
    logic.listeners.add(made.refresh)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "CRGLoCoSegment")
    made.setParameters(Parameters(node))
    made.enter()
    made.widget.show()
    yield made
    waitUntil(lambda: not (logic.cases.isReading or logic.cases.isLoading or logic.cases.isAccepting))
    logic.listeners.remove(made.refresh)
    made.cleanup()


@pytest.fixture
def opened(panel: CasesPanel, logic: SegmentLogic, folder: Path, waitUntil: Any) -> CasesPanel:
    """The panel with the folder of the phantoms."""
    logic.cases.open(folder)
    waitUntil(lambda: not logic.cases.isReading)
    return panel


def shown(panel: CasesPanel) -> list[list[str]]:
    """The visible rows of the table as texts."""
    table = panel.ui.casesTable
    return [
        [table.item(row, column).text() for column in range(table.columnCount)]
        for row in range(table.rowCount)
        if not table.isRowHidden(row)
    ]


def message(panel: CasesPanel) -> str:
    return panel.ui.messageLabel.text


def load(panel: CasesPanel, name: str, waitUntil: Any) -> Any:
    panel._table.select(name)
    panel.ui.loadButton.click()
    loadedIs(panel, name, waitUntil)
    return panel.logic.cases.loaded


def loadedIs(panel: CasesPanel, name: str, waitUntil: Any) -> None:
    cases = panel.logic.cases
    waitUntil(lambda: cases.loaded is not None and cases.loaded.name == name and not cases.isLoading)


def correct(volume: Any) -> Any:
    copy = segmentationFromLabels(label(9).array, GRID, TABLE, "copy", volume)
    setCorrected(volume, copy)
    return copy


# ------------------------------------------------------------------------------------------ the folder


def test_without_a_folder_the_panel_says_what_to_do(panel: CasesPanel):
    ui = panel.ui
    assert ui.folderLabel.text == (
        "Open a cases folder, or make a new one. Cases and labels stay on this computer."
    )
    assert "open one, or make a new one" in ui.acceptLabel.text
    for button in (ui.loadButton, ui.loadNextButton, ui.predictButton, ui.acceptButton, ui.exportButton):
        assert not button.enabled
    assert not ui.openFolderButton.enabled
    assert not ui.messageLabel.visible


def test_a_label_that_was_kept_when_slicer_closed_is_told_once(logic: SegmentLogic):
    logic.settings.set("keptLabel", "It is kept as /home/me/case.seg.nrrd.")
    shown = []
    for _ in range(2):
        panel = CasesPanel(logic, RESOURCES)
        shown.append(panel.ui.messageLabel.text)
        panel.cleanup()
    assert shown == ["It is kept as /home/me/case.seg.nrrd.", ""]


def test_the_cases_are_listed_with_state_confidence_and_expected_correction(opened: CasesPanel):
    assert shown(opened) == [
        ["done", "Corrected", "", "", "1"],
        ["held", "Validation", "0.45", "90", "1"],
        ["mild", "Predicted", "0.89", "1.5", ""],
        ["new_1", "Unlabelled", "", "", ""],
        ["new_2", "Unlabelled", "", "", ""],
        ["wrong", "Predicted", "0.84", "12.25", ""],
    ]
    assert opened.ui.folderLabel.text == (
        "6 cases: 2 unlabelled, 2 predicted, 1 corrected, 1 validation. Labels: 1 liver, 7 spleen."
    )
    assert opened.ui.predictButton.text == "Predict all unlabelled (4)"
    assert "12.2 ml" in opened.ui.casesTable.item(5, 0).toolTip()


def test_the_table_sorts_numbers_as_numbers(opened: CasesPanel):
    import qt

    opened.ui.casesTable.sortByColumn(3, qt.Qt.DescendingOrder)
    assert [row[0] for row in shown(opened)][:3] == ["held", "wrong", "mild"]


def test_the_filter_shows_one_state(opened: CasesPanel):
    opened.ui.stateFilter.currentIndex = opened.ui.stateFilter.findText("Predicted")
    assert [row[0] for row in shown(opened)] == ["mild", "wrong"]
    opened.ui.stateFilter.currentIndex = 0
    assert len(shown(opened)) == 6


def test_a_typed_folder_is_read_when_the_typing_has_stopped(
    panel: CasesPanel, logic: SegmentLogic, folder: Path, waitUntil: Any
):
    panel.ui.folderPath.currentPath = str(folder)[:-2]
    panel.ui.folderPath.currentPath = str(folder)
    assert logic.cases.folder is None
    waitUntil(lambda: len(logic.cases.rows) == 6)
    assert logic.settings.get("casesFolder") == str(folder)


def test_a_typed_folder_that_does_not_exist_is_said_and_not_kept(
    panel: CasesPanel, logic: SegmentLogic, waitUntil: Any
):
    panel.ui.folderPath.currentPath = "/no/such/folder"
    waitUntil(lambda: bool(message(panel)))
    assert message(panel) == "There is no folder /no/such/folder."
    assert logic.cases.folder is None


def test_an_emptied_path_closes_the_folder(
    panel: CasesPanel, logic: SegmentLogic, folder: Path, waitUntil: Any
):
    panel.ui.folderPath.currentPath = str(folder)
    waitUntil(lambda: len(logic.cases.rows) == 6)
    panel.ui.folderPath.currentPath = ""
    waitUntil(lambda: logic.cases.folder is None)
    assert panel.ui.casesTable.rowCount == 0


def test_a_windows_path_in_a_message_does_not_widen_slicers_panel(panel: CasesPanel, waitUntil: Any):
    before = panel.widget.minimumSizeHint.width()
    panel.ui.folderPath.currentPath = r"C:\Users\Radiologie\Documents\Research\Abdomen2026\Segmented\cases"
    waitUntil(lambda: panel.ui.messageLabel.visible)
    assert "There is no folder" in panel.ui.messageLabel.text
    assert panel.widget.minimumSizeHint.width() == before


def test_an_empty_folder_says_how_to_make_it_a_cases_folder(
    panel: CasesPanel, logic: SegmentLogic, tmp_path: Path, waitUntil: Any
):
    (tmp_path / "empty").mkdir()
    logic.cases.open(tmp_path / "empty")
    waitUntil(lambda: not logic.cases.isReading)
    assert "no scans" in panel.ui.folderLabel.text
    assert "press New" in panel.ui.folderLabel.text
    assert panel.ui.folderPath.currentPath == str(tmp_path / "empty")


def test_new_makes_a_cases_folder_with_the_models_labels(
    panel: CasesPanel, logic: SegmentLogic, tmp_path: Path, answers: Any, waitUntil: Any
):
    answers.put(str(tmp_path / "mine"))
    panel.ui.newFolderButton.click()
    waitUntil(lambda: "still empty" in panel.ui.folderLabel.text)
    assert "liver" in panel.ui.folderLabel.text
    assert "is ready" in message(panel)
    assert (tmp_path / "mine" / "dataset.json").is_file()


def test_a_cancelled_dialog_makes_nothing(panel: CasesPanel, logic: SegmentLogic, answers: Any):
    answers.put("")
    panel.ui.newFolderButton.click()
    assert logic.cases.folder is None
    assert message(panel) == ""


# -------------------------------------------------------------------------------------- into the scene


def test_load_brings_the_selected_case_and_makes_it_the_input(opened: CasesPanel, waitUntil: Any):
    loaded = load(opened, "wrong", waitUntil)
    assert opened.parameters.inputVolume is loaded.volume
    assert opened.parameters.caseName == "wrong"
    assert message(opened).startswith(
        "wrong is loaded. Where the model is not sure, about 12.2 ml are expected to be wrong."
    )
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActiveVolumeID() == loaded.volume.GetID()


def test_a_prediction_of_another_model_than_the_one_in_use_is_told(
    opened: CasesPanel, logic: SegmentLogic, folder: Path, waitUntil: Any
):
    load(opened, "wrong", waitUntil)
    assert message(opened).endswith("of another model than the one in use; Apply segments it anew.")
    record = folder / "predictions" / "predictions.json"
    record.write_text(record.read_text().replace('"abc"', f'"{logic.models.card().weights_sha256}"'))
    for name in ("mild", "done"):  # one of this model, and a label
        load(opened, name, waitUntil)
        assert "another model" not in message(opened)


def test_a_double_click_loads(opened: CasesPanel, host: Any, waitUntil: Any):
    host.emit(opened.ui.casesTable, "cellDoubleClicked(int,int)", 2, 1)
    loadedIs(opened, "mild", waitUntil)


def test_a_double_click_that_cannot_load_says_why(
    opened: CasesPanel, host: Any, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise CasesError("The folder is gone.")

    monkeypatch.setattr(opened.logic.cases, "load", refuse)
    host.emit(opened.ui.casesTable, "cellDoubleClicked(int,int)", 2, 1)
    assert opened.ui.messageLabel.text == "The folder is gone."


def test_load_most_useful_next_loads_the_case_to_correct_most(opened: CasesPanel, waitUntil: Any):
    opened.ui.loadNextButton.click()
    loadedIs(opened, "wrong", waitUntil)
    assert opened._table.selected == "wrong"


def test_a_comparison_goes_on_with_the_next_case(
    host: Any, scene: Any, loadModule: Any, folder: Path, waitUntil: Any
):
    layouts = host.makeLayoutManager()
    widget = loadModule()
    for name in ("cases", "compare"):
        widget.sections[name].open()
    panel, compareButton = widget.sections["cases"].panel, widget.sections["compare"].panel.ui.compareButton
    widget.logic.cases.open(folder)
    waitUntil(lambda: not widget.logic.cases.isReading)
    former = load(panel, "wrong", waitUntil).volume
    compareButton.click()
    seen, node = [], layouts.layoutLogic().GetLayoutNode()
    tag = node.AddObserver("ModifiedEvent", lambda *_: seen.append(node.GetViewArrangement()))
    now = load(panel, "mild", waitUntil).volume
    node.RemoveObserver(tag)
    assert not scene.IsNodePresent(former)
    assert compareButton.checked
    assert layouts.sliceWidget("CRGLocal").mrmlSliceCompositeNode().GetBackgroundVolumeID() == now.GetID()
    assert set(seen) <= {TWO_PANES}, "the views were not put away in between"
    host.closeMainWindow()


def test_what_must_be_predicted_first_is_predicted_as_chosen(
    opened: CasesPanel, monkeypatch: pytest.MonkeyPatch
):
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(opened._cases, "loadNext", lambda **how: asked.append(how))
    opened.parameters.quality = Quality.FULL
    opened.parameters.removeIslands = False
    opened.ui.loadNextButton.click()
    assert (asked[0]["quality"], asked[0]["keepIslands"]) == ("full", True)


@pytest.mark.parametrize(
    ("answer", "isKept", "isLoaded"),
    [("Keep in the scene", True, "mild"), ("Discard", False, "mild"), ("Cancel", True, "wrong")],
)
def test_a_correction_that_is_not_accepted_is_asked_about(
    opened: CasesPanel, answers: Any, waitUntil: Any, answer: str, isKept: bool, isLoaded: str
):
    copy = correct(load(opened, "wrong", waitUntil).volume)
    answers.put(answer)
    opened._table.select("mild")
    opened.ui.loadButton.click()
    loadedIs(opened, isLoaded, waitUntil)
    assert answers.shown == ["The correction of wrong was not accepted."]
    assert bool(slicer.mrmlScene.IsNodePresent(copy)) == isKept


def test_a_case_that_cannot_be_read_is_said_in_the_panel(opened: CasesPanel, folder: Path, waitUntil: Any):
    next(folder.rglob("new_1_0000*")).write_bytes(b"garbage")
    opened._table.select("new_1")
    opened.ui.loadButton.click()
    waitUntil(lambda: "new_1_0000" in message(opened))
    assert opened.ui.loadButton.enabled


# --------------------------------------------------------------------------------------------- the batch


def test_predict_becomes_cancel_and_shows_how_far_it_is(opened: CasesPanel, logic: SegmentLogic):
    opened.ui.predictButton.click()
    assert opened.ui.predictButton.text == "Cancel"
    assert opened.ui.batchFrame.visible
    assert opened.ui.batchLabel.text == "Case 1 of 4, mild: waits for its turn"
    logic.compute.requests[-1].answer(cases=[{"case": "mild", "kept": True}])
    assert opened.ui.batchBar.value == 100
    assert opened.ui.batchBar.maximum == 400
    opened.ui.predictButton.click()
    assert logic.compute.requests[-1].wasCancelled
    assert opened.ui.predictButton.text == "Predict all unlabelled (4)"
    assert not opened.ui.batchFrame.visible
    assert message(opened) == "1 of 4 cases are predicted. It was cancelled; what is done stays."


def test_cases_that_failed_are_listed_at_the_end_with_their_reasons(opened: CasesPanel, logic: SegmentLogic):
    opened.ui.predictButton.click()
    for name in ("mild", "new_1", "new_2", "wrong"):
        request = logic.compute.requests[-1]
        assert request.fields["case"] == name
        if name == "new_2":
            request.fail("new_2_0000.nii.gz is cut off.")
        else:
            request.answer(cases=[{"case": name, "mean_confidence": 0.5, "expected_correction_ml": 3.0}])
    assert message(opened) == "3 of 4 cases are predicted.\nnew_2: new_2_0000.nii.gz is cut off."
    assert ["new_1", "Predicted", "0.5", "3", ""] in shown(opened)


def test_what_the_computer_lacks_is_said_before_a_batch_starts(
    opened: CasesPanel, logic: SegmentLogic, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logic.environment, "problem", lambda: "torch is missing.")
    opened.ui.predictButton.click()
    assert message(opened) == "torch is missing. See the section Environment."
    assert logic.compute.requests == []


# ----------------------------------------------------------------------------------------------- accept


def test_accept_says_where_it_writes_and_then_that_it_did(opened: CasesPanel, folder: Path, waitUntil: Any):
    volume = load(opened, "wrong", waitUntil).volume
    assert opened.ui.acceptLabel.text == (
        "Writes revision 1 of wrong into cases. It is the model's answer, not corrected."
    )
    correct(volume)
    opened.logic.listeners.tell("corrected")
    assert opened.ui.acceptLabel.text == "Writes revision 1 of wrong into cases."
    opened.ui.annotatorEdit.text = "student"
    opened.ui.acceptButton.click()
    assert not opened.ui.acceptButton.enabled
    waitUntil(lambda: opened.ui.acceptLabel.text == "Accepted: revision 1 of wrong is this label.")
    path = folder / "labelsTr" / "wrong.nii.gz"
    assert message(opened) == f"Revision 1 of wrong is written: {path}"
    assert revisions(folder)["wrong"][-1].annotator == "student"
    assert opened.logic.settings.get("annotator") == "student"
    assert ["wrong", "Corrected", "0.84", "12.25", "1"] in shown(opened)


def test_a_second_label_is_announced_as_the_next_revision(opened: CasesPanel, waitUntil: Any):
    volume = load(opened, "done", waitUntil).volume
    assert opened.ui.acceptLabel.text == "Accepted: revision 1 of done is this label."
    correct(volume)
    opened.logic.listeners.tell("corrected")
    assert opened.ui.acceptLabel.text == ("Writes revision 2 of done into cases. The label before is kept.")


def test_then_load_the_next_case(opened: CasesPanel, waitUntil: Any):
    correct(load(opened, "wrong", waitUntil).volume)
    opened.ui.loadNextCheckBox.checked = True
    opened.ui.acceptButton.click()
    loadedIs(opened, "mild", waitUntil)
    assert slicer.mrmlScene.GetFirstNodeByName("wrong") is None
    assert opened.parameters.caseName == "mild"


def test_then_the_next_case_is_not_the_one_just_accepted_though_another_is_loaded(
    opened: CasesPanel, answers: Any, waitUntil: Any
):
    wrong = load(opened, "wrong", waitUntil).volume
    correct(wrong)
    answers.put("Keep in the scene")
    load(opened, "new_1", waitUntil)
    opened.parameters.inputVolume = wrong
    opened.refresh("parameters")
    opened.ui.loadNextCheckBox.checked = True
    opened.ui.acceptButton.click()
    loadedIs(opened, "mild", waitUntil)


def test_a_name_that_was_typed_for_one_volume_is_not_given_to_the_next(opened: CasesPanel):
    volumes = [volumeNodeFromVolume(scan(number), f"scan {number}") for number in (31, 32)]
    for volume in volumes:
        setCorrected(volume, segmentationFromLabels(label().array, GRID, TABLE, "mine", volume))
    for volume in volumes:
        opened.parameters.inputVolume = volume
        opened.refresh("parameters")
        assert opened.ui.caseNameEdit.text == "case_001"
        opened.ui.caseNameEdit.text = "smith"
        opened.refresh("cases")
        assert opened.ui.caseNameEdit.text == "smith"


def test_a_new_volume_is_accepted_under_a_name_that_is_proposed(
    opened: CasesPanel, logic: SegmentLogic, waitUntil: Any
):
    volume = volumeNodeFromVolume(scan(30), "DOE^JOHN")
    setCorrected(volume, segmentationFromLabels(label().array, GRID, TABLE, "mine", volume))
    opened.parameters.inputVolume = volume
    opened.refresh("parameters")
    ui = opened.ui
    assert ui.caseNameEdit.visible
    assert ui.caseNameEdit.text == "case_001"
    assert ui.acceptLabel.text == "Adds DOE^JOHN with its label to cases, as the new case case_001."
    ui.caseNameEdit.text = "done"
    assert "a case done already" in ui.acceptLabel.text
    assert not ui.acceptButton.enabled
    ui.caseNameEdit.text = "mouse_7"
    ui.acceptButton.click()
    waitUntil(lambda: logic.cases.row("mouse_7") is not None)
    assert logic.cases.row("mouse_7").state == "corrected"
    assert not ui.caseNameEdit.visible
    assert opened.parameters.caseName == "mouse_7"


def test_labels_that_contradict_the_folder_are_said_in_the_panel(opened: CasesPanel, waitUntil: Any):
    from crgloco.labels import Label, LabelTable

    volume = load(opened, "new_1", waitUntil).volume
    other = LabelTable((Label(1, "spleen"), Label(7, "liver")))
    setCorrected(volume, segmentationFromLabels(label().array, GRID, other, "mine", volume))
    opened.refresh("corrected")
    opened.ui.acceptButton.click()
    assert "the value 1 is spleen in the segmentation and liver in the folder" in message(opened)


def test_a_label_that_was_not_accepted_is_said_with_the_reason(
    opened: CasesPanel, folder: Path, waitUntil: Any
):
    copy = correct(load(opened, "wrong", waitUntil).volume)
    shutil.rmtree(folder)
    opened.ui.acceptButton.click()
    waitUntil(lambda: "was not accepted" in message(opened))
    assert "Nothing is lost" in message(opened)
    assert slicer.mrmlScene.IsNodePresent(copy)


def test_export_writes_the_label_elsewhere(
    opened: CasesPanel, logic: SegmentLogic, tmp_path: Path, answers: Any, waitUntil: Any
):
    load(opened, "wrong", waitUntil)
    target = tmp_path / "out" / "label.nii.gz"
    target.parent.mkdir()
    answers.put(str(target))
    opened.ui.exportButton.click()
    waitUntil(target.is_file)
    waitUntil(lambda: "The label is written" in message(opened))
    assert logic.settings.get("exportFolder") == str(target.parent)


def test_the_panel_says_what_it_writes_and_shows_a_wait_cursor_before_slicers_writer_takes_the_window(
    opened: CasesPanel, logic: SegmentLogic, tmp_path: Path, answers: Any, waitUntil: Any, monkeypatch: Any
):
    load(opened, "wrong", waitUntil)
    seen: list[tuple[str, bool]] = []

    def look(*_given: Any, **_callbacks: Any) -> None:
        seen.append((message(opened), qt.QApplication.overrideCursor() is not None))

    monkeypatch.setattr(logic, "exportLabel", look)
    answers.put(str(tmp_path / "label.seg.nrrd"))
    opened.ui.exportButton.click()
    assert seen == [(f"Writing {tmp_path / 'label.seg.nrrd'} ...", True)]
    assert qt.QApplication.overrideCursor() is None


def test_a_file_without_ending_becomes_nifti(
    opened: CasesPanel, tmp_path: Path, answers: Any, waitUntil: Any
):
    load(opened, "wrong", waitUntil)
    answers.put(str(tmp_path / "label"))
    opened.ui.exportButton.click()
    waitUntil((tmp_path / "label.nii.gz").is_file)
    waitUntil(lambda: "The label is written" in message(opened))


def test_a_file_that_gets_an_ending_never_replaces_another_unasked(
    opened: CasesPanel, tmp_path: Path, answers: Any, waitUntil: Any
):
    load(opened, "wrong", waitUntil)
    (tmp_path / "label.nii.gz").write_bytes(b"mine")
    answers.put(str(tmp_path / "label"))
    opened.ui.exportButton.click()
    assert "label.nii.gz exists already" in message(opened)
    assert (tmp_path / "label.nii.gz").read_bytes() == b"mine"


# ------------------------------------------------------------------------------------------------- life


def test_the_panel_lives_through_a_scene_that_closes(opened: CasesPanel, logic: SegmentLogic, waitUntil: Any):
    load(opened, "wrong", waitUntil)
    opened.setParameters(None)
    slicer.mrmlScene.Clear()
    logic.sceneClosed()
    assert not opened.ui.acceptButton.enabled
    assert opened.ui.acceptLabel.text == "Load a case, or choose a volume in the section Segment."
    assert len(shown(opened)) == 6


def test_entering_the_module_reads_the_folder_anew(opened: CasesPanel, folder: Path, waitUntil: Any):
    shutil.rmtree(folder)
    opened.enter()
    waitUntil(lambda: "no folder" in opened.ui.folderLabel.text)
    assert shown(opened) == []


def test_the_selection_survives_when_the_folder_is_read_anew(
    opened: CasesPanel, logic: SegmentLogic, waitUntil: Any
):
    opened._table.select("new_1")
    logic.cases.refresh()
    waitUntil(lambda: not logic.cases.isReading)
    assert opened._table.selected == "new_1"
    assert opened.ui.loadButton.enabled


def test_a_thousand_cases_are_followed_without_a_pause(opened: CasesPanel, logic: SegmentLogic):
    from time import thread_time  # what a busy computer takes away meanwhile is not ours

    from CRGLoCoSegmentLib.logic.case_rows import CaseRow

    rows = tuple(CaseRow(f"case_{number:04d}") for number in range(1000))
    logic.cases.rows = rows
    opened.refresh("cases")
    logic.cases._casePredicted(logic.cases.folder, "case_0500", {"mean_confidence": 0.5})
    started = thread_time()
    logic.cases._casePredicted(logic.cases.folder, "case_0501", {"mean_confidence": 0.75})
    assert thread_time() - started < 0.1
    assert shown(opened)[501] == ["case_0501", "Predicted", "0.75", "", ""]


def test_the_panel_can_be_drawn(opened: CasesPanel, picture: Any, tmp_path: Path, waitUntil: Any):
    correct(load(opened, "wrong", waitUntil).volume)
    opened.refresh("corrected")
    assert picture(opened.widget, tmp_path / "cases.png", 420).stat().st_size > 10_000
