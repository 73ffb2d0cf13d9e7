"""Whatever a user points at, as cases to predict: a file, a DICOM series, a folder, a cases folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crgloco.data.case_files import group_channels
from crgloco.data.cases import Case, case_of, open_unlabelled
from crgloco.data.prediction_record import result_names
from crgloco.errors import InputError
from crgloco.io import dicom
from crgloco.io.files import Source, volume_stem
from crgloco.io.volume_file import volume_suffix


def find_scans(path: Path, channels: int) -> tuple[Case, ...]:
    """Return what there is to predict.

    Args:
        path: A volume, one file of a DICOM series, or any folder that ``open_unlabelled`` reads.
        channels: Channels of a case. A single volume ``<case>_0000`` brings its siblings along.

    Raises:
        InputError: There is no such file, it is no scan, or channels are missing.
        CasesError: The folder holds no scan.
    """
    if path.is_dir():
        return open_unlabelled(path, channels)
    if not path.exists():
        msg = f"{path} does not exist. Check the name and the folder."
        raise InputError(msg)
    ending = volume_suffix(path)
    if ending is None:
        series = dicom.series_of(path)
        return (_complete(Case(series.name, (Source(series.name, series.folder, series.uid),)), channels),)
    no_scans = result_names(path.parent) - {path.name}
    nearby = sorted(
        file for file in path.parent.iterdir() if volume_suffix(file) == ending and file.name not in no_scans
    )
    grouped = group_channels([Source(volume_stem(file), file) for file in nearby], channels)
    for name, numbered in grouped.items():
        if any(source.path == path for source in numbered.values()):
            return (_complete(case_of(name, numbered), channels),)
    return (_complete(Case(volume_stem(path), (Source(volume_stem(path), path),)), channels),)


def case_of_channels(name: str, paths: Sequence[Path]) -> Case:
    """Return a case whose channels are the given files, in order.

    Raises:
        InputError: A file does not exist or is no scan.
    """
    channels = [find_scans(path, 1)[0].channels[0] for path in paths]
    return Case(name, tuple(channels))


def _complete(case: Case, channels: int) -> Case:
    if len(case.channels) != channels:
        msg = (
            f"{case.channels[0].path} is {len(case.channels)} of {channels} channels that the model needs. "
            "Put all channels into one folder as <case>_0000, <case>_0001 and so on."
        )
        raise InputError(msg)
    return case
