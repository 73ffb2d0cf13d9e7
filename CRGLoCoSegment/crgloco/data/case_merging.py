"""Several cases folders, each with a label table of its own, become one.

The table is the union of theirs; each label says which of its structures it shows. The new folder is
written beside its place and renamed: an interrupted merge leaves nothing that can be opened as cases.
"""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from crgloco.atomic import LONG_PAUSES_S, patiently, saving
from crgloco.data.case_files import IMAGES, LABELS, ORDER, UNLABELLED, assert_case_name
from crgloco.data.case_split import draw_split
from crgloco.data.case_store import bring_image
from crgloco.data.cases import Case, CasesFolder, assert_channels, open_cases
from crgloco.data.manifest import (
    MANIFEST,
    Manifest,
    new_dataset,
    read_dataset,
    read_manifest,
    write_dataset,
    write_manifest,
)
from crgloco.data.provenance import Provenance, content_hash, source_hash
from crgloco.errors import CasesError, LabelError, about
from crgloco.file_names import as_one_file, free_name
from crgloco.io.files import source_geometry
from crgloco.io.label_files import read_label, write_label
from crgloco.labels import LabelTable
from crgloco.progress import Reporter, Silent


@dataclass(frozen=True)
class _Entry:
    """A case on its way.

    Attributes:
        case: As its own folder has it.
        home: That folder.
        hashes: Of its channels.
        name: In the new folder.
    """

    case: Case
    home: CasesFolder
    hashes: tuple[str, ...]
    name: str


def merge_cases(roots: Sequence[Path], out: Path, report: Reporter | None = None) -> CasesFolder:
    """Make one cases folder of several; they stay as they are.

    Names of structures that differ only in upper and lower case are one structure. Labels are rewritten
    with the values of the new table, on exactly their own grid; images are linked where the disk can,
    otherwise copied. Where two cases share a name, both get the name of their folder in front. A scan that
    is labelled in one folder and unlabelled in another is taken once. Records of earlier revisions of a
    label come along, their files do not. The validation split is drawn anew.

    Args:
        roots: Two cases folders or more, each with a label table and the same channels.
        out: A new folder.
        report: Hears the progress; may stop.

    Raises:
        CasesError: The folders do not fit together, or ``out`` exists or lies in one of them.
        InputError: A label cannot be read, holds values beyond its table, or lies on another grid.
        ResourceError: The new folder cannot be written.
    """
    report = report or Silent()
    if out.exists():
        msg = f"{out} exists already; cases are never overwritten. Choose a new folder."
        raise CasesError(msg)
    for root in roots:
        if out.resolve().is_relative_to(root.resolve()):
            msg = f"{out} lies in {root}, which is merged and must stay as it is. Choose another new folder."
            raise CasesError(msg)
    folders = _opened(roots)
    table = union_table(folders)
    entries = _entries(folders, report)
    ending = read_dataset(folders[0].root).file_ending
    part = out.with_name(f"{out.name}.{uuid.uuid4().hex[:8]}.part")
    with saving(out):
        try:
            for name in (IMAGES, LABELS, UNLABELLED):
                (part / name).mkdir(parents=True)
            _write(entries, table, part, ending, report)
            labelled = [entry.name for entry in entries if entry.case.label is not None]
            (part / ORDER).write_text("".join(f"{name}\n" for name in labelled), encoding="utf-8")
            # Last of all: without it, a folder is refused.
            channels = folders[0].channel_names
            write_dataset(part, new_dataset(out.resolve().name, table, channels, ending, len(labelled)))
            draw_split(open_cases(part))
            patiently(lambda: part.rename(out), LONG_PAUSES_S)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return open_cases(out)


def union_table(folders: Sequence[CasesFolder]) -> LabelTable:
    """Return the structures of all folders, first come, first numbered, from 1 without gaps.

    Spelling, colour and terminology are those of the folder that comes first; a colour that is taken
    already is replaced.

    Raises:
        LabelError: Two structures of one table differ only in upper and lower case.
    """
    entries: dict[str, dict[str, object]] = {}
    for folder in folders:
        assert folder.table is not None
        own = Counter(name.casefold() for name in folder.table.names)
        if max(own.values()) > 1:
            twice = ", ".join(name for name in folder.table.names if own[name.casefold()] > 1)
            msg = f"The label table of {folder.root} has {twice}: different by case only. Rename one of them."
            raise LabelError(msg)
        for label in folder.table.to_json():
            if label["colour"] in [entry.get("colour") for entry in entries.values()]:
                del label["colour"]
            entries.setdefault(label["name"].casefold(), {**label, "value": len(entries) + 1})
    return LabelTable.from_json(list(entries.values()))


