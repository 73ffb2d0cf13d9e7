"""PGL: prior-guided local self-supervised pre-training, on unlabelled scans only.

Xie, Zhang, Liao, Xia and Shen, arXiv 2011.12640 (2020). Two overlapping, differently changed views of
a scan pass through an encoder and its moving average; since the transforms are known, the two feature
maps are aligned, and made to agree voxel by voxel on the overlap. The encoders start any other method.

| part | paper, as quoted | here | why |
|---|---|---|---|
| encoders | one | those of the local and of the global branch | both start a dual-resolution method |
| map | the deepest, 2 x 6 x 6 | the deepest with a stride of at most 8 | hundreds of aligned cells |
| overlap | at least 10 % | at least 30 % of the smaller view | more cells |
| norm in the heads | batch | group | few views per update: batch norm invites collapse |
| widths of the heads | 4096, 512 | options, 256 and 128 | size of the encoders here |
| optimiser | LARS, 128 views | the project's own | LARS is in neither torch nor MONAI |
| target | decay 0.999 | cosine from 0.996 to 1 | as BYOL |
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from crgloco.data.aligned_views import AlignedView, align, draw_aligned_pair
from crgloco.data.augment import apply_intensity, draw_intensity
from crgloco.data.boxes import Triple
from crgloco.data.patches import TrainingCase
from crgloco.methods.base import Batch, Method, Task, build_networks, update_average, windows_of
from crgloco.networks.backbones import Body
from crgloco.networks.dual_resolution import BranchShape, DualResolution
from crgloco.networks.options import DualResolutionOptions
from crgloco.options import option

TITLE = "PGL pre-training (prior-guided local consistency)"
REFERENCE = "Xie et al., arXiv 2011.12640 (2020); re-implemented from the paper's description"
KIND = "pretraining"
CONFIGURATIONS: dict[str, dict[str, object]] = {"default": {}}
LARGEST_STRIDE = 8
FEWEST_CELLS = 8
ENCODER = ("encoder.", "bottleneck.")
BRANCHES = ("local", "global")


@dataclass(frozen=True)
class Config(DualResolutionOptions):
    """Options of PGL pre-training."""

    labelled_batch: int = option(
        0, label="Labelled per update", help="Labels are not looked at.", minimum=0, maximum=0, advanced=True
    )
    unlabelled_batch: int = option(
        4, label="Scans per update", help="Pairs of views in each update.", minimum=1, maximum=64
    )
    smallest_view: float = option(
        1.0,
        label="Smallest view",
        help="Smallest size of a view over the window of the network.",
        minimum=0.5,
        maximum=2.0,
        advanced=True,
    )
    largest_view: float = option(
        1.4,
        label="Largest view",
        help="Largest size of a view over the window of the network.",
        minimum=0.5,
        maximum=3.0,
        advanced=True,
    )
    overlap: float = option(
        0.3,
        label="Overlap",
        help="Share of the smaller view that both views show.",
        minimum=0.05,
        maximum=1.0,
        advanced=True,
    )
    hidden: int = option(
        256, label="Hidden width", help="Features inside the heads.", minimum=8, maximum=8192, advanced=True
    )
    projected: int = option(
        128, label="Projected width", help="Features compared.", minimum=8, maximum=4096, advanced=True
    )
    momentum: float = option(
        0.996,
        label="Momentum",
        help="Decay of the target at the start; rises to 1.",
        minimum=0.5,
        maximum=0.99999,
        advanced=True,
    )


@dataclass(frozen=True)
class PairView:
    """One sample: for each branch, two aligned views."""

    pairs: dict[str, tuple[AlignedView, AlignedView]]

    def to(self, device: torch.device) -> PairView:
        """Return the sample with its tensors on a device."""
        moved = {name: (first.to(device), second.to(device)) for name, (first, second) in self.pairs.items()}
        return PairView(moved)


class Siamese(nn.Module):
    """The heads of one branch, and its target.

    Args:
        body: Body of the branch; its encoder is the online encoder.
        channels: Image channels.
        size: Voxels of a view.
        hidden: Features inside the heads.
        projected: Features compared.
    """

    def __init__(self, body: Body, channels: int, size: Triple, hidden: int, projected: int) -> None:
        super().__init__()
        self.level = deepest_level(body, channels, size)
        width = body.widths[self.level]
        self.projector = _head(width, hidden, projected)
        self.predictor = _head(projected, hidden, projected)
        self.target = nn.ModuleList([copy.deepcopy(body), copy.deepcopy(self.projector)])
        for parameter in self.target.parameters():
            parameter.requires_grad = False

    def online(self, body: Body, images: torch.Tensor) -> torch.Tensor:
        """Return what the online branch predicts, (B, F, k, j, i)."""
        predicted: torch.Tensor = self.predictor(self.projector(body.encode(images)[self.level]))
        return predicted

    @torch.no_grad()
    def aim(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the target sees, (B, F, k, j, i), without gradient."""
        body, projector = self.target
        seen: torch.Tensor = projector(body.encode(images)[self.level])  # type: ignore[operator]
        return seen


