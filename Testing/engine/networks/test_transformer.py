"""The transformer: windows of any size, attention that suits them, MONAI's numbers where MONAI has some."""

import copy

import pytest
import torch

from crgloco.networks.transformer import SpreadNorm, WindowedTransformer, attention_window


def made(window, width=12):
    torch.manual_seed(0)
    return WindowedTransformer(1, 3, width, window)


def test_where_monai_accepts_a_window_its_own_forward_pass_gives_the_same_numbers():
    window = (32, 64, 32)
    transformer, image = made(window), torch.randn(1, 1, *window)
    with torch.no_grad():
        assert torch.equal(transformer(image).logits, transformer.network(image))


@pytest.mark.parametrize("window", [(12, 20, 16), (13, 17, 9), (24, 32, 24)])
def test_it_answers_and_learns_from_windows_of_any_size_as_they_are(window):
    transformer = made(window)
    answer = transformer(torch.randn(2, 1, *window))
    assert answer.logits.shape == (2, 3, *window)
    assert answer.fine.shape == (2, 12, *window)
    assert answer.coarse.shape == (2, 48, *(-(-n // 8) for n in window))
    (answer.logits.square().mean() + answer.coarse.square().mean()).backward()
    gradients = {name: p.grad for name, p in transformer.named_parameters()}
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    assert gradients["network.encoder10.layer.conv1.conv.weight"].abs().sum() > 0


def test_a_copy_answers_by_itself_and_as_the_original():
    transformer, image = made((12, 16, 16)), torch.randn(1, 1, 12, 16, 16)
    other = copy.deepcopy(transformer)
    with torch.no_grad():
        expected = transformer(image)
        for parameter in transformer.parameters():
            parameter.zero_()
        answer = other(image)
    assert torch.equal(answer.logits, expected.logits)
    assert torch.equal(answer.coarse, expected.coarse)


@pytest.mark.parametrize(
    ("window", "attention"),
    [
        ((32, 64, 16), (4, 4, 4)),
        ((24, 40, 56), (6, 5, 7)),
        ((96, 80, 112), (6, 5, 7)),
        ((13, 7, 1), (7, 4, 4)),
    ],
)
def test_attention_divides_the_tokens_of_the_window_with_the_published_size_as_the_largest(window, attention):
    assert attention_window(window) == attention


def test_a_single_voxel_passes_the_norm_and_more_are_normalised_as_ever():
    several = torch.randn(2, 3, 1, 2, 2)
    torch.testing.assert_close(SpreadNorm(3)(several), torch.nn.InstanceNorm3d(3)(several))
    single = several[..., :1, :1]
    assert torch.equal(SpreadNorm(3)(single), single)
