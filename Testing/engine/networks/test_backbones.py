"""Bodies of the branches: sizes, strides, and what the specification counts."""

import pytest
import torch

from crgloco.networks import backbones
from crgloco.networks.backbones import PublishedUNet, StemmedDynUNet
from crgloco.networks.options import STEMS


def test_the_published_network_with_its_head_has_the_published_number_of_parameters():
    body, head = PublishedUNet(1), torch.nn.Conv3d(16, 2, 1)
    count = sum(p.numel() for module in (body, head) for p in module.parameters())
    assert count == pytest.approx(5.884e6, abs=500)


def test_the_published_network_normalises_without_weights_and_convolves_with_bias():
    body = PublishedUNet(2, (4, 4, 8))
    convolutions = [module for module in body.modules() if isinstance(module, torch.nn.Conv3d)]
    norms = [module for module in body.modules() if isinstance(module, torch.nn.InstanceNorm3d)]
    assert len(convolutions) == len(norms) == 2 * 5
    assert all(module.bias is not None and module.kernel_size == (3, 3, 3) for module in convolutions)
    assert not any(module.affine for module in norms)


def test_the_published_network_stays_in_half_precision_between_its_levels():
    network, taken = PublishedUNet(1, widths=(2, 4, 6)), []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_pre_hook(lambda _module, given: taken.append(given[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(1, 1, 16, 16, 16))
    assert taken == [torch.float32] + [torch.bfloat16] * 9  # the image itself is converted by the first


@pytest.mark.parametrize("size", [(16, 32, 32), (17, 35, 40)])
def test_the_published_network_answers_at_full_resolution(size):
    body = PublishedUNet(2, (4, 4, 4, 4, 4))
    assert body(torch.randn(2, 2, *size)).shape == (2, 4, *size)
    assert body.stride == (1, 1, 1)


def test_the_published_network_drops_features_in_training_only_bottleneck_and_last_map():
    body = PublishedUNet(1, (4, 4, 4), dropout=0.3)
    image = torch.randn(1, 1, 8, 8, 8)
    assert not torch.equal(body(image), body(image))
    dropped = [float((PublishedUNet(1, (4, 4, 4), dropout=p)(image) == 0).float().mean()) for p in (0.0, 0.9)]
    assert dropped[1] > 0.9 > dropped[0]
    body.eval()
    assert torch.equal(body(image), body(image))


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize(
    ("size", "spacing"),
    [((16, 32, 24), (1.0, 1.0, 1.0)), ((12, 32, 32), (5.0, 1.0, 1.0)), ((32, 16, 16), (1.0, 2.5, 1.0))],
)
def test_the_fast_network_answers_at_its_stride_for_every_stem(stem, size, spacing):
    body = StemmedDynUNet(2, (4, 8, 8), size, spacing, stem)
    features = body(torch.randn(1, 2, *size))
    assert features.shape == (1, 4, *(n // s for n, s in zip(size, body.stride, strict=True)))
    assert (body.stride == (1, 1, 1)) == (stem == "full")
    features.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in body.parameters())


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("size", [(8, 8, 8), (16, 16, 16), (4, 24, 24), (7, 9, 11)])
def test_windows_too_small_for_three_levels_still_get_a_network(stem, size):
    body = StemmedDynUNet(1, (4, 8, 16, 16), size, (1.0, 1.0, 1.0), stem)
    features = body(torch.randn(1, 1, *size))
    assert features.shape[2:] == tuple(-(-n // s) for n, s in zip(size, body.stride, strict=True))


def test_thick_slices_are_not_mixed_until_voxels_are_about_cubes():
    body = StemmedDynUNet(1, (4, 8, 8, 8), (16, 64, 64), (5.0, 1.0, 1.0))
    assert body.stride == (1, 2, 2)
    kernels = [module.kernel_size for module in body.modules() if type(module) is torch.nn.Conv3d]
    assert kernels[0] == (1, 3, 3)
    assert (3, 3, 3) in kernels


def test_folding_voxels_into_channels_loses_none():
    body = StemmedDynUNet(1, (4, 8, 8), (16, 16, 16), (1.0, 1.0, 1.0), "space_to_depth")
    seen = []
    body.encoder[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    image = torch.arange(16.0**3).reshape(1, 1, 16, 16, 16)
    body(image)
    assert seen[0].shape == (1, 8, 8, 8, 8)
    assert torch.equal(seen[0].flatten().sort().values, image.flatten())
    assert set(seen[0][0, :, 1, 2, 3].tolist()) == set(image[0, 0, 2:4, 4:6, 6:8].flatten().tolist())


@pytest.mark.parametrize("size", [(16, 32, 32), (8, 8, 8)])
def test_the_fast_network_computes_what_dynunet_computes_and_holds_each_weight_once(size, monkeypatch):
    wholes = []

    class Remembered(backbones.DynUNet):
        def __init__(self, **options):
            super().__init__(**options)
            wholes.append(self)

    monkeypatch.setattr(backbones, "DynUNet", Remembered)
    body = StemmedDynUNet(1, (4, 8, 8, 16), size, (1.0, 1.0, 1.0))
    wholes[0].output_block = torch.nn.Identity()
    image = torch.randn(2, 1, *size)
    assert torch.equal(body(image), wholes[0](image))
    assert len(body.state_dict()) == len(list(body.parameters()))
