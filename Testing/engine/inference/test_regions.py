"""Where to look: regions in order, and large ones parted into places."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crgloco.inference.prediction import Prediction
from crgloco.inference.regions import PLACE_MM, parted, uncertain_regions
from crgloco.io.volume import Geometry


def prediction_of(confidence, fused=None, spacing=(2.0, 1.0, 0.5)):
    geometry = Geometry(confidence.shape, spacing, (10.0, 20.0, 30.0))
    labels = np.ones(confidence.shape, np.uint8) if fused is None else fused
    zeros = np.zeros(confidence.shape, np.uint8)
    return Prediction(labels, None, labels, confidence, zeros, geometry, "balanced", 1.0, 1.0, 0.0, 1, 1, 0.5)


def test_regions_come_by_the_volume_that_is_expected_to_be_wrong():
    confidence = np.full((20, 30, 30), 250, np.uint8)
    confidence[2:6, 2:6, 2:8] = 102  # 96 voxels of confidence 0.4
    confidence[10:18, 10:20, 10:20] = 153  # 800 voxels of confidence 0.6
    confidence[0, 0, 29] = 0  # one voxel: too small
    fused = np.ones(confidence.shape, np.uint8)
    fused[10:18, 10:20, 10:20] = 2
    large, small = uncertain_regions(prediction_of(confidence, fused))
    assert large.label == 2
    assert (large.start, large.stop) == ((10, 10, 10), (18, 20, 20))
    assert large.volume_ml == pytest.approx(0.8)
    assert large.expected_ml == pytest.approx(0.32)
    assert large.mean_confidence == pytest.approx(0.6)
    assert small.expected_ml == pytest.approx(0.096 * 0.6)
    assert confidence[large.centre] == 153
    k, j, i = large.centre
    assert large.position == pytest.approx((10 + 0.5 * i, 20 + j, 30 + 2 * k))
    assert len(uncertain_regions(prediction_of(confidence), at_most=1)) == 1


@pytest.mark.parametrize(
    ("millimetres", "side", "found"), [(1.0, 3, 1), (1.0, 2, 0), (0.02, 8, 1), (0.02, 7, 0)]
)
def test_the_smallest_region_is_one_of_a_body_or_of_a_small_thing(millimetres, side, found):
    confidence = np.full((20, 20, 20), 255, np.uint8)
    confidence[4 : 4 + side, 4 : 4 + side, 4 : 4 + side] = 30
    assert len(uncertain_regions(prediction_of(confidence, spacing=(millimetres,) * 3))) == found


def test_a_sure_prediction_has_no_region():
    assert uncertain_regions(prediction_of(np.full((5, 5, 5), 255, np.uint8))) == ()


def shell(radius, spacing):
    """Voxels of the border of a ball, as the uncertain border of an organ."""
    half = np.ceil(radius / spacing).astype(int) + 1
    points = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in half), indexing="ij"), -1)
    distance = np.sqrt(((points * spacing) ** 2).sum(-1))
    return np.argwhere((distance < radius) & (distance > radius - 6))


def test_the_border_of_an_organ_is_parted_into_places_that_fit_into_a_view():
    spacing = np.array([5.0, 1.5, 1.5])
    voxels = shell(60.0, spacing)
    places = parted(voxels, np.full(len(voxels), 100, np.uint8), spacing, PLACE_MM)
    assert 20 < len(places) < 100
    assert sorted(map(tuple, np.concatenate(places))) == sorted(map(tuple, voxels))
    for place in places:
        assert ((place.max(0) - place.min(0)) * spacing).max() <= 3 * PLACE_MM


def test_the_first_place_is_where_most_doubt_lies():
    spacing = np.array([2.0, 2.0, 2.0])
    voxels = shell(60.0, spacing)
    doubt = np.full(len(voxels), 80, np.uint8)
    worst = voxels[voxels[:, 2].argmax()]
    doubt[(((voxels - worst) * spacing) ** 2).sum(1) < 15**2] = 255
    places = parted(voxels, doubt, spacing, PLACE_MM)
    distances = [np.linalg.norm((place.mean(0) - worst) * spacing) for place in places]
    assert distances[0] == min(distances)


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.floats(2.0, 50.0))
def test_every_voxel_is_in_one_place(seed, count, radius):
    rng = np.random.default_rng(seed)
    voxels = np.unique(rng.integers(0, 40, (count, 3)), axis=0)
    places = parted(
        voxels, rng.integers(77, 256, len(voxels)).astype(np.uint8), np.array([3.0, 1.0, 1.0]), radius
    )
    assert all(len(place) for place in places)
    assert sorted(map(tuple, np.concatenate(places))) == sorted(map(tuple, voxels))


def test_what_fits_into_a_view_is_one_place():
    voxels = np.argwhere(np.ones((4, 10, 10), bool))
    (place,) = parted(voxels, np.full(400, 90, np.uint8), np.array([5.0, 2.0, 2.0]), 10.0)
    assert place is voxels


def test_the_border_of_a_whole_organ_becomes_several_regions_in_order():
    confidence = np.full((40, 100, 100), 255, np.uint8)
    confidence[tuple((shell(60.0, np.array([4.0, 1.5, 1.5])) + 2).T)] = 150
    found = uncertain_regions(prediction_of(confidence, spacing=(4.0, 1.5, 1.5)))
    assert len(found) > 5
    assert [region.expected_ml for region in found] == sorted((r.expected_ml for r in found), reverse=True)
    assert max(region.volume_ml for region in found) < 30
