"""Arrays that another program wrote: taken bit for bit, or refused in words."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from array_files import OBLIQUE, grid_fields, reference
from crgloco.errors import GeometryError, InputError, LabelError, OptionError, ResourceError
from crgloco.requests.arrays import ArrayFolder, read_label, read_volume, read_volumes


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32", "float64", "bool", ">i2"])
def test_an_array_arrives_bit_for_bit_on_its_grid(tmp_path, kind):
    array = np.arange(480).reshape(OBLIQUE.shape).astype(kind)
    volume = read_volume(reference(array, tmp_path / "a.npy", OBLIQUE), "The image")
    np.testing.assert_array_equal(volume.array, array)
    assert volume.geometry == OBLIQUE


def test_a_fortran_array_keeps_its_axes(tmp_path):
    array = np.asfortranarray(np.arange(480.0).reshape(OBLIQUE.shape))
    np.testing.assert_array_equal(
        read_volume(reference(array, tmp_path / "a.npy", OBLIQUE), "The image").array, array
    )


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_a_pickle_is_never_opened(tmp_path):
    path = tmp_path / "trap.npy"
    np.save(path, np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"trap\.npy is no plain array"):
        read_volume({"file": str(path), "geometry": grid_fields(OBLIQUE)}, "The image")


def test_a_zip_of_arrays_is_no_array(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(3))
    with pytest.raises(InputError, match="no plain array"):
        read_volume({"file": str(path), "geometry": grid_fields(OBLIQUE)}, "The image")


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    entry = reference(np.zeros(OBLIQUE.shape), path, OBLIQUE)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="cut off"):
        read_volume(entry, "The image")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.npy cannot be read"):
        read_volume({"file": str(tmp_path / "none.npy"), "geometry": grid_fields(OBLIQUE)}, "The image")


def test_another_shape_than_the_geometry_says_is_refused(tmp_path):
    with pytest.raises(GeometryError, match=r"\(8, 6, 10\).*\(6, 8, 10\)"):
        read_volume(reference(np.zeros((8, 6, 10)), tmp_path / "a.npy", OBLIQUE), "The image")


def test_numbers_that_are_not_real_are_refused(tmp_path):
    with pytest.raises(InputError, match="complex128"):
        read_volume(reference(np.zeros(OBLIQUE.shape, complex), tmp_path / "a.npy", OBLIQUE), "The image")


def test_a_label_of_fractions_is_refused(tmp_path):
    with pytest.raises(LabelError, match="whole numbers"):
        read_label(reference(np.zeros(OBLIQUE.shape), tmp_path / "a.npy", OBLIQUE))


@pytest.mark.parametrize("entry", [None, "a.npy", {"file": 3, "geometry": grid_fields(OBLIQUE)}, [1]])
def test_what_is_no_reference_is_refused(entry):
    with pytest.raises(OptionError):
        read_volume(entry, "The image")


@pytest.mark.parametrize("value", [3, {}, "a.npy"])
def test_channels_must_be_a_list(value):
    with pytest.raises(OptionError, match="list of arrays"):
        read_volumes({"arrays": value}, "arrays")


def test_an_array_on_no_grid_is_refused(tmp_path):
    entry = reference(np.zeros(OBLIQUE.shape), tmp_path / "a.npy", OBLIQUE)
    with pytest.raises(GeometryError, match="spacing"):
        read_volume({**entry, "geometry": {**entry["geometry"], "spacing": None}}, "The image")


def test_a_written_array_is_plain_native_and_whole(tmp_path):
    folder = ArrayFolder(tmp_path / "new" / "out")
    array = np.arange(480, dtype=">i2").reshape(OBLIQUE.shape)[:, ::-1]
    folder.write("image_0", array)
    assert folder.names == {"image_0": "image_0.npy"}
    stored = np.load(tmp_path / "new" / "out" / "image_0.npy", allow_pickle=False)
    np.testing.assert_array_equal(stored, array)
    assert stored.dtype.isnative
    assert (tmp_path / "new" / "out" / "image_0.npy").stat().st_size < 480 * 2 + 200
    assert [path.name for path in (tmp_path / "new" / "out").iterdir()] == ["image_0.npy"]


def test_a_full_disk_leaves_neither_half_a_file_nor_its_name(tmp_path, monkeypatch):
    folder = ArrayFolder(tmp_path)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        folder.write("fused", np.zeros(3))
    assert not list(tmp_path.iterdir())
    assert folder.names == {}
