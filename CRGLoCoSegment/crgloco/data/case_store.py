"""Growing a cases folder: make it, add cases, accept corrected labels.

Every file appears whole or not at all, and in an order that leaves a valid folder wherever a process
is killed: the label first (nnU-Net ignores a label without image, and we find the image where it
waits), then the image, then the books; but what a first label shows is on record before the label is
there, else it would count as complete. The next writer finishes what was left. No label is ever
overwritten: the one before is kept in ``labelsTr_revisions/<case>.r001<ending>``.
"""

from __future__ import annotations

import glob
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from crgloco.atomic import LONG_PAUSES_S, appearing, patiently, saving, settle
from crgloco.data.case_files import (
    IMAGES,
    LABELS,
    REVISIONS,
    UNLABELLED,
    assert_case_name,
    list_case_files,
)
from crgloco.data.cases import Case, CasesFolder, assert_channels, open_cases, parts_of_cases
from crgloco.data.manifest import (
    Dataset,
    Manifest,
    new_dataset,
    read_dataset,
    read_manifest,
    write_dataset,
    write_manifest,
)
from crgloco.data.partial_labels import shown_structures
from crgloco.data.provenance import Provenance, content_hash, source_hash
from crgloco.errors import CasesError, InputError, about
from crgloco.file_names import as_one_file
from crgloco.folder_lock import locked
from crgloco.io.files import (
    WRITTEN_SUFFIXES,
    Source,
    assert_usable_image,
    read_source,
    read_volume,
    source_geometry,
    write_volume,
)
from crgloco.io.label_files import read_label
from crgloco.io.orientation import on_grid
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import LabelTable


def create_cases(
    root: Path,
    table: LabelTable,
    channel_names: Sequence[str],
    *,
    file_ending: str = ".nii.gz",
) -> CasesFolder:
    """Make an empty cases folder.

    Args:
        root: Made if missing; may hold other files, but no cases.
        table: The labels of the project.
        channel_names: One name per channel; ``"CT"`` means Hounsfield units, anything else MR-like.
        file_ending: Of all files, one of ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha``.

    Raises:
        CasesError: There are cases in the folder already, no channel was named, or the ending is unknown.
        ResourceError: The folder cannot be written.
    """
    if not channel_names or file_ending not in WRITTEN_SUFFIXES:
        msg = f"A cases folder needs a channel name and a file ending out of {', '.join(WRITTEN_SUFFIXES)}."
        raise CasesError(msg)
    with saving(root):
        root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        taken = parts_of_cases(root)
        if taken:
            found = ", ".join(taken)
            msg = f"{root} is a cases folder already (it has {found}). Open it or choose another one."
            raise CasesError(msg)
        with saving(root):
            for folder in (IMAGES, LABELS, UNLABELLED):
                (root / folder).mkdir(exist_ok=True)
        write_manifest(root, Manifest(table=table))
        write_dataset(root, new_dataset(root.resolve().name, table, channel_names, file_ending))
    return open_cases(root)


def add_case(
    root: Path,
    name: str,
    channels: Sequence[Path | Source | Volume],
    label: Path | Volume | None = None,
    *,
    provenance: Provenance | None = None,
) -> Case:
    """Add a case; the given files are copied and stay where they are.

    Args:
        root: The cases folder.
        name: A new name, fit for a file name.
        channels: One scan per channel: a file, a DICOM series or an array.
        label: With the values of the label table, on the grid of the scan.
        provenance: Of the label.

    Raises:
        CasesError: The name is taken or unfit, or the number of channels is wrong.
        InputError: A scan or the label cannot be used, or their grids differ.
        ResourceError: The folder cannot be written.
    """
    assert_case_name(name)
    folder, dataset = open_cases(root), read_dataset(root)
    if len(channels) != len(folder.channel_names):
        wanted = ", ".join(folder.channel_names)
        msg = f"Case {name}: {len(channels)} channels were given; {root} needs {wanted}."
        raise CasesError(msg)
    volumes = _usable(name, channels)
    if label is not None:
        label = _label_volume(label, dataset.table, volumes[0].geometry, name)
    with locked(root):
        _assert_new(open_cases(root), name, volumes)
        with saving(root / UNLABELLED):
            (root / UNLABELLED).mkdir(exist_ok=True)
        for number, (given, volume) in enumerate(zip(channels, volumes, strict=True)):
            target = root / UNLABELLED / f"{name}_{number:04d}{dataset.file_ending}"
            if isinstance(given, Path) and given.name.endswith(dataset.file_ending):
                _copy(given, target)
            else:
                write_volume(volume, target)
    if label is not None:
        accept_label(root, name, label, provenance or Provenance())
    return open_cases(root).find(name)


