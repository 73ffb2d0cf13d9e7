"""Further unlabelled scans beside a cases folder: no scan twice, whatever its file is called; no name twice.

Scans are compared by the content of their files, for NIfTI without its compression: ``scan.nii.gz`` that was
packed anew, or unpacked, is the same scan. One that was written anew from another format is not recognised
here; ``case_check.check`` reads the voxels and finds it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crgloco.data.cases import Case, CasesFolder, open_unlabelled
from crgloco.data.provenance import source_hash
from crgloco.file_names import free_name
from crgloco.io.files import Source
from crgloco.io.volume_file import volume_suffix

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Copy:
    """A scan that is there already.

    Attributes:
        case: The one that is left out.
        original: The one that stays.
    """

    case: Case
    original: Case

    @property
    def text(self) -> str:
        """What a person should know of it."""
        path, original = self.case.channels[0].path, self.original.channels[0].path
        owner = f"{'labelled ' if self.original.label is not None else ''}case {self.original.name}"
        if path == original:
            return f"{path} is left out of the unlabelled scans: it belongs to the {owner}."
        return f"{path} is left out of the unlabelled scans: it is the same as {original} of the {owner}."


def open_further(folder: CasesFolder, paths: Iterable[Path]) -> list[Case]:
    """Return the scans of other folders, read as unlabelled cases with the channels of a cases folder.

    Raises:
        CasesError: A folder does not exist or holds no scan.
    """
    return [case for path in paths for case in open_unlabelled(path, len(folder.channel_names))]


def with_further(folder: CasesFolder, paths: Iterable[Path]) -> tuple[CasesFolder, tuple[Copy, ...]]:
    """Add the scans of other folders to the unlabelled ones of a cases folder, except what it has already.

    Args:
        folder: An opened cases folder.
        paths: Folders as ``open_unlabelled`` reads them.

    Returns:
        The cases folder with more unlabelled cases; and what was left out.

    Raises:
        CasesError: A folder does not exist or holds no scan.
    """
    known = (*folder.labelled, *folder.unlabelled)
    others, copies = without_copies(open_further(folder, paths), known)
    others = names_apart(others, {case.name for case in known})
    return replace(folder, unlabelled=(*folder.unlabelled, *others)), copies


def without_copies(cases: Sequence[Case], known: Sequence[Case]) -> tuple[tuple[Case, ...], tuple[Copy, ...]]:
    """Leave out every case whose channels all have the content of a known or of an earlier case.

    Files are read whole only where lengths and check sums, which cost next to nothing, are the same.

    Args:
        cases: What is looked at.
        known: What stays in any case.
    """
    alike: dict[tuple[object, ...], list[Case]] = {}
    kept: list[Case] = []
    copies: list[Copy] = []
    for number, case in enumerate((*known, *cases)):
        others = alike.setdefault(tuple(map(_at_a_glance, case.channels)), [])
        original = _first_equal(case, others) if number >= len(known) else None
        if original is not None:
            copies.append(Copy(case, original))
            continue
        others.append(case)
        if number >= len(known):
            kept.append(case)
    return tuple(kept), tuple(copies)


def names_apart(cases: Iterable[Case], taken: Iterable[str]) -> tuple[Case, ...]:
    """Let cases of several folders have one name each: later ones are named ``<name>-2`` and so on.

    Args:
        cases: In the order in which they keep their names.
        taken: Names that are in use.
    """
    used, result = set(taken), []
    for case in cases:
        name = free_name(case.name, used.__contains__)
        used.add(name)
        # A scan that is named as its case goes by the new name too, else it would look like another's.
        channels = [
            replace(source, name=name) if source.name == case.name else source for source in case.channels
        ]
        result.append(replace(case, name=name, channels=tuple(channels)))
    return tuple(result)


def _first_equal(case: Case, others: Sequence[Case]) -> Case | None:
    if not others:
        return None
    mine = tuple(map(_content, case.channels))
    return next((other for other in others if tuple(map(_content, other.channels)) == mine), None)


def _at_a_glance(source: Source) -> tuple[object, ...]:
    """Return what copies have in common, at the price of a few bytes where files are compressed."""
    try:
        if source.series_uid is not None:
            return ("series", source.series_uid)
        if not _is_nifti(source):
            return ("file", source.path.stat().st_size)
        if _is_packed(source):
            with source.path.open("rb") as file:
                file.seek(-8, os.SEEK_END)  # gzip ends with check sum and length of what it holds
                return ("nifti", file.read(8))
        return ("nifti", _end_of_gzip(source.path))
    except OSError:  # whoever reads it says what is wrong
        return ("unreadable", source.path)


def _end_of_gzip(path: Path) -> bytes:
    """Return what a file would end with if it were packed by gzip."""
    check, length = 0, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            check, length = zlib.crc32(chunk, check), length + len(chunk)
    return struct.pack("<II", check, length % 2**32)


def _content(source: Source) -> str:
    """Return a hash of what the files hold; of NIfTI, of what is inside the compression."""
    if not _is_nifti(source):
        return source_hash(source)
    try:
        with gzip.open(source.path) if _is_packed(source) else source.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error):  # damaged: equal only if byte for byte
        return source_hash(source)


def _is_nifti(source: Source) -> bool:
    return source.series_uid is None and volume_suffix(source.path) in {".nii", ".nii.gz"}


def _is_packed(source: Source) -> bool:
    return volume_suffix(source.path) == ".nii.gz"
