"""What a segmentation holds at one moment: plain numpy values that any thread may work on.

Only copying happens on the main thread: 6 ms for 512 x 512 x 300 voxels.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from crgloco.errors import GeometryError, InputError
from crgloco.io.volume import Geometry
from CRGLoCoSegmentLib.nodes.geometry import (
    Matrix,
    arrayOf,
    geometryOfNode,
    ijkToRas,
    imageToWorld,
    placeImage,
)
from CRGLoCoSegmentLib.nodes.images import Array, arrayOfImage
from CRGLoCoSegmentLib.nodes.label_tables import TAG, tagOf
from CRGLoCoSegmentLib.nodes.results import volumeOf
from CRGLoCoSegmentLib.nodes.segmentations import LABELMAP

# Voxels that lie this near to voxels of the volume (in voxels) are the same: files round positions.
NEARBY = 0.01


@dataclass(frozen=True)
class Layer:
    """A labelmap on the grid of the volume; it may cover a part of it, or reach beyond.

    Attributes:
        values: Copied voxels (K, J, I) in the segmentation's own numbers.
        first: Where its first voxel lies in the volume: K, J, I.
    """

    values: Array
    first: tuple[int, int, int]


@dataclass(frozen=True)
class SegmentCopy:
    """A segment.

    Attributes:
        id: Its identifier, which renaming does not change.
        name: As users see it.
        terminology: Slicer's seven fields.
        mark: What ``label_tables.dressSegment`` left, or empty.
        layer: Number of its layer; ``None`` if it never had a voxel.
        value: Its number in that layer.
    """

    id: str
    name: str
    terminology: str
    mark: str
    layer: int | None
    value: int


@dataclass(frozen=True)
class Snapshot:
    """A segmentation on the grid of a volume.

    Attributes:
        name: Of the segmentation node.
        geometry: Of the volume.
        segments: In their present order, which means nothing.
        layers: Labelmaps that segments share.
        notes: What the user should know, for example that voxels were resampled.
    """

    name: str
    geometry: Geometry
    segments: tuple[SegmentCopy, ...]
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()

    def maskOf(self, segment: SegmentCopy) -> Array:
        """Return the segment's voxels within its layer, as truth values."""
        if segment.layer is None:
            return np.zeros((0, 0, 0), bool)
        mask: Array = self.layers[segment.layer].values == segment.value
        return mask

    def voxelsOf(self, segment: SegmentCopy) -> int:
        """Return how many voxels a segment has."""
        return int(np.count_nonzero(self.maskOf(segment)))


def snapshotOf(segmentationNode: Any, volumeNode: Any) -> Snapshot:
    """Copy a segmentation as it is now; main thread.

    Labelmaps that Slicer cropped or extended while editing are taken voxel by voxel. One on another grid is
    resampled by Slicer, and a note says so; that is only done if the segmentation belongs to the volume.

    Raises:
        InputError: There are no voxels but only surfaces.
        GeometryError: It was made on the grid of another volume, or stands under another transform.
    """
    segmentation = segmentationNode.GetSegmentation()
    count = segmentation.GetNumberOfSegments()
    name = segmentationNode.GetName()
    if count and not segmentation.ContainsRepresentation(LABELMAP):
        msg = f"{name!r} has surfaces but no voxels. Create its binary labelmap in the module Segmentations."
        raise InputError(msg)
    images: list[Any] = []
    segments = [_copied(segmentation, number, images) for number in range(count)]
    grid = _Grid(segmentationNode, volumeNode)
    layers = tuple(grid.layerOf(image) for image in images)
    return Snapshot(name, grid.geometry, tuple(segments), layers, tuple(grid.notes))


def _copied(segmentation: Any, number: int, images: list[Any]) -> SegmentCopy:
    """Describe a segment; its labelmap joins the list of images, once."""
    segment = segmentation.GetNthSegment(number)
    image = segment.GetRepresentation(LABELMAP)
    layer = None
    if image is not None and not image.IsEmpty() and image.GetPointData().GetScalars() is not None:
        if not any(image is known for known in images):
            images.append(image)
        layer = next(place for place, known in enumerate(images) if known is image)
    return SegmentCopy(
        id=segmentation.GetNthSegmentID(number),
        name=segment.GetName() or "",
        terminology=segment.GetTerminology() if segment.HasTerminology() else "",
        mark=tagOf(segment, TAG),
        layer=layer,
        value=segment.GetLabelValue(),
    )


class _Grid:
    """The grid of a volume, and the way of a segmentation's labelmaps onto it."""

    def __init__(self, segmentationNode: Any, volumeNode: Any) -> None:
        self.node, self.volume = segmentationNode, volumeNode
        self.geometry = geometryOfNode(volumeNode)
        self.notes: list[str] = []
        self._between = _between(segmentationNode, volumeNode)
        self._toGrid = np.linalg.inv(ijkToRas(self.geometry)) @ arrayOf(self._between)

    def layerOf(self, image: Any) -> Layer:
        """Return the voxels of a labelmap on our grid."""
        shift = _wholeShift(self._toGrid @ imageToWorld(image), image.GetExtent())
        if shift is None:
            return Layer(self._resampled(image), (0, 0, 0))
        i, j, k = (start + moved for start, moved in zip(image.GetExtent()[::2], shift, strict=True))
        return Layer(arrayOfImage(image).copy(), (k, j, i))

    def _resampled(self, image: Any) -> Array:
        if volumeOf(self.node) is not self.volume:
            msg = (
                f"The segmentation {self.node.GetName()!r} lies on another grid than the volume "
                f"{self.volume.GetName()!r} and was not made on it. Nothing was resampled. Choose the volume "
                "it was made on, or choose this volume as its source geometry in the Segment Editor."
            )
            raise GeometryError(msg)
        note = (
            f"{self.node.GetName()!r} was edited on another grid than that of {self.volume.GetName()!r}; "
            "every voxel of the volume got the label at its centre."
        )
        if note not in self.notes:
            self.notes.append(note)
        reference, output = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
        reference.SetDimensions(*reversed(self.geometry.shape))
        placeImage(reference, self.geometry)
        way = vtk.vtkTransform()
        way.SetMatrix(self._between)
        resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
        if not resample(image, reference, output, False, False, way):  # noqa: FBT003 (VTK knows no keywords)
            msg = f"Slicer could not bring {self.node.GetName()!r} onto the grid of the volume."
            raise GeometryError(msg)
        return arrayOfImage(output).copy()


def _between(segmentationNode: Any, volumeNode: Any) -> vtk.vtkMatrix4x4:
    """Return the way from the segmentation's coordinates to the volume's own: the identity, as a rule."""
    ours, theirs = segmentationNode.GetParentTransformNode(), volumeNode.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if ours is theirs:
        return matrix
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(ours, theirs, matrix):
        msg = (
            f"{segmentationNode.GetName()!r} and {volumeNode.GetName()!r} stand under different transforms, "
            "and the way between them bends. Put both under the same transform in the module Data."
        )
        raise GeometryError(msg)
    return matrix


def _wholeShift(toGrid: Matrix, extent: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return by how many voxels (i, j, k) an image is moved, or ``None`` if by more than a whole shift."""
    ends = (extent[0:2], extent[2:4], extent[4:6])
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*ends)]).T
    moved = (toGrid @ corners)[:3] - corners[:3]
    shift = np.round(moved[:, 0])
    if np.abs(moved - shift[:, None]).max() > NEARBY:
        return None
    i, j, k = (int(part) for part in shift)
    return i, j, k
