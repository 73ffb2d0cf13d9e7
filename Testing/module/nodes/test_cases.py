"""A case as nodes: made whole or not at all, known again, taken away without remains; no Qt."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer

from crgloco.errors import CRGLoCoError
from CRGLoCoSegmentLib.nodes.cases import (
    caseOf,
    channelNamesOf,
    channelsOf,
    editStamp,
    isInScene,
    lookedAt,
    makeCaseNodes,
    markCase,
    nodesOf,
    removeNodes,
    showVolume,
    volumesOfCase,
)
from CRGLoCoSegmentLib.nodes.corrections import differ
from CRGLoCoSegmentLib.nodes.geometry import ijkToRas
from CRGLoCoSegmentLib.nodes.images import arrayOfImage
from CRGLoCoSegmentLib.nodes.results import correctedOf, resultOf
from CRGLoCoSegmentLib.nodes.volumes import volumeFromNode, windowOf
from grids import OBLIQUE, TABLE, labels, segmentationFromLabels, volumeNode

FOLDER = Path("/data/cases")


def arrays(**more: Any) -> dict[str, Any]:
    image = np.random.default_rng(0).normal(100, 20, OBLIQUE.shape)
    return {"image_0": image.astype(np.float32), **more}


def predicted() -> dict[str, Any]:
    shares = np.full(OBLIQUE.shape, 128, np.uint8)
    return {"fused": labels(seed=1), "global": labels(seed=2), "local": labels(seed=3), "confidence": shares}


def answer(**more: Any) -> dict[str, Any]:
    return {"labels": TABLE.to_json(), "geometry": OBLIQUE.to_json(), "record": None, **more}


def made(found: dict[str, Any], **more: Any) -> Any:
    return makeCaseNodes("case_007", FOLDER, answer(**more), lookedAt(found))


def test_image_result_and_label_come_in_together(scene: Any):
    case = made(arrays(label=labels(seed=4), **predicted()), record={"model": "abc", "regions": []})
    (volume,) = case.volumes
    assert np.array_equal(volumeFromNode(volume).array, arrays()["image_0"])
    assert volumeFromNode(volume).geometry == OBLIQUE
    assert case.result.record["model"] == "abc"
    assert correctedOf(volume) is case.corrected
    assert resultOf(volume).corrected is case.corrected


def test_a_volume_that_knows_no_channel_is_one_that_no_other_is(scene: Any):
    first, second = made({**arrays(), "image_1": arrays()["image_0"]}, channel_names=["T1", "T2"]).volumes
    other, wanted = volumeNode(), ("T1", "T2", "FLAIR")
    assert channelNamesOf((first, other, second), wanted) == ("T1", "FLAIR", "T2")
    assert channelNamesOf((other, first, None), wanted) == ("T2", "T1", "FLAIR")
    assert channelNamesOf((None, other), ("T1", "T2")) == ("T1", "T2")
    assert channelNamesOf((other, None), ("T1",)) == ("T1", "")


def test_the_window_comes_from_the_thread_and_is_not_looked_for_by_slicer(scene: Any):
    (volume,) = made(arrays()).volumes
    display = volume.GetDisplayNode()
    assert not display.GetAutoWindowLevel()
    low, high = windowOf(arrays()["image_0"])
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == pytest.approx((low, high))


def test_the_window_passes_over_single_bright_voxels():
    array = np.random.default_rng(0).normal(100, 20, (40, 40, 40))
    array[3, 4, 5] = 1e6
    low, high = windowOf(array)
    assert 0 < low < 60
    assert 140 < high < 200


def test_all_channels_come_in_and_only_the_first_is_the_case(scene: Any):
    case = made(arrays(image_1=np.ones(OBLIQUE.shape, np.int64), image_2=np.ones(OBLIQUE.shape, bool)))
    first, *others = case.volumes
    assert [node.GetName() for node in case.volumes] == ["case_007", "case_007 1", "case_007 2"]
    assert channelsOf(first) == others
    assert volumesOfCase("case_007", FOLDER) == [first]
    removeNodes(nodesOf(first))
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_a_case_with_a_label_outside_of_the_table_leaves_nothing_in_the_scene(scene: Any):
    before = scene.GetNumberOfNodes()
    with pytest.raises(CRGLoCoError, match="99"):
        made(arrays(label=np.full(OBLIQUE.shape, 99, np.uint8), **predicted()), record={"regions": []})
    colours = scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")
    assert scene.GetNumberOfNodes() <= before + colours
    assert scene.GetNumberOfNodesByClass("vtkMRMLDisplayableNode") == 0


def test_a_volume_is_known_by_name_and_folder_without_the_folders_path(scene: Any):
    volume = made(arrays()).volumes[0]
    assert caseOf(volume, FOLDER) == "case_007"
    assert caseOf(volume, Path("/data/other")) is None
    assert caseOf(volume, None) is None
    assert caseOf(None, FOLDER) is None
    values = [volume.GetAttribute(name) for name in volume.GetAttributeNames()]
    assert not any("/data" in value for value in values)


def test_taking_a_case_away_leaves_what_the_user_made_beside(scene: Any):
    volume = made(arrays(**predicted()), record={"regions": []}).volumes[0]
    beside = segmentationFromLabels(labels(), OBLIQUE, TABLE, "the user's", volume)
    removeNodes(nodesOf(volume))
    assert isInScene(beside)
    assert not isInScene(volume)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLVolumeDisplayNode") == 0


def test_a_stamp_changes_with_edits_and_not_with_names_or_colours(scene: Any):
    segmentation = made(arrays(label=labels())).corrected
    before = editStamp(segmentation)
    segment = segmentation.GetSegmentation().GetNthSegment(0)
    segment.SetName("renamed")
    segment.SetColor(1, 0, 0)
    assert editStamp(segmentation) == before
    image = segment.GetRepresentation("Binary labelmap")
    arrayOfImage(image)[0, 0, 0] = segment.GetLabelValue()
    image.Modified()
    assert editStamp(segmentation) != before


def test_a_segment_that_is_added_or_removed_changes_the_stamp(scene: Any):
    segmentation = made(arrays(label=labels())).corrected
    before = editStamp(segmentation)
    segmentation.GetSegmentation().AddEmptySegment("more")
    between = editStamp(segmentation)
    assert between != before
    segmentation.GetSegmentation().RemoveSegment("more")
    assert editStamp(segmentation) != between


def test_two_segmentations_differ_by_a_single_voxel(scene: Any):
    volume = made(arrays()).volumes[0]
    first, second = (segmentationFromLabels(labels(), OBLIQUE, TABLE, name, volume) for name in "ab")
    assert not differ(first, second)
    segment = second.GetSegmentation().GetNthSegment(0)
    image = arrayOfImage(segment.GetRepresentation("Binary labelmap"))
    image[0, 0, 0] = segment.GetLabelValue() if image[0, 0, 0] == 0 else 0
    assert differ(first, second)


def test_two_segmentations_of_the_same_voxels_at_other_places_differ(scene: Any):
    volume = made(arrays()).volumes[0]
    first, second = (segmentationFromLabels(labels(), OBLIQUE, TABLE, name, volume) for name in "ab")
    image = second.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    image.SetOrigin(ijkToRas(OBLIQUE)[:3] @ (1, 0, 0, 1))  # as a hardened transform moves it by a voxel
    assert differ(first, second)


def test_a_volume_of_no_scene_is_in_no_scene(scene: Any):
    alone = slicer.vtkMRMLScalarVolumeNode()
    markCase(alone, "case_001", FOLDER)
    assert not isInScene(alone)
    assert not isInScene(None)
    removeNodes([alone])


def test_showing_a_volume_without_an_application_does_nothing(scene: Any):
    showVolume(made(arrays()).volumes[0])
