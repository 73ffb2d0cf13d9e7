"""NIfTI-1 files byte by byte: pixels read with every byte accounted for, geometry written exactly.

SimpleITK reads a cut or damaged NIfTI file as if the missing voxels were 0, and says nothing; so
the pixels are read here. It also writes directions as rounded float32 numbers that read back up to
1e-7 away from what was read before; so the header is written here, and a label on the grid of a
NIfTI image gets the very numbers of that image. The geometry itself is always read by SimpleITK.

NIfTI holds float32 only: a grid that comes from DICOM or NRRD (float64) is rounded once, by up to
6e-8 of each number, and is exact from then on.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from crgloco.errors import GeometryError, InputError
from crgloco.io.volume import Geometry, Shape, Volume

_HEADER_BYTES = 348
_FIRST_VOXEL = 352
_COMPRESSION = 4
_CHUNK = 1 << 24
# Bytes that one byte of gzip can stand for, at most.
_DENSEST = 1100
_MAXIMUM_AXIS = 32767

# name: (format, offset in bytes), from nifti1.h
_FIELDS: dict[str, tuple[str, int]] = {
    "sizeof_hdr": ("i4", 0),
    "dim": ("(8,)i2", 40),
    "datatype": ("i2", 70),
    "bitpix": ("i2", 72),
    "pixdim": ("(8,)f4", 76),
    "vox_offset": ("f4", 108),
    "scl_slope": ("f4", 112),
    "scl_inter": ("f4", 116),
    "xyzt_units": ("u1", 123),
    "qform_code": ("i2", 252),
    "sform_code": ("i2", 254),
    "quatern": ("(3,)f4", 256),
    "qoffset": ("(3,)f4", 268),
    "srow": ("(3,4)f4", 280),
    "magic": ("S4", 344),
}
_KINDS: dict[int, str] = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_CODES = {np.dtype(kind): code for code, kind in _KINDS.items()}
# NIfTI's codes of the units of length.
_MILLIMETRES, _MICROMETRES = 2, 3
# Other programs overlook the unit: micrometres are written only for voxels that are counted in them.
_MICROSCOPIC_MM = 0.1
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def read_header(path: Path) -> Any:
    """Read the header alone: a numpy record with the fields that we use, named as in nifti1.h.

    Raises:
        InputError: The file is cut, or is no single-file NIfTI-1.
    """
    with _open(path) as file:
        try:
            raw = file.read(_HEADER_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(_damaged(path)) from error
    if len(raw) < _HEADER_BYTES:
        raise InputError(_damaged(path))
    for layout in (_layout("<"), _layout(">")):
        header = np.frombuffer(raw, layout)[0]
        if header["sizeof_hdr"] == _HEADER_BYTES and bytes(header["magic"]) == b"n+1":
            return header
    msg = f"{path} is no single-file NIfTI-1 scan. Export it again as .nii.gz, .nrrd or .mha."
    raise InputError(msg)


def read_pixels(path: Path, shape: Shape) -> npt.NDArray[np.generic]:
    """Read all voxels of a scalar 3-D NIfTI file.

    Args:
        path: A ``.nii`` or ``.nii.gz`` file.
        shape: Voxels along K, J, I, as its geometry says.

    Returns:
        Array (K, J, I) of the file's own type, or float (32 bit, 64 for types that need it) where
        the file asks for a slope and intercept.

    Raises:
        InputError: The file is cut, damaged or of a type that is no plain number.
    """
    header = read_header(path)
    code = int(header["datatype"])
    if code not in _KINDS:
        msg = f"{path} holds voxels of NIfTI type {code}; plain numbers are needed (no colour, no complex)."
        raise InputError(msg)
    kind = np.dtype(_KINDS[code]).newbyteorder(header.dtype["dim"].base.byteorder)
    offset = float(header["vox_offset"])
    start = int(offset) if np.isfinite(offset) and offset > _FIRST_VOXEL else _FIRST_VOXEL
    data = _read_bytes(path, start, math.prod(shape) * kind.itemsize)
    array = np.frombuffer(data, kind).reshape(shape)
    array = array.astype(kind.newbyteorder("="), copy=False)
    return _rescaled(array, float(header["scl_slope"]), float(header["scl_inter"]))


def write(volume: Volume, path: Path) -> None:
    """Write ``.nii`` or ``.nii.gz``; equal volumes give equal bytes.

    Args:
        volume: Any of the plain number types of NIfTI.
        path: The file, written in place.

    Raises:
        InputError: The type or the size is beyond NIfTI.
        GeometryError: The axes are not straight enough for NIfTI.
        OSError: The file cannot be written.
    """
    header = _header(volume).tobytes() + bytes(_FIRST_VOXEL - _HEADER_BYTES)
    array = np.ascontiguousarray(volume.array).astype(volume.array.dtype.newbyteorder("<"), copy=False)
    with path.open("wb") as file:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", _COMPRESSION, cast(IO[bytes], file), mtime=0) as packed:
                packed.write(header)
                for plane in array:  # plane by plane: gzip keeps what one call gives until it ends
                    packed.write(plane.reshape(-1).view(np.uint8).data)
        else:
            file.write(header)
            file.write(array.reshape(-1).view(np.uint8).data)


def _layout(order: Literal["<", ">"]) -> np.dtype[Any]:
    formats: list[np.dtype[Any]] = [np.dtype(kind) for kind, _ in _FIELDS.values()]
    contents: Any = {
        "names": list(_FIELDS),
        "formats": [kind.newbyteorder(order) for kind in formats],
        "offsets": [offset for _, offset in _FIELDS.values()],
        "itemsize": _HEADER_BYTES,
    }
    return cast("np.dtype[Any]", np.dtype(contents))


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if packed else path.open("rb")


def _read_bytes(path: Path, start: int, count: int) -> bytearray:
    """Read exactly the voxels; then go to the end, where gzip keeps its check sum."""
    if start + count > _DENSEST * path.stat().st_size:
        raise InputError(_damaged(path))  # before memory for a damaged header's size is asked for
    try:
        with _open(path) as file:
            file.seek(start)
            data = bytearray(count)
            view, filled = memoryview(data), 0
            read_into = cast(Callable[[memoryview], int], file.readinto)  # type: ignore[attr-defined]
            while filled < count:
                got = read_into(view[filled : filled + _CHUNK])
                if got == 0:
                    raise InputError(_damaged(path))
                filled += got
            while file.read(_CHUNK):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(_damaged(path)) from error
    return data


def _damaged(path: Path) -> str:
    return f"{path} is cut off or damaged: not all of its voxels are there. Copy or export it again."


def _rescaled(array: npt.NDArray[Any], slope: float, intercept: float) -> npt.NDArray[np.generic]:
    """Apply the file's slope and intercept slice by slice, as ITK does (0 or NaN means none)."""
    slope = slope if np.isfinite(slope) and slope != 0 else 1.0
    intercept = intercept if np.isfinite(intercept) else 0.0
    if (slope, intercept) == (1.0, 0.0):
        return array
    wide = array.dtype.itemsize > 4 or array.dtype in (np.int32, np.uint32)
    scaled = np.empty(array.shape, np.float64 if wide else np.float32)
    for number, plane in enumerate(array):
        scaled[number] = plane.astype(np.float64) * slope + intercept
    return scaled


