"""Voxels as numpy arrays (K, J, I) and as VTK images, without copying where the memory may be shared."""

from typing import Any

import numpy as np
import numpy.typing as npt
from slicer.i18n import tr as _
from vtk import vtkImageData
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

Array = npt.NDArray[Any]
# What VTK calls the voxels it allocates: Slicer's DICOM SEG export takes a segment without them for empty.
SCALARS = "ImageScalars"


def arrayOfImage(image: Any) -> Array:
    """Return the voxels of a one-component image as a view (K, J, I) of its memory."""
    i, j, k = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k, j, i)


def imageOfArray(array: Array, *, image: Any = None) -> Any:
    """Return an image with the voxels of an array (K, J, I).

    Args:
        array: Of a type that VTK knows. The image shares its memory where it can: hand over an array that
            nobody else writes to.
        image: Filled in place of a new ``vtkImageData``.
    """
    image = vtkImageData() if image is None else image
    image.SetDimensions(*reversed(array.shape))
    flat = np.ascontiguousarray(array).ravel()
    # Editing writes in place: memory that must not be written (a mapped file) is copied.
    scalars = numpy_to_vtk(flat, deep=not flat.flags.writeable)
    scalars.SetName(SCALARS)
    image.GetPointData().SetScalars(scalars)
    return image


def smallestLabels(values: Array) -> Array:
    """Return label values in the smallest unsigned type that holds them.

    Raises:
        ValueError: There are negative or fractional values, or some above 65535.
    """
    if values.dtype == np.uint8:  # as our own worker answers: three large answers are not looked through
        return values
    # Nothing of an unsigned type lies below zero: one pass less over a large volume.
    low = values.min() if values.size and values.dtype.kind not in "ub" else 0
    high = values.max() if values.size else 0
    if not (low >= 0 and high <= 65535):  # so that NaN is refused too
        msg = _("Label values must lie in 0..65535; found {low}..{high}.")
        raise ValueError(msg.format(low=f"{low:g}", high=f"{high:g}"))
    small = values.astype(np.uint8 if high <= 255 else np.uint16, copy=False)
    if values.dtype.kind == "f" and not np.array_equal(small, values):
        raise ValueError(_("Label values must be whole numbers."))
    return small
