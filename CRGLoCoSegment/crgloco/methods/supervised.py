"""The control: the same two networks, learning from the labelled scans only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from crgloco.data.views import strong_inputs, weak_inputs
from crgloco.methods.base import Batch
from crgloco.methods.two_branches import TwoBranches
from crgloco.networks.options import DualResolutionOptions
from crgloco.options import option

TITLE = "Supervised (labelled scans only)"
REFERENCE = "Control without unlabelled data; Dice and cross-entropy."
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


class Supervised(TwoBranches):
    """Both branches, supervised on labelled crops with the augmentation of the other methods."""

    title = TITLE
    reference = REFERENCE
    Config = Config

    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        """Return ``total``, ``supervised_local`` and ``supervised_global``."""
        del progress
        crops = [view.to(batch.device).cut() for view in batch.labelled]
        draws = [np.random.default_rng(view.seed) for view in batch.labelled]
        size = self.networks.local.tensor_size
        strong = self.config.strong_views
        small, large = strong_inputs(crops, draws, size) if strong else weak_inputs(crops, size)
        local, low = self.networks.full_resolution(small), self.networks.low_resolution(large)[0]
        parts = self.supervised_parts(local, low, crops, batch)
        total = parts["supervised_local"] + parts["supervised_global"]
        return {"total": total, **{name: part.detach() for name, part in parts.items()}}