class PGL(Method):
    """Encoders that see the same in two views of one place."""

    title = TITLE
    reference = REFERENCE
    kind = KIND
    Config = Config

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        self.networks = build_networks(config, task)
        trained = {id(parameter) for name in BRANCHES for parameter in _encoder(self._body(name)).values()}
        for parameter in self.networks.parameters():
            parameter.requires_grad = id(parameter) in trained
        windows = windows_of(config, task)
        self.size = windows.local
        self.windows = dict(zip(BRANCHES, (windows.local, windows.global_), strict=True))
        self.heads = nn.ModuleDict(
            {
                name: Siamese(self._body(name), task.channels, self.size, config.hidden, config.projected)
                for name in BRANCHES
            }
        )
        self._progress = 0.0

    @property
    def averaged(self) -> DualResolution:  # type: ignore[override]
        """What starts other methods: the online encoders."""
        return self.networks

    @property
    def deviations(self) -> tuple[str, ...]:
        """Return what differs from the publication."""
        return (
            "Re-implemented from the paper's description: the official code is empty; widths are ours.",
            "The encoders of both branches are trained, each at its own resolution.",
            "The deepest map with a stride of at most 8 is compared, on an overlap of at least 30 %.",
            "Group normalisation in the heads; the project's optimiser instead of LARS.",
        )

    def views(self, case: TrainingCase, rng: np.random.Generator) -> PairView:
        """Return two views for each branch; a label is not looked at."""
        scale = (self.config.smallest_view, max(self.config.smallest_view, self.config.largest_view))
        share = self.config.overlap
        return PairView(
            {
                name: draw_aligned_pair(case, window, self.size, rng, scale=scale, at_least=share)
                for name, window in self.windows.items()
            }
        )

    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        """Return ``total``, its four parts, and what tells a collapse: spread and gain of alignment."""
        self._progress = progress
        views: list[PairView] = [view.to(batch.device) for view in (*batch.labelled, *batch.unlabelled)]
        parts: dict[str, torch.Tensor] = {}
        for name in BRANCHES:
            parts |= self._branch_losses(name, [view.pairs[name] for view in views])
        total = torch.stack([part for key, part in parts.items() if key.startswith("consistency")]).sum()
        return {"total": total, **{key: part.detach() for key, part in parts.items()}}

    def after_step(self, step: int) -> None:
        """Move the targets; the decay follows a cosine from ``momentum`` to 1 over the training."""
        del step
        decay = target_decay(self._progress, self.config.momentum)
        for name, siamese in self.heads.items():
            body, projector = siamese.target  # type: ignore[misc]
            update_average(body, self._body(name), decay)
            update_average(projector, siamese.projector, decay)  # type: ignore[arg-type]

    def start_from(self, weights: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
        """Take over the weights of a start model; its targets start where the encoders start."""
        taken = super().start_from(weights)
        for name in BRANCHES:
            siamese: Any = self.heads[name]
            siamese.target[0].load_state_dict(self._body(name).state_dict())
        return taken

    def branches(self, task: str | None = None) -> tuple[BranchShape, ...]:
        """Return none: there is nothing to predict."""
        del task
        return ()

    def weights_to_keep(self) -> dict[str, torch.Tensor]:
        """Return the encoders of both branches by the names that other methods know them by."""
        return {
            f"{name}_body.{key}": value.detach()
            for name in BRANCHES
            for key, value in _encoder(self._body(name)).items()
        }

    def _body(self, name: str) -> Any:
        return getattr(self.networks, f"{name}_body")

    def _branch_losses(
        self, name: str, pairs: list[tuple[AlignedView, AlignedView]]
    ) -> dict[str, torch.Tensor]:
        """Return both directions of the loss of one branch; the online maps are never interpolated."""
        views = [view for pair in pairs for view in pair]
        images = torch.stack(
            [apply_intensity(v.image, draw_intensity(np.random.default_rng(v.seed))) for v in views]
        )
        siamese: Any = self.heads[name]
        online, aim = siamese.online(self._body(name), images), siamese.aim(images)
        losses: list[list[torch.Tensor]] = [[], []]
        gains, counts = [], []
        for index, (first, second) in enumerate(pairs):
            for direction, (ours, theirs) in enumerate(((first, second), (second, first))):
                mine, other = 2 * index + direction, 2 * index + 1 - direction
                aligned, valid = align(aim[other], ours.affine, theirs.affine, self.size, shape=ours.shape)
                losses[direction].append(regression(online[mine], aligned, valid))
                gains.append(alignment_gain(online[mine], aligned, aim[other], valid))
                counts.append(valid.sum().float())
        return {
            f"consistency_{name}_12": torch.stack(losses[0]).mean(),
            f"consistency_{name}_21": torch.stack(losses[1]).mean(),
            f"cells_{name}": torch.stack(counts).mean(),
            f"spread_{name}": functional.normalize(aim.float(), dim=1).flatten(2).std((0, 2)).mean(),
            f"gain_{name}": torch.stack(gains).mean(),
        }


def regression(online: torch.Tensor, aim: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return ``2 - 2 cos`` of two maps, the mean over valid cells; 0 with fewer than 8 of them.

    Args:
        online: (F, k, j, i).
        aim: (F, k, j, i), aligned; carries no gradient.
        valid: (k, j, i).
    """
    distance = 2 - 2 * functional.cosine_similarity(online.float(), aim.detach().float(), dim=0, eps=1e-6)
    enough = valid.sum() >= FEWEST_CELLS
    return (distance * valid).sum() / valid.sum().clamp_min(1) * enough


@torch.no_grad()
def alignment_gain(
    online: torch.Tensor, aligned: torch.Tensor, unaligned: torch.Tensor, valid: torch.Tensor
) -> torch.Tensor:
    """Return how much more similar (cosine) aligned cells are than unaligned ones; it must grow.

    Args:
        online: (F, k, j, i).
        aligned: (F, k, j, i) of the target at the same places of the volume.
        unaligned: (F, k, j, i) of the target as it is.
        valid: (k, j, i) cells that count.
    """
    both = [
        functional.cosine_similarity(online.float(), each.float(), dim=0) for each in (aligned, unaligned)
    ]
    return ((both[0] - both[1]) * valid).sum() / valid.sum().clamp_min(1)


def target_decay(progress: float, start: float) -> float:
    """Return ``1 - (1 - start) (cos(pi progress) + 1) / 2``: from ``start`` to 1."""
    return 1 - (1 - start) * (math.cos(math.pi * min(progress, 1.0)) + 1) / 2


def deepest_level(body: Body, channels: int, size: Triple) -> int:
    """Return the number of the deepest map of an encoder whose stride is at most 8 on every axis.

    Args:
        body: A body.
        channels: Image channels.
        size: Voxels of the image.
    """
    with torch.no_grad():
        maps = body.encode(torch.zeros(1, channels, *size))
    fine = [
        level
        for level, each in enumerate(maps)
        if all(n <= LARGEST_STRIDE * cells for n, cells in zip(size, each.shape[2:], strict=True))
    ]
    return fine[-1]


def _encoder(body: nn.Module) -> dict[str, nn.Parameter]:
    return {name: value for name, value in body.named_parameters() if name.startswith(ENCODER)}


def _head(width: int, hidden: int, projected: int) -> nn.Sequential:
    """Return the projector or predictor: 1 x 1 x 1, norm, ReLU, 1 x 1 x 1; nothing is pooled."""
    return nn.Sequential(
        nn.Conv3d(width, hidden, 1), nn.GroupNorm(8, hidden), nn.ReLU(), nn.Conv3d(hidden, projected, 1)
    )
