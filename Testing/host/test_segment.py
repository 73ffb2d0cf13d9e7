"""The section that segments: clicked as a user does, with stand-ins and with the real worker and model."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import qt
import slicer
import vtk

from case_phantoms import GRID, TABLE, label, scan
from crgloco.data.case_store import add_case, create_cases
from crgloco.data.cases import open_cases
from crgloco.errors import InputError, ModelError
from crgloco.io.files import read_volume
from crgloco.model_store import read_card
from CRGLoCoSegmentLib.background.worker import Worker
from CRGLoCoSegmentLib.logic.case_accepting import imagesOf
from CRGLoCoSegmentLib.logic.environment import Environment
from CRGLoCoSegmentLib.nodes.images import arrayOfImage
from CRGLoCoSegmentLib.nodes.ownership import beginNotes
from CRGLoCoSegmentLib.nodes.results import importResult
from CRGLoCoSegmentLib.nodes.volumes import volumeNodeFromVolume
from stand_ins import StandInWorker, addVolume, answerSegment

RESOURCES = Path(__file__).parents[2] / "CRGLoCoSegment" / "Resources"
STARTER = RESOURCES / "Models" / "chaos_mr_starter"
SAMPLE = RESOURCES / "Samples" / "chaos_mr" / "imagesTr" / "chaos_13_0000.nii.gz"


@pytest.fixture
def models(settings: Any, tmp_path: Path) -> Path:
    """The user's own models folder."""
    settings.setValue("CRGLoCoSegment/modelsFolder", json.dumps(str(tmp_path / "models")))
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is missing on this computer."""
    monkeypatch.setattr(Environment, "problem", lambda _self: "")


@pytest.fixture
def widget(loadModule: Callable[[], Any], models: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module's widget over stand-ins for both workers."""
    made: dict[str, StandInWorker] = {}

    def standIn(name: str) -> StandInWorker:
        return made.setdefault(name, StandInWorker())

    monkeypatch.setattr("CRGLoCoSegmentLib.background.worker.Worker", standIn)
    return loadModule()


@pytest.fixture
def panel(widget: Any) -> Any:
    return widget.sections["segment"].panel


@pytest.fixture
def compute(widget: Any) -> StandInWorker:
    return widget.logic.compute


def addModel(models: Path, name: str, **changes: Any) -> Path:
    folder = models / name
    shutil.copytree(STARTER, folder)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"name": name} | changes))
    return folder


def texts(selector: Any) -> list[str]:
    return [selector.itemText(number) for number in range(selector.count)]


# ------------------------------------------------------------------------------ before anything runs


def test_apply_says_what_is_missing_until_a_volume_is_chosen(panel: Any, processEvents: Any):
    assert not panel.ui.applyButton.enabled
    assert panel.ui.estimateLabel.text == "Choose a volume to segment."
    volume = addVolume()
    panel.ui.inputSelector.setCurrentNode(volume)
    processEvents()
    assert panel.ui.applyButton.enabled
    assert panel.parameters.inputVolume is volume
    slicer.mrmlScene.RemoveNode(volume)
    processEvents()
    assert not panel.ui.applyButton.enabled


def test_a_volume_that_cannot_be_segmented_is_refused_before_apply(panel: Any, processEvents: Any):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "still empty")
    panel.ui.inputSelector.setCurrentNode(empty)
    processEvents()
    assert not panel.ui.applyButton.enabled
    assert "still empty" in panel.ui.estimateLabel.text


def test_label_maps_and_colour_volumes_are_not_offered(panel: Any):
    for kind in ("LabelMap", "Vector", "Scalar"):
        slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", kind)
    assert panel.ui.inputSelector.nodeCount() == 1


def test_a_long_name_of_a_volume_does_not_widen_slicers_panel(request: pytest.FixtureRequest, scene: Any):
    addVolume("T2_SPIR_axial_breath_hold_with_fat_saturation_004")
    panel = request.getfixturevalue("panel")
    assert panel.ui.inputSelector.currentNode() is not None
    assert panel.widget.minimumSizeHint.width() < 350


def test_overlays_of_ours_are_not_offered_but_stay_to_be_seen_and_saved(
    panel: Any, compute: StandInWorker, waitUntil: Any
):
    volume = addVolume()
    answerSegment(start(panel, compute, waitUntil, volume))
    waitUntil(lambda: panel.ui.applyButton.text == "Apply", 5)
    confidence = panel.logic.resultOf(volume).confidence
    assert panel.ui.inputSelector.nodeCount() == 1
    assert panel.ui.inputSelector.currentNode() is volume
    assert not confidence.GetHideFromEditors()
    addVolume("another")
    assert panel.ui.inputSelector.nodeCount() == 2


