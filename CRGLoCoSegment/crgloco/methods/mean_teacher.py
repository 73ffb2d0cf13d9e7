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
from typing import Any

import numpy as np
import torch

from crgloco.data.augment import SpatialRanges
from crgloco.data.boxes import Box
from crgloco.data.patches import TrainingCase, resize
from crgloco.data.views import DualView, draw_dual_view, strong_inputs, weak_inputs
from crgloco.losses.pseudo_labels import sigmoid_ramp
from crgloco.losses.segmentation import segmentation_loss
from crgloco.methods.base import Batch, Method, Task, averaged_copy, build_networks, draw_lattice, windows_of
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
        help="Share of the training after which that weight is reached.",
        minimum=0.01,
        maximum=1.0,
        advanced=True,
    )


class MeanTeacher(Method):
    """Both branches, each consistent with its own moving average."""

    title = TITLE
    reference = REFERENCE
    Config = Config

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        self.networks = build_networks(config, task)
        self.averaged = averaged_copy(self.networks)
        self.large, self.small = windows_of(config, task).global_, self.networks.local.window

    @property
    def deviations(self) -> tuple[str, ...]:
        """Return what differs from the publication."""
        return (
            "Two networks at two resolutions, each with a teacher of its own, instead of one.",
            "The teacher sees unchanged grey values, the student strongly changed ones.",
        )

    def views(self, case: TrainingCase, rng: np.random.Generator) -> DualView:
        """Return one scene with both fields of view."""
        ranges, spacing = SpatialRanges(self.task.flip_axes), self.task.spacing
        aimed = self.config.foreground
        return draw_dual_view(case, self.large, self.small, ranges, spacing, rng, foreground=aimed)

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
        points = Box((0, 0, 0), self.large).lattice(*draw_lattice(self.networks, batch.rng))
        parts = {
            "supervised_local": segmentation_loss(
                local[:count], torch.stack([crop.small_label for crop in crops[:count]])
            ),
            "supervised_global": segmentation_loss(
                resize(low[:count], self.large, part=points),
                torch.stack([crop.large_label[points] for crop in crops[:count]]),
            ),
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