def accept_label(root: Path, case: str, label: Volume, provenance: Provenance) -> Path:
    """Store a label as the valid one of a case, which thereby is (or stays) a labelled case.

    Args:
        root: The cases folder.
        case: Name of a labelled or unlabelled case.
        label: Values of the label table, on the grid of the case's image; its axes may be stored in another
            order or direction.
        provenance: Model, edits, role, and the structures that the label shows; untold, these are those of
            the revision before (all, if it is the first) and what is drawn. Time, hashes and revision are
            filled in.

    Returns:
        The label file.

    Raises:
        CasesError: There is no such case, or its channels are not those of the folder.
        GeometryError: The label lies on another grid than the image.
        LabelError: A value is not in the label table.
        ResourceError: The folder cannot be written; the label that was there is valid still, or kept among
            the revisions.
    """
    with locked(root):
        folder, dataset = open_cases(root), read_dataset(root)
        found = folder.find(case)
        assert_channels(found, folder.channel_names)
        grid = source_geometry(found.channels[0])
        checked = _label_volume(label, dataset.table, grid, case)
        path = root / LABELS / f"{case}{dataset.file_ending}"
        manifest = read_manifest(root)
        revision = _current_revision(root, case, manifest, path) + 1
        staged = root / REVISIONS / f"{case}.incoming{dataset.file_ending}"
        with saving(path):
            staged.parent.mkdir(exist_ok=True)
            path.parent.mkdir(exist_ok=True)
        try:
            write_volume(checked, staged)
            record = replace(
                provenance,
                time_utc=provenance.time_utc or datetime.now(UTC).isoformat(timespec="seconds"),
                content_hash=content_hash(staged),
                image_hashes=tuple(source_hash(source) for source in found.channels),
                revision=revision,
                structures=shown_structures(
                    provenance.structures,
                    manifest.structures(case),
                    np.flatnonzero(np.isin(dataset.table.values, checked.array)).tolist(),
                    dataset.table,
                ),
            )
            settle(staged)
            is_first = not path.exists()
            if is_first:
                _record(root, case, record, folder.table)
            with saving(path):
                if not is_first:
                    _keep(path, root / REVISIONS / f"{case}.r{revision - 1:03d}{dataset.file_ending}")
                patiently(lambda: staged.replace(path), LONG_PAUSES_S)
        finally:
            with suppress(OSError):
                staged.unlink(missing_ok=True)
        if not is_first:
            _record(root, case, record, folder.table)
        _settle(root, dataset, len(folder.channel_names))
    return path


def revisions(root: Path) -> dict[str, tuple[Provenance, ...]]:
    """Return what is known about each label: case name -> revisions, oldest first.

    Raises:
        CasesError: ``crgloco.json`` cannot be read.
    """
    return dict(read_manifest(root).provenance)


def _usable(name: str, channels: Sequence[Path | Source | Volume]) -> list[Volume]:
    volumes: list[Volume] = []
    for number, given in enumerate(channels):
        if isinstance(given, Volume):
            volume, path = given, Path(f"channel {number} of {name}")
        elif isinstance(given, Source):
            volume, path = read_source(given), given.path
        else:
            volume, path = read_volume(given), given
        assert_usable_image(volume, path)
        grid = volumes[0].geometry if volumes else volume.geometry
        volumes.append(on_grid(volume, grid, f"Channels {number} and 0 of case {name}"))
    return volumes


def _label_volume(label: Path | Volume, table: LabelTable, grid: Geometry, case: str) -> Volume:
    """Return the label's values, checked, on exactly the grid of the image."""
    if isinstance(label, Path):
        classes = read_label(label, table, grid).array
    else:
        # Slicer turns left-handed images round when it loads a saved scene, and labels come as it has them.
        turned = on_grid(label, grid, f"The label of case {case} and its image")
        with about(f"The label of case {case}"):
            classes = table.to_classes(turned.array)
    return Volume(table.to_values(classes), grid)


def _assert_new(folder: CasesFolder, name: str, volumes: Sequence[Volume]) -> None:
    for case in (*folder.labelled, *folder.unlabelled):
        if as_one_file(case.name) == as_one_file(name) and not (
            case.name == name and _is_begun(case, volumes)
        ):
            msg = f"{folder.root} has a case {case.name} already. Choose another name for {name}."
            raise CasesError(msg)