def test_a_structures_colour_stands_on_the_line_of_its_name(panel: Any):
    assert "</span>&nbsp;liver <span" in panel.ui.labelsLabel.text


def test_the_model_is_described_in_words(panel: Any):
    assert "liver" in panel.ui.labelsLabel.text
    assert "right kidney" in panel.ui.labelsLabel.text
    details = panel.ui.modelDetailsLabel.text
    for words in (
        "CR-GLoCo",
        "9 labelled",
        "0.91",
        "CC BY-SA 4.0",
        "not on this computer",
        "Not a medical device",
    ):
        assert (words in details) == (words != "not on this computer"), words


def test_models_are_told_apart_and_the_choice_is_remembered(widget: Any, models: Path, panel: Any):
    mine = addModel(models, "mine", parent=read_card(STARTER).weights_sha256)
    damaged = models / "damaged"
    shutil.copytree(STARTER, damaged)
    (damaged / "model.json").write_text("{")
    widget.logic.models.changed()
    selector = panel.ui.modelSelector
    assert texts(selector)[1] == "damaged (damaged)"
    assert [text.rpartition(" ")[2] for text in texts(selector)[::2]] == ["(chaos_mr_starter)", "(mine)"]
    selector.setCurrentIndex(2)
    assert widget.logic.models.current == mine
    assert panel.ui.modelSelector.currentIndex == 2
    assert "Fine-tuned from Abdomen" in panel.ui.modelDetailsLabel.text
    selector.setCurrentIndex(1)
    assert str(damaged) in panel.ui.modelDetailsLabel.text
    addVolume()
    panel.ui.inputSelector.setCurrentNodeIndex(0)
    assert not panel.ui.applyButton.enabled
    assert "damaged" in panel.ui.estimateLabel.text


def test_a_model_of_two_channels_asks_for_the_second_volume(
    widget: Any, models: Path, panel: Any, compute: StandInWorker, waitUntil: Any
):
    two = addModel(models, "two", channel_names=["T1", "T2"])
    first, second = addVolume("first"), addVolume("second")
    panel.ui.inputSelector.setCurrentNode(first)
    assert panel.ui.secondChannelSelector.isHidden()
    widget.logic.models.current = two
    assert not panel.ui.secondChannelSelector.isHidden()
    assert panel.ui.secondChannelLabel.text == "T2:"
    assert panel.ui.thirdChannelSelector.isHidden()
    assert not panel.ui.applyButton.enabled
    assert "needs 2 volumes (T1, T2)" in panel.ui.estimateLabel.text
    panel.ui.secondChannelSelector.setCurrentNode(second)
    panel.ui.applyButton.click()
    waitUntil(lambda: compute.of("segment"), 5)
    assert len(compute.of("segment")[0].fields["arrays"]) == 2


def test_the_channels_of_a_case_come_with_it_and_those_of_another_case_go(
    widget: Any, models: Path, panel: Any, processEvents: Any
):
    widget.logic.models.current = addModel(models, "two", channel_names=["T1", "T2"])
    volumes = {name: addVolume(name) for name in ("A_T1", "A_T2", "B_T1", "B_T2", "C_T1", "C_T2")}
    for case in "AB":
        beginNotes(volumes[f"{case}_T1"])
        volumes[f"{case}_T1"].AddNodeReferenceID("CRGLoCoSegment.Channel", volumes[f"{case}_T2"].GetID())
    second = panel.ui.secondChannelSelector

    def chosenWith(name: str) -> str | None:
        panel.ui.inputSelector.setCurrentNode(volumes[name])
        processEvents()
        node = second.currentNode()
        return node.GetName() if node is not None else None

    assert [chosenWith(name) for name in ("A_T1", "B_T1", "A_T1", "C_T1")] == ["A_T2", "B_T2", "A_T2", None]
    second.setCurrentNode(volumes["C_T2"])
    assert chosenWith("C_T1") == "C_T2"


@pytest.fixture
def ofTwo(widget: Any, models: Path, tmp_path: Path) -> Iterator[Any]:
    """A cases folder with the channels T2 and T1, open with a model that wants T1 and T2."""
    root, files = tmp_path / "cases", Worker("files")
    create_cases(root, TABLE, ["T2", "T1"])
    add_case(root, "a", [scan(2), scan(1)])
    cases = widget.logic.cases
    cases._files = cases._scene._files = files
    widget.logic.models.current = addModel(models, "two", channel_names=["T1", "T2"])
    cases.open(root).wait()
    yield cases
    files.end()


