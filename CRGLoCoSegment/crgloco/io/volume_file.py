"""One volume file: its kind recognised, its header checked, its voxels read.

What SimpleITK and the operating system raise becomes one line in the user's words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from crgloco.errors import CRGLoCoError, GeometryError, InputError
from crgloco.io import nifti, nrrd
from crgloco.io.nifti_positions import check_positions
from crgloco.io.text_header import TEXT_SUFFIXES, TextHeader, read_text_header
from crgloco.io.volume import Geometry, Volume
from crgloco.io.voxel_bytes import check_voxel_bytes

_READERS = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
_CONTENTS = {
    ".nii.gz": ("gzip", "NIfTI"),
    ".nii": ("NIfTI", "gzip"),
    ".nrrd": ("NRRD",),
    ".nhdr": ("NRRD",),
    ".mha": ("MetaImage",),
    ".mhd": ("MetaImage",),
}
# MetaImage may begin with notes before it tells what it is; only its comment is bounded, by ITK.
_START = 8192
_LONGEST_COMMENT = 499


def volume_suffix(path: Path) -> str | None:
    """Return the ending that names the format (``".nii.gz"``), in lower case; ``None`` if not ours."""
    name = path.name.lower()
    return next((suffix for suffix in _READERS if name.endswith(suffix) and name != suffix), None)


def read_file(path: Path) -> Volume:
    """Read a volume file; see ``files.read_volume``."""
    with _explained(path):
        reader, geometry, text = _open_header(path)
        if text is None:
            return Volume(nifti.read_pixels(path, geometry.shape), geometry)
        check_voxel_bytes(path, text, math.prod(geometry.shape) * _voxel_bytes(reader))
        return Volume(sitk.GetArrayFromImage(reader.Execute()), geometry)


def read_file_geometry(path: Path) -> Geometry:
    """Read the header of a volume file; see ``files.read_geometry``."""
    with _explained(path):
        return _open_header(path)[1]


def _open_header(path: Path) -> tuple[sitk.ImageFileReader, Geometry, TextHeader | None]:
    """Return ITK's reader, the geometry, and the text of a NRRD or MetaImage file."""
    suffix = volume_suffix(path) or ""
    _check_start(path, suffix)
    if _READERS[suffix] == "NiftiImageIO":
        check_positions(path)
    # The text is looked at before ITK, which crashes on some of what it refuses.
    text = read_text_header(path) if suffix in TEXT_SUFFIXES else None
    if text is not None and _READERS[suffix] == "MetaImageIO":
        _check_comment(path, text.fields.get("Comment", ""))
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READERS[suffix])
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    _check_kind(reader, path)
    if text is not None and _READERS[suffix] == "NrrdImageIO":
        nrrd.check_spacings(path, text.fields)
    elif text is not None:
        _check_place(path, text.fields, reader)
    return reader, _geometry(reader, path), text


def _check_start(path: Path, suffix: str) -> None:
    """Refuse an empty file, and one whose first bytes belong to another ending."""
    with path.open("rb") as file:
        start = file.read(_START)
    if not start:
        msg = f"{path} is empty (0 bytes). Copy or export it again."
        raise InputError(msg)
    found = _content(start)
    if found not in _CONTENTS[suffix]:
        said = f"its content is {found}" if found else "its content is of no known kind"
        msg = f"{path} is no {suffix} file as its name says: {said}. Rename it, or export it again."
        raise InputError(msg)


def _content(start: bytes) -> str:
    if start[:2] == b"\x1f\x8b":
        return "gzip"
    if start[:4] == b"NRRD":
        return "NRRD"
    if start[128:132] == b"DICM":
        return "DICOM"
    if start[:8] == b"\x89PNG\r\n\x1a\n" or start[:3] == b"\xff\xd8\xff":
        return "a picture"
    if start[344:347] in (b"n+1", b"ni1") or start[4:7] in (b"n+2", b"ni2"):
        return "NIfTI"
    # ITK itself crashes where NDims is no small number.
    return "MetaImage" if re.search(rb"^NDims *= *[1-9] *\r?$", start, re.MULTILINE) else ""


