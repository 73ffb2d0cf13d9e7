"""The text that opens a NRRD or MetaImage file: its fields, and the files that hold the voxels.

Geometry and voxels are ITK's to read. We look for what ITK does not tell: which files a scan
consists of, how they are compressed, and whether a voxel size was named at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO

from crgloco.errors import InputError

TEXT_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
_META_SUFFIXES = (".mha", ".mhd")
_FIELD = re.compile(r"\s*([^:=]+?)\s*[:=](?!=)\s*(.*?)\s*$")  # but NRRD's "key:=value" is no field
_NUMBERED = re.compile(r"(\S*?)(%[0-9]{0,2}d)(\S*)((?:\s+-?[0-9]{1,9})*)\s*$")
_LONGEST_LINE = 1 << 20
_MOST_FILES = 1 << 16


@dataclass(frozen=True)
class TextHeader:
    """What the text says.

    Attributes:
        fields: Names -> the text behind them. Those of NRRD in lower case and without spaces
            (``"spacedirections"``); those of MetaImage as they are, for ITK knows no other spelling.
        files: The files that hold the voxels, in order; the file of the header itself if they follow it.
        start: Bytes before the voxels in each of these files.
    """

    fields: Mapping[str, str]
    files: tuple[Path, ...]
    start: int

    def number(self, name: str) -> int:
        """Return a field that is a whole number; 0 if it is not there or none."""
        return _whole(self.fields.get(name, ""))


def read_text_header(path: Path) -> TextHeader:
    """Read the text of a ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd`` file.

    Raises:
        InputError: The names of the data files cannot be told from it, or a line of MetaImage is no field.
        OSError: The file cannot be read.
    """
    meta = path.suffix.lower() in _META_SUFFIXES
    with path.open("rb") as file:
        fields = _read_fields(file, path, meta=meta)
        named = fields.get("ElementDataFile" if meta else "datafile", "LOCAL")
        start = max(_whole(fields.get("HeaderSize", "")), 0)  # -1: the voxels end the file
        if named.upper() == "LOCAL":
            return TextHeader(fields, (path,), start or file.tell())
        listed = named.split()[:1] == ["LIST"]
        names = list(takewhile(bool, _lines(file))) if listed else _names(named, fields, path)
    if not names or any("\0" in name for name in names):
        msg = f"{path} does not name the files that hold its voxels. Export it again."
        raise InputError(msg)
    if meta and (listed or "%" in named) and len(names) != _slices(fields):
        # ITK fills the slices that no file is named for with whatever lies in memory.
        msg = f"{path} names {len(names)} files for its {_slices(fields)} slices. Export it again."
        raise InputError(msg)
    return TextHeader(fields, tuple(path.parent / name.strip() for name in names), start)


def _whole(text: str) -> int:
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else 0


def _slices(fields: Mapping[str, str]) -> int:
    return int((re.findall(r"[0-9]{1,9}", fields.get("DimSize", "")) or ["0"])[-1])


def _lines(file: IO[bytes]) -> Iterator[str]:
    for line in iter(lambda: file.readline(_LONGEST_LINE), b""):
        yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")


def _read_fields(file: IO[bytes], path: Path, *, meta: bool) -> dict[str, str]:
    """Read up to the line that ends the fields: an empty one (NRRD), or the one that names the data."""
    fields: dict[str, str] = {}
    for line in _lines(file):
        if not line and not meta:
            break
        found = _FIELD.match(line)
        if found is None and meta and line.strip():
            # ITK takes it for the beginning of the next line, and so overlooks the field there.
            msg = f"{path} has a line in its header that is no field: {line[:60]!r}. Remove it."
            raise InputError(msg)
        if found is None:
            continue
        name, value = found[1] if meta else found[1].lower().replace(" ", ""), found[2]
        fields[name] = value
        if name == "ElementDataFile" or (name == "datafile" and value.startswith("LIST")):
            break
    return fields


def _names(named: str, fields: Mapping[str, str], path: Path) -> list[str]:
    """Return one name, or those that a pattern such as ``slice_%03d.raw 1 20 1`` stands for."""
    if "%" not in named:
        return [named]
    pattern = _NUMBERED.match(named)
    numbers = [int(word) for word in pattern[4].split()] if pattern else []
    meta = path.suffix.lower() in _META_SUFFIXES
    if len(numbers) < 2 and meta:
        # MetaImage counts from 1, as many files as slices, where it is not told otherwise.
        first = (numbers or [1])[0]
        numbers = [first, first + _slices(fields) - 1, 1]
    # ITK divides by zero where the step is left out, and of MetaImage reads nothing where it leads down.
    if pattern is None or len(numbers) < 3 or numbers[2] == 0 or (meta and numbers[2] < 0):
        what = "first, last and a step upwards" if meta else "first, last and step"
        msg = f"{path} names its data files as {named!r}: after the name, {what} are needed."
        raise InputError(msg)
    first, last, step = numbers[:3]
    counted = range(first, last + (1 if step > 0 else -1), step)
    if len(counted) > _MOST_FILES:
        msg = f"{path} names {len(counted)} data files ({named!r}), more than a scan can have."
        raise InputError(msg)
    return [f"{pattern[1]}{pattern[2] % number}{pattern[3]}" for number in counted]
