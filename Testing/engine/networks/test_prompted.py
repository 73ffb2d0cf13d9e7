"""The prompted network: generated weights against explicit loops, and one pass for all prompts."""

import pytest
import torch

from crgloco.data.patches import resize
from crgloco.networks.prompted import GENERATED, PromptedHead, apply_generated
from tiny_training import make_method


def slow(prepared: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """One sample, one prompt, voxel by voxel with unpacked matrices."""
    first, first_bias = weights[:64].reshape(8, 8), weights[64:72]
    second, second_bias = weights[72:136].reshape(8, 8), weights[136:144]
    last, last_bias = weights[144:160].reshape(2, 8), weights[160:162]
    columns = []
    for voxel in prepared.T:
        hidden = torch.relu(first @ voxel + first_bias)
        hidden = torch.relu(second @ hidden + second_bias)
        columns.append(last @ hidden + last_bias)
    return torch.stack(columns, 1)


def test_a_head_has_162_generated_numbers_that_run_as_unpacked_matrices_would():
    assert GENERATED == 162
    torch.manual_seed(0)
    prepared, weights = torch.randn(2, 8, 11), torch.randn(2, 3, 162)
    found = apply_generated(prepared, weights)
    for b in range(2):
        for p in range(3):
            torch.testing.assert_close(found[b, p], slow(prepared[b], weights[b, p]), rtol=1e-4, atol=1e-4)


def test_all_prompts_in_one_pass_answer_as_one_prompt_a_pass():
    network = make_method("versemi").averaged
    image = torch.randn(2, 1, 12, 16, 16)
    prompts = torch.tensor([[0, 1, 2], [0, 2, 1]])
    together = network.answer(image, prompts)
    for number in range(3):
        torch.testing.assert_close(network.answer(image, prompts[:, number, None])[:, 0], together[:, number])


def test_an_answer_is_how_much_more_likely_the_structure_is_than_not_enlarged():
    network = make_method("versemi").averaged
    image, prompts = torch.randn(1, 1, 12, 16, 16), torch.tensor([[1, 2]])
    maps = network.local_body.encode(image)
    low = network.local_head(network.local_body.decode(maps), maps[-1], prompts)
    large = resize(low[0], (12, 16, 16))
    torch.testing.assert_close(network.answer(image, prompts)[0], large[:, 1] - large[:, 0])


def test_asked_for_nothing_in_particular_it_answers_the_most_likely_structure_or_background():
    network = make_method("versemi").averaged
    image = torch.randn(1, 1, 12, 16, 16)
    single = [network.answer(image, torch.tensor([[task]]))[:, 0] for task in range(2)]
    logits = network.full_resolution(image)
    assert logits.shape == (1, 3, 12, 16, 16)
    assert (logits[:, 0] == 0).all()
    for task, answer in enumerate(single):
        torch.testing.assert_close(logits[:, 1 + task], answer)


@pytest.mark.parametrize("channels", [6, 8])
def test_the_prompt_and_the_image_both_make_the_weights(channels):
    torch.manual_seed(0)
    head = PromptedHead(channels, 8, 3)
    features, deepest = torch.randn(1, channels, 2, 2, 2), torch.randn(2, 8, 1, 2, 2)
    answers = head(features.expand(2, -1, -1, -1, -1), deepest, torch.tensor([[0, 1], [0, 1]]))
    assert not torch.allclose(answers[0, 0], answers[0, 1])
    assert not torch.allclose(answers[0, 0], answers[1, 0])
