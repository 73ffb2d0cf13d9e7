import gzip
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from crgloco.errors import InputError
from crgloco.io.files import read_volume
from crgloco.io.text_header import read_text_header
from crgloco.io.voxel_bytes import check_voxel_bytes

SHAPE = (20, 30, 30)
VOXELS = np.random.default_rng(0).integers(0, 1000, SHAPE).astype("<i2")
NRRD = "NRRD0005\ntype: short\ndimension: 3\nsizes: 30 30 20\nendian: little\nspacings: 1 2 3\n"
META = "NDims = 3\nBinaryData = True\nDimSize = 30 30 20\nElementType = MET_SHORT\nElementSpacing = 1 2 3\n"


def _packed_nrrd(folder: Path) -> tuple[Path, Path]:
    header = f"{NRRD}encoding: gzip\n\n"
    (folder / "a.nrrd").write_bytes(header.encode() + gzip.compress(VOXELS.tobytes()))
    return folder / "a.nrrd", folder / "a.nrrd"


def _packed_nhdr(folder: Path) -> tuple[Path, Path]:
    (folder / "a.nhdr").write_text(f"{NRRD}encoding: GZ\ndata file: a.raw.gz\n")
    (folder / "a.raw.gz").write_bytes(gzip.compress(VOXELS.tobytes()))
    return folder / "a.nhdr", folder / "a.raw.gz"


def _packed_mha(folder: Path) -> tuple[Path, Path]:
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(folder / "a.mha"), useCompression=True)
    return folder / "a.mha", folder / "a.mha"


def _packed_mhd(folder: Path) -> tuple[Path, Path]:
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(folder / "a.mhd"), useCompression=True)
    return folder / "a.mhd", folder / "a.zraw"


def _zero_the_last_two_fifths(data: bytearray) -> None:
    kept = len(data) * 6 // 10
    data[kept:] = bytes(len(data) - kept)


def _zero_the_middle(data: bytearray) -> None:
    data[len(data) // 2 : len(data) // 2 + 4096] = bytes(4096)


def _zero_the_end(data: bytearray) -> None:
    data[-8:] = bytes(8)


def _cut(data: bytearray) -> None:
    del data[-100:]


Pack = Callable[[Path], tuple[Path, Path]]
packs = pytest.mark.parametrize("pack", [_packed_nrrd, _packed_nhdr, _packed_mha, _packed_mhd])


def _refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)


@packs
def test_a_compressed_scan_that_is_whole_is_read(tmp_path: Path, pack: Pack) -> None:
    path, _ = pack(tmp_path)
    assert np.array_equal(read_volume(path).array, VOXELS)


@packs
@pytest.mark.parametrize("damage", [_zero_the_last_two_fifths, _zero_the_middle, _zero_the_end, _cut])
def test_a_compressed_scan_that_is_damaged_is_refused(
    tmp_path: Path, pack: Pack, damage: Callable[[bytearray], None]
) -> None:
    path, data_file = pack(tmp_path)
    data = bytearray(data_file.read_bytes())
    damage(data)
    data_file.write_bytes(bytes(data))
    _refused(path, "cut off or damaged: not all of its voxels are")


@packs
def test_a_compressed_scan_whose_header_asks_for_more_slices_is_refused(tmp_path: Path, pack: Pack) -> None:
    path, _ = pack(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"30 30 20", b"30 30 21"))
    _refused(path, "cut off or damaged")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", "does not tell which of its bytes"),
        ("CompressedDataSize = 0\n", "does not tell which of its bytes"),
        ("CompressedDataSize = -5\n", "does not tell which of its bytes"),
        ("CompressedDataSize = 100\n", "cut off or damaged"),
        ("compresseddatasize = 40000\n", "does not tell which of its bytes"),
        ("Compressed DataSize = 40000\n", "does not tell which of its bytes"),
    ],
)
def test_metaimage_whose_header_tells_a_wrong_size_of_its_packed_voxels_is_refused(
    tmp_path: Path, said: str, words: str
) -> None:
    path, _ = _packed_mha(tmp_path)
    size = re.compile(rb"CompressedDataSize = \d+\n")
    path.write_bytes(size.sub(said.encode(), path.read_bytes()))
    _refused(path, words)  # ITK gives zeros, noise, or never an end


def test_metaimage_that_seeks_its_packed_voxels_from_the_end_is_refused(tmp_path: Path) -> None:
    path, _ = _packed_mha(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"CompressedDataSize", b"HeaderSize = -1\nCompressedDataSize"))
    _refused(path, "does not tell which of its bytes")


def test_packed_metaimage_behind_a_header_of_another_program_must_tell_its_size(tmp_path: Path) -> None:
    path, data_file = _packed_mhd(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"CompressedDataSize", b"HeaderSize = 16\nCompressedDataSize"))
    data_file.write_bytes(bytes(16) + data_file.read_bytes())
    assert np.array_equal(read_volume(path).array, VOXELS)
    path.write_bytes(re.sub(rb"CompressedDataSize = \d+\n", b"", path.read_bytes()))
    _refused(path, "does not tell which of its bytes")


@pytest.mark.parametrize("pack", [_packed_mha, _packed_mhd])
def test_metaimage_that_does_not_call_its_voxels_binary_is_looked_at_as_well(
    tmp_path: Path, pack: Pack
) -> None:
    path, data_file = pack(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"BinaryData = True\n", b""))
    assert np.array_equal(read_volume(path).array, VOXELS)
    data = bytearray(data_file.read_bytes())
    _zero_the_last_two_fifths(data)
    data_file.write_bytes(data)
    _refused(path, "cut off or damaged")


