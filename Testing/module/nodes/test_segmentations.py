import time

import numpy as np
import pytest
import slicer
import vtk
from hypothesis import given

from crgloco.errors import GeometryError, LabelError
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import Label, LabelTable
from CRGLoCoSegmentLib.nodes.geometry import arrayOf, imageToWorld
from CRGLoCoSegmentLib.nodes.images import smallestLabels
from CRGLoCoSegmentLib.nodes.segmentations import (
    LABELMAP,
    release,
    releaseAll,
)
from CRGLoCoSegmentLib.nodes.volumes import volumeNodeFromVolume
from grids import (
    OBLIQUE,
    TABLE,
    direction,
    geometries,
    labels,
    patient,
    segmentationFromLabels,
    sharedLabelmap,
    slicersMask,
    volumeNode,
)

LARGE = Geometry((300, 512, 512), (1.0, 0.7, 0.7), (0.0, 0.0, 0.0))


def corners(image, toWorld):
    """World positions (RAS) of the corner voxels of a grid."""
    far = [count - 1 for count in image.GetDimensions()]
    places = [(i, j, k, 1.0) for i in (0, far[0]) for j in (0, far[1]) for k in (0, far[2])]
    return [tuple((toWorld @ np.array(place))[:3]) for place in places]


def inWorld(node, points):
    """Points of a node's own coordinates in the world."""
    way = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(node.GetParentTransformNode(), None, way)
    return np.array([way.TransformPoint(point) for point in points])


@patient
@given(geometry=geometries())
def test_labels_become_segments_at_the_very_place_of_the_volume(scene, hierarchy, geometry):
    volume, values = volumeNode(geometry), labels(geometry)
    node = segmentationFromLabels(values, geometry, TABLE, "s", volume)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    for label in TABLE.labels:
        segment = node.GetSegmentation().GetSegment(f"label_{label.value}")
        image = segment.GetRepresentation(LABELMAP)
        assert np.array_equal(imageToWorld(image), arrayOf(matrix))
        assert image.GetDimensions() == volume.GetImageData().GetDimensions()
        seen = slicersMask(scene, node, f"label_{label.value}", volume)  # Slicer's own export agrees
        assert np.array_equal(seen, values == label.value)


def test_all_segments_share_one_labelmap(scene):
    node = segmentationFromLabels(labels(), OBLIQUE, TABLE, "s", volumeNode())
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    assert node.GetSegmentation().GetNumberOfSegments() == len(TABLE.labels)


def test_an_empty_label_has_its_segment_too(scene):
    node = segmentationFromLabels(np.zeros(OBLIQUE.shape, np.uint8), OBLIQUE, TABLE, "s", volumeNode())
    assert node.GetSegmentation().GetSegmentIDs() == ("label_1", "label_3", "label_7")


def test_the_volume_is_the_reference_of_the_segmentation(scene):
    volume = volumeNode()
    node = segmentationFromLabels(labels(), OBLIQUE, TABLE, "s", volume)
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
    converter = slicer.vtkSegmentationConverter
    text = node.GetSegmentation().GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
    image = slicer.vtkOrientedImageData()
    assert converter.DeserializeImageGeometry(text, image, False)
    own = node.GetSegmentation().GetNthSegment(0).GetRepresentation(LABELMAP)
    assert slicer.vtkOrientedImageDataResample.DoGeometriesMatch(image, own)


def test_a_segmentation_lies_in_the_study_of_its_volume(scene, hierarchy):
    volume = volumeNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    node = segmentationFromLabels(labels(), OBLIQUE, TABLE, "s", volume)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def linearTransform(scene):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([0.8, -0.6, 0, 33, 0.6, 0.8, 0, -12, 0, 0, 1, 5.5, 0, 0, 0, 1])
    node.SetMatrixTransformToParent(matrix)
    return node


def bendingTransform(scene):
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    bend = vtk.vtkThinPlateSplineTransform()
    here, there = vtk.vtkPoints(), vtk.vtkPoints()
    for point in [(0, 0, 0), (100, 0, 0), (0, 100, 0), (0, 0, 100), (50, 50, 300)]:
        here.InsertNextPoint(point)
        there.InsertNextPoint(point[0] + point[1] / 9, point[1] - 3, point[2] + point[0] / 7)
    bend.SetSourceLandmarks(here)
    bend.SetTargetLandmarks(there)
    bend.SetBasisToR()
    node.SetAndObserveTransformToParent(bend)
    return node


