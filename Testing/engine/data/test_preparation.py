import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from crgloco.data.cases import Case
from crgloco.data.intensities import ChannelRule
from crgloco.data.preparation import Preparation, target_spacing
from crgloco.errors import Cancelled, CasesError, GeometryError, InputError, ModelError, OptionError
from crgloco.io.files import Source, read_volume, write_volume
from crgloco.io.orientation import Orientation, canonical_geometry
from crgloco.io.volume import Geometry, Volume
from crgloco.progress import Silent
from phantoms import two_ellipsoids

SPACINGS = st.tuples(*[st.floats(0.5, 8)] * 3)
ANGLES = st.tuples(*[st.sampled_from([-2.0, -0.5, 0.0, 0.1, 1.0])] * 3)


def _direction(
    angles: tuple[float, float, float], *, left_handed: bool
) -> tuple[tuple[float, float, float], ...]:
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*angles)
    matrix = np.array(turn.GetMatrix()).reshape(3, 3)
    if left_handed:
        matrix[:, 0] *= -1
    return tuple(map(tuple, matrix.tolist()))


def _geometry(
    shape=(12, 16, 20), spacing=(2.0, 1.0, 1.0), angles=(0.0, 0.0, 0.0), left_handed=False
) -> Geometry:
    return Geometry(shape, spacing, (-40.0, 25.0, 300.0), _direction(angles, left_handed=left_handed))


def _preparation(spacing=(1.5, 1.5, 1.5), channels: int = 1) -> Preparation:
    return Preparation(spacing, (ChannelRule("mr"),) * channels)


def _write_case(
    folder: Path, name: str, *, spacing=(2.0, 1.0, 1.0), label: bool = True, scale: float = 1.0
) -> Case:
    image, classes = two_ellipsoids((8, 16, 16))
    geometry = _geometry(image.shape, spacing)
    write_volume(Volume(image * np.float32(scale), geometry), folder / f"{name}_0000.nii.gz")
    if label:
        write_volume(Volume(classes, geometry), folder / f"{name}.nii.gz")
    source = Source(name, folder / f"{name}_0000.nii.gz", None)
    return Case(name, (source,), folder / f"{name}.nii.gz" if label else None)


# ------------------------------------------------------------------------------------------ voxel size


def test_the_voxel_size_is_the_median_of_each_axis() -> None:
    assert target_spacing([(2, 1, 1), (3, 1, 0.7), (2.5, 1.2, 0.9)]) == (2.5, 1.0, 0.9)


def test_a_coarse_axis_takes_its_10th_percentile_but_is_never_finer_than_the_others() -> None:
    thick = [(float(mm), 1.0, 1.0) for mm in range(1, 12)]
    assert target_spacing(thick) == (2.0, 1.0, 1.0)
    assert target_spacing([(0.2, 1, 1), (9, 1, 1), (9, 1, 1)]) == (pytest.approx(1.96), 1, 1)
    assert target_spacing([(0.1, 2, 2)] * 2 + [(90, 2, 2)] * 3) == (2, 2, 2)
    # what counts is the finest axis, not the one between
    assert target_spacing([(4, 3, 1), (8, 3, 1), (8, 3, 1)]) == (pytest.approx(4.8), 3, 1)


def test_micrometres_are_voxel_sizes_like_any_other() -> None:
    assert target_spacing([(0.004, 0.0025, 0.0025)] * 3) == (0.004, 0.0025, 0.0025)
    prepared = _preparation((0.005, 0.005, 0.005)).prepared_geometry(
        _geometry((50, 100, 100), (0.004, 0.0025, 0.0025))
    )
    assert prepared.shape == (40, 50, 50)


def test_a_scan_thinner_than_a_voxel_keeps_one() -> None:
    assert _preparation((5, 5, 5)).prepared_geometry(_geometry((2, 30, 60), (0.1, 1, 1))).shape == (1, 6, 12)


def test_an_absurd_size_is_refused_with_advice() -> None:
    with pytest.raises(GeometryError, match="unit of the scan's voxel size"):
        _preparation((0.01, 0.01, 0.01)).prepared_geometry(_geometry((100, 512, 512)))


@pytest.mark.parametrize("shape", [(100, 512, 512), (2, 24, 24), (12, 12, 200)])
def test_a_scan_of_which_nothing_would_be_left_is_refused_with_advice(shape) -> None:
    with pytest.raises(GeometryError, match=r"mm.*unit of the scan's voxel size, or use a finer"):
        _preparation((5, 5, 5)).prepared_geometry(_geometry(shape, (0.005 if shape[0] == 100 else 1.0,) * 3))


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1, -1, 1), (1, 1, float("nan")), (1, float("inf"), 1)])
def test_a_voxel_size_must_be_positive(spacing) -> None:
    with pytest.raises(OptionError, match="positive"):
        Preparation(spacing, (ChannelRule("mr"),))