def test_a_case_with_the_channels_in_another_order_is_segmented_by_their_names(
    ofTwo: Any, panel: Any, compute: StandInWorker, waitUntil: Any
):
    loaded = ofTwo.load("a").wait()
    panel.ui.inputSelector.setCurrentNode(loaded.volume)
    assert panel.ui.secondChannelSelector.currentNode() is loaded.channels[0]
    assert panel.ui.secondChannelLabel.text == "T1:"
    panel.ui.applyButton.click()
    waitUntil(lambda: compute.of("segment"), 5)
    request = compute.of("segment")[0]
    arrays = [np.load(array["file"]) for array in request.fields["arrays"]]
    assert np.array_equal(arrays[0], scan(1).array)
    assert np.array_equal(arrays[1], scan(2).array)
    answerSegment(request)
    waitUntil(lambda: panel.logic.resultOf(loaded.volume) is not None, 5)


def test_a_volume_chosen_beside_a_channel_of_a_case_is_the_other_channel(
    ofTwo: Any, panel: Any, compute: StandInWorker, waitUntil: Any
):
    loaded = ofTwo.load("a").wait()
    mine = volumeNodeFromVolume(scan(9), "mine")
    panel.ui.inputSelector.setCurrentNode(mine)
    assert panel.ui.secondChannelLabel.text == "T2:"
    panel.ui.inputSelector.setCurrentNode(loaded.volume)
    panel.ui.secondChannelSelector.setCurrentNode(mine)
    assert panel.ui.secondChannelLabel.text == "T1:"
    panel.ui.applyButton.click()
    waitUntil(lambda: compute.of("segment"), 5)
    first = np.load(compute.of("segment")[0].fields["arrays"][0]["file"])
    assert np.array_equal(first, scan(9).array)


def test_a_case_with_other_channels_than_the_models_is_refused(
    ofTwo: Any, widget: Any, models: Path, panel: Any
):
    loaded = ofTwo.load("a").wait()
    widget.logic.models.current = addModel(models, "other", channel_names=["T1", "FLAIR"])
    panel.ui.inputSelector.setCurrentNode(loaded.volume)
    assert not panel.ui.applyButton.enabled
    assert "needs the channels T1, FLAIR; the chosen volumes are T2, T1." in panel.ui.estimateLabel.text
    widget.logic.models.current = addModel(models, "single", channel_names=["MR"])
    assert panel.ui.applyButton.enabled


def test_a_folder_with_the_channels_in_another_order_is_not_predicted_as_a_whole(
    ofTwo: Any, widget: Any, models: Path, compute: StandInWorker
):
    with pytest.raises(ModelError, match="expects the channels T1, T2; the cases of this folder have T2, T1"):
        ofTwo.predictAll()
    widget.sections["cases"].open()
    panel = widget.sections["cases"].panel
    panel.ui.predictButton.click()
    assert "expects the channels T1, T2" in panel.ui.messageLabel.text
    assert not compute.of("predict")
    widget.logic.models.current = addModel(models, "same", channel_names=["t2", "t1 "])
    ofTwo.predictAll()
    assert compute.of("predict")
    ofTwo.batch.cancel()


def test_a_new_case_is_stored_in_the_order_of_its_folder(ofTwo: Any, widget: Any, panel: Any, waitUntil: Any):
    t1, t2 = volumeNodeFromVolume(scan(1), "my T1"), volumeNodeFromVolume(scan(2), "my T2")
    panel.ui.inputSelector.setCurrentNode(t1)
    panel.ui.secondChannelSelector.setCurrentNode(t2)
    answer = {"labels": TABLE.to_json(), "geometry": GRID.to_json(), "title": "m", "model": "m"}
    importResult(t1, answer, {"fused": label().array.copy()})
    widget.logic.listeners.tell("result")
    widget.sections["cases"].open()
    widget.sections["cases"].panel.ui.acceptButton.click()
    waitUntil(lambda: not ofTwo.isAccepting and not ofTwo.isReading)
    (case,) = open_cases(ofTwo.folder).labelled
    stored = [read_volume(source.path).array for source in case.channels]
    assert np.array_equal(stored[0], scan(2).array)
    assert np.array_equal(stored[1], scan(1).array)


