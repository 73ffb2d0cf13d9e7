"""The outline of the disagreement: compared in a thread, made into a node only when that is still wanted."""

import logging

import numpy as np
import pytest

from CRGLoCoSegmentLib.background.ticker import waitUntil
from CRGLoCoSegmentLib.logic.outline import outlineInThread
from grids import disagreementOf, sharedLabelmap
from phantom_results import makeResult


@pytest.fixture
def result(scene):
    return makeResult()


def test_the_node_is_made_of_what_the_thread_found_and_not_before_it_is_asked_for(scene, result):
    found = []
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    outlineInThread(result, found.append)
    assert waitUntil(lambda: bool(found), 10)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == count
    node = found[0]()
    differs = disagreementOf(result)
    assert differs.any()
    assert np.array_equal(sharedLabelmap(node), differs)


def test_answers_that_somebody_has_painted_into_are_compared_as_they_are(result):
    differs = disagreementOf(result)
    segmentation = result.global_.GetSegmentation()
    segmentation.SeparateSegmentLabelmap("label_1")  # as the Segment Editor does where segments overlap
    segmentation.SetSegmentIndex("label_2", 0)
    result.local.GetSegmentation().RemoveSegment("label_1")
    found = []
    outlineInThread(result, found.append)
    assert waitUntil(lambda: bool(found), 10)
    differs[:, 10:30, 25:35] = False  # where the local answer was
    assert differs.any()
    assert np.array_equal(sharedLabelmap(found[0]()), differs)


def test_an_answer_of_surfaces_alone_leaves_a_line_in_the_log_only(result, caplog):
    result.global_.CreateClosedSurfaceRepresentation()
    result.global_.GetSegmentation().SetSourceRepresentationName("Closed surface")
    result.global_.RemoveBinaryLabelmapRepresentation()
    with caplog.at_level(logging.ERROR, "CRGLoCoSegment"):
        outlineInThread(result, lambda _make: pytest.fail("nothing was found"))
    assert "could not be outlined" in caplog.text
