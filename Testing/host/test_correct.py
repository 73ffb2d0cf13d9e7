"""The section Correct in the host: copies, the embedded editor with its undo, and what was changed."""

import threading

import numpy as np
import pytest
import qt
import slicer
import vtk

from crgloco.errors import OptionError
from CRGLoCoSegmentLib.logic import case_accepting, outline
from CRGLoCoSegmentLib.logic import correction as correction_module
from CRGLoCoSegmentLib.logic.correction import Correction
from CRGLoCoSegmentLib.logic.listeners import Listeners
from CRGLoCoSegmentLib.nodes import corrections
from CRGLoCoSegmentLib.nodes.corrections import letGoIfUntouched, lostOf, startsOf
from CRGLoCoSegmentLib.nodes.editing import editorNode
from CRGLoCoSegmentLib.nodes.results import correctedOf, importResult, resultOf, setCorrected
from CRGLoCoSegmentLib.nodes.snapshots import snapshotOf
from grids import labelsFromSegmentation, segmentationFromLabels, sharedLabelmap
from phantom_results import STRAIGHT, TABLE, arraysOn, makeResult

VOXEL_ML = float(np.prod(STRAIGHT.spacing)) / 1000


def labelsOf(node, result):
    return labelsFromSegmentation(node, TABLE, result.volume, onNote=pytest.fail).array


def stroke(*corner, size=3):
    """A mask of a small block."""
    mask = np.zeros(STRAIGHT.shape, np.uint8)
    k, j, i = corner
    mask[k : k + size, j : j + size, i : i + size] = 1
    return mask


# ----------------------------------------------------------------------------------------- the logic


@pytest.fixture
def told():
    return []


@pytest.fixture
def correction(scene, told):
    listeners = Listeners()
    listeners.add(told.append)
    made = Correction(listeners=listeners)
    yield made
    made.shutDown()


@pytest.fixture
def result(scene):
    return makeResult()


def test_a_copy_starts_as_the_fused_answer_and_shares_nothing_with_it(correction, result, told):
    copy = correction.start(result)
    assert np.array_equal(labelsOf(copy, result), arraysOn(STRAIGHT)["fused"])
    sharedLabelmap(copy)[...] = 0
    assert np.array_equal(labelsOf(result.fused, result), arraysOn(STRAIGHT)["fused"])
    assert resultOf(result.volume).corrected is copy
    assert told == ["corrected"]


def test_a_copy_is_made_though_somebody_deleted_how_the_answer_looks(correction, result):
    slicer.mrmlScene.RemoveNode(result.fused.GetDisplayNode())
    copy = correction.start(result)
    assert np.array_equal(labelsOf(copy, result), arraysOn(STRAIGHT)["fused"])


def test_each_label_starts_from_its_own_answer(correction, result):
    copy = correction.start(result, {"liver": "local", "spleen": "fused"})
    answers = arraysOn(STRAIGHT)
    expected = np.where(answers["fused"] == 2, 2, answers["local"])
    assert np.array_equal(labelsOf(copy, result), expected)
    assert startsOf(copy) == {"liver": "local", "spleen": "fused"}


def test_voxels_that_two_labels_claim_are_counted_and_never_lost_silently(correction, result):
    copy = correction.start(result, {"liver": "global"})  # the global liver lies where the fused spleen lies
    answers = arraysOn(STRAIGHT)
    assert np.array_equal(labelsOf(copy, result), answers["fused"])
    assert lostOf(copy) == {"liver": np.count_nonzero(answers["global"])}


def test_a_copy_that_is_there_is_never_overwritten(correction, result):
    copy = correction.start(result)
    sharedLabelmap(copy)[0] = 1
    assert correction.start(result, {"liver": "global"}) is copy
    other = correction.start(result, anew=True)
    assert other is not copy
    assert resultOf(result.volume).corrected is other
    assert (copy.GetName(), other.GetName()) == ("scan corrected", "scan corrected 2")
    assert (labelsOf(copy, result)[0] == 1).all()
    assert np.array_equal(labelsOf(other, result), arraysOn(STRAIGHT)["fused"])


