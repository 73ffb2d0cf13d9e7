"""Cross-entropy and Dice on voxels that count, without one-hot volumes.

All functions work in float32 and treat the label ``IGNORE`` (255) as absent: such voxels carry no
gradient. Sums are guarded: nothing kept gives 0, never NaN.
"""

from __future__ import annotations

import torch
from torch import distributed
from torch.nn import functional

from crgloco.data.patches import IGNORE

EPSILON = 1e-5
FEW_STRUCTURES = 2


def masked_cross_entropy(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    voxels: torch.Tensor | None = None,
    hidden: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the mean cross-entropy of kept voxels, per sample, then over samples that keep any.

    Args:
        logits: (B, C, K, J, I).
        target: (B, K, J, I) uint8 class numbers, ``IGNORE`` where nothing is known.
        voxels: (B,) divides each sample's sum instead of its kept voxels, so that few weigh little.
        hidden: (C,) share, 0..1, of each structure that may lie in what the target calls background:
            ``p_0 + sum_c hidden_c p_c`` stands for ``p_0`` there. With shares of 0 and 1 the marginal
            loss of partial labels (Shi et al., Medical Image Analysis 2021, arXiv 2007.03868).

    Returns:
        Scalar float32, at least 0; 0 if nothing is kept.
    """
    likelihood = _log_probabilities(logits, hidden)
    entropy = functional.nll_loss(likelihood, target.long(), ignore_index=IGNORE, reduction="none").flatten(1)
    kept = (target != IGNORE).flatten(1).sum(1).float()
    count = kept if voxels is None else voxels
    return _over_samples(entropy.sum(1) / count.clamp_min(1), kept > 0)


def _log_probabilities(logits: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
    """Return (B, C, ...) log-probabilities; those of background with the hidden shares of the structures."""
    likelihood = logits.float().log_softmax(1)
    if hidden is None:
        return likelihood
    shares = torch.cat([torch.ones_like(hidden[:1]), hidden[1:]]).log()
    background = (likelihood + shares.view(-1, 1, 1, 1)).logsumexp(1, keepdim=True)
    return torch.cat([background, likelihood[:, 1:]], 1)


def _over_samples(losses: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Return the mean of the (B,) losses that count; the others are 0."""
    return losses.sum() / counted.sum().clamp_min(1)


def soft_cross_entropy(
    logits: torch.Tensor, aim: torch.Tensor, *, hidden: torch.Tensor | None = None
) -> torch.Tensor:
    """Return ``-sum_c p_c log q_c``, the mean over all voxels; the aim carries no gradient.

    Args:
        logits: (B, C, K, J, I) of q.
        aim: (B, C, K, J, I) probabilities p; all 0 where nothing is known.
        hidden: As of ``masked_cross_entropy``.

    Returns:
        Scalar float32; 0 if there are no voxels.
    """
    entropy = -(aim.detach().float() * _log_probabilities(logits, hidden)).sum(1)
    return entropy.sum() / max(entropy.numel(), 1)


def batch_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy summed over the kept voxels of the batch, divided by their number or 1.

    Args:
        logits: (B, C, K, J, I).
        target: (B, K, J, I) uint8 class numbers or ``IGNORE``.
    """
    total = functional.cross_entropy(logits.float(), target.long(), ignore_index=IGNORE, reduction="sum")
    return total / (target != IGNORE).sum().clamp_min(1)


def dice_loss(
    logits: torch.Tensor, target: torch.Tensor, *, over_batch: bool = False, present_only: bool = False
) -> torch.Tensor:
    """Return the mean soft Dice loss over classes, background included, with squared denominators.

    ``1 - (2 sum p y + e) / (sum p^2 + sum y^2 + e)``, ``e = 1e-5``, over kept voxels (CR-GLoCo's
    code).

    Args:
        logits: (B, C, K, J, I).
        target: (B, K, J, I) uint8 class numbers or ``IGNORE``.
        over_batch: Sum over the batch too (as released), and over the processes that share it;
            otherwise each sample has its own Dice.
        present_only: Average over classes that occur in the target; 0 if none does.

    Returns:
        Scalar float32 in 0..1.
    """
    probability = logits.float().softmax(1).flatten(2)
    flat = target.flatten(1).long()
    kept = flat != IGNORE
    index = flat.masked_fill(~kept, 0)
    true_probability = probability.gather(1, index[:, None])[:, 0] * kept
    shape = probability.shape[:2]
    shared = true_probability.new_zeros(shape).scatter_add(1, index, true_probability)
    voxels = true_probability.new_zeros(shape).scatter_add(1, index, kept.float())
    squares = (probability.square() * kept[:, None]).sum(2)
    if over_batch:
        shared, voxels, squares = _whole_batch(torch.stack([shared, voxels, squares]).sum(1, keepdim=True))
    loss = 1 - (2 * shared + EPSILON) / (squares + voxels + EPSILON)
    if not present_only:
        return loss.mean()
    present = (voxels > 0).float()
    return _over_samples((loss * present).sum(1) / present.sum(1).clamp_min(1), present.any(1))


def segmentation_loss(
    logits: torch.Tensor, target: torch.Tensor, *, over_batch: bool = False
) -> torch.Tensor:
    """Return ``w Dice + (1 - w) CE`` on kept voxels: the supervised loss of every method.

    w is 0.5 for one or two structures, S / (S + 1) for more, S structures. Cross-entropy counts voxels,
    Dice counts structures: where they are many, most have few voxels, and what says that they are
    nowhere must not be as loud as what asks for each (``docs/methods/supervised.md`` has the numbers).
    Dice is that of each sample over the classes it holds: over all classes, windows without most of
    the organs would drown the Dice of those that are there in a constant.

    Args:
        logits: (B, C, K, J, I), C = S + 1 with the background.
        target: (B, K, J, I) uint8 class numbers or ``IGNORE``.
        over_batch: As released with CR-GLoCo instead: w = 0.5, sums over the batch, all classes.
    """
    dice = dice_loss(logits, target, over_batch=over_batch, present_only=not over_batch)
    weight = 0.5 if over_batch else dice_weight(logits.shape[1])
    return weight * dice + (1 - weight) * masked_cross_entropy(logits, target)


def has_few_structures(classes: int) -> bool:
    """Whether one or two structures are looked for, for C classes with the background."""
    return classes - 1 <= FEW_STRUCTURES


def dice_weight(classes: int) -> float:
    """Return what Dice counts beside cross-entropy, 0..1, for C classes with the background."""
    return 0.5 if has_few_structures(classes) else (classes - 1) / classes


def _whole_batch(sums: torch.Tensor) -> torch.Tensor:
    """Return the sums over all processes; gradients pass, so that their mean is that of one process."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return sums
    from torch.distributed.nn.functional import all_reduce

    total: torch.Tensor = all_reduce(sums)
    return total
