"""Contrast of voxels with class means, and of voxels with voxels balanced by class, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.nn import functional

EPSILON = 1e-6


@dataclass(frozen=True)
class Contrasted:
    """What two or more patches bring into the contrast.

    Attributes:
        means: (N, C, F) mean of the raw features over all voxels of a class; 0 where it is absent.
        anchors: (N, C, A, F) features of voxels drawn of each class; 0 where it is absent.
        present: (N, C) whether a class counts: it occurs, and it is one of the classes contrasted.
    """

    means: torch.Tensor
    anchors: torch.Tensor
    present: torch.Tensor


def gather_classes(
    features: torch.Tensor,
    labels: torch.Tensor,
    classes: int,
    *,
    anchors: int,
    first_class: int,
    generator: torch.Generator,
) -> Contrasted:
    """Return class means and random anchors of every patch.

    Args:
        features: (N, F, K, J, I) of the projection head.
        labels: (N, K, J, I) uint8 class numbers, or any number of C or more where nothing is known.
        classes: Number of classes C.
        anchors: Voxels A drawn of each class and patch, with replacement.
        first_class: 0 contrasts background too, 1 only structures.
        generator: Source of the draws, on the device of the features.
    """
    number, width = features.shape[:2]
    flat = features.float().flatten(2)
    index = labels.flatten(1).long()
    known = index < classes
    index = index.masked_fill(~known, classes)
    voxels = flat.new_zeros(number, classes + 1).scatter_add(1, index, torch.ones_like(flat[:, 0]))
    sums = flat.new_zeros(number, width, classes + 1)
    sums = sums.scatter_add(2, index[:, None].expand(-1, width, -1), flat)
    means = (sums / voxels[:, None].clamp_min(1))[..., :classes].transpose(1, 2)
    present = voxels[:, :classes] > 0
    present[:, :first_class] = False
    # A number drawn below a class's count picks that many-th of its voxels in the sorted order.
    order = index.argsort(dim=1, stable=True)
    starts = voxels.cumsum(1) - voxels
    draws = torch.rand(number, classes, anchors, generator=generator, device=flat.device)
    ranks = (draws * voxels[:, :classes, None]).floor() + starts[:, :classes, None]
    ranks = ranks.long().clamp_max(index.shape[1] - 1)
    places = order.gather(1, ranks.flatten(1))
    chosen = flat.gather(2, places[:, None].expand(-1, width, -1)).transpose(1, 2)
    return Contrasted(means, chosen.reshape(number, classes, anchors, width), present)


def joined(parts: Sequence[Contrasted]) -> Contrasted:
    """Return the patches of all maps as those of one, in the order given."""
    means, anchors, present = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("means", "anchors", "present")
    )
    return Contrasted(means, anchors, present)


def intra_contrast(parts: Contrasted, temperature: float) -> torch.Tensor:
    """Return the contrast of every patch with its own class means, averaged over patches.

    ``-log exp(s(p, z_c) / t) / sum_q exp(s(p, z_q) / t)``, ``s`` the cosine (Chaitanya et al. 2023,
    "intra"); mean over the anchors of a patch, then over patches that have any.
    """
    present = parts.present
    similarity = _cosine(parts.anchors, parts.means[:, None]) / temperature  # (N, C, A, C)
    own = torch.diagonal(similarity, dim1=1, dim2=3).permute(0, 2, 1)  # (N, C, A)
    loss = _log_sum(similarity, present[:, None, None])[..., 0] - own
    of_patch = _counted(loss, present).sum((1, 2)) / (present.sum(1) * loss.shape[-1]).clamp_min(1)
    return of_patch.sum() / present.any(1).sum().clamp_min(1)


def inter_contrast(parts: Contrasted, pairs: tuple[tuple[int, int], ...], temperature: float) -> torch.Tensor:
    """Return the contrast of the patches of each pair with the class means of both, averaged over pairs.

    ``-sum_j log exp(s(p, z_jc) / t) / sum_j' sum_q exp(s(p, z_j'q) / t)`` over the images ``j`` of the
    pair that hold class c (Chaitanya et al. 2023, "inter"); mean over the anchors of a pair, then over
    pairs that have any.
    """
    if not pairs:
        return parts.means.sum() * 0
    losses, counted = [], []
    classes = parts.present.shape[1]
    for pair in pairs:
        chosen = list(pair)
        means, present = parts.means[chosen].flatten(0, 1), parts.present[chosen]  # (2C, F), (2, C)
        similarity = _cosine(parts.anchors[chosen], means) / temperature  # (2, C, A, 2C)
        share = similarity - _log_sum(similarity, present.flatten())
        own = torch.stack([share[:, c, :, [c, classes + c]] for c in range(classes)], 1)  # (2, C, A, 2)
        loss = -(own * present.T[None, :, None].float()).sum(-1)  # (2, C, A)
        losses.append(_counted(loss, present).sum() / (present.sum() * loss.shape[-1]).clamp_min(1))
        counted.append(present.any())
    return torch.stack(losses).sum() / torch.stack(counted).sum().clamp_min(1)


def balanced_contrast(features: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the class-balanced supervised contrast of one set of features (MCSC, arXiv 2306.14293).

    ``l_i = -1/|P(i)| sum_j [ s_ij - log sum_c 1/n_c sum_(j in c, j != i) exp(s_ij) ]`` with ``s`` the cosine
    over the temperature, P(i) the other members of i's class, and n_c their number, i not counted.
    Features without a partner are no anchors; the mean is over anchors, 0 without any.

    Args:
        features: (N, F).
        labels: (N,) class numbers.
        temperature: Sharpness.
    """
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    similarity = _cosine(features.float(), features.float()) / temperature
    similarity = similarity.masked_fill(itself, torch.finfo(torch.float32).min)
    same = labels[:, None] == labels[None]
    members = same.sum(1)  # of the class of each feature, itself included
    counts = (members[None] - same.long()).clamp_min(1)
    below = (similarity - counts.float().log()).logsumexp(1)
    partners = same & ~itself
    drawn = (similarity * partners).sum(1) / partners.sum(1).clamp_min(1)
    anchors = partners.any(1)
    return ((below - drawn) * anchors).sum() / anchors.sum().clamp_min(1)


