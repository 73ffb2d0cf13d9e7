import errno
import gzip
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crgloco.errors import GeometryError, InputError, ResourceError
from crgloco.io import files, nifti
from crgloco.io.files import (
    Source,
    assert_usable_image,
    find_volumes,
    read_channels,
    read_geometry,
    read_source,
    read_volume,
    source_files,
    source_geometry,
    volume_stem,
    write_volume,
)
from crgloco.io.nifti_positions import check_positions
from crgloco.io.orientation import Orientation
from crgloco.io.volume import Geometry, Volume

SUFFIXES = [".nii.gz", ".nii", ".nrrd", ".mha"]
KINDS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
SETS = ["chaos_mr", "btcv_ct", "hippocampus", "la2018"]
SHAPE = (4, 5, 6)


def _volume(kind: str = "i2", direction: Sequence[Sequence[float]] | None = None) -> Volume:
    numbers = np.random.default_rng(0).integers(0, 120, SHAPE).astype(kind)
    rows = np.eye(3) if direction is None else np.asarray(direction, float)
    geometry = Geometry(SHAPE, (2.5, 0.75, 0.5), (-10.5, 20.25, 7.0), tuple(map(tuple, rows.tolist())))
    return Volume(numbers, geometry)


def _rotation(seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]


def _header_of_itk(path: Path) -> tuple[Any, ...]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection()


def _nifti(
    path: Path,
    *,
    qform: np.ndarray | None,
    sform: np.ndarray | None,
    sizes: Sequence[float],
    unit: str = "mm",
) -> Path:
    image = nibabel.Nifti1Image(np.zeros(SHAPE[::-1], np.uint8), None)
    image.header.set_xyzt_units(unit)
    image.header["pixdim"][1:4] = sizes
    if qform is not None:
        image.set_qform(qform, 1)
    if sform is not None:
        image.set_sform(sform, 1)
    image.header["qform_code"], image.header["sform_code"] = int(qform is not None), int(sform is not None)
    nibabel.save(image, path)
    return path


def _refused(path: Path, *words: str) -> str:
    """The refusal is one line that names the file; header-only reading refuses as well."""
    with pytest.raises(InputError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "ITK" not in message
    assert str(path) in message
    for word in words:
        assert word in message
    return message


# ------------------------------------------------------------------------------------ round trips


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_number_type_comes_back_as_it_was(tmp_path: Path, suffix: str, kind: str) -> None:
    volume, limits = _volume(kind, _rotation(3)), np.iinfo(kind) if kind[0] in "ui" else np.finfo(kind)
    volume.array[0, 0, :2] = limits.min, limits.max
    write_volume(volume, tmp_path / f"a{suffix}")
    again = read_volume(tmp_path / f"a{suffix}")
    assert again.array.dtype == np.dtype(kind)
    assert np.array_equal(again.array, volume.array)
    assert again.geometry.same_grid(volume.geometry)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"a{suffix}"))), volume.array)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truth_values_and_short_floats_are_widened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for kind, stored in ((np.bool_, np.uint8), (np.float16, np.float32)):
        volume = Volume((_volume().array % 2).astype(kind), _volume().geometry)
        write_volume(volume, path)
        assert read_volume(path).array.dtype == stored
        assert np.array_equal(read_volume(path).array, volume.array.astype(stored))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_arrays_that_are_views_in_another_order_are_written_right(tmp_path: Path, suffix: str) -> None:
    array = np.asfortranarray(_volume().array)[::-1, :, ::-1].astype(">i2")
    write_volume(Volume(array, _volume().geometry), tmp_path / f"a{suffix}")
    assert np.array_equal(read_volume(tmp_path / f"a{suffix}").array, array)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd"])
