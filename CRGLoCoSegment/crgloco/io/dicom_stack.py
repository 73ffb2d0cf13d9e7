"""The grid that a stack of DICOM slices makes.

Every irregularity that would shift, stretch or mix anatomy is refused with the positions in mm; nothing
is resampled and no slice is invented.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from crgloco.errors import GeometryError, InputError
from crgloco.io.dicom_slices import DISTINCTIONS, Slice
from crgloco.io.volume import Geometry, Shape

_SAME_POSITION_MM = 1e-4


def stack(slices: Sequence[Slice], name: str) -> tuple[tuple[Slice, ...], Geometry]:
    """Put slices in order along their normal and return the grid they make.

    The numbers are those of SimpleITK (and so of 3D Slicer) to the last digit.

    Args:
        slices: Slices of one series that stack.
        name: Names the series in messages.

    Raises:
        InputError: Colour, several frames in a file, no position, or several images at one position.
        GeometryError: Missing or unevenly spaced slices, gantry tilt, or axes not at right angles.
    """
    _check_kind(slices, name)
    row, column, normal = _axes(slices[0], name)
    positions = np.array([one.position for one in slices], float)
    order = np.argsort(positions @ normal, kind="stable")
    positions, ordered = positions[order], tuple(slices[int(index)] for index in order)
    heights = positions @ normal
    _check_single(ordered, heights, name)
    _check_straight(ordered, positions, normal, name)
    _check_gaps(heights, name)
    count = len(ordered)
    step = _length(positions[-1] - positions[0]) / (count - 1) if count > 1 else 0.0
    first = ordered[0]
    in_plane = first.spacing or (1.0, 1.0)
    shape: Shape = (count, first.rows, first.columns)
    x, y, z = positions[0].tolist()
    direction = np.stack([row, column, normal], axis=1).tolist()
    geometry = Geometry(
        shape,
        (step or first.thickness, in_plane[0], in_plane[1]),
        (x, y, z),
        (tuple(direction[0]), tuple(direction[1]), tuple(direction[2])),
    )
    return ordered, geometry


def _check_kind(slices: Sequence[Slice], name: str) -> None:
    for one in slices:
        if not one.complete:
            msg = (
                f"{one.path} of series {name} is cut off or damaged: not all of its pixels are there. "
                "Copy or send it again."
            )
            raise InputError(msg)
        if one.enhanced:
            images = f"{one.frames} images in one file" if one.frames > 1 else "one image in each file"
            msg = (
                f"Series {name} is enhanced DICOM with {images} ({one.path}), which is not read here. "
                "Load it in 3D Slicer and save it as .nii.gz or .nrrd."
            )
            raise InputError(msg)
        if one.samples > 1:
            msg = f"Series {name} is in colour ({one.path}); a scan with one number in each voxel is needed."
            raise InputError(msg)
        if "MOSAIC" in one.distinctions[list(DISTINCTIONS).index("ImageType")]:
            msg = f"Series {name} is a mosaic of many slices in one picture ({one.path}). Convert it."
            raise InputError(msg)
        if one.position is None or one.orientation is None or min(one.spacing or (0,)) <= 0:
            msg = (
                f"Series {name} has an image that does not say where it lies ({one.path}): position, "
                "orientation or pixel size is missing. Export the series again, or convert it in 3D Slicer."
            )
            raise InputError(msg)


def _axes(
    first: Slice, name: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    orientation = np.asarray(first.orientation, float)
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose(lengths, 1, atol=1e-3) or abs(float(row @ column)) > 1e-3:
        msg = f"Series {name} has rows and columns that are not at right angles: {first.orientation}."
        raise GeometryError(msg)
    # As ITK does: exactly orthogonal, in this order, scaled by the reciprocal of the length.
    normal = np.cross(row, column)
    normal = normal * (1 / _length(normal))
    row = np.cross(column, normal)
    row = row * (1 / _length(row))
    return row, np.cross(normal, row), normal


def _length(vector: npt.NDArray[np.float64]) -> float:
    """Add the squares in ITK's order; ``numpy.linalg.norm`` may differ in the last digit."""
    x, y, z = vector.tolist()
    return math.sqrt(x * x + y * y + z * z)


