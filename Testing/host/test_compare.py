"""The section Compare in the host: one button, one table, and pictures of what they show."""

import numpy as np
import pytest
import qt
import slicer
from PySide6.QtTest import QTest

from CRGLoCoSegmentLib.nodes.images import arrayOfImage
from CRGLoCoSegmentLib.nodes.results import importResult, setCorrected
from CRGLoCoSegmentLib.panels.compare import NEXT, PREVIOUS
from CRGLoCoSegmentLib.parameters import Overlay, ThirdPane
from CRGLoCoSegmentLib.views.layout import THREE_PANES, TWO_PANES, registerLayouts
from CRGLoCoSegmentLib.views.regions import seenRegions, worldPosition
from grids import segmentationFromLabels
from phantom_results import STRAIGHT, TABLE, arraysOn, colours, makeResult
from slicer_host.slice_views import pictureOf, whyNoPictures

pytestmark = pytest.mark.skipif(bool(whyNoPictures()), reason=whyNoPictures())

FOUR_UP = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


@pytest.fixture
def layouts(host, scene):
    made = host.makeLayoutManager()
    made.setLayout(FOUR_UP)
    yield made
    host.closeMainWindow()


@pytest.fixture
def result(scene):
    return makeResult()


@pytest.fixture
def panel(layouts, result, loadModule):
    widget = loadModule()
    widget.sections["compare"].open()
    widget.logic.getParameterNode().inputVolume = result.volume
    return widget.sections["compare"].panel


def texts(panel):
    table = panel.ui.regionsTable
    return [
        [table.item(row, column).text() for column in range(table.columnCount)]
        for row in range(table.rowCount)
    ]


def middle(layouts, name):
    node = layouts.sliceWidget(name).mrmlSliceNode()
    columns, rows, _ = node.GetDimensions()
    return node.GetXYToRAS().MultiplyPoint((columns / 2, rows / 2, 0, 1))[:3]


def corrected(result):
    labels = np.zeros(STRAIGHT.shape, np.uint8)
    labels[:, 5:20, 5:30] = 2
    return segmentationFromLabels(labels, STRAIGHT, TABLE, "corrected", result.volume)


def test_one_button_shows_the_comparison_and_gives_the_layout_back(panel, layouts):
    panel.ui.compareButton.click()
    assert layouts.layout == TWO_PANES
    assert panel.ui.compareButton.checked
    panel.ui.compareButton.click()
    assert layouts.layout == FOUR_UP
    assert not panel.ui.compareButton.checked


def test_the_panes_are_placed_once_they_have_their_size(panel, layouts, processEvents):
    panel.ui.compareButton.click()
    layouts.resize(400, 700)
    processEvents()
    node = layouts.sliceWidget("CRGGlobal").mrmlSliceNode()
    assert node.GetFieldOfView()[0] == pytest.approx(40.0, rel=0.05)


def test_without_a_result_there_is_nothing_to_press_and_it_is_said_why(panel, scene):
    panel.parameters.inputVolume = None
    assert not panel.ui.compareButton.enabled
    assert not panel.ui.nextButton.enabled
    assert panel.ui.messageLabel.text.startswith("Segment the chosen volume first")


def test_without_a_main_window_the_button_comes_up_again_and_it_is_said_why(host, scene, loadModule):
    result = makeResult()
    widget = loadModule()
    widget.sections["compare"].open()
    widget.logic.getParameterNode().inputVolume = result.volume
    panel = widget.sections["compare"].panel
    panel.ui.compareButton.click()
    assert not panel.ui.compareButton.checked
    assert "main window" in panel.ui.messageLabel.text
    panel.ui.nextButton.click()
    assert seenRegions(result) == frozenset()


def test_the_table_lists_the_regions_with_the_largest_correction_first(panel):
    assert texts(panel) == [
        ["1", "no structure", "1 ml", "0.9 ml", "30%"],
        ["2", "liver", "2 ml", "0.4 ml", "60%"],
    ]
    assert panel.ui.regionsTable.item(0, 1).toolTip() == "no structure"  # which a narrow panel cuts off


