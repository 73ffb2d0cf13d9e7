"""Which cases a job trains on, and in which role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crgloco import methods
from crgloco.data.case_split import draw_split, first_labelled
from crgloco.data.cases import Case, CasesFolder, open_cases
from crgloco.data.further_scans import names_apart, open_further, without_copies
from crgloco.data.partial_labels import assert_all_taught
from crgloco.errors import CasesError, ResourceError
from crgloco.job_file import Job
from crgloco.labels import LabelTable


@dataclass(frozen=True)
class Selection:
    """The cases of a job.

    Attributes:
        labelled: Cases whose labels are learnt from.
        unlabelled: Cases whose labels, if any, are not looked at.
        validation: Cases that never train; they calibrate, and compare models.
        table: The label table.
        channel_names: Names of the image channels.
        left_out: What does not take part, and why, in full sentences.
    """

    labelled: tuple[Case, ...]
    unlabelled: tuple[Case, ...]
    validation: tuple[Case, ...]
    table: LabelTable
    channel_names: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def select_cases(job: Job, split_file: Path) -> Selection:
    """Sort the cases of a job into roles.

    Validation cases come from the split stored in the cases folder, drawn once (beside the job where
    the folder cannot be written). With ``job.labelled``, the first so many keep their labels, and the
    rest serve as unlabelled. An unlabelled scan that is a labelled case's image again is left out; a
    validation case that lost its label, or is gone, is named, and so is a label that belongs to no case.

    Args:
        job: Folders and number of labelled cases.
        split_file: Keeps the split of a cases folder that can only be read.

    Raises:
        CasesError: No labelled case is left to train on, the number asked for is not there, or labels show
            less than the method needs.
    """
    folder = whole = _with_split(open_cases(job.cases), split_file)
    table = folder.table
    if table is None:
        msg = f"{folder.root} has no label table: its dataset.json must name the labels."
        raise CasesError(msg)
    if job.labelled is not None:
        folder = first_labelled(folder, job.labelled)
    methods.assert_suited(job.method, folder)
    if not folder.training:
        msg = (
            f"{folder.root} has no labelled case to train on ({len(folder.validation)} are kept for "
            "validation). Label and export at least one case."
        )
        raise CasesError(msg)
    assert_all_taught(folder.training, table)
    known = {case.name for case in folder.labelled}
    inside = [case for case in folder.unlabelled if case.name not in {*known, *whole.validation}]
    extra, alike = _unlike_lost(open_further(folder, job.unlabelled), whole)
    # What measures must not teach through the back door: not as an unlabelled copy either.
    unlabelled, copies = without_copies([*inside, *extra], [*_measuring(whole), *folder.training])
    unlabelled = names_apart(unlabelled, {*known, *whole.validation})
    left_out = (*whole.unused, *whole.lost.values(), *alike, *(copy.text for copy in copies))
    return Selection(folder.training, unlabelled, folder.validating, table, folder.channel_names, left_out)


def select_scans(job: Job, split_file: Path) -> Selection:
    """Take the scans of a job for pre-training: all of them, without their labels, but validation cases.

    The cases folder may be any folder of scans, without label table and without any label.

    Args:
        job: Folders.
        split_file: Keeps the split of a cases folder that can only be read.

    Raises:
        CasesError: There is no scan.
    """
    folder = open_cases(job.cases)
    if folder.labelled or split_file.is_file():
        folder = _with_split(folder, split_file)
    extra, alike = _unlike_lost(open_further(folder, job.unlabelled), folder)
    bare = [replace(case, label=None) for case in folder.training]
    inside = [case for case in folder.unlabelled if case.name not in folder.validation]
    scans, copies = without_copies([*bare, *inside, *extra], _measuring(folder))
    scans = names_apart(scans, folder.validation)
    if not scans:
        msg = f"{folder.root} holds no scan to learn from."
        raise CasesError(msg)
    # A pre-trained start knows no structure; its card needs a table all the same.
    table = folder.table or LabelTable.from_names({"structure": 1})
    left_out = (*folder.lost.values(), *alike, *(copy.text for copy in copies))
    return Selection((), scans, folder.validating, table, folder.channel_names, left_out)


def _measuring(folder: CasesFolder) -> list[Case]:
    """Return the validation cases, with their label or without: they must not teach."""
    return [case for case in (*folder.labelled, *folder.unlabelled) if case.name in folder.validation]


def _unlike_lost(cases: Sequence[Case], folder: CasesFolder) -> tuple[list[Case], list[str]]:
    """Part further scans from those named like a validation case that lost its label: it may be that case."""
    lost = folder.lost
    alike = [
        f"{case.channels[0].path} is left out of the unlabelled scans: it bears the name of the validation "
        f"case {case.name}, which has no label any more."
        for case in cases
        if case.name in lost
    ]
    return [case for case in cases if case.name not in lost], alike


def _with_split(folder: CasesFolder, split_file: Path) -> CasesFolder:
    if split_file.is_file():
        return draw_split(folder, split_file=split_file)
    try:
        return draw_split(folder)
    except ResourceError:
        return draw_split(folder, split_file=split_file)