@pytest.mark.parametrize("transform", [linearTransform, bendingTransform])
def test_under_a_transform_every_voxel_stays_where_the_volume_shows_it(scene, transform):
    volume = volumeNode()
    moved = transform(scene)
    volume.SetAndObserveTransformNodeID(moved.GetID())
    values = labels()
    node = segmentationFromLabels(values, OBLIQUE, TABLE, "s", volume)
    assert node.GetParentTransformNode() is moved
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image = node.GetSegmentation().GetNthSegment(0).GetRepresentation(LABELMAP)
    ours = inWorld(node, corners(image, imageToWorld(image)))
    theirs = inWorld(volume, corners(volume.GetImageData(), arrayOf(matrix)))
    assert np.array_equal(ours, theirs)
    assert np.array_equal(sharedLabelmap(node), values), "resampled"


@pytest.mark.parametrize(
    "other",
    [
        Geometry((6, 9, 10), OBLIQUE.spacing, OBLIQUE.origin, OBLIQUE.direction),
        Geometry(OBLIQUE.shape, OBLIQUE.spacing, (12.6, -87.25, 310.1), OBLIQUE.direction),
        Geometry(OBLIQUE.shape, (3.3, 0.71, 0.7), OBLIQUE.origin, OBLIQUE.direction),
        Geometry(OBLIQUE.shape, OBLIQUE.spacing, OBLIQUE.origin, direction((13, -21, 38))),
    ],
)
def test_labels_of_another_grid_are_refused_rather_than_shifted(scene, other):
    volume = volumeNode()
    before = scene.GetNumberOfNodes()
    with pytest.raises(GeometryError, match="different grids"):
        segmentationFromLabels(np.zeros(other.shape, np.uint8), other, TABLE, "s", volume)
    assert scene.GetNumberOfNodes() == before


def test_an_array_that_does_not_fit_its_own_geometry_is_refused(scene):
    with pytest.raises(GeometryError):
        segmentationFromLabels(np.zeros((9, 6, 11), np.uint8), OBLIQUE, TABLE, "s", volumeNode())


@pytest.mark.parametrize("value", [8, 200])
def test_a_value_outside_the_table_is_refused_with_the_table(scene, value):
    values = labels()
    values[2, 3, 4] = value
    with pytest.raises(LabelError, match=rf"value {value}.*1 liver, 3 spleen"):
        segmentationFromLabels(values, OBLIQUE, TABLE, "s", volumeNode())


@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, 70000.0])
def test_numbers_that_are_no_label_values_are_refused(scene, value):
    values = labels().astype(np.float64)
    values[0, 0, 0] = value
    with pytest.raises(LabelError):
        segmentationFromLabels(values, OBLIQUE, TABLE, "s", volumeNode())


@pytest.mark.parametrize(
    "kind", ["int8", "int16", "int32", "int64", "uint16", "uint64", "float32", "float64"]
)
def test_labels_of_any_whole_numbers_are_shown(scene, kind):
    node = segmentationFromLabels(labels().astype(kind), OBLIQUE, TABLE, "s", volumeNode())
    assert sharedLabelmap(node).dtype == np.uint8
    assert np.array_equal(sharedLabelmap(node), labels())


def test_values_above_255_are_kept(scene, hierarchy):
    table = LabelTable((Label(300, "a"), Label(65535, "b")))
    values = np.zeros(OBLIQUE.shape, np.uint16)
    values[1], values[2] = 300, 65535
    volume = volumeNode()
    node = segmentationFromLabels(values, OBLIQUE, table, "s", volume)
    assert np.array_equal(sharedLabelmap(node), values)
    assert np.array_equal(slicersMask(scene, node, "label_300", volume), values == 300)


def test_the_memory_of_the_array_is_taken_over(scene):
    values = labels()
    node = segmentationFromLabels(values, OBLIQUE, TABLE, "s", volumeNode(), copy=False)
    values[...] = 0
    assert not sharedLabelmap(node).any()