def draw_members(
    labels: torch.Tensor, classes: int, count: int, floor: int, generator: torch.Generator
) -> torch.Tensor:
    """Draw members of a set uniformly, but so many of each class that is present.

    Equal counts would hide the balance of the contrast; the floor only gives rare
    classes partners.

    Args:
        labels: (M,) class numbers; C or more where nothing is known, never drawn.
        classes: Number of classes C.
        count: Members of the set, if there are as many.
        floor: Members of each present class, if there are as many.
        generator: Source of the draws, on the device of the labels.

    Returns:
        Indices, without repetition.
    """
    order = torch.randperm(len(labels), generator=generator, device=labels.device)
    order = order[labels[order] < classes]
    shuffled = labels[order].long()
    seen = functional.one_hot(shuffled, classes).cumsum(0)
    rank = seen.gather(1, shuffled[:, None])[:, 0] if len(order) else shuffled
    first = rank <= floor
    return torch.cat([order[first], order[~first]])[: max(count, int(first.sum()))]


def draw_pairs(labelled: int, total: int) -> tuple[tuple[int, int], ...]:
    """Return pairs of windows that mix labelled and unlabelled ones: L-U, U-U and L-L.

    Two labelled and two unlabelled windows give (L0, U0), (L1, U1), (U0, U1), (L0, L1).

    Args:
        labelled: The first so many windows are labelled.
        total: Number of windows.
    """
    unlabelled = range(labelled, total)
    mixed = tuple(zip(range(labelled), unlabelled, strict=False))
    return (*mixed, *pairwise(unlabelled), *pairwise(range(labelled)))


def at_cells(labels: torch.Tensor, shape: torch.Size, step: int | None = None) -> torch.Tensor:
    """Return the label at the voxel nearest to the centre of each cell of a coarser map.

    Args:
        labels: (B, K, J, I).
        shape: Cells along k, j, i.
        step: Voxels of a cell; the cells of a map of padded windows may reach beyond the labels.
    """
    for axis, cells in enumerate(shape):
        length = labels.shape[1 + axis]
        voxels = length / cells if step is None else step
        centres = ((torch.arange(cells, device=labels.device) + 0.5) * voxels - 0.5).floor().long()
        labels = labels.index_select(1 + axis, centres.clamp_max(length - 1))
    return labels


def _cosine(features: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """Return the cosine of (..., A, F) with (..., Q, F): (..., A, Q), in float32 whatever surrounds it."""
    ours, theirs = (functional.normalize(each, dim=-1, eps=EPSILON) for each in (features, means))
    with torch.autocast(features.device.type, enabled=False):
        return ours @ theirs.transpose(-1, -2)


def _log_sum(similarity: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return the log-sum-exp over the means that count, (..., 1); finite also if none does."""
    hidden = similarity.masked_fill(~present, torch.finfo(similarity.dtype).min)
    return hidden.logsumexp(-1, keepdim=True)


def _counted(losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return (N, C, A) losses, 0 and without gradient in classes (N, C) that do not count."""
    return losses.masked_fill(~present[..., None], 0)
