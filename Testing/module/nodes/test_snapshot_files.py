"""A snapshot's file, read by Slicer's own reader."""

import numpy as np
import pytest
import slicer

from crgloco.errors import ResourceError
from CRGLoCoSegmentLib.nodes.export import labelsOf
from CRGLoCoSegmentLib.nodes.snapshot_files import writeSnapshot
from CRGLoCoSegmentLib.nodes.snapshots import Layer, SegmentCopy, Snapshot, snapshotOf
from grids import OBLIQUE, TABLE, labels, segmentationFromLabels, volumeNode


@pytest.fixture
def volume(scene):
    return volumeNode()


def reloaded(path, volume):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return node


def test_slicer_reads_every_voxel_name_and_meaning_again(volume, tmp_path):
    before = snapshotOf(segmentationFromLabels(labels(), OBLIQUE, TABLE, "mine", volume), volume)
    node = reloaded(writeSnapshot(before, tmp_path / "kept.seg.nrrd"), volume)
    after = snapshotOf(node, volume)
    found = labelsOf(after, TABLE, onNote=pytest.fail)
    assert np.array_equal(found.array, labels())
    kept = [(segment.id, segment.name, segment.terminology, segment.mark) for segment in after.segments]
    assert kept == [(s.id, s.name, s.terminology, s.mark) for s in before.segments]
    assert [item.name for item in tmp_path.iterdir()] == ["kept.seg.nrrd"]


def test_segments_that_overlap_or_reach_beyond_the_volume_are_kept_whole(volume, tmp_path):
    shape = OBLIQUE.shape
    inside, beyond = np.ones(shape, np.uint8), np.full((2, 3, 4), 300, np.uint16)
    segments = (
        SegmentCopy("a", "all of it", "", "", 0, 1),
        SegmentCopy("b", "beyond", "", "", 1, 300),
        SegmentCopy("c", "empty", "", "", None, 1),
    )
    layers = (Layer(inside, (0, 0, 0)), Layer(beyond, (-1, shape[1] - 1, 0)))
    before = Snapshot("mine", OBLIQUE, segments, layers)
    after = snapshotOf(reloaded(writeSnapshot(before, tmp_path / "kept.seg.nrrd"), volume), volume)
    found = {segment.id: segment for segment in after.segments}
    assert after.voxelsOf(found["a"]) == inside.size
    assert after.voxelsOf(found["b"]) == beyond.size
    assert after.voxelsOf(found["c"]) == 0  # its value is that of "a", in whose layer it is none
    places = np.argwhere(after.maskOf(found["b"])) + after.layers[found["b"].layer].first
    assert places.min(axis=0).tolist() == [-1, shape[1] - 1, 0]
    assert places.max(axis=0).tolist() == [0, shape[1] + 1, 3]


def test_a_folder_that_cannot_be_written_is_told_in_words(volume, tmp_path):
    snapshot = snapshotOf(segmentationFromLabels(labels(), OBLIQUE, TABLE, "mine", volume), volume)
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ResourceError, match=r"kept\.seg\.nrrd cannot be written: a file has the name of its folder"
    ):
        writeSnapshot(snapshot, tmp_path / "file" / "kept.seg.nrrd")
