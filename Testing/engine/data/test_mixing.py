"""Pasted blocks: one scene at both resolutions, labels and marks of truth included."""

import itertools

import numpy as np
import pytest
import torch

from crgloco.data.boxes import Box, Triple, draw_offset, triple
from crgloco.data.mixing import Mix, Scene, draw_mix, mix_scenes
from crgloco.data.patches import resize
from crgloco.data.views import DualCrop

LARGE, SMALL = (10, 12, 12), (6, 8, 8)
# Within the large window, beyond its end, beyond its start.
OFFSETS: list[Triple] = [(2, 2, 4), (2, -2, 6), (-1, 3, 0), (5, 4, -2)]
MARGIN = 8
EVERYTHING = Box((-20, -20, -20), (60, 60, 60))


def make_scene(number: int, offset: Triple, *, labelled: bool = True) -> Scene:
    """A sample cut from one volume, in which the small window always lies at the same place.

    Channels 0 to 2 are the coordinates of each voxel relative to the small window, 3 the number of
    the sample, 4 noise of its own: a voxel says where it belongs and whose it is.
    """
    shape = triple(np.add(SMALL, 2 * MARGIN))
    generator = torch.Generator().manual_seed(number)
    places = torch.meshgrid(*(torch.arange(n) - float(MARGIN) for n in shape), indexing="ij")
    own = [torch.full(shape, float(number)), torch.randn(shape, generator=generator)]
    image = torch.stack([*places, *own])
    label = torch.randint(0, 3, shape, generator=generator, dtype=torch.uint8)
    true = torch.full(shape, int(labelled), dtype=torch.uint8)
    small_box = Box((MARGIN, MARGIN, MARGIN), SMALL)
    large_box = Box(triple(np.subtract(small_box.start, offset)), LARGE)
    small, large = small_box.slices(), large_box.slices()
    crop = DualCrop(image[(..., *small)], label[small], image[(..., *large)], label[large])
    return Scene(crop, true[small], true[large], offset)


def windows(scene: Scene) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """What a scene shows: image, label and mark of truth, each in the small and in the large window."""
    return {
        "image": (scene.crop.small, scene.crop.large),
        "label": (scene.crop.small_label, scene.crop.large_label),
        "truth": (scene.known, scene.known_large),
    }


def naive_composite(
    host: torch.Tensor,
    donor: torch.Tensor,
    block: Box,
    start: Triple,
    donor_start: Triple,
    donor_large: Triple,
) -> torch.Tensor:
    """Voxel by voxel in the frame of the small windows: the donor inside the block, the host elsewhere.

    Args:
        host: One of the host's windows, which begins at ``start``.
        donor: The donor's window of the same kind, which begins at ``donor_start``.
        block: What is pasted, as far as the donor's large window holds it.
        donor_large: Where the donor's large window begins.
    """
    result = host.clone()
    for voxel in itertools.product(*(range(n) for n in host.shape[-3:])):
        place = np.add(voxel, start)
        held = np.all(place >= donor_large) and np.all(place < np.add(donor_large, LARGE))
        if held and np.all(place >= block.start) and np.all(place < block.stop):
            result[(..., *voxel)] = donor[(..., *np.subtract(place, donor_start))]
    return result


def assert_one_scene(scene: Scene) -> None:
    """Both windows show the same wherever both reach."""
    compared = 0
    for small, large in windows(scene).values():
        for voxel in itertools.product(*(range(n) for n in SMALL)):
            place = np.add(voxel, scene.offset)
            if np.all(place >= 0) and np.all(place < LARGE):
                assert torch.equal(small[(..., *voxel)], large[(..., *place)])
                compared += 1
    assert compared >= 3 * 0.4 * np.prod(SMALL)


def assert_same(first: Scene, second: Scene) -> None:
    assert first.offset == second.offset
    for name, pair in windows(first).items():
        assert all(torch.equal(a, b) for a, b in zip(pair, windows(second)[name], strict=True)), name