def test_a_newer_answer_brings_its_own_regions_for_the_same_volume(panel, result):
    panel.ui.nextButton.click()
    newer = importResult(
        result.volume, {**result.record, "regions": result.record["regions"][1:]}, arraysOn(STRAIGHT)
    )
    panel.logic.listeners.tell("result")
    assert texts(panel) == [["1", "liver", "2 ml", "0.4 ml", "60%"]]
    assert seenRegions(newer) == frozenset()


def test_one_click_in_the_table_centres_all_panes_there(panel, layouts, result, processEvents):
    panel.ui.regionsTable.setCurrentCell(1, 2)
    assert layouts.layout == TWO_PANES
    processEvents()
    world = worldPosition(result.volume, (-5.0, -12.0, 118.0))
    for name in ("CRGGlobal", "CRGLocal"):
        assert middle(layouts, name) == pytest.approx(world, abs=0.2)
        assert layouts.sliceWidget(name).mrmlSliceNode().GetFieldOfView()[0] == pytest.approx(40, rel=0.1)


def test_next_and_previous_walk_through_the_table_and_stop_at_its_ends(panel):
    table = panel.ui.regionsTable
    rows = []
    for button in (panel.ui.nextButton,) * 3 + (panel.ui.previousButton,) * 3:
        button.click()
        rows.append(table.currentRow())
    assert rows == [0, 1, 1, 0, 0, 0]


def test_the_keys_do_the_same_while_the_module_is_open_and_not_afterwards(panel, host, processEvents):
    window = host.window.qtObject_
    window.show()
    processEvents()

    def press(key):
        modifiers = qt.Qt.ControlModifier | qt.Qt.ShiftModifier
        QTest.keyClick(window, getattr(qt.Qt, f"Key_{key[-1]}"), modifiers)
        processEvents()
        return panel.ui.regionsTable.currentRow()

    assert [press(NEXT), press(NEXT), press(PREVIOUS)] == [0, 1, 0]
    panel.exit()
    assert press(NEXT) == 0
    panel.enter()
    assert press(NEXT) == 1


def test_what_was_seen_is_ticked_and_what_is_left_is_counted(panel, result):
    assert panel.ui.messageLabel.text.startswith("Regions seen: 0 of 2. About 1.3 ml")
    panel.ui.nextButton.click()
    assert [row[0] for row in texts(panel)] == ["\N{CHECK MARK} 1", "2"]
    assert panel.ui.messageLabel.text.startswith("Regions seen: 1 of 2. About 0.4 ml")
    panel.refresh("corrected")
    assert [row[0] for row in texts(panel)] == ["\N{CHECK MARK} 1", "2"]
    panel.ui.nextButton.click()
    assert panel.ui.messageLabel.text == "Regions seen: 2 of 2."


def test_the_settings_reach_the_panes_and_the_parameter_node(panel, layouts, result, waitUntil):
    panel.ui.compareButton.click()
    layers = layouts.sliceWidget("CRGLocal").mrmlSliceCompositeNode()
    assert layers.GetForegroundVolumeID() == result.confidence.GetID()
    panel.ui.opacitySlider.value = 0.25
    panel.ui.uncertainBelowSlider.value = 0.4
    assert panel.parameters.overlayOpacity == 0.25
    assert layers.GetForegroundOpacity() == 0.25
    assert result.confidence.GetDisplayNode().GetUpperThreshold() == 101.5
    panel.parameters.overlay = Overlay.DISAGREEMENT
    assert layers.GetForegroundVolumeID() == result.disagreement.GetID()
    panel.parameters.overlay = Overlay.NONE
    assert layers.GetForegroundVolumeID() is None
    panel.parameters.thirdPane = ThirdPane.FUSED
    assert layouts.layout == THREE_PANES
    panel.ui.disagreementBox.checked = True
    waitUntil(lambda: colours(pictureOf(layouts.sliceWidget("CRGLocal"))[40:-40]).white > 100, 10)


