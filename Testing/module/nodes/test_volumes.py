import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from hypothesis import given

from crgloco.errors import GeometryError, InputError
from crgloco.io.volume import Geometry, Volume
from CRGLoCoSegmentLib.nodes.volumes import (
    fingerprint,
    isUnchanged,
    refuseUnusable,
    volumeFromNode,
    volumeNodeFromVolume,
)
from grids import OBLIQUE, geometries, patient, volumeNode

KINDS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]


@patient
@given(geometry=geometries())
def test_a_volume_becomes_a_node_and_comes_back_with_every_bit(scene, geometry):
    array = np.random.default_rng(0).normal(size=geometry.shape).astype(np.float32)
    back = volumeFromNode(volumeNodeFromVolume(Volume(array, geometry), "v"))
    assert back.geometry == geometry
    assert back.array.dtype == np.float32
    assert np.array_equal(back.array, array)


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_of_number_that_slicer_knows_stays_as_it_is(scene, kind):
    info = np.finfo(kind) if kind.startswith("f") else np.iinfo(kind)
    array = np.full((2, 3, 4), 7, kind)
    array[0, 1, 2], array[1, 2, 3] = info.min, info.max
    back = volumeFromNode(
        volumeNodeFromVolume(Volume(array, Geometry(array.shape, (1, 1, 1), (0, 0, 0))), "v")
    )
    assert back.array.dtype == array.dtype
    assert np.array_equal(back.array, array)


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.array([-5, 70000, 3, 1]), np.int32),  # 64-bit integers that fit
        (np.array([2**40, 0, 0, 1]), np.float64),
        (np.array([0.5, 2.0, 1.0, 1.0], np.float16), np.float32),
        (np.array([True, False, True, True]), np.uint8),
        (np.array([1, 2, 3, 4], ">i2"), np.int16),
    ],
)
def test_numbers_that_slicer_lacks_keep_their_value_in_a_wider_type(scene, array, kind):
    array = np.broadcast_to(array, (2, 2, 4))
    back = volumeFromNode(
        volumeNodeFromVolume(Volume(array, Geometry(array.shape, (1, 1, 1), (0, 0, 0))), "v")
    )
    assert back.array.dtype == kind
    assert np.array_equal(back.array, array)


def test_a_64_bit_volume_that_another_module_made_is_read(scene):
    node = volumeNode()
    values = vtk.vtkTypeInt64Array()
    values.SetNumberOfTuples(int(np.prod(OBLIQUE.shape)))
    values.Fill(2**33)
    node.GetImageData().GetPointData().SetScalars(values)
    assert volumeFromNode(node).array.dtype == np.int64
    assert volumeFromNode(node).array.max() == 2**33


def test_the_array_of_a_node_is_its_memory_and_not_a_copy(scene):
    node = volumeNode()
    node.GetImageData().SetScalarComponentFromDouble(4, 3, 2, 0, 123)
    assert volumeFromNode(node).array[2, 3, 4] == 123


def test_a_new_node_takes_over_the_memory_of_the_array(scene):
    array = np.zeros((2, 3, 4), np.int16)
    node = volumeNodeFromVolume(Volume(array, Geometry(array.shape, (1, 1, 1), (0, 0, 0))), "v")
    array[...] = 9
    assert volumeFromNode(node).array.min() == 9


def test_a_view_that_is_not_contiguous_is_stored_in_its_order(scene):
    array = np.arange(24, dtype=np.int16).reshape(4, 3, 2).transpose(2, 1, 0)[:, ::-1]
    node = volumeNodeFromVolume(Volume(array, Geometry(array.shape, (1, 1, 1), (0, 0, 0))), "v")
    assert np.array_equal(volumeFromNode(node).array, array)


def test_two_volumes_of_one_name_get_two_names(scene):
    names = {volumeNode().GetName() for _ in range(3)}
    assert len(names) == 3


def test_no_volume_is_refused_with_what_to_do(scene):
    with pytest.raises(InputError, match="choose it"):
        refuseUnusable(None)


def test_a_label_map_is_refused_by_name(scene):
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "my labels")
    with pytest.raises(InputError, match="'my labels' is a label map"):
        refuseUnusable(node)