@pytest.mark.parametrize(
    ("chosenAs", "stored"),
    [
        ((), ["first", "second"]),
        (("T2", "T1"), ["first", "second"]),
        ((" t1", "T2"), ["second", "first"]),
        (("T1", ""), None),
        (("T1", "FLAIR"), None),
    ],
)
def test_volumes_are_stored_as_the_channels_that_they_were_chosen_as(
    widget: Any, chosenAs: tuple[str, ...], stored: list[str] | None
):
    volumes = {name: addVolume(name) for name in ("first", "second")}
    for number, node in enumerate(volumes.values()):
        slicer.util.arrayFromVolume(node)[0, 0, 0] = 1000 + number
    if stored is None:
        with pytest.raises(InputError, match="have the channels T2, T1; the volumes were chosen as T1, "):
            imagesOf(list(volumes.values()), ["T2", "T1"], chosenAs)
        return
    images = imagesOf(list(volumes.values()), ["T2", "T1"], chosenAs)
    assert [image.array[0, 0, 0] - 1000 for image in images] == [["first", "second"].index(n) for n in stored]


def test_a_volume_that_is_deleted_is_not_replaced_by_its_neighbour(widget: Any, models: Path, panel: Any):
    widget.logic.models.current = addModel(models, "two", channel_names=["T1", "T2"])
    chosen = [addVolume(name) for name in ("A_T1", "A_T2", "B_T1", "B_T2")][:2]
    selectors = (panel.ui.inputSelector, panel.ui.secondChannelSelector)
    for selector, volume in zip(selectors, chosen, strict=True):
        selector.setCurrentNode(volume)
    slicer.mrmlScene.RemoveNode(chosen[1])
    assert [selector.currentNode() for selector in selectors] == [chosen[0], None]
    slicer.mrmlScene.RemoveNode(chosen[0])
    assert [selector.currentNode() for selector in selectors] == [None, None]
    assert not panel.ui.applyButton.enabled


def test_the_device_belongs_to_the_computer_and_the_quality_to_the_scene(
    widget: Any, panel: Any, compute: StandInWorker, waitUntil: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        Environment, "gpus", lambda _self: [{"name": "GTX 770", "fault": "too old"}, {"name": "NVIDIA T4"}]
    )
    widget.logic.listeners.tell("environment")
    assert texts(panel.ui.deviceSelector) == ["Automatic", "Processor (CPU)", "NVIDIA T4"]
    panel.ui.deviceSelector.setCurrentIndex(2)
    panel.ui.qualitySelector.setCurrentIndex(0)
    assert widget.logic.settings.get("device") == "cuda:1"
    assert panel.parameters.quality.value == "fast"
    panel.ui.inputSelector.setCurrentNode(addVolume())
    panel.ui.applyButton.click()
    waitUntil(lambda: compute.of("segment"), 5)
    assert compute.of("segment")[0].fields["device"] == "cuda:1"
    assert compute.of("segment")[0].fields["quality"] == "fast"


def test_a_graphics_card_that_was_chosen_stays_chosen_while_nobody_has_looked_for_it(widget: Any, panel: Any):
    widget.logic.settings.set("device", "cuda:1")
    widget.logic.listeners.tell("environment")
    assert texts(panel.ui.deviceSelector) == ["Automatic", "Processor (CPU)", "cuda:1"]
    assert panel.ui.deviceSelector.currentData == "cuda:1"
    assert widget.logic.settings.get("device") == "cuda:1"


def test_islands_are_removed_unless_they_shall_stay(panel: Any, compute: StandInWorker, waitUntil: Any):
    volume = addVolume()
    box = panel.ui.islandsCheckBox
    assert "liver, right kidney, left kidney, spleen" in box.toolTip
    assert box.checked
    request = start(panel, compute, waitUntil, volume)
    assert request.fields["keep_islands"] is False
    answerSegment(request)
    waitUntil(lambda: panel.ui.applyButton.text == "Apply", 5)
    box.click()
    assert not panel.parameters.removeIslands
    request = start(panel, compute, waitUntil, volume)
    assert request.fields["keep_islands"] is True
    answerSegment(request)
    waitUntil(lambda: panel.ui.applyButton.text == "Apply", 5)


def test_the_choice_is_offered_only_where_the_model_knows_what_is_one_piece(
    widget: Any, panel: Any, models: Path
):
    assert not panel.ui.islandsCheckBox.isHidden()
    training = {**json.loads((STARTER / "model.json").read_text())["training"], "one_piece": []}
    widget.logic.models.current = addModel(models, "several", training=training)
    widget.logic.listeners.tell("models")
    assert panel.ui.islandsCheckBox.isHidden()