def test_the_answer_beneath_is_hidden_so_that_erasing_is_seen(correction, result):
    assert result.fused.GetDisplayNode().GetVisibility()
    copy = correction.start(result)
    assert not result.fused.GetDisplayNode().GetVisibility()
    assert copy.GetDisplayNode().GetVisibility()


@pytest.mark.parametrize("starts", [{"pancreas": "fused"}, {"liver": "best"}])
def test_labels_and_answers_that_there_are_not_are_refused_in_words(correction, result, starts):
    with pytest.raises(OptionError, match=r"liver|global"):
        correction.start(result, starts)
    assert correctedOf(result.volume) is None


def test_a_result_without_a_local_answer_offers_none(correction, result, scene):
    scene.RemoveNode(result.local)
    with pytest.raises(OptionError, match="fused, global only"):
        correction.start(resultOf(result.volume), {"liver": "local"})


def test_labels_are_put_together_in_a_thread(correction, result, waitUntil, monkeypatch):
    threads, copies = [], []
    compose = correction_module.compose

    def spied(*given):
        threads.append(threading.current_thread())
        return compose(*given)

    monkeypatch.setattr(correction_module, "compose", spied)
    correction.startLater(result, {"liver": "local"}, onFinished=copies.append, onFailed=pytest.fail)
    assert not copies
    waitUntil(lambda: copies)
    assert threads != [threading.main_thread()]
    assert correctedOf(result.volume) is copies[0]


@pytest.mark.parametrize("what", ["volume", "fused"])
def test_what_is_deleted_meanwhile_is_said_and_leaves_nothing(correction, result, scene, waitUntil, what):
    failures = []
    correction.startLater(result, onFinished=pytest.fail, onFailed=failures.append)
    scene.RemoveNode(getattr(result, what))
    waitUntil(lambda: failures)
    assert "deleted" in str(failures[0])


def test_changes_are_counted_for_each_label_since_its_own_start(correction, result, waitUntil):
    copy = correction.start(result, {"liver": "local", "spleen": "fused"})
    values = sharedLabelmap(copy)
    values[0, 0, :7] = 1
    values[5, 12, 6] = 0
    answers = []
    correction.changed(copy, answers.append, pytest.fail)
    waitUntil(lambda: answers)
    (changes,) = answers
    assert (changes.labels["liver"].added, changes.labels["liver"].removed) == (7, 0)
    assert (changes.labels["spleen"].added, changes.labels["spleen"].removed) == (0, 1)
    assert changes.voxels == 8
    assert changes.ml == pytest.approx(8 * VOXEL_ML)
    assert correction.changes(copy) == changes


def test_the_answers_are_looked_at_once_however_often_changes_are_counted(correction, result, monkeypatch):
    copy = correction.start(result, {"liver": "local"})
    asked, snapshot = [], correction_module.snapshotOf

    def spied(node, volume, *, copy):
        asked.append(node.GetName())
        return snapshot(node, volume, copy=copy)

    monkeypatch.setattr(correction_module, "snapshotOf", spied)
    first = correction.changes(copy)
    assert asked == [copy.GetName(), result.fused.GetName(), result.local.GetName()]
    asked.clear()
    assert correction.changes(copy) == first
    assert asked == [copy.GetName()]
    sharedLabelmap(result.fused)[0, 0, 0] = 2  # whoever does that: the count must not be wrong
    result.fused.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap").Modified()
    assert correction.changes(copy).labels["spleen"].removed == 1


def test_a_volume_that_is_moved_between_two_counts_changes_no_voxel_of_the_copy(correction, result):
    copy = correction.start(result)
    assert correction.changes(copy).voxels == 0
    i, j, k = result.volume.GetSpacing()
    result.volume.SetOrigin(*np.add(result.volume.GetOrigin(), (2 * i, 2 * j, k)))
    assert correction.changes(copy).voxels == 0


