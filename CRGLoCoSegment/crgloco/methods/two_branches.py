"""What methods have in common that train both branches on one scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from crgloco.data.augment import SpatialRanges
from crgloco.data.boxes import Box
from crgloco.data.patches import TrainingCase, resize
from crgloco.data.views import DualCrop, DualView, draw_dual_view
from crgloco.losses.segmentation import segmentation_loss
from crgloco.methods.base import Batch, Method, Task, averaged_copy, build_networks, draw_lattice, windows_of


class TwoBranches(Method):
    """Both branches, their moving average, and how labelled crops supervise them.

    Args:
        config: The method's options.
        task: What the scans are like.
        kwargs: As of ``build_networks``.
    """

    def __init__(self, config: Any, task: Task, **kwargs: Any) -> None:
        super().__init__(config, task)
        self.networks = build_networks(config, task, **kwargs)
        self.averaged = averaged_copy(self.networks)
        self.large, self.small = windows_of(config, task).global_, self.networks.local.window

    def views(self, case: TrainingCase, rng: np.random.Generator) -> DualView:
        """Return one scene with both fields of view."""
        ranges, spacing = SpatialRanges(self.task.flip_axes), self.task.spacing
        aimed = self.config.foreground
        return draw_dual_view(case, self.large, self.small, ranges, spacing, rng, foreground=aimed)

    def supervised_parts(
        self, local: torch.Tensor, low: torch.Tensor, crops: list[DualCrop], batch: Batch
    ) -> dict[str, torch.Tensor]:
        """Return ``supervised_local`` and ``supervised_global`` of labelled crops.

        Args:
            local: Logits (B, C, K, J, I) of the local branch.
            low: Logits (B, C, k, j, i) of the global branch.
            crops: B labelled crops.
            batch: Draws the voxels on which the global branch is supervised.
        """
        points = Box((0, 0, 0), self.large).lattice(*draw_lattice(self.networks, batch.rng))
        return {
            "supervised_local": segmentation_loss(local, torch.stack([crop.small_label for crop in crops])),
            "supervised_global": segmentation_loss(
                resize(low, self.large, part=points),
                torch.stack([crop.large_label[points] for crop in crops]),
            ),
        }
