"""The two JSON files of a cases folder: nnU-Net's ``dataset.json`` and our ``crgloco.json``.

``dataset.json`` says what nnU-Net needs (channels, labels, file ending, number of training cases).
``crgloco.json`` adds what nnU-Net has no place for: colours and terminology of the labels, the split
into training and validation, and the provenance of every revision of a label. Where both speak of
labels they must agree. Entries that we do not know are kept as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from crgloco.atomic import write_bytes
from crgloco.data.provenance import Provenance
from crgloco.errors import CasesError, LabelError, about
from crgloco.io.files import WRITTEN_SUFFIXES
from crgloco.labels import LabelTable

DATASET = "dataset.json"
MANIFEST = "crgloco.json"
MANIFEST_FORMAT = 1


@dataclass(frozen=True)
class Dataset:
    """What ``dataset.json`` says.

    Attributes:
        table: Values and names of the labels; colours by position.
        channel_names: One name per channel, in order.
        file_ending: Of all files in ``imagesTr`` and ``labelsTr``, with the dot.
        training: Number of cases that nnU-Net expects in ``imagesTr``.
        document: The whole file.
    """

    table: LabelTable
    channel_names: tuple[str, ...]
    file_ending: str
    training: int
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Split:
    """Which labelled cases measure and which ones teach; drawn once.

    Attributes:
        validation: Names of the cases that only measure.
        training: Names of the cases that taught when the split was last written.
        fraction: Share that was asked for, 0..1.
        seed: Of the draw.
    """

    validation: tuple[str, ...]
    training: tuple[str, ...]
    fraction: float
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Any, path: Path) -> Split:
        """Read what ``to_json`` wrote.

        Raises:
            CasesError: The entry is no split, naming the file.
        """
        try:
            validation, training = (_names(entry.get(key, [])) for key in ("validation", "training"))
            return cls(validation, training, float(entry.get("fraction", 0)), int(entry.get("seed", 0)))
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            msg = f"The split in {path} cannot be read; 'validation' and 'training' must list case names."
            raise CasesError(msg) from error


@dataclass(frozen=True)
class Manifest:
    """What ``crgloco.json`` says; all of it may be missing.

    Attributes:
        table: Label table with colours and terminology.
        split: The stored split.
        provenance: Case name -> its revisions, oldest first.
        document: The whole file.
    """

    table: LabelTable | None = None
    split: Split | None = None
    provenance: Mapping[str, tuple[Provenance, ...]] = field(default_factory=lambda: MappingProxyType({}))
    document: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def structures(self, case: str) -> tuple[str, ...] | None:
        """Return the names of the structures that the valid label of a case shows; ``None`` for all."""
        history = self.provenance.get(case, ())
        return history[-1].structures if history else None


def read_dataset(root: Path) -> Dataset:
    """Read ``dataset.json``.

    Raises:
        CasesError: It is missing, no JSON, or lacks what nnU-Net v2 requires.
        LabelError: Its labels are no table of whole numbers (regions, an ignore label, MSD's order).
    """
    path = root / DATASET
    if not path.is_file():
        msg = (
            f"{root} has no {DATASET}. A cases folder is an nnU-Net v2 raw data set: imagesTr, labelsTr and "
            f"{DATASET} with channel_names, labels, numTraining and file_ending."
        )
        raise CasesError(msg)
    document = _read_object(path)
    missing = [key for key in ("channel_names", "labels", "file_ending") if key not in document]
    if missing:
        msg = f"{path} lacks {', '.join(missing)}. nnU-Net v2 requires them; add them."
        raise CasesError(msg)
    if "dataset" in document:
        msg = f"{path} lists its files under 'dataset'; we read imagesTr and labelsTr. Copy the files there."
        raise CasesError(msg)
    ending = document["file_ending"]
    if ending not in WRITTEN_SUFFIXES:
        msg = f"{path} names the file ending {ending!r}; possible are {', '.join(WRITTEN_SUFFIXES)}."
        raise CasesError(msg)
    training = document.get("numTraining", -1)
    return Dataset(
        table=_table_of_names(document["labels"], path),
        channel_names=_channel_names(document["channel_names"], path),
        file_ending=ending,
        training=training if isinstance(training, int) else -1,
        document=document,
    )


def read_manifest(root: Path) -> Manifest:
    """Read ``crgloco.json``; an absent file is an empty manifest.

    Raises:
        CasesError: It is no JSON, of another format, or an entry cannot be understood.
        LabelError: Its label table contradicts itself.
    """
    path = root / MANIFEST
    if not path.exists():
        return Manifest()
    document = _read_object(path)
    if document.get("format") != MANIFEST_FORMAT:
        msg = (
            f"{path} has the format {document.get('format')!r}; this version reads {MANIFEST_FORMAT}. "
            "Update CRGLoCoSegment, or move the file away to start without split and provenance."
        )
        raise CasesError(msg)
    split = document.get("split")
    return Manifest(
        table=_table_of_entries(document["labels"], path) if document.get("labels") else None,
        split=None if split is None else Split.from_json(split, path),
        provenance=_provenance(document.get("provenance", {}), path),
        document=document,
    )


def read_split(path: Path) -> Split:
    """Read a split that was stored in a file of its own.

    Raises:
        CasesError: The file is no split.
    """
    return Split.from_json(_read_object(path), path)


def agreed_table(root: Path, dataset: Dataset, manifest: Manifest) -> LabelTable:
    """Return the one label table of both files.

    Raises:
        LabelError: The files disagree about a value or a name; both are named.
    """
    if manifest.table is None:
        return dataset.table
    ours, theirs = ({label.value: label.name for label in t.labels} for t in (manifest.table, dataset.table))
    for value in sorted({*ours, *theirs}):
        if ours.get(value) != theirs.get(value):
            first, second = (repr(names.get(value, "no label")) for names in (ours, theirs))
            msg = (
                f"The label tables of {root} disagree: value {value} is {first} in {MANIFEST} and {second} "
                f"in {DATASET}. Correct the one that is wrong; nothing was guessed."
            )
            raise LabelError(msg)
    return manifest.table


def new_dataset(
    name: str, table: LabelTable, channel_names: Sequence[str], file_ending: str, training: int = 0
) -> dict[str, Any]:
    """Return a ``dataset.json`` for so many training cases."""
    return {
        "name": name,
        "channel_names": {str(number): channel for number, channel in enumerate(channel_names)},
        "labels": {"background": 0, **table.to_names()},
        "numTraining": training,
        "file_ending": file_ending,
    }


def write_dataset(root: Path, document: Mapping[str, Any]) -> None:
    """Replace ``dataset.json`` in one step.

    Raises:
        ResourceError: The folder is not writable or the disk is full.
    """
    write_json(root / DATASET, document)


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Replace ``crgloco.json`` in one step; unknown entries of ``manifest.document`` are kept.

    Raises:
        ResourceError: The folder is not writable or the disk is full.
    """
    document: dict[str, Any] = {**manifest.document, "format": MANIFEST_FORMAT}
    if manifest.table is not None:
        document["labels"] = manifest.table.to_json()
    if manifest.split is not None:
        document["split"] = manifest.split.to_json()
    document["provenance"] = {
        case: [revision.to_json() for revision in revisions]
        for case, revisions in sorted(manifest.provenance.items())
    }
    write_json(root / MANIFEST, document)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step.

    Raises:
        ResourceError: The folder is not writable or the disk is full.
    """
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    # of a file name that is no text, half a character may be left: its escape is JSON's
    write_bytes(path, text.encode(errors="backslashreplace"))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read as JSON: {error}."
        raise CasesError(msg) from error
    if not isinstance(document, dict):
        msg = f"{path} holds no JSON object ({{...}})."
        raise CasesError(msg)
    return document


def _channel_names(entry: Any, path: Path) -> tuple[str, ...]:
    numbers = {str(number) for number in range(len(entry))} if isinstance(entry, dict) else set()
    if not numbers or set(entry) != numbers:
        msg = f'{path}: channel_names must be {{"0": name, "1": name, ...}}; found {entry!r}.'
        raise CasesError(msg)
    return tuple(str(entry[str(number)]) for number in range(len(entry)))


def _table_of_names(entry: Any, path: Path) -> LabelTable:
    if not isinstance(entry, dict):
        msg = f"{path}: labels must map names to values; found {entry!r}."
        raise CasesError(msg)
    if entry and all(isinstance(value, str) for value in entry.values()):
        msg = f'{path}: labels are written as {{"1": "name"}} (MSD); nnU-Net v2 needs {{"name": 1}}.'
        raise LabelError(msg)
    if "ignore" in entry:
        msg = f"{path} has an 'ignore' label (partly drawn cases); we cannot train that. Complete the labels."
        raise LabelError(msg)
    zero = [name for name, value in entry.items() if value == 0 and not isinstance(value, bool)]
    if zero != ["background"]:
        msg = f"{path}: labels must have 'background' as the only name of value 0; found {zero}."
        raise LabelError(msg)
    with about(path):
        return LabelTable.from_names(entry)


def _table_of_entries(entry: Any, path: Path) -> LabelTable:
    with about(path):
        return LabelTable.from_json(entry)


def _provenance(entry: Any, path: Path) -> dict[str, tuple[Provenance, ...]]:
    try:
        return {str(case): tuple(map(Provenance.from_json, revisions)) for case, revisions in entry.items()}
    except (AttributeError, TypeError, ValueError) as error:
        msg = f"The provenance in {path} cannot be read; it must list the revisions of each case."
        raise CasesError(msg) from error


def _names(entry: Any) -> tuple[str, ...]:
    if not isinstance(entry, list) or not all(isinstance(name, str) for name in entry):
        msg = "case names expected"
        raise TypeError(msg)
    return tuple(entry)
