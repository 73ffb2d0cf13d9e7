"""The contrast of voxels with class means, against loops over voxels."""

import math

import pytest
import torch

from crgloco.losses.contrastive import (
    Contrasted,
    balanced_contrast,
    gather_classes,
    inter_contrast,
    intra_contrast,
)

CLASSES, ANCHORS, WIDTH = 4, 3, 5


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def patches(number: int = 2, *, missing: int | None = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Random features on about 50 voxels; class ``missing`` is absent from patch 1."""
    rng = torch.Generator().manual_seed(1)
    features = torch.randn(number, WIDTH, 2, 5, 5, generator=rng)
    labels = torch.randint(0, CLASSES, (number, 2, 5, 5), generator=rng).to(torch.uint8)
    if missing is not None:
        labels[1][labels[1] == missing] = 0
    labels[0, 0, 0, 0] = 255
    return features, labels


def gathered(features: torch.Tensor, labels: torch.Tensor, first_class: int = 1) -> Contrasted:
    options = {"anchors": ANCHORS, "first_class": first_class, "generator": generator()}
    return gather_classes(features, labels, CLASSES, **options)


def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(first @ second / (first.norm() * second.norm()))


def slow(parts: Contrasted, pair: tuple[int, ...], tau: float) -> float:
    """The mean over anchors of one pair (inter), or of one patch with itself (intra)."""
    losses = []
    for k in pair:
        for c in range(CLASSES):
            if not parts.present[k, c]:
                continue
            for anchor in parts.anchors[k, c]:
                below = sum(
                    math.exp(cosine(anchor, parts.means[j, q]) / tau)
                    for j in pair
                    for q in range(CLASSES)
                    if parts.present[j, q]
                )
                losses.append(
                    -sum(
                        math.log(math.exp(cosine(anchor, parts.means[j, c]) / tau) / below)
                        for j in pair
                        if parts.present[j, c]
                    )
                )
    return sum(losses) / len(losses)


def test_class_means_are_those_of_a_loop_and_anchors_are_voxels_of_their_class():
    features, labels = patches()
    parts = gathered(features, labels)
    for n in range(2):
        for c in range(CLASSES):
            inside = features[n][:, labels[n] == c].T
            assert bool(parts.present[n, c]) == (c > 0 and len(inside) > 0)
            if not len(inside):
                assert parts.means[n, c].abs().sum() == 0
                continue
            torch.testing.assert_close(parts.means[n, c], inside.mean(0))
            for anchor in parts.anchors[n, c]:
                assert (inside == anchor).all(1).any()


def test_every_voxel_of_a_class_can_become_an_anchor():
    features = torch.arange(18.0).reshape(1, 1, 2, 3, 3)
    labels = (torch.arange(18).reshape(1, 2, 3, 3) % 3).to(torch.uint8)
    parts = gather_classes(features, labels, 3, anchors=500, first_class=0, generator=generator())
    for c in range(3):
        assert set(parts.anchors[0, c, :, 0].tolist()) == set(range(c, 18, 3))


@pytest.mark.parametrize("first_class", [0, 1])
@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_both_contrasts_equal_loops_with_a_class_missing_in_one_patch(first_class, tau):
    parts = gathered(*patches(), first_class)
    assert inter_contrast(parts, ((0, 1),), tau).item() == pytest.approx(slow(parts, (0, 1), tau), rel=1e-4)
    expected = (slow(parts, (0,), tau) + slow(parts, (1,), tau)) / 2
    assert intra_contrast(parts, tau).item() == pytest.approx(expected, rel=1e-4)


def test_the_contrast_of_pairs_is_a_proper_mean():
    parts = gathered(*patches(4))
    pairs = ((0, 1), (2, 3), (1, 2))
    expected = sum(slow(parts, pair, 0.1) for pair in pairs) / 3
    for order in (pairs, pairs[::-1], pairs * 2):
        assert inter_contrast(parts, order, 0.1).item() == pytest.approx(expected, rel=1e-4)


def test_with_one_structure_and_without_background_the_intra_contrast_says_nothing():
    features, labels = patches(missing=None)
    labels = torch.where(labels < 4, labels.clamp_max(1), labels)
    options = {"anchors": ANCHORS, "generator": generator()}
    bare = gather_classes(features, labels, 2, first_class=1, **options)
    with_background = gather_classes(features, labels, 2, first_class=0, **options)
    assert intra_contrast(bare, 0.1).item() == pytest.approx(0, abs=1e-5)
    assert intra_contrast(with_background, 0.1).item() > 0.1


def test_features_that_tell_classes_apart_cost_less_and_equal_ones_cost_the_logarithm_of_their_number():
    _, labels = patches(missing=None)
    codes = torch.nn.functional.one_hot(labels.long().clamp_max(3), CLASSES).permute(0, 4, 1, 2, 3).float()
    random = torch.randn(codes.shape, generator=torch.Generator().manual_seed(3))
    apart, mixed = (intra_contrast(gathered(each, labels), 0.1).item() for each in (codes, random))
    assert apart < 0.01 < mixed
    equal = intra_contrast(gathered(torch.ones_like(codes), labels), 0.1).item()
    assert equal == pytest.approx(math.log(CLASSES - 1), rel=1e-4)


@pytest.mark.parametrize("value", [0, 255])
def test_patches_without_structures_cost_nothing_and_gradients_stay_finite(value):
    features, labels = patches()
    features.requires_grad_()
    parts = gathered(features, torch.full_like(labels, value))
    loss = inter_contrast(parts, ((0, 1),), 0.1) + intra_contrast(parts, 0.1)
    loss.backward()
    assert loss.item() == 0
    assert features.grad.abs().sum() == 0


def test_no_pair_costs_nothing():
    assert inter_contrast(gathered(*patches()), (), 0.1).item() == 0


def test_mixed_precision_changes_nothing():
    """A cosine in bf16 is off by up to 0.004, which a temperature of 0.1 makes ten times larger."""
    features, labels = patches()

    def contrasts(given: torch.Tensor) -> list[torch.Tensor]:
        parts = gathered(given, labels)
        members = given[0].flatten(1).T
        return [
            inter_contrast(parts, ((0, 1),), 0.1),
            intra_contrast(parts, 0.1),
            balanced_contrast(members, labels[0].flatten(), 0.1),
        ]

    features.requires_grad_()
    plain = contrasts(features)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = contrasts(features)
    for expected, found in zip(plain, mixed, strict=True):
        assert torch.equal(expected, found)
        gradients = [torch.autograd.grad(loss, features, retain_graph=True)[0] for loss in (expected, found)]
        assert torch.equal(*gradients)
