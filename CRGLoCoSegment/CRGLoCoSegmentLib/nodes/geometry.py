"""The one place where Slicer's RAS and the engine's LPS meet: signs change, no number is rounded.

Both sides keep spacing, origin and unit axes apart, so nothing is multiplied or decomposed on the way,
and a grid that goes there and back is the same to the last bit.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from slicer.i18n import tr as _
from vtk import vtkMatrix4x4

from crgloco.errors import GeometryError
from crgloco.io.volume import Geometry

Matrix = npt.NDArray[np.float64]
Axes = tuple[tuple[float, float, float], ...]

# x and y point the other way; adding zero turns -0.0 into 0.0.
SIGNS = (-1.0, -1.0, 1.0)


def geometryOfNode(volumeNode: Any) -> Geometry:
    """Return where a volume node lies, in its own coordinates: parent transforms are not applied.

    Raises:
        GeometryError: It has no voxels, or its axes are not at right angles.
    """
    image = volumeNode.GetImageData()
    i, j, k = image.GetDimensions() if image is not None else (0, 0, 0)
    axes = vtkMatrix4x4()
    volumeNode.GetIJKToRASDirectionMatrix(axes)
    spacing = tuple(float(mm) for mm in reversed(volumeNode.GetSpacing()))
    try:
        return Geometry((k, j, i), spacing, _turnedPoint(volumeNode.GetOrigin()), _turnedAxes(axes))
    except GeometryError as error:
        msg = _("The volume {name!r} cannot be used. {reason}")
        raise GeometryError(msg.format(name=volumeNode.GetName(), reason=error)) from error


def placeNode(volumeNode: Any, geometry: Geometry) -> None:
    """Put a volume node's grid where a geometry says, in the node's own coordinates."""
    wasModifying = volumeNode.StartModify()
    # Setters of Slicer skip changes below 2.2e-16; by way of another place every bit arrives.
    volumeNode.SetSpacing(*(2 * mm for mm in reversed(geometry.spacing)))
    volumeNode.SetSpacing(*reversed(geometry.spacing))
    volumeNode.SetOrigin(*(mm + 1 for mm in geometry.origin))
    volumeNode.SetOrigin(*_turnedPoint(geometry.origin))
    volumeNode.SetIJKToRASDirections(*([9.0] * 9))
    volumeNode.SetIJKToRASDirections(*_flatAxes(geometry))
    volumeNode.EndModify(wasModifying)


def placeImage(image: Any, geometry: Geometry) -> None:
    """Put a ``vtkOrientedImageData`` where a geometry says; its dimensions are not touched."""
    image.SetSpacing(*reversed(geometry.spacing))
    image.SetOrigin(*_turnedPoint(geometry.origin))
    image.SetDirections(*([9.0] * 9))
    image.SetDirections(*_flatAxes(geometry))


def ijkToRas(geometry: Geometry) -> Matrix:
    """Return the 4 x 4 matrix from (i, j, k, 1) to (r, a, s, 1) in mm, as Slicer has it."""
    return np.diag([*SIGNS, 1.0]) @ geometry.affine


def imageToWorld(image: Any) -> Matrix:
    """Return the 4 x 4 matrix from (i, j, k, 1) of a ``vtkOrientedImageData`` to RAS."""
    matrix = vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return arrayOf(matrix)


def arrayOf(matrix: vtkMatrix4x4) -> Matrix:
    """Return the 4 x 4 numbers of a VTK matrix."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def _turnedPoint(point: Any) -> tuple[float, float, float]:
    x, y, z = (float(sign * mm + 0.0) for sign, mm in zip(SIGNS, point, strict=True))
    return x, y, z


def _turnedAxes(axes: vtkMatrix4x4) -> Axes:
    return tuple(
        tuple(float(SIGNS[row] * axes.GetElement(row, column) + 0.0) for column in range(3))  # type: ignore[misc]
        for row in range(3)
    )


def _flatAxes(geometry: Geometry) -> list[float]:
    """Return the nine numbers of the RAS axes, row by row."""
    return [sign * part + 0.0 for sign, row in zip(SIGNS, geometry.direction, strict=True) for part in row]