def test_a_colour_volume_is_refused_with_what_to_do(scene):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    with pytest.raises(InputError, match=r"photo.*3 numbers per voxel.*Vector to Scalar Volume"):
        volumeFromNode(node)


def test_a_node_that_is_no_volume_is_refused(scene):
    with pytest.raises(InputError, match="not a volume"):
        refuseUnusable(scene.AddNewNodeByClass("vtkMRMLModelNode", "bone"))


def test_a_volume_without_voxels_is_refused(scene):
    with pytest.raises(InputError, match="no voxels"):
        refuseUnusable(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow"))


def test_a_single_slice_is_refused(scene):
    node = volumeNode(Geometry((1, 8, 9), (1, 1, 1), (0, 0, 0)))
    with pytest.raises(InputError, match="single slice"):
        refuseUnusable(node)


def test_voxels_that_do_not_begin_at_the_origin_are_refused_because_their_place_is_not_clear(scene):
    node = volumeNode()
    node.GetImageData().SetExtent(5, 15, 0, 8, 0, 5)
    with pytest.raises(InputError, match="Crop Volume"):
        refuseUnusable(node)


def test_a_volume_of_single_bits_is_refused(scene):
    node = volumeNode()
    bits = vtk.vtkBitArray()
    bits.SetNumberOfTuples(int(np.prod(OBLIQUE.shape)))
    node.GetImageData().GetPointData().SetScalars(bits)
    with pytest.raises(InputError, match="single bits"):
        refuseUnusable(node)


def test_a_volume_is_unchanged_until_its_voxels_or_its_place_change(scene):
    node = volumeNode()
    mark = fingerprint(node)
    node.SetName("renamed")
    node.GetDisplayNode().SetWindowLevelMinMax(1, 2)
    assert isUnchanged(mark)
    node.GetImageData().Modified()
    assert not isUnchanged(mark)
    mark = fingerprint(node)
    node.SetOrigin(1, 2, 3)
    assert not isUnchanged(mark)


def test_voxels_changed_through_slicers_own_array_function_are_noticed(scene):
    node = volumeNode()
    mark = fingerprint(node)
    slicer.util.arrayFromVolume(node)[...] = 5
    slicer.util.arrayFromVolumeModified(node)
    assert not isUnchanged(mark)


def test_a_volume_that_was_deleted_has_changed(scene):
    node = volumeNode()
    mark = fingerprint(node)
    scene.RemoveNode(node)
    assert not isUnchanged(mark)


def test_a_volume_that_was_sheared_meanwhile_has_changed(scene):
    node = volumeNode()
    mark = fingerprint(node)
    node.SetIJKToRASDirections(1, 0, 0, 0, 1, 0.3, 0, 0, 0.954)
    assert not isUnchanged(mark)
    with pytest.raises(GeometryError):
        fingerprint(node)


def test_another_frame_of_a_sequence_is_a_change_and_the_first_one_again_is_none(scene):
    proxy = volumeNode()
    frames = [volumeNode(name="a").GetImageData(), volumeNode(name="b").GetImageData()]
    proxy.SetAndObserveImageData(frames[0])
    mark = fingerprint(proxy)
    proxy.SetAndObserveImageData(frames[1])
    assert not isUnchanged(mark)
    proxy.SetAndObserveImageData(frames[0])
    assert isUnchanged(mark)


def test_the_frames_of_a_real_sequence_browser_are_told_apart(scene):
    sequences = slicer.vtkSlicerSequencesLogic()
    sequences.SetMRMLScene(scene)
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "4D")
    for number in range(2):
        frame = volumeNode(name=f"frame {number}")
        sequence.SetDataNodeAtValue(frame, str(number))
        scene.RemoveNode(frame)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    sequences.UpdateAllProxyNodes()
    proxy = browser.GetProxyNode(sequence)
    mark = fingerprint(proxy)
    # Slicer takes the matrix of a frame apart and together again: not our bits, but the same place.
    assert volumeFromNode(proxy).geometry.same_grid(OBLIQUE)
    browser.SetSelectedItemNumber(1)
    sequences.UpdateAllProxyNodes()
    assert not isUnchanged(mark)