# ----------------------------------------------------------------------------------------------- fit


def test_fit_reads_voxel_sizes_and_chooses_rules_by_channel_names(tmp_path) -> None:
    cases = [_write_case(tmp_path, f"c{n}", spacing=(2.0 + n / 2, 1.0, 0.9)) for n in range(3)]
    fitted = Preparation.fit(cases, ("T2",))
    assert fitted.spacing == pytest.approx((2.5, 1.0, 0.9))
    assert fitted.rules == (ChannelRule("mr"),)
    assert Preparation.fit(cases, ("T2",), (1, 2, 3)).spacing == (1, 2, 3)


def test_ct_is_fitted_on_the_labelled_structures_only(tmp_path) -> None:
    cases = [_write_case(tmp_path, "a"), _write_case(tmp_path, "b", label=False, scale=50)]
    rule = Preparation.fit(cases, ("CT",)).rules[0]
    assert rule.kind == "ct"
    assert 70 < rule.low < rule.mean < rule.high < 240


def test_ct_is_fitted_on_voxels_from_all_of_a_large_structure(tmp_path, monkeypatch) -> None:
    case = _write_case(tmp_path, "a")
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None] * 100, (8, 16, 16))
    for array, path in ((ramp, case.channels[0].path), (np.ones((8, 16, 16), np.uint8), case.label)):
        write_volume(Volume(np.ascontiguousarray(array), _geometry(array.shape)), path)
    monkeypatch.setattr("crgloco.data.preparation.FITTED_VOXELS", 100)
    assert Preparation.fit([case], ("CT",)).rules[0].mean == pytest.approx(350, abs=20)


def test_ct_is_fitted_on_the_same_voxels_where_the_axes_of_a_label_are_turned(tmp_path) -> None:
    case = _write_case(tmp_path, "a")
    before = Preparation.fit([case], ("CT",))
    write_volume(Orientation(flips=(True, False, False)).apply(read_volume(case.label)), case.label)
    assert Preparation.fit([case], ("CT",)) == before


def test_ct_without_any_label_is_fitted_on_the_body(tmp_path) -> None:
    rule = Preparation.fit([_write_case(tmp_path, "a", label=False)], ("CT",)).rules[0]
    assert rule.mean > two_ellipsoids((8, 16, 16))[0].mean() + 1


def test_ct_with_empty_labels_is_fitted_on_the_body(tmp_path) -> None:
    case = _write_case(tmp_path, "a")
    write_volume(Volume(np.zeros((8, 16, 16), np.uint8), _geometry((8, 16, 16))), case.label)
    assert Preparation.fit([case], ("CT",)).rules[0].mean > 9


def test_fit_refuses_no_case_a_wrong_channel_count_and_a_label_on_another_grid(tmp_path) -> None:
    with pytest.raises(CasesError, match="no training case"):
        Preparation.fit([], ("CT",))
    case = _write_case(tmp_path, "a")
    with pytest.raises(CasesError, match=r"Case a \(.*\) has 1 channels; 2 are needed"):
        Preparation.fit([case], ("CT", "MR"))
    write_volume(Volume(np.ones((8, 16, 16), np.uint8), _geometry((8, 16, 16), (3, 1, 1))), case.label)
    with pytest.raises(GeometryError, match="Case a"):
        Preparation.fit([case], ("CT",))


def test_a_labelled_ct_scan_with_voxels_that_are_no_numbers_is_named(tmp_path) -> None:
    case = _write_case(tmp_path, "a")
    broken, classes = two_ellipsoids((8, 16, 16))
    broken[tuple(np.argwhere(classes)[0])] = np.nan
    write_volume(Volume(broken, _geometry(broken.shape)), case.channels[0].path)
    with pytest.raises(InputError, match=r"a_0000.nii.gz has 1 voxels that are no number"):
        Preparation.fit([_write_case(tmp_path, "b"), case], ("CT",))


def test_fit_can_be_stopped(tmp_path) -> None:
    class Stopped(Silent):
        def check(self) -> None:
            raise Cancelled("Stopped on request.")

    with pytest.raises(Cancelled):
        Preparation.fit([_write_case(tmp_path, "a")], ("CT",), report=Stopped())


# ---------------------------------------------------------------------------------- images and labels