# ---------------------------------------------------------------------------------------- the estimate


def test_the_estimate_follows_the_choices_once_they_rest(panel: Any, compute: StandInWorker, waitUntil: Any):
    panel.ui.inputSelector.setCurrentNode(addVolume())
    for number in (0, 2, 1):
        panel.ui.qualitySelector.setCurrentIndex(number)
    waitUntil(lambda: compute.of("estimate"), 5)
    (request,) = compute.of("estimate")
    assert request.fields["quality"] == "balanced"
    request.answer(text="Needs about 1.2 GB of memory (9.0 GB free).")
    assert panel.ui.estimateLabel.text == "Needs about 1.2 GB of memory (9.0 GB free)."


def test_an_estimate_of_another_volume_or_one_that_comes_too_late_is_not_shown(
    panel: Any, compute: StandInWorker, waitUntil: Any
):
    first, second = addVolume("first"), addVolume("second")
    panel.ui.inputSelector.setCurrentNode(first)
    waitUntil(lambda: compute.of("estimate"), 5)
    panel.ui.inputSelector.setCurrentNode(second)
    compute.of("estimate")[0].answer(text="Needs about 1.2 GB.")
    assert "1.2 GB" not in panel.ui.estimateLabel.text
    start(panel, compute, waitUntil, second)
    panel._showEstimate(second, "Needs about 3.4 GB.")
    assert panel.ui.estimateLabel.isHidden()


def test_the_estimate_waits_while_the_worker_has_other_work(
    panel: Any, compute: StandInWorker, waitUntil: Any
):
    batch = compute.ask("predict", {}, onResult=lambda _answer: None)
    panel.ui.inputSelector.setCurrentNode(addVolume())
    waitUntil(lambda: panel._estimateTimer.interval == 3000, 5)
    assert not compute.of("estimate")
    batch.answer()
    panel._estimateTimer.start(0)
    waitUntil(lambda: compute.of("estimate"), 5)


def test_what_is_missing_on_the_computer_is_said_and_no_process_is_started(
    panel: Any, compute: StandInWorker, waitUntil: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Environment, "problem", lambda _self: "PyTorch: not installed.")
    panel.ui.inputSelector.setCurrentNode(addVolume())
    waitUntil(lambda: "section Environment" in panel.ui.estimateLabel.text, 5)
    panel.ui.applyButton.click()
    assert "section Environment" in panel.ui.statusLabel.text
    assert compute.requests == []


def test_a_transform_and_a_sequence_are_pointed_out(panel: Any, compute: StandInWorker, waitUntil: Any):
    volume = addVolume()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode")
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.AddSynchronizedSequenceNode(sequence)
    sequence.SetDataNodeAtValue(volume, "0")
    browser.AddProxyNode(volume, sequence, False)
    panel.ui.inputSelector.setCurrentNode(volume)
    waitUntil(lambda: compute.of("estimate"), 5)
    compute.of("estimate")[0].answer(text="Needs about 1.2 GB.")
    assert "has a transform" in panel.ui.estimateLabel.text
    assert "the frame that is shown now is segmented" in panel.ui.estimateLabel.text


# -------------------------------------------------------------------------------------------- the work


def start(panel: Any, compute: StandInWorker, waitUntil: Any, volume: Any) -> Any:
    panel.ui.inputSelector.setCurrentNode(volume)
    count = len(compute.of("segment"))
    panel.ui.applyButton.click()
    waitUntil(lambda: len(compute.of("segment")) > count, 5)
    return compute.of("segment")[-1]


def test_apply_becomes_cancel_and_the_result_is_shown_in_numbers(
    panel: Any, compute: StandInWorker, waitUntil: Any
):
    request = start(panel, compute, waitUntil, addVolume("abdomen"))
    assert panel.ui.applyButton.text == "Cancel"
    request.tell(event="progress", stage="local windows", done=5, total=10)
    assert panel.ui.progressBar.value == 635
    assert panel.ui.progressLabel.text.startswith("abdomen: Local windows, 0:0")
    request.tell(event="message", text="The GPU was full; the CPU blended.")
    answerSegment(request)
    waitUntil(lambda: panel.ui.applyButton.text == "Apply", 5)
    assert panel.ui.progressBar.isHidden()
    shown = panel.ui.resultLabel.text
    for words in ("liver", "0.108 ml", "right kidney", "not found", "91 %", "1.2 s", "the CPU blended"):
        assert words in shown, words
    assert "The GPU was full; the CPU blended." in panel.ui.logText.plainText


