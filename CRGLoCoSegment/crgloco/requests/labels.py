"""Requests that write labels: into a cases folder, with all its checks, or into a file of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from crgloco.data.case_files import assert_case_name
from crgloco.data.case_store import accept_label, add_case, create_cases, revisions
from crgloco.data.cases import Case, open_cases, parts_of_cases
from crgloco.data.provenance import Provenance
from crgloco.errors import CasesError, InputError, OptionError
from crgloco.file_names import is_litter
from crgloco.folder_lock import LOCK, locked
from crgloco.io.files import assert_usable_image, read_geometry, read_source
from crgloco.io.files import write_volume as write_file
from crgloco.io.orientation import on_grid, turned_onto
from crgloco.io.volume import Volume
from crgloco.io.volume_file import volume_suffix
from crgloco.labels import LabelTable
from crgloco.progress import Reporter
from crgloco.requests import fields as read
from crgloco.requests.arrays import read_label, read_volumes
from crgloco.requests.fields import Answer, Fields
from crgloco.requests.tables import assert_no_conflict

LONGEST_ROLE = 60


def create(fields: Fields, report: Reporter) -> Answer:
    """Answer ``create``: make an empty cases folder."""
    del report
    root = read.path(fields, "folder")
    _assert_may_be_made(root)
    folder = create_cases(root, read.table(fields, "table"), read.texts(fields, "channel_names"))
    return {"folder": str(folder.root)}


def accept(fields: Fields, report: Reporter) -> Answer:
    """Answer ``accept``: store a label as the valid one of a case; the case and the folder may be new."""
    root, name = read.path(fields, "folder"), read.text(fields, "case")
    told = read.mapping(fields, "provenance")
    provenance = _provenance(told)
    label, images = read_label(fields.get("label")), read_volumes(fields, "images")
    _prepare_folder(root, name, fields, label, images)
    report.check()
    case = _find(root, name)
    if provenance.structures is None and (case is None or case.label is None):
        provenance = replace(provenance, structures=tuple(read.texts(told, "looked_for")) or None)
    if case is None:
        _assert_can_be_added(root, name, images)
        add_case(root, name, images, label, provenance=provenance)
    else:
        if images:
            _assert_same_image(case, images)
        accept_label(root, name, label, provenance)
    stored = open_cases(root).find(name)
    return {
        "label": str(stored.label),
        "revision": revisions(root)[name][-1].revision,
        "case": name,
        "created": case is None,
    }


def write_label(fields: Fields, report: Reporter) -> Answer:
    """Answer ``write_label``: write label values as a file, in the format of its ending."""
    del report
    path, table = read.path(fields, "path"), read.table(fields, "table")
    label = _as_stored(read_label(fields.get("label")), read.optional_path(fields, "scan"))
    values = table.to_values(table.to_classes(label.array))
    write_file(Volume(values, label.geometry), path)
    return {"path": str(path)}


def _as_stored(label: Volume, scan: Path | None) -> Volume:
    """Return a label with its axes as in the file of its scan: Slicer turns left-handed ones round.

    Programs that pair voxels without looking where they lie would take it for mirrored.
    """
    if scan is None or volume_suffix(scan) is None:
        return label
    try:
        return turned_onto(label, read_geometry(scan)) or label
    except InputError:  # the scan has gone, say; the label lies where it lies
        return label


def _prepare_folder(root: Path, name: str, fields: Fields, label: Volume, images: tuple[Volume, ...]) -> None:
    """Make a folder that is not there yet; of one that is, compare its labels with those that were given."""
    table = read.table(fields, "table") if fields.get("table") is not None else None
    if parts_of_cases(root):
        _assert_same_labels(root, table)
        return
    _assert_may_be_made(root)
    if table is None or not images:
        msg = f"{root} is no cases folder. To make one, a label table, channel names and an image are needed."
        raise CasesError(msg)
    # All that can be seen to fail is seen before anything is written.
    assert_case_name(name)
    table.to_classes(label.array)
    for image in images:
        assert_usable_image(image, Path("The image"))
        on_grid(image, label.geometry, f"The image and the label of {name}")
    channels = read.texts(fields, "channel_names")
    if len(channels) != len(images):
        msg = f"'channel_names' names {len(channels)} channels, the image has {len(images)}."
        raise OptionError(msg)
    try:
        create_cases(root, table, channels)
    except CasesError:
        if not parts_of_cases(root):
            raise
        _assert_same_labels(root, table)  # another program was faster: its folder it is


def _assert_same_labels(root: Path, table: LabelTable | None) -> None:
    with locked(root):  # a folder that is just being made is whole afterwards
        folder = open_cases(root).table
    if table is not None and folder is not None:
        assert_no_conflict(table, folder, "The label")


def _assert_may_be_made(root: Path) -> None:
    """A folder with other things in it is somebody's: cases must not get mixed with them."""
    items = sorted(item.name for item in root.iterdir()) if root.is_dir() else []
    others = [name for name in items if not is_litter(name) and name != LOCK]
    if others or (root.exists() and not root.is_dir()):
        what = f"holds {others[0]!r}" if others else "is a file"
        msg = f"{root} {what} and is no cases folder. Choose an empty folder or a cases folder."
        raise CasesError(msg)


