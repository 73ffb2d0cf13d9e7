"""What the global answer leaves open, with a margin."""

import numpy as np
import pytest
import torch

from crgloco.data.intensities import ChannelRule
from crgloco.data.preparation import Preparation
from crgloco.inference.execution import Execution
from crgloco.inference.global_pass import GlobalAnswer, run_global
from crgloco.inference.openness import WIDEST_MARGIN, Openness, open_cells
from crgloco.inference.sampling import Grid
from crgloco.io.volume import Geometry
from crgloco.progress import Silent
from fake_models import FakeBranch, FakeModel

CPU = torch.device("cpu")


@pytest.mark.parametrize(("millimetres", "reach"), [(1.0, 3), (0.02, WIDEST_MARGIN)])
def test_the_margin_around_what_is_open_stays_small_in_scans_of_small_things(millimetres, reach):
    branches = FakeBranch("local", (16, 16, 16)), FakeBranch("global", (64, 64, 64), (0.5, 0.5, 0.5))
    model = FakeModel(3, *branches)
    preparation = Preparation((millimetres,) * 3, (ChannelRule("mr"),))
    geometry = Geometry((64, 64, 64), (millimetres,) * 3, (0.0, 0.0, 0.0))
    execution = Execution(model, CPU, Silent(), 1)
    answer = run_global(
        np.zeros((1, 64, 64, 64), np.float16), torch.zeros(1), model.global_, execution, Silent()
    )
    answer.probabilities.zero_()
    answer.probabilities[0] = 1
    answer.probabilities[:, 16, 16, 16] = 0.5
    cells = np.argwhere(open_cells(answer, preparation.prepared_geometry(geometry), Openness()))
    np.testing.assert_array_equal(cells.min(0), 16 - reach)
    np.testing.assert_array_equal(cells.max(0), np.minimum(16 + reach, 31))


def opened(shares, spacing=(1.0, 1.0, 1.0)):
    """Which cells are open if one cell, of two voxels a side, has these probabilities in sure background."""
    probabilities = torch.zeros((3, 16, 16, 16))
    probabilities[0] = 1
    probabilities[:, 8, 8, 8] = torch.tensor(shares)
    field = (32, 32, 32)
    answer = GlobalAnswer(Grid.over(field, (16, 16, 16)), probabilities, None, None, ((0.0, 32.0),) * 3)
    return open_cells(answer, Geometry(field, spacing, (0.0, 0.0, 0.0)), Openness())


@pytest.mark.parametrize(
    ("shares", "is_open"),
    [((0.01, 0.99, 0.0), True), ((0.59, 0.41, 0.0), True), ((0.61, 0.39, 0.0), False)],
)
def test_structures_however_sure_and_what_is_not_surely_background_are_open(shares, is_open):
    assert opened(shares)[8, 8, 8] == is_open


def test_the_margin_is_that_many_millimetres_along_each_axis_and_at_least_a_cell():
    cells = np.argwhere(opened((0.0, 1.0, 0.0), (5.0, 1.0, 2.0)))
    np.testing.assert_array_equal(8 - cells.min(0), [1, 3, 2])
    np.testing.assert_array_equal(cells.max(0) - 8, [1, 3, 2])
