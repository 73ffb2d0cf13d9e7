"""Models as one zip file, to hand to a colleague.

A zip from elsewhere is not trusted: exactly the two files of a model are read from it, by their content
and never by their path, each up to a bound, and the weights must have the hash that the card says.
"""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path, PurePosixPath

from crgloco import model_card
from crgloco.atomic import LONG_PAUSES_S, PART, appearing
from crgloco.errors import ModelError
from crgloco.file_names import free_name, is_reserved
from crgloco.model_store import CARD, MAXIMUM_CARD, WEIGHTS, check_weights, read_files, write_folder

MAXIMUM_WEIGHTS = 4 * 2**30  # bytes
# Weights hardly shrink; JSON shrinks tenfold. Small members may do what they like.
MAXIMUM_RATIO = 100
HARMLESS = 2**20  # bytes


def export_zip(folder: Path, zip_path: Path, *, overwrite: bool = False) -> None:
    """Write a model as a zip that ``import_zip`` reads.

    Args:
        folder: The model's folder; its hash is checked first.
        zip_path: The file to write; appears only when it is complete.
        overwrite: Replace a file of that name instead of refusing.

    Raises:
        ModelError: The model is damaged, or the file exists.
        ResourceError: The disk is full or the folder cannot be written.
    """
    if zip_path.exists() and not overwrite:
        msg = f"{zip_path} exists already. Choose another name."
        raise ModelError(msg)
    card, weights = read_files(folder)
    with appearing(zip_path, LONG_PAUSES_S) as part:
        zip_path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{folder.name}/{CARD}", model_card.encode(card))
            archive.writestr(f"{folder.name}/{WEIGHTS}", weights, zipfile.ZIP_STORED)


def import_zip(zip_path: Path, models_folder: Path) -> Path:
    """Install a model from a zip; a name that is taken gets ``-2``, ``-3`` and so on.

    Returns:
        The new model's folder.

    Raises:
        ModelError: The file is no zip, holds anything but one model, or the model is damaged.
        ResourceError: The disk is full or the folder cannot be written; nothing is left.
    """
    try:
        with zipfile.ZipFile(zip_path) as archive:
            members = _members(archive)
            card_bytes = _content(archive, members[CARD], MAXIMUM_CARD)
            weights = _content(archive, members[WEIGHTS], MAXIMUM_WEIGHTS)
        card = model_card.decode(card_bytes)
        check_weights(zip_path, card, weights)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        msg = f"{zip_path} is no zip file, or is damaged ({error}). Get it again."
        raise ModelError(msg) from error
    except OSError as error:
        msg = f"{zip_path} cannot be read: {error.strerror or error}."
        raise ModelError(msg) from error
    except ModelError as error:
        msg = f"{zip_path} cannot be imported: {error}"
        raise ModelError(msg) from error
    name = _safe_name(members[CARD].filename, card.name)
    target = models_folder / free_name(name, lambda free: _is_taken(models_folder / free))
    write_folder(target, model_card.encode(replace(card, name=target.name)), weights)
    return target


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the card's and the weights' entry; anything else in the zip is refused."""
    files = [info for info in archive.infolist() if not _is_plain_folder(info) and not _is_of_macos(info)]
    for info in files:
        _refuse_strange(info)
    found = {PurePosixPath(info.filename).name: info for info in files}
    if len(found) < len(files):
        msg = f"it holds {CARD} or {WEIGHTS} twice. A zip of one model is needed."
        raise ModelError(msg)
    if set(found) != {CARD, WEIGHTS}:
        msg = f"it holds no {CARD} or no {WEIGHTS}. A zip of one model is needed."
        raise ModelError(msg)
    if len({PurePosixPath(info.filename).parent for info in files}) > 1:
        msg = f"{CARD} and {WEIGHTS} lie in different folders. A zip of one model is needed."
        raise ModelError(msg)
    return found


def _is_plain_folder(info: zipfile.ZipInfo) -> bool:
    return len(_safe_parts(info)) == 1 and info.is_dir() and info.file_size == 0


def _is_of_macos(info: zipfile.ZipInfo) -> bool:
    """What the Mac's Finder adds to every zip; it is passed over, never read."""
    parts = _safe_parts(info)
    return parts[:1] == ("__MACOSX",) or parts[-1:] == (".DS_Store",)


def _safe_parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts or re.search(r"[\\:\x00-\x1f]", info.orig_filename):
        msg = f"the path {info.orig_filename!r} in it leads elsewhere. Do not trust this file."
        raise ModelError(msg)
    return path.parts


def _refuse_strange(info: zipfile.ZipInfo) -> None:
    parts = _safe_parts(info)
    if len(parts) > 2 or not parts or parts[-1] not in (CARD, WEIGHTS):
        msg = f"{info.filename!r} in it is no part of a model. A zip of one model is needed."
        raise ModelError(msg)
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        msg = f"{info.filename!r} in it is a link or a device. Do not trust this file."
        raise ModelError(msg)
    if info.flag_bits & 0x1:
        msg = "it needs a password. Export the model without one."
        raise ModelError(msg)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without bound
        msg = f"{info.filename!r} in it is packed in an unusual way. Export the model anew."
        raise ModelError(msg)


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, largest: int) -> bytes:
    """Read one member, no more of it than the zip declares; zipfile checks the CRC."""
    swollen = info.file_size > HARMLESS and info.file_size > MAXIMUM_RATIO * info.compress_size
    if info.file_size > largest or swollen:
        msg = f"{info.filename!r} in it would become {info.file_size >> 20} MB large. Do not trust this file."
        raise ModelError(msg)
    with archive.open(info) as member:
        return member.read(info.file_size)  # without a size, up to 1 GB is unpacked before it is cut off


def _safe_name(filename: str, card_name: str) -> str:
    """Name the folder after the zip's folder, else the card; only plain characters, no path."""
    parts = PurePosixPath(filename).parts
    wanted = parts[0] if len(parts) > 1 else card_name
    name = re.sub(r"[^\w .()+\-]", "_", wanted).strip(" .")[:80]
    name = name.removesuffix(PART) or "model"
    return f"_{name}" if is_reserved(name) else name


def _is_taken(folder: Path) -> bool:
    return folder.exists() or folder.is_symlink()