def test_what_is_only_compared_is_not_copied_while_the_user_waits(correction, result, monkeypatch, waitUntil):
    copied, answers = [], []

    def spied(node, volume, *, copy=True):
        copied.append(copy)
        return snapshotOf(node, volume, copy=copy)

    for module in (correction_module, outline, corrections, case_accepting):
        monkeypatch.setattr(module, "snapshotOf", spied)
    correction.startLater(result, {"liver": "local"}, onFinished=answers.append, onFailed=pytest.fail)
    waitUntil(lambda: answers)
    copy = answers.pop()
    correction.changed(copy, answers.append, pytest.fail)
    outline.outlineInThread(result, answers.append)
    waitUntil(lambda: len(answers) == 2)
    corrections.isTouched(copy)
    assert len(copied) == 9
    assert not any(copied)
    copied.clear()
    case_accepting.labelOf(copy, result.volume, "case", TABLE)
    assert copied == [True, False]  # what is written must not change any more


def test_a_label_that_came_from_elsewhere_has_no_start(correction, result):
    node = segmentationFromLabels(np.zeros(STRAIGHT.shape, np.uint8), STRAIGHT, TABLE, "n", result.volume)
    assert correction.changes(node) is None
    assert startsOf(node) == {}


def test_changes_cannot_be_told_once_the_answer_was_deleted(correction, result, scene):
    copy = correction.start(result)
    scene.RemoveNode(result.fused)
    assert correction.changes(copy) is None


def test_every_edit_of_the_copy_is_heard(correction, result, scene):
    copy = correction.start(result)
    heard = []
    correction.onEdit = lambda: heard.append(1)
    scene.RemoveNode(result.local)  # of another node's going the watch takes no notice
    copy.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap").Modified()
    assert heard
    del heard[:]
    copy.GetSegmentation().RemoveSegment("label_2")
    assert heard


def test_nobody_listens_after_the_end(correction, result):
    copy = correction.start(result)
    heard = []
    correction.onEdit = lambda: heard.append(1)
    correction.shutDown()
    copy.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap").Modified()
    assert heard == []


# ----------------------------------------------------------------------------------------- the panel


@pytest.fixture
def module(loadModule):
    widget = loadModule()
    widget.sections["correct"].open()
    return widget


@pytest.fixture
def panel(module, result):
    module.logic.getParameterNode().inputVolume = result.volume
    return module.sections["correct"].panel


def editorOf(panel):
    """The editor inside the section, as the host implements it."""
    return panel._editor._widget.qtObject_


def start(panel, waitUntil):
    panel.ui.startButton.click()
    waitUntil(lambda: panel._copy is not None and panel._editor.edits(panel._copy))
    return panel._copy


def column(panel, number):
    table = panel.ui.startsTable
    return [table.item(row, number).text() for row in range(table.rowCount)]


def choose(panel, label, kind):
    row = column(panel, 0).index(label)
    combo = panel.ui.startsTable.cellWidget(row, 1)
    combo.setCurrentIndex(combo.findData(kind))


def test_without_a_volume_or_a_result_it_is_said_what_to_do(module, scene):
    panel = module.sections["correct"].panel
    assert "Choose a volume" in panel.ui.messageLabel.text
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "raw")
    module.logic.getParameterNode().inputVolume = volume
    assert "Segment the chosen volume first" in panel.ui.messageLabel.text
    assert not panel.ui.startButton.enabled
    assert not panel.ui.segmentEditorButton.enabled
    assert panel.ui.startsTable.isHidden()


def test_the_table_lists_the_labels_and_their_answers(panel):
    assert column(panel, 0) == ["liver", "spleen"]
    combo = panel.ui.startsTable.cellWidget(0, 1)
    assert [combo.itemData(number) for number in range(combo.count)] == ["fused", "global", "local"]
    assert combo.currentData == "fused"
    assert combo.accessibleName == "Start liver from"


def test_starting_makes_the_copy_that_was_chosen_and_opens_the_editor_on_it(panel, result, waitUntil):
    choose(panel, "liver", "local")
    copy = start(panel, waitUntil)
    answers = arraysOn(STRAIGHT)
    assert np.array_equal(labelsOf(copy, result), np.where(answers["fused"] == 2, 2, answers["local"]))
    editor = editorOf(panel)
    assert editor.segmentationNode() is copy
    assert editor.sourceVolumeNode() is result.volume
    assert editor.mrmlSegmentEditorNode().GetSingletonTag() == "CRGLoCoSegment"
    assert "scan corrected" in panel.ui.messageLabel.text
    assert not panel.ui.editorFrame.isHidden()


