import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    RTStructureSetStorage,
    generate_uid,
)

from crgloco.errors import GeometryError, InputError
from crgloco.io import dicom
from crgloco.io.dicom import list_series, read_series, read_series_geometry
from crgloco.io.files import (
    find_volumes,
    read_geometry,
    read_source,
    read_volume,
    source_files,
    source_geometry,
    write_volume,
)
from crgloco.io.volume import Volume

ROWS, COLUMNS = 36, 33  # JPEG 2000 needs 32
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
PATIENT = "Mustermann^Erika"
Change = Callable[[int, FileDataset], None]


def _image(number: int, **tags: Any) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    image.PatientName, image.PatientID = PATIENT, "PAT4711"
    image.SeriesDescription, image.SeriesNumber = "Thorax Mustermann /3.0 PAT4711", 3
    image.Modality, image.InstanceNumber = "CT", number
    image.Rows, image.Columns, image.SamplesPerPixel = ROWS, COLUMNS, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PixelSpacing, image.SliceThickness = [0.8, 0.6], 2.0
    image.ImageOrientationPatient = list(AXIAL)
    image.ImagePositionPatient = [-10.0, 20.0, -100 + 2.5 * number]
    image.RescaleSlope, image.RescaleIntercept = 1, -1024
    image.PixelData = _pixels(number).tobytes()
    for tag, value in tags.items():
        setattr(image, tag, value)
    return image


def _pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 4096, (ROWS, COLUMNS)).astype(np.uint16)


def _series(
    folder: Path,
    numbers: Sequence[int] = range(8),
    change: Change | None = None,
    prefix: str = "IM",
    **tags: Any,
) -> Path:
    """Write a CT series of 2.5 mm, files without ending, the last slice first."""
    folder.mkdir(parents=True, exist_ok=True)
    tags.setdefault("SeriesInstanceUID", generate_uid())
    for number in numbers:
        image = _image(number, **tags)
        if change is not None:
            change(number, image)
        image.save_as(folder / f"{prefix}{(98 - number * 7) % 101:04d}", enforce_file_format=True)
    return folder


def _refused(folder: Path, *words: str) -> str:
    """Both the pixels and the geometry alone are refused, in one line without the patient's name."""
    with pytest.raises(InputError) as caught:
        read_volume(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert "muster" not in message.lower()
    assert "4711" not in message
    for word in words:
        assert word in message
    return message


def _by_itk(series: dicom.Series) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series.folder)))
    return reader.Execute()


# ------------------------------------------------------------------------------------ real series

REAL = {
    "studyforrest_T1w_oblique": (1, np.int16),
    "STS_008_CT_rtstruct": (1, np.int16),
    "STS_008_MR_T1_rtstruct": (1, np.int16),
    "STS_008_PET_rtstruct": (1, np.float32),
    "totalsegmentator_CT_jpeg2000": (1, np.int16),
}


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_a_real_series_has_the_voxels_and_to_the_last_bit_the_geometry_of_simpleitk(
    data_root: Path, name: str
) -> None:
    count, kind = REAL[name]
    found = list_series(data_root / "dicom" / name)  # RTSTRUCT and NIfTI beside it are passed over
    assert len(found) == count
    volume, theirs = read_series(found[0]), _by_itk(found[0])
    assert volume.array.dtype == kind
    assert np.allclose(volume.array, sitk.GetArrayFromImage(theirs), rtol=1e-6, atol=1e-6)
    assert volume.geometry.spacing == theirs.GetSpacing()[::-1]
    assert volume.geometry.origin == theirs.GetOrigin()
    assert sum(volume.geometry.direction, ()) == theirs.GetDirection()
    assert read_series_geometry(found[0]) == volume.geometry


@pytest.mark.data
def test_a_label_on_a_double_oblique_series_lies_where_the_series_lies(
    data_root: Path, tmp_path: Path
) -> None:
    grid = read_geometry(data_root / "dicom" / "studyforrest_T1w_oblique")
    for suffix, close in ((".nii.gz", 1e-7), (".nrrd", 1e-15), (".mha", 0)):
        write_volume(Volume(np.zeros(grid.shape, np.uint8), grid), tmp_path / f"label{suffix}")
        again = read_geometry(tmp_path / f"label{suffix}")
        assert np.allclose(again.affine, grid.affine, rtol=close, atol=close)
        assert again.same_grid(grid)