@pytest.mark.parametrize(("host_offset", "donor_offset"), [*itertools.product(OFFSETS, repeat=2)])
@pytest.mark.parametrize(
    "block", [Box((-1, 3, -2), (5, 6, 7)), Box((-5, -2, 2), (6, 9, 20)), Box((40, 40, 40), (4, 4, 4))]
)
def test_the_pasted_sample_is_the_same_composite_in_both_windows(block, host_offset, donor_offset):
    host, donor = make_scene(0, host_offset), make_scene(1, donor_offset, labelled=False)
    result, untouched = mix_scenes([host, donor], [Mix(0, 1, block)])
    own, given = triple(np.negative(host_offset)), triple(np.negative(donor_offset))
    nothing = (0, 0, 0)
    for name, (small, large) in windows(result).items():
        (host_small, host_large), (donor_small, donor_large) = windows(host)[name], windows(donor)[name]
        assert torch.equal(small, naive_composite(host_small, donor_small, block, nothing, nothing, given))
        assert torch.equal(large, naive_composite(host_large, donor_large, block, own, given, given))
    assert untouched is donor
    assert result.offset == host_offset
    assert_same(host, make_scene(0, host_offset))  # nothing was written into what was given


def test_both_windows_of_a_mixed_sample_still_show_one_scene_whatever_the_offsets():
    rng = np.random.default_rng(0)
    pasted = 0
    for _ in range(12):
        scenes = [make_scene(n, draw_offset(LARGE, SMALL, rng), labelled=n < 2) for n in range(4)]
        for number, scene in enumerate(mix_scenes(scenes, draw_mix(2, 4, SMALL, 1.0, rng))):
            assert_one_scene(scene)
            assert scene.offset == scenes[number].offset
            pasted += int((scene.crop.small[3] != number).any())
            # Pasted voxels keep their place: the coordinates in both windows are those of the host.
            assert torch.equal(scene.crop.small[:3], scenes[number].crop.small[:3])
            assert torch.equal(scene.crop.large[:3], scenes[number].crop.large[:3])
    assert pasted > 40


def test_image_label_and_mark_of_truth_of_a_voxel_come_from_the_same_sample():
    rng = np.random.default_rng(1)
    for _ in range(20):
        scenes = [make_scene(n, draw_offset(LARGE, SMALL, rng), labelled=n < 2) for n in range(4)]
        for scene in mix_scenes(scenes, draw_mix(2, 4, SMALL, 1.0, rng)):
            seen = windows(scene)
            for image, truth in zip(seen["image"], seen["truth"], strict=True):
                assert torch.equal(truth != 0, image[3] < 2)


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_sample_that_is_its_own_donor_stays_what_it_is(offset):
    rng = np.random.default_rng(2)
    scene = make_scene(0, offset)
    blocks = [mix.block for _ in range(10) for mix in draw_mix(1, 2, SMALL, 1.0, rng)]
    for block in [*blocks, EVERYTHING]:
        assert_same(mix_scenes([scene], [Mix(0, 0, block)])[0], scene)


@pytest.mark.parametrize(("host_offset", "donor_offset"), [*itertools.permutations(OFFSETS, 2)])
def test_a_donor_that_shows_the_same_place_through_another_large_window_changes_nothing(
    host_offset, donor_offset
):
    host, donor = make_scene(0, host_offset), make_scene(0, donor_offset)
    for block in (Box((-4, -4, -4), (9, 9, 9)), Box((2, 1, 3), (12, 5, 4)), EVERYTHING):
        assert_same(mix_scenes([host, donor], [Mix(0, 1, block)])[0], host)


def test_a_sample_mixed_with_itself_stays_what_it_is_also_when_reduced():
    scenes = [make_scene(0, OFFSETS[1]), make_scene(0, OFFSETS[2])]
    mixed = mix_scenes(scenes, [Mix(0, 1, Box((-2, 2, -2), (8, 8, 8)))])
    reduced, before = (resize(each[0].crop.large[None], SMALL, antialias=True) for each in (mixed, scenes))
    assert torch.equal(reduced, before)