def test_the_editor_cannot_change_labels_or_grid_and_segments_cannot_overlap(panel, waitUntil):
    start(panel, waitUntil)
    editor = panel._editor._widget
    assert not editor.segmentationNodeSelectorVisible
    assert not editor.sourceVolumeNodeSelectorVisible
    assert not editor.addRemoveSegmentButtonsVisible
    assert not editor.specifyGeometryButtonVisible
    node = editor.mrmlSegmentEditorNode()
    assert node.GetOverwriteMode() == node.OverwriteAllSegments


def test_a_stroke_is_counted_for_its_label_and_takes_voxels_from_the_others(panel, result, waitUntil):
    copy = start(panel, waitUntil)
    editorOf(panel).paint(stroke(4, 12, 6), "label_1")  # within the spleen
    waitUntil(lambda: "27" in panel.ui.changedLabel.text)
    after = np.where(stroke(4, 12, 6), 1, arraysOn(STRAIGHT)["fused"])
    assert np.array_equal(labelsOf(copy, result), after)
    amount = f"{27 * VOXEL_ML:.2g} ml, 27 voxels"
    assert panel.ui.changedLabel.text == f"Changed since prediction: {amount}"
    assert column(panel, 2) == [amount, amount]


def test_undo_brings_the_voxels_and_the_count_back(panel, result, waitUntil):
    copy = start(panel, waitUntil)
    editorOf(panel).paint(stroke(4, 12, 6), "label_1")
    waitUntil(lambda: "27" in panel.ui.changedLabel.text)
    panel._editor._widget.undo()
    waitUntil(lambda: "nothing" in panel.ui.changedLabel.text)
    assert np.array_equal(labelsOf(copy, result), arraysOn(STRAIGHT)["fused"])


def test_undo_survives_leaving_the_module_and_coming_back(mainWindow, panel, result, waitUntil):
    copy = start(panel, waitUntil)
    editor = editorOf(panel)
    editor.paint(stroke(4, 12, 6), "label_1")
    slicer.util.selectModule("SegmentEditor")
    assert not editor.shortcutsInstalled
    assert not editor.viewsObserved
    slicer.util.selectModule("CRGLoCoSegment")
    assert editorOf(panel) is editor
    assert editor.segmentationNode() is copy
    assert editor.shortcutsInstalled
    assert editor.viewsObserved
    editor.undo()
    assert np.array_equal(labelsOf(copy, result), arraysOn(STRAIGHT)["fused"])


def test_undo_survives_a_slider_of_another_section_and_a_look_at_another_volume(
    panel, module, result, waitUntil
):
    copy = start(panel, waitUntil)
    editor = editorOf(panel)
    editor.paint(stroke(4, 12, 6), "label_1")
    parameters = module.logic.getParameterNode()
    parameters.uncertainBelow = 0.3
    parameters.inputVolume = makeResult(name="other").volume
    assert panel.ui.editorFrame.isHidden(), "another volume would be edited than is seen"
    assert panel.ui.startButton.text == "Start correcting"
    parameters.inputVolume = result.volume
    assert not panel.ui.editorFrame.isHidden()
    assert editor.segmentationNode() is copy
    editor.undo()
    assert np.array_equal(labelsOf(copy, result), arraysOn(STRAIGHT)["fused"])


def test_the_editor_forgets_a_copy_that_goes_while_another_volume_is_chosen(panel, module, scene, waitUntil):
    copy = start(panel, waitUntil)
    module.logic.getParameterNode().inputVolume = makeResult(name="other").volume
    scene.RemoveNode(copy)
    module.logic.listeners.tell("cases")
    assert editorOf(panel).mrmlSegmentEditorNode() is None, "Slicer's widget would go on with the next one"


def test_keys_belong_to_the_editor_only_while_it_is_seen(mainWindow, panel, module, result, waitUntil):
    start(panel, waitUntil)
    editor = editorOf(panel)
    assert editor.shortcutsInstalled
    module.logic.getParameterNode().inputVolume = makeResult(name="other").volume
    assert not editor.shortcutsInstalled
    module.logic.getParameterNode().inputVolume = result.volume
    assert editor.shortcutsInstalled


