"""What may be done with the files of predictions: replaced, scored, known again; decided without torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from crgloco.data.case_files import IMAGES, LABELS, UNLABELLED
from crgloco.data.cases import Case
from crgloco.data.prediction_record import KINDS, RECORD, Predictions, file_name, label_files
from crgloco.data.provenance import content_hash, source_hash
from crgloco.errors import CasesError, InputError

LONGEST_NAME = 255  # bytes, on nearly every file system


def assert_only_results_are_replaced(
    folder: Path, cases: Sequence[Case], begun: frozenset[str] | None
) -> None:
    """Refuse a folder where a result would take the name of a scan, a label, or anybody else's file.

    Args:
        folder: Where the results will be written; need not exist.
        cases: What will be segmented.
        begun: Of ``read_predictions``.

    Raises:
        CasesError: A file would be lost, nobody knows whose they are, or the folder holds the images or
            labels of a cases folder.
    """
    if begun is None:
        msg = (
            f"{folder / RECORD} cannot be read as a record of results, so nobody knows whose files lie "
            "beside it: they could be lost. Choose another folder for the results, or move them away."
        )
        raise CasesError(msg)
    if folder.resolve().name in (IMAGES, LABELS, UNLABELLED):
        msg = f"{folder} holds the images or labels of a cases folder. Choose another folder for the results."
        raise CasesError(msg)
    scans = {source.path.resolve() for case in cases for source in case.channels}
    for case in cases:
        for kind in KINDS:
            path = folder / file_name(case.name, kind)
            if path.resolve() in scans:
                msg = f"The result of {case.name} would replace the scan {path}. Choose another folder."
                raise CasesError(msg)
            if case.name not in begun and is_there(path):
                msg = (
                    f"{path} exists and is no earlier result of ours: it would be lost. Choose another "
                    "folder for the results, or move that file away."
                )
                raise CasesError(msg)


def is_there(path: Path) -> bool:
    """Whether there is such a file; of a name that is too long, there is none."""
    try:
        return path.exists()
    except OSError:
        return False


def assert_short(case: str) -> None:
    """Refuse a case whose results could not be written: their names are longer than its own.

    Raises:
        CasesError: Naming the case and how much shorter its name must be.
    """
    excess = max(len(os.fsencode(file_name(case, kind))) for kind in KINDS) - LONGEST_NAME
    if excess > 0:
        msg = f"The name of {case} is {excess} bytes too long for the files of its results. Rename the scan."
        raise CasesError(msg)


def assert_unedited(folder: Path, case: str, hashes: Mapping[str, str]) -> None:
    """Refuse a case whose result somebody has corrected in its file.

    Args:
        folder: Of the results.
        case: Name of the case.
        hashes: Of ``read_predictions``; files that it does not know count as ours.

    Raises:
        CasesError: The correction would be lost, or taken for the model's answer.
    """
    for name in label_files(case):
        path = folder / name
        if name in hashes and path.is_file() and content_hash(path) != hashes[name]:
            msg = (
                f"{path} was changed after it was predicted: the change would be lost. Accept it as the "
                "label of the case, or move it away, and predict again."
            )
            raise CasesError(msg)


def assert_is_result(path: Path, case: str, stored: Predictions) -> None:
    """Refuse a file of ours that is not what the record beside it describes.

    Args:
        path: The fused labels of a case; a file that was never ours passes.
        case: Name of the case.
        stored: The record of the folder.

    Raises:
        InputError: The last prediction of the case failed, or the record tells nothing of its result.
    """
    if path.name != file_name(case, "fused") or case not in (stored.begun or ()):
        return
    record = stored.record(case)
    if record is None:
        msg = (
            f"{path} is not described by {RECORD} beside it: it is of another model or quality, or was "
            "never finished. Predict the case again."
        )
        raise InputError(msg)
    if "error" in record:
        msg = (
            f"{path} is older than the last prediction of the case, which failed: {record['error']} "
            "Predict the case again, or move that file to another folder."
        )
        raise InputError(msg)


def content_of(case: Case) -> str:
    """Return by what the image of a case is known again.

    Raises:
        InputError: A file cannot be read.
    """
    hashes = [source_hash(source) for source in case.channels]
    return hashes[0] if len(hashes) == 1 else f"sha256:{hashlib.sha256(''.join(hashes).encode()).hexdigest()}"
