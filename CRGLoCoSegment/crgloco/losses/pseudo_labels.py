"""Labels made by a network: detached, filtered by confidence, 255 where not trusted; whom they may teach."""

from __future__ import annotations

import math

import torch
from torch import nn

from crgloco.data.patches import IGNORE


def fixed_filter(logits: torch.Tensor, *, background: float = 0.99, foreground: float = 0.95) -> torch.Tensor:
    """Return hard labels where the network is sure (the filter of CR-GLoCo's code).

    Args:
        logits: (B, C, K, J, I); the result carries no gradient.
        background: Kept if class 0 has more than this probability.
        foreground: Kept if another class has more than this probability.

    Returns:
        (B, K, J, I) uint8 class numbers, ``IGNORE`` elsewhere.
    """
    with torch.no_grad():
        confidence, label = logits.detach().float().softmax(1).max(1)
        threshold = torch.where(label == 0, background, foreground)
        return label.masked_fill(confidence <= threshold, IGNORE).to(torch.uint8)


def fuse_by_entropy(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return ``sum w_k p_k`` with ``w_k`` in proportion to ``exp(-entropy of p_k)``, voxel by voxel.

    Neither weight is ever 0, so the other branch always has a say.

    Args:
        first: (B, C, ...) probabilities.
        second: (B, C, ...) probabilities on the same voxels.
    """
    weights = [torch.exp((p * p.clamp_min(1e-8).log()).sum(1, keepdim=True)) for p in (first, second)]
    return (weights[0] * first + weights[1] * second) / (weights[0] + weights[1])


class AdaptiveThreshold(nn.Module):
    """A confidence threshold per class that follows how sure the teachers are of it.

    ``tau_c = max(floor, share * m_c / max m)``; ``m_c`` is the moving average of the mean confidence
    of voxels labelled c. A class that is never predicted keeps its start value.

    Args:
        classes: Number of classes C.
        share: Threshold of the surest class.
        floor: Smallest threshold.
        decay: Decay of the moving average.
    """

    mean: torch.Tensor

    def __init__(self, classes: int, *, share: float = 0.8, floor: float = 0.5, decay: float = 0.99) -> None:
        super().__init__()
        self.share, self.floor, self.decay = share, floor, decay
        self.register_buffer("mean", torch.full((classes,), 0.9))

    @property
    def thresholds(self) -> torch.Tensor:
        """(C,) threshold of every class."""
        return (self.share * self.mean / self.mean.max()).clamp_min(self.floor)

    @torch.no_grad()
    def update(self, confidence: torch.Tensor, label: torch.Tensor) -> None:
        """Follow the teachers: confidence 0..1 and class number of the same voxels, any shape.

        Runs that share one batch among processes share the averages too.
        """
        _follow(self.mean, confidence, label, self.decay)

    @torch.no_grad()
    def filter(self, probability: torch.Tensor) -> torch.Tensor:
        """Return (B, ...) uint8 labels of (B, C, ...) probabilities, ``IGNORE`` below the threshold."""
        confidence, label = probability.max(1)
        return label.masked_fill(confidence <= self.thresholds[label], IGNORE).to(torch.uint8)


class LearntClasses(nn.Module):
    """How much of each class a network has learnt from the labels; pseudo-labels must not hinder the rest.

    ``min(1, 2 r_c)``; ``r_c`` is the moving average, from 0, of the mean probability that the network
    gives class c where the labels say c: a class is learnt when half of it is found.

    Args:
        classes: Number of classes C.
        decay: Decay of the moving average.
    """

    recall: torch.Tensor

    def __init__(self, classes: int, *, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("recall", torch.zeros(classes))

    @property
    def share(self) -> torch.Tensor:
        """(C,) what is learnt of every class, 0..1."""
        return (2 * self.recall).clamp_max(1)

    @torch.no_grad()
    def update(self, logits: torch.Tensor, label: torch.Tensor) -> None:
        """Follow the network: (B, C, K, J, I) logits, (B, K, J, I) uint8 labels, ``IGNORE`` where unknown.

        Runs that share one batch among processes share the averages too.
        """
        known = label != IGNORE
        index = label.long().masked_fill(~known, 0)
        found = logits.float().softmax(1).gather(1, index[:, None])[:, 0]
        _follow(self.recall, found[known], index[known], self.decay)


def _follow(average: torch.Tensor, values: torch.Tensor, label: torch.Tensor, decay: float) -> None:
    """Move a (C,) average, in place, towards the mean value of each class, over all processes.

    A class without any voxel keeps its average.
    """
    flat = label.flatten().long()
    sums = values.new_zeros(2, len(average))
    sums[0].scatter_add_(0, flat, values.flatten())
    sums[1].scatter_add_(0, flat, torch.ones_like(values.flatten()))
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(sums)
    fresh = torch.where(sums[1] > 0, sums[0] / sums[1].clamp_min(1), average)
    average.copy_(decay * average + (1 - decay) * fresh)


def sigmoid_ramp(progress: float, full_at: float) -> float:
    """Return ``exp(-5 (1 - x)^2)``, ``x = progress / full_at`` up to 1 (Laine and Aila, arXiv 1610.02242)."""
    share = min(max(progress / full_at, 0.0), 1.0)
    return math.exp(-5 * (1 - share) ** 2)