@settings(max_examples=25)
@given(spacing=SPACINGS, angles=ANGLES, left_handed=st.booleans(), size=st.floats(0.5, 3))
def test_images_agree_with_simpleitk_resampling_onto_the_prepared_grid(
    spacing, angles, left_handed, size
) -> None:
    image, _ = two_ellipsoids((10, 12, 14))
    volume = Volume(image, _geometry(image.shape, spacing, angles, left_handed))
    canonical = canonical_geometry(volume.geometry)
    target = tuple(min(size, mm * 1.3) for mm in canonical.spacing)  # no axis shrinks enough to be smoothed
    preparation = _preparation(target)
    grid = preparation.prepared_geometry(volume.geometry)
    scaled = sitk.GetImageFromArray(preparation.rules[0].scaling(image)(image))
    _place(scaled, volume.geometry)
    reference = sitk.Image(grid.shape[::-1], sitk.sitkFloat32)
    _place(reference, grid)
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(reference)
    resampler.UseNearestNeighborExtrapolatorOn()
    expected = sitk.GetArrayFromImage(resampler.Execute(scaled))
    np.testing.assert_allclose(preparation.image([volume])[0], expected, atol=5e-3)  # float16


def _place(image: sitk.Image, geometry: Geometry) -> None:
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection([part for row in geometry.direction for part in row])


@settings(max_examples=25)
@given(spacing=SPACINGS, angles=ANGLES, left_handed=st.booleans(), factor=st.floats(0.4, 2.5))
def test_a_structure_stays_where_it_is_in_the_patient(spacing, angles, left_handed, factor) -> None:
    """Its centre moves by less than half a voxel of the coarser grid along each axis."""
    _, classes = two_ellipsoids((32, 32, 32))
    volume = Volume((classes == 1).astype(np.uint8), _geometry(classes.shape, spacing, angles, left_handed))
    canonical = canonical_geometry(volume.geometry)
    preparation = _preparation(tuple(mm * factor for mm in canonical.spacing))
    prepared = preparation.label(volume)
    grid = preparation.prepared_geometry(volume.geometry)
    coarser = np.maximum(canonical.spacing, grid.spacing)[::-1]
    moved = _centre_mm(prepared, grid) - _centre_mm(volume.array, volume.geometry)
    assert (np.abs(np.transpose(grid.direction) @ moved) < 0.5 * coarser).all()


def _centre_mm(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    k, j, i = np.argwhere(array > 0).mean(0)
    return (geometry.affine @ [i, j, k, 1])[:3]


def test_the_own_voxel_size_changes_no_label_and_no_grid() -> None:
    _, classes = two_ellipsoids()
    volume = Volume(classes, _geometry(classes.shape, (2.0, 0.7, 0.7), (0.3, 0.2, 0.1)))
    preparation = _preparation((2.0, 0.7, 0.7))
    prepared = preparation.label(volume)
    assert preparation.prepared_geometry(volume.geometry).same_grid(volume.geometry)
    np.testing.assert_array_equal(prepared, classes)


def test_channels_are_scaled_each_by_its_own_rule() -> None:
    image, _ = two_ellipsoids()
    geometry = _geometry(image.shape)
    preparation = Preparation((2, 1, 1), (ChannelRule("mr"), ChannelRule("ct", 0, 200, 100, 50)))
    prepared = preparation.image([Volume(image, geometry), Volume(image, geometry)])
    assert prepared.dtype == np.float16
    assert prepared.shape == (2, *image.shape)
    np.testing.assert_allclose(prepared[1], (image.clip(0, 200) - 100) / 50, atol=2e-3)
    np.testing.assert_array_equal(prepared[0], _preparation((2, 1, 1)).image([Volume(image, geometry)])[0])


def test_a_wrong_number_of_channels_and_channels_on_two_grids_are_refused() -> None:
    image, _ = two_ellipsoids()
    one, other = Volume(image, _geometry(image.shape)), Volume(image, _geometry(image.shape, (3, 1, 1)))
    with pytest.raises(InputError, match=r"needs 1 channel\(s\), this scan has 2\..*_0001"):
        _preparation().image([one, one])
    with pytest.raises(GeometryError, match="Channel 1 and channel 2"):
        _preparation(channels=2).image([one, other])


# ---------------------------------------------------------------------------------------------- JSON


def test_a_preparation_survives_json_and_keeps_its_digest() -> None:
    preparation = Preparation(
        (7.7, 1.25, 1.25), (ChannelRule("ct", -125, 275, 60.5, 40.25), ChannelRule("mr"))
    )
    again = Preparation.from_json(json.loads(json.dumps(preparation.to_json())))
    assert again == preparation
    assert again.digest() == preparation.digest()
    assert Preparation((7.7, 1.25, 1.3), preparation.rules).digest() != preparation.digest()


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"spacing": [1, 1], "rules": []},
        {"spacing": [1, 1, 1], "rules": []},
        {"spacing": [1, 1, 0], "rules": [{"kind": "mr"}]},
        {"spacing": [1, 1, 1], "rules": [{"kind": "mr"}], "more": 1},
        {"spacing": None, "rules": None},
    ],
)
def test_a_damaged_preparation_is_refused(entry) -> None:
    with pytest.raises(ModelError, match="preparation"):
        Preparation.from_json(entry)
