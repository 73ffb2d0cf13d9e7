"""What is wrong with a cases folder, case by case, before anything starts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from crgloco.data.case_files import CaseFiles, list_case_files, listed_first, why_ignored
from crgloco.data.cases import Case, CasesFolder, assert_channels, open_cases
from crgloco.data.manifest import DATASET, Dataset, read_dataset, read_manifest
from crgloco.data.partial_labels import assert_shown, in_words, partial_cases
from crgloco.data.provenance import content_hash
from crgloco.errors import CasesError, CRGLoCoError, InputError, ResourceError
from crgloco.file_names import as_one_file
from crgloco.io.files import Source, assert_usable_image, read_source
from crgloco.io.label_files import read_label
from crgloco.io.orientation import Orientation, on_grid
from crgloco.io.volume import Geometry, Volume
from crgloco.progress import Reporter, Silent

Severity = Literal["error", "warning"]

_TURNED = (
    "The axes of the {what} {path} run otherwise than those of its case's first image, as 3D Slicer "
    "saves it for some scans. Here every voxel is read at its place; nnU-Net would mirror it."
)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        case: Name of the case; empty if it concerns the whole folder.
        severity: ``"error"``: the case (or the folder) cannot be used; ``"warning"``: it can.
        text: What was found, where, and what to do.
        spared: Whether a training goes on without the case: nobody's label is lost.
    """

    case: str
    severity: Severity
    text: str
    spared: bool = False


@dataclass
class _Findings:
    """What was seen so far: problems, and what only the comparison of cases can tell."""

    problems: list[Problem] = field(default_factory=list)
    contents: dict[str, list[Case]] = field(default_factory=dict)  # hashes of all voxels -> cases
    classes: set[int] = field(default_factory=set)

    def error(self, case: str, text: object) -> None:
        self.problems.append(Problem(case, "error", str(text)))

    def unusable(self, case: Case, text: object) -> None:
        self.problems.append(Problem(case.name, "error", str(text), spared=case.label is None))

    def warning(self, case: str, text: object) -> None:
        self.problems.append(Problem(case, "warning", str(text)))


def check(
    folder: CasesFolder | Path, report: Reporter | None = None, *, labels: bool = True
) -> tuple[Problem, ...]:
    """Read every image and every label and say what is wrong.

    Args:
        folder: A cases folder or a plain folder of scans, opened or not.
        report: Hears the progress; may stop.
        labels: Whether labels are needed; pre-training needs none.

    Returns:
        The problems of the folder first, then case by case; empty if all is well.
    """
    report = report or Silent()
    if isinstance(folder, Path):
        try:
            folder = open_cases(folder)
        except (CasesError, InputError) as error:
            return (Problem("", "error", str(error)),)
    findings = _Findings()
    if labels:
        _check_roles(folder, findings)
    _check_names([case.name for case in (*folder.labelled, *folder.unlabelled)], folder.root, findings)
    if folder.table is not None:
        dataset = read_dataset(folder.root)
        files = list_case_files(folder.root, dataset.file_ending, len(folder.channel_names))
        _check_files(folder, files, dataset, findings)
        _check_books(folder, files, dataset, findings)
    cases = (*folder.labelled, *folder.unlabelled)
    for number, case in enumerate(cases):
        report.check()
        report.event("progress", done=number, total=len(cases), stage="check")
        _check_case(case, folder, findings)
    report.event("progress", done=len(cases), total=len(cases), stage="check")
    _check_copies(folder, findings)
    _check_classes(folder, findings)
    _check_completeness(folder, findings)
    order = {"": 0, **{case.name: number for number, case in enumerate(cases, 1)}}
    return tuple(sorted(findings.problems, key=lambda problem: order.get(problem.case, len(order))))