def test_equal_volumes_give_equal_bytes(tmp_path: Path, suffix: str) -> None:
    write_volume(_volume(), tmp_path / f"a{suffix}")
    write_volume(_volume(), tmp_path / f"b{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@st.composite
def grids(draw: st.DrawFn, smallest: float = 1e-4, furthest: float = 1000) -> Geometry:
    """Oblique, permuted or slightly turned, right- and left-handed, anisotropic, down to 0.1 um."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    how = draw(st.sampled_from(["oblique", "permuted", "slight"]))
    if how == "permuted":
        direction = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    elif how == "slight":
        direction = np.linalg.qr(np.eye(3) + 1e-4 * rng.normal(size=(3, 3)))[0]
    else:
        direction = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    direction = direction * [draw(st.sampled_from([1.0, -1.0])), 1, 1]
    spacing = draw(st.tuples(*[st.floats(smallest, 10)] * 3))
    # ITK reads what is nearer to 0 than 2e-308 mm as 0.
    place = st.floats(-furthest, furthest, allow_subnormal=False)
    origin = draw(st.tuples(place, place, place))
    return Geometry(SHAPE, spacing, origin, tuple(map(tuple, direction.tolist())))


@settings(max_examples=60)
@given(grid=grids(), suffix=st.sampled_from(SUFFIXES))
def test_what_was_read_is_written_and_read_again_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, grid: Geometry, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("trip")
    numbers = _volume().array
    write_volume(Volume(numbers, grid), folder / f"a{suffix}")
    first = read_volume(folder / f"a{suffix}").geometry
    # Float32 of NIfTI: 6e-8 of each number; the others hold float64.
    close = 1e-7 if "nii" in suffix else 1e-14
    assert np.allclose(first.spacing, grid.spacing, rtol=close, atol=0)
    assert np.allclose(first.origin, grid.origin, rtol=close, atol=1e-30)
    assert np.allclose(first.direction, grid.direction, rtol=0, atol=2 * close)
    write_volume(Volume(numbers, first), folder / f"b{suffix}")
    assert read_geometry(folder / f"b{suffix}") == first
    assert _header_of_itk(folder / f"b{suffix}") == _header_of_itk(folder / f"a{suffix}")
    shutil.rmtree(folder)


@settings(max_examples=100)
@given(grid=grids(1e-2, 300), forms=st.sampled_from(["q", "s", "qs"]), unit=st.sampled_from(["mm", "micron"]))
def test_a_label_has_the_very_geometry_of_its_nifti_image_whoever_wrote_it(
    tmp_path_factory: pytest.TempPathFactory, grid: Geometry, forms: str, unit: str
) -> None:
    folder = tmp_path_factory.mktemp("nifti")
    qform, sform = (grid.affine if form in forms else None for form in "qs")
    image = _nifti(folder / "image.nii", qform=qform, sform=sform, sizes=grid.spacing[::-1], unit=unit)
    write_volume(Volume(np.zeros(SHAPE, np.uint8), read_geometry(image)), folder / "label.nii.gz")
    assert _header_of_itk(folder / "label.nii.gz") == _header_of_itk(image)
    if forms == "s":  # with one position, all programs read the same one
        assert np.array_equal(nibabel.load(folder / "label.nii.gz").affine, nibabel.load(image).affine)
    shutil.rmtree(folder)


@settings(max_examples=60)
@given(grid=grids(0.1))
def test_both_positions_in_our_nifti_headers_agree_in_millimetres(
    tmp_path_factory: pytest.TempPathFactory, grid: Geometry
) -> None:
    path = tmp_path_factory.mktemp("agree") / "a.nii"
    write_volume(Volume(_volume().array, grid), path)
    image = nibabel.load(path)
    assert image.header["qform_code"] == image.header["sform_code"] == 1
    largest = max(grid.spacing)
    assert np.allclose(image.get_qform(), image.get_sform(), rtol=1e-5, atol=1e-3 * largest)
    check_positions(path)
    to_lps = np.diag([-1, -1, 1, 1])
    assert np.allclose(to_lps @ image.affine, grid.affine, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.data
@pytest.mark.parametrize(
    "folder", ["geometry/images", "chaos_mr/imagesTr", "btcv_ct/imagesTr", "hippocampus/imagesTr"]
)
def test_labels_on_real_grids_have_exactly_their_geometry(
    data_root: Path, tmp_path: Path, folder: str
) -> None:
    for path in sorted((data_root / folder).glob("*.nii.gz"))[:15]:
        grid = read_geometry(path)
        label = tmp_path / path.name
        write_volume(Volume(np.zeros(grid.shape, np.uint8), grid), label)
        assert _header_of_itk(label) == _header_of_itk(path)
        assert np.array_equal(nibabel.load(label).affine, nibabel.load(path).affine)


@pytest.mark.data
def test_real_volumes_read_as_simpleitk_reads_them(data_root: Path) -> None:
    found = sorted((data_root / "geometry").rglob("*.nii.gz"))
    found += sorted((data_root / "btcv_ct" / "imagesTr").glob("*.nii.gz"))[:1]  # 8 bit with a slope
    for path in found:
        volume, theirs = read_volume(path), sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        assert volume.array.dtype == theirs.dtype
        assert np.array_equal(volume.array, theirs)
        assert volume.geometry == read_geometry(path)


# ------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    "numbers", [(0.5, -10), (1, -1024), (2, 0), (0, 5), (1, 0), (np.nan, np.nan), (np.inf, 0)]
)
@pytest.mark.parametrize("kind", ["i2", "f8"])
def test_slope_and_intercept_of_the_header_are_applied(
    tmp_path: Path, kind: str, numbers: tuple[float, float]
) -> None:
    path = tmp_path / "a.nii.gz"
    write_volume(_volume(kind), path)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[112:120] = np.array(numbers, "<f4").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))
    array, theirs = read_volume(path).array, sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert array.dtype == theirs.dtype
    assert np.array_equal(array, theirs)


def test_what_a_program_notes_between_header_and_voxels_is_no_voxel(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(120, dtype=np.int16).reshape(6, 5, 4), np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"by AFNI" * 9))
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").array, np.asarray(image.dataobj).T)


@pytest.mark.parametrize("start", [0, 348, np.nan, -1])
def test_voxels_never_begin_within_the_header(tmp_path: Path, start: float) -> None:
    path = tmp_path / "a.nii"
    write_volume(_volume(), path)
    raw = bytearray(path.read_bytes())
    raw[108:112] = np.float32(start).tobytes()
    path.write_bytes(bytes(raw))
    assert np.array_equal(read_volume(path).array, _volume().array)


def test_big_endian_nifti_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    numbers = np.arange(120, dtype=np.int16).reshape(6, 5, 4)
    nibabel.save(nibabel.Nifti1Image(numbers, np.diag([2, 3, 4, 1]), header), path)
    volume = read_volume(path)
    assert volume.array.dtype.isnative
    assert np.array_equal(volume.array, numbers.T)
    assert volume.geometry.spacing == (4, 3, 2)


@pytest.mark.parametrize("shape", [(6, 5, 4, 1), (6, 5, 4, 1, 1)])
def test_trailing_axes_of_one_voxel_are_no_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    assert read_volume(tmp_path / "a.nii.gz").array.shape == (4, 5, 6)


def test_names_with_spaces_accents_dots_and_capitals_work(tmp_path: Path) -> None:
    folder = tmp_path / "Größe und 心臓"
    folder.mkdir()
    for name in ("Fräulein Ä 1.2.nii.gz", "LOUD.NII.GZ", "a.b.c.nrrd", "心.mha"):
        write_volume(_volume(), folder / name)
        assert np.array_equal(read_volume(folder / name).array, _volume().array)
    assert [source.name for source in find_volumes(folder)] == ["Fräulein Ä 1.2", "LOUD", "a.b.c", "心"]


def test_the_header_is_enough_for_the_geometry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in SUFFIXES:
        write_volume(_volume(), tmp_path / f"a{suffix}")
    monkeypatch.setattr(nifti, "read_pixels", None)
    monkeypatch.setattr(sitk.ImageFileReader, "Execute", None)
    for suffix in SUFFIXES:
        assert read_geometry(tmp_path / f"a{suffix}").same_grid(_volume().geometry)


def test_channels_lie_on_one_grid(tmp_path: Path) -> None:
    write_volume(_volume(), tmp_path / "a.nii.gz")
    write_volume(_volume("f4"), tmp_path / "b.nii.gz")
    sources = {name: Source(name, tmp_path / f"{name}.nii.gz", None) for name in "abc"}
    first, second = read_channels([sources["a"], sources["b"]])
    assert first.geometry == second.geometry
    moved = Geometry(SHAPE, (2.5, 0.75, 0.5), (0.0, 0.0, 0.0))
    write_volume(Volume(_volume().array, moved), tmp_path / "c.nii.gz")
    with pytest.raises(GeometryError, match=r"c\.nii\.gz and .*a\.nii\.gz lie on different grids"):
        read_channels([sources["a"], sources["c"]])
    write_volume(Volume(np.zeros(SHAPE, np.uint8), moved), tmp_path / "c.nii.gz")
    with pytest.raises(InputError, match=r"c\.nii\.gz"):
        read_channels([sources["c"]])


@pytest.mark.parametrize(
    "way", [Orientation(flips=(False, True, False)), Orientation((2, 0, 1), (True, False, True))]
)
def test_a_channel_that_slicer_saved_with_turned_axes_is_read_on_the_grid_of_the_first(
    tmp_path: Path, way: Orientation
) -> None:
    write_volume(_volume(), tmp_path / "a.nii.gz")
    write_volume(way.apply(_volume("f4")), tmp_path / "b.nrrd")
    first, second = read_channels([Source("a", tmp_path / "a.nii.gz"), Source("b", tmp_path / "b.nrrd")])
    assert second.geometry == first.geometry
    assert np.array_equal(second.array, _volume("f4").array)


# ------------------------------------------------------------------------------------- bad input


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    _refused(tmp_path / "none.nii.gz", "does not exist")
    _refused(tmp_path, "no DICOM series")


@pytest.mark.parametrize("name", ["a.txt", "a.png", "a", ".nii.gz", "a.nii.gz.part", "a.img"])
def test_other_endings_are_refused_with_those_that_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"hello" * 100)
    _refused(tmp_path / name, "is no volume that can be read", ".nii.gz")


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".mhd", ".nhdr"])
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()
    _refused(tmp_path / f"a{suffix}", "is empty (0 bytes)")


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".mhd", ".nhdr"])
def test_noise_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(np.random.default_rng(0).bytes(5000))
    _refused(tmp_path / f"a{suffix}", "of no known kind")


@pytest.mark.parametrize(
    ("written", "named", "said"),
    [
        (".nrrd", ".nii.gz", "its content is NRRD"),
        (".mha", ".nrrd", "its content is MetaImage"),
        (".nii", ".mha", "its content is NIfTI"),
        (".nii.gz", ".nrrd", "its content is gzip"),
    ],
)
def test_a_wrong_ending_is_refused_and_the_content_named(
    tmp_path: Path, written: str, named: str, said: str
) -> None:
    write_volume(_volume(), tmp_path / f"a{written}")
    (tmp_path / f"a{written}").rename(tmp_path / f"b{named}")
    _refused(tmp_path / f"b{named}", said)


def test_nifti_is_read_whether_its_ending_owns_up_to_compression_or_not(tmp_path: Path) -> None:
    write_volume(_volume(), tmp_path / "a.nii.gz")
    write_volume(_volume(), tmp_path / "b.nii")
    (tmp_path / "b.nii").rename(tmp_path / "c.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "c.nii.gz").array, _volume().array)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.999])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"a{suffix}"
    rng = np.random.default_rng(0)
    grid = Geometry((20, 30, 30), (1, 1, 1), (0, 0, 0))
    write_volume(Volume(rng.integers(0, 1000, grid.shape).astype(np.int16), grid), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    _refused(path, "cut off")


@pytest.mark.parametrize("place", [-30, -6])  # among the voxels, and in the check sum
def test_one_flipped_bit_in_a_compressed_scan_is_noticed(tmp_path: Path, place: int) -> None:
    """Of more voxels than gzip unpacks at once: it looks at the check sum only at the end."""
    path = tmp_path / "a.nii.gz"
    numbers = np.random.default_rng(0).integers(0, 99, (20, 100, 100)).astype(np.int16)
    write_volume(Volume(numbers, Geometry(numbers.shape, (1, 1, 1), (0, 0, 0))), path)
    whole = bytearray(path.read_bytes())
    whole[place] ^= 4
    path.write_bytes(bytes(whole))
    _refused(path, "damaged")


def test_a_header_without_its_data_file_is_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(_volume().array), str(tmp_path / "a.mhd"))
    assert read_volume(tmp_path / "a.mhd").array.shape == SHAPE
    (tmp_path / "a.raw").unlink()
    _refused(tmp_path / "a.mhd", "lacks its data file")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("shape", [(5, 6), (2, 4, 5, 6)])
def test_two_and_four_dimensions_are_refused(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(np.ones(shape, np.int16), isVector=False), str(path))
    _refused(path, f"has {len(shape)} dimensions")
    with pytest.raises(InputError, match="dimensions"):
        read_geometry(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_colour_and_vectors_are_refused(tmp_path: Path, suffix: str, kind: type) -> None:
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 5, 6, 3), kind), isVector=True), str(path))
    message = _refused(path)
    assert "colour" in message or "dimensions" in message


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.ones(SHAPE, np.complex64)), str(path))
    _refused(path, "holds complex numbers")


def test_nifti_2_and_strange_number_types_are_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(np.zeros(SHAPE, np.uint8), np.eye(4)), tmp_path / "a.nii")
    _refused(tmp_path / "a.nii", "no single-file NIfTI-1")
    write_volume(_volume(), tmp_path / "b.nii")
    raw = bytearray((tmp_path / "b.nii").read_bytes())
    raw[70:72] = np.int16(1536).tobytes()  # float128
    (tmp_path / "b.nii").write_bytes(bytes(raw))
    _refused(tmp_path / "b.nii")


def test_a_scan_that_nobody_may_read_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii.gz"
    write_volume(_volume(), path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    _refused(path, "no permission to read")


def test_a_broken_disk_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii.gz"
    write_volume(_volume(), path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(nifti, "read_pixels", refuse)
    _refused(path, "input/output error")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from([".nii", ".nrrd", ".mha"]),
    changes=st.lists(st.tuples(st.integers(0, 347), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_whatever_bytes_a_header_holds_the_answer_is_a_volume_or_one_line(
    tmp_path: Path, suffix: str, changes: list[tuple[int, int]]
) -> None:
    path = tmp_path / f"fuzz{suffix}"
    write_volume(_volume(), path)
    broken = bytearray(path.read_bytes())
    for place, value in changes:
        broken[min(place, len(broken) - 1)] = value
    path.write_bytes(bytes(broken))
    said = ""
    try:
        read_volume(path)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    assert not said or str(path) in said


@pytest.mark.parametrize("number", [b"\0\0\xaa\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\x7f"])
@pytest.mark.parametrize(
    ("place", "forms"), [(80, 1), (80, 2), (256, 1), (256, 2), (268, 1), (268, 2), (280, 2), (292, 2)]
)
def test_a_place_that_is_no_number_is_refused(tmp_path: Path, place: int, forms: int, number: bytes) -> None:
    """In size, quaternion, offset or matrix: NaN of both kinds (numpy warns of one), or infinity."""
    path = tmp_path / "a.nii"
    write_volume(_volume(), path)
    broken = bytearray(path.read_bytes())
    broken[place : place + 4] = number
    broken[254:256] = np.int16(forms == 2).tobytes()  # is there a matrix too?
    path.write_bytes(bytes(broken))
    _refused(path)


@pytest.mark.parametrize("name", ["Offset", "Position", "Origin"])
@pytest.mark.parametrize(
    "place",
    ["nan 20 7", "-10.5 inf 7", "-10.5 20.25 x", "-10.5,20.25,7", "-10.5 20.25", "", "-10.5 20.25 7 1"],
)
def test_a_place_of_metaimage_that_is_no_number_is_refused(tmp_path: Path, name: str, place: str) -> None:
    path = tmp_path / "a.mha"
    write_volume(_volume(), path)
    whole = path.read_bytes()
    assert b"Offset = -10.5 20.25 7\n" in whole
    path.write_bytes(whole.replace(b"Offset", name.encode()))
    assert read_geometry(path) == _volume().geometry
    path.write_bytes(path.read_bytes().replace(b"-10.5 20.25 7", place.encode()))
    _refused(path, "no usable position", f"{name} is {place!r}")  # ITK reads 0


@pytest.mark.parametrize(
    ("before", "lacking", "lost"),
    [
        ("Offset", "CenterOfRotation = \n", "Offset"),
        ("ElementSpacing", "CenterOfRotation = 0 0\n", "ElementSpacing"),
        ("TransformMatrix", "Color =\n", "TransformMatrix"),
        ("ElementSize", "CenterOfRotation = 0 0\n", "ElementSize"),
        ("ElementSize", "Position = 1 2 3\n", "Position"),
    ],
)
def test_a_field_of_metaimage_that_itk_overlooks_is_missed(
    tmp_path: Path, before: str, lacking: str, lost: str
) -> None:
    """A field that lacks numbers swallows the next one: the voxels would be 1 mm wide, or lie at 0."""
    path = tmp_path / "a.mha"
    write_volume(_volume(direction=np.eye(3)[[1, 0, 2]]), path)
    whole = path.read_bytes().replace(b"CenterOfRotation = 0 0 0\n", b"")
    whole = whole.replace(b"ElementSpacing", b"ElementSize") if before == "ElementSize" else whole
    path.write_bytes(whole)
    assert read_volume(path).geometry.direction[0] == (0, 1, 0)
    path.write_bytes(whole.replace(f"\n{before}".encode(), f"\n{lacking}{before}".encode()))
    _refused(path, "holds no usable", f"its {lost} is", "but what is read is")
    with pytest.raises(GeometryError):
        read_geometry(path)


@pytest.mark.parametrize(
    "named",
    [
        {"ElementSpacing": "ElementSize"},
        {"NDims = 3": "NDims = 3 "},
        {"ElementSp": "ElementSize = 9 9 9\nElementSp"},
    ],
)
def test_the_other_ways_to_write_a_header_of_metaimage_are_read(
    tmp_path: Path, named: dict[str, str]
) -> None:
    path = tmp_path / "a.mha"
    write_volume(_volume(), path)
    ((old, new),) = named.items()
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    assert read_geometry(path) == _volume().geometry


def test_a_nifti_header_whose_mark_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    write_volume(_volume(), path)
    path.write_bytes(path.read_bytes().replace(b"n+1\0", b"n+1 "))
    _refused(path, "no single-file NIfTI-1")  # ITK takes it for an Analyze file, which has no position


def test_a_header_that_would_crash_itk_is_refused_before(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    write_volume(_volume(), path)
    path.write_bytes(path.read_bytes().replace(b"NDims = 3", b"NDims =-3"))
    _refused(path, "of no known kind")


@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_metaimage_may_begin_with_long_notes_and_a_comment(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(_volume().array), str(path))
    plain, notes = path.read_bytes(), b"Note = " + b"word " * 300 + b"\n"
    path.write_bytes(notes + b"Comment = " + b"x" * 499 + b"\n" + plain)
    assert np.array_equal(read_volume(path).array, _volume().array)
    path.write_bytes(notes + b"Comment = " + b"x" * 500 + b"\n" + plain)
    _refused(path, "a comment of 500 bytes")
    assert capfd.readouterr() == ("", "")


def test_a_header_that_asks_for_more_memory_than_its_file_can_fill_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_volume(_volume(), path)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[42:48] = np.array([32767] * 3, "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))
    _refused(path, "cut off")


# -------------------------------------------------------------- one header, two positions

STRAIGHT = np.diag([2.0, 3.0, 4.0, 1.0])


def test_two_positions_that_disagree_are_refused(tmp_path: Path) -> None:
    moved = STRAIGHT.copy()
    moved[:3, 3] = 10, 20, 30
    mirrored = STRAIGHT * [-1, 1, 1, 1]
    little = STRAIGHT.copy()
    little[0, 3] = 1.1
    for other in (moved, mirrored, little):
        path = _nifti(tmp_path / "a.nii.gz", qform=STRAIGHT, sform=other, sizes=(2, 3, 4))
        _refused(path, "two positions that disagree", "qform and sform")
        with pytest.raises(GeometryError):
            read_geometry(path)


def test_two_positions_that_differ_by_less_than_half_a_voxel_are_read(tmp_path: Path) -> None:
    moved = STRAIGHT.copy()
    moved[:3, 3] = 0.6, 0.2, 0.7
    path = _nifti(tmp_path / "a.nii.gz", qform=STRAIGHT, sform=moved, sizes=(2, 3, 4))
    assert np.allclose(read_geometry(path).origin, (-0.6, -0.2, 0.7))


def test_two_voxel_sizes_that_disagree_are_refused(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "a.nii.gz", qform=None, sform=STRAIGHT, sizes=(1, 1, 1))
    _refused(path, "two different voxel sizes", "2 x 3 x 4", "1 x 1 x 1")
    path = _nifti(tmp_path / "b.nii.gz", qform=None, sform=STRAIGHT, sizes=(2, 3, 4.01))
    _refused(path, "two different voxel sizes", "2 x 3 x 4.01")


def test_sheared_and_empty_positions_are_refused(tmp_path: Path) -> None:
    sheared = STRAIGHT.copy()
    sheared[0, 1] = 1
    path = _nifti(tmp_path / "a.nii.gz", qform=None, sform=sheared, sizes=(2, 3.16, 4))
    _refused(path, "not at right angles")
    empty = np.zeros((4, 4))
    empty[3, 3] = 1
    _refused(_nifti(tmp_path / "b.nii.gz", qform=None, sform=empty, sizes=(2, 3, 4)), "no usable position")


def test_a_scan_that_says_nothing_of_its_position_is_read_as_itk_does(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "a.nii.gz", qform=None, sform=None, sizes=(2, 3, 4))
    grid = read_geometry(path)
    assert grid.spacing == (4, 3, 2)
    assert grid.origin == (0, 0, 0)
    write_volume(Volume(np.zeros(SHAPE, np.uint8), grid), tmp_path / "b.nii.gz")
    assert _header_of_itk(tmp_path / "b.nii.gz") == _header_of_itk(path)


@pytest.mark.parametrize("size", [0, np.nan, np.inf])
@pytest.mark.parametrize("qform", [None, STRAIGHT])
def test_a_nifti_scan_that_names_no_voxel_size_is_refused(
    tmp_path: Path, size: float, qform: np.ndarray | None
) -> None:
    path = _nifti(tmp_path / "a.nii", qform=qform, sform=None, sizes=(2, 3, 4))
    assert read_geometry(path).spacing == (4, 3, 2)
    _overwrite_size(path, 3, size)
    _refused(path, "does not tell the size of its voxels along axis 3", f"{size:g}")
    with pytest.raises(GeometryError):
        read_geometry(path)


@pytest.mark.parametrize("size", [0, np.nan])
def test_a_single_nifti_slice_needs_no_thickness(tmp_path: Path, size: float) -> None:
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones((6, 5, 1), np.uint8), None), path)
    _overwrite_size(path, 3, size)
    assert read_volume(path).array.shape == (1, 5, 6)


def _overwrite_size(path: Path, axis: int, size: float) -> None:
    raw = bytearray(path.read_bytes())
    raw[76 + 4 * axis : 80 + 4 * axis] = np.float32(size).tobytes()
    path.write_bytes(bytes(raw))


NRRD = "NRRD0005\ntype: uchar\ndimension: 3\nencoding: raw\n"


@pytest.mark.parametrize(
    "size",
    [
        "spacings: 2 3 nan",
        "Spacings: 2 3 NaN",
        "spacings: 2 3 1,5",
        "space: LPS\nspace directions: (2,0,0) (0,3,0) none",
        "space: LPS\nspace directions: (2, 0, 0) (0, 3, 0) (nan, nan, nan)",
    ],
)
def test_a_nrrd_scan_that_calls_a_voxel_size_unknown_is_refused(tmp_path: Path, size: str) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(f"{NRRD}sizes: 6 5 4\n{size}\n\n".encode() + bytes(120))
    _refused(path, "does not tell the size of its voxels along axis 3")
    with pytest.raises(GeometryError):
        read_geometry(path)
    path.write_bytes(f"{NRRD}sizes: 6 5 1\n{size}\n\n".encode() + bytes(30))
    assert read_volume(path).geometry.spacing[1:] == (3, 2)


def test_a_nrrd_axis_of_one_channel_needs_no_direction(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    text = NRRD.replace("dimension: 3", "dimension: 4") + "sizes: 1 6 5 4\nkinds: list domain domain domain\n"
    text += "space: LPS\nspace directions: none (2,0,0) (0,3,0) (0,0,4)\n\n"
    path.write_bytes(text.encode() + bytes(120))
    assert read_volume(path).geometry.spacing == (4, 3, 2)


def test_a_grid_without_size_is_refused_with_the_name_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    write_volume(_volume(), path)
    path.write_bytes(path.read_bytes().replace(b"ElementSpacing = 0.5", b"ElementSpacing = nan"))
    _refused(path)


# ------------------------------------------------------------------------------- usable images


@pytest.mark.parametrize("shape", [(1, 5, 6), (4, 1, 6), (4, 5, 1)])
def test_a_single_slice_is_read_but_is_no_usable_image(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    for suffix in SUFFIXES:
        path = tmp_path / f"a{suffix}"
        write_volume(Volume(array, Geometry(shape, (1, 1, 1), (0, 0, 0))), path)
        volume = read_volume(path)
        assert volume.array.shape == shape
        with pytest.raises(InputError, match="single slice"):
            assert_usable_image(volume, path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_number_are_counted(bad: float) -> None:
    volume = _volume("f4")
    volume.array[1, 2, 3:5] = bad
    with pytest.raises(InputError, match=r"scan\.nrrd has 2 voxels that are no number"):
        assert_usable_image(volume, Path("scan.nrrd"))


def test_a_constant_image_is_no_usable_image() -> None:
    volume = Volume(np.full(SHAPE, 7, np.int16), _volume().geometry)
    with pytest.raises(InputError, match="the same number"):
        assert_usable_image(volume, Path("scan.nrrd"))
    assert_usable_image(_volume(), Path("scan.nrrd"))


# ------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    write_volume(_volume(), path)
    before = path.read_bytes()

    def fill(_: Volume, part: Path) -> None:
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_write", fill)
    with pytest.raises(ResourceError, match="the disk is full"):
        write_volume(_volume("f4"), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
def test_a_written_volume_can_be_read_by_whoever_may_read_other_files_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder for its owner alone, as tempfile makes it, hands its rights on to the file on Windows."""
    seen: list[Path] = []
    real = files._write

    def write(volume: Volume, part: Path) -> None:
        seen.append(part)
        (tmp_path / "other").mkdir()
        assert part.parent.stat().st_mode == (tmp_path / "other").stat().st_mode
        real(volume, part)

    monkeypatch.setattr(files, "_write", write)
    write_volume(_volume(), tmp_path / "a_scan_of_a_long_name_as_pacs_give_them.nii.gz")
    (part,) = seen
    assert len(str(part.relative_to(tmp_path))) < 30  # Windows counts 260 characters from the drive on


def test_an_interrupted_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Volume, part: Path) -> None:
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "_write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_volume(_volume(), tmp_path / "a.nii.gz")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ResourceError, match="its folder does not exist"):
        write_volume(_volume(), tmp_path / "none" / "a.nii.gz")
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="its folder is no folder"):
        write_volume(_volume(), tmp_path / "file" / "a.nii.gz")

    def refuse(_: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ResourceError, match="the disk is read-only"):
        write_volume(_volume(), tmp_path / "a.nii.gz")


