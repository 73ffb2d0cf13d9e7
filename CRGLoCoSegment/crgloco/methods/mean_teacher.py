"""Mean teacher: a student that must agree with the moving average of itself on a harder view.

Tarvainen and Valpola, NeurIPS 2017, arXiv 1703.01780, in the form that is the usual baseline of
semi-supervised segmentation (UA-MT's code without its uncertainty mask): mean squared difference of
class probabilities, weight 0.1 from a sigmoid ramp over the whole training, decay 0.99.

| part | paper | here | why |
|---|---|---|---|
| networks | one | both branches, each with a teacher of its own | what inference runs |
| views | Gaussian noise on student and teacher | weak and strong grey values | as all methods here |
| ramp | 80 epochs | the whole training | as in UA-MT's code |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from crgloco.data.views import DualView, strong_inputs, weak_inputs
from crgloco.losses.pseudo_labels import sigmoid_ramp
from crgloco.methods.base import Batch
from crgloco.methods.two_branches import TwoBranches
from crgloco.networks.options import DualResolutionOptions
from crgloco.options import option

TITLE = "Mean teacher"
REFERENCE = "Tarvainen and Valpola, NeurIPS 2017, arXiv 1703.01780"
CONFIGURATIONS: dict[str, dict[str, object]] = {"default": {}}


@dataclass(frozen=True)
class Config(DualResolutionOptions):
    """Options of the mean teacher."""

    consistency: float = option(
        0.1,
        label="Weight of agreement",
        help="Largest weight of the difference between student and teacher.",
        minimum=0.0,
        maximum=100.0,
    )
    ramp: float = option(
        1.0,
        label="Ramp",
        help="Share of the training after which the weight of agreement is reached.",
        minimum=0.01,
        maximum=1.0,
        advanced=True,
    )


class MeanTeacher(TwoBranches):
    """Both branches, each consistent with its own moving average."""

    title = TITLE
    reference = REFERENCE
    Config = Config

    @property
    def deviations(self) -> tuple[str, ...]:
        """Return what differs from the publication."""
        return (
            "Two networks at two resolutions, each with a teacher of its own, instead of one.",
            "The teacher sees unchanged grey values, the student strongly changed ones.",
        )

    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        """Return ``total``, the supervised parts, and ``consistency_local`` and ``consistency_global``."""
        views: list[DualView] = [view.to(batch.device) for view in (*batch.labelled, *batch.unlabelled)]
        crops, count = [view.cut() for view in views], len(batch.labelled)
        draws = [np.random.default_rng(view.seed) for view in views]
        size = self.networks.local.tensor_size
        small, large = strong_inputs(crops, draws, size)
        local, low = self.networks.full_resolution(small), self.networks.low_resolution(large)[0]
        with torch.no_grad():
            plain_small, plain_large = weak_inputs(crops, size)
            local_aim = self.averaged.full_resolution(plain_small)
            low_aim = self.averaged.low_resolution(plain_large)[0]
        parts = {
            **self.supervised_parts(local[:count], low[:count], crops[:count], batch),
            "consistency_local": squared_difference(local, local_aim),
            "consistency_global": squared_difference(low, low_aim),
        }
        weight = self.config.consistency * sigmoid_ramp(progress, self.config.ramp)
        agreement = parts["consistency_local"] + parts["consistency_global"]
        total = parts["supervised_local"] + parts["supervised_global"] + weight * agreement
        return {"total": total, **{name: part.detach() for name, part in parts.items()}}


def squared_difference(logits: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of class probabilities; the aim carries no gradient.

    Args:
        logits: (B, C, K, J, I) of the student.
        aim: The same of the teacher.
    """
    difference = logits.float().softmax(1) - aim.detach().float().softmax(1)
    return difference.square().mean()
