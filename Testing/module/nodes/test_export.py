import numpy as np
import pytest
import slicer
import vtk
from hypothesis import given
from hypothesis import strategies as st

from crgloco.errors import GeometryError, InputError, LabelError
from crgloco.io.orientation import Orientation
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import Label, LabelTable
from CRGLoCoSegmentLib.nodes.export import comparableLabels, labelsOf
from CRGLoCoSegmentLib.nodes.geometry import placeImage
from CRGLoCoSegmentLib.nodes.images import imageOfArray
from CRGLoCoSegmentLib.nodes.segmentations import LABELMAP, release
from CRGLoCoSegmentLib.nodes.snapshots import snapshotOf
from grids import (
    OBLIQUE,
    RIGHT_KIDNEY,
    SPLEEN,
    TABLE,
    colorTableNode,
    direction,
    geometries,
    labels,
    labelsFromSegmentation,
    patient,
    segmentationFromLabels,
    sharedLabelmap,
    slicersExport,
    volumeNode,
)


@pytest.fixture
def volume(scene):
    return volumeNode()


@pytest.fixture
def segmentation(volume):
    return segmentationFromLabels(labels(), OBLIQUE, TABLE, "result", volume)


def noNote(text):
    pytest.fail(f"unexpected note: {text}")


def maskImage(mask, geometry, value=1):
    """A labelmap of one segment, as effects of the Segment Editor hand it on."""
    image = imageOfArray(mask.astype(np.uint8) * value, image=slicer.vtkOrientedImageData())
    placeImage(image, geometry)
    return image


def edit(node, segment, mask, mode, geometry=OBLIQUE):
    """Change a segment as the Segment Editor does where segments may not overlap."""
    image, extent = maskImage(mask, geometry), maskImage(mask, geometry).GetExtent()
    others = [identifier for identifier in node.GetSegmentation().GetSegmentIDs() if identifier != segment]
    change = slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment
    assert change(image, node, segment, mode, extent, False, others)


def addSegment(node, name, mask, *, terminology="", geometry=OBLIQUE, identifier=""):
    """Add a segment of its own layer, as users and other modules do."""
    segment = slicer.vtkSegment()
    segment.SetName(name)
    if terminology:
        segment.SetTerminology(terminology)
    segment.AddRepresentation(LABELMAP, maskImage(mask, geometry))
    assert node.GetSegmentation().AddSegment(segment, identifier)


REPLACE = slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE
ADD = slicer.vtkSlicerSegmentationsModuleLogic.MODE_MERGE_MASK


@patient
@given(geometry=geometries())
def test_what_was_imported_is_exported_to_the_last_voxel(scene, geometry):
    volume = volumeNode(geometry)
    node = segmentationFromLabels(labels(geometry), geometry, TABLE, "s", volume)
    back = labelsFromSegmentation(node, TABLE, volume, onNote=noNote)
    assert back.geometry == geometry
    assert np.array_equal(back.array, labels(geometry))


@patient
@given(order=st.permutations(["label_1", "label_3", "label_7"]))
def test_neither_names_nor_order_of_segments_matter(scene, order):
    volume = volumeNode()
    node = segmentationFromLabels(labels(), OBLIQUE, TABLE, "s", volume)
    segmentation = node.GetSegmentation()
    for place, identifier in enumerate(order):
        segmentation.SetSegmentIndex(identifier, place)
        segmentation.GetSegment(identifier).SetName(f"Segment_{place + 1}")
        segmentation.GetSegment(identifier).SetColor(0, 0, 0)
    assert segmentation.GetSegmentIDs() == tuple(order)
    back = labelsFromSegmentation(node, TABLE, volume, onNote=noNote)
    assert np.array_equal(back.array, labels())


def test_slicers_own_export_with_the_colour_table_is_the_same(scene, hierarchy, volume, segmentation):
    segmentation.GetSegmentation().SetSegmentIndex("label_7", 0)
    colors = colorTableNode(TABLE, scene)
    twin = slicersExport(scene, segmentation, volume, colors)
    assert np.array_equal(twin, labelsFromSegmentation(segmentation, TABLE, volume).array)


