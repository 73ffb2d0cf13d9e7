"""Half precision where it is right, and only there."""

import pytest
import torch

from crgloco.networks.precision import convolved


def gradient(depth: int, *, half: bool) -> torch.Tensor:
    """The gradient of convolution weights on maps of some depth, after large numbers lay in memory."""
    torch.manual_seed(0)
    block = torch.nn.Conv3d(48, 48, 3, padding=1)
    features = torch.randn(4, 48, depth, 2, 2)
    for size in (2_000, 20_000, 100_000, 300_000):
        torch.full((size,), 1e30)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        answer = convolved(block, features)
    answer.float().square().sum().backward()
    return block.weight.grad


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_in_half_precision_weights_learn_from_the_gradient_of_single_precision(depth):
    exact, found = gradient(depth, half=False), gradient(depth, half=True)
    assert (found - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize(("depth", "dtype"), [(2, torch.float32), (1, torch.bfloat16), (3, torch.bfloat16)])
def test_only_maps_two_voxels_deep_leave_half_precision(depth, dtype):
    with torch.autocast("cpu", torch.bfloat16):
        assert convolved(torch.nn.Conv3d(4, 4, 3, padding=1), torch.zeros(1, 4, depth, 2, 2)).dtype == dtype
