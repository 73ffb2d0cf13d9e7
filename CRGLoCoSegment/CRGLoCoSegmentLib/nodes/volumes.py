"""Volume nodes to the engine's volumes and back: the same voxels at the same place, to the last bit."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from crgloco.errors import GeometryError, InputError
from crgloco.io.orientation import Orientation
from crgloco.io.volume import Geometry, Volume
from CRGLoCoSegmentLib.nodes.geometry import geometryOfNode, placeNode
from CRGLoCoSegmentLib.nodes.images import Array, arrayOfImage, imageOfArray


class Fingerprint(NamedTuple):
    """What a volume was when it was looked at.

    Attributes:
        node: The volume node itself; an identifier may be given to another node.
        modified: VTK's time of the last change of the voxels; each change has its own.
        shape: K, J, I.
        affine: The 16 numbers of (i, j, k, 1) to LPS.
    """

    node: Any
    modified: int
    shape: tuple[int, int, int]
    affine: tuple[float, ...]


def volumeFromNode(volumeNode: Any) -> Volume:
    """Return what a volume node holds, in its own coordinates: a parent transform is not applied.

    The array is a view of the node's memory: read it soon, and never write to it.

    Raises:
        InputError: The node is not a volume that can be segmented.
        GeometryError: Its grid cannot be used.
    """
    refuseUnusable(volumeNode)
    return Volume(arrayOfImage(volumeNode.GetImageData()), geometryOfNode(volumeNode))


def refuseUnusable(volumeNode: Any) -> None:
    """Say why a node cannot be segmented, at once: voxels are looked at by the worker.

    Raises:
        InputError: No volume, a label map, a colour or vector volume, no voxels, or a single slice.
    """
    if volumeNode is None:
        raise InputError(_("No volume is chosen. Load one, and choose it as input."))
    name = repr(volumeNode.GetName())
    if volumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        msg = _("{name} is a label map, not an image. Choose the image that belongs to it.")
        raise InputError(msg.format(name=name))
    if not volumeNode.IsA("vtkMRMLScalarVolumeNode"):
        msg = _("{name} is not a volume but a {kind}. Choose a scalar volume.")
        raise InputError(msg.format(name=name, kind=volumeNode.GetNodeTagName()))
    image = volumeNode.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        msg = _("The volume {name} has no voxels. Load it again.")
        raise InputError(msg.format(name=name))
    components = scalars.GetNumberOfComponents()
    if components > 1:
        msg = _(
            "{name} is a colour or vector volume: {components} numbers per voxel. "
            "Make a scalar volume of it, with the module Vector to Scalar Volume."
        )
        raise InputError(msg.format(name=name, components=components))
    if min(image.GetDimensions()) < 2:
        size = " x ".join(str(count) for count in image.GetDimensions())
        msg = _("{name} is a single slice ({size} voxels); at least 2 along each axis are needed.")
        raise InputError(msg.format(name=name, size=size))
    if image.GetExtent()[::2] != (0, 0, 0):
        msg = _("The voxels of {name} do not begin at (0, 0, 0). Make a copy with the module Crop Volume.")
        raise InputError(msg.format(name=name))
    if image.GetScalarType() == vtk.VTK_BIT:
        msg = _("{name} holds single bits. Convert it to numbers, with the module Cast Scalar Volume.")
        raise InputError(msg.format(name=name))


def refuseMovedApart(volumeNodes: Sequence[Any]) -> None:
    """Refuse channels that transforms move against each other: voxels are taken as they were acquired.

    Raises:
        InputError: Two of them stand under different transforms.
    """
    first, *others = volumeNodes
    for node in others:
        if node.GetTransformNodeID() != first.GetTransformNodeID():
            msg = _("{first} and {second} have different transforms; give them the same one.")
            raise InputError(msg.format(first=first.GetName(), second=node.GetName()))


def filesOf(volumeNode: Any) -> tuple[Path, ...]:
    """Return the files that Slicer has loaded a volume from, or saved it to; none where it is in no file."""
    storage = volumeNode.GetStorageNode()
    if storage is None:
        return ()
    numbers = range(storage.GetNumberOfFileNames())
    names = [storage.GetFullNameFromNthFileName(number) for number in numbers]
    found = dict.fromkeys(filter(None, (storage.GetFullNameFromFileName(), *names)))
    return tuple(map(Path, found))


def fingerprint(volumeNode: Any) -> Fingerprint:
    """Return what tells whether a volume is still the same: compare with ``isUnchanged``."""
    geometry = geometryOfNode(volumeNode)
    affine = tuple(geometry.affine.ravel().tolist())
    return Fingerprint(volumeNode, volumeNode.GetImageData().GetMTime(), geometry.shape, affine)


def isUnchanged(mark: Fingerprint) -> bool:
    """Whether the volume is still in its scene, with the same voxels at the same place.

    A sequence that shows another frame has changed; back at the first frame it has not.
    """
    node = mark.node
    scene = node.GetScene()
    if scene is None or not scene.IsNodePresent(node) or node.GetImageData() is None:
        return False
    try:
        return fingerprint(node) == mark
    except GeometryError:
        return False


def contentStamp(volumeNode: Any, axes: Geometry | None = None) -> str:
    """Return by what a volume's voxels are known again, in a saved scene too; looks at about a million.

    Args:
        volumeNode: Slicer may have turned its axes round when it loaded the scene.
        axes: A grid with the axes that the voxels had; by default those that they have now.
    """
    array = arrayOfImage(volumeNode.GetImageData())
    if axes is not None:
        array = Orientation.onto(geometryOfNode(volumeNode), axes).apply(array)
    return hashlib.sha256(np.ascontiguousarray(_thinned(array)).tobytes()).hexdigest()[:16]


def volumeNodeFromVolume(volume: Volume, name: str, *, window: tuple[float, float] | None = None) -> Any:
    """Return a new ``vtkMRMLScalarVolumeNode`` in Slicer's scene with the voxels, ready to be shown.

    Args:
        volume: Any real type; what VTK or ITK lack is stored in the next wider type. The node takes over the
            array's memory.
        name: Made unique in the scene.
        window: Lowest and highest shown value, see ``windowOf``. Without, Slicer looks at every voxel: that
            takes seconds for a large volume.
    """
    node = newVolumeNode(volume.geometry, name, slicer.mrmlScene)
    node.SetAndObserveImageData(imageOfArray(storable(volume.array)))
    if window is not None:
        display = node.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        display.SetDefaultColorMap()
        display.SetAutoWindowLevel(False)  # noqa: FBT003  (VTK knows no keywords)
        display.SetWindowLevelMinMax(*window)
        node.SetAndObserveDisplayNodeID(display.GetID())
    node.CreateDefaultDisplayNodes()
    return node


def windowOf(array: Array) -> tuple[float, float]:
    """Return between which values nearly all voxels lie, from about a million of them; any thread."""
    low, high = np.percentile(_thinned(array), (0.1, 99.9))
    return float(low), float(high)


def _thinned(array: Array) -> Array:
    """Return about a million voxels of all, evenly spread."""
    step = max(1, round((array.size / 2**20) ** (1 / 3)))
    return array[::step, ::step, ::step]


def newVolumeNode(geometry: Any, name: str, scene: Any) -> Any:
    """Return a new scalar volume node at a place, still without voxels and display."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    placeNode(node, geometry)
    return node


def storable(array: Array) -> Array:
    """Return the array in a type that Slicer's files and filters know; any thread."""
    kind = array.dtype
    if kind == np.bool_:
        return array.astype(np.uint8)
    if kind == np.float16:
        return array.astype(np.float32)
    if kind.kind in "iu" and kind.itemsize == 8:
        # Slicer's segmentation code refuses 64-bit integers; above 2**53 a double would round.
        low, high = int(array.min()), int(array.max())
        fits = np.iinfo(np.int32).min <= low and high <= np.iinfo(np.int32).max
        return array.astype(np.int32 if fits else np.float64)
    return array.astype(kind.newbyteorder("="), copy=False)