def test_slicers_own_export_is_the_same_after_edits(scene, hierarchy, volume, segmentation):
    values = labels()
    mask = np.zeros(OBLIQUE.shape, bool)
    mask[1:3, 2:5, 3:8] = True
    edit(segmentation, "label_3", mask, ADD)
    edit(segmentation, "label_1", values == 0, ADD)
    colors = colorTableNode(TABLE, scene)
    twin = slicersExport(scene, segmentation, volume, colors)
    assert np.count_nonzero(twin == 3) >= mask.sum()
    assert np.array_equal(twin, labelsFromSegmentation(segmentation, TABLE, volume, onNote=noNote).array)


def test_a_labelmap_that_slicer_cropped_while_editing_is_put_where_it_belongs(scene, volume, segmentation):
    mask = np.zeros(OBLIQUE.shape, bool)
    mask[4, 7, 9] = True
    for label in TABLE.labels:
        edit(segmentation, f"label_{label.value}", mask if label.value == 3 else mask & False, REPLACE)
    image = segmentation.GetSegmentation().GetSegment("label_3").GetRepresentation(LABELMAP)
    assert image.GetDimensions() != tuple(reversed(OBLIQUE.shape)), "Slicer did not crop: nothing is tested"
    back = labelsFromSegmentation(segmentation, TABLE, volume, onNote=noNote)
    assert np.array_equal(back.array, np.where(mask, 3, 0))


def test_a_segmentation_without_any_voxel_exports_as_background(scene, volume):
    node = segmentationFromLabels(np.zeros(OBLIQUE.shape, np.uint8), OBLIQUE, TABLE, "s", volume)
    assert not labelsFromSegmentation(node, TABLE, volume, onNote=noNote).array.any()


def test_a_segmentation_without_segments_is_not_taken_for_one_that_shows_nothing(scene, volume):
    node = segmentationFromLabels(labels(), OBLIQUE, TABLE, "s", volume)
    node.GetSegmentation().RemoveAllSegments()
    with pytest.raises(InputError, match="'s' has no segments: its file was not found"):
        labelsFromSegmentation(node, TABLE, volume, onNote=noNote)


