"""Windows a little longer than in training, where that saves work, and never otherwise."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crgloco.inference.fitting import LARGEST_GROWTH, cheapest, largest, resized
from crgloco.inference.global_pass import tiles_of
from crgloco.inference.model import tensor_size
from crgloco.inference.windows import all_windows
from fake_models import FakeBranch

sides = st.tuples(*[st.integers(8, 100)] * 3)
lengths = st.tuples(*[st.integers(1, 300)] * 3)


def laid(shape, overlap=0.125):
    return lambda window: all_windows(shape, window, overlap)


def test_a_scan_just_longer_than_the_window_is_seen_at_once():
    assert cheapest(FakeBranch("local", (40, 80, 80)), laid((46, 80, 78))) == (48, 80, 80)


def test_a_scan_that_fits_or_is_far_too_long_keeps_the_window_of_training():
    branch = FakeBranch("local", (40, 80, 80))
    assert cheapest(branch, laid((30, 80, 80))) == branch.window
    assert cheapest(branch, laid((75, 80, 80))) == branch.window


def test_a_side_grows_only_by_what_every_stride_of_the_network_divides():
    assert cheapest(FakeBranch("local", (24, 24, 24)), laid((27, 27, 27))) == (24, 24, 24)
    assert cheapest(FakeBranch("local", (36, 36, 36)), laid((38, 41, 45))) == (40, 44, 36)


def test_few_windows_are_tried_whatever_their_sides():
    tried = []
    cheapest(FakeBranch("local", (97, 101, 200)), lambda window: tried.append(window) or (window,))
    assert len(set(tried)) <= 64


def test_where_nothing_is_open_the_window_of_training_stays():
    assert cheapest(FakeBranch("local", (40, 80, 80)), lambda _: ()) == (40, 80, 80)


@given(sides, lengths, st.sampled_from([0.125, 0.5]))
def test_the_choice_is_the_cheapest_of_all_that_are_allowed(window, shape, overlap):
    lay = laid(shape, overlap)
    chosen = cheapest(FakeBranch("local", window), lay)

    def cost(size):
        return len(lay(size)) * math.prod(size)

    def allowed(side):
        power = max(p for p in (1, 2, 4, 8, 16, 32, 64) if side % p == 0)
        step = next(n for n in range(power, 2 * side, power) if 12 * n >= side)
        return [n for n in range(side, 2 * side, step) if n <= LARGEST_GROWTH * side]

    assert largest(FakeBranch("local", window)) == tuple(allowed(side)[-1] for side in window)
    choices = list(itertools.product(*map(allowed, window)))
    assert chosen in choices
    assert cost(chosen) == min(map(cost, choices))


def test_the_global_window_grows_with_its_tensor_and_reduces_as_in_training():
    branch = FakeBranch("global", (40, 240, 240), (1.0, 1 / 3, 1 / 3), weight=0.25)

    def lay(window):
        return tiles_of((46, 256, 256), resized(branch, window))

    grown = resized(branch, cheapest(branch, lay))
    assert (grown.window, tensor_size(grown)) == ((48, 288, 288), (48, 96, 96))
    assert grown.scale == pytest.approx(branch.scale)
    assert (grown.name, grown.weight, grown.antialias) == ("global", 0.25, True)
    assert len(lay(grown.window)) == 1 < len(lay(branch.window))


@given(sides, st.tuples(*[st.integers(1, 4)] * 3))
def test_resized_to_its_own_window_a_branch_stays_as_it_is(tensor, reduction):
    window = tuple(n * r for n, r in zip(tensor, reduction, strict=True))
    scale = tuple(1 / r for r in reduction)
    same = resized(FakeBranch("global", window, scale), window)
    assert same.window == window
    assert tensor_size(same) == tensor
    assert same.scale == pytest.approx(scale)
