"""Prepared cases on disk, memory-mapped, so that reading a patch never loads a volume.

One folder per case, ``<cache>/<case>-<hash12>/``: ``image.npy`` (C, K, J, I) float16, ``label.npy``
(K, J, I) uint8 class numbers if labelled, ``locations.npz`` (voxels of each class), ``case.json``. The
hash covers the bytes of the sources, the preparation and the label table, so a folder that is there is
fresh. It appears by one rename: killed or competing processes never leave half a case behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crgloco.atomic import LONG_PAUSES_S, patiently
from crgloco.data.cases import Case
from crgloco.data.partial_labels import assert_shown, known_classes
from crgloco.data.preparation import Preparation
from crgloco.data.provenance import content_hash, source_hash
from crgloco.errors import GeometryError, ResourceError
from crgloco.histogram import histogram
from crgloco.io.files import read_channels
from crgloco.io.label_files import read_label
from crgloco.io.volume import Geometry, Shape, Volume
from crgloco.labels import LabelTable
from crgloco.progress import Reporter, Silent

# Counts up when the files of a prepared case change their meaning.
FORMAT = 2
LOCATIONS_PER_CLASS = 10_000
# Leftovers of killed processes are removed after an hour; cases of other preparations after a week
# without use, because another training may be reading them.
ABANDONED_AFTER_S = 3600.0
UNUSED_AFTER_S = 7 * 24 * 3600.0


@dataclass(frozen=True)
class PreparedCase:
    """A case on disk as training reads it. Small and picklable: data are opened when asked for.

    Attributes:
        name: Name of the case.
        folder: Where its files are.
        shape: Voxels along K, J, I of the prepared grid.
        channels: Number of channels C.
        labelled: Whether there is a label.
        geometry: The prepared grid; its axes are canonical.
        source: Hash of its first channel's file, or series.
        known: Class numbers that the label shows; ``None`` for all. Not kept on disk: what a label shows may
            be told anew while its voxels stay.
    """

    name: str
    folder: Path
    shape: Shape
    channels: int
    labelled: bool
    geometry: Geometry
    source: str
    known: tuple[int, ...] | None = None

    def image(self) -> np.memmap[Any, np.dtype[np.float16]]:
        """Return (C, K, J, I) float16, memory-mapped; what is written stays in memory."""
        return _mapped(self.folder / "image.npy")

    def label(self) -> np.memmap[Any, np.dtype[np.uint8]] | None:
        """Return class numbers (K, J, I) uint8, memory-mapped; ``None`` if unlabelled."""
        return _mapped(self.folder / "label.npy") if self.labelled else None

    def locations(self) -> dict[int, npt.NDArray[np.int32]]:
        """Return, for each class that is present, up to 10,000 of its voxels: (N, 3) indices K, J, I."""
        if not self.labelled:
            return {}
        with np.load(self.folder / "locations.npz", allow_pickle=False) as stored:
            return {int(key): stored[key] for key in stored.files}


def prepare_case(
    case: Case,
    preparation: Preparation,
    table: LabelTable | None,
    cache_dir: Path,
    report: Reporter | None = None,
) -> PreparedCase:
    """Return the prepared case, from the cache if its sources, preparation and table are unchanged.

    Args:
        case: Channels and, if labelled, its label.
        preparation: How to prepare it.
        table: Turns label values into class numbers; ``None`` leaves the label out.
        cache_dir: Made if missing; may be shared by processes.
        report: May stop; hears ``prepared`` (case, seconds, voxels) when work was done.

    Raises:
        InputError: A scan cannot be used.
        GeometryError: Label or channels lie on different grids.
        LabelError: Label values outside the table, or beyond what the label is said to show.
        ResourceError: The cache cannot be written.
    """
    report = report or Silent()
    report.check()
    order = _order(case, preparation, table)
    folder = cache_dir / f"{_file_name(case.name)}-{order.key()[:12]}"
    prepared = _open(folder)
    if prepared is None:
        prepared = _prepare(order, folder, report)
    _remove_old(prepared, order)
    if order.table is None or case.structures is None:
        return prepared
    assert_shown(case, prepared.locations(), order.table)
    return replace(prepared, known=known_classes(case, order.table))


def is_there(case: Case, cache_dir: Path) -> bool:
    """Whether the case was prepared before, in whatever way: what is outdated makes room for the new."""
    return any((folder / "case.json").is_file() for folder in _versions(case.name, cache_dir))


def open_prepared(folder: Path) -> PreparedCase:
    """Open a prepared case by its folder.

    Raises:
        ResourceError: The folder is missing or incomplete.
    """
    prepared = _open(folder)
    if prepared is None:
        msg = f"The prepared case {folder} is missing or incomplete; start again, it will be prepared anew."
        raise ResourceError(msg)
    return prepared


def sample_locations(
    label: npt.NDArray[np.uint8], count: int = LOCATIONS_PER_CLASS, seed: int = 0
) -> dict[int, npt.NDArray[np.int32]]:
    """Draw up to ``count`` voxels of every class that is present, without replacement.

    Args:
        label: (K, J, I) class numbers.
        count: Most voxels per class.
        seed: Same seed, same voxels.

    Returns:
        Class number -> (N, 3) indices K, J, I in the order of the array. Background (0) is a class.
    """
    counts = _counts(label)
    rng = np.random.default_rng(seed)
    ranks = {
        number: np.sort(rng.choice(total, min(count, total), replace=False, shuffle=False))
        for number, total in counts.items()
    }
    seen = dict.fromkeys(counts, 0)
    found: dict[int, list[npt.NDArray[np.int32]]] = {number: [] for number in counts}
    for k, plane in enumerate(label):
        for number in np.flatnonzero(np.bincount(plane.ravel())).tolist():
            places = np.flatnonzero(plane == number)
            first, last = np.searchsorted(ranks[number], (seen[number], seen[number] + places.size))
            chosen = places[ranks[number][first:last] - seen[number]]
            rows, columns = np.unravel_index(chosen, plane.shape)
            found[number].append(np.stack([np.full_like(rows, k), rows, columns], 1).astype(np.int32))
            seen[number] += places.size
    return {number: np.concatenate(parts) for number, parts in found.items()}


@dataclass(frozen=True)
class _Order:
    """What is to be prepared how, with the hashes of the sources as they are now."""

    case: Case
    preparation: Preparation
    table: LabelTable | None
    hashes: dict[str, str]

    def key(self) -> str:
        """Return a hash that changes when any file of the prepared case would."""
        parts = {
            "format": FORMAT,
            "name": self.case.name,
            "hashes": self.hashes,
            "preparation": self.preparation.digest(),
            "values": self.table.values if self.table is not None else None,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _order(case: Case, preparation: Preparation, table: LabelTable | None) -> _Order:
    label = case.label if table is not None else None
    hashes = {f"channel_{number}": source_hash(source) for number, source in enumerate(case.channels)}
    if label is not None:
        hashes["label"] = content_hash(label)
    return _Order(replace(case, label=label), preparation, table if label is not None else None, hashes)


def _prepare(order: _Order, folder: Path, report: Reporter) -> PreparedCase:
    """Write everything beside the folder, then rename. Whoever comes first wins; both are the same."""
    started = time.monotonic()
    part = folder.with_name(f"{folder.name}.part-{uuid.uuid4().hex[:8]}")
    try:
        part.mkdir(parents=True)
        _remove_abandoned(folder.parent)
        _write(part, order, report)
        _publish(part, folder)
    except OSError as error:
        msg = (
            f"Case {order.case.name} cannot be prepared in {folder.parent}: {error}. "
            "Free space there or choose another folder."
        )
        raise ResourceError(msg) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    prepared = open_prepared(folder)
    seconds = round(time.monotonic() - started, 3)
    report.event("prepared", case=order.case.name, seconds=seconds, voxels=math.prod(prepared.shape))
    return prepared


def _write(part: Path, order: _Order, report: Reporter) -> None:
    volumes = read_channels(order.case.channels)
    original = volumes[0].geometry
    label = None
    if order.case.label is not None and order.table is not None:
        # two headers of one grid may round to two sides of a tie: that of the image counts
        label = Volume(read_label(order.case.label, order.table, original).array, original)
    report.check()
    np.save(part / "image.npy", order.preparation.image(volumes), allow_pickle=False)
    report.check()
    voxels: dict[int, int] = {}
    if label is not None:
        classes = order.preparation.label(label)
        voxels = _counts(classes)
        np.save(part / "label.npy", classes, allow_pickle=False)
        locations = {str(number): places for number, places in sample_locations(classes).items()}
        np.savez(part / "locations.npz", **locations)  # type: ignore[arg-type]
    description = {
        "format": FORMAT,
        "name": order.case.name,
        "hashes": order.hashes,
        "preparation": order.preparation.digest(),
        "channels": len(volumes),
        "labelled": label is not None,
        "geometry": order.preparation.prepared_geometry(original).to_json(),
        "voxels": voxels,
        "bytes": {file.name: file.stat().st_size for file in sorted(part.iterdir())},
    }
    (part / "case.json").write_text(json.dumps(description, indent=1), encoding="utf-8")


def _publish(part: Path, folder: Path) -> None:
    if folder.exists() and _open(folder) is None:  # damaged, for example by a power cut
        shutil.rmtree(folder, ignore_errors=True)
    try:
        patiently(lambda: part.rename(folder), LONG_PAUSES_S)
    except OSError:
        if _open(folder) is None:  # nobody else finished it meanwhile
            raise


def _open(folder: Path) -> PreparedCase | None:
    """Return the case if its description can be read and every file has the size it had."""
    try:
        description = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            return None
        if any((folder / name).stat().st_size != size for name, size in description["bytes"].items()):
            return None
        geometry = Geometry.from_json(description["geometry"])
        return PreparedCase(
            name=description["name"],
            folder=folder,
            shape=geometry.shape,
            channels=description["channels"],
            labelled=description["labelled"],
            geometry=geometry,
            source=description["hashes"]["channel_0"],
        )
    except (OSError, ValueError, KeyError, TypeError, GeometryError):
        return None


def _remove_old(prepared: PreparedCase, order: _Order) -> None:
    """Note that this case is in use, and remove what it was before and nobody has used for long."""
    with contextlib.suppress(OSError):  # a cache that can only be read is still of use
        os.utime(prepared.folder / "case.json")
    for folder in _versions(order.case.name, prepared.folder.parent):
        if folder != prepared.folder and _is_outdated(folder, order):
            shutil.rmtree(folder, ignore_errors=True)


def _versions(case: str, cache_dir: Path) -> list[Path]:
    """Return the folders of a case, in whatever way it was prepared."""
    if not cache_dir.is_dir():
        return []
    name = re.compile(re.escape(_file_name(case)) + "-[0-9a-f]{12}")
    return [folder for folder in cache_dir.iterdir() if name.fullmatch(folder.name)]


def _is_outdated(folder: Path, order: _Order) -> bool:
    """Whether nobody used the folder for a week.

    However its sources have changed since: another training may read it, or have been stopped to go on later.
    """
    try:
        description = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        unused = time.time() - (folder / "case.json").stat().st_mtime > UNUSED_AFTER_S
        return bool(description["name"] == order.case.name and unused)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # another process removes it, or it is not ours


def _remove_abandoned(cache_dir: Path) -> None:
    for part in cache_dir.glob("*.part-*"):
        try:
            newest = max(path.stat().st_mtime for path in (part, *part.iterdir()))
        except OSError:
            continue
        if time.time() - newest > ABANDONED_AFTER_S:
            shutil.rmtree(part, ignore_errors=True)


def _counts(label: npt.NDArray[np.uint8]) -> dict[int, int]:
    return {number: count for number, count in enumerate(histogram(label).tolist()) if count}


def _mapped(path: Path) -> np.memmap[Any, Any]:
    try:
        return np.lib.format.open_memmap(path, mode="c")  # torch wants arrays it could write to
    except (OSError, ValueError) as error:
        msg = f"The prepared file {path} cannot be read ({error}); start again, it will be prepared anew."
        raise ResourceError(msg) from error


def _file_name(case: str) -> str:
    return re.sub(r"[^\w.-]", "_", case)[:80]
