"""The cases folder by its logic, with the real files worker on phantoms; predictions are played."""

import errno
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk

from case_phantoms import GRID, LIVER, SPLEEN, TABLE, label, makeFolder, predict, scan
from crgloco.data.case_store import accept_label, add_case, create_cases, revisions
from crgloco.data.cases import open_cases
from crgloco.data.provenance import Provenance
from crgloco.errors import CasesError, InputError, LabelError, ResourceError
from crgloco.io.files import read_volume
from crgloco.io.orientation import turned_onto
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import Label, LabelTable
from CRGLoCoSegmentLib.background.program import engineCommand
from CRGLoCoSegmentLib.background.worker import Worker, WorkerError
from CRGLoCoSegmentLib.logic import SegmentLogic, label_rescue
from CRGLoCoSegmentLib.logic.case_accepting import labelOf
from CRGLoCoSegmentLib.logic.correction import Correction
from CRGLoCoSegmentLib.logic.listeners import Listeners
from CRGLoCoSegmentLib.nodes.corrections import letGoIfUntouched
from CRGLoCoSegmentLib.nodes.images import arrayOfImage
from CRGLoCoSegmentLib.nodes.results import correctedOf, importResult, resultOf, setCorrected, volumeOf
from CRGLoCoSegmentLib.nodes.snapshots import snapshotOf
from CRGLoCoSegmentLib.nodes.volumes import volumeFromNode, volumeNodeFromVolume
from grids import labelsFromSegmentation, segmentationFromLabels
from stand_ins import StandInWorker


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return makeFolder(tmp_path_factory.mktemp("cases") / "template")


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "cases"))


@pytest.fixture(scope="module")
def files() -> Iterator[Worker]:
    """The real worker; one for all tests, because its start takes a second."""
    worker = Worker("files")
    yield worker
    worker.end()


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where labels go that could not be accepted; not into the home of whoever runs the tests."""
    folder = tmp_path / "kept"
    monkeypatch.setattr(label_rescue, "rescueFolders", lambda: (folder,))
    return folder


@pytest.fixture
def compute() -> StandInWorker:
    return StandInWorker()


@pytest.fixture
def logic(scene: Any, files: Worker, compute: StandInWorker) -> SegmentLogic:
    return SegmentLogic(files=files, compute=compute)


@pytest.fixture
def notices(logic: SegmentLogic) -> list[str]:
    heard: list[str] = []
    logic.listeners.add(heard.append)
    return heard


@pytest.fixture
def cases(logic: SegmentLogic, folder: Path, waitUntil: Any) -> Any:
    """The logic of the cases with the folder read."""
    logic.cases.open(folder).wait()
    return logic.cases


def settled(cases: Any, waitUntil: Any) -> None:
    waitUntil(lambda: not (cases.isReading or cases.isAccepting or cases.isLoading))


def nodesInScene() -> set[str]:
    """The nodes that a user would notice."""
    nodes = slicer.mrmlScene.GetNodes()
    found = [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]
    classes = ("vtkMRMLDisplayableNode", "vtkMRMLDisplayNode", "vtkMRMLStorageNode")
    return {node.GetID() for node in found if any(node.IsA(name) for name in classes)}


def valuesOf(segmentationNode: Any, segmentId: str) -> Any:
    """The voxels of a segment as truth values, on its own labelmap."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    image = segment.GetRepresentation("Binary labelmap")
    return arrayOfImage(image) == segment.GetLabelValue()


def edit(segmentationNode: Any, segmentId: str = "label_7") -> int:
    """Add eight voxels to a segment, as an effect of the Segment Editor does; returns how many are new."""
    segmentation = segmentationNode.GetSegmentation()
    segment = segmentation.GetSegment(segmentId)
    image = segment.GetRepresentation("Binary labelmap")
    array = arrayOfImage(image)
    before = int((array == segment.GetLabelValue()).sum())
    array[0, :2, :4] = segment.GetLabelValue()
    image.GetPointData().GetScalars().Modified()
    image.Modified()
    return int((array == segment.GetLabelValue()).sum()) - before


def correct(volumeNode: Any) -> Any:
    """Make a copy of a volume's prediction, as the section Correct does."""
    return Correction(listeners=Listeners()).start(resultOf(volumeNode), anew=True)


def segmentAgain(volumeNode: Any, model: str = "later") -> Any:
    """Bring in a newer answer, as the section Segment does."""
    answer = {"labels": TABLE.to_json(), "geometry": GRID.to_json(), "title": model, "model": model}
    importResult(volumeNode, answer, {"fused": label(3).array.copy()})
    letGoIfUntouched(volumeNode)
    return resultOf(volumeNode)


def segmentLiverOnly(volumeNode: Any) -> None:
    """Bring in the answer of a model that knows no spleen."""
    found = label(3).array.copy()
    found[found == SPLEEN] = 0
    liver = LabelTable(TABLE.labels[:1]).to_json()
    answer = {"labels": liver, "geometry": GRID.to_json(), "title": "Liver", "model": "of livers"}
    importResult(volumeNode, answer, {"fused": found})


# ------------------------------------------------------------------------------------------ the folder


def test_every_case_is_listed_with_its_state(cases: Any):
    states = {row.name: (row.state, row.revision) for row in cases.rows}
    assert states == {
        "done": ("corrected", 1),
        "held": ("validation", 1),
        "mild": ("predicted", 0),
        "wrong": ("predicted", 0),
        "new_1": ("unlabelled", 0),
        "new_2": ("unlabelled", 0),
    }
    assert cases.table == TABLE
    assert cases.channelNames == ("MR",)
    assert cases.row("wrong").expectedCorrectionMl == 12.25
    assert "12.2 ml" in cases.row("wrong").reason
    assert cases.row("new_1").reason == ""


def test_the_folder_is_remembered_by_the_settings_and_not_by_the_scene(
    cases: Any, folder: Path, logic: SegmentLogic
):
    assert logic.settings.get("casesFolder") == str(folder)
    slicer.mrmlScene.Clear()
    assert cases.folder == folder


def test_a_folder_that_another_slicer_opens_takes_none_of_our_labels(
    cases: Any, folder: Path, files: Worker, logic: SegmentLogic, tmp_path: Path
):
    """Both keep their settings in one file; the other folder has cases of the same names."""
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    SegmentLogic(files=files, compute=StandInWorker()).cases.open(other).wait()
    loaded = cases.load("mild").wait()
    assert (cases.folder, loaded.folder) == (folder, folder)
    cases.accept(segmentationFromLabels(label(3).array, GRID, TABLE, "mine", loaded.volume)).wait()
    assert [len(open_cases(root).labelled) for root in (folder, other)] == [3, 2]
    cases.open(folder).wait()
    assert logic.settings.folder("casesFolder") == folder  # for the next start: the one chosen last


def test_a_folder_that_vanished_is_a_problem_in_words(cases: Any, folder: Path, waitUntil: Any):
    shutil.rmtree(folder)
    cases.refresh()
    settled(cases, waitUntil)
    assert str(folder) in cases.problem
    assert cases.rows == ()
    assert cases.table is None


def test_a_folder_without_scans_is_a_problem_in_words(logic: SegmentLogic, tmp_path: Path, waitUntil: Any):
    logic.cases.open(tmp_path)
    settled(logic.cases, waitUntil)
    assert "no scans" in logic.cases.problem


def test_a_plain_folder_of_scans_is_listed_but_takes_no_labels(
    logic: SegmentLogic, folder: Path, waitUntil: Any
):
    cases = logic.cases
    cases.open(folder / "imagesUl")
    settled(cases, waitUntil)
    assert {row.state for row in cases.rows} == {"unlabelled"}
    volume = volumeNodeFromVolume(scan(9), "scan")
    segmentation = segmentationFromLabels(label().array, GRID, TABLE, "label", volume)
    with pytest.raises(CasesError, match=r"no label table"):
        cases.accept(segmentation, caseName="case_001")


def test_only_the_folder_that_was_opened_last_counts(
    logic: SegmentLogic, folder: Path, tmp_path: Path, waitUntil: Any
):
    logic.cases.open(tmp_path / "nowhere")
    logic.cases.open(folder)
    settled(logic.cases, waitUntil)
    assert logic.cases.problem == ""
    assert len(logic.cases.rows) == 6


def test_a_label_waits_until_the_folder_is_read(logic: SegmentLogic, folder: Path):
    volume = volumeNodeFromVolume(scan(20), "scan")
    segmentation = segmentationFromLabels(label().array, GRID, TABLE, "mine", volume)
    reading = logic.cases.open(folder)
    with pytest.raises(CasesError, match="is being read"):
        logic.cases.accept(segmentation, caseName="case_001")
    assert len(reading.wait()) == 6
    assert logic.cases.accept(segmentation, caseName="case_001").wait().revision == 1


