"""MCSC: multi-scale cross-supervised contrastive learning, adapted to 3-D.

BMVC 2023 (paper 868), arXiv 2306.14293. A convolutional network and a windowed transformer learn
together: each is supervised by the other's hard prediction on unlabelled scans, and the features of
both, at two scales and over all scans of a batch, go into a class-balanced contrast whose labels are
the truth or the *other* network's prediction.

| part | paper | here | why |
|---|---|---|---|
| unit | slice | 3-D window | volumes are segmented |
| transformer | Swin-UNet with ImageNet weights | SwinUNETR from scratch | no 3-D ImageNet |
| attention | 7 tokens per axis | 4 to 7, what suits the window | less padding |
| scales | full and 1/8 | full and the coarsest decoder map | networks are planned per scan |
| contrast sets | permuted blocks | random sampling with a floor per class | covers the whole window |
| loss of labels | Dice over the batch | Dice per window, as all methods here | rare structures |
| anchors without partner | count as 0 | left out | the stated mean |
| optimiser | rates 5e-4 and 1e-4 | the project's rate, a fifth of it for the transformer | one schedule |
| views | turns of 90 degrees, or 20 | turned, zoomed, changed grey values | as all methods here |
| deployed | convolutional network | the same, or as chosen | one small network |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from crgloco.data.augment import SpatialRanges
from crgloco.data.patches import TrainingCase, resize
from crgloco.data.window_views import WindowView, draw_window_view, strong_windows
from crgloco.losses.contrastive import at_cells, balanced_contrast, draw_members
from crgloco.losses.pseudo_labels import sigmoid_ramp
from crgloco.losses.segmentation import dice_loss, segmentation_loss
from crgloco.methods.base import Batch, Method, Task, averaged_copy, build_local_network
from crgloco.networks.options import DualResolutionOptions
from crgloco.networks.pair import NetworkPair
from crgloco.networks.transformer import COARSE, WindowedTransformer
from crgloco.options import option

TITLE = "MCSC (adapted to 3-D)"
REFERENCE = "Multi-Scale Cross Contrastive Learning, BMVC 2023, arXiv 2306.14293"
CONFIGURATIONS: dict[str, dict[str, object]] = {"default": {}}
HIDDEN, PROJECTED = 256, 128
TRANSFORMER_RATE, TRANSFORMER_WARM_UP = 0.2, 0.05
DEPLOYED = {
    "cnn": (),
    "transformer": ("The transformer is deployed; the publication tests the convolutional network.",),
    "mean": ("The mean of both networks is deployed; the publication tests the convolutional one alone.",),
}


@dataclass(frozen=True)
class Config(DualResolutionOptions):
    """Options of MCSC."""

    cross_weight: float = option(
        0.1,
        label="Weight of the other network",
        help="Largest weight of what each network learns from the other.",
        minimum=0.0,
        maximum=10.0,
    )
    ramp: float = option(
        0.75,
        label="Ramp",
        help="Share of the training after which the weight of the other network is reached.",
        minimum=0.01,
        maximum=1.0,
        advanced=True,
    )
    contrast_weight: float = option(
        0.001,
        label="Weight of the contrast",
        help="How much features of a class are drawn together, and those of others apart, at each scale.",
        minimum=0.0,
        maximum=10.0,
    )
    contrast_warm_up: float = option(
        0.075,
        label="Labelled contrast",
        help="Share of the training in which only labelled scans are contrasted.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    features: int = option(
        2048,
        label="Features per scale",
        help="Features in one contrast.",
        minimum=16,
        maximum=16384,
        advanced=True,
    )
    floor: int = option(
        64,
        label="Features per class",
        help="Features of each class that is present, if there are as many.",
        minimum=1,
        maximum=4096,
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
    transformer_width: int = option(
        24,
        label="Transformer width",
        help="Features of the transformer's first level, a multiple of 12.",
        minimum=12,
        maximum=96,
        advanced=True,
    )
    inference: str = option(
        "cnn",
        label="Deployed network",
        help=(
            "What the new model answers with: the convolutional network, the transformer (about ten "
            "times slower), or the mean of both. The training is the same."
        ),
        choices=tuple(DEPLOYED),
        advanced=True,
    )


@dataclass(frozen=True)
class Level:
    """The maps of one scale.

    Attributes:
        maps: Of each network (B, F, k, j, i).
        labels: Of each network's cells (B, k, j, i), 255 where nothing is known.
    """

    maps: tuple[torch.Tensor, torch.Tensor]
    labels: tuple[torch.Tensor, torch.Tensor]


class Projector(nn.Module):
    """From the features of both networks at one scale to one space; the last layer is shared.

    Args:
        widths: Features of the convolutional network and of the transformer.
        normalised: Whether the transformer's tokens are normalised first.
    """

    def __init__(self, widths: tuple[int, int], *, normalised: bool) -> None:
        super().__init__()
        self.normalise = nn.LayerNorm(widths[1]) if normalised else nn.Identity()
        self.entries = nn.ModuleList([nn.Linear(width, HIDDEN) for width in widths])
        self.shared = nn.Linear(HIDDEN, PROJECTED)

    def forward(self, features: torch.Tensor, network: int) -> torch.Tensor:
        """Project (N, F) features of network 0 or 1 to (N, 128)."""
        given = self.normalise(features) if network else features
        projected: torch.Tensor = self.shared(torch.relu(self.entries[network](given)))
        return projected


class MCSC(Method):
    """Two networks of different kinds that teach each other; one of them is deployed, or both."""

    title = TITLE
    reference = REFERENCE
    Config = Config

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        self.networks = build_local_network(config, task)
        self.window = self.networks.local.window
        width = config.transformer_width - config.transformer_width % 12
        transformer = WindowedTransformer(task.channels, task.classes, width, self.window)
        body = self.networks.local_body
        coarse = body.widths[-2]
        self.projectors = nn.ModuleDict(
            {
                "full": Projector((body.channels, width), normalised=False),
                "eighth": Projector((coarse, 4 * width), normalised=True),
            }
        )
        if config.inference == "cnn":
            self.partner = transformer
        else:  # what is deployed belongs to the networks: it is averaged, kept and started with them
            self.networks = NetworkPair(self.networks, transformer, mean=config.inference == "mean")
        self.averaged = averaged_copy(self.networks)

    @property
    def transformer(self) -> nn.Module:
        """Return the second network."""
        return self.networks.transformer if isinstance(self.networks, NetworkPair) else self.partner

    @property
    def deviations(self) -> tuple[str, ...]:
        """Return what differs from the publication."""
        return (
            "3-D windows instead of slices; the transformer has no ImageNet weights.",
            "Attention looks at 4 to 7 tokens per axis, as suits the window, not at 7 throughout.",
            "Contrast sets are sampled over the whole window, with a floor per class, not cut into blocks.",
            "The coarse scale of the convolutional network is that of its coarsest decoder map.",
            "No dropout in the convolutional network, no drop-path in the transformer; weight decay 0.01.",
            "Labels teach by the project's Dice and cross-entropy; anchors without partner are left out.",
            *DEPLOYED[self.config.inference],
        )

    def views(self, case: TrainingCase, rng: np.random.Generator) -> WindowView:
        """Return one window."""
        ranges, aimed = SpatialRanges(self.task.flip_axes), self.config.foreground
        return draw_window_view(case, self.window, ranges, self.task.spacing, rng, foreground=aimed)

    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        """Return ``total``, the supervised, cross and contrast parts, and how far the networks agree."""
        views: list[WindowView] = [view.to(batch.device) for view in (*batch.labelled, *batch.unlabelled)]
        count = len(batch.labelled)
        crops = strong_windows(views)
        images, truth = crops.images, crops.labels[:count]
        body = self.networks.local_body
        decoded = body.decode_all(body.encode(images))
        first = resize(self.networks.local_head(decoded[-1]), self.window)
        second = self.transformer(images)
        answers = (first, second.logits)
        hard = tuple(logits.detach().argmax(1).to(torch.uint8) for logits in answers)
        parts = {
            "supervised_cnn": segmentation_loss(first[:count], truth),
            "supervised_transformer": segmentation_loss(second.logits[:count], truth),
            "cross_cnn": _taught(first[count:], hard[1][count:]),
            "cross_transformer": _taught(second.logits[count:], hard[0][count:]),
        }
        labels = cross_labels(truth, hard)
        contrasted = count if progress < self.config.contrast_warm_up else len(views)
        levels = {
            "full": _level((resize(decoded[-1], self.window), second.fine), labels, 1),
            "eighth": _level((decoded[0], second.coarse), labels, COARSE),
        }
        generator = torch.Generator(batch.device).manual_seed(int(batch.rng.integers(2**31)))
        parts |= {
            f"contrast_{scale}": self._contrast(scale, level, contrasted, generator)
            for scale, level in levels.items()
        }
        return {**self._with_total(parts, progress), "agreement": (hard[0] == hard[1]).float().mean()}

    def start_from(self, weights: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
        """Take over the convolutional network, and the transformer of a start model that kept one.

        Returns:
            The names that ``networks`` took over.

        Raises:
            ModelError: Nothing fits.
        """
        taken = super().start_from(weights)
        for name, own in self.transformer.state_dict().items():  # no copies: they are the weights
            given = weights.get(f"transformer.{name}", own)
            if given.shape == own.shape:
                own.copy_(given)
        return taken

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return three groups: the convolutional network, the transformer, the projectors."""
        body, head = self.networks.local_body, self.networks.local_head
        return [
            {"params": [*body.parameters(), *head.parameters()]},
            {
                "params": list(self.transformer.parameters()),
                "rate": TRANSFORMER_RATE,
                "warm_up": TRANSFORMER_WARM_UP,
            },
            {"params": list(self.projectors.parameters())},
        ]

    def _contrast(self, scale: str, level: Level, samples: int, generator: torch.Generator) -> torch.Tensor:
        """Return the contrast of one set drawn from both networks and the first so many samples."""
        labels = [each[:samples].flatten() for each in level.labels]
        chosen = draw_members(
            torch.cat(labels), self.task.classes, self.config.features, self.config.floor, generator
        )
        border = len(labels[0])
        sides = (chosen[chosen < border], chosen[chosen >= border] - border)
        projector: Any = self.projectors[scale]
        with torch.autocast(chosen.device.type, enabled=False):
            projected: list[torch.Tensor] = [
                projector(_rows(features[:samples])[places].float(), network)
                for network, (features, places) in enumerate(zip(level.maps, sides, strict=True))
            ]
            classes = torch.cat([each[places] for each, places in zip(labels, sides, strict=True)])
            if not bool((classes > 0).any()):  # a set of background alone says nothing
                return projected[0].sum() * 0 + projected[1].sum() * 0
            return balanced_contrast(torch.cat(projected), classes, self.config.temperature)

    def _with_total(self, parts: dict[str, torch.Tensor], progress: float) -> dict[str, torch.Tensor]:
        supervised = parts["supervised_cnn"] + parts["supervised_transformer"]
        weight = self.config.cross_weight * sigmoid_ramp(progress, self.config.ramp)
        cross = parts["cross_cnn"] + parts["cross_transformer"]
        # The paper adds the contrast to the loss of either network: it counts twice.
        contrast = 2 * self.config.contrast_weight * (parts["contrast_full"] + parts["contrast_eighth"])
        total = supervised + weight * cross + contrast
        return {"total": total, **{name: part.detach() for name, part in parts.items()}}


def cross_labels(truth: torch.Tensor, hard: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the labels of the features of each network: the truth, or the *other* network's answer.

    Args:
        truth: (n, K, J, I) of the first n samples.
        hard: (B, K, J, I) class numbers of each network.
    """
    cnn, transformer = hard
    known = len(truth)
    return torch.cat([truth, transformer[known:]]), torch.cat([truth, cnn[known:]])


def _level(
    maps: tuple[torch.Tensor, torch.Tensor], labels: tuple[torch.Tensor, torch.Tensor], step: int
) -> Level:
    first = at_cells(labels[0], maps[0].shape[2:])
    return Level(maps, (first, at_cells(labels[1], maps[1].shape[2:], step)))


def _taught(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the Dice of one network against the other's hard answer; 0 without unlabelled samples."""
    return dice_loss(logits, target, over_batch=True) if len(logits) else logits.sum() * 0


def _rows(features: torch.Tensor) -> torch.Tensor:
    """Return (B, F, k, j, i) as (B k j i, F)."""
    return features.flatten(2).transpose(1, 2).flatten(0, 1)
