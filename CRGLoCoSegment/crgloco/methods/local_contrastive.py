"""Local contrastive loss with pseudo-label self-training, adapted to 3-D.

Chaitanya, Erdil, Karani and Konukoglu, Medical Image Analysis 87:102792 (2023), arXiv 2112.09645.
The segmentation head learns from experts' labels alone; labels and frozen pseudo-labels, renewed in
rounds, shape the decoder's features: voxels of a class are drawn to the mean of that class.

| part | paper | here | why |
|---|---|---|---|
| unit | axial slice | 3-D window | volumes are segmented |
| network | 2-D U-Net, last map at full resolution | local network, last map enlarged | CPU |
| heads | fresh after the warm start | the segmentation head goes on | one run, one schedule |
| normalisation in h | batch | group | two windows per update |
| loss of labels | Dice | Dice and cross-entropy | the control differs in the contrast only |
| anchors | 3 per class and slice | 32 | free in 3-D |
| classes in a window | all, or it is drawn again | absent ones are skipped | windows are small |
| contrasted classes | structures | with background if there is one structure | intra would be 0 |
| refinement | dense CRF | largest component of each structure | the CRF needs compiled parts |
| mean of the contrast | divided again for every pair (defect) | proper mean | the stated formula |
| rounds | best checkpoint on validation | averaged weights | nothing is selected |
| optimiser | Adam, constant rate | the project's own | as all methods here |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from crgloco.data.augment import SpatialRanges
from crgloco.data.patches import TrainingCase, resize
from crgloco.data.window_views import UNCHANGED, WindowView, draw_window_view, strong_windows
from crgloco.islands import largest_pieces
from crgloco.losses.contrastive import draw_pairs, gather_classes, inter_contrast, intra_contrast
from crgloco.losses.segmentation import segmentation_loss
from crgloco.methods.base import Batch, Labels, Method, PseudoLabel, Task, averaged_copy, build_local_network
from crgloco.networks.options import DualResolutionOptions
from crgloco.networks.projection import projection_head
from crgloco.options import option

TITLE = "Local contrastive (adapted to 3-D)"
REFERENCE = "Chaitanya et al., Medical Image Analysis 87:102792 (2023), arXiv 2112.09645"
CONFIGURATIONS: dict[str, dict[str, object]] = {"default": {}}


@dataclass(frozen=True)
class Config(DualResolutionOptions):
    """Options of local contrastive self-training."""

    rounds: int = option(
        3, label="Rounds", help="How often unlabelled scans get new pseudo-labels.", minimum=1, maximum=20
    )
    warm_up: float = option(
        0.25,
        label="Warm start",
        help="Share of the training that learns from labelled scans only.",
        minimum=0.01,
        maximum=0.9,
    )
    contrast_weight: float = option(
        0.1,
        label="Weight of the contrast",
        help="How much features of a class are drawn together, and those of others apart.",
        minimum=0.0,
        maximum=10.0,
    )
    matching: str = option(
        "inter",
        label="Matching",
        help="'inter' compares with class means of two scans, 'intra' with those of the same scan.",
        choices=("inter", "intra"),
        advanced=True,
    )
    include_background: str = option(
        "auto",
        label="Contrast background",
        help="'auto' contrasts background only where there is a single structure.",
        choices=("auto", "yes", "no"),
        advanced=True,
    )
    anchors: int = option(
        32,
        label="Anchors",
        help="Voxels drawn of each class and window.",
        minimum=1,
        maximum=1024,
        advanced=True,
    )
    temperature: float = option(
        0.1,
        label="Temperature",
        help="Sharpness of the contrast; smaller is sharper.",
        minimum=0.01,
        maximum=10.0,
        advanced=True,
    )
    refine: str = option(
        "largest",
        label="Refinement",
        help="'largest' keeps the largest component of each structure in a pseudo-label.",
        choices=("largest", "none"),
        advanced=True,
    )
    agreement: float = option(
        0.0,
        label="Stability filter",
        help="Leave out scans that are predicted otherwise with other grey values: least Dice; 0 keeps all.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )


@dataclass(frozen=True)
class ContrastView:
    """One sample: a window to contrast, and for a labelled case one to segment."""

    contrasted: WindowView
    supervised: WindowView | None

    def to(self, device: torch.device) -> ContrastView:
        """Return the sample with its tensors on a device."""
        supervised = None if self.supervised is None else self.supervised.to(device)
        return ContrastView(self.contrasted.to(device), supervised)


class LocalContrastive(Method):
    """One network; experts teach its head, pseudo-labels shape its features."""

    title = TITLE
    reference = REFERENCE
    Config = Config

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        self.networks = build_local_network(config, task)
        self.averaged = averaged_copy(self.networks)
        self.window = self.networks.local.window
        self.projection = projection_head(self.networks.local_body.channels)
        background = config.include_background
        self.first_class = 0 if background == "yes" or (background == "auto" and task.classes == 2) else 1
        self._pseudo: dict[str, TrainingCase | None] = {}

    @property
    def deviations(self) -> tuple[str, ...]:
        """Return what differs from the publication."""
        return (
            "3-D windows instead of slices; the last decoder map is enlarged to full resolution.",
            "Labels teach by Dice and cross-entropy, as in the supervised control.",
            "The segmentation head is not made anew after the warm start.",
            "The segmentation head is one linear layer; the labelled view has strong grey values.",
            "Pseudo-labels are refined by the largest component, not by a dense CRF.",
            "Pseudo-labels are predicted by the moving average of the weights, not by the best checkpoint.",
            "The projection head has group norm; windows that lack a class are kept, and the class skipped.",
            f"{self.config.anchors} anchors per class and window, not 3; pairs within a batch, not ten.",
            "The contrast is a proper mean over pairs and anchors; the code divides it for every pair.",
            *(("Background is contrasted too.",) if self.first_class == 0 else ()),
        )

    @property
    def round_starts(self) -> tuple[float, ...]:
        """Return the end of the warm start, and equal parts of what is left."""
        start, rounds = self.config.warm_up, self.config.rounds
        return tuple(start + (1 - start) * number / rounds for number in range(rounds))

    def begin_round(self, number: int, cases: Sequence[TrainingCase], pseudo_label: PseudoLabel) -> None:
        """Renew the pseudo-labels of all unlabelled cases."""
        del number
        refine = largest_pieces if self.config.refine == "largest" else _unchanged
        agreement = self.config.agreement
        self._pseudo = {case.name: pseudo_label(case, refine, agreement=agreement) for case in cases}

    def views(self, case: TrainingCase, rng: np.random.Generator) -> ContrastView:
        """Return a window to contrast, aimed by the label or pseudo-label, and one to segment."""
        aimed, spacing = self.config.foreground, self.task.spacing
        if case.label is None:
            case = self._pseudo.get(case.name) or case
            contrasted = draw_window_view(case, self.window, UNCHANGED, spacing, rng, foreground=aimed)
            return ContrastView(contrasted, None)
        ranges = SpatialRanges(self.task.flip_axes)
        return ContrastView(
            draw_window_view(case, self.window, UNCHANGED, spacing, rng, foreground=aimed),
            draw_window_view(case, self.window, ranges, spacing, rng, foreground=aimed),
        )

    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        """Return ``total``, ``supervised`` and ``contrast``; the latter is 0 during the warm start."""
        views: list[ContrastView] = [view.to(batch.device) for view in (*batch.labelled, *batch.unlabelled)]
        taught = [view.supervised for view in views if view.supervised is not None]
        crops = strong_windows(taught)
        supervised = segmentation_loss(self.networks.full_resolution(crops.images), crops.labels)
        contrast = supervised.new_zeros(())
        if progress >= self.config.warm_up and self.config.contrast_weight > 0:
            contrast = self._contrast([view.contrasted for view in views], len(batch.labelled), batch)
        total = supervised + self.config.contrast_weight * contrast
        return {"total": total, "supervised": supervised.detach(), "contrast": contrast.detach()}

    def _contrast(self, views: list[WindowView], labelled: int, batch: Batch) -> torch.Tensor:
        crops = [view.cut() for view in views]
        copies = 2 if self.config.matching == "intra" else 1
        rngs = [np.random.default_rng(view.seed + copy) for copy in range(copies) for view in views]
        images = [jittered(crop[0], rng) for crop, rng in zip(crops * copies, rngs, strict=True)]
        features = resize(self.networks.local_body(torch.stack(images)), self.window)
        parts = gather_classes(
            self.projection(features),
            torch.stack([crop[1] for crop in crops * copies]),
            self.task.classes,
            anchors=self.config.anchors,
            first_class=self.first_class,
            generator=torch.Generator(batch.device).manual_seed(int(batch.rng.integers(2**31))),
        )
        if self.config.matching == "intra":
            return intra_contrast(parts, self.config.temperature)
        return inter_contrast(parts, draw_pairs(labelled, len(views)), self.config.temperature)


def jittered(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change contrast (0.7..1.3) and brightness (0.3 standard deviations) of (C, K, J, I); no geometry."""
    contrast, brightness = rng.uniform(0.7, 1.3), rng.uniform(-0.3, 0.3)
    mean = image.mean((1, 2, 3), keepdim=True)
    spread = image.std((1, 2, 3), keepdim=True)
    return (image - mean) * contrast + mean + brightness * spread


def _unchanged(label: Labels) -> Labels:
    return label
