"""DICOM images as slices: what their headers say, no pixels, and nothing of the patient's name."""

from __future__ import annotations

import os
import re
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian

from crgloco.errors import InputError

# What tells two images at one position apart, in the order in which a user understands it.
DISTINCTIONS = {
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
    *("PixelRepresentation", "GantryDetectorTilt", "SharedFunctionalGroupsSequence", *DISTINCTIONS),
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
        enhanced: Whether the file tells of place and size frame by frame, even if it has but one.
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
    enhanced: bool
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
        enhanced=frames > 1 or "SharedFunctionalGroupsSequence" in header,
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
        distinctions=tuple(str(header.get(tag, "")) for tag in DISTINCTIONS),
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
