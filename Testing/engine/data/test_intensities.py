import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crgloco.data.intensities import LIMIT, ChannelRule, body_voxels, ct_rule, kind_of
from crgloco.errors import InputError, ModelError
from phantoms import two_ellipsoids

MR = ChannelRule("mr")


def _scaled(array: np.ndarray, rule: ChannelRule = MR) -> np.ndarray:
    return rule.scaling(array)(array)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("CT", "ct"), ("ct", "ct"), ("CT portal-venous", "ct"), ("abdomen_CT", "ct"), ("MR T2 SPIR", "mr"),
     ("LGE MR", "mr"), ("PET", "mr"), ("T1 contrast", "mr"), ("direct", "mr"), ("", "mr")],
)  # fmt: skip
def test_ct_is_recognised_by_a_word_of_the_channel_name(name, kind) -> None:
    assert kind_of(name) == kind


@given(
    scale=st.floats(1e-3, 1e6),
    shift=st.floats(-3, 3),
    seed=st.integers(0, 5),
)
def test_mr_does_not_depend_on_the_scale_or_the_offset_of_the_scanner(scale, shift, seed) -> None:
    image, _ = two_ellipsoids((8, 16, 16), seed)
    image = image.astype(np.float64)
    np.testing.assert_allclose(_scaled((image + 100 * shift) * scale), _scaled(image), atol=1e-3)


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [(0, 4, np.float32), (0, 1.7e6, np.float64), (0, 255, np.uint8), (-2000, 3000, np.int16)],
)
def test_mr_of_any_range_becomes_mean_0_and_spread_1_inside_the_body(low, high, kind) -> None:
    rng = np.random.default_rng(0)
    array = np.full((10, 40, 40), low, float)
    array[:, 10:30, 10:30] = rng.normal(low + 0.6 * (high - low), 0.1 * (high - low), (10, 20, 20))
    scaled = _scaled(array.clip(low, high).astype(kind))
    body = scaled[:, 10:30, 10:30]
    assert abs(body.mean()) < 0.1
    assert abs(body.std() - 1) < 0.1
    assert (np.abs(scaled) <= LIMIT).all()
    assert np.isfinite(scaled.astype(np.float16)).all()
    assert scaled[:, :5].max() < body.min() + 1e-3


def test_a_scan_that_is_nearly_all_padding_is_scaled_by_its_few_real_voxels() -> None:
    array = np.zeros((20, 50, 50), np.int16)
    array[10, 20:28, 20:28] = np.random.default_rng(0).integers(500, 900, (8, 8))
    scaled = _scaled(array)
    body = scaled[10, 20:28, 20:28]
    assert abs(body.mean()) < 0.4
    assert 0.7 < body.std() < 1.3


def test_noise_in_the_air_does_not_move_the_body() -> None:
    rng = np.random.default_rng(0)
    array = rng.uniform(0, 15, (10, 60, 60))
    array[:, 20:40, 20:40] = rng.normal(600, 60, (10, 20, 20))
    body = _scaled(array)[:, 20:40, 20:40]
    assert abs(body.mean()) < 0.1
    assert abs(body.std() - 1) < 0.1


def test_outliers_on_either_side_change_next_to_nothing() -> None:
    image, _ = two_ellipsoids((16, 24, 24))
    spoiled = image.copy()
    spoiled[0, 0, 0], spoiled[3, 4, 5], spoiled[1, 2, 3] = -1e6, 1e7, 2e6
    difference = np.abs(_scaled(spoiled) - _scaled(image))
    difference[spoiled != image] = 0
    assert difference.max() < 0.1


@pytest.mark.parametrize(
    "array", [np.full((3, 4, 5), 7, np.int16), np.full((3, 4, 5), -1e6), np.zeros((2, 2, 2), np.uint8)]
)
def test_a_constant_channel_becomes_zero(array) -> None:
    np.testing.assert_array_equal(_scaled(array), 0)
    np.testing.assert_array_equal(_scaled(array, ChannelRule("ct", -100, 200, 7, 50))[..., :0], 0)


