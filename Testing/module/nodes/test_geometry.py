import numpy as np
import pytest
import slicer
import vtk
from hypothesis import given

from crgloco.errors import GeometryError
from crgloco.io.volume import Geometry, Volume
from CRGLoCoSegmentLib.nodes.geometry import (
    arrayOf,
    geometryOfNode,
    ijkToRas,
    imageToWorld,
    placeImage,
    placeNode,
)
from CRGLoCoSegmentLib.nodes.volumes import volumeNodeFromVolume
from grids import OBLIQUE, direction, geometries, patient


def matrixOf(volumeNode):
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return arrayOf(matrix)


def emptyNode(scene, shape):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(shape))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    node.SetAndObserveImageData(image)
    return node


@patient
@given(geometry=geometries())
def test_a_geometry_goes_into_a_node_and_comes_back_to_the_last_bit(scene, geometry):
    node = emptyNode(scene, geometry.shape)
    placeNode(node, geometry)
    assert geometryOfNode(node) == geometry


@patient
@given(geometry=geometries())
def test_a_nodes_matrix_goes_through_a_geometry_and_comes_back_to_the_last_bit(scene, geometry):
    first, second = emptyNode(scene, geometry.shape), emptyNode(scene, geometry.shape)
    # As a loader sets it: one matrix, that Slicer takes apart by itself.
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ijkToRas(geometry).ravel())
    first.SetIJKToRASMatrix(matrix)
    placeNode(second, geometryOfNode(first))
    assert np.array_equal(matrixOf(first), matrixOf(second))
    assert np.array_equal(matrixOf(first), ijkToRas(geometryOfNode(first)))


@patient
@given(geometry=geometries())
def test_a_segmentations_image_gets_the_very_matrix_of_the_volume(scene, geometry):
    node = emptyNode(scene, geometry.shape)
    placeNode(node, geometry)
    image = slicer.vtkOrientedImageData()
    placeImage(image, geometryOfNode(node))
    assert np.array_equal(imageToWorld(image), matrixOf(node))


@patient
@given(geometry=geometries())
def test_a_voxel_lies_where_slicer_says_with_x_and_y_turned_round(scene, geometry):
    node = emptyNode(scene, geometry.shape)
    placeNode(node, geometry)
    ijk = np.array([1.0, 2.0, 1.0, 1.0])
    ras = matrixOf(node) @ ijk
    lps = geometry.affine @ ijk
    assert np.array_equal(ras * [-1, -1, 1, 1], lps)


@pytest.mark.parametrize("tiny", [1e-17, 1e-16, 2e-16])
def test_a_direction_that_vtk_would_round_to_the_identity_keeps_its_last_bits(scene, tiny):
    axes = ((1.0 - tiny, tiny, 0.0), (-tiny, 1.0 - tiny, 0.0), (0.0, 0.0, 1.0))
    geometry = Geometry((2, 3, 4), (1.0, 1.0 + tiny, 1.0), (tiny, 0.0, 0.0), axes)
    node = emptyNode(scene, geometry.shape)
    placeNode(node, geometry)
    assert geometryOfNode(node) == geometry


def test_placing_a_node_tells_its_observers_once(scene):
    node = emptyNode(scene, OBLIQUE.shape)
    heard = []
    node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: heard.append(1))
    placeNode(node, OBLIQUE)
    assert len(heard) == 1


def test_a_sheared_volume_as_of_a_tilted_gantry_is_refused_by_name(scene):
    node = emptyNode(scene, (3, 3, 3))
    node.SetName("tilted CT")
    node.SetIJKToRASDirections(1, 0, 0, 0, 1, 0.3, 0, 0, 0.954)
    with pytest.raises(GeometryError, match=r"tilted CT.*orthogonal"):
        geometryOfNode(node)


def test_a_volume_without_voxels_is_refused_by_name(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(GeometryError, match="empty"):
        geometryOfNode(node)


def test_the_axes_are_counted_k_j_i(scene):
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    node = volumeNodeFromVolume(Volume(array, Geometry((2, 3, 4), (5.0, 2.0, 1.0), (0.0, 0.0, 0.0))), "v")
    assert node.GetImageData().GetDimensions() == (4, 3, 2)
    assert node.GetSpacing() == (1.0, 2.0, 5.0)
    assert node.GetImageData().GetScalarComponentAsDouble(3, 2, 1, 0) == array[1, 2, 3]
    assert direction((0, 0, 0)) == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
