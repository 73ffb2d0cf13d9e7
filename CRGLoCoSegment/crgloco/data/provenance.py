"""Where a label comes from, and by what its file and its image are known again.

A content hash is ``"sha256:"`` and 64 hexadecimal digits over the bytes of a file. It tells whether a
file is still the one that was accepted, prepared or trained on; it says nothing about a patient.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from crgloco.errors import CasesError, InputError
from crgloco.io.files import Source, source_files

# A header of these formats names the file that holds the voxels.
_DATA_FILE = {".mhd": r"^ElementDataFile\s*=\s*(\S.*?)\s*$", ".nhdr": r"^data ?file\s*:=?\s*(\S.*?)\s*$"}


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
            CasesError: The entry has a key that we do not know, or names no structures.
        """
        unknown = sorted(set(entry) - {field.name for field in fields(cls)})
        if unknown:
            msg = f"The provenance of a label has unknown entries: {', '.join(unknown)}."
            raise CasesError(msg)
        values = dict(entry)
        values["image_hashes"] = tuple(values.get("image_hashes", ()))
        if values.get("structures") is not None:
            values["structures"] = _names(values["structures"])
        return cls(**values)


def content_hash(path: Path) -> str:
    """Return the hash of a file's bytes; of a folder, the hash of its files whatever their names.

    A header with a separate data file (``.mhd``, ``.nhdr``) is hashed together with that file.

    Raises:
        InputError: The path cannot be read.
    """
    if path.is_dir():
        return _joined(item for item in path.rglob("*") if item.is_file() and not item.name.startswith("."))
    data = _data_file(path)
    return _joined((path, data)) if data is not None else f"sha256:{_digest(path).hex()}"


def source_hash(source: Source) -> str:
    """Return the content hash of an image: of its file, or of the sorted slices of its DICOM series.

    Raises:
        InputError: A file cannot be read, or the series is no longer in its folder.
    """
    if source.series_uid is None:
        return content_hash(source.path)
    return _joined(source_files(source))


def _names(entry: Any) -> tuple[str, ...]:
    if not isinstance(entry, list) or not entry or not all(isinstance(name, str) for name in entry):
        msg = f"The 'structures' that a label shows must be a list of names; found {entry!r}."
        raise CasesError(msg)
    return tuple(entry)


def _joined(paths: Iterable[Path]) -> str:
    """Hash several files so that neither their names nor their order count."""
    whole = hashlib.sha256()
    for digest in sorted(_digest(path) for path in paths):
        whole.update(digest)
    return f"sha256:{whole.hexdigest()}"


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}. Check that it exists and is readable."
        raise InputError(msg) from error


def _data_file(header: Path) -> Path | None:
    pattern = _DATA_FILE.get(header.suffix.lower())
    if pattern is None:
        return None
    try:
        text = header.read_text(encoding="latin-1")
    except OSError as error:
        msg = f"{header} cannot be read: {error.strerror or error}. Check that it exists and is readable."
        raise InputError(msg) from error
    named = re.search(pattern, text, re.MULTILINE | re.IGNORECASE)
    if named is None or named[1].upper() in {"LOCAL", "LIST"}:
        return None
    return header.parent / named[1]
