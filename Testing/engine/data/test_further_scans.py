"""Further unlabelled scans: what is there already is left out by content, and names are told apart."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from crgloco.data import further_scans
from crgloco.data.cases import Case, open_cases, open_unlabelled
from crgloco.data.further_scans import names_apart, with_further, without_copies
from crgloco.errors import CasesError
from crgloco.io.files import Source, read_volume, write_volume
from phantoms import write_cases_folder

SHAPE = (6, 8, 8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_cases_folder(tmp_path / "cases", 2, 1, shape=SHAPE)


@pytest.fixture
def others(tmp_path: Path) -> Path:
    (tmp_path / "others").mkdir()
    return tmp_path / "others"


def image(root: Path, number: int) -> Path:
    return next(root.glob(f"images*/phantom_{number:03d}_0000.nii.gz"))


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("how", ["copied", "packed anew", "unpacked", "touched"])
def test_a_copy_is_left_out_with_both_files_named_whatever_it_is_called(
    root: Path, others: Path, number: int, how: str
) -> None:
    source = image(root, number)
    copy = others / ("other.nii" if how == "unpacked" else "other.nii.gz")
    content = gzip.decompress(source.read_bytes())
    packed = {"packed anew": gzip.compress(content, 1, mtime=7), "unpacked": content}
    copy.write_bytes(packed.get(how, source.read_bytes()))
    shutil.copy(image(root, 1), others / "changed.nii.gz")
    if how == "touched":  # one voxel differs: another scan
        write_volume(changed(copy), copy)
    whole, copies = with_further(open_cases(root), [others])
    assert [case.name for case in whole.unlabelled] == [
        "phantom_002",
        *(["other"] if how == "touched" else []),
    ]
    texts = [one.text for one in copies if one.case.name == "other"]
    assert len(texts) == (0 if how == "touched" else 1)
    for text in texts:
        assert str(copy) in text
        assert str(source) in text
        assert ("labelled case phantom_000" in text) == (number == 0)


def changed(path: Path):
    volume = read_volume(path)
    volume.array[1, 2, 3] += 1
    return volume


def test_the_folder_itself_adds_nothing(root: Path) -> None:
    folder = open_cases(root)
    whole, copies = with_further(folder, [root])
    assert whole == folder
    assert len(copies) == 3
    assert "it belongs to the labelled case phantom_000" in copies[0].text


def test_of_two_further_folders_with_one_scan_one_stays(root: Path, others: Path, tmp_path: Path) -> None:
    write_volume(changed(image(root, 0)), others / "a.nrrd")
    again = tmp_path / "again"
    shutil.copytree(others, again)
    whole, copies = with_further(open_cases(root), [others, again])
    assert [case.name for case in whole.unlabelled] == ["phantom_002", "a"]
    assert [copy.original.name for copy in copies] == ["a"]


def test_a_case_of_two_channels_is_a_copy_only_if_both_are_the_same(root: Path, others: Path) -> None:
    first, second = (Source(f"c_{n:04d}", image(root, n)) for n in range(2))
    known = Case("known", (first, second))
    swapped, equal = Case("swapped", (second, first)), Case("equal", (first, second))
    kept, copies = without_copies([swapped, equal], [known])
    assert [case.name for case in kept] == ["swapped"]
    assert [copy.case.name for copy in copies] == ["equal"]


def test_only_files_that_may_be_equal_are_read_whole(
    root: Path, others: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(image(root, 0), others / "copy.nii.gz")
    write_volume(changed(image(root, 1)), others / "other.nii.gz")
    read, content = [], further_scans._content
    monkeypatch.setattr(
        further_scans, "_content", lambda source: (read.append(source.path), content(source))[1]
    )
    with_further(open_cases(root), [others])
    assert sorted(read) == sorted([image(root, 0), others / "copy.nii.gz"])


@pytest.mark.parametrize("content", [b"", b"no gzip, and rather long for a scan that holds nothing at all"])
def test_damaged_files_stay_for_whoever_reads_them(root: Path, others: Path, content: bytes) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        (others / name).write_bytes(content)
    whole, copies = with_further(open_cases(root), [others])
    assert len(whole.unlabelled) + len(copies) == 3
    assert len(copies) == (1 if content else 0)  # equal byte for byte


def test_the_tail_that_is_compared_first_is_no_proof(root: Path, others: Path) -> None:
    """Files of several members, as bgzip writes them, all end alike."""
    for number, array in enumerate((np.zeros(100), np.ones(100))):
        members = (gzip.compress(array.tobytes()), gzip.compress(b""))
        (others / f"{number}.nii.gz").write_bytes(b"".join(members))
    found = open_unlabelled(others, 1)
    assert without_copies(found, ())[0] == found


def test_names_are_told_apart_and_those_of_the_scans_too() -> None:
    cases = [Case("a", (Source("a", Path(f"{n}/a.nrrd")),)) for n in range(3)]
    apart = names_apart(cases, {"a"})
    assert [case.name for case in apart] == ["a-2", "a-3", "a-4"]
    assert [case.channels[0].name for case in apart] == ["a-2", "a-3", "a-4"]
    assert [case.channels[0].path for case in apart] == [case.channels[0].path for case in cases]


def test_the_folder_of_the_labels_beside_that_of_the_images_is_told(root: Path) -> None:
    with pytest.raises(CasesError, match="labelsTr holds the labels of a cases folder, no scans"):
        with_further(open_cases(root), [root / "labelsTr"])


def test_a_folder_that_does_not_exist_is_told(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CasesError, match="nowhere"):
        with_further(open_cases(root), [tmp_path / "nowhere"])
