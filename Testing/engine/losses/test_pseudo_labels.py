"""Labels that networks give each other: filtered, detached, fused."""

import itertools
import math

import numpy as np
import pytest
import torch

from crgloco.data.patches import IGNORE
from crgloco.losses.pseudo_labels import (
    AdaptiveThreshold,
    LearntClasses,
    fixed_filter,
    fuse_by_entropy,
    sigmoid_ramp,
)


def logits_of(*probabilities: list[float]) -> torch.Tensor:
    """(1, C, 1, 1, N) logits whose softmax has the given values."""
    return torch.tensor(probabilities, dtype=torch.float64).log().T[None, :, None, None, :]


def test_the_fixed_filter_follows_its_truth_table():
    table = [
        ([0.995, 0.003, 0.002], 0),
        ([0.985, 0.010, 0.005], IGNORE),  # background needs more than 0.99
        ([0.040, 0.955, 0.005], 1),
        ([0.005, 0.040, 0.955], 2),
        ([0.055, 0.940, 0.005], IGNORE),  # a structure needs more than 0.95
        ([0.340, 0.330, 0.330], IGNORE),
        ([0.001, 0.001, 0.998], 2),
    ]
    labels = fixed_filter(logits_of(*(row for row, _ in table)))
    assert labels.dtype == torch.uint8
    assert labels.flatten().tolist() == [label for _, label in table]


def test_the_fixed_filter_equals_a_loop_over_voxels():
    logits = 4 * torch.randn(2, 3, 3, 4, 5)
    labels = fixed_filter(logits)
    for b, *voxel in itertools.product(range(2), range(3), range(4), range(5)):
        values = [math.exp(float(value)) for value in logits[(b, slice(None), *voxel)]]
        p = [value / sum(values) for value in values]
        best = int(np.argmax(p))
        expected = best if p[best] > (0.99 if best == 0 else 0.95) else IGNORE
        assert int(labels[(b, *voxel)]) == expected


def test_exactly_at_the_threshold_is_not_kept():
    probability = torch.tensor([[0.5, 0.5]]).T[None, :, None, None, :]
    assert fixed_filter(probability.log(), background=0.5, foreground=0.5).item() == IGNORE


def test_pseudo_labels_carry_no_gradient():
    logits = torch.randn(1, 3, 2, 2, 2, requires_grad=True)
    assert not fixed_filter(logits).requires_grad
    threshold = AdaptiveThreshold(3)
    assert not threshold.filter(logits.softmax(1)).requires_grad
    threshold.update(*logits.softmax(1).max(1))
    assert not threshold.mean.requires_grad


def test_fusion_equals_its_formula_voxel_by_voxel():
    first, second = (torch.randn(2, 3, 2, 3, 4).mul(2).softmax(1) for _ in range(2))
    fused = fuse_by_entropy(first, second)
    for b, *voxel in itertools.product(range(2), range(2), range(3), range(4)):
        p, q = (list(map(float, values[(b, slice(None), *voxel)])) for values in (first, second))
        w, v = (math.exp(sum(x * math.log(x) for x in values)) for values in (p, q))
        expected = [(w * x + v * y) / (w + v) for x, y in zip(p, q, strict=True)]
        np.testing.assert_allclose(fused[(b, slice(None), *voxel)].numpy(), expected, rtol=1e-5)
    torch.testing.assert_close(fused.sum(1), torch.ones(2, 2, 3, 4))
    torch.testing.assert_close(fused, fuse_by_entropy(second, first))


def test_the_less_certain_branch_always_has_a_say():
    sure = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1, 1)
    unsure = torch.full((1, 3, 1, 1, 1), 1 / 3)
    fused = fuse_by_entropy(sure, unsure).flatten()
    assert torch.isfinite(fused).all()
    weight = 1 / 3 / (1 + 1 / 3)
    torch.testing.assert_close(fused, (1 - weight) * sure.flatten() + weight / 3)
    assert fused[1] > 0


def test_thresholds_follow_their_formula():
    threshold = AdaptiveThreshold(4, share=0.8, floor=0.5, decay=0.9)
    torch.testing.assert_close(threshold.thresholds, torch.full((4,), 0.8))
    threshold.mean.copy_(torch.tensor([0.96, 0.48, 0.72, 0.90]))
    torch.testing.assert_close(threshold.thresholds, torch.tensor([0.8, 0.5, 0.6, 0.75]))