def test_cancel_brings_apply_back_at_once(panel: Any, compute: StandInWorker, waitUntil: Any):
    request = start(panel, compute, waitUntil, addVolume())
    panel.ui.applyButton.click()
    assert request.wasCancelled
    assert panel.ui.applyButton.text == "Apply"
    assert panel.ui.statusLabel.text == "Cancelled."
    request.confirmCancel()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_cancel_can_be_pressed_whatever_is_chosen_meanwhile(
    panel: Any, compute: StandInWorker, waitUntil: Any
):
    request = start(panel, compute, waitUntil, addVolume())
    panel.ui.inputSelector.setCurrentNode(None)
    assert (panel.ui.applyButton.text, panel.ui.applyButton.enabled) == ("Cancel", True)
    panel.ui.applyButton.click()
    assert request.wasCancelled


def test_an_error_is_shown_in_words_and_its_traceback_only_in_the_log(
    panel: Any, compute: StandInWorker, waitUntil: Any
):
    request = start(panel, compute, waitUntil, addVolume())
    request.fail("The computation ended unexpectedly.", "Died", "last line of the log")
    assert panel.ui.statusLabel.text == "The computation ended unexpectedly."
    assert "last line of the log" in panel.ui.logText.plainText
    assert panel.ui.applyButton.enabled
    assert panel.ui.applyButton.text == "Apply"


def test_each_volume_shows_its_own_result_also_when_both_have_one_name(
    panel: Any, compute: StandInWorker, waitUntil: Any
):
    first, second = addVolume("scan"), addVolume("scan")
    answerSegment(start(panel, compute, waitUntil, first))
    waitUntil(lambda: "liver" in panel.ui.resultLabel.text, 5)
    panel.ui.inputSelector.setCurrentNode(second)
    assert panel.ui.resultLabel.isHidden()
    panel.ui.inputSelector.setCurrentNode(first)
    assert not panel.ui.resultLabel.isHidden()


def turnFrame(volume: Any) -> None:
    """Show the other one of two frames."""
    arrayOfImage(volume.GetImageData())[...] *= -1
    volume.GetImageData().Modified()