def test_segments_of_other_modules_are_known_by_terminology_and_then_by_name(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    values = labels()
    addSegment(node, "Milz", values == 3, terminology=SPLEEN.replace("^Spleen", "^Milz"))
    addSegment(node, "Niere re.", values == 7, terminology=RIGHT_KIDNEY)
    addSegment(node, "liver", values == 1)
    back = labelsFromSegmentation(node, TABLE, volume, onNote=noNote)
    assert np.array_equal(back.array, values)


def test_the_side_of_an_organ_counts_in_the_terminology(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    left = RIGHT_KIDNEY.replace("SCT^24028007^Right", "SCT^7771000^Left")
    addSegment(node, "kidney", labels() == 7, terminology=left)
    with pytest.raises(LabelError, match="kidney"):
        labelsFromSegmentation(node, TABLE, volume)


TISSUE = "~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~~^^~^^"
KIDNEY = "~SCT^123037004^Anatomical~SCT^64033007^Kidney~^^~~^^~^^"
REGION = "~SCT^49755003^Abnormal~SCT^4147007^Mass~^^~~SCT^64033007^Kidney~SCT^24028007^Right"


@pytest.mark.parametrize(
    ("codes", "found"),
    [
        ((TISSUE, ""), TISSUE),
        ((KIDNEY, KIDNEY), KIDNEY),
        ((REGION, ""), REGION.replace("24028007^Right", "7771000^Left")),
    ],
    ids=["Slicer gives it to every new segment", "two labels have it", "another side of a region"],
)
def test_a_terminology_that_tells_no_label_is_not_taken_for_one(scene, volume, codes, found):
    table = LabelTable(tuple(Label(n, f"label {n}", terminology=code) for n, code in enumerate(codes, 1)))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    addSegment(node, "Segment_1", labels() == 7, terminology=found)
    with pytest.raises(LabelError, match="Segment_1"):
        labelsFromSegmentation(node, table, volume)


def test_an_identifier_of_another_projects_table_counts_for_nothing(scene, volume):
    other = LabelTable((Label(1, "spleen"), Label(3, "liver")))
    values = np.where(labels() == 7, 0, labels())
    node = segmentationFromLabels(values, OBLIQUE, other, "other", volume)
    back = labelsFromSegmentation(node, TABLE, volume)
    assert np.array_equal(back.array, np.choose(np.minimum(values, 2), [0, 3, 1]))  # matched by name


def test_a_filled_segment_that_the_table_does_not_know_is_refused_by_name(scene, volume, segmentation):
    mask = np.zeros(OBLIQUE.shape, bool)
    mask[0, 0, 0] = True
    addSegment(segmentation, "tumour", mask)
    with pytest.raises(LabelError, match=r"'tumour'.*1 liver.*[Rr]ename"):
        labelsFromSegmentation(segmentation, TABLE, volume)


def test_an_empty_segment_that_the_table_does_not_know_does_not_matter(scene, volume, segmentation):
    addSegment(segmentation, "tumour", np.zeros(OBLIQUE.shape, bool))
    segmentation.GetSegmentation().AddEmptySegment("extra", "extra")
    back = labelsFromSegmentation(segmentation, TABLE, volume, onNote=noNote)
    assert np.array_equal(back.array, labels())


@pytest.mark.parametrize(("name", "code"), [("spleen", ""), ("liver", SPLEEN), ("Leber", SPLEEN)])
def test_a_segment_that_took_the_name_or_code_of_another_label_is_refused(
    scene, volume, segmentation, name, code
):
    liver = segmentation.GetSegmentation().GetSegment("label_1")
    liver.SetName(name)
    liver.SetTerminology(code or liver.GetTerminology())
    with pytest.raises(LabelError, match=r"stands for 'liver'.*'spleen'.*Which one"):
        labelsFromSegmentation(segmentation, TABLE, volume)


def test_an_empty_segment_that_could_be_two_labels_does_not_matter(scene, volume):
    node = segmentationFromLabels(np.minimum(labels(), 1), OBLIQUE, TABLE, "s", volume)
    node.GetSegmentation().GetSegment("label_7").SetName("liver")
    assert np.array_equal(labelsFromSegmentation(node, TABLE, volume).array, np.minimum(labels(), 1))


def test_what_is_only_compared_passes_over_all_that_is_refused_on_export(scene, volume, segmentation):
    addSegment(segmentation, "tumour", np.ones(OBLIQUE.shape, bool))
    segmentation.GetSegmentation().GetSegment("label_1").SetName("spleen")
    addSegment(segmentation, "spleen", labels() == 3)
    seen = comparableLabels(snapshotOf(segmentation, volume, copy=False), TABLE)
    assert np.array_equal(seen, labels())


def test_sides_swapped_by_renaming_are_never_written_silently(scene, volume):
    table = LabelTable((Label(1, "left_kidney"), Label(2, "right_kidney")))
    values = (labels() % 3).astype(np.uint8)
    node = segmentationFromLabels(values, OBLIQUE, table, "s", volume)
    node.GetSegmentation().GetSegment("label_1").SetName("right_kidney")
    node.GetSegmentation().GetSegment("label_2").SetName("left_kidney")
    with pytest.raises(LabelError, match="Which one is meant"):
        labelsFromSegmentation(node, table, volume)


def test_two_filled_segments_for_one_label_are_refused_by_name(scene, volume, segmentation):
    mask = np.zeros(OBLIQUE.shape, bool)
    mask[0, 0, 0] = True
    addSegment(segmentation, "spleen", mask)
    with pytest.raises(LabelError, match="stand for 'spleen'"):
        labelsFromSegmentation(segmentation, TABLE, volume)


def test_overlapping_segments_are_refused_with_both_names_and_the_voxels(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    first, second = np.zeros(OBLIQUE.shape, bool), np.zeros(OBLIQUE.shape, bool)
    first[1:4], second[3:5] = True, True
    addSegment(node, "spleen", first)
    addSegment(node, "liver", second)
    shared = int((first & second).sum())
    with pytest.raises(LabelError, match=rf"'liver' and 'spleen' in {shared} voxels.*Logical operators"):
        labelsFromSegmentation(node, TABLE, volume)


@patient
@given(
    shift=st.tuples(*[st.integers(-4, 4)] * 3),
    size=st.tuples(*[st.integers(1, 14)] * 3),
    geometry=geometries(),
)
def test_layers_may_lie_anywhere_on_the_grid_and_voxels_outside_are_counted(scene, shift, size, geometry):
    volume = volumeNode(geometry)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    mask = np.random.default_rng(3).random(size) < 0.7
    mask[0, 0, 0] = True
    image = maskImage(mask, geometry)
    k, j, i = shift
    kk, jj, ii = size
    image.SetExtent(i, i + ii - 1, j, j + jj - 1, k, k + kk - 1)
    segment = slicer.vtkSegment()
    segment.SetName("liver")
    segment.AddRepresentation(LABELMAP, image)
    node.GetSegmentation().AddSegment(segment)
    expected = np.zeros(geometry.shape, np.uint8)
    outside = 0
    for place in np.argwhere(mask) + shift:
        if (place >= 0).all() and (place < geometry.shape).all():
            expected[tuple(place)] = 1
        else:
            outside += 1
    notes = []
    if not expected.any():
        with pytest.raises(GeometryError, match="outside of the volume"):
            labelsFromSegmentation(node, TABLE, volume, onNote=notes.append)
        return
    back = labelsFromSegmentation(node, TABLE, volume, onNote=notes.append)
    assert np.array_equal(back.array, expected)
    assert [note.split()[0] for note in notes] == ([str(outside)] if outside else [])


def finer(geometry):
    """The grid of twice as many voxels over the same field of view."""
    return geometry.with_shape(tuple(2 * count for count in geometry.shape))


def test_a_finer_grid_of_the_segment_editor_is_resampled_as_slicer_does_and_said(scene, hierarchy, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "fine")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    mask = np.zeros(tuple(2 * count for count in OBLIQUE.shape), bool)
    mask[2:8, 4:11, 6:17] = True
    addSegment(node, "liver", mask, geometry=finer(OBLIQUE))
    notes = []
    back = labelsFromSegmentation(node, TABLE, volume, onNote=notes.append)
    twin = slicersExport(scene, node, volume, colorTableNode(TABLE, scene))
    assert np.array_equal(back.array, twin)
    assert back.array.any()
    assert len(notes) == 1
    assert "another grid" in notes[0]


def test_a_single_voxel_of_another_grid_is_resampled_too(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "fine")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    centre = tuple((OBLIQUE.affine @ [4, 3, 2, 1])[:3])
    spacing = tuple(mm / 3 for mm in OBLIQUE.spacing)
    voxel = Geometry((1, 1, 1), spacing, centre, OBLIQUE.direction)
    addSegment(node, "liver", np.ones((1, 1, 1), bool), geometry=voxel)
    notes = []
    back = labelsFromSegmentation(node, TABLE, volume, onNote=notes.append)
    assert np.argwhere(back.array).tolist() == [[2, 3, 4]]
    assert "another grid" in notes[0]


@pytest.mark.parametrize(
    "other",
    [
        finer(OBLIQUE),
        Geometry(OBLIQUE.shape, OBLIQUE.spacing, (12.5, -87.25, 310.9), OBLIQUE.direction),
        Geometry(OBLIQUE.shape, OBLIQUE.spacing, OBLIQUE.origin, direction((13, -21, 39))),
    ],
)
def test_a_segmentation_of_another_volume_is_refused_rather_than_resampled(scene, volume, other):
    node = segmentationFromLabels(labels(other), other, TABLE, "s", volumeNode(other, "other scan"))
    with pytest.raises(GeometryError, match=r"another grid.*'scan'.*Nothing was resampled"):
        labelsFromSegmentation(node, TABLE, volume)


def test_a_segmentation_far_away_is_refused_rather_than_exported_empty(scene, volume):
    far = Geometry(
        OBLIQUE.shape, OBLIQUE.spacing, tuple((OBLIQUE.affine @ [50, 0, 0, 1])[:3]), OBLIQUE.direction
    )
    node = segmentationFromLabels(labels(far), far, TABLE, "s", volumeNode(far, "far scan"))
    with pytest.raises(GeometryError, match="outside of the volume"):
        labelsFromSegmentation(node, TABLE, volume)


def test_surfaces_without_voxels_are_refused_with_what_to_do(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surfaces")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    segment = slicer.vtkSegment()
    segment.SetName("liver")
    segment.AddRepresentation("Closed surface", sphere.GetOutput())
    node.GetSegmentation().AddSegment(segment)
    with pytest.raises(InputError, match="binary labelmap"):
        labelsFromSegmentation(node, TABLE, volume)


def transformNode(scene, shift):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    for row, part in enumerate(shift):
        matrix.SetElement(row, 3, part)
    node.SetMatrixTransformToParent(matrix)
    return node


def test_under_one_transform_nothing_is_resampled(scene, volume, segmentation):
    moved = transformNode(scene, (0.3, 7.7, -2.1))
    volume.SetAndObserveTransformNodeID(moved.GetID())
    segmentation.SetAndObserveTransformNodeID(moved.GetID())
    back = labelsFromSegmentation(segmentation, TABLE, volume, onNote=noNote)
    assert np.array_equal(back.array, labels())
    assert back.geometry == OBLIQUE


def test_a_segmentation_hardened_beside_a_volume_under_its_transform_is_the_same_label(
    scene, volume, segmentation
):
    moved = transformNode(scene, (0.3, 7.7, -2.1))
    volume.SetAndObserveTransformNodeID(moved.GetID())
    segmentation.SetAndObserveTransformNodeID(moved.GetID())
    segmentation.HardenTransform()
    assert segmentation.GetParentTransformNode() is None
    back = labelsFromSegmentation(segmentation, TABLE, volume, onNote=noNote)
    assert np.array_equal(back.array, labels())


def test_a_volume_that_was_moved_away_from_its_segmentation_changes_what_is_exported_and_that_is_said(
    scene, volume, segmentation
):
    spacing = OBLIQUE.spacing[2]
    way = np.asarray(OBLIQUE.direction)[:, 0] * [-1, -1, 1] * spacing
    volume.SetAndObserveTransformNodeID(transformNode(scene, 2 * way).GetID())
    notes = []
    back = labelsFromSegmentation(segmentation, TABLE, volume, onNote=notes.append)
    assert np.array_equal(back.array[:, :, :-2], labels()[:, :, 2:])
    assert "outside" in notes[0]


def test_transforms_that_bend_between_label_and_volume_are_refused(scene, volume, segmentation):
    bend = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    warp = vtk.vtkThinPlateSplineTransform()
    here, there = vtk.vtkPoints(), vtk.vtkPoints()
    for point in [(0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (5, 5, 5)]:
        here.InsertNextPoint(point)
        there.InsertNextPoint(point[0] + point[1] * point[1] / 9, point[1], point[2])
    warp.SetSourceLandmarks(here)
    warp.SetTargetLandmarks(there)
    warp.SetBasisToR()
    bend.SetAndObserveTransformToParent(warp)
    volume.SetAndObserveTransformNodeID(bend.GetID())
    with pytest.raises(GeometryError, match="different transforms"):
        labelsFromSegmentation(segmentation, TABLE, volume)
    segmentation.SetAndObserveTransformNodeID(bend.GetID())
    assert np.array_equal(labelsFromSegmentation(segmentation, TABLE, volume, onNote=noNote).array, labels())


@patient
@given(
    geometry=geometries(),
    order=st.permutations([0, 1, 2]),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_axes_that_change_places_or_run_backwards_move_no_voxel(scene, geometry, order, flips):
    """As when Slicer loads a left-handed volume: it turns the volume round, and the segmentation not."""
    node = segmentationFromLabels(labels(geometry), geometry, TABLE, "s", volumeNode(geometry))
    turned = Orientation(tuple(order), flips).apply(Volume(labels(geometry), geometry))
    back = labelsFromSegmentation(node, TABLE, volumeNode(turned.geometry), onNote=noNote)
    assert np.array_equal(back.array, turned.array)


@pytest.mark.parametrize("kind", ["int16", "int32", "uint16", "uint32"])
def test_labelmaps_of_any_whole_type_are_read(scene, volume, segmentation, kind):
    image = segmentation.GetSegmentation().GetNthSegment(0).GetRepresentation(LABELMAP)
    imageOfArray(labels().astype(kind), image=image)
    assert np.array_equal(labelsFromSegmentation(segmentation, TABLE, volume).array, labels())


@pytest.mark.parametrize(
    "values", [labels().astype(np.int16) - 1, labels() * 0.5, np.minimum(labels(), 1) * np.int32(65536)]
)
def test_a_labelmap_of_what_are_no_label_values_is_refused_by_name(scene, volume, segmentation, values):
    image = segmentation.GetSegmentation().GetNthSegment(0).GetRepresentation(LABELMAP)
    imageOfArray(values, image=image)
    with pytest.raises(InputError, match=r"'result' cannot be exported\. Label values must"):
        labelsFromSegmentation(segmentation, TABLE, volume)


def test_values_above_255_are_exported_in_16_bits(scene, volume):
    table = LabelTable((Label(300, "a"), Label(65535, "b")))
    values = np.where(labels() > 2, 65535, 300).astype(np.uint16)
    node = segmentationFromLabels(values, OBLIQUE, table, "s", volume)
    back = labelsFromSegmentation(node, table, volume)
    assert back.array.dtype == np.uint16
    assert np.array_equal(back.array, values)


def test_an_empty_label_whose_value_its_small_labelmap_could_not_hold_does_not_matter(scene, volume):
    table = LabelTable((Label(1, "a"), Label(300, "b")))
    values = (labels() > 0).astype(np.uint8)
    node = segmentationFromLabels(values, OBLIQUE, table, "s", volume)
    assert sharedLabelmap(node).dtype == np.uint8
    assert np.array_equal(labelsFromSegmentation(node, table, volume).array, values)


def test_a_snapshot_does_not_change_with_the_segmentation(scene, volume, segmentation):
    snapshot = snapshotOf(segmentation, volume)
    edit(segmentation, "label_1", np.ones(OBLIQUE.shape, bool), ADD)
    segmentation.GetSegmentation().GetSegment("label_3").SetName("x")
    assert np.array_equal(labelsOf(snapshot, TABLE, onNote=noNote).array, labels())


def test_a_snapshot_that_is_not_copied_is_the_nodes_own_memory_and_outlives_the_node(scene, volume):
    values = labels().astype(np.uint8)
    node = segmentationFromLabels(values, OBLIQUE, TABLE, "result", volume)
    snapshot = snapshotOf(node, volume, copy=False)
    assert np.shares_memory(snapshot.layers[0].values, sharedLabelmap(node))
    release(node)
    scene.RemoveNode(node)
    assert np.array_equal(labelsOf(snapshot, TABLE, onNote=noNote).array, values)


def test_exporting_leaves_the_scene_as_it_was(scene, volume, segmentation):
    before = scene.GetNumberOfNodes()
    labelsFromSegmentation(segmentation, TABLE, volume)
    assert scene.GetNumberOfNodes() == before