def _opened(roots: Sequence[Path]) -> tuple[CasesFolder, ...]:
    if len({root.resolve() for root in roots}) < max(len(roots), 2):
        msg = "Merging needs at least two different cases folders."
        raise CasesError(msg)
    folders = tuple(map(open_cases, roots))
    first = folders[0]
    for folder in folders:
        if folder.table is None:
            msg = (
                f"{folder.root} is a plain folder of scans without label table. Merge cases folders only; "
                "scans without labels can be given to the training as they are (--unlabelled)."
            )
            raise CasesError(msg)
        if folder.channel_names != first.channel_names:
            ours, theirs = (", ".join(each.channel_names) for each in (first, folder))
            msg = (
                f"The channels differ: {ours} in {first.root}, {theirs} in {folder.root}. "
                "Cases can be merged only if their channels have the same number, order and names."
            )
            raise CasesError(msg)
    return folders


def _entries(folders: Sequence[CasesFolder], report: Reporter) -> list[_Entry]:
    """Return all cases, the labelled ones first and by turns, so that the first few are of all folders."""
    by_turns = zip_longest(*([(case, home) for case in home.labelled] for home in folders))
    labelled = [pair for pair in chain.from_iterable(by_turns) if pair is not None]
    pairs = labelled + [(case, home) for home in folders for case in home.unlabelled]
    seen: dict[tuple[str, ...], str] = {}
    entries = []
    for number, (case, home) in enumerate(pairs):
        report.check()
        report.event("progress", stage="check", done=number, total=len(pairs))
        assert_channels(case, home.channel_names)
        hashes = tuple(source_hash(source) for source in case.channels)
        place = f"case {case.name} of {home.root}"
        if hashes not in seen:
            seen[hashes] = place
            entries.append(_Entry(case, home, hashes, case.name))
        elif case.label is not None:
            msg = (
                f"The {seen[hashes]} and the {place} are one scan, labelled twice. Join their labels in one."
            )
            raise CasesError(msg)
        else:
            report.event("message", text=f"The {place} is left out: it is the scan of {seen[hashes]}.")
    return _with_own_names(entries)


def _with_own_names(entries: Sequence[_Entry]) -> list[_Entry]:
    """Put the folder's name in front of names that are there twice; numbers tell apart what is left."""
    times = Counter(as_one_file(entry.name) for entry in entries)
    taken = {name for name, count in times.items() if count == 1}
    named = []
    for entry in entries:
        name = entry.name
        if times[as_one_file(name)] > 1:
            prefixed = f"{entry.home.root.resolve().name}_{name}"
            name = free_name(prefixed, lambda free: as_one_file(free) in taken)
            taken.add(as_one_file(name))
        assert_case_name(name)
        named.append(replace(entry, name=name))
    return named


def _write(entries: Sequence[_Entry], table: LabelTable, part: Path, ending: str, report: Reporter) -> None:
    provenance = {}
    for number, entry in enumerate(entries):
        report.check()
        report.event("progress", stage="merge", done=number, total=len(entries))
        images = part / (UNLABELLED if entry.case.label is None else IMAGES)
        for channel, source in enumerate(entry.case.channels):
            bring_image(source, images / f"{entry.name}_{channel:04d}{ending}", ending)
        if entry.case.label is not None:
            provenance[entry.name] = _write_label(entry, table, part / LABELS / f"{entry.name}{ending}")
    report.event("progress", stage="merge", done=len(entries), total=len(entries))
    write_manifest(part, Manifest(table=table, provenance=provenance))


def _write_label(entry: _Entry, table: LabelTable, path: Path) -> tuple[Provenance, ...]:
    """Write a label with the values of the new table; return its revisions, the last one as it is now."""
    case, own = entry.case, entry.home.table
    assert case.label is not None
    assert own is not None
    label = read_label(case.label, own, source_geometry(case.channels[0]))
    spelling = {name.casefold(): name for name in table.names}
    numbers = [table.names.index(spelling[name.casefold()]) for name in own.names]
    write_label(np.asarray(numbers, np.uint8)[label.array], label.geometry, table, path)
    history = read_manifest(entry.home.root).provenance.get(case.name, ())
    with about(f"The provenance of {case.name} in {entry.home.root / MANIFEST}"):
        *earlier, last = (
            replace(
                record,
                structures=table.part(
                    spelling.get(name.casefold(), name) for name in record.structures or own.names[1:]
                ),
            )
            for record in history or (Provenance(image_hashes=entry.hashes, revision=1),)
        )
    return (*earlier, replace(last, content_hash=content_hash(path)))
