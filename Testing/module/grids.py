"""Grids as scanners make them, and volumes and labels on them."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from crgloco.io.volume import Geometry, Volume
from crgloco.labels import Label, LabelTable
from CRGLoCoSegmentLib.nodes.export import labelsOf
from CRGLoCoSegmentLib.nodes.images import arrayOfImage
from CRGLoCoSegmentLib.nodes.overlays import disagreementOutline
from CRGLoCoSegmentLib.nodes.segmentations import LABELMAP, checkedLabels, newSegmentation
from CRGLoCoSegmentLib.nodes.snapshots import snapshotOf
from CRGLoCoSegmentLib.nodes.volumes import volumeNodeFromVolume

# The machine may be shared: a slow draw says nothing. One scene holds the nodes of all draws.
patient = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

SPLEEN = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^78961009^Spleen~^^~Anatomic codes - DICOM master list~^^~^^"
)
RIGHT_KIDNEY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^64033007^Kidney~SCT^24028007^Right~Anatomic codes - DICOM master list~^^~^^"
)
# Values with gaps, one name that files must escape, one label without terminology.
TABLE = LabelTable(
    (
        Label(1, "liver", (230, 159, 0)),
        Label(3, "spleen", (86, 180, 233), SPLEEN),
        Label(7, "right kidney | a:b", (0, 158, 115), RIGHT_KIDNEY),
    )
)


def direction(turns: tuple[float, float, float], *, mirrored: bool = False) -> tuple[Any, ...]:
    """Return the axes of a grid turned about x, y and z by degrees; mirrored ones are left-handed."""
    matrix = np.eye(3)
    for axis, degrees in enumerate(turns):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.eye(3)
        rows = [row for row in range(3) if row != axis]
        turn[np.ix_(rows, rows)] = [[c, -s], [s, c]]
        matrix = turn @ matrix
    matrix[:, 0] *= -1 if mirrored else 1
    return tuple(tuple(row) for row in matrix.tolist())


def geometries() -> st.SearchStrategy[Geometry]:
    """Any grid: anisotropic, oblique, left-handed, far from the origin, from micro-CT to whole body."""
    sizes = st.integers(2, 6)
    spacings = st.floats(0.001, 12.0)
    places = st.floats(-2000.0, 2000.0)
    angles = st.one_of(st.sampled_from([0.0, 90.0, 180.0, -90.0]), st.floats(-180, 180))
    return st.builds(
        lambda shape, spacing, origin, turns, mirrored: Geometry(
            shape, spacing, origin, direction(turns, mirrored=mirrored)
        ),
        st.tuples(sizes, sizes, sizes),
        st.tuples(spacings, spacings, spacings),
        st.tuples(places, places, places),
        st.tuples(angles, angles, angles),
        st.booleans(),
    )


OBLIQUE = Geometry(
    (6, 9, 11), (3.3, 0.71, 0.69), (12.5, -87.25, 310.1), direction((13, -21, 38), mirrored=True)
)


def volumeNode(geometry: Geometry = OBLIQUE, name: str = "scan") -> Any:
    """Return a volume node of noise on a grid."""
    array = np.random.default_rng(0).integers(0, 500, geometry.shape).astype(np.int16)
    return volumeNodeFromVolume(Volume(array, geometry), name)


def labels(geometry: Geometry = OBLIQUE, table: LabelTable = TABLE, seed: int = 1) -> Any:
    """Return label values on a grid, all of a table."""
    return np.random.default_rng(seed).choice(table.values, geometry.shape).astype(np.uint8)


def segmentationFromLabels(
    values: Any, geometry: Geometry, table: LabelTable, name: str, volume: Any, *, copy: bool = True
) -> Any:
    """Return a segmentation node of label values on a volume's grid; checked, as those of an answer are.

    Of a copy, as a rule: the node takes over the memory that it is given.
    """
    checked = checkedLabels(values, geometry, table, name, volume)
    return newSegmentation(checked.copy() if copy else checked, table, name, volume)


def sharedLabelmap(node: Any) -> Any:
    """Return the label values (K, J, I) of a segmentation that nobody has edited, as a view."""
    return arrayOfImage(node.GetSegmentation().GetNthSegment(0).GetRepresentation(LABELMAP))


def disagreementOf(result: Any) -> Any:
    """Return where global and local name different labels."""
    return sharedLabelmap(result.global_) != sharedLabelmap(result.local)


def outlineOf(result: Any) -> Any:
    """Return a segmentation node of the disagreement, made at once."""
    return disagreementOutline(disagreementOf(result), result.volume)


def labelsFromSegmentation(
    node: Any, table: LabelTable, volume: Any, *, onNote: Callable[[str], None] = logging.warning
) -> Volume:
    """Return the label values of a segmentation on a volume's grid, as an export writes them."""
    return labelsOf(snapshotOf(node, volume), table, onNote=onNote)


def colorTableNode(table: LabelTable, scene: Any) -> Any:
    """Return a colour node that tells Slicer's own export the value of each label."""
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "colours")
    node.SetTypeToUser()
    node.SetNumberOfColors(max(table.values) + 1)
    for label in table.labels:
        node.SetColor(label.value, label.name, *(part / 255 for part in label.colour), 1.0)
        if label.terminology:
            node.SetTerminologyFromString(label.value, label.terminology)
    return node


def slicersExport(scene: Any, node: Any, volume: Any, colors: Any = None, *, ids: Any = None) -> Any:
    """Return what Slicer's own logic exports of segments onto a volume, as an array."""
    before = {scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())}
    chosen = vtk.vtkStringArray()
    for identifier in node.GetSegmentation().GetSegmentIDs() if ids is None else ids:
        chosen.InsertNextValue(identifier)
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    arguments = (node, chosen, labelmap, volume, extent, *([] if colors is None else [colors]))
    assert scene.segmentations.ExportSegmentsToLabelmapNode(*arguments)
    array = slicer.util.arrayFromVolume(labelmap).copy()
    nodes = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
    for made in nodes:
        if made not in before:
            scene.RemoveNode(made)
    return array


def slicersMask(scene: Any, node: Any, segment: str, volume: Any) -> Any:
    """Return where Slicer sees a segment on a volume's grid."""
    return slicersExport(scene, node, volume, ids=[segment]) != 0