def test_the_moving_average_follows_the_mean_confidence_of_each_class():
    threshold = AdaptiveThreshold(3, decay=0.9)
    expected = [0.9, 0.9, 0.9]
    for _ in range(5):
        confidence, label = torch.rand(2, 3, 4), torch.randint(0, 3, (2, 3, 4))
        threshold.update(confidence, label)
        for c in range(3):
            values = confidence[label == c]
            if len(values):
                expected[c] = 0.9 * expected[c] + 0.1 * float(values.mean())
    np.testing.assert_allclose(threshold.mean.numpy(), expected, rtol=1e-5)


def test_a_class_that_is_never_predicted_keeps_a_finite_threshold():
    threshold = AdaptiveThreshold(3)
    for _ in range(500):
        threshold.update(torch.rand(50) * 0.1 + 0.85, torch.zeros(50, dtype=torch.long))
    assert float(threshold.mean[1]) == pytest.approx(0.9)
    assert torch.isfinite(threshold.thresholds).all()
    assert threshold.thresholds.min() >= 0.5
    assert threshold.thresholds.max() <= 0.8 + 1e-6


def test_the_adaptive_filter_keeps_what_lies_above_the_threshold_of_its_class():
    threshold = AdaptiveThreshold(3)
    threshold.mean.copy_(torch.tensor([1.0, 0.75, 0.2]))  # thresholds 0.8, 0.6, 0.5
    probability = logits_of(
        [0.81, 0.10, 0.09],
        [0.79, 0.11, 0.10],
        [0.38, 0.61, 0.01],
        [0.40, 0.59, 0.01],
        [0.2, 0.29, 0.51],
        [0.34, 0.33, 0.33],
    ).exp()
    assert threshold.filter(probability).flatten().tolist() == [0, IGNORE, 1, IGNORE, 2, IGNORE]


def test_the_state_of_the_thresholds_is_kept_with_the_model():
    threshold = AdaptiveThreshold(3)
    threshold.update(torch.rand(9), torch.arange(9) % 3)
    other = AdaptiveThreshold(3)
    other.load_state_dict(threshold.state_dict())
    assert torch.equal(other.thresholds, threshold.thresholds)


def test_what_is_learnt_of_a_class_follows_the_probability_that_its_labelled_voxels_have_of_it():
    learnt = LearntClasses(4, decay=0.8)
    recall = [0.0] * 4
    for step in range(4):
        logits = 2 * torch.randn(2, 4, 2, 3, 4)
        label = torch.randint(0, 3, (2, 2, 3, 4), dtype=torch.uint8)  # class 3 has no label
        label[torch.rand(label.shape) < 0.3] = IGNORE
        label[label == 1] = 2 if step == 3 else 1  # nor has class 1 in the last batch
        learnt.update(logits, label)
        for c in range(4):
            values = logits.softmax(1)[:, c][label == c]
            if len(values):
                recall[c] = 0.8 * recall[c] + 0.2 * float(values.mean())
    np.testing.assert_allclose(learnt.recall.numpy(), recall, rtol=1e-5)
    np.testing.assert_allclose(learnt.share.numpy(), [min(1.0, 2 * r) for r in recall], rtol=1e-5)
    assert learnt.share[3] == 0


def test_a_class_is_learnt_when_half_of_it_is_found():
    learnt = LearntClasses(3)
    learnt.recall.copy_(torch.tensor([0.9, 0.5, 0.1]))
    torch.testing.assert_close(learnt.share, torch.tensor([1.0, 1.0, 0.2]))


def test_without_any_label_what_is_learnt_stays_as_it_is():
    learnt = LearntClasses(3)
    learnt.recall.copy_(torch.tensor([0.9, 0.5, 0.1]))
    learnt.update(torch.randn(1, 3, 2, 2, 2), torch.full((1, 2, 2, 2), IGNORE, dtype=torch.uint8))
    assert learnt.recall.tolist() == pytest.approx([0.9, 0.5, 0.1])


def test_the_ramp_starts_near_zero_grows_and_is_full_where_it_should_be():
    assert sigmoid_ramp(0.0, 0.35) == pytest.approx(math.exp(-5))
    assert sigmoid_ramp(0.35, 0.35) == 1.0
    assert sigmoid_ramp(1.0, 0.35) == 1.0
    assert sigmoid_ramp(0.175, 0.35) == pytest.approx(math.exp(-1.25))
    values = [sigmoid_ramp(t / 100, 0.35) for t in range(100)]
    assert values == sorted(values)