@pytest.mark.data
def test_series_of_several_patients_are_found_apart(data_root: Path) -> None:
    sources = find_volumes(data_root / "dicom")
    assert len(sources) == len({source.name for source in sources}) == 5
    for source in sources:
        assert "STS_008" not in source.name  # the patient's number, though it is in the description
        assert source_geometry(source).shape[0] == len(source_files(source))


# --------------------------------------------------------------------------------------- reading


def test_slices_are_sorted_by_position_whatever_their_names_and_numbers(tmp_path: Path) -> None:
    def shuffle(number: int, image: FileDataset) -> None:
        image.InstanceNumber = (number * 5) % 8

    volume = read_volume(_series(tmp_path, change=shuffle))
    assert volume.geometry.shape == (8, ROWS, COLUMNS)
    assert volume.geometry.spacing == (2.5, 0.8, 0.6)
    assert volume.geometry.origin == (-10, 20, -100)
    assert np.array_equal(volume.array, np.stack([_pixels(n) for n in range(8)]).astype(int) - 1024)
    assert np.issubdtype(volume.array.dtype, np.integer)
    assert read_geometry(tmp_path) == volume.geometry


orientations = st.integers(0, 2**31)


@settings(max_examples=25)
@given(seed=orientations, digits=st.integers(4, 10), gap=st.floats(0.3, 8))
def test_any_orientation_gives_the_geometry_of_simpleitk(
    tmp_path_factory: pytest.TempPathFactory, seed: int, digits: int, gap: float
) -> None:
    folder = tmp_path_factory.mktemp("oblique")
    axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    normal = np.cross(axes[0], axes[1])

    def turn(number: int, image: FileDataset) -> None:
        image.ImageOrientationPatient = [f"{part:.{digits}f}" for part in [*axes[0], *axes[1]]]
        image.ImagePositionPatient = [f"{part:.8f}" for part in number * gap * normal + [1, 2, 3]]

    _series(folder, change=turn)
    (series,) = list_series(folder)
    volume, theirs = read_series(series), _by_itk(series)
    assert volume.geometry.spacing == theirs.GetSpacing()[::-1]
    assert volume.geometry.origin == theirs.GetOrigin()
    assert sum(volume.geometry.direction, ()) == theirs.GetDirection()
    assert np.array_equal(volume.array, sitk.GetArrayFromImage(theirs))
    shutil.rmtree(folder)


def test_a_slope_of_its_own_in_each_slice_is_applied(tmp_path: Path) -> None:
    def scale(number: int, image: FileDataset) -> None:
        # The first slice looks like whole numbers: ITK alone would round all the others.
        image.RescaleSlope, image.RescaleIntercept = ("1", "0") if number == 0 else (f"0.{number}25", "0")

    volume = read_volume(_series(tmp_path, change=scale))
    assert volume.array.dtype == np.float32
    for number in range(8):
        slope = 1 if number == 0 else float(f"0.{number}25")
        assert np.allclose(volume.array[number], _pixels(number) * slope, rtol=1e-6)


def test_a_slice_that_stores_more_bits_than_the_first_one_is_not_wrapped_round(tmp_path: Path) -> None:
    bright = (_pixels(0).astype(int) + 60000).astype(np.uint16)

    def store(number: int, image: FileDataset) -> None:
        if number == 5:
            image.BitsStored, image.HighBit, image.PixelData = 16, 15, bright.tobytes()

    array = read_volume(_series(tmp_path, change=store)).array
    assert np.array_equal(array[5], bright.astype(int) - 1024)
    assert np.array_equal(array[0], _pixels(0).astype(int) - 1024)


def test_an_intercept_of_its_own_in_each_slice_is_applied(tmp_path: Path) -> None:
    def shift(number: int, image: FileDataset) -> None:
        image.RescaleIntercept = -1024 * number  # none for the first slice, whose numbers have no sign

    array = read_volume(_series(tmp_path, change=shift)).array
    assert np.array_equal(array, np.stack([_pixels(n).astype(int) - 1024 * n for n in range(8)]))


