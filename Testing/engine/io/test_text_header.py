from pathlib import Path

import numpy as np
import pytest

from crgloco.errors import InputError
from crgloco.io.files import read_volume
from crgloco.io.text_header import read_text_header

SHAPE = (3, 2, 2)
NRRD = "NRRD0005\ntype: short\ndimension: 3\nsizes: 2 2 3\nendian: little\nencoding: raw\nspacings: 1 2 3\n"
META = "NDims = 3\nBinaryData = True\nDimSize = 2 2 3\nElementType = MET_SHORT\nElementSpacing = 1 2 3\n"


@pytest.fixture
def slices(tmp_path: Path) -> np.ndarray:
    """A scan whose slices lie as s_1.raw, s_2.raw and s_3.raw in the folder."""
    voxels = np.arange(12, dtype="<i2").reshape(SHAPE)
    for number, plane in enumerate(voxels, 1):
        (tmp_path / f"s_{number}.raw").write_bytes(plane.tobytes())
    return voxels


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.nhdr", f"{NRRD}data file: s_%d.raw 1 3 1 2\n"),
        ("a.nhdr", f"{NRRD}Data File: s_%01d.raw 1 3 1\n\n"),
        ("a.nhdr", f"{NRRD}datafile: LIST\ns_1.raw\ns_2.raw\ns_3.raw\n"),
        ("a.nhdr", f"{NRRD}data file: LIST 2\r\ns_1.raw\r\ns_2.raw\r\ns_3.raw\r\n"),
        ("a.mhd", f"{META}ElementDataFile = s_%d.raw\n"),
        ("a.mhd", f"{META}ElementDataFile = s_%d.raw 1\n"),
        ("a.mhd", f"{META}ElementDataFile = s_%d.raw 1 3 1\n"),
        ("a.MHD", f"{META}ElementDataFile = LIST\ns_1.raw\ns_2.raw\ns_3.raw\n"),
        ("a.mhd", f"{META}ElementDataFile = LIST 2\ns_1.raw\ns_2.raw\ns_3.raw\n"),
    ],
)
def test_the_files_of_a_scan_are_those_that_itk_reads(
    tmp_path: Path, slices: np.ndarray, name: str, text: str
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert np.array_equal(read_volume(path).array, slices)
    header = read_text_header(path)
    assert header.files == tuple(tmp_path / f"s_{number}.raw" for number in (1, 2, 3))
    assert np.array_equal(np.concatenate([np.fromfile(file, "<i2") for file in header.files]), slices.ravel())


@pytest.mark.parametrize(
    ("name", "text"), [("a.nrrd", f"{NRRD}\n"), ("a.mha", f"{META}ElementDataFile = LOCAL\n")]
)
def test_voxels_may_follow_their_header(tmp_path: Path, slices: np.ndarray, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode() + slices.tobytes())
    header = read_text_header(path)
    assert (header.files, header.start) == ((path,), len(text))


def test_a_data_file_may_have_accents_spaces_and_a_folder(tmp_path: Path, slices: np.ndarray) -> None:
    (tmp_path / "Größe 心").mkdir()
    slices.tofile(tmp_path / "Größe 心" / "ä b.raw")
    for name, text in (("a.nhdr", f"{NRRD}data file: "), ("a.mhd", f"{META}ElementDataFile = ")):
        (tmp_path / name).write_text(f"{text}Größe 心/ä b.raw\n", encoding="utf-8")
        assert read_text_header(tmp_path / name).files == (tmp_path / "Größe 心" / "ä b.raw",)
        assert np.array_equal(read_volume(tmp_path / name).array, slices)


def test_what_a_program_notes_for_itself_is_no_field(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    path.write_text(f"{NRRD}# data file: b\ndata file:=c.raw\nbyte skip: many\n\n")
    header = read_text_header(path)
    assert header.files == (path,)
    assert (header.number("byteskip"), header.number("dimension")) == (0, 3)


@pytest.mark.parametrize("line", ["# by hand", "ElementSpacing 1 2 3"])
def test_a_line_of_metaimage_that_is_no_field_is_refused(
    tmp_path: Path, slices: np.ndarray, line: str
) -> None:
    """ITK takes it for the beginning of the next line: here it would read the header as voxels."""
    (tmp_path / "a.raw").write_bytes(b"before" + slices.tobytes())
    text = META + "\n \r\n{}HeaderSize = 6\nElementDataFile = a.raw\n"
    (tmp_path / "a.mhd").write_text(text.format(""))
    assert np.array_equal(read_volume(tmp_path / "a.mhd").array, slices)
    (tmp_path / "a.mhd").write_text(text.format(f"{line}\n"))
    with pytest.raises(InputError, match=rf"a\.mhd has a line in its header that is no field: '{line}'"):
        read_volume(tmp_path / "a.mhd")


@pytest.mark.parametrize(
    "named", ["s_%d.raw 1 3", "s_%d.raw 1 3 0", "s_%s.raw 1 3 1", "s_%d.raw 1 99999999 1"]
)
def test_a_pattern_that_cannot_be_counted_is_refused(tmp_path: Path, named: str) -> None:
    for name, text in (("a.nhdr", f"{NRRD}data file: "), ("a.mhd", f"{META}ElementDataFile = ")):
        (tmp_path / name).write_text(f"{text}{named}\n")
        with pytest.raises(InputError, match="data files") as caught:
            read_volume(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_a_pattern_of_metaimage_that_counts_down_is_refused_and_one_of_nrrd_is_read(
    tmp_path: Path, slices: np.ndarray
) -> None:
    (tmp_path / "a.nhdr").write_text(f"{NRRD}data file: s_%d.raw 3 1 -1\n")
    assert np.array_equal(read_volume(tmp_path / "a.nhdr").array, slices[::-1])
    (tmp_path / "a.mhd").write_text(f"{META}ElementDataFile = s_%d.raw 3 1 -1\n")
    with pytest.raises(InputError, match=r"a\.mhd names its data files as .*a step upwards are needed"):
        read_volume(tmp_path / "a.mhd")  # ITK reads no file at all, and gives what lay in memory


@pytest.mark.parametrize(
    ("named", "count"),
    [
        ("LIST\ns_1.raw\ns_2.raw\n", 2),
        ("LIST 2\ns_1.raw\ns_2.raw\n", 2),
        ("LIST 3\ns_1.raw\n", 1),
        ("LIST\n" + 2 * "s_1.raw\ns_2.raw\ns_3.raw\n", 6),
        ("s_%d.raw 1 2 1\n", 2),
        ("s_%d.raw 1 3 2\n", 2),
    ],
)
def test_metaimage_that_names_more_or_fewer_files_than_slices_is_refused(
    tmp_path: Path, slices: np.ndarray, named: str, count: int
) -> None:
    for number in (1, 2, 3):  # each holds enough for them all
        slices.tofile(tmp_path / f"s_{number}.raw")
    (tmp_path / "a.mhd").write_text(f"{META}ElementDataFile = {named}")
    with pytest.raises(InputError, match=rf"a\.mhd names {count} files for its 3 slices"):
        read_volume(tmp_path / "a.mhd")


@pytest.mark.parametrize("named", ["LIST\n", "s\0.raw\n"])
def test_a_header_that_names_no_file_is_refused(tmp_path: Path, named: str) -> None:
    (tmp_path / "a.mhd").write_text(f"{META}ElementDataFile = {named}")
    with pytest.raises(InputError, match="does not name the files"):
        read_volume(tmp_path / "a.mhd")
