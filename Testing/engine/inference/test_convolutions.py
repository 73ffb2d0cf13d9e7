"""The fast path of convolutions changes nothing but the time."""

import pytest
import torch
from torch import nn

from crgloco.inference.convolutions import FastConvolutions


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": 1, "stride": (1, 2, 2), "bias": False},
        {"padding": 2, "dilation": 2, "groups": 2},
        {"padding": "same"},
    ],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_the_answer_is_that_of_torch(options, batch):
    torch.manual_seed(0)
    layer = nn.Conv3d(4, 6, 3, **options)
    image = torch.randn(batch, 4, 6, 9, 10)
    with torch.inference_mode():
        expected = layer(image)
        with FastConvolutions():
            assert torch.allclose(layer(image), expected, atol=1e-5)


def test_other_types_and_functions_pass_untouched():
    image = torch.randn(1, 4, 6, 9, 10, dtype=torch.float64)
    layer = nn.Conv3d(4, 6, 3).double()
    with torch.inference_mode(), FastConvolutions():
        assert layer(image).dtype == torch.float64
        assert torch.equal(torch.add(image, 1), image + 1)


def test_a_small_convolution_of_one_window_runs_in_onednn():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    layer, image = nn.Conv3d(4, 6, 3), torch.randn(1, 4, 6, 9, 10)
    with torch.inference_mode(), FastConvolutions(), torch.profiler.profile() as profile:
        layer(image)
    assert "aten::mkldnn_convolution" in {event.key for event in profile.key_averages()}
