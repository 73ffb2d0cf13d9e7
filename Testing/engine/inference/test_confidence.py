"""Confidence says how often it is right, and how much is likely wrong."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from crgloco.errors import CasesError
from crgloco.inference.confidence import (
    draw_probes,
    expected_calibration_error,
    expected_correction_ml,
    fit_temperature,
    mean_confidence,
)
from crgloco.inference.prediction import Prediction
from crgloco.io.volume import Geometry


def prediction_of(confidence, fused=None, spacing=(2.0, 1.0, 0.5)):
    geometry = Geometry(confidence.shape, spacing, (10.0, 20.0, 30.0))
    labels = np.ones(confidence.shape, np.uint8) if fused is None else fused
    zeros = np.zeros(confidence.shape, np.uint8)
    return Prediction(labels, None, labels, confidence, zeros, geometry, "balanced", 1.0, 1.0, 0.0, 1, 1, 0.5)


def drawn(temperature, count=40_000, classes=5, seed=0):
    """Logits, and labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, size=(count, classes))
    chances = softmax(logits / temperature, axis=1)
    labels = (chances.cumsum(1) > rng.random((count, 1))).argmax(1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, 3.0])
def test_the_fit_finds_a_known_temperature(temperature):
    logits, labels = drawn(temperature)
    assert fit_temperature(logits.astype(np.float32), labels) == pytest.approx(temperature, rel=0.03)
    offset = log_softmax(logits, axis=1).astype(np.float32)
    assert fit_temperature(offset, labels) == pytest.approx(temperature, rel=0.03)


def test_a_fitted_temperature_calibrates():
    logits, labels = drawn(2.0)
    plain = softmax(logits, axis=1)
    right = plain.argmax(1) == labels
    fitted = softmax(logits / fit_temperature(logits.astype(np.float32), labels), axis=1)
    assert expected_calibration_error(plain.max(1), right) > 0.1
    assert expected_calibration_error(fitted.max(1), right) < 0.01


def test_a_perfect_model_gets_a_temperature_within_bounds():
    logits = np.eye(3, dtype=np.float32).repeat(10, 0) * 5
    assert fit_temperature(logits, logits.argmax(1)) == pytest.approx(0.25, rel=0.02)


def test_no_sample_is_said_in_words():
    with pytest.raises(CasesError, match="validation case"):
        fit_temperature(np.zeros((0, 3), np.float32), np.zeros(0, int))


def test_the_calibration_error_equals_its_definition():
    rng = np.random.default_rng(0)
    confidence, right = rng.random(500), rng.random(500) < 0.5
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert expected_calibration_error(confidence, right) == pytest.approx(expected, abs=1e-9)
    assert expected_calibration_error(np.zeros(0), np.zeros(0, bool)) == 0
    assert expected_calibration_error(np.ones(3), np.ones(3, bool)) == 0


def test_probes_lie_around_the_structures():
    label = np.zeros((40, 40, 40), np.uint8)
    label[10:20, 10:20, 10:20] = 1
    points = draw_probes(label, 2000, np.random.default_rng(0))
    assert points.min() == 7
    assert points.max() == 22
    everywhere = draw_probes(0 * label, 2000, np.random.default_rng(0))
    assert everywhere.min() == 0
    assert everywhere.max() == 39


def test_a_sure_prediction_needs_no_correction():
    assert expected_correction_ml(prediction_of(np.full((5, 5, 5), 255, np.uint8))) == 0


def test_the_expected_correction_sums_real_doubts():
    confidence = np.full((10, 10, 10), 250, np.uint8)
    confidence[:2] = 102
    assert expected_correction_ml(prediction_of(confidence)) == pytest.approx(200 * 0.6 / 1000)


def test_the_mean_confidence_is_that_of_the_structures():
    labels = np.array([[[0, 1], [2, 0]]], np.uint8)
    confidence = np.array([[[255, 51], [153, 255]]], np.uint8)
    assert mean_confidence(labels, confidence) == pytest.approx(0.4)
    assert mean_confidence(0 * labels, confidence) == pytest.approx(0.7)
