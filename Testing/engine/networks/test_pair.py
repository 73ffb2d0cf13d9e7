"""Two networks deployed as one: what each mode answers."""

import pytest
import torch

from tiny_training import make_method


@pytest.fixture
def windows():
    return torch.randn(2, 1, 12, 16, 16, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_the_mean_is_that_of_log_probabilities_and_the_transformer_answers_alone(windows):
    both, alone = (make_method("mcsc", inference=how).averaged for how in ("mean", "transformer"))
    first = make_method("mcsc").averaged.full_resolution(windows)
    second = both.transformer(windows).logits
    assert torch.equal(alone.full_resolution(windows), second)
    expected = (first.log_softmax(1) + second.log_softmax(1)) / 2
    torch.testing.assert_close(both.full_resolution(windows).softmax(1), expected.softmax(1))


@pytest.mark.parametrize("how", ["transformer", "mean"])
def test_a_pair_is_a_model_of_the_local_branch_with_logits_in_single_precision(how, windows):
    pair = make_method("mcsc", inference=how).averaged
    assert (pair.global_, pair.context_stride, pair.local.window) == (None, None, (12, 16, 16))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert pair.full_resolution(windows).dtype == torch.float32
