"""Where a label comes from, and by what its file and its image are known again.

A content hash is ``"sha256:"`` and 64 hexadecimal digits over the bytes of a file. It tells whether a
file is still the one that was accepted, prepared or trained on; it says nothing about a patient.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from crgloco.errors import CasesError, InputError
from crgloco.io.files import Source, source_files
from crgloco.io.text_header import TEXT_SUFFIXES, read_text_header
from crgloco.json_values import are_texts, is_number, is_text, is_whole


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What is known about one revision of one label; never a patient's or a person's name.

    Attributes:
        model: Name or hash of the model whose answer was corrected; ``None`` if drawn by hand or unknown.
        edits_voxels: Voxels changed since the prediction; ``None`` if unknown.
        edits_ml: The same in millilitres.
        annotator: A role such as ``"radiologist"``, or empty.
        time_utc: When it was accepted, ISO 8601; filled by ``accept_label``.
        content_hash: Hash of the label file; filled by ``accept_label``.
        image_hashes: Hash of every channel of the image it was drawn on; filled by ``accept_label``.
        revision: 1 for the first label of a case; filled by ``accept_label``.
        structures: Names of the structures that the label shows: what is not drawn of these is not there,
            of others nothing is known. ``None`` for all of the label table.
    """

    model: str | None = None
    edits_voxels: int | None = None
    edits_ml: float | None = None
    annotator: str = ""
    time_utc: str = ""
    content_hash: str = ""
    image_hashes: tuple[str, ...] = ()
    revision: int = 0
    structures: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        values = {**asdict(self), "image_hashes": list(self.image_hashes)}
        structures = values.pop("structures")
        return values if structures is None else {**values, "structures": list(structures)}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Provenance:
        """Read what ``to_json`` wrote.

        Raises:
            CasesError: The entry has a key that we do not know, or a value of a wrong kind.
        """
        unknown = sorted(set(entry) - {field.name for field in fields(cls)})
        if unknown:
            msg = f"The provenance of a label has unknown entries: {', '.join(unknown)}."
            raise CasesError(msg)
        for key, value in entry.items():
            fits, expected = _KINDS[key]
            if not fits(value):
                msg = f"The {key!r} of a label's provenance must be {expected}; found {value!r}."
                raise CasesError(msg)
        lists = {
            key: tuple(entry[key]) for key in ("image_hashes", "structures") if entry.get(key) is not None
        }
        return cls(**{**entry, **lists})


def content_hash(path: Path) -> str:
    """Return the hash of a file's bytes; of a folder, the hash of its files whatever their names.

    A header with separate data files (``.mhd``, ``.nhdr``) is hashed together with them; where it names
    several, one for each slice, their order counts.

    Raises:
        InputError: The path, or a data file, cannot be read.
    """
    if path.is_dir():
        return _joined(item for item in path.rglob("*") if item.is_file() and not item.name.startswith("."))
    data = _data_files(path)
    if not data:
        return f"sha256:{_digest(path).hex()}"
    return _joined((path, *data)) if len(data) == 1 else _in_order((path, *data))


def source_hash(source: Source) -> str:
    """Return the content hash of an image: of its file, or of the sorted slices of its DICOM series.

    Raises:
        InputError: A file cannot be read, or the series is no longer in its folder.
    """
    if source.series_uid is None:
        return content_hash(source.path)
    return _joined(source_files(source))


def _is_count(value: Any) -> bool:
    return is_whole(value) and value >= 0


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("annotator", "time_utc", "content_hash"), (is_text, "a text")),
    "model": (lambda value: value is None or is_text(value), "a text or null"),
    "edits_voxels": (lambda value: value is None or _is_count(value), "a whole number from 0, or null"),
    "edits_ml": (
        lambda value: value is None or (is_number(value) and value >= 0),
        "a number from 0, or null",
    ),
    "image_hashes": (are_texts, "a list of texts"),
    "revision": (_is_count, "a whole number from 0"),
    "structures": (
        lambda value: value is None or (are_texts(value) and value != []),
        "a list of names, or null",
    ),
}


def _joined(paths: Iterable[Path]) -> str:
    """Hash several files so that neither their names nor their order count."""
    return f"sha256:{hashlib.sha256(b''.join(sorted(_digest(path) for path in paths))).hexdigest()}"


def _in_order(paths: Iterable[Path]) -> str:
    return f"sha256:{hashlib.sha256(b''.join(_digest(path) for path in paths)).hexdigest()}"


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}. Check that it exists and is readable."
        raise InputError(msg) from error


def _data_files(header: Path) -> tuple[Path, ...]:
    """Return the files beside the header that hold its voxels; none if they follow the header."""
    if header.suffix.lower() not in TEXT_SUFFIXES:
        return ()
    try:
        return tuple(file for file in read_text_header(header).files if file != header)
    except OSError as error:
        msg = f"{header} cannot be read: {error.strerror or error}. Check that it exists and is readable."
        raise InputError(msg) from error
