"""Which files of a folder belong to which case, by their names alone; nothing is opened.

nnU-Net's names: ``imagesTr/<case>_0000<ending>`` is channel 0 of a case, ``labelsTr/<case><ending>``
its label. Files that start with a dot (macOS leaves some) are never cases.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crgloco.errors import CasesError
from crgloco.file_names import is_file, is_litter, is_reserved, is_text
from crgloco.io.files import Source, find_volumes
from crgloco.io.volume_file import volume_suffix

IMAGES = "imagesTr"
LABELS = "labelsTr"
UNLABELLED = "imagesUl"
REVISIONS = "labelsTr_revisions"
ORDER = "train.list"

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<number>\d{4})")

Channels = dict[int, Source]


@dataclass(frozen=True)
class CaseFiles:
    """The files of a cases folder by case name.

    Attributes:
        images: Channel number -> image, for the cases of ``imagesTr``.
        waiting: The same for ``imagesUl``.
        labels: Label file of each case of ``labelsTr``.
        strange: Files in ``imagesTr`` and ``labelsTr`` that are no image or label by their name.
    """

    images: dict[str, Channels]
    waiting: dict[str, Channels]
    labels: dict[str, Path]
    strange: tuple[Path, ...]

    def channels(self, case: str, count: int) -> Channels:
        """Return the images of a case: from ``imagesTr``, or while it waits there, from ``imagesUl``."""
        found = self.images.get(case, {})
        return self.waiting[case] if case in self.waiting and len(found) < count else found

    @property
    def without_image(self) -> dict[str, Path]:
        """Labels of which there is no image."""
        known = {*self.images, *self.waiting}
        return {case: path for case, path in self.labels.items() if case not in known}


def list_case_files(root: Path, ending: str, channels: int) -> CaseFiles:
    """List the files of a cases folder.

    Args:
        root: The folder.
        ending: File ending of ``imagesTr`` and ``labelsTr``.
        channels: Number of channels that a case should have.
    """
    images: dict[str, Channels] = {}
    labels: dict[str, Path] = {}
    strange = []
    for path in _visible_files(root / IMAGES):
        stem = _stem(path, ending)
        named = _CHANNEL.fullmatch(stem) if stem else None
        if stem is None or named is None:
            strange.append(path)
        else:
            images.setdefault(named["case"], {})[int(named["number"])] = Source(stem, path)
    for path in _visible_files(root / LABELS):
        stem = _stem(path, ending)
        if stem is None:
            strange.append(path)
        else:
            labels[stem] = path
    folder = root / UNLABELLED
    found = find_volumes(folder) if folder.is_dir() else ()
    return CaseFiles(images, group_channels(found, channels, siblings=True), labels, tuple(strange))


def why_ignored(path: Path, ending: str) -> str:
    """Return why a strange file of ``imagesTr`` or ``labelsTr`` belongs to no case.

    Args:
        path: The file.
        ending: File ending of both folders.
    """
    if ".part" in path.suffixes:
        return "it was left by an interrupted write; delete it"
    if volume_suffix(path) is None:
        return "it is no image or label by its name"
    if not path.name.endswith(ending):
        return f"dataset.json says that files end in {ending}"
    return f"images are called <case>_0000{ending}, further channels of a case <case>_0001 and so on"


def group_channels(
    sources: Sequence[Source], channels: int, *, siblings: bool = False, strict: bool = False
) -> dict[str, Channels]:
    """Put the channels of a case together.

    ``<case>_0001`` is channel 1, whatever else is there, where cases have at least two channels; elsewhere
    many people number their cases so.

    Args:
        sources: Scans of one folder.
        channels: Number of channels of a case.
        siblings: Take ``<case>_0001`` as a channel too where there is ``<case>_0000``.
        strict: Take every ``<case>_0001`` as a channel, as nnU-Net does in ``imagesTr``.

    Returns:
        Case name -> channel number -> scan; sorted by name.
    """
    names = {source.name for source in sources}
    cases: dict[str, Channels] = {}
    for source in sources:
        named = _CHANNEL.fullmatch(source.name) if source.series_uid is None else None
        if named is not None and (
            strict
            or channels > 1
            or int(named["number"]) == 0
            or (siblings and f"{named['case']}_0000" in names)
        ):
            case, number = named["case"], int(named["number"])
        else:
            case, number = source.name, 0
        if number in cases.get(case, {}):
            case = source.name
        cases.setdefault(case, {})[number] = source
    return dict(sorted(cases.items()))


def listed_first(root: Path) -> tuple[str, ...]:
    """Return the case names of ``train.list``, in its order; empty if there is none.

    Raises:
        CasesError: The file cannot be read as text.
    """
    path = root / ORDER
    if not path.is_file():
        return ()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}. It should hold one case name per line."
        raise CasesError(msg) from error
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))


def assert_case_name(name: str) -> None:
    """Refuse a name that is no file name on every system.

    Raises:
        CasesError: Saying what is wrong with it.
    """
    if not is_text(name):
        msg = f"The case name {name!r} is no valid text (UTF-8). Use letters, digits, - and _."
        raise CasesError(msg)
    strange = sorted(set(re.findall(r'[\x00-\x1f/\\:*?"<>|]', name)))
    if strange:
        msg = f"The case name {name!r} contains {' '.join(map(repr, strange))}. Use letters, digits, - and _."
        raise CasesError(msg)
    if not name or name != name.strip() or name[0] == "." or name[-1] == "." or is_reserved(name):
        msg = f"The case name {name!r} cannot be a file name on every system. Use letters, digits, - and _."
        raise CasesError(msg)
    if len(name.encode()) > 200:
        msg = f"The case name {name[:20]}... is too long; at most 200 bytes are possible."
        raise CasesError(msg)


def _visible_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not is_litter(path.name) and is_file(path))


def _stem(path: Path, ending: str) -> str | None:
    return path.name.removesuffix(ending) if path.name.endswith(ending) and path.name != ending else None
