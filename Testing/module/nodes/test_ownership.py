"""What is written on a volume is about that volume, and not about the copies that Slicer makes of it."""

import pytest
import slicer

from CRGLoCoSegmentLib.nodes.cases import CHANNEL, caseOf, channelsOf, markCase
from CRGLoCoSegmentLib.nodes.results import correctedOf, importResult, resultOf, setCorrected
from grids import OBLIQUE, TABLE, labels, segmentationFromLabels, volumeNode


def segment(volume, seed):
    answer = {"labels": TABLE.to_json(), "geometry": OBLIQUE.to_json()}
    return importResult(volume, answer, {"fused": labels(seed=seed)})


@pytest.fixture
def original(scene, tmp_path):
    """A case with a result and its correction."""
    made = volumeNode(name="scan")
    segment(made, 1)
    setCorrected(made, segmentationFromLabels(labels(), OBLIQUE, TABLE, "mine", made))
    markCase(made, "case_01", tmp_path)
    return made


@pytest.fixture
def copy(scene, original):
    """As Crop Volume and Mask Volume make their outputs."""
    logic = slicer.vtkSlicerVolumesLogic()
    logic.SetMRMLScene(scene)
    return logic.CloneVolume(scene, original, "scan cropped")


def test_a_copy_of_a_volume_has_neither_its_results_nor_its_case(original, copy, tmp_path):
    assert resultOf(original).corrected is correctedOf(original)
    assert caseOf(original, tmp_path) == "case_01"
    assert (resultOf(copy), correctedOf(copy), caseOf(copy, tmp_path)) == (None, None, None)
    assert channelsOf(copy) == []


def test_a_copy_of_a_case_does_not_take_its_further_channels_along(scene, original):
    original.AddNodeReferenceID(CHANNEL, volumeNode(name="second").GetID())
    logic = slicer.vtkSlicerVolumesLogic()
    logic.SetMRMLScene(scene)
    copy = logic.CloneVolume(scene, original, "scan cropped")
    assert copy.GetNumberOfNodeReferences(CHANNEL) == len(channelsOf(original)) == 1
    assert channelsOf(copy) == []


def test_a_copy_that_is_segmented_has_its_own_answer_and_nobodys_correction(original, copy, tmp_path):
    before = resultOf(original)
    assert segment(copy, 2).corrected is None
    assert resultOf(copy).fused is not before.fused
    assert caseOf(copy, tmp_path) is None
    assert resultOf(original) == before


def test_a_volume_is_known_again_in_a_scene_that_was_added_to_its_own(scene, original, copy, tmp_path):
    scene.SetRootDirectory(str(tmp_path))
    scene.SetURL(str(tmp_path / "scene.mrml"))
    scene.Commit()
    scene.Import()
    found = scene.GetNodesByClass("vtkMRMLScalarVolumeNode")
    added = [found.GetItemAsObject(number) for number in range(found.GetNumberOfItems())][2:]
    assert [node.GetName() for node in added] == ["scan", "scan cropped"]
    assert resultOf(added[0]).corrected is not resultOf(original).corrected
    assert caseOf(added[0], tmp_path) == "case_01"
    assert (resultOf(added[1]), caseOf(added[1], tmp_path)) == (None, None)
