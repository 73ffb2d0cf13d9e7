"""Which labelled cases teach and which only measure: drawn once, and kept with the cases."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from crgloco.atomic import saving
from crgloco.data.cases import Case, CasesFolder
from crgloco.data.manifest import (
    MANIFEST,
    Manifest,
    Split,
    read_manifest,
    read_split,
    write_json,
    write_manifest,
)
from crgloco.errors import CasesError, OptionError, ResourceError
from crgloco.folder_lock import locked
from crgloco.labels import LabelTable


def first_labelled(folder: CasesFolder, count: int) -> CasesFolder:
    """Keep the labels of the first ``count`` labelled cases; the others become unlabelled.

    Stored validation cases beyond the first ``count`` are left out entirely: their label would be
    one more than asked for, and their image must not teach.

    Raises:
        CasesError: There are fewer labelled cases.
    """
    if not 1 <= count <= len(folder.labelled):
        msg = f"{folder.root} has {len(folder.labelled)} labelled cases; {count} were asked for."
        raise CasesError(msg)
    kept, others = folder.labelled[:count], folder.labelled[count:]
    bare = tuple(replace(case, label=None) for case in others if case.name not in folder.validation)
    validation = tuple(case.name for case in kept if case.name in folder.validation)
    return replace(folder, labelled=kept, unlabelled=(*bare, *folder.unlabelled), validation=validation)


def draw_split(
    folder: CasesFolder,
    *,
    fraction: float = 0.2,
    seed: int = 0,
    store: bool = True,
    split_file: Path | None = None,
) -> CasesFolder:
    """Part the labelled cases into those that teach and those that measure: once, and kept.

    A stored split stays as it is; labelled cases that came later teach. Labels that were drawn by hand
    are taken for measuring first: a corrected answer favours the model that gave it. With one labelled
    case there is no validation, and it will never be drawn for validation later, because it has taught.
    Nor is the last case whose label shows a structure: nobody else could teach it.

    Args:
        folder: An opened cases folder.
        fraction: Share of the labelled cases for validation, 0..1; at least one from two cases on.
        seed: Of the draw.
        store: Whether to store what is drawn.
        split_file: Where to store it instead of ``crgloco.json``, for data that can only be read; a
            split that is stored there comes first.

    Raises:
        CasesError: A stored split cannot be read.
        OptionError: The fraction is out of range.
        ResourceError: The split cannot be stored.
    """
    if not 0 <= fraction < 1:
        msg = f"The validation fraction is {fraction}; possible are 0 up to, but not including, 1."
        raise OptionError(msg)
    if split_file is not None and split_file.is_file():
        return replace(folder, validation=read_split(split_file).validation)
    if split_file is None and store and not folder.validation and folder.table is not None:
        return _draw_and_store(folder, fraction, seed)
    split = _drawn(folder, fraction, seed)
    if split_file is not None and store:
        write_json(split_file, split.to_json())
    return replace(folder, validation=split.validation)


def _draw_and_store(folder: CasesFolder, fraction: float, seed: int) -> CasesFolder:
    try:
        with locked(folder.root), saving(folder.root / MANIFEST):
            manifest = read_manifest(folder.root)
            if manifest.split is not None and manifest.split.validation:  # somebody was faster
                return replace(folder, validation=manifest.split.validation)
            split = _drawn(folder, fraction, seed)
            write_manifest(folder.root, replace(manifest, table=folder.table, split=split))
    except ResourceError as error:
        msg = (
            f"The split into training and validation cannot be stored in {folder.root}. {error} "
            "Or copy the cases to a folder that can be written."
        )
        raise ResourceError(msg) from error
    return replace(folder, validation=split.validation)


def _drawn(folder: CasesFolder, fraction: float, seed: int) -> Split:
    """Return the folder's split, or a new one among the cases that have not taught yet."""
    validation = folder.validation
    if not validation and folder.table is not None:
        manifest = read_manifest(folder.root)
        taught = manifest.split.training if manifest.split is not None else ()
        candidates = sorted(case.name for case in folder.labelled if case.name not in taught)
        total = len(folder.labelled)
        wanted = max(1, round(fraction * total)) if fraction and total > 1 else 0
        number = min(wanted, len(candidates), max(total - 1, 0))
        shuffled = random.Random(seed).sample(candidates, len(candidates))
        # A label that began as a model's answer favours that model when models are compared.
        shuffled.sort(key=lambda name: _began_as_an_answer(manifest, name))
        validation = tuple(sorted(_spared(shuffled, number, folder.labelled, folder.table)))
    training = tuple(case.name for case in folder.labelled if case.name not in validation)
    return Split(validation, training, fraction, seed)


def _spared(candidates: Sequence[str], number: int, labelled: Sequence[Case], table: LabelTable) -> list[str]:
    """Take the first so many without which every structure is still shown by the label of another case."""
    teaching = {case.name: set(case.structures or table.names[1:]) for case in labelled}
    taken: list[str] = []
    for name in candidates:
        if len(taken) == number:
            break
        others = [shown for case, shown in teaching.items() if case != name]
        if teaching[name] <= set().union(*others):
            taken.append(name)
            del teaching[name]
    return taken


def _began_as_an_answer(manifest: Manifest, name: str) -> bool:
    """Whether the valid label of a case was made by correcting what a model answered."""
    history = manifest.provenance.get(name, ())
    return bool(history) and history[-1].model is not None