def test_a_note_in_metaimage_that_is_called_as_a_field_of_nrrd_is_only_a_note(tmp_path: Path) -> None:
    path, _ = _packed_mha(tmp_path)
    path.write_bytes(b"encoding = ascii\n" + path.read_bytes())
    assert np.array_equal(read_volume(path).array, VOXELS)
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    _refused(path, "cut off or damaged")


def test_metaimage_with_a_data_file_of_its_own_need_not_tell_the_size(tmp_path: Path) -> None:
    path, _ = _packed_mhd(tmp_path)
    path.write_bytes(re.sub(rb"CompressedDataSize = \d+\n", b"", path.read_bytes()))
    assert np.array_equal(read_volume(path).array, VOXELS)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_an_uncompressed_scan_that_was_cut_is_refused_without_a_word_of_itk(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str
) -> None:
    text = f"{NRRD}encoding: raw\n\n" if suffix == ".nrrd" else f"{META}ElementDataFile = LOCAL\n"
    path = tmp_path / f"a{suffix}"
    path.write_bytes(text.encode() + VOXELS.tobytes())
    assert np.array_equal(read_volume(path).array, VOXELS)
    path.write_bytes(path.read_bytes()[:-1])
    _refused(path, "not all of its voxels are there")
    assert capfd.readouterr() == ("", "")


def test_nrrd_that_was_packed_in_pieces_is_read_and_missed_where_one_is_not_there(tmp_path: Path) -> None:
    header, voxels = f"{NRRD}encoding: gzip\n\n".encode(), VOXELS.tobytes()
    first, second = gzip.compress(voxels[:9000]), gzip.compress(voxels[9000:])
    path = tmp_path / "a.nrrd"
    path.write_bytes(header + first + second)
    assert np.array_equal(read_volume(path).array, VOXELS)
    path.write_bytes(header + first)
    _refused(path, "cut off or damaged")


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    path, data_file = _packed_mhd(tmp_path)
    data_file.unlink()
    _refused(path, r"lacks its data file a\.zraw")


def test_one_damaged_slice_file_of_many_is_refused_by_name(tmp_path: Path) -> None:
    for number, plane in enumerate(VOXELS):
        (tmp_path / f"s{number:02d}.gz").write_bytes(gzip.compress(plane.tobytes()))
    path = tmp_path / "a.nhdr"
    path.write_text(f"{NRRD}encoding: gzip\ndata file: s%02d.gz 0 19 1 2\n")
    assert np.array_equal(read_volume(path).array, VOXELS)
    (tmp_path / "s07.gz").write_bytes(gzip.compress(VOXELS[7].tobytes()[:-2]))
    _refused(path, r"not all of its voxels are in s07\.gz")


@pytest.mark.parametrize("skip", ["byte skip: 4", "line skip: 1", "byte skip: -1"])
def test_bytes_and_lines_that_are_skipped_are_no_voxels(tmp_path: Path, skip: str) -> None:
    path = tmp_path / "a.nrrd"
    text = f"{NRRD}encoding: raw\n{skip}\n\n"
    path.write_bytes(text.encode() + b"abc\n" + VOXELS.tobytes())
    assert np.array_equal(read_volume(path).array, VOXELS)
    kept = -5 if "-1" in skip else -1  # -1: the voxels end the file, wherever they begin
    path.write_bytes(text.encode() + b"abc\n" + VOXELS.tobytes()[:kept])
    _refused(path, "cut off")


def test_metaimage_is_read_behind_a_header_of_another_program(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(16) + VOXELS.tobytes())
    path = tmp_path / "a.mhd"
    for size in (16, -1):
        path.write_text(f"{META}HeaderSize = {size}\nElementDataFile = a.raw\n")
        assert np.array_equal(read_volume(path).array, VOXELS)


def test_numbers_written_as_text_are_left_to_itk(tmp_path: Path) -> None:
    few = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    text = " ".join(str(number) for number in few.ravel())
    header = NRRD.replace("30 30 20", "2 2 2").replace("endian: little\n", "")
    (tmp_path / "a.nrrd").write_text(f"{header}encoding: ascii\n\n{text}\n")
    header = META.replace("30 30 20", "2 2 2").replace("BinaryData = True", "BinaryData = False")
    (tmp_path / "a.mha").write_text(f"{header}ElementDataFile = LOCAL\n{text}\n")
    for name in ("a.nrrd", "a.mha"):
        assert np.array_equal(read_volume(tmp_path / name).array, few)


def test_what_unpacks_to_very_much_is_counted_without_being_kept(tmp_path: Path) -> None:
    count = 1 << 27
    pack = zlib.compressobj()
    packed = b"".join(pack.compress(bytes(1 << 20)) for _ in range(count >> 20)) + pack.flush()
    path = tmp_path / "a.mha"
    said = f"{META}CompressedData = True\nCompressedDataSize = {len(packed)}\nElementDataFile = LOCAL\n"
    path.write_bytes(said.encode() + packed)
    header = read_text_header(path)
    check_voxel_bytes(path, header, count)
    with pytest.raises(InputError, match="cut off"):
        check_voxel_bytes(path, header, count + 1)
