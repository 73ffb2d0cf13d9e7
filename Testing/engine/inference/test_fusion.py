"""Fused slices: what is written by a shortcut is what would have been written without it."""

import numpy as np
import pytest
import torch

from crgloco.inference.fusion import FusedSlices
from crgloco.inference.global_pass import GlobalAnswer
from crgloco.inference.sampling import Grid

SHAPE = (4, 6, 5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_settled_background_has_the_confidence_that_all_classes_together_give(temperature: float) -> None:
    grid, rng = Grid.over(SHAPE, SHAPE), torch.Generator().manual_seed(0)
    logits = torch.rand((3, *SHAPE), generator=rng)
    logits[0] += 2
    logits[1, 1, 2, 3] += 9
    logits[2, 3, 4, 1] = logits[0, 3, 4, 1] + 0.1  # a structure that hardly outweighs the background
    answer = GlobalAnswer(grid, logits.softmax(0), None, None, tuple((0, n) for n in SHAPE))
    shortcut, whole = (
        FusedSlices(
            SHAPE,
            SHAPE,
            3,
            answer,
            share=0.5,
            temperature=temperature,
            with_local=False,
            probes=probes,
        )
        for probes in (None, np.zeros((1, 3), np.int64))
    )
    for slices in (shortcut, whole):
        slices.write(0, SHAPE[0], None)
    assert np.argwhere(shortcut.fused).tolist() == [[1, 2, 3], [3, 4, 1]]
    assert np.abs(shortcut.confidence.astype(int) - whole.confidence).max() <= 1
    assert shortcut.confidence[0].std() > 0
