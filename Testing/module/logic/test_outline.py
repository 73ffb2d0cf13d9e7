"""The outline of the disagreement: compared in a thread, made into a node only when that is still wanted."""

import logging
import time

import numpy as np
import pytest

from CRGLoCoSegmentLib.logic.outline import outlineInThread
from CRGLoCoSegmentLib.nodes.segmentations import sharedLabelmap
from phantom_results import makeResult


class Clock:
    """A ticker that the test turns by hand."""

    def start(self, _milliseconds, callback):
        self.callback = callback

    def stop(self):
        self.callback = None

    def turnUntilStopped(self):
        end = time.monotonic() + 10
        while self.callback is not None and time.monotonic() < end:
            self.callback()
            time.sleep(0.001)


@pytest.fixture
def result(scene):
    return makeResult()


def test_the_node_is_made_of_what_the_thread_found_and_not_before_it_is_asked_for(scene, result):
    found, clock = [], Clock()
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    outlineInThread(result, found.append, ticker=clock)
    clock.turnUntilStopped()
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == count
    node = found[0]()
    differs = sharedLabelmap(result.global_) != sharedLabelmap(result.local)
    assert differs.any()
    assert np.array_equal(sharedLabelmap(node), differs)


def test_answers_that_somebody_has_painted_into_are_compared_as_they_are(result):
    differs = sharedLabelmap(result.global_) != sharedLabelmap(result.local)
    segmentation = result.global_.GetSegmentation()
    segmentation.SeparateSegmentLabelmap("label_1")  # as the Segment Editor does where segments overlap
    segmentation.SetSegmentIndex("label_2", 0)
    result.local.GetSegmentation().RemoveSegment("label_1")
    found, clock = [], Clock()
    outlineInThread(result, found.append, ticker=clock)
    clock.turnUntilStopped()
    differs[:, 10:30, 25:35] = False  # where the local answer was
    assert differs.any()
    assert np.array_equal(sharedLabelmap(found[0]()), differs)


def test_an_answer_of_surfaces_alone_leaves_a_line_in_the_log_only(result, caplog):
    result.global_.CreateClosedSurfaceRepresentation()
    result.global_.GetSegmentation().SetSourceRepresentationName("Closed surface")
    result.global_.RemoveBinaryLabelmapRepresentation()
    with caplog.at_level(logging.ERROR, "CRGLoCoSegment"):
        outlineInThread(result, lambda _make: pytest.fail("nothing was found"), ticker=Clock())
    assert "could not be outlined" in caplog.text