def test_the_legend_strip_is_coloured_where_voxels_are(panel):
    panel.parameters.uncertainBelow = 0.5
    strip = panel.ui.legendStrip.qtObject_.pixmap().toImage()
    colour = [strip.pixelColor(x, 5) for x in (5, 95, 105, 195)]
    assert [one.red() == one.green() == one.blue() for one in colour] == [False, False, True, True]
    assert panel.ui.legendLabel.text.startswith("Confidence 0 to 50 %")
    panel.parameters.overlay, panel.parameters.uncertainBelow = Overlay.DISAGREEMENT, 0.75
    strip = panel.ui.legendStrip.qtObject_.pixmap().toImage()
    colour = [strip.pixelColor(x, 5) for x in (5, 45, 55, 195)]
    assert [one.red() == one.green() == one.blue() for one in colour] == [True, True, False, False]
    assert panel.ui.legendLabel.text.startswith("Disagreement 25 to 100 %")
    panel.parameters.overlay = Overlay.NONE
    assert not panel.ui.legendStrip.qtObject_.isVisibleTo(panel.widget.qtObject_)


def test_turning_and_fitting(panel, layouts):
    panel.ui.compareButton.click()
    panel.ui.orientationSelector.currentIndex = 2
    assert layouts.sliceWidget("CRGLocal").mrmlSliceNode().GetOrientation() == "Coronal"
    layouts.sliceWidget("CRGLocal").mrmlSliceNode().SetFieldOfView(3, 3, 1)
    panel.ui.fitButton.click()
    assert layouts.sliceWidget("CRGLocal").mrmlSliceNode().GetFieldOfView()[0] > 30


def test_a_corrected_copy_comes_into_the_third_pane_by_itself(panel, layouts, result, processEvents):
    panel.ui.compareButton.click()
    setCorrected(result.volume, corrected(result))
    panel.logic.listeners.tell("corrected")
    assert panel.parameters.thirdPane is ThirdPane.CORRECTED
    assert layouts.layout == THREE_PANES
    processEvents()
    assert colours(pictureOf(layouts.sliceWidget("CRGThird"))[40:-40]).green > 100
    # The user may prefer two panes all the same.
    panel.parameters.thirdPane = ThirdPane.NONE
    panel.logic.listeners.tell("corrected")
    assert layouts.layout == TWO_PANES


def test_opening_the_comparison_after_correcting_began_shows_the_copy_so_that_it_can_be_painted_on(
    panel, layouts, result
):
    copy = corrected(result)
    setCorrected(result.volume, copy)
    panel.logic.listeners.tell("corrected")
    panel.ui.compareButton.click()
    assert panel.parameters.thirdPane is ThirdPane.CORRECTED
    assert layouts.layout == THREE_PANES
    assert copy.GetDisplayNode().IsDisplayableInView(layouts.sliceWidget("CRGThird").mrmlSliceNode().GetID())


def test_another_volume_with_a_result_takes_the_place_of_the_first(panel, layouts):
    panel.ui.compareButton.click()
    other = makeResult(name="next case")
    panel.parameters.inputVolume = other.volume
    layers = layouts.sliceWidget("CRGLocal").mrmlSliceCompositeNode()
    assert layers.GetBackgroundVolumeID() == other.volume.GetID()
    panel.parameters.inputVolume = None
    assert layouts.layout == FOUR_UP


def test_leaving_the_module_gives_the_layout_back_and_coming_back_restores_the_comparison(panel, layouts):
    widget = slicer.modules.crglocosegment.widgetRepresentation().self()
    panel.ui.compareButton.click()
    widget.exit()
    assert layouts.layout == FOUR_UP
    widget.enter()
    assert layouts.layout == TWO_PANES
    panel.ui.compareButton.click()
    widget.exit()
    widget.enter()
    assert layouts.layout == FOUR_UP


def test_a_comparison_does_not_come_back_for_the_next_patient(panel, layouts, scene):
    widget = slicer.modules.crglocosegment.widgetRepresentation().self()
    panel.ui.compareButton.click()
    widget.exit()
    scene.Clear()
    widget.logic.getParameterNode().inputVolume = makeResult(name="next patient").volume
    widget.enter()
    assert layouts.layout == FOUR_UP