def _check_roles(folder: CasesFolder, findings: _Findings) -> None:
    root, count = folder.root, len(folder.labelled)
    if not count and folder.table is not None:
        findings.error("", f"{root} has no labelled case; training needs one. Label a case and accept it.")
    elif not count:
        text = f"{root} is a plain folder of scans without labels: good for prediction and for pre-training."
        findings.warning("", text)
    elif count == 1:
        text = f"{root} has one labelled case: it teaches, and nothing is left to measure. Label another one."
        findings.warning("", text)
    elif not folder.training:
        findings.error("", f"All labelled cases of {root} are for validation; none is left to teach.")
    images = {case.name for case in folder.unlabelled}
    for name, text in sorted(folder.lost.items()):
        findings.warning(name if name in images else "", text)


def _check_names(names: Sequence[str], root: Path, findings: _Findings) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            findings.error(name, f"Case name {name} is used {times} times in {root}. Rename all but one.")
    alike: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        alike.setdefault(as_one_file(name), []).append(name)
    for same in alike.values():
        if len(same) > 1:
            text = (
                f"Cases {' and '.join(same)} differ only in upper and lower case, or in how accents are "
                "stored: one file on Windows or macOS."
            )
            findings.warning(same[1], text)


def _check_files(folder: CasesFolder, files: CaseFiles, dataset: Dataset, findings: _Findings) -> None:
    root, known = folder.root, {*files.images, *files.waiting}
    for name, path in sorted(files.without_image.items()):
        findings.error(name, f"{path} is a label without image. Add the image or remove it.")
    for name in sorted(set(files.images) - set(files.labels)):
        text = (
            f"Case {name} of imagesTr has no label in labelsTr; it counts as unlabelled. "
            "Move it to imagesUl: nnU-Net refuses images without label."
        )
        findings.warning(name, text)
    for name in sorted(set(files.waiting) & set(files.images)):
        if not _are_copies(files, name):
            text = f"Case {name} is in imagesTr and, with other content, in imagesUl. Rename one of them."
            findings.error(name, text)
    for path in files.strange:
        findings.warning("", f"{path} is ignored: {why_ignored(path, dataset.file_ending)}.")
    for name in listed_first(root):
        if name not in known:
            findings.warning("", f"train.list names the case {name}, which does not exist in {root}.")


def _are_copies(files: CaseFiles, name: str) -> bool:
    """Whether what waits in ``imagesUl`` is what is in ``imagesTr``: a move cut short, or converted."""
    waiting, images = files.waiting[name], files.images[name]
    common = set(waiting) & set(images)
    if len(common) < min(len(waiting), len(images)):
        return False
    try:
        return all(
            content_hash(waiting[number].path) == content_hash(images[number].path)
            or not set(_voxels(waiting[number])).isdisjoint(_voxels(images[number]))
            for number in common
        )
    except CRGLoCoError:
        return False


def _check_books(folder: CasesFolder, files: CaseFiles, dataset: Dataset, findings: _Findings) -> None:
    root = folder.root
    if dataset.training != len(files.images):
        text = (
            f"{root / DATASET} says numTraining {dataset.document.get('numTraining', 'nothing')}; "
            f"imagesTr has {len(files.images)} cases. nnU-Net refuses that; accepting any label corrects it."
        )
        findings.warning("", text)
    if any(second != first + 1 for first, second in pairwise(dataset.table.values)):
        text = f"{root / DATASET}: label values have gaps. We can train on them, nnU-Net cannot."
        findings.warning("", text)
    for name, history in read_manifest(root).provenance.items():
        path = files.labels.get(name)
        if path is not None and history and history[-1].content_hash not in {"", content_hash(path)}:
            text = f"{path} was changed after it was accepted as revision {history[-1].revision}."
            findings.warning(name, text)