def test_memory_that_was_handed_over_lives_as_long_as_the_node(scene):
    volume = volumeNode()
    values = labels()
    expected = values.copy()
    node = segmentationFromLabels(values, OBLIQUE, TABLE, "s", volume, copy=False)
    identifier = node.GetID()
    del values, node, volume
    rubbish = [np.full(OBLIQUE.shape, 9, np.uint8) for _ in range(200)]
    assert np.array_equal(sharedLabelmap(scene.GetNodeByID(identifier)), expected)
    del rubbish


def test_memory_that_may_not_be_written_is_copied_because_editing_writes_in_place(scene):
    values = labels()
    values.flags.writeable = False
    node = segmentationFromLabels(values, OBLIQUE, TABLE, "s", volumeNode(), copy=False)
    sharedLabelmap(node)[...] = 0
    assert values.any()


def test_names_are_unique(scene):
    volume = volumeNode()
    names = {segmentationFromLabels(labels(), OBLIQUE, TABLE, "s", volume).GetName() for _ in range(3)}
    assert len(names) == 3


@pytest.mark.parametrize(("shape", "milliseconds"), [((40, 256, 256), 100), (LARGE.shape, 250)])
def test_importing_is_fast(scene, shape, milliseconds):
    geometry = Geometry(shape, LARGE.spacing, LARGE.origin)
    volume = volumeNodeFromVolume(Volume(np.zeros(shape, np.uint8), geometry), "v")
    values = np.zeros(shape, np.uint8)
    values[10:20, 50:150, 50:150] = 3
    table = LabelTable(tuple(Label(value, f"organ {value}") for value in range(1, 15)))
    spent = []
    for _ in range(3):  # the machine may be shared: the best of three
        start = time.thread_time()
        node = segmentationFromLabels(values, geometry, table, "s", volume, copy=False)
        spent.append(time.thread_time() - start)
        release(node)
    assert min(spent) * 1000 < milliseconds


def test_a_large_segmentation_is_removed_at_once_after_its_voxels_were_let_go(scene):
    volume = volumeNodeFromVolume(
        Volume(np.zeros((100, 256, 256), np.uint8), Geometry((100, 256, 256), (1, 1, 1), (0, 0, 0))), "v"
    )
    table = LabelTable(tuple(Label(value, f"organ {value}") for value in range(1, 15)))
    values = np.zeros((100, 256, 256), np.uint8)
    node = segmentationFromLabels(values, Geometry(values.shape, (1, 1, 1), (0, 0, 0)), table, "s", volume)
    start = time.thread_time()  # what a busy computer takes away meanwhile is not ours
    release(node)
    scene.RemoveNode(node)
    assert time.thread_time() - start < 0.1


def test_what_is_let_go_keeps_no_surface_that_views_would_turn_into_voxels_again(scene):
    node = segmentationFromLabels(labels(), OBLIQUE, TABLE, "s", volumeNode())
    assert node.CreateClosedSurfaceRepresentation()
    release(node)
    segmentation = node.GetSegmentation()
    segments = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
    assert not any(
        segment.GetRepresentation(name) for segment in segments for name in (LABELMAP, "Closed surface")
    )


def test_letting_go_of_all_spares_what_an_editor_holds_and_what_others_made(scene):
    volume = volumeNode()
    ours, held, foreign = (
        segmentationFromLabels(labels(), OBLIQUE, TABLE, name, volume) for name in ("ours", "held", "foreign")
    )
    foreign.SetAttribute("CRGLoCoSegment.labels", None)
    scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode").SetAndObserveSegmentationNode(held)
    releaseAll(scene)
    assert not ours.GetSegmentation().ContainsRepresentation(LABELMAP)
    for node in (held, foreign):
        assert np.array_equal(sharedLabelmap(node), labels())


def test_voxels_bear_the_name_by_which_slicers_dicom_seg_export_finds_them(scene):
    node = segmentationFromLabels(labels(OBLIQUE), OBLIQUE, TABLE, "answer", volumeNode(OBLIQUE))
    segmentation = node.GetSegmentation()
    for name in segmentation.GetSegmentIDs():
        image = segmentation.GetSegment(name).GetRepresentation(LABELMAP)
        assert image.GetPointData().GetArray("ImageScalars") is not None


def test_labels_of_one_byte_are_not_looked_through_to_be_made_smaller():
    class Unread(np.ndarray):
        def max(self, *_axes, **_how):
            pytest.fail("it was read")

    values = np.zeros((2, 3, 4), np.uint8).view(Unread)
    assert smallestLabels(values) is values
