"""Whether all voxels of a NRRD or MetaImage file are there, to the last byte and its check sum.

ITK overlooks what zlib says about damaged data: what is missing becomes 0 or noise, silently. So
the compressed data is unpacked once before, a piece at a time, and thrown away. Of MetaImage, ITK reads
no more packed bytes than the header tells; where the header tells none, it unpacks the header itself.
"""

from __future__ import annotations

import gzip
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from crgloco.errors import InputError
from crgloco.io.text_header import TextHeader

_CHUNK = 1 << 20
# One byte can stand for a thousand: 16 KiB become 16 MiB at most.
_PACKED_CHUNK = 1 << 14
_ZLIB_OR_GZIP = 47
_PACKED_SIZE = "CompressedDataSize"
_NRRD_PACKINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}


def check_voxel_bytes(path: Path, header: TextHeader, count: int) -> None:
    """Refuse a file that is cut or damaged.

    Args:
        path: A ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd`` file.
        header: Of that file.
        count: Bytes that its voxels have in memory.

    Raises:
        InputError: Voxels are missing, a check sum is wrong, or a data file is not there.
    """
    packing = _packing(header)
    if packing is None:
        return
    if packing == "zlib":
        _check_packed_size(path, header)
    wanted = count // len(header.files) + max(header.number("byteskip"), 0)
    for part in header.files:
        try:
            whole = _unpacked_size(part, header, packing) >= wanted
        except FileNotFoundError as error:
            msg = f"{path} lacks its data file {part.name}. Copy it to the same folder, or export it again."
            raise InputError(msg) from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(_damaged(path, part)) from error
        if not whole:
            raise InputError(_damaged(path, part))


def _packing(header: TextHeader) -> str | None:
    """Return ``"raw"``, ``"gzip"`` or ``"zlib"``; ``None`` for numbers written as text."""
    if "NDims" not in header.fields:
        return _NRRD_PACKINGS.get(header.fields.get("encoding", "").lower())
    if not _said(header, "BinaryData", "True"):
        return None
    return "zlib" if _said(header, "CompressedData", "False") else "raw"


def _check_packed_size(path: Path, header: TextHeader) -> None:
    size = header.number(_PACKED_SIZE)
    # Without a size ITK takes as many bytes as the file has; from the end it counts unpacked ones.
    if size < 0 or (size == 0 and header.start) or header.number("HeaderSize") < 0:
        msg = (
            f"{path} does not tell which of its bytes are the compressed voxels (CompressedDataSize, "
            "HeaderSize). Export it again."
        )
        raise InputError(msg)


def _said(header: TextHeader, name: str, otherwise: str) -> bool:
    return header.fields.get(name, otherwise).startswith(("T", "t", "1"))


def _unpacked_size(part: Path, header: TextHeader, packing: str) -> int:
    with part.open("rb") as file:
        file.seek(header.start)
        for _ in range(header.number("lineskip")):
            file.readline()
        if packing == "raw":
            return os.fstat(file.fileno()).st_size - file.tell()
        return sum(_inflated(file, header.number(_PACKED_SIZE)) if packing == "zlib" else _gunzipped(file))


def _gunzipped(file: IO[bytes]) -> Iterator[int]:
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
        while got := len(unpacked.read(_CHUNK)):
            yield got


def _inflated(file: IO[bytes], size: int) -> Iterator[int]:
    stream, left = zlib.decompressobj(_ZLIB_OR_GZIP), size or sys.maxsize
    while not stream.eof:
        packed = file.read(min(_PACKED_CHUNK, left))
        left -= len(packed)
        if not packed:
            raise EOFError
        yield len(stream.decompress(packed))


def _damaged(path: Path, part: Path) -> str:
    where = "there" if part == path else f"in {part.name}"
    return f"{path} is cut off or damaged: not all of its voxels are {where}. Copy or export it again."
