"""The control: the same two networks, learning from the labelled scans only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from crgloco.data.augment import SpatialRanges
from crgloco.data.boxes import Box
from crgloco.data.patches import TrainingCase, resize
from crgloco.data.views import DualView, draw_dual_view, strong_inputs, weak_inputs
from crgloco.losses.segmentation import segmentation_loss
from crgloco.methods.base import Batch, Method, Task, averaged_copy, build_networks, draw_lattice, windows_of
from crgloco.networks.options import DualResolutionOptions
from crgloco.options import option

TITLE = "Supervised (labelled scans only)"
REFERENCE = "Control without unlabelled data; Dice and cross-entropy as in every method here."
CONFIGURATIONS: dict[str, dict[str, object]] = {"default": {}}


@dataclass(frozen=True)
class Config(DualResolutionOptions):
    """Options of the supervised control."""

    unlabelled_batch: int = option(
        0, label="Unlabelled per update", help="Not used by this method.", minimum=0, maximum=0, advanced=True
    )
    strong_views: bool = option(
        default=True,
        label="Strong views",
        help="Change grey values in training as the other methods do; without, only rotate and zoom.",
        advanced=True,
    )


class Supervised(Method):
    """Both branches, supervised on labelled crops with the augmentation of the other methods."""

    title = TITLE
    reference = REFERENCE
    Config = Config

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        self.networks = build_networks(config, task)
        self.averaged = averaged_copy(self.networks)
        self.large, self.small = windows_of(config, task).global_, self.networks.local.window

    def views(self, case: TrainingCase, rng: np.random.Generator) -> DualView:
        """Return one scene with both fields of view."""
        ranges = SpatialRanges(self.task.flip_axes)
        return draw_dual_view(
            case,
            self.large,
            self.small,
            ranges,
            self.task.spacing,
            rng,
            foreground=self.config.foreground,
        )

    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        """Return ``total``, ``supervised_local`` and ``supervised_global``."""
        del progress
        crops = [view.to(batch.device).cut() for view in batch.labelled]
        draws = [np.random.default_rng(view.seed) for view in batch.labelled]
        size = self.networks.local.tensor_size
        strong = self.config.strong_views
        small, large = strong_inputs(crops, draws, size) if strong else weak_inputs(crops, size)
        local = segmentation_loss(
            self.networks.full_resolution(small), torch.stack([crop.small_label for crop in crops])
        )
        low, _ = self.networks.low_resolution(large)
        points = Box((0, 0, 0), self.large).lattice(*draw_lattice(self.networks, batch.rng))
        glob = segmentation_loss(
            resize(low, self.large, part=points), torch.stack([crop.large_label[points] for crop in crops])
        )
        return {"total": local + glob, "supervised_local": local.detach(), "supervised_global": glob.detach()}