def _check_single(slices: Sequence[Slice], heights: npt.NDArray[np.float64], name: str) -> None:
    """Refuse a second image at a position, and say what tells the two apart."""
    same = np.flatnonzero(np.abs(np.diff(heights)) < _SAME_POSITION_MM)
    if not len(same):
        return
    first, second = slices[int(same[0])], slices[int(same[0]) + 1]
    where = f"at {heights[same[0]]:.2f} mm ({first.path} and {second.path})"
    if first.instance == second.instance:
        msg = f"Series {name} holds the same image twice {where}. Remove the copy."
        raise InputError(msg)
    different = [
        words
        for words, one, other in zip(
            DISTINCTIONS.values(), first.distinctions, second.distinctions, strict=True
        )
        if one != other
    ]
    reason = f"they differ in {different[0]}" if different else "nothing tells them apart"
    msg = (
        f"Series {name} holds more than one image at a position, first {where}; {reason}. One volume is "
        "needed: load the series in 3D Slicer and save the volume that you want."
    )
    raise InputError(msg)


def _check_straight(
    slices: Sequence[Slice], positions: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], name: str
) -> None:
    offsets = positions - positions[0]
    sideways = offsets - np.outer(offsets @ normal, normal)
    drift = np.linalg.norm(sideways, axis=1)
    pixel = min(slices[0].spacing or (1.0, 1.0))
    allowed = max(0.1 * pixel, 1e-3 * float(np.abs(offsets @ normal).max()))
    worst = int(np.argmax(drift))
    if drift[worst] <= allowed:
        return
    rise = abs(float(offsets[-1] @ normal))
    angle = float(np.degrees(np.arctan2(drift[-1], rise)))
    regular = np.allclose(
        sideways, np.outer((offsets @ normal) / max(rise, 1e-9), sideways[-1]), rtol=0, atol=0.5 * pixel
    )
    if regular and drift[-1] > allowed:
        said = f", the header says {slices[0].tilt:.1f}" if slices[0].tilt else ""
        msg = (
            f"Series {name} was taken with a tilted gantry ({angle:.1f} degrees{said}): its slices are "
            "stacked obliquely and make no straight grid. Correct the tilt first: 3D Slicer does so when it "
            "loads the series (DICOM module, acquisition geometry regularization: apply)."
        )
    else:
        msg = (
            f"Series {name} has slices that are shifted sideways, the one in {slices[worst].path} by "
            f"{drift[worst]:.2f} mm; they make no straight grid. Export the series again."
        )
    raise GeometryError(msg)


def _check_gaps(heights: npt.NDArray[np.float64], name: str) -> None:
    gaps = np.diff(heights)
    if len(gaps) < 2:
        return
    usual = float(np.median(gaps))
    odd = np.flatnonzero(np.abs(gaps - usual) > 0.01 * usual + min(0.011, 0.1 * usual))
    if not len(odd):
        return
    shown = [
        f"{gaps[index]:.2f} mm between the slices at {heights[index]:.2f} and {heights[index + 1]:.2f} mm"
        for index in odd[:5].tolist()
    ]
    more = f" and at {len(odd) - 5} more places" if len(odd) > 5 else ""
    missing = np.round(gaps[odd] / usual) - 1
    if (missing >= 1).all() and np.allclose(gaps[odd] / usual, missing + 1, atol=0.05):
        count = int(missing.sum())
        what = f"lacks {count} slice{'s' if count > 1 else ''}"
        advice = "Import or send the missing images again."
    else:
        what = "has unevenly spaced slices"
        advice = "Resample it to even slices in 3D Slicer first, or use another series."
    msg = f"Series {name} {what} (usual distance {usual:.2f} mm): {'; '.join(shown)}{more}. {advice}"
    raise GeometryError(msg)