def _header(volume: Volume) -> Any:
    geometry, kind = volume.geometry, volume.array.dtype.newbyteorder("=")
    if kind not in _CODES:
        msg = f"NIfTI cannot hold voxels of the type {kind}."
        raise InputError(msg)
    if max(geometry.shape) > _MAXIMUM_AXIS:
        msg = f"NIfTI holds at most {_MAXIMUM_AXIS} voxels along an axis; found {geometry.shape[::-1]}."
        raise InputError(msg)
    directions = _LPS_TO_RAS @ np.asarray(geometry.direction, float)
    if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-4):
        msg = f"The axes are not at right angles, which NIfTI cannot hold: {geometry.direction}."
        raise GeometryError(msg)
    unit, spacing, origin = _in_unit(geometry)
    columns = [_column(directions[:, axis], spacing[axis]) for axis in range(3)]
    side, quaternion = _quaternion(directions)
    header = np.zeros((), _layout("<"))
    header["sizeof_hdr"] = _HEADER_BYTES
    header["dim"] = (3, *geometry.shape[::-1], 1, 1, 1, 1)
    header["datatype"], header["bitpix"] = _CODES[kind], 8 * kind.itemsize
    header["pixdim"] = (side, *spacing, 0, 0, 0, 0)
    header["vox_offset"], header["scl_slope"] = _FIRST_VOXEL, 1
    header["xyzt_units"] = unit
    header["qform_code"] = header["sform_code"] = 1
    header["quatern"], header["qoffset"] = quaternion, origin
    header["srow"] = np.column_stack([*columns, origin])
    header["magic"] = b"n+1"
    return header


def _in_unit(geometry: Geometry) -> tuple[int, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return unit code, voxel sizes I, J, K and origin (RAS) in the unit that holds them exactly.

    A file in micrometres must be answered in micrometres: 2 um is a float32, 0.002 mm is none.
    """
    wanted = np.array([*geometry.spacing[::-1], *(_LPS_TO_RAS @ np.asarray(geometry.origin, float))])
    unit, stored = _MILLIMETRES, wanted.astype(np.float32)
    if max(geometry.spacing) < _MICROSCOPIC_MM and not np.array_equal(stored, wanted):
        micrometres = (wanted / 1e-3).astype(np.float32)
        # As ITK multiplies on reading.
        if np.array_equal(micrometres.astype(np.float64) * 1e-3, wanted):
            unit, stored = _MICROMETRES, micrometres
    return unit, stored[:3], stored[3:]


def _column(direction: npt.NDArray[np.float64], spacing: np.float32) -> npt.NDArray[np.float32]:
    """Return a float32 vector of about the length ``spacing`` that ITK reads as exactly ``direction``.

    ITK divides the stored vector by its length. The stored vector had float32 parts, so we try the
    float32 numbers near ``spacing`` for its largest part, and take the nearest vector that fits.
    """
    largest = int(np.argmax(np.abs(direction)))
    middle = np.float32(abs(direction[largest]) * spacing)
    steps = np.arange(-4096, 4097)
    steps = steps[np.argsort(np.abs(steps), kind="stable")]
    near = (middle.view(np.int32) + steps).astype(np.int32).view(np.float32)
    tried = (direction * (near[:, None].astype(np.float64) / abs(direction[largest]))).astype(np.float32)
    wide = tried.astype(np.float64)
    length = np.sqrt(wide[:, 0] ** 2 + wide[:, 1] ** 2 + wide[:, 2] ** 2)
    fits = (wide / length[:, None] == direction).all(axis=1)
    return cast(npt.NDArray[np.float32], tried[int(np.argmax(fits))])


def _quaternion(directions: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the side (-1 for a left-handed grid) and b, c, d of the unit quaternion with a >= 0."""
    side = 1.0 if np.linalg.det(directions) > 0 else -1.0
    left, _, right = np.linalg.svd(directions * [1, 1, side])
    versor = sitk.VersorTransform()
    versor.SetMatrix((left @ right).ravel().tolist())  # ITK wants it orthogonal to 1e-10
    *quaternion, a = versor.GetVersor()
    return side, np.copysign(1, a) * np.array(quaternion)