def test_leaving_the_module_ends_the_active_effect(panel, waitUntil):
    start(panel, waitUntil)
    panel._editor._widget.setActiveEffectByName("Paint")
    slicer.util.selectModule("SegmentEditor")
    assert editorOf(panel).activeEffect() is None


def test_folding_the_section_away_ends_the_active_effect(mainWindow, panel, module, waitUntil):
    start(panel, waitUntil)
    editor = editorOf(panel)
    panel._editor._widget.setActiveEffectByName("Paint")
    module.sections["correct"].button.collapsed = True
    assert editor.activeEffect() is None
    assert not editor.shortcutsInstalled
    module.sections["correct"].open()
    assert not panel.ui.editorFrame.isHidden()
    assert editor.shortcutsInstalled


def test_a_copy_that_came_with_the_scene_is_continued(panel, result, waitUntil):
    node = segmentationFromLabels(arraysOn(STRAIGHT)["local"], STRAIGHT, TABLE, "mine", result.volume)
    setCorrected(result.volume, node)
    panel.logic.listeners.tell("corrected")
    assert panel.ui.startButton.text == "Continue correcting"
    assert panel.ui.editorFrame.isHidden()
    assert start(panel, waitUntil) is node
    assert editorOf(panel).segmentationNode() is node


def test_a_new_copy_leaves_the_former_one_as_it_is(panel, result, waitUntil):
    first = start(panel, waitUntil)
    editorOf(panel).paint(stroke(4, 12, 6), "label_1")
    edited = labelsOf(first, result)
    choose(panel, "liver", "local")
    panel.ui.newCopyButton.click()
    waitUntil(lambda: panel._copy is not first)
    assert panel._copy.GetName() == "scan corrected 2"
    assert editorOf(panel).segmentationNode() is panel._copy
    assert np.array_equal(labelsOf(first, result), edited)


def test_a_copy_with_edits_is_kept_when_its_volume_is_segmented_again_and_that_is_said(
    panel, module, result, waitUntil
):
    copy = start(panel, waitUntil)
    assert "earlier answer" not in panel.ui.messageLabel.text
    editorOf(panel).paint(stroke(4, 12, 6), "label_1")
    answer = {"labels": TABLE.to_json(), "geometry": STRAIGHT.to_json(), "title": "newer"}
    importResult(result.volume, answer, {"fused": arraysOn(STRAIGHT)["local"]})
    letGoIfUntouched(result.volume)
    panel.logic.listeners.tell("result")
    assert panel._copy is copy
    assert editorOf(panel).segmentationNode() is copy
    assert (
        "began with an earlier answer; a new copy begins with the present one" in panel.ui.messageLabel.text
    )
    waitUntil(lambda: panel.ui.changedLabel.text != "")
    assert not panel.ui.changedLabel.text.endswith(" 0 ml")


def test_voxels_that_a_label_lost_are_said(panel, waitUntil):
    choose(panel, "liver", "global")
    start(panel, waitUntil)
    lost = np.count_nonzero(arraysOn(STRAIGHT)["global"])
    assert f"{lost} voxels of liver went to other labels" in panel.ui.messageLabel.text


def test_the_button_opens_slicers_segment_editor_with_copy_and_volume(panel, scene, waitUntil):
    copy = start(panel, waitUntil)
    node = editorNode(scene, "SegmentEditor")
    node.SetOverwriteMode(node.OverwriteNone)  # the user's choice for another segmentation
    panel.ui.segmentEditorButton.click()
    assert node.GetOverwriteMode() == node.OverwriteAllSegments
    assert node.GetSegmentationNode() is copy
    assert node.GetSourceVolumeNode() is panel._volume
    assert slicer.util.selectedModule() == "SegmentEditor"


def test_what_was_changed_in_slicers_segment_editor_is_counted_on_return(panel, waitUntil):
    copy = start(panel, waitUntil)
    slicer.util.selectModule("SegmentEditor")
    sharedLabelmap(copy)[0, 0, :5] = 1
    slicer.util.selectModule("CRGLoCoSegment")
    waitUntil(lambda: "5 voxels" in panel.ui.changedLabel.text)