@pytest.mark.parametrize("donor_offset", OFFSETS)
def test_reducing_a_mixed_scene_is_mixing_with_a_reduced_soft_mask(donor_offset):
    host, donor = make_scene(0, OFFSETS[1]), make_scene(1, donor_offset)
    block = Box((0, 1, -3), (5, 6, 7))
    mixed = mix_scenes([host, donor], [Mix(0, 1, block)])[0].crop.large
    # The whole volume of the donor, through the host's window; the mask is where both tell of the block.
    whole = make_scene(1, OFFSETS[1]).crop.large
    mask = torch.zeros(1, *LARGE)
    held = Box(triple(np.negative(donor_offset)), LARGE)
    for voxel in itertools.product(*(range(n) for n in LARGE)):
        place = np.subtract(voxel, OFFSETS[1])
        mask[(0, *voxel)] = all(
            np.all(place >= box.start) and np.all(place < box.stop) for box in (block, held)
        )
    assert mask.any()
    expected = resize((host.crop.large * (1 - mask) + whole * mask)[None], SMALL, antialias=True)
    torch.testing.assert_close(resize(mixed[None], SMALL, antialias=True), expected)


def test_every_donor_gives_what_it_was_before_any_mixing():
    offsets: list[Triple] = [(2, 2, 4), (0, 4, 1), (4, 0, 3)]  # each large window holds its small one
    scenes = [make_scene(n, offset, labelled=n < 1) for n, offset in enumerate(offsets)]
    mixed = mix_scenes(scenes, [Mix(0, 1, EVERYTHING), Mix(1, 2, EVERYTHING), Mix(2, 0, EVERYTHING)])
    for host, donor in ((0, 1), (1, 2), (2, 0)):
        assert torch.equal(mixed[host].crop.small, scenes[donor].crop.small)
        assert torch.equal(mixed[host].crop.small_label, scenes[donor].crop.small_label)
    assert [int(scene.known.max()) for scene in mixed] == [0, 0, 1]


def test_two_donors_in_three_come_from_the_other_side_and_none_is_its_own_donor():
    rng = np.random.default_rng(0)
    across = total = 0
    for _ in range(600):
        for mix in draw_mix(2, 5, SMALL, 1.0, rng):
            assert mix.host != mix.donor
            across += (mix.host < 2) != (mix.donor < 2)
            total += 1
    assert total == 3000
    assert across / total == pytest.approx(2 / 3, abs=0.03)


def test_blocks_are_of_the_asked_share_and_centred_in_the_small_window():
    rng = np.random.default_rng(0)
    small = (20, 30, 40)
    mixes = [mix for _ in range(500) for mix in draw_mix(1, 2, small, 0.5, rng)]
    assert len(mixes) == pytest.approx(500, abs=60)
    for mix in mixes:
        sides = np.asarray(mix.block.size) / small
        assert np.all(sides > 0.3)
        assert np.all(sides < 1.25)
        centre = np.asarray(mix.block.start) + np.asarray(mix.block.size) / 2
        assert np.all(centre > -1.01)
        assert np.all(centre < np.asarray(small) + 1.01)
    assert draw_mix(1, 2, small, 0.0, rng) == []


@pytest.mark.parametrize(("labelled", "samples"), [(1, 1), (0, 1)])
def test_a_lone_sample_is_left_alone(labelled, samples):
    rng = np.random.default_rng(0)
    assert all(not draw_mix(labelled, samples, SMALL, 1.0, rng) for _ in range(20))


@pytest.mark.parametrize(("labelled", "samples"), [(1, 2), (2, 2), (0, 3), (2, 5)])
def test_any_numbers_of_samples_give_valid_donors(labelled, samples):
    rng = np.random.default_rng(1)
    for _ in range(50):
        mixes = draw_mix(labelled, samples, SMALL, 1.0, rng)
        assert [mix.host for mix in mixes] == list(range(samples))
        assert all(0 <= mix.donor < samples and mix.donor != mix.host for mix in mixes)
