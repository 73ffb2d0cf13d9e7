"""How sure a prediction is: calibration by temperature, its error, and what is expected to be wrong.

Confidence is the calibrated probability of the fused class. The temperature is fitted on validation
cases (Guo et al. 2017, arXiv 1706.04599): log-probabilities are divided by it, which changes no label.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import optimize

from crgloco.errors import CasesError
from crgloco.histogram import histogram
from crgloco.inference.prediction import Prediction

# Outside this range a temperature says that samples are too few or too easy, not how sure we are.
TEMPERATURE_RANGE = (0.25, 4.0)
BINS = 15
# A label correct with less than this probability is uncertain.
UNCERTAIN_BELOW = 0.7


def fit_temperature(log_probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.integer]) -> float:
    """Fit the temperature that makes samples of validation cases most likely.

    Args:
        log_probabilities: (N, C) fused, uncalibrated, of any offset per row (logits will do).
        labels: (N,) true class numbers.

    Returns:
        The temperature, within ``TEMPERATURE_RANGE``; above 1 the model was too sure.

    Raises:
        CasesError: There is no sample, or arrays do not fit.
    """
    if len(labels) == 0 or log_probabilities.shape[:1] != labels.shape:
        msg = (
            f"Confidence cannot be calibrated on {len(labels)} voxels and probabilities of shape "
            f"{log_probabilities.shape}; a validation case with its label is needed."
        )
        raise CasesError(msg)
    logs = log_probabilities.astype(np.float64)
    chosen = logs[np.arange(len(labels)), labels]

    def loss(logarithm: float) -> float:
        sharpness = math.exp(-logarithm)
        scaled = logs * sharpness
        highest = scaled.max(1)
        normaliser = highest + np.log(np.exp(scaled - highest[:, None]).sum(1))
        return float((normaliser - chosen * sharpness).mean())

    low, high = (math.log(bound) for bound in TEMPERATURE_RANGE)
    found = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return float(math.exp(found.x))


def draw_probes(
    label: npt.NDArray[np.integer], count: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draw voxels of a validation case for calibration: where confidence is read, not in empty air.

    Args:
        label: (K, J, I) class numbers.
        count: Voxels to draw, with repetition.
        rng: Source of all randomness.

    Returns:
        (count, 3) voxels from the bounding box of the structures, widened by a quarter on each side;
        from everywhere if there is no structure.
    """
    start, stop = np.zeros(3, np.int64), np.asarray(label.shape)
    found = np.nonzero(label)
    if len(found[0]):
        low, high = np.min(found, axis=1), np.max(found, axis=1) + 1
        wide = np.ceil((high - low) / 4).astype(int)
        start, stop = np.maximum(low - wide, 0), np.minimum(high + wide, label.shape)
    return rng.integers(start, stop, size=(count, 3))


def expected_calibration_error(confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_]) -> float:
    """Return the mean distance between confidence and share of correct voxels, 0..1.

    Over ``BINS`` equal ranges of confidence, weighted by their voxels.

    Args:
        confidence: (N,) 0..1.
        correct: (N,) whether the label was right.
    """
    if len(confidence) == 0:
        return 0.0
    number = np.minimum((np.asarray(confidence) * BINS).astype(int), BINS - 1)
    sure = np.bincount(number, weights=confidence, minlength=BINS)
    right = np.bincount(number, weights=correct, minlength=BINS)
    return float(np.abs(sure - right).sum() / len(confidence))


def mean_confidence(labels: npt.NDArray[np.uint8], confidence: npt.NDArray[np.uint8]) -> float:
    """Return the mean confidence 0..1 over the structures, or over everything if there are none.

    Args:
        labels: (K, J, I) class numbers.
        confidence: (K, J, I) 0..255 for 0..1.
    """
    chosen = histogram(confidence, labels)
    if not chosen.any():
        chosen = histogram(confidence)
    return float((chosen * np.arange(256)).sum() / chosen.sum() / 255)


def expected_correction_ml(prediction: Prediction) -> float:
    """Return the volume in ml that is expected to be wrong, among voxels below ``UNCERTAIN_BELOW``.

    Sure voxels are left out: over a large scan their tiny doubts would outweigh a real one.
    """
    counts = histogram(prediction.confidence)
    doubt = np.where(np.arange(256) < UNCERTAIN_BELOW * 255, 1 - np.arange(256) / 255, 0)
    return float((counts * doubt).sum() * math.prod(prediction.geometry.spacing) / 1000)