def test_a_slice_with_a_sign_among_others_without_is_not_wrapped_round(tmp_path: Path) -> None:
    negative = _pixels(5).astype(np.int16) - 4095

    def store(number: int, image: FileDataset) -> None:
        image.BitsStored, image.HighBit, image.RescaleIntercept = 16, 15, 0
        if number == 5:
            image.PixelRepresentation, image.PixelData = 1, negative.tobytes()

    array = read_volume(_series(tmp_path, change=store)).array
    assert np.array_equal(array[5], negative)
    assert np.array_equal(array[0], _pixels(0))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("itk_can", [True, False])
def test_compressed_slices_are_read_by_either_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, itk_can: bool
) -> None:
    def compress(_: int, image: FileDataset) -> None:
        image.compress(syntax, generate_instance_uid=False)

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("ITK ERROR: unknown compression")

    _series(tmp_path, change=compress)
    if not itk_can:
        monkeypatch.setattr(dicom, "_read_by_itk", refuse)
    array = read_volume(tmp_path).array
    assert np.array_equal(array, np.stack([_pixels(n) for n in range(8)]).astype(int) - 1024)
    assert np.issubdtype(array.dtype, np.integer)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_every_way_of_writing_down_the_elements_is_read(tmp_path: Path, syntax: str) -> None:
    def write(_: int, image: FileDataset) -> None:
        image.file_meta.TransferSyntaxUID = syntax

    array = read_volume(_series(tmp_path, change=write)).array
    assert np.array_equal(array, np.stack([_pixels(n) for n in range(8)]).astype(int) - 1024)


def test_a_series_with_its_highest_bytes_first_is_read(tmp_path: Path) -> None:
    for number in range(3):
        plain = _image(number, SeriesInstanceUID="1.2.3", PixelData=_pixels(number).astype(">u2").tobytes())
        plain.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        image = FileDataset(
            None, plain, bytes(128), plain.file_meta, is_implicit_VR=False, is_little_endian=False
        )
        image.save_as(tmp_path / str(number), enforce_file_format=True)
    array = read_volume(tmp_path).array
    assert np.array_equal(array, np.stack([_pixels(n) for n in range(3)]).astype(int) - 1024)


def test_a_slice_that_is_wrong_about_how_its_elements_are_written_down_is_read(tmp_path: Path) -> None:
    path = min(_series(tmp_path).iterdir())
    said, implicit = (
        uid.encode().ljust(20, b"\0") for uid in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    )
    path.write_bytes(path.read_bytes().replace(said, implicit))
    array = read_volume(tmp_path).array
    assert np.array_equal(array, np.stack([_pixels(n) for n in range(8)]).astype(int) - 1024)


def test_files_without_preamble_are_read(tmp_path: Path) -> None:
    _series(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[132:])
    assert read_geometry(tmp_path).shape == (8, ROWS, COLUMNS)


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    _series(tmp_path / "a")
    _series(tmp_path / "a", numbers=range(5), prefix="other", SeriesNumber=4)
    path = sorted((tmp_path / "a").glob("IM*"))[2]
    assert read_volume(path).geometry.shape[0] == 8
    assert read_geometry(min((tmp_path / "a").glob("other*"))).shape[0] == 5


def test_a_single_image_is_a_volume_of_one_slice(tmp_path: Path) -> None:
    volume = read_volume(_series(tmp_path, numbers=[0]))
    assert volume.geometry.shape == (1, ROWS, COLUMNS)
    assert volume.geometry.spacing[0] == 2.0  # the slice thickness, for want of better


def test_spaces_and_accents_in_paths_work(tmp_path: Path) -> None:
    assert read_volume(_series(tmp_path / "Übersicht 心 2")).geometry.shape[0] == 8


# -------------------------------------------------------------------------------------- listing


def test_several_series_in_a_folder_are_listed_and_never_mixed(tmp_path: Path) -> None:
    _series(tmp_path, SeriesNumber=2, SeriesDescription="lung")
    _series(tmp_path, numbers=range(20, 25), SeriesNumber=1, SeriesDescription="bone/kernel")
    first, second = list_series(tmp_path)
    assert (first.name[:16], second.name[:9]) == ("s001_bone_kernel", "s002_lung")
    assert (len(first.files), len(second.files)) == (5, 8)
    message = _refused(tmp_path, "holds 2 DICOM series, which are never mixed", "(CT, 8 images)")
    assert first.name in message
    assert second.name in message
    assert [read_source(source).geometry.shape[0] for source in find_volumes(tmp_path)] == [5, 8]


