"""Where to look: places in order, none larger than a view."""

from dataclasses import replace

import numpy as np
import pytest

from crgloco.inference.places import Cells
from crgloco.inference.prediction import Prediction
from crgloco.inference.regions import PLACE_MM, place_radius, uncertain_regions
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
    confidence[0, 29, 29] = 0  # one voxel: too small
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
    confidence = np.full((40, 40, 40), 255, np.uint8)
    confidence[4 : 4 + side, 4 : 4 + side, 4 : 4 + side] = 30
    assert len(uncertain_regions(prediction_of(confidence, spacing=(millimetres,) * 3))) == found


def test_a_sure_prediction_has_no_region():
    assert uncertain_regions(prediction_of(np.full((5, 5, 5), 255, np.uint8))) == ()


def test_there_are_never_more_cells_than_voxels_whatever_the_unit_of_their_size():
    for millimetres in (20.0, 1000.0):
        grid = Geometry((60, 60, 60), (millimetres,) * 3, (0.0, 0.0, 0.0))
        assert Cells(grid.shape, grid.spacing, place_radius(grid)).shape == grid.shape
    confidence = np.full((20, 20, 20), 255, np.uint8)
    confidence[4:8, 4:8, 4:8] = 30
    (region,) = uncertain_regions(prediction_of(confidence, spacing=(1000.0,) * 3))
    assert region.volume_ml == pytest.approx(64e6)


def shell(radius, spacing):
    """Voxels of the border of a ball, as the uncertain border of an organ."""
    half = np.ceil(radius / spacing).astype(int) + 1
    points = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in half), indexing="ij"), -1)
    distance = np.sqrt(((points * spacing) ** 2).sum(-1))
    return np.argwhere((distance < radius) & (distance > radius - 6))


def test_the_border_of_a_whole_organ_becomes_places_that_fit_into_a_view():
    spacing = np.array([4.0, 1.5, 1.5])
    confidence = np.full((40, 100, 100), 255, np.uint8)
    confidence[tuple((shell(60.0, spacing) + 2).T)] = 150
    found = uncertain_regions(prediction_of(confidence, spacing=tuple(spacing)), at_most=1000)
    assert 20 < len(found) < 150
    for region in found:
        assert (np.subtract(region.stop, region.start) * spacing).max() <= 2 * PLACE_MM + 2 * spacing.max()
    voxel_ml = spacing.prod() / 1000
    uncertain = (confidence < 178).sum() * voxel_ml
    assert 0.98 * uncertain < sum(region.volume_ml for region in found) <= uncertain * (1 + 1e-9)


def test_the_first_place_is_where_most_doubt_lies():
    spacing = np.array([2.0, 2.0, 2.0])
    voxels = shell(60.0, spacing) + 2
    confidence = np.full(voxels.max(0) + 4, 255, np.uint8)
    confidence[tuple(voxels.T)] = 160
    worst = voxels[voxels[:, 2].argmax()]
    confidence[tuple(voxels[(((voxels - worst) * spacing) ** 2).sum(1) < 15**2].T)] = 20
    first, *others = uncertain_regions(prediction_of(confidence, spacing=tuple(spacing)))
    distances = [np.linalg.norm((np.array(region.centre) - worst) * spacing) for region in (first, *others)]
    assert distances[0] == min(distances)
    assert first.expected_ml > max(region.expected_ml for region in others)


def test_pieces_of_doubt_near_each_other_are_one_place():
    confidence = np.full((30, 100, 100), 255, np.uint8)
    confidence[10:14, 40:44, 40:44] = confidence[10:14, 52:56, 40:44] = 90
    confidence[20:24, 80:84, 80:87] = 90
    near, alone = uncertain_regions(prediction_of(confidence, spacing=(1.0, 1.0, 1.0)))
    assert near.volume_ml == pytest.approx(0.128)
    assert confidence[near.centre] == 90
    assert alone.volume_ml == pytest.approx(0.112)


def test_doubt_where_the_global_answer_names_another_structure_comes_first():
    confidence = np.full((30, 100, 100), 255, np.uint8)
    confidence[4:10, 10:16, 10:16], confidence[20:24, 80:85, 80:85] = 90, 90
    agreeing = prediction_of(confidence, spacing=(1.0, 1.0, 1.0))
    seen = agreeing.fused.copy()
    seen[20:24, 80:85, 80:85] = 3
    torn = replace(agreeing, global_=seen)
    assert [region.volume_ml for region in uncertain_regions(agreeing)] == pytest.approx([0.216, 0.1])
    assert [region.volume_ml for region in uncertain_regions(torn)] == pytest.approx([0.216, 0.1])
    seen[20:24, 78:85, 78:85], confidence[20:24, 78:85, 78:85] = 3, 90
    assert [region.volume_ml for region in uncertain_regions(agreeing)] == pytest.approx([0.216, 0.196])
    assert [region.volume_ml for region in uncertain_regions(torn)] == pytest.approx([0.196, 0.216])


def test_doubt_in_a_structure_comes_before_doubt_in_background():
    confidence = np.full((30, 100, 100), 255, np.uint8)
    confidence[4:10, 10:16, 10:16], confidence[20:24, 80:86, 80:86] = 90, 90  # 216 and 144 voxels
    prediction = prediction_of(confidence, spacing=(1.0, 1.0, 1.0))
    assert [region.volume_ml for region in uncertain_regions(prediction)] == pytest.approx([0.216, 0.144])
    outside = prediction.fused.copy()
    outside[4:10, 10:16, 10:16] = 0
    told = uncertain_regions(replace(prediction, fused=outside))
    assert [(region.volume_ml, region.label) for region in told] == [
        (pytest.approx(0.144), 1),
        (pytest.approx(0.216), 0),
    ]
    outside[20:24, 80:86, 80:86] = 0
    told = uncertain_regions(replace(prediction, fused=outside))
    assert [region.volume_ml for region in told] == pytest.approx([0.216, 0.144])
