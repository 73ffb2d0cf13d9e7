"""Paste a block of one scan into another, at both resolutions at once.

One block in native coordinates serves both windows, and all samples of an update share ``b - a``:
so the small and the large window of a mixed sample still show the same scene.
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
        block: The block in the frame of the large window; may reach outside.
        offset: Start of the small window in that frame (``b - a``).
    """

    host: int
    donor: int
    block: Box
    offset: Triple


def draw_mix(
    labelled: int, samples: int, small: Triple, offset: Triple, share: float, rng: np.random.Generator
) -> list[Mix]:
    """Draw which samples receive a block, from whom and where.

    Two donors in three come from the other side (labelled for unlabelled and the reverse:
    copy-paste), the others from the same side (CutMix). The block's centre lies in the small window,
    its sides are 0.35 to 1.2 times those of the small window.

    Args:
        labelled: Number of labelled samples; they come first.
        samples: Number of all samples.
        small: Voxels of the small window.
        offset: Start of the small window in the frame of the large one.
        share: Share of samples that are changed, 0..1.
        rng: Source of all randomness.
    """
    mixes = []
    for host in range(samples):
        sides = rng.uniform(0.35, 1.2, 3) * small
        centre = np.asarray(offset) + rng.uniform(0, 1, 3) * small
        wanted, across, pick = rng.random() < share, rng.random() < 2 / 3, rng.random()
        own = range(labelled) if host < labelled else range(labelled, samples)
        other = range(labelled, samples) if host < labelled else range(labelled)
        donors = [d for d in (other if across and len(other) else own) if d != host] or list(other)
        if wanted and donors:
            block = Box(triple(np.round(centre - sides / 2)), triple(np.maximum(np.round(sides), 1)))
            mixes.append(Mix(host, donors[int(pick * len(donors))], block, offset))
    return mixes


def mix_crops(
    crops: list[DualCrop], known: list[torch.Tensor], known_large: list[torch.Tensor], mixes: list[Mix]
) -> tuple[list[DualCrop], list[torch.Tensor], list[torch.Tensor]]:
    """Paste the blocks: images, labels and the marks of where labels are true all move together.

    Args:
        crops: Samples before mixing; every donor gives what it was before.
        known: Per sample (*P_S) uint8, 1 where the label is a true one.
        known_large: Per sample (*P_L) uint8, likewise.
        mixes: What ``draw_mix`` drew.
    """
    mixed, marks, marks_large = list(crops), list(known), list(known_large)
    for mix in mixes:
        host, donor = crops[mix.host], crops[mix.donor]
        large = _inside(mix.block, Box((0, 0, 0), triple(host.large_label.shape)))
        small = _inside(mix.block, Box(mix.offset, triple(host.small_label.shape)))
        mixed[mix.host] = DualCrop(
            _pasted(host.small, donor.small, small),
            _pasted(host.small_label, donor.small_label, small),
            _pasted(host.large, donor.large, large),
            _pasted(host.large_label, donor.large_label, large),
        )
        marks[mix.host] = _pasted(known[mix.host], known[mix.donor], small)
        marks_large[mix.host] = _pasted(known_large[mix.host], known_large[mix.donor], large)
    return mixed, marks, marks_large


def _inside(block: Box, window: Box) -> Box | None:
    shared = overlap(block, window)
    return None if shared is None else shared.moved_to_frame_of(window)


def _pasted(host: torch.Tensor, donor: torch.Tensor, block: Box | None) -> torch.Tensor:
    if block is None:
        return host
    result = host.clone()
    where = (..., *block.slices())
    result[where] = donor[where]
    return result