def test_what_metaimage_cannot_write_is_a_resource_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("ITK ERROR: cannot write")

    monkeypatch.setattr(sitk, "WriteImage", refuse)
    with pytest.raises(ResourceError, match="could not be written"):
        write_volume(_volume(), tmp_path / "a.mha")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.png", "a", "a.mhd", "a.nhdr"])
def test_other_endings_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="must end in"):
        write_volume(_volume(), tmp_path / name)


@pytest.mark.parametrize("suffix", [".nii", ".nrrd"])
def test_numbers_that_a_format_cannot_hold_are_refused(tmp_path: Path, suffix: str) -> None:
    volume = Volume(np.zeros(SHAPE, np.complex64), _volume().geometry)
    with pytest.raises(InputError, match="cannot hold"):
        write_volume(volume, tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


def test_nifti_refuses_what_its_header_cannot_say(tmp_path: Path) -> None:
    skewed = ((1.0, 5e-4, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    volume = Volume(np.zeros(SHAPE, np.uint8), Geometry(SHAPE, (1, 1, 1), (0, 0, 0), skewed))
    with pytest.raises(GeometryError, match="right angles"):
        write_volume(volume, tmp_path / "a.nii")
    long = (1, 1, 40000)
    with pytest.raises(InputError, match="at most 32767"):
        write_volume(
            Volume(np.zeros(long, np.uint8), Geometry(long, (1, 1, 1), (0, 0, 0))), tmp_path / "a.nii"
        )


# ------------------------------------------------------------------------------------- finding


def test_volumes_of_a_folder_are_found_by_name(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a_0000.nii.gz", "c.mha"):
        write_volume(_volume(), tmp_path / name)
    (tmp_path / "deeper").mkdir()
    write_volume(_volume(), tmp_path / "deeper" / "d.nii.gz")
    for name in ("notes.txt", ".hidden.nii.gz", "dataset.json"):
        (tmp_path / name).write_text("x")
    (tmp_path / "e.nii.gz.abc.part").mkdir()
    write_volume(_volume(), tmp_path / "e.nii.gz.abc.part" / "volume.nii.gz")
    found = find_volumes(tmp_path)
    assert [source.name for source in found] == ["a_0000", "b", "c"]
    assert found[0] == Source("a_0000", tmp_path / "a_0000.nii.gz")
    assert np.array_equal(read_source(found[0]).array, _volume().array)
    assert source_geometry(found[0]) == read_geometry(found[0].path)
    assert source_files(found[0]) == (found[0].path,)


def test_a_segmentation_that_slicer_has_saved_beside_its_scan_is_no_scan(tmp_path: Path) -> None:
    for name in ("scan.nrrd", "Segmentation.seg.nrrd", "scan liver.SEG.nrrd"):
        write_volume(_volume(), tmp_path / name)
    assert [source.name for source in find_volumes(tmp_path)] == ["scan"]


def test_two_files_never_share_a_name(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nrrd", "b.nrrd"):
        write_volume(_volume(), tmp_path / name)
    assert [source.name for source in find_volumes(tmp_path)] == ["a_nii_gz", "a_nrrd", "b"]


def test_an_empty_folder_has_no_volumes_and_a_file_is_no_folder(tmp_path: Path) -> None:
    assert find_volumes(tmp_path) == ()
    with pytest.raises(InputError, match="is no folder"):
        find_volumes(tmp_path / "none")


def test_the_stem_drops_what_names_the_format() -> None:
    assert volume_stem(Path("x/a.b.NII.gz")) == "a.b"
    assert volume_stem(Path("x/a.txt")) == "a.txt"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_name_that_is_no_text_is_refused_in_words(tmp_path: Path, no_text: str, suffix: str) -> None:
    write_volume(_volume(), tmp_path / f"scan{suffix}")
    path = (tmp_path / f"scan{suffix}").rename(tmp_path / f"{no_text}{suffix}")
    for read in (read_volume, read_geometry):
        with pytest.raises(InputError, match=r"M\\xfcller\S+ has a name that is no valid text.*rename it"):
            read(path)
    with pytest.raises(InputError, match="rename it"):
        write_volume(_volume(), path)
    assert [source.path for source in find_volumes(tmp_path)] == [path]
