"""Pasted blocks: one scene at both resolutions, labels and marks of truth included."""

import itertools

import numpy as np
import pytest
import torch

from crgloco.data.boxes import Box, Triple, triple
from crgloco.data.mixing import Mix, draw_mix, mix_crops
from crgloco.data.patches import resize
from crgloco.data.views import DualCrop

LARGE, SMALL, OFFSET = (10, 12, 12), (6, 8, 8), (2, -2, 6)


def crop(number: int) -> DualCrop:
    """A sample cut from one scene, so that both windows agree where they overlap."""
    generator = torch.Generator().manual_seed(number)
    scene = torch.randn(1, 14, 18, 18, generator=generator)
    label = torch.randint(0, 3, (14, 18, 18), generator=generator, dtype=torch.uint8)
    large = Box((2, 4, 2), LARGE).slices()
    small = Box(triple(np.add((2, 4, 2), OFFSET)), SMALL).slices()
    return DualCrop(scene[(..., *small)], label[small], scene[(..., *large)], label[large])


def marks(samples: list[DualCrop], labelled: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    small = [torch.full(SMALL, int(index < labelled), dtype=torch.uint8) for index in range(len(samples))]
    large = [torch.full(LARGE, int(index < labelled), dtype=torch.uint8) for index in range(len(samples))]
    return small, large


def naive_composite(host: torch.Tensor, donor: torch.Tensor, block: Box, start: Triple) -> torch.Tensor:
    """Voxel by voxel: the donor inside the block, the host elsewhere; the window begins at ``start``."""
    result = host.clone()
    for voxel in itertools.product(*(range(n) for n in host.shape[-3:])):
        place = np.add(voxel, start)
        if np.all(place >= block.start) and np.all(place < block.stop):
            result[(..., *voxel)] = donor[(..., *voxel)]
    return result


@pytest.mark.parametrize(
    "block", [Box((1, 2, 3), (5, 6, 7)), Box((-3, -4, 8), (6, 9, 20)), Box((40, 40, 40), (4, 4, 4))]
)
def test_the_pasted_sample_is_the_same_composite_in_both_windows(block):
    samples = [crop(0), crop(1)]
    known, known_large = marks(samples, 1)
    mixed, mixed_known, mixed_large = mix_crops(samples, known, known_large, [Mix(0, 1, block, OFFSET)])
    host, donor, result = samples[0], samples[1], mixed[0]
    assert torch.equal(result.small, naive_composite(host.small, donor.small, block, OFFSET))
    assert torch.equal(result.large, naive_composite(host.large, donor.large, block, (0, 0, 0)))
    assert torch.equal(
        result.small_label, naive_composite(host.small_label, donor.small_label, block, OFFSET)
    )
    assert torch.equal(
        result.large_label, naive_composite(host.large_label, donor.large_label, block, (0, 0, 0))
    )
    assert torch.equal(mixed_known[0], naive_composite(known[0], known[1], block, OFFSET))
    assert torch.equal(mixed_large[0], naive_composite(known_large[0], known_large[1], block, (0, 0, 0)))
    assert mixed[1] is samples[1]


def test_both_windows_of_a_mixed_sample_still_show_one_scene():
    rng = np.random.default_rng(0)
    samples = [crop(number) for number in range(4)]
    in_large = (slice(2, 8), slice(0, 6), slice(6, 12))
    in_small = (slice(0, 6), slice(2, 8), slice(0, 6))
    for _ in range(20):
        mixes = draw_mix(2, 4, SMALL, OFFSET, 1.0, rng)
        mixed, known, known_large = mix_crops(samples, *marks(samples, 2), mixes)
        for sample, mark, mark_large in zip(mixed, known, known_large, strict=True):
            assert torch.equal(sample.small[(..., *in_small)], sample.large[(..., *in_large)])
            assert torch.equal(sample.small_label[in_small], sample.large_label[in_large])
            assert torch.equal(mark[in_small], mark_large[in_large])


def test_a_sample_mixed_with_itself_stays_what_it_is_also_when_reduced():
    samples = [crop(0), crop(0)]
    block = Box((0, 0, 4), (8, 8, 8))
    mixed, _, _ = mix_crops(samples, *marks(samples, 2), [Mix(0, 1, block, OFFSET)])
    for field in ("small", "small_label", "large", "large_label"):
        assert torch.equal(getattr(mixed[0], field), getattr(samples[0], field))
    reduced = resize(mixed[0].large[None], SMALL, antialias=True)
    assert torch.equal(reduced, resize(samples[0].large[None], SMALL, antialias=True))


def test_reducing_a_mixed_scene_is_mixing_with_a_reduced_soft_mask():
    samples = [crop(0), crop(1)]
    block = Box((2, 3, 0), (5, 6, 9))
    mixed, _, _ = mix_crops(samples, *marks(samples, 2), [Mix(0, 1, block, OFFSET)])
    mask = torch.zeros(1, 1, *LARGE)
    mask[(..., *block.slices())] = 1
    expected = resize(
        samples[0].large[None] * (1 - mask) + samples[1].large[None] * mask, SMALL, antialias=True
    )
    torch.testing.assert_close(resize(mixed[0].large[None], SMALL, antialias=True), expected)


def test_every_donor_gives_what_it_was_before_any_mixing():
    samples = [crop(0), crop(1), crop(2)]
    everything = Box((-20, -20, -20), (60, 60, 60))
    mixes = [Mix(0, 1, everything, OFFSET), Mix(1, 2, everything, OFFSET), Mix(2, 0, everything, OFFSET)]
    mixed, known, _ = mix_crops(samples, *marks(samples, 1), mixes)
    assert torch.equal(mixed[0].small, samples[1].small)
    assert torch.equal(mixed[1].small, samples[2].small)
    assert torch.equal(mixed[2].small, samples[0].small)
    assert [int(mark.max()) for mark in known] == [0, 0, 1]


def test_two_donors_in_three_come_from_the_other_side_and_none_is_its_own_donor():
    rng = np.random.default_rng(0)
    across = total = 0
    for _ in range(600):
        for mix in draw_mix(2, 5, SMALL, OFFSET, 1.0, rng):
            assert mix.host != mix.donor
            assert mix.offset == OFFSET
            across += (mix.host < 2) != (mix.donor < 2)
            total += 1
    assert total == 3000
    assert across / total == pytest.approx(2 / 3, abs=0.03)


def test_blocks_are_of_the_asked_share_and_centred_in_the_small_window():
    rng = np.random.default_rng(0)
    small = (20, 30, 40)
    mixes = [mix for _ in range(500) for mix in draw_mix(1, 2, small, (4, 6, 8), 0.5, rng)]
    assert len(mixes) == pytest.approx(500, abs=60)
    for mix in mixes:
        sides = np.asarray(mix.block.size) / small
        assert np.all(sides > 0.3)
        assert np.all(sides < 1.25)
        centre = np.asarray(mix.block.start) + np.asarray(mix.block.size) / 2 - (4, 6, 8)
        assert np.all(centre > -1.01)
        assert np.all(centre < np.asarray(small) + 1.01)
    assert draw_mix(1, 2, small, (0, 0, 0), 0.0, rng) == []


@pytest.mark.parametrize(("labelled", "samples"), [(1, 1), (0, 1)])
def test_a_lone_sample_is_left_alone(labelled, samples):
    rng = np.random.default_rng(0)
    assert all(not draw_mix(labelled, samples, SMALL, OFFSET, 1.0, rng) for _ in range(20))


@pytest.mark.parametrize(("labelled", "samples"), [(1, 2), (2, 2), (0, 3), (2, 5)])
def test_any_numbers_of_samples_give_valid_donors(labelled, samples):
    rng = np.random.default_rng(1)
    for _ in range(50):
        mixes = draw_mix(labelled, samples, SMALL, OFFSET, 1.0, rng)
        assert [mix.host for mix in mixes] == list(range(samples))
        assert all(0 <= mix.donor < samples and mix.donor != mix.host for mix in mixes)