def _find(root: Path, name: str) -> Case | None:
    """Return a case that is there with all its channels."""
    folder = open_cases(root)
    for case in (*folder.labelled, *folder.unlabelled):
        if case.name == name and len(case.channels) >= len(folder.channel_names):
            return case
    return None


def _assert_can_be_added(root: Path, name: str, images: tuple[Volume, ...]) -> None:
    if not images:
        msg = f"{root} has no case {name!r}. Add its image first."
        raise CasesError(msg)
    if open_cases(root).table is None:
        msg = f"{root} is a plain folder of scans. Choose a cases folder, or an empty folder for a new one."
        raise CasesError(msg)


def _assert_same_image(case: Case, images: tuple[Volume, ...]) -> None:
    """A case of this name is there: it must be this very image, or the label would go to another one."""
    same = len(images) == len(case.channels)
    for source, image in zip(case.channels, images, strict=False):
        stored = read_source(source)
        turned = turned_onto(image, stored.geometry)  # Slicer turns left-handed images round
        same = same and turned is not None and bool(np.array_equal(stored.array, turned.array))
    if not same:
        msg = (
            f"There is a case {case.name} already, with another image. Choose another name for this one; "
            "nothing was changed."
        )
        raise CasesError(msg)


def _provenance(fields: Fields) -> Provenance:
    """Read what is known about a label: roles and numbers, never names of persons or files.

    ``structures`` names what the label shows, for whoever knows; see ``accept_label`` for what holds without.
    ``looked_for`` names what the model has looked for, which is what a first label shows besides what is
    drawn; a later one shows what the one before did.
    """
    known = ("model", "edits_voxels", "edits_ml", "annotator", "structures", "looked_for")
    unknown = sorted(set(fields) - set(known))
    if unknown:
        msg = f"The provenance has unknown entries: {', '.join(unknown)}. Known ones: {', '.join(known)}."
        raise OptionError(msg)
    role, voxels = fields.get("annotator") or "", read.number(fields, "edits_voxels", None)
    if not isinstance(role, str) or len(role) > LONGEST_ROLE or not role.isprintable():
        msg = f"'annotator' must be a role such as 'radiologist', at most {LONGEST_ROLE} letters."
        raise OptionError(msg)
    return Provenance(
        model=None if fields.get("model") is None else read.text(fields, "model"),
        edits_voxels=None if voxels is None else round(voxels),
        edits_ml=read.number(fields, "edits_ml", None),
        annotator=role,
        structures=tuple(read.texts(fields, "structures")) or None,
    )