def _is_begun(case: Case, volumes: Sequence[Volume]) -> bool:
    """Whether a case is what a writer leaves who was killed while adding these very scans."""
    if case.label is not None or len(case.channels) >= len(volumes):
        return False
    begun = zip(case.numbers, case.channels, strict=True)
    return all(
        number < len(volumes) and _same_scan(read_source(source), volumes[number]) for number, source in begun
    )


def _same_scan(first: Volume, second: Volume) -> bool:
    return first.geometry.same_grid(second.geometry) and np.array_equal(first.array, second.array)


def _current_revision(root: Path, case: str, manifest: Manifest, path: Path) -> int:
    """Return the revision of the label that is there; of the last one if it was taken away."""
    kept = [
        int(found[1])
        for item in (root / REVISIONS).glob("*")
        if (found := re.fullmatch(re.escape(case) + r"\.r(\d{3,})\..*", item.name))
    ]
    recorded = [record.revision for record in manifest.provenance.get(case, ())]
    last = max([0, *kept])
    if path.exists() and last and _same(path, _kept_file(root, case, last)):
        last -= 1  # a writer was killed between keeping the old label and replacing it
    return max([last + int(path.exists()), *recorded])


def _kept_file(root: Path, case: str, number: int) -> Path:
    return next((root / REVISIONS).glob(f"{glob.escape(case)}.r{number:03d}.*"))


def _keep(path: Path, kept: Path) -> None:
    """Give the label that is there a second name; what has that name already is never touched."""
    if kept.exists():
        if _same(path, kept):
            return
        msg = f"{kept} exists and differs from {path}. Move it away; nothing was overwritten."
        raise InputError(msg)
    _copy(path, kept, link=True)


def _record(root: Path, case: str, record: Provenance, table: LabelTable | None) -> None:
    manifest = read_manifest(root)
    history = (*manifest.provenance.get(case, ()), record)
    provenance = {**manifest.provenance, case: history}
    write_manifest(root, replace(manifest, table=manifest.table or table, provenance=provenance))


def _settle(root: Path, dataset: Dataset, count: int) -> None:
    """Move the images of labelled cases to ``imagesTr`` and count them; finishes what was left undone."""
    ending = dataset.file_ending
    files = list_case_files(root, ending, count)
    with saving(root / IMAGES):
        (root / IMAGES).mkdir(exist_ok=True)
        for case in sorted(set(files.waiting) & set(files.labels)):
            waiting = {_image(root, case, number, ending): s for number, s in files.waiting[case].items()}
            if len(files.images.get(case, {})) < count:
                with suppress(InputError):  # damaged: it stays, and whoever reads it is told
                    for target, source in sorted(waiting.items()):
                        bring_image(source, target, ending)
            for target, source in waiting.items():
                _remove_copy(source, target)
    training = len(list_case_files(root, ending, count).images)
    if training != dataset.training:
        write_dataset(root, {**read_dataset(root).document, "numTraining": training})


def _remove_copy(source: Source, target: Path) -> None:
    """Remove an image that lies in its place too; a DICOM series and what was converted stay.

    So does the one that a link leads to: it is the only one.
    """
    is_copy = target.exists() and source.path.resolve() != target.resolve()
    if source.series_uid is None and is_copy and _same(source.path, target):
        with suppress(OSError):  # in use, or not ours to remove: the label is what counts
            source.path.unlink()


def _image(root: Path, case: str, number: int, ending: str) -> Path:
    return root / IMAGES / f"{case}_{number:04d}{ending}"


def bring_image(source: Source, target: Path, ending: str) -> None:
    """Link or copy an image to its place; one of another format is converted, and the original stays."""
    if target.exists():
        return
    if source.series_uid is None and source.path.name.endswith(ending):
        _copy(source.path, target, link=True)
    else:
        write_volume(read_source(source), target)


def _copy(path: Path, target: Path, *, link: bool = False) -> None:
    """Make a file appear under a second name, whole; if wanted as a link, where the disk can."""
    with suppress(OSError):
        if link and not path.is_symlink():
            target.hardlink_to(path)
            return
    with appearing(target, LONG_PAUSES_S) as part:
        shutil.copyfile(path, part)
        settle(part)


def _same(first: Path, second: Path) -> bool:
    return first.samefile(second) or (
        first.stat().st_size == second.stat().st_size and content_hash(first) == content_hash(second)
    )