def test_a_new_folder_gets_the_labels_of_the_model(logic: SegmentLogic, tmp_path: Path, waitUntil: Any):
    assert logic.cases.create(tmp_path / "mine").wait() == tmp_path / "mine"
    assert logic.cases.folder == tmp_path / "mine"
    assert logic.cases.table == logic.models.card().labels
    assert logic.cases.channelNames == logic.models.card().channel_names
    assert logic.cases.rows == ()


def test_a_folder_that_holds_something_is_not_made_a_cases_folder(
    logic: SegmentLogic, folder: Path, waitUntil: Any
):
    heard: list[str] = []
    logic.cases.create(folder / "imagesUl", onFailed=lambda message, _details: heard.append(message))
    waitUntil(lambda: bool(heard))
    assert "Choose an empty folder" in heard[0]


# ---------------------------------------------------------------------------------------- into the scene


def test_an_unlabelled_case_comes_in_voxel_by_voxel(cases: Any, notices: list[str]):
    loaded = cases.load("new_1").wait()
    volume = volumeFromNode(loaded.volume)
    assert np.array_equal(volume.array, scan(4).array)
    assert volume.geometry.same_grid(GRID)
    assert loaded.volume.GetName() == "new_1"
    assert loaded.result is None
    assert loaded.corrected is None
    assert cases.loaded == loaded
    assert cases.caseOf(loaded.volume) == "new_1"
    assert {"cases", "result"} <= set(notices)


def test_a_predicted_case_comes_in_with_its_result(cases: Any):
    loaded = cases.load("wrong").wait()
    assert loaded.result.record["expected_correction_ml"] == 12.25
    assert loaded.result.record["model"] == "abc"
    assert np.array_equal(valuesOf(loaded.result.fused, "label_1"), label(2).array == LIVER)
    assert loaded.result.confidence.GetImageData().GetScalarRange()[1] > 200
    assert loaded.corrected is None


def test_a_labelled_case_comes_in_with_its_label_to_be_corrected_further(cases: Any):
    loaded = cases.load("done").wait()
    assert correctedOf(loaded.volume) is loaded.corrected
    assert np.array_equal(valuesOf(loaded.corrected, "label_7"), label().array == SPLEEN)
    assert loaded.revision == 1
    assert cases.isAccepted(loaded.corrected)
    assert not cases.hasUnsavedCorrection()


def test_a_prediction_of_another_image_is_left_out_and_the_user_is_told(cases: Any, folder: Path):
    record = folder / "predictions" / "predictions.json"
    record.write_text(record.read_text().replace("sha256:", "sha256:0"))
    loaded = cases.load("wrong").wait()
    assert loaded.result is None
    assert "another image" in " ".join(loaded.notes)


def test_the_next_case_takes_the_place_of_the_one_before_and_of_nothing_else(cases: Any):
    own = volumeNodeFromVolume(scan(8), "the user's own")
    drawn = segmentationFromLabels(label().array, GRID, TABLE, "the user's drawing", own)
    before = nodesInScene()
    first = cases.load("wrong").wait()
    beside = segmentationFromLabels(label().array, GRID, TABLE, "drawn beside", first.volume)
    kept = beside.GetID()
    cases.load("new_1").wait()
    cases.load("new_2").wait()
    names = {slicer.mrmlScene.GetNodeByID(name).GetName() for name in nodesInScene() - before}
    assert before <= nodesInScene()
    assert slicer.mrmlScene.GetNodeByID(kept) is beside
    assert slicer.mrmlScene.IsNodePresent(drawn)
    assert not any(name.startswith(("wrong", "new_1")) for name in names)
    assert cases.loaded.name == "new_2"


def test_loading_case_after_case_leaves_no_node_behind(cases: Any):
    cases.load("wrong").wait()
    count = slicer.mrmlScene.GetNumberOfNodes()
    for _ in range(3):
        cases.load("done").wait()
        cases.load("wrong").wait()
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_a_correction_that_is_not_accepted_stays_when_another_case_is_loaded(cases: Any):
    first = cases.load("wrong").wait()
    copy = correct(first.volume)
    edit(copy)
    assert cases.hasUnsavedCorrection()
    cases.load("new_1").wait()
    assert slicer.mrmlScene.IsNodePresent(copy)
    assert slicer.mrmlScene.IsNodePresent(first.volume)
    assert cases.hasUnsavedCorrection(first.volume)
    assert cases.caseOf(first.volume) == "wrong"


def test_a_case_that_stayed_with_its_correction_is_taken_up_again_as_it_is(cases: Any):
    first = cases.load("wrong").wait()
    copy = correct(first.volume)
    edit(copy)
    cases.load("new_1").wait()
    again = cases.load("wrong").wait()
    assert again.volume is first.volume
    assert correctedOf(again.volume) is copy
    assert "still in the scene" in " ".join(again.notes)
    assert slicer.mrmlScene.GetFirstNodeByName("new_1") is None
    assert cases.hasUnsavedCorrection()
    cases.accept().wait()
    assert not cases.hasUnsavedCorrection()


def test_loading_a_case_once_more_brings_it_as_the_folder_has_it(cases: Any):
    first = cases.load("done").wait()
    again = cases.load("done").wait()
    assert again.volume is not first.volume
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    assert again.volume.GetName() == "done_1"


def test_a_correction_is_discarded_only_when_that_is_asked_for(cases: Any):
    first = cases.load("wrong").wait()
    edit(correct(first.volume))
    cases.load("new_1", discardUnsaved=True).wait()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


@pytest.mark.parametrize("kind", ["fused", "global"])
def test_an_answer_that_was_painted_into_is_a_correction_to_lose(cases: Any, kind: str):
    first = cases.load("wrong").wait()
    answer = first.result.segmentation(kind)
    assert not cases.hasUnsavedCorrection()
    edit(answer)
    assert cases.hasUnsavedCorrection()
    cases.load("new_1").wait()
    assert slicer.mrmlScene.IsNodePresent(answer)
    assert cases.hasUnsavedCorrection(first.volume)


def test_an_answer_that_was_painted_into_is_not_accepted_as_the_models_own(cases: Any, folder: Path):
    fused = cases.load("wrong").wait().result.fused
    assert not cases.isCorrected(fused)
    edit(fused)
    assert cases.isCorrected(fused)
    cases.accept().wait()
    last = revisions(folder)["wrong"][-1]
    assert (last.edits_voxels, last.model) == (None, "abc")
    assert not cases.hasUnsavedCorrection()


def test_what_looks_at_an_answer_does_not_edit_it(cases: Any):
    fused = cases.load("wrong").wait().result.fused
    fused.CreateClosedSurfaceRepresentation()
    fused.GetDisplayNode().SetVisibility(False)
    fused.SetName("renamed")
    correct(volumeOf(fused))
    assert not cases.hasUnsavedCorrection()


def test_a_copy_with_nothing_but_surfaces_counts_as_edited_and_keeps_no_other_case_out(cases: Any):
    first = cases.load("wrong").wait()
    copy = correct(first.volume)
    copy.CreateClosedSurfaceRepresentation()
    copy.GetSegmentation().SetSourceRepresentationName("Closed surface")
    copy.GetSegmentation().RemoveRepresentation("Binary labelmap")
    assert cases.hasUnsavedCorrection()
    cases.load("new_1").wait()
    assert slicer.mrmlScene.IsNodePresent(copy)


def test_a_copy_that_nobody_has_edited_is_no_correction_to_lose(cases: Any):
    first = cases.load("wrong").wait()
    correct(first.volume)
    assert not cases.hasUnsavedCorrection()
    cases.load("new_1").wait()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_newer_answer_takes_the_place_of_a_copy_only_if_nobody_has_edited_it(cases: Any):
    volume = cases.load("wrong").wait().volume
    correct(volume)
    newest = segmentAgain(volume)
    assert newest.corrected is None
    copy = correct(volume)
    edit(copy)
    assert segmentAgain(volume).corrected is copy
    assert cases.acceptable(volume) == (copy, volume)
    assert cases.hasUnsavedCorrection()


def test_edits_are_counted_from_the_answer_that_was_corrected_not_from_a_newer_one(cases: Any, folder: Path):
    volume = cases.load("wrong").wait().volume
    added = edit(correct(volume))
    segmentAgain(volume)
    cases.accept().wait()
    record = revisions(folder)["wrong"][-1]
    assert (record.model, record.edits_voxels) == ("abc", added)


