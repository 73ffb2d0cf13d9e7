"""DICOM series: listed, never mixed, and read onto an exact grid.

A series is what can be one volume: images of one SeriesInstanceUID that share size, direction and
pixel size. Three localiser directions under one UID are three series. What lies beside the images
(RTSTRUCT, SEG, reports, text) is passed over. Names hold no patient name.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk
from pydicom.pixels.processing import apply_rescale

from crgloco.errors import InputError
from crgloco.file_names import assert_text, is_dead_link
from crgloco.io.dicom_slices import DAMAGED, Slice, read_slice
from crgloco.io.dicom_stack import stack
from crgloco.io.volume import Geometry, Volume

# In the root of a disk: closed to users, or full of what they have thrown away.
_OF_THE_SYSTEM = {"system volume information", "$recycle.bin", "lost+found"}
# Never DICOM images; a folder of volumes is passed over without opening them.
_OTHER_SUFFIXES = {
    *(".nii", ".gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".raw", ".zraw", ".json", ".txt", ".csv", ".md"),
    *(".png", ".jpg", ".jpeg", ".pdf", ".zip", ".xml", ".html", ".npy", ".npz", ".py", ".tsv", ".part"),
}
_LONGEST_DESCRIPTION = 40


@dataclass(frozen=True)
class Series:
    """Images that belong to one volume.

    Attributes:
        name: ``s<number>_<description>_<hash>``: stable, fit for a file name, without patient name.
        uid: SeriesInstanceUID; ``#2`` and so on is appended where one UID holds several volumes.
        folder: The deepest folder that holds all its files.
        modality: ``CT``, ``MR``, ``PT`` and so on.
        description: As the scanner wrote it, without parts of the patient's name.
        slices: The images, in the order of their paths.
        doubtful: Damaged or empty files beside them, which may be a part of the series.
    """

    name: str
    uid: str
    folder: Path
    modality: str
    description: str
    slices: tuple[Slice, ...]
    doubtful: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the series."""
        return tuple(one.path for one in self.slices)


def list_series(folder: Path, *, recursive: bool = True) -> tuple[Series, ...]:
    """List the series in a folder, by series number and name; only headers are read.

    Raises:
        InputError: The folder does not exist or cannot be listed.
    """
    if not folder.is_dir():
        msg = f"{folder} is no folder. Give the folder that holds the DICOM files."
        raise InputError(msg)
    groups: dict[tuple[str, Path | None], list[Slice]] = {}
    damaged: list[Path] = []
    empty: list[Path] = []
    for path in _files(folder, recursive=recursive):
        try:
            one = read_slice(path) if looks_like_dicom(path) else None
        except InputError:
            damaged.append(path)
            continue
        if one is None:
            is_empty = is_dead_link(path) or (path.is_file() and path.stat().st_size == 0)
            empty += [path] if is_empty else []
        else:
            # Files without series UID belong together only within their folder.
            key = (one.series, None if one.series else path.parent)
            groups.setdefault(key, []).append(one)
    found = [_with_doubt(series, damaged, empty) for group in groups.values() for series in _split(group)]
    return tuple(sorted(found, key=lambda series: (series.slices[0].number, series.name)))


def series_of(path: Path) -> Series:
    """Return the series that a single DICOM file belongs to, among the files of its own folder.

    Raises:
        InputError: The file is no DICOM image of a scan.
    """
    for series in list_series(path.parent, recursive=False):
        if path in series.files:
            return series
    msg = f"{path} is no volume (.nii.gz, .nrrd, .mha, ...), and no DICOM image that can be part of a scan."
    raise InputError(msg)


def single_series(folder: Path) -> Series:
    """Return the only series of a folder.

    Raises:
        InputError: The folder has none, or several: all are named.
    """
    found = list_series(folder)
    if not found:
        msg = f"{folder} holds no DICOM series. Give a folder of DICOM images or a volume file."
        raise InputError(msg)
    if len(found) > 1:
        listed = "; ".join(f"{one.name} ({one.modality}, {len(one.slices)} images)" for one in found[:8])
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        msg = f"{folder} holds {len(found)} DICOM series, which are never mixed: {listed}{more}. Choose one."
        raise InputError(msg)
    return found[0]


def read_series_geometry(series: Series) -> Geometry:
    """Return the grid of a series without reading pixels; raises as ``read_series``."""
    return _stack(series)[1]


def read_series(series: Series) -> Volume:
    """Read a series, sorted by position along the slice normal, with slope and intercept applied.

    Returns:
        Whole numbers where all slices share whole-numbered slope and intercept, else float32.

    Raises:
        InputError: Colour, multi-frame, no position, two images at one position, damaged pixels, a file
            name that is no text.
        GeometryError: Missing or unevenly spaced slices, gantry tilt.
    """
    slices, geometry = _stack(series)
    for one in slices:
        if not one.path.is_file():
            msg = f"{one.path} of series {series.name} has gone. Read the folder again."
            raise InputError(msg)
    whole = len({one.storage for one in slices}) == 1 and all(
        float(part).is_integer() for part in slices[0].storage[:2]
    )
    try:
        array = _read_by_itk(slices, whole=whole)
    except RuntimeError:
        # JPEG 2000 with a wrong sign, HTJ2K and the like: pydicom's decoders know more dialects.
        array = np.stack([_read_by_pydicom(one, series.name) for one in slices])
        array = array if whole else array.astype(np.float32)
    if array.shape != geometry.shape:
        msg = f"Series {series.name} in {series.folder} has pixels of {array.shape}, not {geometry.shape}."
        raise InputError(msg)
    return Volume(array, geometry)