def test_a_slice_whose_name_is_no_text_is_refused_in_words(tmp_path: Path, no_text: str) -> None:
    for number, series in enumerate((tmp_path / "a", tmp_path / no_text)):
        _series(series, numbers=range(8 * number, 8 * number + 8), SeriesNumber=number)
    next((tmp_path / "a").iterdir()).rename(tmp_path / "a" / no_text)
    for source in find_volumes(tmp_path):
        with pytest.raises(InputError, match=r"M\\xfcller\S* has a name that is no valid text"):
            read_source(source)
        with pytest.raises(InputError, match="rename it"):
            source_geometry(source)


def test_three_directions_under_one_uid_are_three_series(tmp_path: Path) -> None:
    uid = generate_uid()
    sagittal, coronal = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0), (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    _series(tmp_path, prefix="a", SeriesInstanceUID=uid)
    for prefix, axes in (("b", sagittal), ("c", coronal)):
        position = 0 if axes == sagittal else 1

        def lay(number: int, image: FileDataset, axis: int = position) -> None:
            where = [0.0, 0.0, 0.0]
            where[axis] = 5.0 * number
            image.ImagePositionPatient = where

        _series(
            tmp_path,
            range(3),
            lay,
            prefix,
            SeriesInstanceUID=uid,
            ImageOrientationPatient=list(axes),
        )
    found = list_series(tmp_path)
    assert sorted(series.uid for series in found) == [f"{uid}#1", f"{uid}#2", f"{uid}#3"]
    assert len({series.name for series in found}) == 3
    assert sorted(read_series(series).geometry.shape[0] for series in found) == [3, 3, 8]
    assert sorted(read_source(source).geometry.shape[0] for source in find_volumes(tmp_path)) == [3, 3, 8]


@pytest.mark.parametrize(
    "tags",
    [
        {"PixelSpacing": [1.6, 1.2]},
        {"PixelSpacing": [0.8, 0.601]},
        {"Rows": ROWS // 2, "Columns": COLUMNS},
        {"ImageOrientationPatient": [0.99995, 0.01, 0, -0.01, 0.99995, 0]},
    ],
)
def test_another_pixel_size_direction_or_matrix_under_one_uid_is_another_series(
    tmp_path: Path, tags: dict[str, Any]
) -> None:
    uid = generate_uid()
    _series(tmp_path, SeriesInstanceUID=uid)
    pixels = _pixels(0)[: tags.get("Rows", ROWS)].tobytes()
    _series(tmp_path, range(3), None, "x", SeriesInstanceUID=uid, PixelData=pixels, **tags)
    assert sorted(read_series(series).geometry.shape[0] for series in list_series(tmp_path)) == [3, 8]


def test_what_is_no_scan_is_passed_over(tmp_path: Path) -> None:
    _series(tmp_path)
    structures = _image(50, SeriesInstanceUID=generate_uid(), Modality="RTSTRUCT")
    structures.SOPClassUID = RTStructureSetStorage
    structures.save_as(tmp_path / "RS.dcm", enforce_file_format=True)
    _image(51, SeriesInstanceUID=generate_uid(), Modality="SEG").save_as(tmp_path / "SEG.dcm")
    report = _image(52, SeriesInstanceUID=generate_uid(), SOPClassUID=EncapsulatedPDFStorage)
    del report.Rows
    report.save_as(tmp_path / "report.dcm")
    screenshot = _image(53, SeriesInstanceUID=generate_uid())
    del screenshot.ImagePositionPatient
    screenshot.save_as(tmp_path / "screenshot.dcm")
    for name, content in (
        ("DICOMDIR", bytes(128) + b"DICM"),
        ("notes", b"hello"),
        ("empty", b""),
        ("early", b"\x08\x00" + b"\xff" * 50),
    ):
        (tmp_path / name).write_bytes(content)
    assert len(list_series(tmp_path)) == 1
    assert read_volume(tmp_path).geometry.shape[0] == 8
    with pytest.raises(InputError, match="no DICOM image that can be part of a scan"):
        read_volume(tmp_path / "RS.dcm")


def test_names_never_hold_the_patient(tmp_path: Path) -> None:
    (series,) = list_series(_series(tmp_path))
    assert series.description == "Thorax  /3.0"
    assert series.name.startswith("s003_Thorax_3.0_")
    assert "muster" not in repr(series).lower().replace(str(tmp_path).lower(), "")
    assert "4711" not in series.name


@pytest.mark.parametrize(
    ("name", "description", "kept"),
    [
        ("Li^Bo", "Liver of Li, Bo: Bone_LiBo LI", "Liver of , : Bone_"),
        ("Li^Bo=李^博", "李博胸部 Li胸部", "胸部 胸部"),
        ("Kim^Cheolsu=김^철수", "조영증강 김철수 kimcheolsu", "조영증강"),
        ("王小东", "胸部王小东T2", "胸部T2"),
        ("Lang^T", "T1 T 2 tse", "T1  2 tse"),
    ],
)
def test_short_and_unspaced_names_are_removed_and_words_that_hold_them_are_not(
    tmp_path: Path, name: str, description: str, kept: str
) -> None:
    tags = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": name, "SeriesDescription": description}
    (series,) = list_series(_series(tmp_path, PatientID="7", **tags))
    assert series.description == kept


def test_names_are_stable_and_fit_for_files(tmp_path: Path) -> None:
    uid = "1.2.3.4"
    _series(tmp_path / "a", SeriesInstanceUID=uid, SeriesDescription="../../etc: <a|b>*?" + "x" * 40)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (first,), (second,) = list_series(tmp_path / "a"), list_series(tmp_path / "b")
    assert first.name == second.name
    assert not set(first.name) & set('/\\:*?"<>| ')
    assert len(first.name) < 60


def test_patients_whose_uids_were_removed_stay_apart(tmp_path: Path) -> None:
    for number, patient in enumerate(("a/b", "a")):  # the series of the folder within comes first
        _series(tmp_path / patient, SeriesInstanceUID="", SeriesNumber=number)
    sources = find_volumes(tmp_path)
    assert len({source.name for source in sources}) == 2
    assert [source.path.name for source in sorted(sources, key=lambda one: one.path)] == ["a", "b"]
    for source in sources:
        assert read_source(source).geometry.shape[0] == 8
        assert all(path.parent == source.path for path in source_files(source))


def test_a_series_that_was_spread_over_folders_is_one(tmp_path: Path) -> None:
    uid = generate_uid()
    _series(tmp_path / "1", range(4), SeriesInstanceUID=uid)
    _series(tmp_path / "2", range(4, 8), SeriesInstanceUID=uid)
    (source,) = find_volumes(tmp_path)
    assert source.path == tmp_path
    assert read_source(source).geometry.shape[0] == 8


def test_a_series_that_has_gone_is_said(tmp_path: Path) -> None:
    (source,) = find_volumes(_series(tmp_path))
    (series,) = list_series(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(InputError, match="is no longer in"):
        read_source(source)
    with pytest.raises(InputError, match="has gone"):
        read_series(series)


@pytest.mark.parametrize("name", ["System Volume Information", "$RECYCLE.BIN", "lost+found"])
def test_on_a_whole_disk_what_is_the_systems_or_was_thrown_away_is_passed_over(
    tmp_path: Path, name: str
) -> None:
    _series(tmp_path / "patient")
    _series(tmp_path / name / "S-1-5-21")
    assert [source.path for source in find_volumes(tmp_path)] == [tmp_path / "patient"]


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        list_series(tmp_path / "none")


def test_a_folder_that_cannot_be_listed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path, onerror: Callable[[OSError], None]) -> list[Any]:
        onerror(PermissionError(13, "Permission denied", str(folder)))
        return []

    monkeypatch.setattr(dicom.os, "walk", refuse)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        list_series(tmp_path)


# ------------------------------------------------------------------------------- what is refused


def test_missing_slices_are_named_with_their_positions(tmp_path: Path) -> None:
    _series(tmp_path, numbers=[0, 1, 2, 4, 5, 8, 9])
    _refused(
        tmp_path,
        "lacks 3 slices (usual distance 2.50 mm)",
        "5.00 mm between the slices at -95.00 and -90.00 mm",
        "7.50 mm between the slices at -87.50 and -80.00 mm",
    )
    with pytest.raises(GeometryError, match="lacks 3 slices"):
        read_geometry(tmp_path)


def test_one_missing_slice_is_one(tmp_path: Path) -> None:
    _refused(_series(tmp_path, numbers=[0, 1, 2, 4, 5]), "lacks 1 slice (usual")


@pytest.mark.parametrize("more", [0.8, 0.1])
def test_uneven_slices_are_named_with_their_positions(tmp_path: Path, more: float) -> None:
    def move(number: int, image: FileDataset) -> None:
        image.ImagePositionPatient = [0, 0, 2.5 * number + (more if number > 4 else 0)]

    where = f"{2.5 + more:.2f} mm between the slices at 10.00 and {12.5 + more:.2f}"
    _refused(_series(tmp_path, change=move), "unevenly spaced", where)


def test_many_gaps_are_counted_rather_than_listed(tmp_path: Path) -> None:
    numbers = [*range(20), *range(20, 48, 3)]
    _refused(_series(tmp_path, numbers=numbers), "at 4 more places")


def test_rounded_positions_are_even_enough(tmp_path: Path) -> None:
    def rounded(number: int, image: FileDataset) -> None:
        image.ImagePositionPatient = [0, 0, round(number * 1.0 / 3 * 2, 2)]

    assert read_volume(_series(tmp_path, change=rounded)).geometry.spacing[0] == pytest.approx(
        2 / 3, abs=2e-3
    )


def test_a_tilted_gantry_is_refused_and_explained(tmp_path: Path) -> None:
    def tilt(number: int, image: FileDataset) -> None:
        image.ImagePositionPatient = [0, 1.2 * number, 2.5 * number]
        image.GantryDetectorTilt = 25.6

    _refused(_series(tmp_path, change=tilt), "tilted gantry (25.6 degrees, the header says 25.6)", "Correct")


@pytest.mark.parametrize("sideways", [3.0, 0.2])
def test_a_slice_that_was_shifted_sideways_is_refused(tmp_path: Path, sideways: float) -> None:
    def shift(number: int, image: FileDataset) -> None:
        image.ImagePositionPatient = [sideways if number == 4 else 0.0, 0, 2.5 * number]

    _refused(_series(tmp_path, change=shift), "shifted sideways", f"{sideways:.2f} mm")


@pytest.mark.parametrize(
    ("tag", "values", "words"),
    [
        ("TemporalPositionIdentifier", (1, 2), "time point"),
        ("EchoTime", (2.3, 4.6), "echo time"),
        ("DiffusionBValue", (0.0, 800.0), "diffusion weighting"),
        ("TriggerTime", (0.0, 40.0), "heart cycle"),
        ("ImageType", (["ORIGINAL", "M"], ["ORIGINAL", "P"]), "kind of image"),
    ],
)
def test_several_images_at_one_position_are_refused_with_what_tells_them_apart(
    tmp_path: Path, tag: str, values: tuple[Any, Any], words: str
) -> None:
    uid = generate_uid()
    for prefix, value in zip("ab", values, strict=True):
        _series(tmp_path, prefix=prefix, SeriesInstanceUID=uid, **{tag: value})
    _refused(tmp_path, "more than one image at a position", "-100.00 mm", words)


def test_nothing_tells_two_images_apart(tmp_path: Path) -> None:
    uid = generate_uid()
    for prefix in "ab":
        _series(tmp_path, prefix=prefix, SeriesInstanceUID=uid)
    _refused(tmp_path, "nothing tells them apart")


def test_a_copied_file_is_refused(tmp_path: Path) -> None:
    _series(tmp_path)
    path = min(tmp_path.iterdir())
    shutil.copy(path, tmp_path / "copy")
    _refused(tmp_path, "the same image twice", "copy", path.name)


def test_rows_and_columns_that_are_not_at_right_angles_are_refused(tmp_path: Path) -> None:
    skewed = [1.0, 0.0, 0.0, 0.1, 0.995, 0.0]
    _refused(_series(tmp_path, ImageOrientationPatient=skewed), "not at right angles")


def test_colour_is_refused(tmp_path: Path) -> None:
    pixels = bytes(ROWS * COLUMNS * 3)
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    _refused(_series(tmp_path, PixelData=pixels, **tags, **bits), "is in colour")


@pytest.mark.parametrize("positioned", [True, False])
def test_a_multi_frame_file_is_listed_and_refused_with_advice(tmp_path: Path, positioned: bool) -> None:
    image = _image(0, SeriesInstanceUID=generate_uid(), NumberOfFrames=3)
    image.PixelData = bytes(ROWS * COLUMNS * 2 * 3)
    if not positioned:
        del image.ImagePositionPatient
    image.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    assert len(list_series(tmp_path)) == 1
    _refused(tmp_path, "3 images in one file", "3D Slicer")


def test_enhanced_files_of_one_image_each_are_one_series_and_refused_with_advice(tmp_path: Path) -> None:
    def enhance(_: int, image: FileDataset) -> None:
        place = Dataset()
        place.ImagePositionPatient = image.ImagePositionPatient
        frame = Dataset()
        frame.PlanePositionSequence = [place]
        image.PerFrameFunctionalGroupsSequence = [frame]
        image.SharedFunctionalGroupsSequence = [Dataset()]
        image.NumberOfFrames = 1
        del image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing

    assert len(list_series(_series(tmp_path, change=enhance))) == 1
    _refused(tmp_path, "enhanced DICOM with one image in each file", "3D Slicer")


def test_a_mosaic_is_refused(tmp_path: Path) -> None:
    _refused(_series(tmp_path, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "mosaic")


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient"])
@pytest.mark.parametrize("said", [None, [1.0], [1.0, 0.0]])
def test_an_image_that_does_not_say_where_it_lies_is_not_dropped(
    tmp_path: Path, tag: str, said: list[float] | None
) -> None:
    def forget(number: int, image: FileDataset) -> None:
        if number == 7:
            setattr(image, tag, said)

    _refused(_series(tmp_path, change=forget), "does not say where it lies")


@pytest.mark.parametrize("said", [None, [0.8, 0.0], [-0.8, 0.6]])
def test_a_series_without_pixel_size_is_refused(tmp_path: Path, said: list[float] | None) -> None:
    _refused(_series(tmp_path, PixelSpacing=said), "Series s003_Thorax", "pixel size is missing")


def test_a_damaged_header_is_not_taken_for_a_missing_end(tmp_path: Path) -> None:
    path = max(_series(tmp_path).iterdir())
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00?!"))
    _refused(tmp_path, path.name, "may be a slice of series")
    with pytest.raises(InputError, match="damaged"):
        read_geometry(tmp_path)


@pytest.mark.parametrize("kept", [0, 132, 140, 300, 600])
def test_a_last_slice_whose_header_was_cut_off_is_missed(tmp_path: Path, kept: int) -> None:
    _series(tmp_path)
    last = max(tmp_path.iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])
    last.write_bytes(last.read_bytes()[:kept])
    _refused(tmp_path, last.name, "may be a slice of series")


def test_a_last_slice_that_is_a_link_to_nothing_is_missed(tmp_path: Path) -> None:
    last = max(_series(tmp_path).iterdir())
    last.unlink()
    last.symlink_to("/annex/objects/key")
    _refused(tmp_path, last.name, "may be a slice")


def test_an_empty_file_that_is_named_like_no_slice_is_none(tmp_path: Path) -> None:
    _series(tmp_path)
    (tmp_path / "done").touch()
    (tmp_path / "IM0001.lock").touch()
    (tmp_path / "latest").symlink_to(tmp_path / "nowhere")
    assert read_volume(tmp_path).geometry.shape[0] == 8


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(132, 900), st.integers(0, 255)), min_size=1, max_size=3))
def test_whatever_bytes_a_header_holds_the_answer_is_a_volume_or_one_line(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    folder = tmp_path / "fuzz"
    if not folder.exists():
        _series(folder, range(3))
    path = min(folder.iterdir())
    whole = path.read_bytes()
    broken = bytearray(whole)
    for place, value in changes:
        broken[place] = value
    path.write_bytes(bytes(broken))
    said = ""
    try:
        read_volume(folder)
    except InputError as error:
        said = str(error)
    finally:
        path.write_bytes(whole)
    assert "\n" not in said


@pytest.mark.parametrize("kept", [0, 2, 2 * ROWS * COLUMNS - 2])
def test_a_slice_with_fewer_pixels_than_its_header_promises_is_refused(tmp_path: Path, kept: int) -> None:
    def shorten(number: int, image: FileDataset) -> None:
        if number == 5:
            image.PixelData = image.PixelData[:kept]

    _refused(_series(tmp_path, change=shorten), "IM0063 of series", "not all of its pixels are there")
    with pytest.raises(InputError, match="not all of its pixels"):
        read_geometry(tmp_path)  # GDCM reads what is missing as 0


def test_a_header_that_promises_more_rows_than_there_are_is_refused(tmp_path: Path) -> None:
    _refused(_series(tmp_path, Rows=ROWS + 1), "not all of its pixels are there")


@pytest.mark.parametrize("tag", ["SamplesPerPixel", "BitsStored", "HighBit", "PixelRepresentation"])
def test_an_image_that_leaves_out_what_is_usual_is_read(tmp_path: Path, tag: str) -> None:
    def forget(_: int, image: FileDataset) -> None:
        delattr(image, tag)

    array = read_volume(_series(tmp_path, change=forget)).array
    assert np.array_equal(array, np.stack([_pixels(n) for n in range(8)]).astype(int) - 1024)


def test_pixels_may_be_followed_by_a_filling(tmp_path: Path) -> None:
    def fill(number: int, image: FileDataset) -> None:
        image.PixelData = _pixels(number).tobytes() + bytes(2 * number)

    array = read_volume(_series(tmp_path, change=fill)).array
    assert np.array_equal(array, np.stack([_pixels(n) for n in range(8)]).astype(int) - 1024)


def test_a_length_that_leads_behind_the_end_of_the_file_asks_for_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = max(_series(tmp_path).iterdir())
    before, behind = path.read_bytes().split(b"\xe0\x7f\x10\x00OW\x00\x00")
    path.write_bytes(before + b"\xe0\x7f\x10\x00OW\x00\x00" + b"\xf0\xff\xff\x7f" + behind[4:])
    monkeypatch.setattr(dicom, "_read_by_itk", None)
    _refused(tmp_path, path.name, "not all of its pixels are there")


def test_a_damaged_length_for_which_there_is_no_memory_is_a_damaged_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    _series(tmp_path)
    monkeypatch.setattr(pydicom, "dcmread", refuse)
    with pytest.raises(InputError, match="holds no DICOM series"):
        read_volume(tmp_path)


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_deflated_slice_that_was_cut_is_named_and_hides_no_other_series(
    tmp_path: Path, kept: float
) -> None:
    def deflate(_: int, image: FileDataset) -> None:
        image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    _series(tmp_path / "whole")
    path = max(_series(tmp_path / "cut", change=deflate).iterdir())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    _refused(tmp_path / "cut", path.name, "may be a slice of series")
    assert len(find_volumes(tmp_path)) == 2


@pytest.mark.parametrize("kept", [0.5, 0.97, 0.9995])
def test_a_cut_file_is_named(tmp_path: Path, kept: float) -> None:
    path = sorted(_series(tmp_path).iterdir())[3]
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = _refused(tmp_path)
    assert f"{path} of series" in message
    assert "is cut off" in message


def test_pixels_of_another_shape_than_the_header_says_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom, "_read_by_itk", lambda *_, **__: np.zeros((2, 2, 2)))
    _refused(_series(tmp_path), "has pixels of (2, 2, 2)")


def test_a_file_that_is_read_twice_gives_the_same_answer(tmp_path: Path) -> None:
    _series(tmp_path)
    assert np.array_equal(read_volume(tmp_path).array, read_volume(tmp_path).array)
    assert pydicom.dcmread(next(tmp_path.iterdir())).PatientName == PATIENT  # nothing on disk was changed
