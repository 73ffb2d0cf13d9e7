"""The cases of a folder as the panel lists them, and which of them is worth looking at next."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slicer.i18n import tr as _

from crgloco.file_names import as_one_file, is_reserved
from CRGLoCoSegmentLib.logic.result_text import plainFigures

STATES = ("unlabelled", "predicted", "corrected", "validation")


@dataclass(frozen=True)
class CaseRow:
    """One case of the cases folder.

    Attributes:
        name: Unique in the folder.
        state: One of ``STATES``; a validation case measures and never teaches.
        revision: Of its label; 0 without one.
        meanConfidence: Of the prediction, 0..1; ``None`` without one.
        expectedCorrectionMl: Volume that is expected to be wrong among voxels that the model is not sure of;
            ``None`` without a prediction.
        reason: Why it is worth a look, in words.
        model: Hash of the model that predicted it; empty without a prediction.
    """

    name: str
    state: str = "unlabelled"
    revision: int = 0
    meanConfidence: float | None = None
    expectedCorrectionMl: float | None = None
    reason: str = ""
    model: str = ""

    @property
    def isLabelled(self) -> bool:
        """Whether it has a label."""
        return self.state in {"corrected", "validation"}


def stateTitles() -> dict[str, str]:
    """Return the shown text of each state."""
    return {
        "unlabelled": _("Unlabelled"),
        "predicted": _("Predicted"),
        "corrected": _("Corrected"),
        "validation": _("Validation"),
    }


def rowsFrom(entries: Iterable[Mapping[str, Any]]) -> tuple[CaseRow, ...]:
    """Read the cases of the worker's answer to ``cases``."""
    return tuple(
        CaseRow(
            name=str(entry["name"]),
            state=str(entry.get("state", "unlabelled")),
            revision=int(entry.get("revision") or 0),
            meanConfidence=_number(entry.get("mean_confidence")),
            expectedCorrectionMl=_number(entry.get("expected_correction_ml")),
            reason=_reason(entry),
            model=str(entry.get("model") or ""),
        )
        for entry in entries
    )


def withPrediction(rows: Iterable[CaseRow], name: str, record: Mapping[str, Any]) -> tuple[CaseRow, ...]:
    """Return the rows after the turn of a case; its record says the numbers, or the ``error``.

    A folder keeps predictions of one model: with the first of another ``model``, the others are gone.
    """
    model = str(record.get("model") or "")
    return tuple(_predicted(row, record) if row.name == name else _kept(row, model) for row in rows)


def withLabel(rows: Iterable[CaseRow], name: str, revision: int) -> tuple[CaseRow, ...]:
    """Return the rows after a label was accepted; whether its case is for validation, the folder tells."""
    return tuple(_labelled(row, revision) if row.name == name else row for row in rows)


def toPredict(rows: Iterable[CaseRow]) -> tuple[str, ...]:
    """Return the names of the cases without a label, predicted or not: the engine keeps what still holds.

    Those that failed before come last: some in a row end a batch, and would keep it from the others for ever.
    """
    waiting = [row for row in rows if not row.isLabelled]
    return tuple(row.name for row in sorted(waiting, key=_hasFailed))


def byUsefulness(rows: Iterable[CaseRow]) -> tuple[CaseRow, ...]:
    """Return the predicted cases without a label, the one most worth correcting first."""
    predicted = [row for row in rows if row.state == "predicted"]
    return tuple(sorted(predicted, key=lambda row: (-(row.expectedCorrectionMl or 0.0), row.name)))


def proposedName(taken: Iterable[str]) -> str:
    """Return a new case name that says nothing about a patient: ``case_001`` and so on."""
    known = {name.casefold() for name in taken}
    number = 1
    while f"case_{number:03d}" in known:
        number += 1
    return f"case_{number:03d}"


def nameProblem(name: str, taken: Sequence[str] = ()) -> str:
    """Return in words why a name cannot be a new case's, or an empty text; the engine decides in the end."""
    strange = sorted(set(re.findall(r'[\x00-\x1f/\\:*?"<>|]', name)))
    if strange:
        return _("The name contains {characters}. Use letters, digits, - and _.").format(
            characters=" ".join(repr(character) for character in strange)
        )
    if not name or name != name.strip() or name.startswith(".") or name.endswith("."):
        return _("A case needs a name of letters, digits, - and _, without blanks or dots at its ends.")
    if is_reserved(name) or len(name.encode()) > 200:
        return _("This cannot be a file name on every system. Choose another one.")
    if as_one_file(name) in {as_one_file(other) for other in taken}:
        return _("The cases folder has a case {name} already. Choose another name.").format(name=name)
    return ""


def _predicted(row: CaseRow, record: Mapping[str, Any]) -> CaseRow:
    if row.isLabelled:
        return row
    if "error" in record:
        return replace(_withoutPrediction(row), reason=str(record["error"]))
    return replace(
        row,
        state="predicted",
        meanConfidence=_number(record.get("mean_confidence")),
        expectedCorrectionMl=_number(record.get("expected_correction_ml")),
        reason=_reason({**record, "state": "predicted"}),
        model=str(record.get("model") or ""),
    )


def _labelled(row: CaseRow, revision: int) -> CaseRow:
    state = row.state if row.isLabelled else "corrected"
    return replace(row, state=state, revision=revision, reason="")


def _kept(row: CaseRow, model: str) -> CaseRow:
    return _withoutPrediction(row) if row.model and model and row.model != model else row


def _hasFailed(row: CaseRow) -> bool:
    return row.state == "unlabelled" and bool(row.reason)


def _withoutPrediction(row: CaseRow) -> CaseRow:
    state = row.state if row.isLabelled else "unlabelled"
    return replace(row, state=state, meanConfidence=None, expectedCorrectionMl=None, reason="", model="")


def _reason(entry: Mapping[str, Any]) -> str:
    """Say why a case is worth a look; a case that could not be predicted brings its own words."""
    correction = _number(entry.get("expected_correction_ml"))
    if entry.get("reason"):
        return str(entry["reason"])
    if entry.get("state") != "predicted" or correction is None:
        return ""
    text = _("Where the model is not sure, about {ml} ml are expected to be wrong.")
    return text.format(ml=plainFigures(correction, 3))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
