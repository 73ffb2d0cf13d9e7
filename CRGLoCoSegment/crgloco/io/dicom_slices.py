"""DICOM images as slices: what their headers say, and the grid that a stack of them makes.

Only headers are read here, no pixels. Every irregularity that would shift, stretch or mix anatomy is
refused with the positions in mm; nothing is resampled and no slice is invented.
"""

from __future__ import annotations

import math
import os
import re
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian

from crgloco.errors import GeometryError, InputError
from crgloco.io.volume import Geometry, Shape

# What tells two images at one position apart, in the order in which a user understands it.
_DISTINCTIONS = {
    "TemporalPositionIdentifier": "time point (TemporalPositionIdentifier)",
    "TriggerTime": "time in the heart cycle (TriggerTime)",
    "EchoTime": "echo time (EchoTime)",
    "EchoNumbers": "echo (EchoNumbers)",
    "InversionTime": "inversion time (InversionTime)",
    "DiffusionBValue": "diffusion weighting (DiffusionBValue)",
    "ImageType": "kind of image (ImageType)",
    "AcquisitionNumber": "acquisition (AcquisitionNumber)",
    "ConvolutionKernel": "reconstruction kernel (ConvolutionKernel)",
    "AcquisitionTime": "time (AcquisitionTime)",
    "InstanceNumber": "number (InstanceNumber)",
}
_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality"),
    *("PatientName", "PatientID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "BitsAllocated", "BitsStored"),
    *("PixelRepresentation", "GantryDetectorTilt", *_DISTINCTIONS),
]
# What pydicom raises on bytes that make no sense.
DAMAGED = (
    *(InvalidDicomError, BytesLengthException, NotImplementedError, RuntimeError, OSError),
    *(ValueError, TypeError, KeyError, AttributeError, EOFError, OverflowError, zlib.error),
)
# Objects with rows and columns that are no scan.
_NO_SCANS = {"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "RTIMAGE", "SR", "PR", "KO", "REG", "RWV", "AU", "DOC"}
_SAME_DIRECTION = 1e-4
# From here on in Unicode: Chinese, Japanese and Korean, which write words without a border between them.
_WITHOUT_SPACES = "\u2e80"
_SAME_POSITION_MM = 1e-4
_PIXEL_KINDS = {b"OB", b"OW", b"OF", b"OD", b"UN"}
_UNTIL_MARKED = 0xFFFFFFFF


@dataclass(frozen=True)
class Slice:
    """One DICOM image file.

    Attributes:
        path: The file.
        instance: SOPInstanceUID.
        series: SeriesInstanceUID, may be empty.
        number: SeriesNumber, 0 where absent.
        description: SeriesDescription without the parts of the patient's name or number.
        modality: ``CT``, ``MR``, ``PT`` and so on.
        rows: Voxels along J.
        columns: Voxels along I.
        frames: Images in the file; 1 for the usual kind.
        samples: Numbers in a voxel; 3 for colour.
        position: Centre of the first voxel, x, y, z in mm (LPS), or ``None``.
        orientation: Unit vectors along I and along J, or ``None``.
        spacing: Millimetres along J and along I, or ``None``.
        thickness: Millimetres to the next slice as the header hopes, 1 where it says nothing.
        tilt: Degrees that the gantry was tilted by, as the header says.
        storage: What decides the number type: slope, intercept, bits (allocated and stored), sign.
        complete: Whether the file holds as many bytes of pixels as its header promises.
        distinctions: Values of the tags that tell images at one position apart.
    """

    path: Path
    instance: str
    series: str
    number: int
    description: str
    modality: str
    rows: int
    columns: int
    frames: int
    samples: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float
    tilt: float
    storage: tuple[float, float, int, int, int]
    complete: bool
    distinctions: tuple[str, ...]

    def stacks_with(self, other: Slice) -> bool:
        """Whether both can lie in one volume: same size, direction and pixel size."""
        return (
            (self.rows, self.columns, self.frames) == (other.rows, other.columns, other.frames)
            and _close(self.orientation, other.orientation, _SAME_DIRECTION)
            and _close(self.spacing, other.spacing, 1e-4)
        )


def read_slice(path: Path) -> Slice | None:
    """Read one header; ``None`` if the file is no DICOM image of a scan (RTSTRUCT, SEG, report).

    Raises:
        InputError: The header is damaged, so that nobody knows what the file belongs to.
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)
            return _slice(path, header, file)
    except (*DAMAGED, MemoryError) as error:  # a damaged length asks for all the memory there is
        msg = f"{path} is a damaged DICOM file: its header cannot be read. Copy or send it again."
        raise InputError(msg) from error


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


def _slice(path: Path, header: pydicom.Dataset, file: BinaryIO) -> Slice | None:
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    modality = str(header.get("Modality") or "")
    if modality in _NO_SCANS:
        return None
    if rows < 1 or columns < 1:
        _check_end(header)
        return None
    frames, samples = int(header.get("NumberOfFrames") or 1), int(header.get("SamplesPerPixel") or 1)
    thickness = abs(float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1.0))
    return Slice(
        path=path,
        instance=str(header.get("SOPInstanceUID") or ""),
        series=str(header.get("SeriesInstanceUID") or ""),
        number=int(header.get("SeriesNumber") or 0),
        description=_anonymous(header),
        modality=modality,
        rows=rows,
        columns=columns,
        frames=frames,
        samples=samples,
        position=_numbers(header, "ImagePositionPatient", 3),
        orientation=_numbers(header, "ImageOrientationPatient", 6),
        spacing=_numbers(header, "PixelSpacing", 2),
        thickness=thickness or 1.0,
        tilt=float(header.get("GantryDetectorTilt") or 0.0),
        storage=(
            float(header.get("RescaleSlope", 1) if header.get("RescaleSlope") is not None else 1),
            float(header.get("RescaleIntercept") or 0.0),
            int(header.get("BitsAllocated") or 0),
            int(header.get("BitsStored") or 0),
            int(header.get("PixelRepresentation") or 0),
        ),
        complete=_is_complete(header, file, rows * columns * frames * samples),
        distinctions=tuple(str(header.get(tag, "")) for tag in _DISTINCTIONS),
    )


def _is_complete(header: pydicom.Dataset, file: BinaryIO, numbers: int) -> bool:
    """Look at the element of the pixels, before which the reading of the header ended.

    GDCM makes 0 of pixels that are missing, and asks for the memory of a length that is damaged.
    """
    if header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return True  # pydicom has unpacked it to its end
    left = os.fstat(file.fileno()).st_size - file.tell()
    start = file.read(12)
    # Not by the transfer syntax, about which some programs are wrong.
    begin = 8 if start[4:6] in _PIXEL_KINDS else 4
    length = int.from_bytes(start[begin : begin + 4], "big" if start[:1] == b"\x7f" else "little")
    wanted = numbers * int(header.get("BitsAllocated") or 0) // 8
    return length == _UNTIL_MARKED or wanted <= length <= left - begin - 4


def _check_end(header: pydicom.Dataset) -> None:
    """Refuse the header of an image that was cut off before the size; others have none."""
    kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    is_cut = "Image Storage" in kind.name if kind else header.preamble is not None
    if is_cut:
        msg = "the header ends before the size of the image"
        raise EOFError(msg)


def _numbers(header: pydicom.Dataset, tag: str, count: int) -> tuple[float, ...] | None:
    value = header.get(tag)
    if value is None or isinstance(value, (str, float)) or len(value) != count:
        return None
    numbers = tuple(float(part) for part in value)
    return numbers if np.isfinite(numbers).all() else None


def _anonymous(header: pydicom.Dataset) -> str:
    """Return the series description without any part of the patient's name or number."""
    text = str(header.get("SeriesDescription") or "")
    person = f"{header.get('PatientName') or ''} {header.get('PatientID') or ''}"
    parts = sorted(re.findall(r"[^\s^=,;_-]+", person), key=len, reverse=True)
    short = [part for part in parts if len(part) < 3 and part < _WITHOUT_SPACES]
    for part in parts:
        if part not in short:
            text = re.sub(re.escape(part), "", text, flags=re.IGNORECASE)
    if short:
        # "Li" and "Bo" go as words, or together ("LiBo"); they are part of "Liver" and "Bone" too.
        letter = rf"[^\W_{_WITHOUT_SPACES}-\U0010ffff]"
        words = "|".join(map(re.escape, short))
        text = re.sub(rf"(?<!{letter})(?:{words})+(?!{letter})", "", text, flags=re.IGNORECASE)
    return text.strip()


def _close(first: tuple[float, ...] | None, second: tuple[float, ...] | None, tolerance: float) -> bool:
    if first is None or second is None:
        return first is second
    return bool(np.allclose(first, second, rtol=0, atol=tolerance))


def _check_kind(slices: Sequence[Slice], name: str) -> None:
    for one in slices:
        if not one.complete:
            msg = (
                f"{one.path} of series {name} is cut off or damaged: not all of its pixels are there. "
                "Copy or send it again."
            )
            raise InputError(msg)
        if one.frames > 1:
            msg = (
                f"Series {name} keeps {one.frames} images in one file ({one.path}); such multi-frame DICOM "
                "is not read here. Load it in 3D Slicer and save it as .nii.gz or .nrrd."
            )
            raise InputError(msg)
        if one.samples > 1:
            msg = f"Series {name} is in colour ({one.path}); a scan with one number in each voxel is needed."
            raise InputError(msg)
        if "MOSAIC" in one.distinctions[list(_DISTINCTIONS).index("ImageType")]:
            msg = f"Series {name} is a mosaic of many slices in one picture ({one.path}). Convert it."
            raise InputError(msg)
        if one.position is None or one.orientation is None or one.spacing is None:
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
            _DISTINCTIONS.values(), first.distinctions, second.distinctions, strict=True
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
