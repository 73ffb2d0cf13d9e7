"""The files that a prediction leaves in a folder, and the record beside them; read and kept without torch.

Of each case ``<case>.nii.gz`` (fused labels), ``<case>_global``, ``<case>_local``,
``<case>_confidence`` and ``<case>_disagreement`` (0..1); ``predictions.json`` describes all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crgloco.atomic import write_bytes
from crgloco.data.provenance import content_hash
from crgloco.errors import LabelError
from crgloco.folder_lock import locked
from crgloco.labels import LabelTable

RECORD = "predictions.json"
FORMAT = 1
LABEL_KINDS = ("fused", "global", "local")
SHARE_KINDS = ("confidence", "disagreement")
KINDS = LABEL_KINDS + SHARE_KINDS


@dataclass(frozen=True)
class Predictions:
    """What ``predictions.json`` says.

    Attributes:
        model: Hash of the weights.
        quality: ``"fast"``, ``"balanced"`` or ``"full"``, of the last run.
        table: The model's label table; ``None`` if it is missing or damaged.
        cases: Case name -> its record.
        begun: Cases whose files in the folder are results, finished or not; ``None`` if nobody knows, because
            the record is damaged or somebody else's.
        hashes: Name of a label file -> hash of what we wrote into it.
        document: All of it, as it stands in the file.
    """

    model: str = ""
    quality: str = ""
    table: LabelTable | None = None
    cases: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    begun: frozenset[str] | None = frozenset()
    hashes: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)

    def record(self, case: str) -> dict[str, Any] | None:
        """Return the record of a case; that of a failed one has an ``error``."""
        return self.cases.get(case)


def read_predictions(folder: Path | None) -> Predictions:
    """Read the record of a folder; a missing one means that nothing was predicted yet."""
    if folder is None or not (folder / RECORD).exists():
        return Predictions()
    try:
        stored = json.loads((folder / RECORD).read_text(encoding="utf-8-sig"))
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            return Predictions(begun=None)
        cases = {str(record["case"]): dict(record) for record in stored.get("cases", [])}
        begun = frozenset(map(str, stored.get("begun", ()))) | cases.keys()
        hashes = {str(name): str(value) for name, value in dict(stored.get("hashes", {})).items()}
    except (OSError, ValueError, TypeError, KeyError):
        return Predictions(begun=None)
    return Predictions(
        str(stored.get("model", "")),
        str(stored.get("quality", "")),
        _table(stored.get("labels")),
        cases,
        begun,
        hashes,
        stored,
    )


def note_begun(out: Path, case: str) -> None:
    """Note that the files of a case are being written: if we are killed meanwhile, they are ours.

    Raises:
        ResourceError: The folder cannot be written.
    """
    with locked(out):
        stored = read_predictions(out)
        gone = label_files(case)
        hashes = {name: value for name, value in stored.hashes.items() if name not in gone}
        begun = sorted({case, *(stored.begun or ())})
        # Nor does its old record describe them any more: it may be that of another model.
        records = [record for name, record in stored.cases.items() if name != case]
        write_document(out, {**stored.document, "cases": records, "begun": begun, "hashes": hashes})


def note_written(path: Path) -> None:
    """Note what we wrote into the file that users correct: if we are killed now, a correction is known.

    Raises:
        ResourceError: The folder cannot be written.
    """
    with locked(path.parent):
        stored = read_predictions(path.parent)
        hashes = {**stored.hashes, path.name: content_hash(path)}
        write_document(path.parent, {**stored.document, "hashes": hashes})


def write_document(out: Path, document: Mapping[str, Any]) -> None:
    """Write the record of a folder, whole; whoever read it before holds its lock meanwhile.

    Raises:
        ResourceError: The folder cannot be written.
    """
    write_bytes(out / RECORD, (json.dumps(document, indent=2) + "\n").encode())


def file_name(case: str, kind: str) -> str:
    """Return the name of a result's file; ``kind`` is one of ``KINDS``."""
    return f"{case}.nii.gz" if kind == "fused" else f"{case}_{kind}.nii.gz"


def label_files(case: str) -> tuple[str, ...]:
    """Return the names of the label files that a case may have."""
    return tuple(file_name(case, kind) for kind in LABEL_KINDS)


def result_names(folder: Path) -> frozenset[str]:
    """Return the names that files of a folder have if they are results: those are no scans."""
    stored = read_predictions(folder)
    # a scan that failed may have been replaced by one of another format, with the name of a result
    cases = (case for case in stored.begun or () if not _never_written(case, stored))
    return frozenset(file_name(case, kind) for case in cases for kind in KINDS)


def _never_written(case: str, stored: Predictions) -> bool:
    failed = "error" in (stored.record(case) or {})
    return failed and not any(name in stored.hashes for name in label_files(case))


def _table(entries: Any) -> LabelTable | None:
    try:
        return LabelTable.from_json(entries)
    except (LabelError, TypeError, AttributeError):
        return None