def test_a_label_of_the_folder_stays_when_its_case_is_segmented_again(cases: Any):
    loaded = cases.load("done").wait()
    assert segmentAgain(loaded.volume).corrected is loaded.corrected
    assert cases.isAccepted(cases.acceptable()[0])
    assert not cases.hasUnsavedCorrection()


def test_an_earlier_copy_with_edits_is_a_correction_to_lose_too(cases: Any):
    volume = cases.load("wrong").wait().volume
    former = correct(volume)
    edit(former)
    assert correct(volume) is not former
    assert cases.hasUnsavedCorrection()
    cases.load("new_1").wait()
    assert slicer.mrmlScene.IsNodePresent(volume)
    cases.load("wrong", discardUnsaved=True).wait()
    cases.load("new_1").wait()
    assert slicer.mrmlScene.IsNodePresent(former)


def test_an_accepted_correction_that_was_undone_since_is_a_correction_to_lose(cases: Any):
    copy = correct(cases.load("wrong").wait().volume)
    before = arrayOfImage(copy.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")).copy()
    edit(copy)
    cases.accept().wait()
    assert not cases.hasUnsavedCorrection()
    image = copy.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    arrayOfImage(image)[:] = before
    image.Modified()
    assert cases.hasUnsavedCorrection()


def test_the_next_case_takes_the_place_of_every_answer_for_the_one_before(cases: Any):
    volume = cases.load("wrong").wait().volume
    correct(volume)
    segmentAgain(volume)
    segmentAgain(volume, "latest")
    cases.load("new_1").wait()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def test_an_edited_label_of_the_folder_is_a_correction_to_lose(cases: Any):
    loaded = cases.load("done").wait()
    edit(loaded.corrected)
    assert cases.hasUnsavedCorrection()
    assert not cases.isAccepted(loaded.corrected)


def test_a_case_is_known_again_when_its_scene_is_loaded_but_no_path_is_saved(cases: Any, logic: SegmentLogic):
    edit(correct(cases.load("wrong").wait().volume))
    scene = slicer.mrmlScene
    scene.SetSaveToXMLString(1)
    scene.Commit()
    saved = scene.GetSceneXMLString()
    scene.SetSaveToXMLString(0)
    scene.Clear()
    logic.sceneClosed()
    scene.SetLoadFromXMLString(1)
    scene.SetSceneXMLString(saved)
    scene.Import()
    scene.SetLoadFromXMLString(0)
    volume = scene.GetFirstNodeByName("wrong")
    assert cases.caseOf(volume) == "wrong"
    assert cases.loaded is None
    assert cases.acceptable(volume)[0] is correctedOf(volume)
    assert not cases.isAccepted(correctedOf(volume))
    assert str(cases.folder) not in saved


def test_a_case_of_another_folder_with_the_same_name_is_another_case(
    cases: Any, folder: Path, tmp_path: Path, waitUntil: Any
):
    loaded = cases.load("new_1").wait()
    cases.open(shutil.copytree(folder, tmp_path / "elsewhere"))
    settled(cases, waitUntil)
    assert cases.row("new_1") is not None
    assert cases.caseOf(loaded.volume) is None


def test_a_scene_that_closes_while_a_case_is_loaded_stays_empty(
    cases: Any, logic: SegmentLogic, processEvents: Any, waitUntil: Any, files: Worker
):
    before = nodesInScene()
    heard: list[Any] = []
    task = cases.load(
        "wrong", onFinished=heard.append, onFailed=lambda message, _details: heard.append(message)
    )
    slicer.mrmlScene.Clear()
    logic.sceneClosed()
    assert task.state == "cancelled"
    assert heard == ["Cancelled."]
    waitUntil(lambda: not files.isBusy())
    processEvents()
    assert nodesInScene() <= before
    assert cases.loaded is None


def test_asking_for_another_case_gives_up_the_first(cases: Any, files: Worker, waitUntil: Any):
    first = cases.load("wrong")
    second = cases.load("new_1").wait()
    waitUntil(lambda: not files.isBusy())
    assert first.state == "cancelled"
    assert cases.loaded == second
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def test_a_case_whose_image_vanished_fails_in_words_and_leaves_the_former_case(cases: Any, folder: Path):
    first = cases.load("new_1").wait()
    next(folder.rglob("new_2_0000*")).unlink()
    task = cases.load("new_2")
    with pytest.raises(Exception, match=r"new_2"):
        task.wait()
    assert cases.loaded == first


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_worker_that_is_killed_while_it_reads_a_case_is_told_and_the_next_one_reads_it(
    cases: Any, files: Worker, waitUntil: Any
):
    former = cases.load("mild").wait()
    os.kill(files.pid, signal.SIGSTOP)
    task = cases.load("wrong")
    waitUntil(files.isBusy)
    os.kill(files.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="killed"):
        task.wait()
    assert slicer.mrmlScene.IsNodePresent(former.volume)
    assert cases.loaded.name == "mild"
    assert cases.load("wrong").wait().name == "wrong"


def test_without_a_folder_loading_says_so(logic: SegmentLogic):
    with pytest.raises(CasesError, match=r"No cases folder"):
        logic.cases.load("new_1")


# ------------------------------------------------------------------------------------------ what is next


def test_the_most_useful_case_is_the_one_to_correct_most_and_never_a_validation_case(cases: Any):
    assert cases.mostUseful().name == "wrong"
    assert cases.row("held").expectedCorrectionMl == 90


def test_the_case_in_the_scene_is_not_proposed_again(cases: Any):
    cases.loadNext().wait()
    assert cases.loaded.name == "wrong"
    cases.loadNext().wait()
    assert cases.loaded.name == "mild"


def test_where_nothing_is_predicted_the_next_case_is_found_by_predicting(
    cases: Any, folder: Path, compute: StandInWorker, waitUntil: Any
):
    shutil.rmtree(folder / "predictions")
    cases.refresh()
    settled(cases, waitUntil)
    told: list[Any] = []
    how = {"quality": "full", "keepIslands": True}
    task = cases.loadNext(**how, onProgress=lambda *values: told.append(values))
    expected = {"mild": 1.0, "new_1": 2.0, "new_2": 8.0, "wrong": 4.0}
    predict(folder, expected)  # the engine writes before it answers
    for name, millilitres in expected.items():
        asked = compute.requests[-1].fields
        assert (asked["case"], asked["quality"], asked["keep_islands"]) == (name, "full", True)
        record = {"case": name, "kept": False, "expected_correction_ml": millilitres, "mean_confidence": 0.5}
        compute.requests[-1].answer(cases=[record], failed=0)
    assert task.wait().name == "new_2"
    assert any("Case 1 of 4" in values[0] for values in told)
    assert cases.row("new_2").state == "predicted"


def test_cancel_while_ranking_ends_the_batch_and_loads_nothing(
    cases: Any, folder: Path, compute: StandInWorker, waitUntil: Any
):
    shutil.rmtree(folder / "predictions")
    cases.refresh()
    settled(cases, waitUntil)
    task = cases.loadNext()
    task.cancel()
    assert compute.requests[-1].wasCancelled
    assert not cases.batch.isRunning
    assert cases.loaded is None


def test_when_all_have_labels_there_is_no_next_case(cases: Any):
    cases.rows = tuple(row for row in cases.rows if row.isLabelled)
    with pytest.raises(CasesError, match=r"Every case of the folder has a label"):
        cases.loadNext()


def test_without_a_cases_folder_there_is_no_next_case_and_the_words_say_why(cases: Any):
    cases.open(None).wait()
    with pytest.raises(CasesError, match=r"No cases folder is chosen"):
        cases.loadNext()


def test_ranking_orders_the_cases_without_a_label(cases: Any, compute: StandInWorker):
    task = cases.rank()
    for millilitres in (3.0, 5.0, 1.0, 4.0):
        name = compute.requests[-1].fields["case"]
        compute.requests[-1].answer(
            cases=[
                {"case": name, "kept": False, "expected_correction_ml": millilitres, "mean_confidence": 0.5}
            ]
        )
    assert [(row.name, row.expectedCorrectionMl) for row in task.value] == [
        ("new_1", 5.0),
        ("wrong", 4.0),
        ("mild", 3.0),
        ("new_2", 1.0),
    ]


def test_predictions_go_to_the_folder_with_the_current_model_and_the_device_of_the_settings(
    cases: Any, compute: StandInWorker, logic: SegmentLogic, folder: Path
):
    logic.settings.set("device", "cpu")
    cases.predictAll(quality="fast")
    assert compute.requests[-1].fields == {
        "model": str(logic.models.current),
        "folder": str(folder),
        "case": "mild",
        "out": str(folder / "predictions"),
        "quality": "fast",
        "keep_islands": False,
        "device": "cpu",
    }


def test_what_is_predicted_shows_in_the_rows_at_once(cases: Any, compute: StandInWorker):
    cases.predictAll(names=["new_1"])
    record = {"case": "new_1", "kept": False, "expected_correction_ml": 7.0, "mean_confidence": 0.25}
    compute.requests[-1].answer(cases=[record], failed=0)
    assert cases.row("new_1").state == "predicted"
    assert cases.row("new_1").meanConfidence == 0.25
    assert "7 ml" in cases.row("new_1").reason


def test_what_another_model_had_predicted_is_no_next_case_once_the_folder_has_let_go_of_it(
    cases: Any, compute: StandInWorker
):
    cases.predictAll(names=["mild", "new_1"])
    record = {"case": "mild", "kept": False, "expected_correction_ml": 2.0, "mean_confidence": 0.5}
    compute.requests[-1].answer(cases=[record], model="of later", failed=0)
    assert cases.row("wrong").state == "unlabelled"  # 12.25 ml, by the model before
    assert cases.mostUseful().name == "mild"
    assert cases.row("held").state == "validation"


def test_a_case_that_failed_is_no_next_case_and_the_list_says_why(cases: Any, compute: StandInWorker):
    cases.predictAll(names=["wrong", "new_1"])
    compute.requests[-1].fail("The scan is cut off.")
    assert cases.mostUseful().name == "mild"
    assert (cases.row("wrong").state, cases.row("wrong").reason) == ("unlabelled", "The scan is cut off.")


def test_cases_that_failed_come_last_so_that_three_of_them_do_not_end_every_batch(
    cases: Any, compute: StandInWorker
):
    cases.predictAll()
    for _ in range(3):
        compute.requests[-1].fail(f"{compute.requests[-1].fields['case']} is cut off.")
    assert not cases.batch.isRunning
    left = cases.batch.lastOutcome.left
    cases.predictAll()
    assert compute.requests[-1].fields["case"] == left[0]


def test_at_the_end_of_a_batch_the_list_is_what_the_folder_has(
    cases: Any, folder: Path, compute: StandInWorker, waitUntil: Any
):
    task = cases.predictAll(names=["new_1"])
    predict(folder, {"mild": 3.0})
    task.cancel()
    settled(cases, waitUntil)
    assert cases.row("wrong").state == "unlabelled"
    assert cases.row("mild").expectedCorrectionMl == 3.0


# -------------------------------------------------------------------------------------------- accepting


def test_only_the_answer_of_a_model_that_knows_all_structures_vouches_for_all(cases: Any):
    volume = cases.load("wrong").wait().volume
    label_ = labelOf(correct(volume), volume, "wrong", TABLE)
    assert label_.provenance()["structures"] == ["liver", "spleen"]
    larger = LabelTable((*TABLE.labels, Label(SPLEEN + 1, "kidney")))
    assert "structures" not in replace(label_, table=larger).provenance()
    drawn = segmentationFromLabels(label().array, GRID, TABLE, "mine", volume)
    assert "structures" not in labelOf(drawn, volume, "wrong", TABLE).provenance()


def test_a_first_label_from_a_model_of_fewer_structures_says_nothing_of_the_others(cases: Any, folder: Path):
    volume = cases.load("new_1").wait().volume
    segmentLiverOnly(volume)
    edit(correct(volume), "label_1")
    cases.accept().wait()
    (stored,) = revisions(folder)["new_1"]
    assert (stored.model, stored.structures) == ("of livers", ("liver",))


def test_a_case_of_another_folder_hides_none_of_its_name_in_this_one(
    cases: Any, folder: Path, tmp_path: Path
):
    best = cases.mostUseful().name
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    cases.load(best).wait()
    assert cases.mostUseful().name != best
    cases.open(other).wait()
    assert cases.mostUseful().name == best


def test_what_was_said_of_one_case_is_not_done_to_the_next_that_the_user_chose_meanwhile(
    cases: Any, folder: Path, compute: StandInWorker, waitUntil: Any
):
    shutil.rmtree(folder / "predictions")
    cases.refresh()
    settled(cases, waitUntil)
    edit(cases.load("done").wait().corrected)
    next_ = cases.loadNext(discardUnsaved=True)  # of "done"; predicting takes minutes
    second = cases.load("new_1", discardUnsaved=True).wait()
    segmentAgain(second.volume)
    copy = correct(second.volume)
    edit(copy)
    while cases.batch.isRunning:
        name = compute.requests[-1].fields["case"]
        compute.requests[-1].answer(
            cases=[{"case": name, "kept": False, "expected_correction_ml": 1.0, "mean_confidence": 0.5}]
        )
    with pytest.raises(CasesError, match="Another case was chosen meanwhile"):
        next_.wait()
    assert slicer.mrmlScene.IsNodePresent(copy)
    assert cases.loaded.volume is second.volume


def test_what_was_drawn_while_the_next_case_is_being_found_is_not_discarded_with_what_was_there_before(
    cases: Any, folder: Path, compute: StandInWorker, waitUntil: Any
):
    shutil.rmtree(folder / "predictions")
    cases.refresh()
    settled(cases, waitUntil)
    first = cases.load("done").wait()
    edit(first.corrected)
    next_ = cases.loadNext(discardUnsaved=True)
    edit(first.corrected, "label_1")
    while cases.batch.isRunning:
        name = compute.requests[-1].fields["case"]
        compute.requests[-1].answer(
            cases=[{"case": name, "kept": False, "expected_correction_ml": 1.0, "mean_confidence": 0.5}]
        )
    assert next_.wait().name == cases.loaded.name != "done"
    assert slicer.mrmlScene.IsNodePresent(first.corrected)
    assert cases.hasUnsavedCorrection(first.volume)


def test_a_label_that_is_on_its_way_marks_its_volume_as_a_case_of_the_folder_it_went_to(
    cases: Any, folder: Path, tmp_path: Path, waitUntil: Any
):
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    add_case(other, "case_001", [scan(77)])  # another patient
    volume = volumeNodeFromVolume(scan(20), "scan")
    segmentAgain(volume)
    edit(correct(volume))
    task = cases.accept(volume, caseName="case_001")
    cases.open(other)
    assert task.wait().path == folder / "labelsTr" / "case_001.nii.gz"
    settled(cases, waitUntil)
    assert cases.caseOf(volume) is None
    cases.open(folder).wait()
    assert cases.caseOf(volume) == "case_001"


def test_discarding_one_case_leaves_the_kept_correction_of_another_to_be_taken_up(cases: Any):
    first = cases.load("wrong").wait()
    kept = correct(first.volume)
    edit(kept)
    edit(correct(cases.load("mild").wait().volume))
    again = cases.load("wrong", discardUnsaved=True).wait()
    assert again.volume is first.volume
    assert correctedOf(again.volume) is kept


def test_an_edited_label_of_the_folder_counts_though_a_new_copy_has_taken_its_place(cases: Any):
    loaded = cases.load("held").wait()
    edit(loaded.corrected)
    fresh = correct(loaded.volume)
    assert correctedOf(loaded.volume) is fresh
    assert cases.hasUnsavedCorrection()


def test_a_copy_knows_its_model_though_the_answer_that_it_was_made_from_was_deleted(cases: Any, folder: Path):
    volume = cases.load("new_1").wait().volume
    segmentLiverOnly(volume)
    old = resultOf(volume).fused
    edit(correct(volume), "label_1")
    segmentAgain(volume, "whole body")
    slicer.mrmlScene.RemoveNode(old)
    cases.accept().wait()
    (stored,) = revisions(folder)["new_1"]
    assert (stored.model, stored.structures) == ("of livers", ("liver",))


def test_where_the_file_of_an_answer_was_missing_its_copy_is_accepted_and_no_empty_label(
    cases: Any, folder: Path
):
    volume = cases.load("wrong").wait().volume
    copy, answer = correct(volume), resultOf(volume).fused
    edit(copy)
    answer.GetSegmentation().RemoveAllSegments()  # so Slicer loads a scene without the file
    answer.RemoveAttribute("CRGLoCoSegment.edited")
    with pytest.raises(InputError, match="'wrong fused' has no segments"):
        cases.accept(answer)
    cases.accept().wait()
    (stored,) = revisions(folder)["wrong"]
    assert (stored.model, stored.edits_voxels) == ("abc", None)
    copy.GetSegmentation().RemoveAllSegments()
    with pytest.raises(InputError, match="'wrong corrected' has no segments"):
        cases.accept()


def test_another_frame_is_refused_also_where_the_answer_was_deleted(cases: Any):
    volume = volumeNodeFromVolume(scan(20), "sequence")
    segmentAgain(volume)
    edit(correct(volume))
    slicer.mrmlScene.RemoveNode(resultOf(volume).fused)
    arrayOfImage(volume.GetImageData())[...] = scan(21).array
    with pytest.raises(InputError, match="other voxels"):
        cases.accept(volume, caseName="case_001")


def test_an_earlier_answer_is_accepted_as_that_of_its_own_model(cases: Any, folder: Path):
    volume = cases.load("wrong").wait().volume
    earlier = resultOf(volume).fused
    segmentAgain(volume)
    cases.accept(earlier).wait()
    last = revisions(folder)["wrong"][-1]
    assert (last.model, last.edits_voxels) == ("abc", 0)


def test_the_folders_own_label_stays_what_it_was_though_a_model_was_asked_meanwhile(cases: Any, folder: Path):
    values = label().array.copy()
    values[values == SPLEEN] = 0
    accept_label(folder, "done", replace(label(), array=values), Provenance(structures=("liver",)))
    loaded = cases.load("done").wait()
    segmentAgain(loaded.volume)
    edit(loaded.corrected, "label_1")
    cases.accept().wait()
    stored = revisions(folder)["done"][-1]
    assert (stored.model, stored.structures) == (None, ("liver",))


def test_an_accepted_label_holds_the_tables_values_whatever_the_order_and_names_of_the_segments(
    cases: Any, folder: Path, waitUntil: Any
):
    loaded = cases.load("wrong").wait()
    copy = correct(loaded.volume)
    added = edit(copy)
    segmentation = copy.GetSegmentation()
    segmentation.SetSegmentIndex("label_7", 0)
    segmentation.GetSegment("label_7").SetName("the spleen, renamed")
    accepted = cases.accept(annotator="radiologist").wait()
    assert (accepted.case, accepted.revision, accepted.created) == ("wrong", 1, False)
    stored = read_volume(accepted.path)
    expected = label(2).array.copy()
    expected[0, :2, :4] = SPLEEN
    assert np.array_equal(stored.array, expected)
    assert stored.geometry.same_grid(GRID)
    record = revisions(folder)["wrong"][-1]
    assert (record.model, record.edits_voxels, record.annotator) == ("abc", added, "radiologist")
    assert record.edits_ml == pytest.approx(added * 3 * 1 * 1.5 / 1000)
    assert not cases.hasUnsavedCorrection()
    settled(cases, waitUntil)
    assert cases.row("wrong").state == "corrected"


def test_a_second_label_is_a_new_revision_and_the_first_is_kept(cases: Any, folder: Path):
    loaded = cases.load("done").wait()
    edit(loaded.corrected)
    accepted = cases.accept().wait()
    assert accepted.revision == 2
    kept = folder / "labelsTr_revisions" / "done.r001.nii.gz"
    assert np.array_equal(read_volume(kept).array, label().array)
    assert revisions(folder)["done"][-1].model is None


def test_a_prediction_that_needs_no_correction_is_accepted_as_it_is(cases: Any, folder: Path):
    cases.load("wrong").wait()
    accepted = cases.accept().wait()
    assert np.array_equal(read_volume(accepted.path).array, label(2).array)
    assert revisions(folder)["wrong"][-1].edits_voxels == 0


def test_a_validation_case_stays_one_when_its_label_is_corrected(cases: Any, waitUntil: Any):
    edit(cases.load("held").wait().corrected)
    cases.accept().wait()
    settled(cases, waitUntil)
    assert (cases.row("held").state, cases.row("held").revision) == ("validation", 2)


def test_edits_after_accepting_are_new_again(cases: Any):
    loaded = cases.load("done").wait()
    edit(loaded.corrected)
    cases.accept().wait()
    assert cases.isAccepted(loaded.corrected)
    edit(loaded.corrected, "label_1")
    assert not cases.isAccepted(loaded.corrected)
    assert cases.hasUnsavedCorrection()


def test_edits_while_the_label_is_written_are_not_taken_for_accepted(cases: Any):
    loaded = cases.load("done").wait()
    edit(loaded.corrected)
    task = cases.accept()
    edit(loaded.corrected, "label_1")
    accepted = task.wait()
    assert cases.hasUnsavedCorrection()
    assert read_volume(accepted.path).array[0, 0, 0] == SPLEEN


def test_a_volume_that_is_not_in_the_folder_becomes_a_new_case(cases: Any, folder: Path, waitUntil: Any):
    volume = volumeNodeFromVolume(scan(20), "DOE^JOHN")
    segmentation = segmentationFromLabels(label().array, GRID, TABLE, "mine", volume)
    assert cases.proposedName() == "case_001"
    accepted = cases.accept(segmentation, caseName=cases.proposedName()).wait()
    assert (accepted.case, accepted.revision, accepted.created) == ("case_001", 1, True)
    case = open_cases(folder).find("case_001")
    assert np.array_equal(read_volume(case.channels[0].path).array, scan(20).array)
    assert not [path for path in folder.rglob("*") if "DOE" in path.name]
    assert "DOE" not in (folder / "crgloco.json").read_text()
    settled(cases, waitUntil)
    assert cases.caseOf(volume) == "case_001"
    assert cases.proposedName() == "case_002"
    assert cases.isAccepted(segmentation)


def test_the_label_of_one_frame_is_not_accepted_with_the_image_of_another(cases: Any):
    volume = volumeNodeFromVolume(scan(20), "sequence")
    shown = arrayOfImage(volume.GetImageData())
    frame, other = shown.copy(), scan(21).array
    segmentAgain(volume)
    edit(correct(volume))
    shown[...] = other
    with pytest.raises(InputError, match="sequence shows other voxels than those that were segmented"):
        cases.accept(volume, caseName="case_001")
    shown[...] = frame
    assert cases.accept(volume, caseName="case_001").wait().created


@pytest.mark.parametrize("change", ["another frame", "a move"])
def test_a_copy_of_an_earlier_answer_names_the_way_to_the_present_one(cases: Any, change: str):
    """To segment once more would not help: the edited copy stays chosen."""
    volume, copy = asNewCase()
    if change == "a move":
        shiftByLess(volume)
    else:
        arrayOfImage(volume.GetImageData())[...] = scan(21).array
    answer = {"labels": TABLE.to_json(), "geometry": volumeFromNode(volume).geometry.to_json()}
    importResult(volume, answer, {"fused": label(3).array.copy()})
    letGoIfUntouched(volume)
    assert correctedOf(volume) is copy
    with pytest.raises(InputError, match="Its present answer fits: choose New copy in the section Correct"):
        cases.accept(volume, caseName="case_001")
    correct(volume)
    assert cases.accept(volume, caseName="case_001").wait().created


def asNewCase(name: str = "scan") -> tuple[Any, Any]:
    """A volume that the folder does not have, segmented and corrected."""
    volume = volumeNodeFromVolume(scan(20), name)
    segmentAgain(volume)
    copy = correct(volume)
    edit(copy)
    return volume, copy


def shiftByOneRow(volumeNode: Any) -> None:
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    volumeNode.SetOrigin(*matrix.MultiplyPoint((0, 1, 0, 1))[:3])


def shiftByLess(volumeNode: Any) -> None:
    volumeNode.SetOrigin(*(np.array(volumeNode.GetOrigin()) + 0.1))


def widenVoxels(volumeNode: Any) -> None:
    volumeNode.SetSpacing(*(np.array(volumeNode.GetSpacing()) * 1.1))


def mirrorAxes(volumeNode: Any) -> None:
    volumeNode.SetIJKToRASDirections(*(-part for row in directionsOf(volumeNode) for part in row))


def turnAboutItsMiddle(volumeNode: Any) -> None:
    """Half a turn: the voxels come to lie where others lay."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    i, j, _k = volumeNode.GetImageData().GetDimensions()
    corner = matrix.MultiplyPoint((i - 1, j - 1, 0, 1))[:3]
    axes = directionsOf(volumeNode) * (-1, -1, 1)
    volumeNode.SetOrigin(*corner)
    volumeNode.SetIJKToRASDirections(*axes.ravel())


def directionsOf(volumeNode: Any) -> Any:
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASDirectionMatrix(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(3)] for row in range(3)])


MOVES = [shiftByOneRow, shiftByLess, widenVoxels, mirrorAxes, turnAboutItsMiddle]


@pytest.mark.parametrize("move", MOVES)
def test_a_new_case_whose_volume_was_moved_after_it_was_segmented_is_refused(
    cases: Any, folder: Path, move: Any
):
    volume, _copy = asNewCase()
    move(volume)
    with pytest.raises(InputError, match=r"scan was moved.*wrong place.*can be exported"):
        cases.accept(volume, caseName="case_001")
    assert "case_001" not in [case.name for case in open_cases(folder).labelled]


def test_a_volume_that_was_moved_is_refused_also_where_the_answer_was_deleted(cases: Any):
    volume, _copy = asNewCase()
    slicer.mrmlScene.RemoveNode(resultOf(volume).fused)
    volume.SetOrigin(*np.add(volume.GetOrigin(), volume.GetSpacing()))
    with pytest.raises(InputError, match=r"scan was moved.*wrong place"):
        cases.accept(volume, caseName="case_001")


@pytest.mark.parametrize("move", MOVES)
def test_a_case_whose_volume_was_moved_after_it_was_loaded_takes_no_answers_label(
    cases: Any, folder: Path, move: Any
):
    volume = cases.load("wrong").wait().volume
    edit(correct(volume))
    move(volume)
    with pytest.raises(InputError, match=r"wrong was moved.*wrong place"):
        cases.accept()
    assert not (folder / "labelsTr" / "wrong.nii.gz").exists()


@pytest.mark.parametrize("move", MOVES)
def test_a_case_whose_volume_was_moved_after_it_was_loaded_takes_no_label_of_the_folder(
    cases: Any, folder: Path, move: Any
):
    loaded = cases.load("done").wait()
    edit(loaded.corrected)
    move(loaded.volume)
    with pytest.raises((InputError, CasesError), match=r"done was moved|lie on different grids"):
        cases.accept().wait()
    assert np.array_equal(read_volume(folder / "labelsTr" / "done.nii.gz").array, label().array)


def test_a_volume_that_is_turned_together_with_the_folders_label_is_refused(cases: Any):
    loaded = cases.load("done").wait()
    transform = halfTurnAboutTheMiddle(loaded.volume)
    for node in (loaded.volume, loaded.corrected):
        node.SetAndObserveTransformNodeID(transform.GetID())
        assert node.HardenTransform()
    with pytest.raises(InputError, match=r"done was moved"):
        cases.accept()


def test_a_new_case_stays_where_it_was_when_it_was_accepted(cases: Any, waitUntil: Any):
    volume = volumeNodeFromVolume(scan(20), "scan")
    segmentation = segmentationFromLabels(label().array, GRID, TABLE, "mine", volume)
    task = cases.accept(segmentation, caseName="case_001")
    turnAboutItsMiddle(volume)
    task.wait()
    settled(cases, waitUntil)
    with pytest.raises(InputError, match=r"scan was moved"):
        cases.accept(segmentation)


def halfTurnAboutTheMiddle(volumeNode: Any) -> Any:
    before, after = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(before)
    clone = volumeNodeFromVolume(volumeFromNode(volumeNode), "turned")
    turnAboutItsMiddle(clone)
    clone.GetIJKToRASMatrix(after)
    slicer.mrmlScene.RemoveNode(clone)
    before.Invert()
    way = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Multiply4x4(after, before, way)
    return transformNode(way)


def transformNode(matrix: Any) -> Any:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix)
    return transform


def oneRow(volumeNode: Any) -> Any:
    """A transform by one row of a volume: its labelmaps then look as if they had been cropped."""
    matrix, way = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    for row in range(3):
        way.SetElement(row, 3, matrix.GetElement(row, 1))
    return transformNode(way)


@pytest.mark.parametrize("name", ["wrong", "done"])
@pytest.mark.parametrize("which", ["image", "label"])
def test_a_transform_on_the_image_or_the_label_alone_is_refused(
    cases: Any, folder: Path, name: str, which: str
):
    loaded = cases.load(name).wait()
    copy = loaded.corrected or correct(loaded.volume)
    moved = loaded.volume if which == "image" else copy
    moved.SetAndObserveTransformNodeID(oneRow(loaded.volume).GetID())
    with pytest.raises(InputError, match=r"under different transforms.*wrong place.*can be exported"):
        cases.accept()
    moved.SetAndObserveTransformNodeID(None)
    stored = read_volume(cases.accept().wait().path).array
    assert np.array_equal(stored, label(2 if name == "wrong" else 0).array)


def test_a_transform_on_the_image_of_a_new_case_alone_is_refused(cases: Any):
    volume, _copy = asNewCase()
    volume.SetAndObserveTransformNodeID(oneRow(volume).GetID())
    with pytest.raises(InputError, match=r"under different transforms"):
        cases.accept(volume, caseName="case_001")


def test_a_transform_on_the_image_alone_that_moves_nothing_is_no_matter(cases: Any):
    loaded = cases.load("wrong").wait()
    correct(loaded.volume)
    loaded.volume.SetAndObserveTransformNodeID(transformNode(vtk.vtkMatrix4x4()).GetID())
    assert np.array_equal(read_volume(cases.accept().wait().path).array, label(2).array)


# By dcm2niix: i to the left, j to the front, k up; left-handed.
LAS = replace(GRID, direction=((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0)))
RIGHT_HANDED = replace(GRID, direction=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


def saveAndOpenAgain(logic: SegmentLogic, root: Path) -> None:
    """As Slicer does: every volume is written and read, and left-handed ones come back turned round."""
    scene = slicer.mrmlScene
    root.mkdir()
    saved = ("vtkMRMLSegmentationNode", "vtkMRMLScalarVolumeNode")
    for kind, ending in zip(saved, (".seg.nrrd", ".nrrd"), strict=True):
        for number in range(scene.GetNumberOfNodesByClass(kind)):
            node = scene.GetNthNodeByClass(number, kind)
            if node.GetStorageNode() is None:
                node.AddDefaultStorageNode()
            node.GetStorageNode().SetFileName(str(root / f"{number}{ending}"))
            assert node.GetStorageNode().WriteData(node)
    scene.SetRootDirectory(str(root))
    scene.SetURL(str(root / "scene.mrml"))
    assert scene.Commit(scene.GetURL())
    logic.sceneClosed()
    scene.Clear(False)
    assert scene.Import(None)


def segmentOn(volumeNode: Any, grid: Geometry) -> Any:
    """Bring in an answer and begin its correction."""
    answer = {"labels": TABLE.to_json(), "geometry": grid.to_json(), "title": "m", "model": "m"}
    importResult(volumeNode, answer, {"fused": label(0, grid).array.copy()})
    copy = correct(volumeNode)
    edit(copy)
    return copy


def volumeInScene() -> Any:
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")


@pytest.mark.parametrize("grid", [LAS, RIGHT_HANDED, GRID])
@pytest.mark.parametrize("again", [False, True])
def test_a_correction_is_accepted_after_its_scene_was_saved_and_opened_again(
    logic: SegmentLogic, tmp_path: Path, grid: Geometry, again: bool
):
    create_cases(tmp_path / "own", TABLE, ["MR"])
    add_case(tmp_path / "own", "p1", [scan(1, grid)])
    logic.cases.open(tmp_path / "own").wait()
    volume = logic.cases.load("p1").wait().volume
    want = labelsFromSegmentation(segmentOn(volume, grid), TABLE, volume).array.copy()
    saveAndOpenAgain(logic, tmp_path / "scene")
    if again:
        logic.cases.load("p1").wait()
    done = logic.cases.accept(volumeInScene()).wait()
    stored = read_volume(done.path)
    assert stored.geometry.same_grid(grid)
    assert np.array_equal(stored.array, want)
    assert revisions(tmp_path / "own")["p1"][-1].model == "m"


@pytest.mark.parametrize("grid", [LAS, RIGHT_HANDED, GRID])
def test_a_new_case_is_accepted_after_its_scene_was_saved_and_opened_again(
    cases: Any, logic: SegmentLogic, tmp_path: Path, grid: Geometry
):
    volume = volumeNodeFromVolume(scan(20, grid), "scan")
    copy = segmentOn(volume, grid)
    want = Volume(labelsFromSegmentation(copy, TABLE, volume).array.copy(), grid)
    saveAndOpenAgain(logic, tmp_path / "scene")
    done = cases.accept(volumeInScene(), caseName="case_001").wait()
    image = read_volume(open_cases(cases.folder).find("case_001").channels[0].path)
    assert np.array_equal(turned_onto(image, grid).array, scan(20, grid).array)
    assert np.array_equal(turned_onto(read_volume(done.path), grid).array, want.array)


@pytest.mark.parametrize("grid", [LAS, RIGHT_HANDED])
@pytest.mark.parametrize("move", MOVES)
def test_a_volume_that_was_moved_before_its_scene_was_saved_is_refused(
    cases: Any, logic: SegmentLogic, tmp_path: Path, grid: Geometry, move: Any
):
    volume = volumeNodeFromVolume(scan(20, grid), "scan")
    segmentOn(volume, grid)
    move(volume)
    saveAndOpenAgain(logic, tmp_path / "scene")
    with pytest.raises(InputError, match=r"scan was moved"):
        cases.accept(volumeInScene(), caseName="case_001")


@pytest.mark.parametrize("name", ["", "a/b", "CON", " case", "done", "DONE", "..", "x" * 201])
def test_a_name_that_does_not_do_is_refused(cases: Any, name: str):
    volume = volumeNodeFromVolume(scan(20), "scan")
    segmentation = segmentationFromLabels(label().array, GRID, TABLE, "mine", volume)
    with pytest.raises(CasesError):
        cases.accept(segmentation, caseName=name)


def test_a_case_that_was_taken_out_of_the_folder_comes_back_with_its_image(
    cases: Any, folder: Path, waitUntil: Any
):
    cases.load("wrong").wait()
    next(folder.rglob("wrong_0000*")).unlink()
    cases.refresh()
    settled(cases, waitUntil)
    accepted = cases.accept().wait()
    assert accepted.created
    assert np.array_equal(read_volume(open_cases(folder).find("wrong").channels[0].path).array, scan(3).array)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ((Label(LIVER, "spleen"),), r"the value 1 is spleen in the segmentation and liver in the folder"),
        ((Label(9, "liver"),), r"liver has the value 9 in the segmentation and 1 in the folder"),
    ],
)
def test_labels_that_contradict_the_folders_are_refused_in_words(cases: Any, other: Any, words: str):
    loaded = cases.load("new_1").wait()
    values = np.zeros_like(label().array)
    segmentation = segmentationFromLabels(values, GRID, LabelTable(other), "mine", loaded.volume)
    with pytest.raises(LabelError, match=words):
        cases.accept(segmentation)


def test_a_label_that_the_folder_does_not_have_is_refused_and_nothing_is_written(cases: Any, folder: Path):
    wider = LabelTable((*TABLE.labels, Label(9, "tumour")))
    values = label().array.copy()
    values[0, 0, 0] = 9
    loaded = cases.load("new_1").wait()
    segmentation = segmentationFromLabels(values, GRID, wider, "mine", loaded.volume)
    task = cases.accept(segmentation)
    with pytest.raises(CasesError, match=r"tumour"):
        task.wait()
    assert not (folder / "labelsTr" / "new_1.nii.gz").exists()


def test_a_label_on_another_grid_than_the_cases_image_is_refused(cases: Any, folder: Path):
    loaded = cases.load("new_1").wait()
    loaded.volume.SetOrigin(5, 5, 5)
    moved = volumeFromNode(loaded.volume).geometry
    segmentation = segmentationFromLabels(label().array, moved, TABLE, "mine", loaded.volume)
    with pytest.raises(CasesError, match=r"lie on different grids.*Nothing is lost"):
        cases.accept(segmentation).wait()
    assert not (folder / "labelsTr" / "new_1.nii.gz").exists()


def test_a_new_case_needs_all_channels_of_the_folder(cases: Any):
    volume = volumeNodeFromVolume(scan(20), "scan")
    segmentation = segmentationFromLabels(label().array, GRID, TABLE, "mine", volume)
    with pytest.raises(InputError, match=r"1 channels"):
        cases.accept(segmentation, caseName="case_001", channels=[volume])


def test_without_a_label_there_is_nothing_to_accept(cases: Any):
    cases.load("new_1").wait()
    with pytest.raises(InputError, match=r"no label to accept"):
        cases.accept()


def test_a_label_is_accepted_once_at_a_time(cases: Any):
    cases.load("wrong").wait()
    task = cases.accept()
    with pytest.raises(CasesError, match=r"being written"):
        cases.accept()
    task.wait()


def test_after_a_disk_that_was_full_a_case_is_loaded_and_accepted_again(
    cases: Any, monkeypatch: pytest.MonkeyPatch
):
    cases.load("wrong").wait()
    with monkeypatch.context() as full:
        full.setattr(Path, "mkdir", noRoom)
        for work in (cases.accept, lambda: cases.load("new_1")):
            with pytest.raises(ResourceError, match="the disk is full"):
                work()
    assert not cases.isAccepting
    assert not cases.isLoading
    assert cases.accept().wait().revision == 1
    assert cases.load("new_1").wait().name == "new_1"


def noRoom(path: Path, *_arguments: Any, **_options: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def test_a_volume_under_a_transform_is_accepted_on_its_own_grid(cases: Any, folder: Path):
    loaded = cases.load("wrong").wait()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    copy = correct(loaded.volume)
    for node in (loaded.volume, copy):
        node.SetAndObserveTransformNodeID(transform.GetID())
    accepted = cases.accept().wait()
    assert np.array_equal(read_volume(accepted.path).array, label(2).array)
    assert read_volume(accepted.path).geometry.same_grid(GRID)


def bend() -> Any:
    """A transform as Slicer gives it to a series of unequal distances between slices."""
    way = slicer.vtkOrientedGridTransform()
    field = vtk.vtkImageData()
    field.SetDimensions(2, 2, 2)
    field.SetSpacing(100.0, 100.0, 100.0)
    field.AllocateScalars(vtk.VTK_DOUBLE, 3)
    for number in range(3):
        field.GetPointData().GetScalars().FillComponent(number, 0.0)
    field.SetScalarComponentFromDouble(1, 1, 1, 2, 30.0)
    way.SetDisplacementGridData(field)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    transform.SetAndObserveTransformFromParent(way)
    return transform


def test_a_new_case_under_a_transform_that_bends_is_stored_as_acquired_and_the_user_is_told(
    cases: Any, folder: Path
):
    volume = volumeNodeFromVolume(scan(20), "scan")
    volume.SetAndObserveTransformNodeID(bend().GetID())
    segmentation = segmentationFromLabels(label().array, GRID, TABLE, "mine", volume)
    accepted = cases.accept(segmentation, caseName="case_001").wait()
    image = read_volume(open_cases(folder).find("case_001").channels[0].path)
    assert np.array_equal(image.array, scan(20).array)
    assert np.array_equal(read_volume(accepted.path).array, label().array)
    assert image.geometry.same_grid(GRID)
    assert accepted.notes == ("scan has a transform: the case has image and label as acquired, without it.",)


def test_channels_that_transforms_move_against_each_other_are_no_new_case(
    logic: SegmentLogic, tmp_path: Path
):
    """They lie on one grid, but show other anatomy at the same voxel than the user sees."""
    create_cases(tmp_path / "two", TABLE, ["T1", "T2"])
    logic.cases.open(tmp_path / "two").wait()
    t1, t2 = volumeNodeFromVolume(scan(1), "t1"), volumeNodeFromVolume(scan(2), "t2")
    segmentation = segmentationFromLabels(label().array, GRID, TABLE, "mine", t1)
    transform = oneRow(t1).GetID()
    t2.SetAndObserveTransformNodeID(transform)
    with pytest.raises(InputError, match="t1 and t2 have different transforms"):
        logic.cases.accept(segmentation, caseName="case_001", channels=[t2])
    for node in (t1, segmentation):
        node.SetAndObserveTransformNodeID(transform)
    assert logic.cases.accept(segmentation, caseName="case_001", channels=[t2]).wait().created


# ------------------------------------------------------------------------------------------------ faults


def assertNothingIsLost(cases: Any, copy: Any, folder: Path, case: str = "wrong") -> None:
    assert slicer.mrmlScene.IsNodePresent(copy)
    assert cases.hasUnsavedCorrection(correctedVolume(copy))
    assert not (folder / "labelsTr" / f"{case}.nii.gz").exists()


def correctedVolume(copy: Any) -> Any:
    return copy.GetNodeReference(copy.GetReferenceImageGeometryReferenceRole())


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_worker_that_is_killed_while_it_writes_loses_nothing(
    cases: Any, folder: Path, files: Worker, waitUntil: Any
):
    copy = correct(cases.load("wrong").wait().volume)
    edit(copy)
    os.kill(files.pid, signal.SIGSTOP)  # it must not be faster than the kill
    task = cases.accept()
    waitUntil(files.isBusy)
    os.kill(files.pid, signal.SIGKILL)
    with pytest.raises(CasesError, match=r"was not accepted.*killed.*Nothing is lost"):
        task.wait()
    assertNothingIsLost(cases, copy, folder)
    assert cases.accept().wait().revision == 1
    assert not cases.hasUnsavedCorrection()


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_loses_nothing(scene: Any, folder: Path, compute: Any, waitUntil: Any):
    command = [*engineCommand("worker")]
    limited = ["sh", "-c", f"ulimit -f 4; exec {' '.join(command)}"]
    files = Worker("files", command=limited)
    logic = SegmentLogic(files=files, compute=compute)
    try:
        logic.cases.open(folder)
        settled(logic.cases, waitUntil)
        volume = volumeNodeFromVolume(scan(30, BIG), "scan")
        copy = segmentationFromLabels(noise(BIG), BIG, TABLE, "mine", volume)
        setCorrected(volume, copy)
        before = open_cases(folder).labelled
        task = logic.cases.accept(volume, caseName="case_001")
        with pytest.raises(CasesError, match=r"was not accepted.*Nothing is lost"):
            task.wait()
        assertNothingIsLost(logic.cases, copy, folder, "case_001")
        assert open_cases(folder).labelled == before
    finally:
        logic.shutDown()


BIG = Geometry((40, 64, 64), (3.0, 1.0, 1.5), (0.0, 0.0, 0.0))


def noise(grid: Geometry) -> Any:
    """Labels that no compressor makes small."""
    return np.random.default_rng(0).choice(np.array([0, LIVER, SPLEEN], np.uint8), grid.shape)


def test_a_folder_that_vanishes_before_accepting_loses_nothing(cases: Any, folder: Path):
    copy = correct(cases.load("wrong").wait().volume)
    edit(copy)
    shutil.rmtree(folder)
    with pytest.raises(CasesError, match=r"was not accepted.*Nothing is lost"):
        cases.accept().wait()
    assertNothingIsLost(cases, copy, folder)


def test_a_scene_that_closes_while_the_label_is_written_loses_nothing(
    cases: Any, logic: SegmentLogic, folder: Path
):
    edit(correct(cases.load("wrong").wait().volume))
    task = cases.accept()
    slicer.mrmlScene.Clear()
    logic.sceneClosed()
    accepted = task.wait()
    expected = label(2).array.copy()
    expected[0, :2, :4] = SPLEEN
    assert np.array_equal(read_volume(accepted.path).array, expected)


def test_shutting_down_lets_a_label_arrive(
    scene: Any, folder: Path, compute: Any, kept: Path, waitUntil: Any
):
    logic = SegmentLogic(files=Worker("files"), compute=compute)
    logic.cases.open(folder)
    settled(logic.cases, waitUntil)
    edit(correct(logic.cases.load("wrong").wait().volume))
    task = logic.cases.accept()
    logic.shutDown()
    assert task.state == "done"
    assert (folder / "labelsTr" / "wrong.nii.gz").is_file()
    assert not kept.exists() or not list(kept.iterdir())


def corrected() -> Any:
    """The label of the case "wrong" with the edit of these tests."""
    expected = label(2).array.copy()
    expected[0, :2, :4] = SPLEEN
    return expected


def readKept(folder: Path) -> Any:
    """Load the one label that was kept, as a user does: by Slicer."""
    (path,) = folder.iterdir()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


def valuesKept(folder: Path) -> Any:
    """The values of the one label that was kept, beside the case's image."""
    return labelsFromSegmentation(readKept(folder), TABLE, volumeNodeFromVolume(scan(2), "image")).array


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_label_whose_scene_is_closed_and_that_cannot_be_written_is_kept_in_a_file(
    cases: Any, logic: SegmentLogic, files: Worker, kept: Path, waitUntil: Any
):
    edit(correct(cases.load("wrong").wait().volume))
    os.kill(files.pid, signal.SIGSTOP)
    task = cases.accept()
    waitUntil(files.isBusy)
    slicer.mrmlScene.Clear()
    logic.sceneClosed()
    os.kill(files.pid, signal.SIGKILL)
    with pytest.raises(CasesError, match=r"scene is closed.*not lost: it is kept as .*killed") as failure:
        task.wait()
    assert str(next(kept.iterdir())) in str(failure.value)
    assert np.array_equal(valuesKept(kept), corrected())


def test_a_kept_label_is_accepted_by_the_way_that_the_message_tells(cases: Any, folder: Path, kept: Path):
    edit(correct(cases.load("wrong").wait().volume))
    segmentation, volume = cases.acceptable()
    label_rescue.keepLabel(snapshotOf(segmentation, volume), "wrong")
    slicer.mrmlScene.Clear()
    cases.sceneClosed()
    copy = correct(cases.load("wrong").wait().volume).GetSegmentation()
    copy.RemoveAllSegments()
    file = readKept(kept).GetSegmentation()
    for number in reversed(range(file.GetNumberOfSegments())):  # as dragging in the module Data does
        assert copy.CopySegmentFromSegmentation(file, file.GetNthSegmentID(number), True)
    accepted = cases.accept().wait()
    assert np.array_equal(read_volume(accepted.path).array, corrected())
    assert revisions(folder)["wrong"][-1].edits_voxels == 8


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_label_that_cannot_be_written_before_slicer_closes_is_kept_and_told_at_the_next_start(
    scene: Any, folder: Path, compute: Any, kept: Path, waitUntil: Any
):
    logic = SegmentLogic(files=Worker("files"), compute=compute)
    logic.cases.open(folder)
    settled(logic.cases, waitUntil)
    edit(correct(logic.cases.load("wrong").wait().volume))
    pid = logic.files.pid
    os.kill(pid, signal.SIGSTOP)  # a network disk that does not answer looks like this
    task = logic.cases.accept()
    began = time.monotonic()
    logic.shutDown()
    assert time.monotonic() - began < 5
    assert task.state in {"failed", "cancelled"}
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert np.array_equal(valuesKept(kept), corrected())
    next_ = SegmentLogic(files=StandInWorker(), compute=compute)
    assert str(next(kept.iterdir())) in next_.cases.keptLabel()
    assert not next_.cases.keptLabel()


def test_the_gui_never_stands_still_while_a_large_case_is_loaded_and_accepted(
    cases: Any, folder: Path, heartbeat: Any, waitUntil: Any
):
    grid = Geometry((40, 256, 256), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    volume = volumeNodeFromVolume(scan(40, grid), "large")
    segmentation = segmentationFromLabels(noise(grid), grid, TABLE, "mine", volume)
    done: list[Any] = []
    with heartbeat() as beat:
        cases.accept(segmentation, caseName="large", onFinished=done.append)
        waitUntil(lambda: len(done) == 1 and not cases.isReading, 60)
        cases.load("large", onFinished=done.append)
        waitUntil(lambda: len(done) == 2, 60)
    assert beat.longest < beat.limit


def test_nothing_of_a_case_stays_in_the_temporary_folder(cases: Any, waitUntil: Any):
    from CRGLoCoSegmentLib.background.session import sessionFolder

    folders = lambda: {item.name for item in sessionFolder().iterdir() if item.is_dir()}  # noqa: E731
    before = folders()
    cases.load("wrong").wait()
    cases.accept().wait()
    waitUntil(lambda: folders() <= before)


def test_a_batch_goes_on_though_the_scene_is_closed(
    cases: Any, logic: SegmentLogic, compute: StandInWorker, scene: Any
):
    task = cases.predictAll(names=("new_1", "new_2"))
    slicer.mrmlScene.Clear()
    logic.sceneClosed()
    for number in range(2):
        request = compute.of("predict")[number]
        request.answer(cases=[{"case": request.fields["case"], "kept": False}], failed=0)
    assert task.state == "done"


@pytest.mark.slow
def test_the_real_worker_predicts_a_folder_keeps_what_it_has_done_and_gives_it_to_the_scene(
    scene: Any, files: Worker, folder: Path, waitUntil: Any
):
    shutil.rmtree(folder / "predictions")
    logic = SegmentLogic(files=files, compute=Worker("compute"))
    labels = logic.models.card().labels
    own = folder.parent / "own"
    logic.cases.create(own).wait()
    for seed in (1, 2):
        volume = volumeNodeFromVolume(scan(seed, BIG), "scan")
        segmentation = segmentationFromLabels(np.zeros(BIG.shape, np.uint8), BIG, labels, "none", volume)
        logic.cases.accept(segmentation, caseName=f"case_{seed:03d}").wait()
        settled(logic.cases, waitUntil)
    for path in (own / "labelsTr").glob("*.nii.gz"):
        path.unlink()
    logic.cases.refresh()
    settled(logic.cases, waitUntil)
    try:
        task = logic.cases.predictAll(quality="fast")
        outcome = task.wait()
        assert outcome.failed == {}
        assert outcome.predicted == ("case_001", "case_002")
        assert logic.cases.predictAll(quality="fast").wait().kept == ("case_001", "case_002")
        loaded = logic.cases.loadNext().wait()
        assert loaded.result.table == labels
        assert loaded.result.record["quality"] == "fast"
        best = max(logic.cases.rows, key=lambda row: row.expectedCorrectionMl)
        assert loaded.name == best.name
    finally:
        logic.compute.end()
