import pytest
import slicer

from CRGLoCoSegmentLib.nodes.label_tables import markOf, tableOf
from grids import OBLIQUE, TABLE, labels, segmentationFromLabels, volumeNode


@pytest.fixture
def segmentation(scene):
    return segmentationFromLabels(labels(), OBLIQUE, TABLE, "s", volumeNode())


def test_segments_have_names_colours_and_terminology_of_the_table(segmentation):
    for label in TABLE.labels:
        segment = segmentation.GetSegmentation().GetSegment(f"label_{label.value}")
        assert segment.GetName() == label.name
        assert tuple(round(part * 255) for part in segment.GetColor()) == label.colour
        if label.terminology:
            assert segment.GetTerminology() == label.terminology


def test_slicer_understands_the_terminology_of_a_segment(segmentation):
    entry = slicer.vtkSlicerTerminologyEntry()
    text = segmentation.GetSegmentation().GetSegment("label_7").GetTerminology()
    assert slicer.vtkSlicerTerminologiesModuleLogic.DeserializeTerminologyEntry(text, entry)
    assert entry.GetTypeObject().GetCodeMeaning() == "Kidney"
    assert entry.GetTypeModifierObject().GetCodeMeaning() == "Right"


def test_the_table_of_a_segmentation_is_remembered(segmentation):
    assert tableOf(segmentation) == TABLE


def test_a_foreign_or_damaged_segmentation_has_no_table(scene, segmentation):
    assert tableOf(scene.AddNewNodeByClass("vtkMRMLSegmentationNode")) is None
    for text in ("no json", "[]", '[{"value": 1}]'):
        segmentation.SetAttribute("CRGLoCoSegment.labels", text)
        assert tableOf(segmentation) is None


def test_the_mark_of_a_label_survives_the_way_tags_are_stored_in_files():
    assert not {":", "|"} & set(markOf(TABLE.labels[2]))
