"""Where a NIfTI file says that its scan lies: refused where two programs would place it differently.

A header may hold two positions (qform and sform) and the voxel size twice. ITK takes one, other
programs take the other; where both are given they must agree.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from crgloco.errors import GeometryError
from crgloco.io.nifti import read_header


def check_positions(path: Path) -> None:
    """Refuse a file whose header says two different things about where the scan lies.

    Two positions must agree to half a voxel, two voxel sizes to a thousandth.

    Raises:
        InputError: The header cannot be read.
        GeometryError: The positions or the voxel sizes disagree, the axes are not at right angles, there
            is no voxel size at all, or a position is no number.
    """
    header = read_header(path)
    if header["qform_code"] > 0:
        _check_qform(path, header)
    if not header["sform_code"] > 0:
        _check_sizes(path, header)
        return
    sform = _wide(header["srow"])
    sizes = np.abs(_wide(header["pixdim"][1:4]))
    lengths = np.linalg.norm(sform[:, :3], axis=0)
    if not np.isfinite(sform).all() or lengths.min() <= 0:
        raise _no_position(path, "sform", sform.tolist())
    unit = sform[:, :3] / lengths
    if not np.allclose(unit.T @ unit, np.eye(3), atol=1e-3):
        msg = (
            f"The axes of {path} are not at right angles (a sheared or tilted scan). "
            "Resample it to a straight grid first, for example in 3D Slicer."
        )
        raise GeometryError(msg)
    if not np.allclose(lengths, sizes, rtol=1e-3, atol=0):
        msg = (
            f"{path} gives two different voxel sizes: {_in_words(sizes)} (pixdim) and {_in_words(lengths)} "
            "(sform). Programs would measure it differently; export it again from its source."
        )
        raise GeometryError(msg)
    if header["qform_code"] > 0:
        _check_agreement(path, header, sform, sizes)


def _check_sizes(path: Path, header: Any) -> None:
    """Refuse a size that is 0 or no number, which ITK reads as 1 mm; one voxel needs no size."""
    counts = header["dim"][1 : 1 + min(3, max(int(header["dim"][0]), 0))]
    for axis, (count, size) in enumerate(zip(counts, header["pixdim"][1:4], strict=False), 1):
        if count > 1 and (not np.isfinite(size) or size == 0):
            msg = (
                f"{path} does not tell the size of its voxels along axis {axis} (its pixdim is {size:g}). "
                "Export it again from its source."
            )
            raise GeometryError(msg)


def _check_agreement(
    path: Path, header: Any, sform: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]
) -> None:
    sides = np.ones(3)
    if header["pixdim"][0] < 0:
        sides[2] = -1
    qform = np.column_stack([_rotation(header["quatern"]) * sizes * sides, header["qoffset"]])
    last = np.maximum(np.asarray(header["dim"][1:4], float) - 1, 0)
    corners = np.array([[*(last * corner), 1] for corner in np.ndindex(2, 2, 2)])
    apart = float(np.linalg.norm(corners @ (sform - qform).T, axis=1).max())
    # A quaternion near a half turn is only good to 6e-4 rad.
    allowed = max(0.5 * float(sizes.min()), 1e-3 * float(np.linalg.norm(last * sizes)))
    if not apart <= allowed:
        msg = (
            f"{path} gives two positions that disagree by {apart:.3g} mm (qform and sform), so programs "
            "place it differently. Check it in 3D Slicer against its source, above all left and right, "
            "and save it again from there."
        )
        raise GeometryError(msg)


def _check_qform(path: Path, header: Any) -> None:
    """Refuse a quaternion or an offset that is no number, which ITK reads as 0."""
    qform = [*header["quatern"].tolist(), *header["qoffset"].tolist()]
    if not np.isfinite(qform).all():
        raise _no_position(path, "qform", qform)


def _no_position(path: Path, form: str, numbers: list[Any]) -> GeometryError:
    return GeometryError(f"{path} holds no usable position (its {form} is {numbers}). Export the scan again.")


def _wide(numbers: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return numbers of a header; a damaged one may hold the kind of NaN of which numpy warns."""
    with np.errstate(invalid="ignore"):
        return np.asarray(numbers, np.float64)


def _rotation(quaternion: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    b, c, d = (float(part) for part in quaternion)
    square = 1 - (b * b + c * c + d * d)
    versor = sitk.VersorTransform([b, c, d, 0.0 if square < 1e-7 else math.sqrt(square)])
    return np.reshape(versor.GetMatrix(), (3, 3))


def _in_words(sizes: npt.NDArray[np.float64]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
