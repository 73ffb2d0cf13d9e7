"""A cases folder, opened: which cases there are, which have a label, which ones only measure.

A cases folder is an nnU-Net v2 raw data set (``imagesTr``, ``labelsTr``, ``dataset.json``) with
``imagesUl`` for unlabelled cases and ``crgloco.json`` for the split and provenance. Any other folder
of volumes or of DICOM series is read as unlabelled cases. Opening reads names and the two JSON files
only, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crgloco.data.case_files import (
    IMAGES,
    LABELS,
    UNLABELLED,
    CaseFiles,
    Channels,
    group_channels,
    list_case_files,
    listed_first,
    why_ignored,
)
from crgloco.data.manifest import (
    DATASET,
    MANIFEST,
    Manifest,
    agreed_table,
    read_dataset,
    read_manifest,
)
from crgloco.data.prediction_record import result_names
from crgloco.errors import CasesError, LabelError
from crgloco.io.files import Source, find_volumes
from crgloco.io.volume_file import volume_suffix
from crgloco.labels import LabelTable


@dataclass(frozen=True)
class Case:
    """One patient, animal or specimen at one time.

    Attributes:
        name: Unique in its folder.
        channels: One scan per channel, on one grid.
        label: File with the values of the label table; ``None`` if not (yet) labelled.
        structures: Names of the structures that the label shows; ``None`` for all of the label table.
        numbers: Which channel each scan is by its file's name; empty where scans were given in order.
    """

    name: str
    channels: tuple[Source, ...]
    label: Path | None = None
    structures: tuple[str, ...] | None = None
    numbers: tuple[int, ...] = ()


def case_of(name: str, numbered: Channels) -> Case:
    """Return a case of scans whose files say which channel they are."""
    numbers = tuple(sorted(numbered))
    return Case(name, tuple(numbered[number] for number in numbers), numbers=numbers)


def assert_channels(case: Case, names: Sequence[str]) -> None:
    """Refuse a case that does not have one scan for each channel.

    Raises:
        CasesError: It has more or fewer, or one is missing before another.
    """
    if len(case.channels) != len(names):
        msg = (
            f"Case {case.name} ({case.channels[0].path.parent}) has {len(case.channels)} channels; "
            f"{len(names)} are needed ({', '.join(names)}). Add what is missing, or take the case away."
        )
        raise CasesError(msg)
    assert_no_gap(case)


def assert_no_gap(case: Case) -> None:
    """Refuse a case whose scans, counted from 0, would be taken for other channels than they are.

    Raises:
        CasesError: A channel is missing before another.
    """
    for number, (named, source) in enumerate(zip(case.numbers, case.channels, strict=False)):
        if named != number:
            msg = (
                f"Case {case.name} has no channel {number}: found {source.path} instead. "
                "Add what is missing, or take the case away."
            )
            raise CasesError(msg)


@dataclass(frozen=True)
class CasesFolder:
    """What a cases folder holds.

    Attributes:
        root: The folder.
        table: Its label table; ``None`` for a plain folder of scans.
        channel_names: One name per channel, as ``dataset.json`` has them (``"CT"`` means Hounsfield units).
        labelled: Cases with a label: in the order of ``train.list``, then by name.
        unlabelled: Cases without a label, by name.
        validation: Names of the cases that never teach, as stored; empty before ``draw_split``.
        unused: What to tell of each label that belongs to none of the cases: nobody learns from it.
    """

    root: Path
    table: LabelTable | None
    channel_names: tuple[str, ...]
    labelled: tuple[Case, ...]
    unlabelled: tuple[Case, ...]
    validation: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def training(self) -> tuple[Case, ...]:
        """The labelled cases that teach."""
        return tuple(case for case in self.labelled if case.name not in self.validation)

    @property
    def validating(self) -> tuple[Case, ...]:
        """The labelled cases that only measure."""
        return tuple(case for case in self.labelled if case.name in self.validation)

    @property
    def lost(self) -> dict[str, str]:
        """The stored validation cases that have no label any more: name -> what to tell of it."""
        labelled, images = ({case.name for case in cases} for cases in (self.labelled, self.unlabelled))
        there = "has no label any more: it measures nothing, and does not teach. Label it again."
        gone = "is gone: nothing is measured on it. Put it back to compare models as before."
        return {
            name: f"Validation case {name} of {self.root} {there if name in images else gone}"
            for name in self.validation
            if name not in labelled
        }

    def role(self, case: Case) -> str:
        """Return what one of the cases is for: ``"labelled"``, ``"validation"`` or ``"unlabelled"``."""
        if case.label is None:
            return "unlabelled"
        return "validation" if case.name in self.validation else "labelled"

    def find(self, name: str) -> Case:
        """Return a case by its name.

        Raises:
            CasesError: There is none of that name.
        """
        for case in (*self.labelled, *self.unlabelled):
            if case.name == name:
                return case
        msg = f"{self.root} has no case {name!r}. Add its image first."
        raise CasesError(msg)


def open_cases(root: Path) -> CasesFolder:
    """Open a cases folder, or a plain folder of scans as unlabelled single-channel cases.

    A case of ``imagesTr`` without label counts as unlabelled. Nothing is checked beyond names and
    tables, see ``case_check.check``.

    Raises:
        CasesError: There is no such folder, nothing in it, or ``dataset.json`` or ``crgloco.json``
            cannot be used.
        LabelError: The label table cannot be used, the two files disagree about it, or a label is said to
            show a structure that is not in it.
    """
    if not root.is_dir():
        msg = f"{root} is no folder. Give a cases folder or a folder of scans."
        raise CasesError(msg)
    if not parts_of_cases(root):
        return CasesFolder(root, None, ("image",), (), open_unlabelled(root, 1))
    dataset, manifest = read_dataset(root), read_manifest(root)
    table = agreed_table(root, dataset, manifest)
    count = len(dataset.channel_names)
    files = list_case_files(root, dataset.file_ending, count)
    _assert_ending(root, dataset.file_ending, files)
    known = {*files.images, *files.waiting}
    listed = (name for name in listed_first(root) if name in files.labels)
    order = dict.fromkeys((*listed, *sorted(files.labels)))
    return CasesFolder(
        root,
        table,
        dataset.channel_names,
        labelled=tuple(
            replace(
                _case(name, files, count),
                label=files.labels[name],
                structures=_shown(name, manifest, table, root),
            )
            for name in order
            if name in known
        ),
        unlabelled=tuple(_case(name, files, count) for name in sorted(known) if name not in files.labels),
        validation=manifest.split.validation if manifest.split is not None else (),
        unused=_unused_labels(files, dataset.file_ending),
    )


def _unused_labels(files: CaseFiles, ending: str) -> tuple[str, ...]:
    lonely = files.without_image.values()
    others = [path for path in files.strange if path.parent.name == LABELS and volume_suffix(path)]
    return (
        *(f"The label {path} is left out: there is no image of that name." for path in lonely),
        *(f"The label {path} is left out: {why_ignored(path, ending)}." for path in others),
    )


def parts_of_cases(root: Path) -> list[str]:
    """Name what a cases folder has and a plain folder of scans has not; empty for the latter."""
    return [name for name in (DATASET, MANIFEST, IMAGES, LABELS) if (root / name).exists()]


def _assert_ending(root: Path, ending: str, files: CaseFiles) -> None:
    """Refuse labels that all have another ending than the description says: they would be passed over."""
    others = [path for path in files.strange if path.parent == root / LABELS and volume_suffix(path)]
    if others and not files.labels:
        msg = (
            f"{root / DATASET} says that files end in {ending}, but {others[0]} does not. Correct "
            "'file_ending' there, or convert the files."
        )
        raise CasesError(msg)


def open_unlabelled(folder: Path, channels: int) -> tuple[Case, ...]:
    """Read any folder as unlabelled cases: volumes, DICOM series, or all images of a cases folder.

    Results of predictions, which ``predictions.json`` in the folder names, are no scans.

    Args:
        folder: A flat folder of volumes or of DICOM series at any depth, or a cases folder, whose
            labels and held-back ``imagesTs`` are not looked at.
        channels: Channels of a case; where there are several, files are named ``<case>_0000`` and so on.

    Raises:
        CasesError: There is no such folder, or no scan in it.
    """
    if not folder.is_dir():
        msg = f"{folder} is no folder. Give a folder of volumes or of DICOM series."
        raise CasesError(msg)
    if folder.name == LABELS and (folder.parent / IMAGES).is_dir():
        msg = f"{folder} holds the labels of a cases folder, no scans. Give a folder of scans."
        raise CasesError(msg)
    places = [folder / name for name in (IMAGES, UNLABELLED) if (folder / name).is_dir()]
    in_cases_folder, places = bool(places), places or [folder]
    found: dict[str, Channels] = {}
    for place in places:
        scans, strict = find_volumes(place, result_names(place)), place == folder / IMAGES
        for name, numbered in group_channels(
            scans, channels, siblings=in_cases_folder, strict=strict
        ).items():
            found.setdefault(name, numbered)
    if not found:
        only = " but results of predictions, which are none" if any(map(result_names, places)) else ""
        msg = (
            f"{folder} holds no scans{only}. Volumes (.nii.gz, .nrrd, .mha, ...) or DICOM series are needed."
        )
        below = next((path for path in folder.glob("*/**/[!.]*") if volume_suffix(path)), None)
        if below is not None and not only and not in_cases_folder:
            msg += f" Volumes are looked for in the folder itself, not below it, as {below} is."
        raise CasesError(msg)
    return tuple(case_of(name, found[name]) for name in sorted(found))


def _case(name: str, files: CaseFiles, count: int) -> Case:
    return case_of(name, files.channels(name, count))


def _shown(name: str, manifest: Manifest, table: LabelTable, root: Path) -> tuple[str, ...] | None:
    try:
        return table.part(manifest.structures(name))
    except LabelError as error:
        msg = f"{root / MANIFEST}: the label of {name} is said to show what it cannot. {error}"
        raise LabelError(msg) from error
