"""Half precision where it is right, and only there."""

import pytest
import torch

from crgloco.networks.backbones import PublishedUNet
from crgloco.networks.precision import convolved


def gradient(shape: tuple[int, int, int], stride: int, *, half: bool) -> torch.Tensor:
    """The gradient of convolution weights on maps of some shape, after large numbers lay in memory."""
    torch.manual_seed(0)
    block = torch.nn.Conv3d(48, 48, 3, padding=1, stride=stride)
    features = torch.randn(4, 48, *shape)
    for size in (2_000, 20_000, 100_000, 300_000):
        torch.full((size,), 1e30)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        answer = convolved(block, features)
    answer.float().square().sum().backward()
    return block.weight.grad


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "shape", [(1, 2, 2), (2, 2, 2), (2, 6, 6), (4, 1, 2), (6, 3, 1), (3, 3, 3), (4, 4, 4), (6, 5, 7)]
)
def test_in_half_precision_weights_learn_from_the_gradient_of_single_precision(shape, stride):
    exact, found = gradient(shape, stride, half=False), gradient(shape, stride, half=True)
    assert (found - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 5, 5), torch.float32), ((5, 1, 5), torch.float32), ((3, 3, 3), torch.bfloat16)],
)
def test_only_maps_with_a_very_short_axis_leave_half_precision(shape, dtype):
    with torch.autocast("cpu", torch.bfloat16):
        assert convolved(torch.nn.Conv3d(4, 4, 3, padding=1), torch.zeros(1, 4, *shape)).dtype == dtype


def test_the_published_network_learns_in_half_precision_where_its_coarsest_map_is_two_voxels_deep():
    torch.manual_seed(0)
    network = PublishedUNet(1, widths=(4, 8, 16, 32, 64), dropout=0.0)
    image, sizes = torch.randn(2, 1, 32, 32, 32), []
    for half in (False, True):
        network.zero_grad()
        for size in (20_000, 100_000, 300_000):
            torch.full((size,), 1e30)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            network(image).float().square().mean().backward()
        sizes.append(float(network.encoder[-1][0].weight.grad.norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.5)
