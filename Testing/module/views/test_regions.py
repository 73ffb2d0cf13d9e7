"""Uncertain regions: in the order of worth, with names, and at the right place of the world."""

import numpy as np
import pytest
import slicer
import vtk

from CRGLoCoSegmentLib.nodes.results import resultOf
from CRGLoCoSegmentLib.views.regions import regionsOf, seenRegions, setSeenRegions, worldPosition
from phantom_results import makeResult


@pytest.fixture
def result(scene):
    return makeResult()


def test_the_order_is_that_of_the_record_which_has_the_most_worthwhile_first(result):
    regions = regionsOf(result.record)
    assert [(region.rank, region.expectedMl) for region in regions] == [(1, 0.9), (2, 0.4)]
    turned = regionsOf({**result.record, "regions": result.record["regions"][::-1]})
    assert [(region.rank, region.expectedMl) for region in turned] == [(1, 0.4), (2, 0.9)]


def test_background_has_no_name_and_a_structure_has_its_own(result):
    assert [region.name for region in regionsOf(result.record)] == ["", "liver"]


def test_a_record_without_regions_has_none():
    assert regionsOf({}) == ()


def test_what_was_seen_is_found_again_with_the_result(result):
    assert seenRegions(result) == frozenset()
    setSeenRegions(result, {2, 1})
    assert seenRegions(resultOf(result.volume)) == {1, 2}


def test_without_a_transform_only_the_signs_of_the_first_two_axes_change(result):
    assert worldPosition(result.volume, (1.0, 2.0, 3.0)) == (-1.0, -2.0, 3.0)


def test_a_parent_transform_carries_the_position_along(result, scene):
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 100.0)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix)
    result.volume.SetAndObserveTransformNodeID(transform.GetID())
    assert worldPosition(result.volume, (1.0, 2.0, 3.0)) == pytest.approx((99.0, -2.0, 3.0))


def test_a_non_linear_transform_does_so_too(result, scene):
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in np.random.default_rng(0).uniform(-50, 50, (8, 3)):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point + np.array([0, 7, 0]))
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(spline)
    result.volume.SetAndObserveTransformNodeID(transform.GetID())
    assert isinstance(transform, slicer.vtkMRMLTransformNode)
    assert worldPosition(result.volume, (1.0, 2.0, 3.0)) == pytest.approx((-1.0, 5.0, 3.0), abs=1e-3)
