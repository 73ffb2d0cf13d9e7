"""Many scans, one after the other: results on disk, one failure stops nothing, finished ones are kept.

Of each case ``<case>.nii.gz`` (fused labels), ``<case>_global``, ``<case>_local``,
``<case>_confidence`` and ``<case>_disagreement`` (0..1) are written, and a record of all in
``predictions.json``. A case whose record names the same scan, model and choices is not done again.
Several runs may write into one folder at the same time, each its own cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crgloco.atomic import saving
from crgloco.data.cases import Case, assert_no_gap
from crgloco.data.prediction_files import (
    assert_only_results_are_replaced,
    assert_short,
    assert_unedited,
    content_of,
    is_there,
)
from crgloco.data.prediction_record import (
    FORMAT,
    KINDS,
    LABEL_KINDS,
    Predictions,
    file_name,
    note_begun,
    read_predictions,
    write_document,
)
from crgloco.data.provenance import content_hash
from crgloco.errors import Cancelled, CasesError, CRGLoCoError
from crgloco.file_names import as_one_file
from crgloco.folder_lock import locked
from crgloco.inference.prediction import Prediction
from crgloco.inference.predictor import MEMORY_BUDGET_GB, Predictor, Quality
from crgloco.inference.results import describe, write_prediction
from crgloco.io.files import read_channels
from crgloco.io.volume import Volume
from crgloco.memory_faults import tells_of_memory
from crgloco.progress import Reporter, Silent

Record = dict[str, Any]


@dataclass(frozen=True)
class FolderJob:
    """How a folder is segmented.

    Attributes:
        predictor: The model, warm.
        model: Hash of its weights: results of another model are done again.
        quality: ``"fast"``, ``"balanced"`` or ``"full"``.
        memory_budget_gb: Memory of the whole process, in GiB, to stay below.
        title: Name of the model as users see it.
        keep_islands: Leave the islands of structures that are one piece.
    """

    predictor: Predictor
    model: str
    quality: Quality = "balanced"
    memory_budget_gb: float = MEMORY_BUDGET_GB
    title: str = ""
    keep_islands: bool = False

    def predict(self, volumes: Sequence[Volume], report: Reporter) -> Prediction:
        """Segment the channels of one scan."""
        return self.predictor.predict(
            volumes,
            self.quality,
            report,
            memory_budget_gb=self.memory_budget_gb,
            keep_islands=self.keep_islands,
        )


def predict_folder(
    job: FolderJob, cases: Sequence[Case], out: Path | None, report: Reporter | None = None
) -> Record:
    """Segment cases and write the results.

    Args:
        job: Model and quality.
        cases: What to segment.
        out: Folder of the results, made if missing; without it nothing is written.
        report: Hears of progress (with ``case``), may stop; what is finished then stays.

    Returns:
        What ``predictions.json`` holds: ``cases``, one record each, and ``failed``, their number. A
        failed case has an ``error`` in words, and nothing else. (The file also says in ``begun`` which
        results are ours, and in ``hashes`` what we wrote: a label that was corrected in its file since is
        not replaced; its case fails.)

    Raises:
        CasesError: Two cases would write the same file, or a result would replace what is none.
        ResourceError: The folder, its record or a result cannot be written; what is finished stays.
        Cancelled: The reporter asked for an end.
    """
    report = report if report is not None else Silent()
    _assert_distinct(cases)
    known: dict[str, Record] = {}
    stored = read_predictions(out)
    if out is not None:
        assert_only_results_are_replaced(out, cases, stored.begun)
        with saving(out):
            out.mkdir(parents=True, exist_ok=True)
        known = _finished(stored, out, job)
        _write_record(job, cases, out, [], known, begun=_there(cases, out))
    records: list[Record] = []
    for number, case in enumerate(cases, start=1):
        report.check()
        told = _OfCase(report, case.name)
        report.event("case", case=case.name, number=number, total=len(cases), state="started")
        record = _attempt(job, case, out, stored, known.get(case.name), told)
        records.append(record)
        state = "failed" if "error" in record else "kept" if record["kept"] else "done"
        report.event("case", case=case.name, number=number, total=len(cases), state=state)
        if out is not None:
            _write_record(job, cases, out, records, known)
    return _answer(job, records)


def rank(
    job: FolderJob, cases: Sequence[Case], out: Path | None = None, report: Reporter | None = None
) -> Record:
    """Order cases by the expected benefit of correcting them.

    The benefit is the volume that is expected to be wrong among voxels that are not sure
    (``confidence.expected_correction_ml``).

    Args:
        job: Model and quality.
        cases: Unlabelled cases.
        out: Keeps the predictions, and uses those that are there; without it nothing is written.
        report: Hears of progress, may stop.

    Returns:
        As ``predict_folder``, best case first, failed ones last.
    """
    answer = predict_folder(job, cases, out, report)
    ordered = sorted(
        answer["cases"], key=lambda record: ("error" in record, -record.get("expected_correction_ml", 0.0))
    )
    return {**answer, "cases": ordered}


def _attempt(
    job: FolderJob,
    case: Case,
    out: Path | None,
    stored: Predictions,
    known: Record | None,
    report: Reporter,
) -> Record:
    try:
        if out is not None:
            assert_short(case.name)
            assert_unedited(out, case.name, stored.hashes)
        assert_no_gap(case)
        content = content_of(case)
        if known is not None and known.get("content") == content:
            return {**known, "kept": True}
        prediction = job.predict(read_channels(case.channels), report)
    except Cancelled:
        raise
    except (CRGLoCoError, MemoryError, RuntimeError) as error:
        if not (isinstance(error, CRGLoCoError) or tells_of_memory(error)):
            raise
        text = _in_words(error)
        report.event("message", text=f"{case.name}: {text}")
        return {"case": case.name, "error": text}
    # A disk that is full now is so for the next case too: that ends the batch.
    files: dict[str, str] = {}
    if out is not None:
        note_begun(out, case.name)
        files = write_prediction(prediction, job.predictor.table, out, case.name)
    return {
        "case": case.name,
        "content": content,
        "kept": False,
        "keep_islands": job.keep_islands,
        **describe(prediction, job.predictor.table),
        "files": files,
    }


def _in_words(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, CRGLoCoError):
        return text
    return f"The memory does not suffice for this scan. Close other programs, or use 'fast'. ({text})"


def _finished(stored: Predictions, out: Path, job: FolderJob) -> dict[str, Record]:
    """The records of an earlier run that still hold: same model and choices, all files there.

    Of cases that failed then, the reason is kept until their turn comes again.
    """
    if stored.model != job.model:
        return {}
    return {
        name: record
        for name, record in stored.cases.items()
        if "error" in record
        or (
            record.get("quality") == job.quality
            and record.get("keep_islands") == job.keep_islands
            and record.get("files")
            and all((out / file).is_file() for file in record["files"].values())
        )
    }


def _answer(job: FolderJob, records: Sequence[Record], further: Sequence[Record] = ()) -> Record:
    """All records of this run, and those of others."""
    return {
        "format": FORMAT,
        "model": job.model,
        "quality": job.quality,
        "labels": job.predictor.table.to_json(),
        "cases": [*records, *further],
        "failed": sum("error" in record for record in records),
    }


def _write_record(
    job: FolderJob,
    cases: Sequence[Case],
    out: Path,
    records: Sequence[Record],
    known: Mapping[str, Record],
    *,
    begun: frozenset[str] = frozenset(),
) -> None:
    """Write the record; cases in ``begun`` are ours besides those that it names already.

    It is read again each time: another run may have written it since.
    """
    own = {case.name for case in cases}
    with locked(out):
        stored = read_predictions(out)
        ours = begun | (stored.begun or frozenset())
        hashes = {**_hashes(out, records[-1:], stored.hashes), **stored.hashes}
        answer: Mapping[str, Any] = _answer(job, records, _further(job, own, stored, records, known))
        if not records and stored.document:  # until a case is done, the folder is what it was
            answer = stored.document
        write_document(out, {**answer, "begun": sorted(ours), "hashes": hashes})


def _there(cases: Sequence[Case], out: Path) -> frozenset[str]:
    """Name the cases of which files are there; those are results, else the run would have been refused."""
    names = (case.name for case in cases)
    return frozenset(name for name in names if any(is_there(out / file_name(name, kind)) for kind in KINDS))


def _hashes(out: Path, records: Sequence[Record], noted: Mapping[str, str]) -> dict[str, str]:
    """Hash the label files of cases that have just been written, but for those noted when they were."""
    new = [record["files"] for record in records if "error" not in record and not record["kept"]]
    return {
        name: content_hash(out / name)
        for files in new
        for kind, name in files.items()
        if kind in LABEL_KINDS and name not in noted
    }


def _further(
    job: FolderJob,
    own: set[str],
    stored: Predictions,
    records: Sequence[Record],
    known: Mapping[str, Record],
) -> list[Record]:
    """The records of cases that are not ours; of ours whose turn has not come yet, those that still hold."""
    there = stored.cases if stored.model == job.model else {}
    kept = {**known, **{name: record for name, record in there.items() if name in known or name not in own}}
    done = {record["case"] for record in records}
    return [record for name, record in kept.items() if name not in done]


def _assert_distinct(cases: Sequence[Case]) -> None:
    owners: dict[str, str] = {}
    for case in cases:
        # Windows and macOS take A.nii.gz and a.nii.gz for one file.
        for name in (as_one_file(file_name(case.name, kind)) for kind in KINDS):
            if name in owners:
                msg = (
                    f"The cases {owners[name]} and {case.name} would write the same file; rename one of them."
                )
                raise CasesError(msg)
            owners[name] = case.name


class _OfCase:
    """A reporter that says which case an event belongs to."""

    def __init__(self, report: Reporter, case: str) -> None:
        self._report = report
        self._case = case

    def event(self, kind: str, **fields: Any) -> None:
        """Pass the event on with the case's name."""
        self._report.event(kind, **{**fields, "case": self._case})

    def check(self) -> None:
        """Ask on."""
        self._report.check()
