import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from crgloco.errors import GeometryError, InputError, LabelError
from crgloco.io.files import read_geometry, read_volume, write_volume
from crgloco.io.label_files import read_label, write_label
from crgloco.io.orientation import Orientation
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import LabelTable

TABLE = LabelTable.from_names({"background": 0, "large": 5, "small": 7, "far": 300})
GRID = Geometry((4, 5, 6), (2.0, 1.0, 0.5), (1.0, 2.0, 3.0))


def _classes(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, TABLE.classes, GRID.shape).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_class_numbers_come_back_from_values_with_gaps(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"label{suffix}"
    write_label(_classes(), GRID, TABLE, path)
    assert set(np.unique(read_volume(path).array)) == {0, 5, 7, 300}
    label = read_label(path, TABLE, GRID)
    assert label.array.dtype == np.uint8
    assert np.array_equal(label.array, _classes())
    assert label.geometry == GRID


def test_a_value_outside_the_table_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "label.nii.gz"
    write_volume(Volume(np.full(GRID.shape, 6, np.uint8), GRID), path)
    with pytest.raises(LabelError, match=r"label\.nii\.gz: Label value 6 is not in the label table"):
        read_label(path, TABLE)


@pytest.mark.parametrize("value", [np.nan, np.inf, 5.4, -1.0])
def test_numbers_that_are_no_labels_are_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "label.nrrd"
    array = np.zeros(GRID.shape, np.float32)
    array[1, 2, 3] = value
    write_volume(Volume(array, GRID), path)
    with pytest.raises(LabelError, match=r"label\.nrrd"):
        read_label(path, TABLE)


def test_floats_that_stand_for_whole_numbers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "label.nii.gz"
    write_volume(Volume(TABLE.to_values(_classes()).astype(np.float64) + 1e-6, GRID), path)
    assert np.array_equal(read_label(path, TABLE).array, _classes())


def test_a_label_on_another_grid_is_refused_and_not_resampled(tmp_path: Path) -> None:
    path = tmp_path / "label.nii.gz"
    write_label(_classes(), GRID, TABLE, path)
    other = Geometry(GRID.shape, GRID.spacing, (1.0, 2.0, 4.0), GRID.direction)
    grids = re.escape(f"{GRID.describe()} against {other.describe()}")
    with pytest.raises(GeometryError, match=rf"label\.nii\.gz and its image lie on different grids: {grids}"):
        read_label(path, TABLE, other)


@pytest.mark.parametrize(
    "way", [Orientation(flips=(True, False, False)), Orientation((2, 0, 1), (False, True, True))]
)
def test_a_label_that_slicer_saved_with_turned_axes_is_read_voxel_by_voxel_at_its_place(
    tmp_path: Path, way: Orientation
) -> None:
    turned = way.apply(Volume(TABLE.to_values(_classes()), GRID))
    write_volume(turned, tmp_path / "label.nrrd")
    label = read_label(tmp_path / "label.nrrd", TABLE, GRID)
    assert np.array_equal(label.array, _classes())
    assert label.geometry == GRID


def test_a_label_with_one_channel_for_each_structure_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "label.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 3), np.uint8), np.eye(4)), path)
    with pytest.raises(InputError, match=r"4 dimensions"):
        read_label(path, TABLE)


@pytest.mark.parametrize("wrong", [4, -1, 255])
def test_class_numbers_beyond_the_table_are_not_written(tmp_path: Path, wrong: int) -> None:
    path = tmp_path / "label.nii.gz"
    classes = _classes().astype(np.int16)
    classes[0, 0, 0] = wrong
    with pytest.raises(LabelError, match=f"Class {wrong} "):
        write_label(classes, GRID, TABLE, path)
    assert not path.exists()


def test_an_array_that_does_not_fit_the_grid_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(GeometryError):
        write_label(_classes()[1:], GRID, TABLE, tmp_path / "label.nii.gz")
    assert not list(tmp_path.iterdir())


@pytest.mark.data
def test_labels_of_real_scans_with_gaps_in_their_values_come_back(data_root: Path, tmp_path: Path) -> None:
    for path in sorted((data_root / "geometry" / "labels").glob("*.nii.gz")):
        values = [value for value in np.unique(read_volume(path).array).tolist() if value]
        table = LabelTable.from_names({f"structure {value}": value for value in values})
        grid = read_geometry(data_root / "geometry" / "images" / path.name)
        label = read_label(path, table, grid)
        copy = tmp_path / path.name
        write_label(label.array, grid, table, copy)
        assert np.array_equal(
            sitk.GetArrayFromImage(sitk.ReadImage(str(copy))),
            sitk.GetArrayFromImage(sitk.ReadImage(str(path))),
        )
        assert read_geometry(copy) == grid, path.name