def test_counting_neither_blocks_nor_piles_up(panel, waitUntil, monkeypatch):
    copy = start(panel, waitUntil)
    waitUntil(lambda: panel._job is None)
    asked, changed = [], panel.logic.correction.changed

    def spied(*given):
        asked.append(given)
        return changed(*given)

    monkeypatch.setattr(panel.logic.correction, "changed", spied)
    for _ in range(20):
        panel._count()
    waitUntil(lambda: panel._job is None)
    assert len(asked) == 2, "one at work, and one more for all that was asked meanwhile"
    assert copy is panel._copy


def test_a_copy_that_the_user_deletes_leaves_an_empty_section(panel, scene, waitUntil):
    copy = start(panel, waitUntil)
    scene.RemoveNode(copy)
    waitUntil(lambda: panel._copy is None)
    assert panel.ui.startButton.text == "Start correcting"
    assert panel.ui.editorFrame.isHidden()


def test_closing_the_scene_while_editing_lets_go_of_everything(panel, module, scene, waitUntil):
    start(panel, waitUntil)
    panel._editor._widget.setActiveEffectByName("Paint")
    editorOf(panel).paint(stroke(4, 12, 6), "label_1")
    scene.Clear()
    assert panel._copy is None
    assert editorOf(panel).segmentationNode() is None
    assert panel.ui.editorFrame.isHidden()
    result = makeResult()
    module.logic.getParameterNode().inputVolume = result.volume
    copy = start(panel, waitUntil)
    assert editorOf(panel).segmentationNode() is copy


def test_a_scene_that_is_added_while_editing_lets_the_editor_go_and_the_copy_is_continued(
    panel, scene, waitUntil, addScene
):
    copy = start(panel, waitUntil)
    addScene()
    assert panel._copy is copy
    assert editorNode(scene).GetSegmentationNode() is None
    assert panel.ui.editorFrame.isHidden()
    assert panel.ui.startButton.text == "Continue correcting"
    panel.ui.startButton.click()
    assert editorOf(panel).segmentationNode() is copy


def test_a_scene_that_is_closed_while_a_copy_is_made_leaves_a_section_that_works(
    panel, module, scene, waitUntil, monkeypatch
):
    gate = threading.Event()
    whole = correction_module._composition

    def gated(*arguments):
        assert gate.wait(20)
        return whole(*arguments)

    monkeypatch.setattr(correction_module, "_composition", gated)
    panel.ui.startButton.click()
    assert panel._busy
    scene.Clear()
    gate.set()
    result = makeResult()
    module.logic.getParameterNode().inputVolume = result.volume
    assert panel.ui.startButton.enabled
    copy = start(panel, waitUntil)
    assert editorOf(panel).segmentationNode() is copy


def test_a_copy_that_is_ready_when_another_volume_is_seen_is_not_edited_over_that_volume(
    panel, module, result, waitUntil, monkeypatch
):
    gate = threading.Event()
    whole = correction_module._composition
    monkeypatch.setattr(
        correction_module, "_composition", lambda *arguments: gate.wait(20) and whole(*arguments)
    )
    panel.ui.startButton.click()
    module.logic.getParameterNode().inputVolume = makeResult(name="other").volume
    gate.set()
    waitUntil(lambda: correctedOf(result.volume) is not None and not panel._busy)
    assert panel._editor._widget is None
    assert panel.ui.startButton.text == "Start correcting"


def test_changes_of_another_volumes_copy_are_not_shown_as_those_of_this_one(
    panel, module, waitUntil, monkeypatch
):
    start(panel, waitUntil)
    waitUntil(lambda: "nothing" in panel.ui.changedLabel.text)
    gate = threading.Event()
    whole = correction_module.labelChanges
    monkeypatch.setattr(
        correction_module, "labelChanges", lambda *given, **named: gate.wait(20) and whole(*given, **named)
    )
    editorOf(panel).paint(stroke(4, 12, 6), "label_1")
    waitUntil(lambda: panel._job is not None)
    module.logic.getParameterNode().inputVolume = makeResult(name="other").volume
    gate.set()
    waitUntil(lambda: panel._job is None)
    assert (panel.ui.changedLabel.text, column(panel, 2)) == ("", ["", ""])


