"""Two branches on one grid: heads, context, and the coordinates between them."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from crgloco.data.boxes import Box
from crgloco.networks.backbones import PublishedUNet, StemmedDynUNet
from crgloco.networks.dual_resolution import BranchShape, ContextGate, DualResolution, Head, sample_context
from crgloco.networks.plan import Windows

LOCAL, GLOBAL = (8, 16, 16), (12, 24, 32)


def body() -> StemmedDynUNet:
    return StemmedDynUNet(1, (4, 4, 8), LOCAL, (1.0, 1.0, 1.0))


def model(*, context: bool = True, **options) -> DualResolution:
    return DualResolution(body(), body(), Windows(LOCAL, GLOBAL), 3, context=context, **options)


def test_convolving_then_enlarging_equals_enlarging_then_convolving():
    head = Head(16, 3, (2, 2, 2))
    features = torch.randn(2, 16, 5, 6, 7)
    size = (10, 12, 14)
    first = functional.interpolate(head(features), size=size, mode="trilinear", align_corners=False)
    last = head(functional.interpolate(features, size=size, mode="trilinear", align_corners=False))
    torch.testing.assert_close(first, last, rtol=0, atol=3e-6)


def test_unfolding_puts_every_channel_at_its_place_in_the_block():
    head = Head(4, 2, (1, 2, 2), "depth_to_space")
    features = torch.randn(1, 4, 3, 4, 5)
    logits, blocks = head(features), head.classify(features)
    assert logits.shape == (1, 2, 3, 8, 10)
    for c, q, r in itertools.product(range(2), range(2), range(2)):
        assert torch.equal(logits[:, c, :, q::2, r::2], blocks[:, c * 4 + q * 2 + r])


def test_the_perceptron_answers_every_voxel_from_its_own_features():
    head = Head(8, 3, (2, 2, 2), "perceptron")
    features = torch.randn(2, 8, 3, 4, 5)
    order = torch.randperm(60)
    shuffled = features.flatten(2)[..., order].reshape(features.shape)
    expected = head(features).flatten(2)[..., order]
    torch.testing.assert_close(head(shuffled).flatten(2), expected)


def test_the_perceptron_learns_what_no_linear_head_can():
    torch.manual_seed(0)
    features = torch.randn(1, 4, 8, 8, 8)
    target = (features[:, 0] * features[:, 1] > 0).long()
    errors = {}
    for kind in ("linear", "perceptron"):
        head = Head(4, 2, (1, 1, 1), kind)
        optimiser = torch.optim.AdamW(head.parameters(), 0.02)
        for _ in range(150):
            optimiser.zero_grad()
            functional.cross_entropy(head(features), target).backward()
            optimiser.step()
        errors[kind] = (head(features).argmax(1) != target).float().mean()
    assert errors["perceptron"] < 0.2
    assert errors["linear"] > 0.35


def test_weights_of_the_linear_head_keep_their_names_so_that_older_models_load():
    assert set(Head(4, 2, (1, 1, 1)).state_dict()) == {"classify.weight", "classify.bias"}


def test_both_branches_answer_in_the_size_that_inference_expects():
    network = model()
    low, features = network.low_resolution(torch.randn(2, 1, *LOCAL))
    assert low.shape == (2, 3, 4, 8, 8)
    assert features.shape == (2, 4, 4, 8, 8)
    assert network.context_stride == (2, 2, 2)
    assert network.full_resolution(torch.randn(2, 1, *LOCAL)).shape == (2, 3, *LOCAL)
    assert network.local == BranchShape("local", LOCAL, (1.0, 1.0, 1.0), 1.0)
    assert network.global_.tensor_size == LOCAL
    assert network.global_.window == GLOBAL


def test_without_context_no_map_leaves_the_global_branch():
    network = model(context=False)
    assert network.context_stride is None
    assert network.low_resolution(torch.randn(1, 1, *LOCAL))[1] is None
    assert not any("context" in name for name in network.state_dict())


def test_a_model_may_have_the_local_branch_only():
    network = DualResolution(PublishedUNet(1, (4, 4)), None, Windows(LOCAL, LOCAL), 2)
    assert network.global_ is None
    assert network.full_resolution(torch.randn(1, 1, *LOCAL)).shape == (1, 2, *LOCAL)


@pytest.mark.parametrize("head", ["linear", "depth_to_space", "perceptron"])
def test_logits_are_float32_also_inside_mixed_precision(head):
    network = model(head=head)
    context = torch.randn(1, 5, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert network.full_resolution(torch.randn(1, 1, *LOCAL), context).dtype == torch.float32


def test_the_gate_is_closed_at_the_start_and_can_open():
    network = model()
    image, context = torch.randn(1, 1, *LOCAL), torch.randn(1, 5, 4, 8, 8, requires_grad=True)
    alone, together = network.full_resolution(image), network.full_resolution(image, context)
    assert torch.equal(alone, together)
    together.square().sum().backward()
    assert network.context_gate.gate.grad.abs() > 0
    with torch.no_grad():
        network.context_gate.gate += 0.5
    assert not torch.allclose(alone, network.full_resolution(image, context))


def test_a_dropped_context_leaves_the_local_answer_bitwise_independent_of_the_global_branch():
    network = model()
    nn.init.constant_(network.context_gate.gate, 0.7)
    image = torch.randn(1, 1, *LOCAL)
    alone = network.full_resolution(image)
    for seed in range(3):
        torch.manual_seed(seed)
        _, features = network.low_resolution(torch.randn(1, 1, *LOCAL))
        context = sample_context(features, GLOBAL, Box((2, 4, 6), LOCAL), (4, 8, 8))
        assert torch.equal(network.full_resolution(image, context * 0), alone)
        assert not torch.equal(network.full_resolution(image, context), alone)


def test_the_gate_adds_a_bias_free_projection():
    gate = ContextGate(4, 6)
    nn.init.constant_(gate.gate, 2.0)
    features, context = torch.randn(1, 6, 2, 3, 4), torch.randn(1, 5, 2, 3, 4)
    weight = gate.project.weight[:, :, 0, 0, 0]
    expected = features + 2 * torch.einsum("fc,bckji->bfkji", weight, context)
    torch.testing.assert_close(gate(features, context), expected)
    assert gate.project.bias is None
    assert torch.equal(gate(features, context * 0), features)


@pytest.mark.parametrize("start", [(2, 4, 6), (0, 0, 0), (4, 8, 16), (-3, 10, 30)])
@pytest.mark.parametrize("size", [LOCAL, (4, 8, 8)])
def test_context_is_sampled_at_the_voxels_of_the_local_map(start, size):
    """A map of coordinates: interpolating a linear function is exact away from the border."""
    axes = [(np.arange(n) + 0.5) * field / n for n, field in zip((6, 8, 8), GLOBAL, strict=True)]
    features = torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"))[None].astype(np.float32))
    context = sample_context(features, GLOBAL, Box(start, LOCAL), size)
    assert context.shape == (1, 4, *size)
    for voxel in itertools.product(*(range(n) for n in size)):
        place = [
            s + (v + 0.5) * length / n for s, v, length, n in zip(start, voxel, LOCAL, size, strict=True)
        ]
        inside = all(0 <= p <= field for p, field in zip(place, GLOBAL, strict=True))
        clamped = [min(max(p, line[0]), line[-1]) for p, line in zip(place, axes, strict=True)]
        expected = [*clamped, 1.0] if inside else [0.0] * 4
        np.testing.assert_allclose(context[(0, slice(None), *voxel)].numpy(), expected, atol=1e-4)


def test_context_carries_gradients_to_the_global_map_where_it_is_valid():
    features = torch.randn(1, 2, 6, 8, 8, requires_grad=True)
    sample_context(features, GLOBAL, Box((0, 0, 0), LOCAL), (4, 8, 8))[:, :2].sum().backward()
    assert features.grad.abs().sum() > 0
    assert not features.grad[..., -1].any()  # far from the local window
