"""VerSemi: versatile semi-supervised segmentation with task prompts, the structures as tasks (adapted).

arXiv 2311.11686; IEEE TMI 2025, doi 10.1109/TMI.2025.3556310. One network answers the task that a
prompt asks for; a synthetic task, made by pasting a block of one scan into another, asks for any
structure. On unlabelled scans the maximum over all tasks must agree with that answer. A label may show
some structures only, as where sets with tables of their own were merged: its case serves the tasks it shows.

| part | paper | here | why |
|---|---|---|---|
| tasks | four data sets, one structure each | structures of one table, in one set or several | both exist |
| synthetic label | foreground of the two tasks | any structure that either label shows | no other is known |
| auxiliary label | the task's half of the mix | the task's structure in the mix | both may hold it |
| auxiliary voxels | all | those of known truth: shown there, or another structure | a label may show less |
| networks | V-Net-like, head at full resolution | local network, logits enlarged | CPU |
| norm in the head | batch | group | few windows per update |
| passes | one per prompt | one, with several heads | exact, and cheaper |
| aggregate | carries gradient | detached | a target must not follow its pupil |
| stages | 1,000 + 1,000 epochs | shares of one run | one schedule |
| views | random crop, unlabelled centre crop | turned, zoomed, changed grey values | as all methods here |
| optimiser | Adam, constant rate | the project's own | as all methods here |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from crgloco.data.augment import SpatialRanges
from crgloco.data.boxes import Box, Triple, triple
from crgloco.data.patches import IGNORE, TrainingCase
from crgloco.data.window_views import WindowCrops, WindowView, draw_window_view, strong_windows
from crgloco.errors import OptionError
from crgloco.losses.segmentation import batch_cross_entropy
from crgloco.methods.base import Batch, Method, Task, averaged_copy, build_local_network, windows_of
from crgloco.networks.options import DualResolutionOptions
from crgloco.networks.prompted import PromptedNetwork
from crgloco.options import option

TITLE = "VerSemi (structures as tasks, adapted)"
REFERENCE = "Segment Together, IEEE TMI 2025, doi 10.1109/TMI.2025.3556310, arXiv 2311.11686"
PARTIAL_LABELS = True
CONFIGURATIONS: dict[str, dict[str, object]] = {"default": {}}
EPSILON = 1e-5
FIRST_STAGE_CUBE = 2 / 3
SECOND_STAGE_CUBE = (0.3, 0.6)


@dataclass(frozen=True)
class Config(DualResolutionOptions):
    """Options of VerSemi."""

    labelled_batch: int = option(
        4, label="Labelled per update", help="Labelled windows in each update.", minimum=2, maximum=64
    )
    unlabelled_batch: int = option(
        2, label="Unlabelled per update", help="Unlabelled windows in each update.", minimum=0, maximum=64
    )
    stage: float = option(
        0.5,
        label="First stage",
        help="Share of the training that learns from labelled scans only.",
        minimum=0.0,
        maximum=1.0,
    )
    unlabelled_weight: float = option(
        1.0,
        label="Weight of unlabelled scans",
        help="Weight of the agreement between all tasks and the synthetic one.",
        minimum=0.0,
        maximum=10.0,
    )
    auxiliary_throughout: bool = option(
        default=True,
        label="Auxiliary task throughout",
        help="Ask single tasks of mixed scans in the second stage too.",
        advanced=True,
    )
    detach_aggregate: bool = option(
        default=True,
        label="Fixed aggregate",
        help="The maximum over all tasks is a target only, as a teacher's answer is.",
        advanced=True,
    )


class VerSemi(Method):
    """One network, one prompt per structure, and one for all of them."""

    labelled_at_once = 2  # one of them is mixed with the other
    title = TITLE
    reference = REFERENCE
    partial_labels = PARTIAL_LABELS
    Config = Config

    networks: PromptedNetwork

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        if task.classes < 3:
            msg = (
                "VerSemi learns several structures together and needs at least two; the label table has one. "
                "Choose another method."
            )
            raise OptionError(msg)
        body = build_local_network(config, task).local_body
        self.networks = PromptedNetwork(body, windows_of(config, task), task.classes)
        self.averaged = averaged_copy(self.networks)
        self.window = self.networks.local.window
        self.synthetic = task.classes - 1

    @property
    def deviations(self) -> tuple[str, ...]:
        """Return what differs from the publication."""
        return (
            "The tasks are the structures of one label table; several data sets are merged into one folder.",
            "The synthetic task asks for any structure that the labels of a mixed scan show, not for two.",
            "A single task is asked in both halves of a mixed scan, on voxels whose truth is known.",
            "One pass with several generated heads, at the resolution of the last decoder map.",
            "The aggregate of the tasks carries no gradient."
            if self.config.detach_aggregate
            else "The aggregate of the tasks carries gradient, as in the code.",
        )

    def views(self, case: TrainingCase, rng: np.random.Generator) -> WindowView:
        """Return one window; which task it serves is drawn from what it holds."""
        ranges, aimed = SpatialRanges(self.task.flip_axes), self.config.foreground
        return draw_window_view(case, self.window, ranges, self.task.spacing, rng, foreground=aimed)

    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        """Return ``total``, ``supervised`` and its mixed parts, and ``consistency`` in the second stage."""
        second = progress >= self.config.stage
        taught = self._windows(batch, batch.labelled)
        tasks = draw_tasks(taught.labels, self.task.classes, batch.rng, taught.known)
        own = self.networks.answer(taught.images, [tasks])[0]
        parts = {"supervised": binary_loss(own, taught.labels == _class_of(tasks))}
        parts |= self._mixed_losses(taught, tasks, batch.rng, second=second)
        zero = own.sum() * 0
        agrees = second and len(batch.unlabelled) > 0 and self.config.unlabelled_weight > 0
        parts["consistency"] = self._consistency(batch) if agrees else zero
        total = sum(part for name, part in parts.items() if name.startswith("supervised"))
        total = total + self.config.unlabelled_weight * parts["consistency"]
        return {"total": total, **{name: part.detach() for name, part in parts.items()}}

    def _windows(self, batch: Batch, views: Sequence[WindowView]) -> WindowCrops:
        return strong_windows([view.to(batch.device) for view in views])

    def _mixed_losses(
        self, windows: WindowCrops, tasks: torch.Tensor, rng: np.random.Generator, *, second: bool
    ) -> dict[str, torch.Tensor]:
        """Return the synthetic task on mixed labelled windows, and single tasks asked of the same mix.

        The synthetic task takes for background what no label shows, as the paper does: without, labels of
        single structures would teach it no background at all. A single task can do better, for its own
        half shows it: of the other half, voxels count where that label shows it too, and where another
        structure lies, since structures do not overlap.
        """
        half = len(tasks) // 2
        if not half:
            return {}
        mask = draw_cubes(half, self.window, rng, second=second).to(tasks.device)
        a, b = slice(0, half), slice(half, 2 * half)
        images = torch.where(mask[:, None], windows.images[a], windows.images[b])
        labels = torch.where(mask, windows.labels[a], windows.labels[b])
        foreground = (labels > 0) & (labels != IGNORE)
        any_task = torch.full_like(tasks[a], self.synthetic)
        asked = [any_task, tasks[a], tasks[b]]
        answers = [logits.softmax(1)[:, 1] for logits in self.networks.answer(images, asked)]
        parts = {"supervised_synthetic": soft_dice(answers[0], foreground)}
        if not second or self.config.auxiliary_throughout:
            single = []
            for answer, task in zip(answers[1:], asked[1:], strict=True):
                inside, outside = (shows(windows.known[half], task) for half in (a, b))
                counted = torch.where(mask, inside, outside) | foreground
                single.append(soft_dice(answer * counted, labels == _class_of(task)))
            parts["supervised_auxiliary"] = torch.stack(single).mean()
        return parts

    def _consistency(self, batch: Batch) -> torch.Tensor:
        """Return how far the maximum over all tasks is from the synthetic answer, on mixed windows.

        A single window is mixed with itself: where processes share two, each must still learn from its own.
        """
        images = self._windows(batch, batch.unlabelled).images
        mask = draw_cubes(len(images), self.window, batch.rng, second=True).to(images.device)
        mixed = torch.where(mask[:, None], images, images.roll(1, 0))
        prompts = [torch.full((len(mixed),), task, device=mixed.device) for task in range(self.synthetic + 1)]
        *single, every = [logits.softmax(1)[:, 1] for logits in self.networks.answer(mixed, prompts)]
        aggregate = torch.stack(single).amax(0)
        return soft_dice(every, aggregate.detach() if self.config.detach_aggregate else aggregate)


def draw_tasks(
    labels: torch.Tensor,
    classes: int,
    rng: np.random.Generator,
    known: Sequence[tuple[int, ...] | None] | None = None,
) -> torch.Tensor:
    """Draw for each window a task among the structures it holds; if it holds none, among those it shows.

    Args:
        labels: (B, K, J, I) class numbers, 255 where unknown.
        classes: Number of classes C.
        rng: Source of the draws.
        known: For each window the class numbers that its label shows; ``None`` for all.

    Returns:
        (B,) task numbers 0..C-2; the structure's class is one more.
    """
    tasks = []
    for label, part in zip(labels, known or [None] * len(labels), strict=True):
        shown = part or range(1, classes)
        chosen = [number for number in label.unique().tolist() if number in shown] or shown
        tasks.append(chosen[rng.integers(len(chosen))] - 1)
    return torch.tensor(tasks, device=labels.device)


def shows(known: Sequence[tuple[int, ...] | None], tasks: torch.Tensor) -> torch.Tensor:
    """Return for each window whether its label shows the structure of a task.

    Args:
        known: For each window the class numbers that its label shows; ``None`` for all.
        tasks: (B,) task numbers, for each window one.

    Returns:
        (B, 1, 1, 1) bool.
    """
    answers = [part is None or task + 1 in part for part, task in zip(known, tasks.tolist(), strict=True)]
    return torch.tensor(answers, device=tasks.device)[:, None, None, None]


def draw_cubes(count: int, size: Triple, rng: np.random.Generator, *, second: bool) -> torch.Tensor:
    """Draw one block per window, 2/3 of each side in the first stage, 0.3 to 0.6 in the second.

    Returns:
        (count, *size) bool, true inside the block.
    """
    masks = torch.zeros(count, *size, dtype=torch.bool)
    for mask in masks:
        ratio = rng.uniform(*SECOND_STAGE_CUBE) if second else FIRST_STAGE_CUBE
        sides = np.maximum(1, np.round(np.asarray(size) * ratio)).astype(int)
        start = rng.integers(0, np.subtract(size, sides) + 1)
        mask[Box(triple(start), triple(sides)).slices()] = True
    return masks


def soft_dice(probability: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return ``1 - (2 sum p t + e) / (sum p^2 + sum t^2 + e)``, sums over the whole batch.

    Args:
        probability: (B, K, J, I), 0..1.
        target: The same, true or false or 0..1; equal soft maps cost nothing.
    """
    p, t = probability.float(), target.float()
    return 1 - (2 * (p * t).sum() + EPSILON) / (p.square().sum() + t.square().sum() + EPSILON)


def binary_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return Dice of the structure plus cross-entropy.

    Args:
        logits: (B, 2, K, J, I).
        target: (B, K, J, I) bool.
    """
    entropy = batch_cross_entropy(logits, target.to(torch.uint8))
    return soft_dice(logits.float().softmax(1)[:, 1], target) + entropy


def _class_of(tasks: torch.Tensor) -> torch.Tensor:
    return (tasks + 1)[:, None, None, None]
