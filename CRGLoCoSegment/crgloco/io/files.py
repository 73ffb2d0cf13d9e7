"""Scans on disk: read, written and found.

Volumes are NIfTI-1 (``.nii.gz``, ``.nii``), NRRD (``.nrrd``, ``.nhdr``) and MetaImage (``.mha``,
``.mhd``), or DICOM series. Geometry is what SimpleITK, and so 3D Slicer, reads. A volume that is
written on a grid that was read from the same kind of file gets exactly the same geometry back.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from crgloco.atomic import LONG_PAUSES_S, PART, patiently, saving
from crgloco.errors import InputError
from crgloco.file_names import assert_text, is_dead_link, is_file, is_litter
from crgloco.io import dicom, nifti, nrrd
from crgloco.io.orientation import on_grid
from crgloco.io.volume import Geometry, Volume
from crgloco.io.volume_file import read_file, read_file_geometry, volume_suffix

WRITTEN_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
# What 3D Slicer calls its segmentations, which users keep beside the scans.
_SEGMENTATION_SUFFIXES = (".seg.nrrd", ".seg.nhdr")
_READ_IN_WORDS = ".nii.gz, .nii, .nrrd, .mha or .mhd, or a folder of DICOM images"


@dataclass(frozen=True)
class Source:
    """One scan that can be read.

    Attributes:
        name: Fit for a file name; the file's name without its ending, or the series' name.
        path: The file, or the folder of the series.
        series_uid: Names the DICOM series in the folder; ``None`` for a file.
    """

    name: str
    path: Path
    series_uid: str | None = None


def volume_stem(path: Path) -> str:
    """Return the file name without the ending that names the format."""
    suffix = volume_suffix(path)
    return path.name[: -len(suffix)] if suffix else path.name


def read_volume(path: Path) -> Volume:
    """Read a scalar 3-D volume: a file, a folder with one DICOM series, or one DICOM file of a series.

    The numbers keep the type they have on disk (float where the file asks for a slope); NaN and
    constant scans are read, see ``assert_usable_image``.

    Raises:
        InputError: Missing, empty, damaged, cut off, colour, 2-D, 4-D, no scan at all, or a name that is
            no text.
        GeometryError: The file contradicts itself about where it lies, or its grid is not straight.
    """
    series = _series_at(path)
    if series is not None:
        return dicom.read_series(series)
    return read_file(path)


def read_geometry(path: Path) -> Geometry:
    """Read where a volume lies from its header alone; raises as ``read_volume``."""
    series = _series_at(path)
    if series is not None:
        return dicom.read_series_geometry(series)
    return read_file_geometry(path)


def read_channels(sources: Sequence[Source]) -> tuple[Volume, ...]:
    """Read the channels of one case on the grid of the first, and refuse what no network can make sense of.

    The axes of the others may be stored otherwise, as Slicer saves what it made of a left-handed scan.

    Raises:
        InputError: A channel cannot be read, or shows nothing (``assert_usable_image``).
        GeometryError: The channels lie on different grids.
    """
    volumes: list[Volume] = []
    for source in sources:
        volume = read_source(source)
        assert_usable_image(volume, source.path)
        if volumes:
            what = f"The channels {source.path} and {sources[0].path}"
            volume = on_grid(volume, volumes[0].geometry, what)
        volumes.append(volume)
    return tuple(volumes)


def assert_usable_image(volume: Volume, path: Path) -> None:
    """Refuse an image that no network can make sense of.

    Raises:
        InputError: NaN or infinite voxels, the same number everywhere, or only one voxel along an axis.
    """
    array = volume.array
    if min(array.shape) < 2:
        shape = " x ".join(str(count) for count in array.shape[::-1])
        msg = f"{path} is a single slice ({shape} voxels); at least 2 along each axis are needed."
        raise InputError(msg)
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        count = sum(int(np.count_nonzero(~np.isfinite(plane))) for plane in array)
        msg = f"{path} has {count} voxels that are no number (NaN or infinite). Export or repair it."
        raise InputError(msg)
    if low == high:
        msg = f"{path} holds the same number ({low:g}) in every voxel: there is nothing to see."
        raise InputError(msg)


def write_volume(volume: Volume, path: Path) -> None:
    """Write a volume; the format follows the ending (``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha``).

    The file appears whole or not at all: it is written into a folder ``….part`` beside it and then
    moved. Truth values are written as 0 and 1, 16-bit floats as 32-bit floats.

    Raises:
        InputError: The ending is none of these, the format cannot hold the numbers, or the name is no text.
        ResourceError: The disk is full, or the folder is missing or cannot be written.
    """
    suffix = volume_suffix(path)
    if suffix not in WRITTEN_SUFFIXES:
        msg = f"{path} cannot be written: its name must end in {', '.join(WRITTEN_SUFFIXES)}."
        raise InputError(msg)
    assert_text(path)
    volume = _storable(volume)
    with saving(path):
        # Of short name, for Windows' short paths; not by tempfile, which there lets nobody else read what is
        # in it, and tries for hours where the folder may not be written.
        part = path.with_name(f"{uuid.uuid4().hex[:8]}{PART}")
        part.mkdir()
        try:
            _write(volume, part / f"volume{suffix}")
            patiently(lambda: (part / f"volume{suffix}").replace(path), LONG_PAUSES_S)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def find_volumes(folder: Path, passed_over: Container[str] = ()) -> tuple[Source, ...]:
    """Find all scans of a folder: volume files directly in it, DICOM series at any depth; by name.

    Segmentations of 3D Slicer (``.seg.nrrd``) are none.

    Args:
        folder: Where to look.
        passed_over: Names of files directly in it that are no scans.

    Raises:
        InputError: There is no such folder.
    """
    if not folder.is_dir():
        msg = f"{folder} is no folder. Give a folder of volumes or of DICOM images."
        raise InputError(msg)
    named = (path for path in sorted(folder.iterdir()) if path.name not in passed_over)
    files = [path for path in named if _may_be_scan(path.name) and is_file(path)]
    stems = [volume_stem(path) for path in files]
    sources = [
        # a.nii.gz beside a.nrrd: two scans must not share a name, or one result would replace the other.
        Source(stem if stems.count(stem) == 1 else path.name.replace(".", "_"), path)
        for stem, path in zip(stems, files, strict=True)
    ]
    series = dicom.list_series(folder)
    names = [one.name for one in series]
    sources += [
        Source(one.name if names.count(one.name) == 1 else _apart(one, folder), one.folder, one.uid)
        for one in series
    ]
    return tuple(sorted(sources, key=lambda source: (source.name, str(source.path))))


def read_source(source: Source) -> Volume:
    """Read what ``find_volumes`` found; raises as ``read_volume``."""
    if source.series_uid is None:
        return read_volume(source.path)
    return dicom.read_series(_series_of_source(source))


def source_geometry(source: Source) -> Geometry:
    """Read where a source lies, from headers alone; raises as ``read_volume``."""
    if source.series_uid is None:
        return read_geometry(source.path)
    return dicom.read_series_geometry(_series_of_source(source))


def source_files(source: Source) -> tuple[Path, ...]:
    """Return the files of a source: one, or the images of a series in the order of their paths."""
    if source.series_uid is None:
        return (source.path,)
    return _series_of_source(source).files


def _may_be_scan(name: str) -> bool:
    known = volume_suffix(Path(name)) is not None and not is_litter(name)
    return known and not name.lower().endswith(_SEGMENTATION_SUFFIXES)


def _apart(series: dicom.Series, folder: Path) -> str:
    """Tell series apart that had their identifiers removed: by where they lie, not readable as a name."""
    place = series.folder.relative_to(folder).as_posix()
    return f"{series.name}_{hashlib.sha256(os.fsencode(place)).hexdigest()[:8]}"


def _series_of_source(source: Source) -> dicom.Series:
    for series in dicom.list_series(source.path):
        if series.uid == source.series_uid and series.folder == source.path:
            return series
    msg = f"The DICOM series {source.name} is no longer in {source.path}. Read the folder again."
    raise InputError(msg)


def _series_at(path: Path) -> dicom.Series | None:
    """Return the series that a path stands for; ``None`` if it is a volume file by its name."""
    assert_text(path)
    if path.is_dir():
        return dicom.single_series(path)
    if is_dead_link(path):
        msg = f"{path} is a link to {path.readlink()}, which does not exist. Fetch that file first."
        raise InputError(msg)
    if not path.exists():
        msg = f"{path} does not exist. Check the name and the folder."
        raise InputError(msg)
    if volume_suffix(path):
        return None
    if dicom.looks_like_dicom(path):
        return dicom.series_of(path)
    msg = f"{path} is no volume that can be read. Give {_READ_IN_WORDS}."
    raise InputError(msg)


def _storable(volume: Volume) -> Volume:
    """Return the volume in a number type, byte order and memory order that every format takes."""
    kinds: dict[np.dtype[Any], type[np.generic]] = {
        np.dtype(np.bool_): np.uint8,
        np.dtype(np.float16): np.float32,
    }
    native = volume.array.dtype.newbyteorder("=")
    array = np.ascontiguousarray(volume.array, dtype=kinds.get(native, native))
    return Volume(array, volume.geometry)


def _write(volume: Volume, path: Path) -> None:
    if path.name.endswith((".nii", ".nii.gz")):
        nifti.write(volume, path)
    elif path.name.endswith(".nrrd"):
        nrrd.write(volume, path)
    else:
        geometry = volume.geometry
        image = sitk.GetImageFromArray(volume.array)
        image.SetOrigin(geometry.origin)
        image.SetSpacing(geometry.spacing[::-1])
        image.SetDirection([part for row in geometry.direction for part in row])
        try:
            sitk.WriteImage(image, str(path), useCompression=True)
        except RuntimeError as error:
            raise OSError(errno.EIO, "the file could not be written") from error