def test_a_scene_that_is_closed_while_changes_are_counted_leaves_a_section_that_counts(
    panel, module, scene, waitUntil, monkeypatch
):
    start(panel, waitUntil)
    gate = threading.Event()
    whole = correction_module.labelChanges

    def gated(*arguments, **options):
        assert gate.wait(20)
        return whole(*arguments, **options)

    monkeypatch.setattr(correction_module, "labelChanges", gated)
    editorOf(panel).paint(stroke(4, 12, 6), "label_1")
    waitUntil(lambda: panel._job is not None)
    scene.Clear()
    gate.set()
    result = makeResult()
    module.logic.getParameterNode().inputVolume = result.volume
    start(panel, waitUntil)
    waitUntil(lambda: "nothing" in panel.ui.changedLabel.text)
    editorOf(panel).paint(stroke(4, 12, 6), "label_1")
    waitUntil(lambda: "voxels" in panel.ui.changedLabel.text)


def test_a_copy_that_is_deleted_is_not_replaced_in_the_editor_by_an_answer(panel, scene, result, waitUntil):
    copy = start(panel, waitUntil)
    scene.RemoveNode(copy)
    waitUntil(lambda: panel._copy is None)
    assert editorNode(scene).GetSegmentationNode() is None


def test_a_scene_that_is_closed_has_no_large_labelmaps_to_take_apart(module, scene, result):
    held = []

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def aboutToGo(_scene, _event, node):
        if node.IsA("vtkMRMLSegmentationNode"):
            held.append(node.GetSegmentation().ContainsRepresentation("Binary labelmap"))

    tag = scene.AddObserver(scene.NodeAboutToBeRemovedEvent, aboutToGo)
    scene.Clear()
    scene.RemoveObserver(tag)
    assert held == [False, False, False]


def test_starting_twice_in_a_row_makes_one_copy(panel, scene, waitUntil):
    panel.ui.startButton.click()
    panel._onStart()
    waitUntil(lambda: panel._copy is not None and not panel._busy)
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]
    assert [name for name in names if "corrected" in name] == ["scan corrected"]


def test_a_labelled_case_without_a_prediction_can_be_corrected_too(module, scene, waitUntil):
    volume = makeResult().volume
    scene.RemoveNode(resultOf(volume).fused)
    node = segmentationFromLabels(np.zeros(STRAIGHT.shape, np.uint8), STRAIGHT, TABLE, "label", volume)
    setCorrected(volume, node)
    module.logic.getParameterNode().inputVolume = volume
    panel = module.sections["correct"].panel
    assert column(panel, 0) == ["liver", "spleen"]
    assert panel.ui.startsTable.cellWidget(0, 1) is None
    assert start(panel, waitUntil) is node
    assert panel.ui.newCopyButton.isHidden()


def test_the_gui_stands_still_for_no_more_than_100_ms_while_a_large_copy_is_made(
    module, scene, waitUntil, heartbeat
):
    from crgloco.io.volume import Geometry

    result = makeResult(Geometry((40, 256, 256), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0)), "large")
    module.logic.getParameterNode().inputVolume = result.volume
    panel = module.sections["correct"].panel
    choose(panel, "liver", "local")
    with heartbeat() as beat:
        start(panel, waitUntil)
        waitUntil(lambda: panel.ui.changedLabel.text)
    assert beat.longest < beat.limit


def test_every_control_explains_itself(panel):
    for name in ("startsTable", "startButton", "newCopyButton", "segmentEditorButton", "changedLabel"):
        assert getattr(panel.ui, name).toolTip, name


def test_the_section_can_be_drawn(panel, picture, waitUntil, tmp_path):
    start(panel, waitUntil)
    waitUntil(lambda: panel.ui.changedLabel.text)
    file = picture(panel.widget, tmp_path / "correct.png", 420)
    assert not qt.QPixmap(str(file)).isNull()