def test_a_channel_that_is_constant_after_clipping_becomes_zero() -> None:
    array = np.full((20, 50, 50), 100, np.int16)
    array[0, 0, :3] = (0, 5000, 9)
    assert np.isfinite(_scaled(array)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_refused(bad) -> None:
    image, _ = two_ellipsoids((8, 8, 8))
    image[3, 3, 3] = bad
    with pytest.raises(InputError, match="not numbers"):
        _scaled(image)
    with pytest.raises(InputError, match="not numbers"):
        _scaled(image, ChannelRule("ct", 0, 100, 50, 20))


def test_wide_integers_keep_their_differences() -> None:
    array = (np.arange(2 * 3 * 100).reshape(2, 3, 100) + 2**30).astype(np.int32)
    assert len(np.unique(_scaled(array))) > 550


def test_every_part_of_a_volume_is_scaled_as_in_the_whole() -> None:
    image, _ = two_ellipsoids((9, 30, 30))
    scale = MR.scaling(image)
    np.testing.assert_array_equal(np.concatenate([scale(image[:4]), scale(image[4:])]), scale(image))
    np.testing.assert_array_equal(_scaled(image.copy()), scale(image))


def test_large_volumes_are_judged_by_a_fixed_sample_that_is_close_to_all(monkeypatch) -> None:
    image, _ = two_ellipsoids((16, 48, 48))
    whole = _scaled(image)
    monkeypatch.setattr("crgloco.data.intensities.SAMPLED_VOXELS", 8000)
    np.testing.assert_allclose(_scaled(image), whole, atol=0.1)
    np.testing.assert_array_equal(_scaled(image), _scaled(image))


def test_ct_numbers_are_clipped_and_scaled_alike_in_every_scan() -> None:
    rule = ChannelRule("ct", -100, 200, 50, 75)
    array = np.array([[[-1000, -100, 50, 125, 200, 3000]]], np.int16)
    np.testing.assert_allclose(_scaled(array, rule), [[[-2, -2, 0, 1, 2, 2]]])
    narrow = ChannelRule("ct", -100, 200, 50, 10)
    np.testing.assert_allclose(_scaled(array, narrow), [[[-LIMIT, -LIMIT, 0, 7.5, LIMIT, LIMIT]]])


def test_the_ct_rule_takes_percentiles_mean_and_spread_of_the_training_voxels() -> None:
    rule = ct_rule(np.random.default_rng(0).normal(40, 10, 100_000))
    assert (rule.kind, rule.mean, rule.std) == ("ct", pytest.approx(40, abs=0.2), pytest.approx(10, abs=0.3))
    assert rule.low == pytest.approx(40 - 25.8, abs=0.5)
    assert ct_rule(np.full(10, 5)).std == 1.0


def test_body_voxels_leave_the_air_out() -> None:
    array = np.full((4, 20, 20), -1000, np.int16)
    array[:, 5:15, 5:15] = np.random.default_rng(0).integers(-100, 300, (4, 10, 10))
    assert body_voxels(array).min() >= -100


def test_rules_survive_json() -> None:
    rule = ChannelRule("ct", -12.5, 300.25, 77.7, 33.3)
    assert ChannelRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


@pytest.mark.parametrize(
    "entry",
    [{}, {"kind": "pet"}, {"kind": "ct", "std": 0}, {"kind": "ct", "low": "x"}, {"kind": "ct", "strange": 1},
     {"kind": "ct", "mean": float("nan")}, {"kind": "mr", "low": 60, "high": 40}, {"kind": "mr", "high": 101},
     {"kind": "ct", "low": 5, "high": 4}, None],
)  # fmt: skip
def test_rules_that_make_no_sense_are_refused(entry) -> None:
    with pytest.raises(ModelError, match="intensity rule"):
        ChannelRule.from_json(entry)