def turnInPlace(volume: Any) -> None:
    """Turn a volume by half a turn about its middle: onto the places that other voxels had."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    columns, rows, _ = (count - 1 for count in volume.GetImageData().GetDimensions())
    turn = vtk.vtkMatrix4x4()
    for axis, last in ((0, columns), (1, rows)):
        turn.SetElement(axis, axis, -1.0)
        turn.SetElement(axis, 3, last)
    vtk.vtkMatrix4x4.Multiply4x4(matrix, turn, matrix)
    volume.SetIJKToRASMatrix(matrix)


def transform(volume: Any) -> None:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 5.0)
    node.SetMatrixTransformToParent(matrix)
    volume.SetAndObserveTransformNodeID(node.GetID())


@pytest.mark.parametrize(
    ("change", "back", "words"),
    [
        (turnFrame, turnFrame, "scan shows other voxels than those that were segmented"),
        (
            lambda volume: volume.SetOrigin(1, 2, 3),
            lambda volume: volume.SetOrigin(0, 0, 0),
            "scan was moved after it was segmented",
        ),
        (turnInPlace, turnInPlace, "scan was moved after it was segmented"),
        (
            transform,
            lambda volume: volume.SetAndObserveTransformNodeID(None),
            "scan and its answers stand under different transforms",
        ),
    ],
)
def test_an_answer_beneath_which_the_volume_changes_says_so_until_it_is_put_back(
    panel: Any, compute: StandInWorker, waitUntil: Any, change: Any, back: Any, words: str
):
    volume = addVolume("scan")
    volume.SetOrigin(0, 0, 0)
    answerSegment(start(panel, compute, waitUntil, volume))
    label = panel.ui.resultLabel
    waitUntil(lambda: "liver" in label.text, 5)
    plain = label.text
    change(volume)
    waitUntil(lambda: words in label.text, 5)
    assert label.text.endswith(plain)
    back(volume)
    waitUntil(lambda: label.text == plain, 5)


def test_an_answer_that_is_deleted_while_it_is_looked_at_says_nothing(
    panel: Any, compute: StandInWorker, waitUntil: Any, processEvents: Any
):
    volume = addVolume("scan")
    answerSegment(start(panel, compute, waitUntil, volume))
    waitUntil(lambda: "liver" in panel.ui.resultLabel.text, 5)
    turnFrame(volume)
    slicer.mrmlScene.RemoveNode(panel.logic.resultOf(volume).fused)
    waitUntil(panel.ui.resultLabel.isHidden, 5)
    time.sleep(0.4)
    processEvents()
    assert panel.ui.resultLabel.text == ""


def test_work_goes_on_while_the_user_looks_at_another_module(
    widget: Any, panel: Any, compute: StandInWorker, waitUntil: Any
):
    volume = addVolume()
    request = start(panel, compute, waitUntil, volume)
    slicer.util.selectModule("Data")
    answerSegment(request)
    waitUntil(lambda: widget.logic.resultOf(volume), 5)
    slicer.util.selectModule("CRGLoCoSegment")
    assert panel.ui.applyButton.text == "Apply"
    assert "liver" in panel.ui.resultLabel.text


def test_closing_the_scene_cancels_and_leaves_an_empty_section(
    panel: Any, compute: StandInWorker, waitUntil: Any, processEvents: Any
):
    request = start(panel, compute, waitUntil, addVolume())
    slicer.mrmlScene.Clear()
    processEvents()
    assert request.wasCancelled
    answerSegment(request)
    processEvents()
    assert panel.ui.applyButton.text == "Apply"
    assert not panel.ui.applyButton.enabled
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_the_log_follows_its_end_only_where_it_was_at_the_end(panel: Any, picture: Any, tmp_path: Path):
    panel.ui.logBox.collapsed = False
    for number in range(60):
        panel._log(f"line {number}")
    picture(panel.widget, tmp_path / "panel.png")
    bar = panel.ui.logText.verticalScrollBar()
    bar.value = bar.maximum
    panel._log("last")
    assert bar.value == bar.maximum
    bar.value = 0
    panel._log("unseen")
    assert bar.value == 0


# -------------------------------------------------------------------------------------------- the menu


def test_the_menu_imports_exports_and_opens(
    widget: Any, models: Path, panel: Any, answers: Any, host: Any, tmp_path: Path
):
    entries = {entry.text.rstrip("."): entry for entry in panel._models._actions}
    answers.put(str(tmp_path / "new.zip"))
    entries["Import from zip file"].trigger()
    assert "new.zip" in panel.ui.statusLabel.text
    new = addModel(models, "new", title="New one")
    (request,) = widget.logic.files.of("import_model")
    request.answer(path=str(new))
    assert panel.ui.modelSelector.currentText == "New one"
    assert str(new) in panel.ui.statusLabel.text
    answers.put(str(tmp_path / "copy"))
    entries["Export to zip file"].trigger()
    (request,) = widget.logic.files.of("export_model")
    assert request.fields == {"model": str(new), "zip": str(tmp_path / "copy.zip"), "overwrite": False}
    request.fail("The disk is full.", "ResourceError")
    assert panel.ui.statusLabel.text == "The disk is full."
    answers.put(str(tmp_path / "asked.zip"))  # by its whole name: Qt has asked whether to replace it
    entries["Export to zip file"].trigger()
    assert widget.logic.files.of("export_model")[-1].fields["overwrite"] is True
    entries["Open models folder"].trigger()
    assert str(models) in host.application.opened[-1]
    answers.put("")
    entries["Import from zip file"].trigger()
    assert len(widget.logic.files.requests) == 3


def test_another_models_folder_is_not_chosen_while_a_training_writes_into_this_one(
    widget: Any, models: Path, panel: Any, answers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It could not be seen and not be stopped any more, and its model would be in no list."""
    running = [SimpleNamespace(title="Liver 2", runsHere=True)]
    monkeypatch.setattr(widget.logic.training, "jobs", lambda: running)
    (choose,) = (entry for entry in panel._models._actions if entry.text == "Choose models folder...")
    choose.trigger()
    assert panel.ui.statusLabel.text.startswith("Liver 2 is being trained into this folder.")
    assert widget.logic.models.folder == models
    running.clear()
    answers.put(str(tmp_path))
    choose.trigger()
    assert widget.logic.models.folder == tmp_path