def _check_comment(path: Path, comment: str) -> None:
    count = len(comment.encode("utf-8", "surrogateescape"))
    if count > _LONGEST_COMMENT:
        msg = (
            f"{path} has a comment of {count} bytes in its header; up to {_LONGEST_COMMENT} can be read. "
            "Shorten it, or export the scan again."
        )
        raise InputError(msg)


def _check_kind(reader: sitk.ImageFileReader, path: Path) -> None:
    size = " x ".join(str(count) for count in reader.GetSize())
    if reader.GetDimension() != 3:
        advice = "Split it into one 3-D file for each channel or time." if reader.GetDimension() > 3 else ""
        msg = f"{path} has {reader.GetDimension()} dimensions ({size}); a volume of 3 is needed. {advice}"
        raise InputError(msg.strip())
    if reader.GetPixelIDValue() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        msg = f"{path} holds complex numbers; export its magnitude."
        raise InputError(msg)
    if reader.GetNumberOfComponents() != 1:
        count = reader.GetNumberOfComponents()
        msg = f"{path} holds {count} numbers in each voxel (colour or vectors). Split it into one file each."
        raise InputError(msg)


def _check_place(path: Path, fields: Mapping[str, str], reader: sitk.ImageFileReader) -> None:
    """Refuse MetaImage of which ITK has read other numbers than are written there.

    It reads 0 for what is no number, and a field that lacks numbers swallows the next one.
    """
    direction = reader.GetDirection()
    columns = (*direction[0::3], *direction[1::3], *direction[2::3])
    size = "ElementSpacing" if "ElementSpacing" in fields else "ElementSize"
    places = (
        ("position", ("Offset", "Position", "Origin"), reader.GetOrigin()),
        ("voxel size", (size,), reader.GetSpacing()),
        ("direction", ("TransformMatrix", "Rotation", "Orientation"), columns),
    )
    for what, names, read in places:
        for name in names:
            if name in fields and not _agree(fields[name], read):
                msg = (
                    f"{path} holds no usable {what}: its {name} is {fields[name]!r}, but what is read is "
                    f"{' '.join(f'{number:g}' for number in read)}. Export the scan again."
                )
                raise GeometryError(msg)


def _agree(said: str, read: Sequence[float]) -> bool:
    words = said.split()
    try:
        return len(words) == len(read) and all(map(math.isclose, map(float, words), read))
    except ValueError:
        return False


def _voxel_bytes(reader: sitk.ImageFileReader) -> int:
    return int(sitk.Image([1, 1, 1], reader.GetPixelIDValue()).GetSizeOfPixelComponent())


def _geometry(reader: sitk.ImageFileReader, path: Path) -> Geometry:
    i, j, k = reader.GetSize()
    x, y, z = reader.GetSpacing()
    direction = reader.GetDirection()
    rows = (direction[0:3], direction[3:6], direction[6:9])
    try:
        return Geometry((k, j, i), (z, y, x), reader.GetOrigin(), rows)
    except GeometryError as error:
        msg = f"{path} does not lie on a usable grid. {error}"
        raise GeometryError(msg) from error


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the libraries raise into one line, and keep ITK's remarks off the screen."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()
    try:
        yield
    except CRGLoCoError:
        raise
    except PermissionError as error:
        msg = f"{path} cannot be opened: you have no permission to read it."
        raise InputError(msg) from error
    except OSError as error:
        msg = f"{path} cannot be read: {(error.strerror or str(error)).lower()}."
        raise InputError(msg) from error
    except RuntimeError as error:
        msg = f"{path} is damaged, cut off, or lacks its data file. Copy or export it again."
        raise InputError(msg) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
