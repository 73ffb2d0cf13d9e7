"""What the panel of the cases says: about the folder, and about what Accept will write."""

from pathlib import Path

from slicer.i18n import tr as _

from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.logic.case_rows import STATES, CaseRow, stateTitles


def folderText(
    folder: Path | None, rows: tuple[CaseRow, ...], table: LabelTable | None, problem: str, *, isReading: bool
) -> str:
    """Say what the folder holds, or what to do about it."""
    if folder is None:
        return _("Open a cases folder, or make a new one. Cases and labels stay on this computer.")
    if problem:
        return _("{problem} Choose another folder, or press New... to make a cases folder.").format(
            problem=problem
        )
    if isReading and not rows:
        return _("Reading {folder} ...").format(folder=folder)
    if table is None:
        text = _(
            "{count} scans without a label table. They can be loaded and predicted. To accept labels, press "
            "New..., make a cases folder elsewhere, and accept the corrected scans there as new cases."
        )
        return text.format(count=len(rows))
    labels = table.in_words()
    if not rows:
        text = _(
            "The cases folder is still empty. Labels: {labels}. Segment a volume, correct it and press "
            "Accept label: it becomes the first case."
        )
        return text.format(labels=labels)
    return _("{counts}. Labels: {labels}.").format(counts=_counts(rows), labels=labels)


def acceptText(
    *,
    volumeName: str,
    hasLabel: bool,
    isCorrected: bool,
    isAccepted: bool,
    folder: str,
    row: CaseRow | None,
    newName: str,
    problem: str,
) -> str:
    """Say what Accept will write, or what is missing for it.

    Args:
        volumeName: Of the chosen volume; empty if there is none.
        hasLabel: Whether it has a result or a label.
        isCorrected: Whether that is more than the model's answer.
        isAccepted: Whether the folder has it already, as it is.
        folder: Name of the cases folder; empty if there is none that takes labels.
        row: Of the case that the volume is; ``None`` if the folder does not have it.
        newName: What it will be called then.
        problem: Why that name does not do, or empty.
    """
    if not folder:
        return _("Labels are accepted into a cases folder: open one, or make a new one.")
    if not volumeName:
        return _("Load a case, or choose a volume in the section Segment.")
    if not hasLabel:
        return _("{volume} has no label yet: segment it first.").format(volume=volumeName)
    if problem:
        return problem
    if isAccepted and row is not None:
        text = _("Accepted: revision {revision} of {case} is this label.")
        return text.format(revision=row.revision, case=row.name)
    if row is None:
        text = _("Adds {volume} with its label to {folder}, as the new case {case}.")
        text = text.format(volume=volumeName, folder=folder, case=newName)
    else:
        text = _("Writes revision {revision} of {case} into {folder}.")
        text = text.format(revision=row.revision + 1, case=row.name, folder=folder)
        text += " " + _("The label before is kept.") if row.revision else ""
    return text if isCorrected else f"{text} " + _("It is the model's answer, not corrected.")


def _counts(rows: tuple[CaseRow, ...]) -> str:
    words = stateTitles()
    counted = [(state, sum(row.state == state for row in rows)) for state in STATES]
    parts = [
        _("{count} {state}").format(count=count, state=words[state].lower())
        for state, count in counted
        if count
    ]
    text = _("1 case: {parts}") if len(rows) == 1 else _("{count} cases: {parts}")
    return text.format(count=len(rows), parts=", ".join(parts))