def test_a_layout_that_the_user_chooses_brings_the_button_up(panel, layouts):
    panel.ui.compareButton.click()
    layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    assert not panel.ui.compareButton.checked


def test_closing_the_scene_leaves_an_empty_section(panel, layouts, scene):
    panel.ui.compareButton.click()
    panel.ui.nextButton.click()
    scene.Clear()
    assert layouts.layout == FOUR_UP
    assert texts(panel) == []
    assert not panel.ui.compareButton.enabled


def test_slicer_knows_our_layouts_from_its_start(host, layouts, module):
    node = layouts.layoutLogic().GetLayoutNode()
    host.emit(slicer.app, "startupCompleted()")
    assert node.IsLayoutDescription(TWO_PANES)
    assert node.IsLayoutDescription(THREE_PANES)
    host.closeMainWindow()
    host.emit(slicer.app, "startupCompleted()")


def test_a_scene_that_was_saved_while_comparing_opens_with_the_comparison(layouts, result, loadModule):
    node = layouts.layoutLogic().GetLayoutNode()
    registerLayouts(node)
    layouts.setLayout(TWO_PANES)
    widget = loadModule()
    widget.logic.getParameterNode().inputVolume = result.volume
    widget.sections["compare"].open()
    assert widget.sections["compare"].panel.ui.compareButton.checked
    widget.sections["compare"].panel.ui.compareButton.click()
    assert layouts.layout == FOUR_UP


def test_colours_that_somebody_deletes_hide_the_overlay_until_they_are_made_anew(panel, scene, result):
    display = result.confidence.GetDisplayNode()
    panel.ui.compareButton.click()
    scene.RemoveNode(display.GetColorNode())
    panel.ui.nextButton.click()
    assert not panel.ui.legendStrip.isVisibleTo(panel.widget)
    panel.refresh("parameters")
    assert panel.ui.legendStrip.isVisibleTo(panel.widget)
    assert display.GetColorNode().GetLookupTable().GetTableValue(0)[:3] != (0, 0, 0)


def test_a_result_without_a_local_answer_says_so(panel, scene, result):
    scene.RemoveNode(result.local)
    panel.refresh("result")
    assert "no local answer" in panel.ui.messageLabel.text


def test_the_voxels_of_another_frame_are_not_compared_without_a_word(panel, result, waitUntil):
    image = result.volume.GetImageData()
    arrayOfImage(image)[...] += 1
    image.Modified()
    said = "scan shows other voxels than those that were segmented"
    waitUntil(lambda: panel.ui.messageLabel.text.startswith(said), 5)
    arrayOfImage(image)[...] -= 1
    image.Modified()
    waitUntil(lambda: panel.ui.messageLabel.text.startswith("Regions seen"), 5)


def test_a_slider_does_not_look_at_the_voxels_again(panel, monkeypatch):
    looked = []
    monkeypatch.setattr("CRGLoCoSegmentLib.panels.answer_watch.answerRemark", looked.append)
    panel.parameters.overlayOpacity = 0.3
    panel.parameters.overlayOpacity = 0.4
    assert looked == []


def test_answers_that_are_moved_off_their_volume_are_not_compared_without_a_word(panel, result, waitUntil):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = transform.GetMatrixTransformToParent()
    matrix.SetElement(0, 3, 5.0)
    transform.SetMatrixTransformToParent(matrix)
    result.fused.SetAndObserveTransformNodeID(transform.GetID())
    waitUntil(lambda: "stand under different transforms" in panel.ui.messageLabel.text, 5)


def test_every_control_explains_itself(panel):
    controls = ["QComboBox", "QPushButton", "QCheckBox", "ctkSliderWidget", "QTableWidget"]
    found = [widget for widget in vars(panel.ui).values() if any(widget.inherits(kind) for kind in controls)]
    assert len(found) > 10
    assert [widget.objectName for widget in found if not widget.toolTip] == []