def test_the_chosen_model_is_still_the_one_that_is_shown_when_another_models_folder_is_chosen(
    widget: Any, models: Path, panel: Any, answers: Any, tmp_path: Path
):
    """Else the list would show its first model, and a batch would be predicted by the one chosen before."""
    widget.logic.models.current = mine = addModel(models, "mine")
    (choose,) = (entry for entry in panel._models._actions if entry.text == "Choose models folder...")
    answers.put(str(tmp_path))
    choose.trigger()
    assert widget.logic.models.folder == tmp_path
    assert panel._models.path == widget.logic.models.current == mine
    panel.ui.modelSelector.setCurrentIndex(0)
    assert panel._models.path == widget.logic.models.current == STARTER


# -------------------------------------------------------------------------- the real worker and model


@pytest.fixture
def real(loadModule: Callable[[], Any], models: Path, waitUntil: Any) -> Any:
    """The module with the real worker, and the bundled sample as input; the model not loaded yet."""
    volume = slicer.util.loadVolume(str(SAMPLE))
    opened = loadModule()
    panel = opened.sections["segment"].panel
    panel.ui.inputSelector.setCurrentNode(volume)
    return opened


def apply(real: Any, waitUntil: Any) -> Any:
    panel = real.sections["segment"].panel
    panel.ui.applyButton.click()
    waitUntil(lambda: panel.ui.applyButton.text == "Apply", 60)
    return real.logic.resultOf(panel.ui.inputSelector.currentNode())


def timed(real: Any, waitUntil: Any) -> tuple[Any, float]:
    """Segment, and return the result with the seconds that sending, receiving and showing took."""
    started = qt.QDateTime.currentMSecsSinceEpoch()
    result = apply(real, waitUntil)
    seconds = (qt.QDateTime.currentMSecsSinceEpoch() - started) / 1000
    return result, seconds - result.record["seconds"]


def test_the_sample_is_segmented_without_blocking_and_the_second_time_at_once(
    real: Any, waitUntil: Any, heartbeat: Any, picture: Any, tmp_path: Path
):
    panel = real.sections["segment"].panel
    with heartbeat() as beat:
        waitUntil(lambda: "Needs about" in panel.ui.estimateLabel.text, 60)
        first = apply(real, waitUntil)
        process = real.logic.compute.pid
        (second, overhead), (third, again) = timed(real, waitUntil), timed(real, waitUntil)
    assert beat.longest < beat.limit
    assert len({result.fused.GetID() for result in (first, second, third)}) == 3
    # Another program may hold up one of them; how long the computing takes tells how busy the computer is.
    assert min(overhead, again) < max(0.5, 0.2 * second.record["seconds"])
    assert real.logic.compute.pid == process
    assert 900 < second.record["volumes_ml"]["liver"] < 2500
    labels = slicer.util.arrayFromSegmentBinaryLabelmap(second.fused, "label_1", second.volume)
    assert labels.shape == slicer.util.arrayFromVolume(second.volume).shape
    assert "liver" in panel.ui.resultLabel.text
    assert picture(panel.widget, tmp_path / "panel.png").stat().st_size > 10_000


def inTheMiddle(real: Any, waitUntil: Any) -> Any:
    """Begin a segmentation and return once the networks run."""
    panel = real.sections["segment"].panel
    panel.ui.qualitySelector.setCurrentIndex(2)  # the longest work
    panel.ui.applyButton.click()
    waitUntil(lambda: "Global view" in panel.ui.logText.plainText, 60)
    assert panel.ui.applyButton.text == "Cancel"
    panel.ui.qualitySelector.setCurrentIndex(0)
    return panel


def test_a_killed_worker_is_explained_and_the_next_apply_works(real: Any, waitUntil: Any):
    panel = inTheMiddle(real, waitUntil)
    os.kill(real.logic.compute.pid, signal.SIGKILL)
    waitUntil(lambda: panel.ui.applyButton.text == "Apply", 10)
    assert panel.ui.statusLabel.text
    assert real.logic.resultOf(panel.ui.inputSelector.currentNode()) is None
    assert apply(real, waitUntil) is not None


def test_after_a_cancel_and_a_closed_scene_the_worker_still_serves(real: Any, waitUntil: Any):
    panel = inTheMiddle(real, waitUntil)
    process = real.logic.compute.pid
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "Apply"
    waitUntil(lambda: not real.logic.compute.isBusy(), 10)
    panel.ui.logText.clear()
    inTheMiddle(real, waitUntil)
    slicer.mrmlScene.Clear()
    waitUntil(lambda: not real.logic.compute.isBusy(), 10)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    panel.ui.inputSelector.setCurrentNode(slicer.util.loadVolume(str(SAMPLE)))
    assert apply(real, waitUntil) is not None
    assert real.logic.compute.pid == process
