"""The cases that a run began with: it goes on with them, whatever was labelled or corrected meanwhile.

Whoever fine-tunes goes on correcting: an unlabelled scan of the run gets a label and moves, a label that
it learns from gets a new revision. The prepared cases are still what they were; their names are kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crgloco import atomic
from crgloco.data.cache import PreparedCase, open_prepared
from crgloco.data.preparation import Preparation
from crgloco.errors import ModelError, ResourceError
from crgloco.jobs import JobFolder
from crgloco.progress import Reporter
from crgloco.training.preparing import Prepared
from crgloco.training.selection import Selection

FORMAT = 1


def remember(cases: Prepared, folder: JobFolder) -> None:
    """Note what a run begins with.

    Raises:
        ResourceError: The job folder cannot be written.
    """
    entry = {
        "format": FORMAT,
        "labels": cases.selection.table.to_names(),
        "preparation": cases.preparation.to_json(),
        "labelled": [_to_json(case) for case in cases.labelled],
        "unlabelled": [_to_json(case) for case in cases.unlabelled],
        "validation": [case.name for case in cases.selection.validation],
    }
    atomic.write_bytes(folder.taught_file, json.dumps(entry, indent=1).encode())


def taught_before(folder: JobFolder, selection: Selection, cache: Path, report: Reporter) -> Prepared | None:
    """Return what a run that was stopped began with.

    Args:
        folder: Of the run.
        selection: The cases as they are now; of them, those validate that did so before.
        cache: Where prepared cases are kept.
        report: Hears a ``message`` if the cases are others now.

    Returns:
        ``None`` for a run that has not learnt anything yet, and where a prepared case is gone or was prepared
        by another label table: then the cases count as they are.
    """
    if not folder.checkpoint_file.exists():
        return None
    try:
        entry = json.loads(folder.taught_file.read_text(encoding="utf-8"))
        if entry["format"] != FORMAT or entry["labels"] != selection.table.to_names():
            return None
        preparation = Preparation.from_json(entry["preparation"])
        labelled, unlabelled = (_opened(entry[role], cache) for role in ("labelled", "unlabelled"))
        validation = frozenset(entry["validation"])
    except (OSError, ValueError, KeyError, TypeError, ModelError, ResourceError):
        return None
    validating = tuple(case for case in selection.validation if case.name in validation)
    before = Prepared(replace(selection, validation=validating), preparation, labelled, unlabelled)
    if _roles(selection) != _roles(before):
        text = "The cases have changed since. This training ends with those it began with."
        report.event("message", text=text)
    return before


def _roles(cases: Selection | Prepared) -> list[list[str]]:
    return [sorted(case.name for case in side) for side in (cases.labelled, cases.unlabelled)]


def _to_json(case: PreparedCase) -> dict[str, Any]:
    return {"folder": case.folder.name, "known": None if case.known is None else list(case.known)}


def _opened(entries: Sequence[dict[str, Any]], cache: Path) -> tuple[PreparedCase, ...]:
    known = [None if entry["known"] is None else tuple(entry["known"]) for entry in entries]
    folders = [cache / entry["folder"] for entry in entries]
    return tuple(
        replace(open_prepared(path), known=shown) for path, shown in zip(folders, known, strict=True)
    )