def looks_like_dicom(path: Path) -> bool:
    """Whether a file may be DICOM: by its ``DICM`` mark, or by its first tag where the mark is missing."""
    if path.name.startswith(".") or path.suffix.lower() in _OTHER_SUFFIXES or path.name == "DICOMDIR":
        return False
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    # Group 0008 (or 0002) first, as in files from before 1993's preamble.
    return start[128:] == b"DICM" or start[:2] in (b"\x08\x00", b"\x02\x00")


def _files(folder: Path, *, recursive: bool) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders[:] = sorted(
            name
            for name in folders
            if name[0] != "." and not name.endswith(".part") and name.casefold() not in _OF_THE_SYSTEM
        )
        yield from (Path(parent, name) for name in sorted(names))
        if not recursive:
            return


def _refuse_folder(error: OSError) -> None:
    msg = f"The folder {error.filename} cannot be read: {error.strerror}."
    raise InputError(msg) from error


def _split(slices: list[Slice]) -> Iterable[Series]:
    """Part the images of one UID into what can be stacked; those without position stay with the first."""
    parts: list[list[Slice]] = []
    nowhere = [one for one in slices if one.position is None or one.orientation is None]
    for one in slices:
        if one in nowhere:
            continue
        part = next((part for part in parts if part[0].stacks_with(one)), None)
        if part is None or one.frames > 1:
            parts.append([one])
        else:
            part.append(one)
    if not parts:
        # Screenshots and enhanced files: the latter are listed, so that they can be refused in words.
        single = [one for one in nowhere if one.enhanced and one.frames == 1]
        parts = [[one] for one in nowhere if one.frames > 1] + ([single] if single else [])
    elif nowhere:
        parts[0].extend(nowhere)
    for number, part in enumerate(parts):
        yield _series(part, f"#{number + 1}" if len(parts) > 1 else "")


def _series(slices: list[Slice], suffix: str) -> Series:
    first = slices[0]
    uid = f"{first.series}{suffix}"
    identity = uid if first.series else suffix + repr([(one.path.name, one.position) for one in slices])
    short = hashlib.sha256(identity.encode()).hexdigest()[:8]
    plain = re.sub(r"[^\w.]+|_+", "_", first.description)[:_LONGEST_DESCRIPTION].strip("_.")
    return Series(
        name="_".join(part for part in (f"s{first.number:03d}", plain, short) if part),
        uid=uid,
        folder=Path(os.path.commonpath([one.path.parent for one in slices])),
        modality=first.modality,
        description=first.description,
        slices=tuple(slices),
    )


def _with_doubt(series: Series, damaged: list[Path], empty: list[Path]) -> Series:
    folders = {path.parent for path in series.files}
    alike = {_without_numbers(path) for path in series.files}
    doubtful = [path for path in damaged if path.parent in folders]
    doubtful += [path for path in empty if _without_numbers(path) in alike]
    return replace(series, doubtful=tuple(doubtful))


def _without_numbers(path: Path) -> Path:
    """Return what the files of one export share, for example ``IM.dcm`` of ``IM0012.dcm``."""
    return path.with_name(re.sub(r"[0-9]+", "0", path.name))


def _stack(series: Series) -> tuple[tuple[Slice, ...], Geometry]:
    for path in series.files:
        assert_text(path)
    if series.doubtful:
        msg = (
            f"{series.doubtful[0]} is damaged or missing, and may be a slice of series {series.name}. "
            "Copy or send it again, or remove it if it belongs to something else."
        )
        raise InputError(msg)
    return stack(series.slices, series.name)


def _read_by_itk(slices: tuple[Slice, ...], *, whole: bool) -> npt.NDArray[np.generic]:
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(one.path) for one in slices])
    reader.MetaDataDictionaryArrayUpdateOff()
    if not whole:
        # ITK takes the number type of the first slice for all: PET slices have a slope each.
        reader.SetOutputPixelType(sitk.sitkFloat32)
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()
    try:
        return sitk.GetArrayFromImage(reader.Execute())
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _read_by_pydicom(one: Slice, name: str) -> npt.NDArray[np.generic]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(one.path, force=True)
            values = apply_rescale(dataset.pixel_array, dataset)
    except DAMAGED as error:
        msg = (
            f"The pixels of {one.path} (series {name}) cannot be read: the file is cut off, damaged or in an "
            "unknown compression. Send the series again, uncompressed if possible."
        )
        raise InputError(msg) from error
    exact = np.asarray(values)
    return exact.astype(np.int32) if np.array_equal(exact, np.round(exact)) else exact.astype(np.float32)
