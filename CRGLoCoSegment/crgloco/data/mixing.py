"""Paste a block of one scan into another, at both resolutions at once.

A block is placed relative to the small windows of host and donor. In the large windows it then lies at
``b - a`` of each, so small and large window of a mixed sample still show the same scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from crgloco.data.boxes import Box, Triple, overlap, triple
from crgloco.data.views import DualCrop


@dataclass(frozen=True)
class Mix:
    """Who gives what to whom.

    Attributes:
        host: Index of the sample that is changed.
        donor: Index of the sample that gives the block.
        block: The block in the frame of both small windows; may reach outside.
    """

    host: int
    donor: int
    block: Box


def draw_mix(labelled: int, samples: int, small: Triple, share: float, rng: np.random.Generator) -> list[Mix]:
    """Draw which samples receive a block, from whom and where.

    Two donors in three come from the other side (labelled for unlabelled and the reverse:
    copy-paste), the others from the same side (CutMix). The block's centre lies in the small window,
    its sides are 0.35 to 1.2 times those of the small window.

    Args:
        labelled: Number of labelled samples; they come first.
        samples: Number of all samples.
        small: Voxels of the small window.
        share: Share of samples that are changed, 0..1.
        rng: Source of all randomness.
    """
    mixes = []
    for host in range(samples):
        sides = rng.uniform(0.35, 1.2, 3) * small
        centre = rng.uniform(0, 1, 3) * small
        wanted, across, pick = rng.random() < share, rng.random() < 2 / 3, rng.random()
        own = range(labelled) if host < labelled else range(labelled, samples)
        other = range(labelled, samples) if host < labelled else range(labelled)
        donors = [d for d in (other if across and len(other) else own) if d != host] or list(other)
        if wanted and donors:
            block = Box(triple(np.round(centre - sides / 2)), triple(np.maximum(np.round(sides), 1)))
            mixes.append(Mix(host, donors[int(pick * len(donors))], block))
    return mixes


@dataclass(frozen=True)
class Scene:
    """A sample on its way to the networks.

    Attributes:
        crop: Both windows.
        known: (*P_S) uint8, 1 where the label is a true one.
        known_large: (*P_L) uint8, likewise.
        offset: Start of the small window in the frame of the large one (``b - a``).
    """

    crop: DualCrop
    known: torch.Tensor
    known_large: torch.Tensor
    offset: Triple


def mix_scenes(scenes: list[Scene], mixes: list[Mix]) -> list[Scene]:
    """Paste the blocks: images, labels and the marks of where labels are true all move together.

    Args:
        scenes: Samples before mixing; every donor gives what it was before.
        mixes: What ``draw_mix`` drew.
    """
    mixed = list(scenes)
    for mix in mixes:
        mixed[mix.host] = _mixed(scenes[mix.host], scenes[mix.donor], mix.block)
    return mixed


def _mixed(host: Scene, donor: Scene, block: Box) -> Scene:
    """Return the host with the part of the block that the donor's large window holds."""
    small, large = (Box((0, 0, 0), triple(mark.shape)) for mark in (host.known, host.known_large))
    given = overlap(block, large.shifted(_negative(donor.offset)))
    if given is None:
        return host
    near = overlap(given, small)
    far = overlap(given, large.shifted(_negative(host.offset)))
    wide = (None, None) if far is None else (far.shifted(host.offset), far.shifted(donor.offset))
    crop = DualCrop(
        _pasted(host.crop.small, donor.crop.small, near, near),
        _pasted(host.crop.small_label, donor.crop.small_label, near, near),
        _pasted(host.crop.large, donor.crop.large, *wide),
        _pasted(host.crop.large_label, donor.crop.large_label, *wide),
    )
    known = _pasted(host.known, donor.known, near, near)
    return Scene(crop, known, _pasted(host.known_large, donor.known_large, *wide), host.offset)


def _negative(offset: Triple) -> Triple:
    return triple(np.negative(offset))


def _pasted(host: torch.Tensor, donor: torch.Tensor, to: Box | None, source: Box | None) -> torch.Tensor:
    if to is None or source is None:
        return host
    result = host.clone()
    result[(..., *to.slices())] = donor[(..., *source.slices())]
    return result