def _check_case(case: Case, folder: CasesFolder, findings: _Findings) -> None:
    try:
        assert_channels(case, folder.channel_names)
    except CasesError as error:
        findings.unusable(case, error)
    hashes: list[tuple[str, str]] = []
    grid: Geometry | None = None
    for number, source in enumerate(case.channels):
        try:
            volume = read_source(source)
            grid = grid or volume.geometry
            hashes.append(_fingerprints(volume))
            assert_usable_image(volume, source.path)
            on_grid(volume, grid, f"Channels {number} and 0 of case {case.name}")
            if not grid.same_grid(volume.geometry):
                findings.warning(case.name, _TURNED.format(what="image", path=source.path))
        except (InputError, ResourceError) as error:
            findings.unusable(case, error)
    if len(set(hashes)) < len(hashes):
        findings.warning(case.name, f"Two channels of case {case.name} are the same image. Check the export.")
    if hashes and len(hashes) == len(case.channels):
        for key in dict.fromkeys("|".join(channels) for channels in zip(*hashes, strict=True)):
            findings.contents.setdefault(key, []).append(case)
    if case.label is not None:
        _check_label(case, case.label, grid, folder, findings)


def _check_label(
    case: Case, path: Path, grid: Geometry | None, folder: CasesFolder, findings: _Findings
) -> None:
    if folder.table is None:
        return
    try:
        label = read_label(path, folder.table)
    except (InputError, ResourceError) as error:
        findings.error(case.name, error)
        return
    found = set(np.unique(label.array).tolist()) - {0}
    findings.classes |= found
    try:
        assert_shown(case, found, folder.table)
    except InputError as error:
        findings.error(case.name, error)
    if not found:
        text = f"The label {path} is empty: no structure is drawn. Leave it so only if none is visible."
        findings.warning(case.name, text)
    if grid is None or grid.same_grid(label.geometry):
        return
    try:
        on_grid(label, grid, f"The label {path} and its image")
        findings.warning(case.name, _TURNED.format(what="label", path=path))
    except InputError as error:
        findings.error(case.name, error)


def _check_copies(folder: CasesFolder, findings: _Findings) -> None:
    """Name images that are there twice: what is measured must not have taught, labelled or not."""
    told: set[str] = set()
    for cases in findings.contents.values():
        for case in (case for case in cases[1:] if case.name not in told):
            first = cases[0]
            told.add(case.name)
            pair = f"Cases {first.name} and {case.name} have the same image"
            if first.label is None:
                findings.warning(case.name, f"{pair}. Remove one of them.")
            elif case.label is None:
                text = f"{pair}, once labelled and once unlabelled. Remove the unlabelled one."
                findings.error(case.name, text)
            elif (first.name in folder.validation) != (case.name in folder.validation):
                teaching = first if case.name in folder.validation else case
                text = f"{pair}; one is for training, the other for validation. Remove {teaching.name}."
                findings.error(teaching.name, text)
            else:
                text = f"{pair}. Remove one: they could fall on both sides of the split."
                findings.error(case.name, text)


def _check_classes(folder: CasesFolder, findings: _Findings) -> None:
    if folder.table is None or not folder.labelled:
        return
    for number, label in enumerate(folder.table.labels, 1):
        if number not in findings.classes:
            text = f"Label {label.value} {label.name} is drawn in no case: it cannot be learnt."
            findings.warning("", text)


def _check_completeness(folder: CasesFolder, findings: _Findings) -> None:
    partial = partial_cases(folder.labelled)
    if folder.table is not None and partial:
        text = (
            f"{len(partial)} of {len(folder.labelled)} labels show some structures only "
            f"({in_words(folder.labelled, folder.table)}). Not every method can learn from such labels."
        )
        findings.warning("", text)


def _voxels(source: Source) -> tuple[str, str]:
    return _fingerprints(read_source(source))


def _fingerprints(volume: Volume) -> tuple[str, str]:
    """Hash the voxels as they are stored and with canonical axes: converters turn a scan's axes round."""
    way, stored = Orientation.of(volume.geometry), _fingerprint(volume.array)
    return stored, stored if way.is_canonical else _fingerprint(way.apply(volume.array))


def _fingerprint(array: npt.NDArray[np.generic]) -> str:
    """Hash the voxels, whatever format and type they were stored in."""
    whole = hashlib.sha256(repr(array.shape).encode())
    for plane in array:
        whole.update(np.ascontiguousarray(plane, np.float32).tobytes())
    return whole.hexdigest()
