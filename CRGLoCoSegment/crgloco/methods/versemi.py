"""VerSemi: versatile semi-supervised segmentation with task prompts, the structures as tasks (adapted).

arXiv 2311.11686; IEEE TMI 2025, doi 10.1109/TMI.2025.3556310. One network answers the task that a
prompt asks for; a synthetic task, made by pasting a block of one scan into another, asks for any
structure. On unlabelled scans the maximum over all tasks must agree with that answer. A label may show
some structures only, as where sets with tables of their own were merged: its case serves the tasks it shows.

| part | paper | here | why |
|---|---|---|---|
| tasks | four data sets, one structure each | structures of one table, in one set or several | both exist |
| asked of a window | its set's task | every structure that its label shows | one pass answers all |
| synthetic label | foreground of the two tasks | any structure that either label shows | no other is known |
| auxiliary label | the task's half of the mix | each task's structure in the mix | both may hold it |
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
from torch.nn import functional

from crgloco.data.augment import SpatialRanges
from crgloco.data.boxes import Box, Triple, triple
from crgloco.data.patches import IGNORE, TrainingCase
from crgloco.data.window_views import WindowCrops, WindowView, draw_window_view, strong_windows
from crgloco.errors import OptionError
from crgloco.methods.base import Batch, Method, Task, averaged_copy, build_local_network, windows_of
from crgloco.networks.options import DualResolutionOptions
from crgloco.networks.prompted import PromptedNetwork
from crgloco.options import option

TITLE = "VerSemi (structures as tasks, adapted)"
REFERENCE = "Segment Together, IEEE TMI 2025, doi 10.1109/TMI.2025.3556310, arXiv 2311.11686"
PARTIAL_LABELS = True
FEWEST_STRUCTURES = 2
CONFIGURATIONS: dict[str, dict[str, object]] = {"default": {}}
EPSILON = 1e-5
FIRST_STAGE_CUBE = 2 / 3
SECOND_STAGE_CUBE = (0.3, 0.6)
EACH_STRUCTURE = (0, 2, 3, 4)  # the axes of (B, S, K, J, I) that a sum of its own goes over


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
    fewest_structures = FEWEST_STRUCTURES
    Config = Config

    networks: PromptedNetwork

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__(config, task)
        if task.classes - 1 < FEWEST_STRUCTURES:
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
            "A window is asked for every structure that its label shows, whether it holds it or not.",
            "One pass with several generated heads, at the resolution of the last decoder map.",
            "The aggregate of the tasks carries no gradient."
            if self.config.detach_aggregate
            else "The aggregate of the tasks carries gradient, as in the code.",
        )

    def views(self, case: TrainingCase, rng: np.random.Generator) -> WindowView:
        """Return one window; it serves every task that its label shows."""
        ranges, aimed = SpatialRanges(self.task.flip_axes), self.config.foreground
        return draw_window_view(case, self.window, ranges, self.task.spacing, rng, foreground=aimed)

    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        """Return ``total``, ``supervised`` and its mixed parts, and ``consistency`` in the second stage."""
        second = progress >= self.config.stage
        taught = self._windows(batch, batch.labelled)
        shown = shown_structures(taught.known, self.synthetic, batch.device)
        gain = self.networks.answer(taught.images, self._prompts(len(taught.images), batch.device)[:, :-1])
        parts = {"supervised": structure_loss(gain, taught.labels, shown[..., None, None, None])}
        parts |= self._mixed_losses(taught, shown, batch.rng, second=second)
        agrees = second and len(batch.unlabelled) > 0 and self.config.unlabelled_weight > 0
        parts["consistency"] = self._consistency(batch) if agrees else gain.new_zeros(())
        total = sum(part for name, part in parts.items() if name.startswith("supervised"))
        total = total + self.config.unlabelled_weight * parts["consistency"]
        return {"total": total, **{name: part.detach() for name, part in parts.items()}}

    def _prompts(self, count: int, device: torch.device) -> torch.Tensor:
        """Return (count, C): every structure, and the synthetic task last."""
        return torch.arange(self.synthetic + 1, device=device).expand(count, -1)

    def _windows(self, batch: Batch, views: Sequence[WindowView]) -> WindowCrops:
        return strong_windows([view.to(batch.device) for view in views])

    def _mixed_losses(
        self, windows: WindowCrops, shown: torch.Tensor, rng: np.random.Generator, *, second: bool
    ) -> dict[str, torch.Tensor]:
        """Return the synthetic task on mixed labelled windows, and single tasks asked of the same mix.

        The synthetic task takes for background what no label shows, as the paper does: without, labels of
        single structures would teach it no background at all. A single task can do better, for the half
        of which it is asked shows it: of the other half, voxels count where that label shows it too, and
        where another structure lies, since structures do not overlap.
        """
        half = len(shown) // 2
        if not half:
            return {}
        mask = draw_cubes(half, self.window, rng, second=second).to(shown.device)
        a, b = slice(0, half), slice(half, 2 * half)
        images = torch.where(mask[:, None], windows.images[a], windows.images[b])
        labels = torch.where(mask, windows.labels[a], windows.labels[b])
        foreground = (labels > 0) & (labels != IGNORE)
        answers = self.networks.answer(images, self._prompts(half, images.device)).sigmoid()
        parts = {"supervised_synthetic": soft_dice(answers[:, -1], foreground)}
        if not second or self.config.auxiliary_throughout:
            inside, outside = (shown[part, :, None, None, None] for part in (a, b))
            counted = torch.where(mask[:, None], inside, outside) | foreground[:, None]
            counted = counted & (inside | outside)
            parts["supervised_auxiliary"] = structures_dice(answers[:, :-1], labels, counted)
        return parts

    def _consistency(self, batch: Batch) -> torch.Tensor:
        """Return how far the maximum over all tasks is from the synthetic answer, on mixed windows.

        A single window is mixed with itself: where processes share two, each must still learn from its own.
        """
        images = self._windows(batch, batch.unlabelled).images
        mask = draw_cubes(len(images), self.window, batch.rng, second=True).to(images.device)
        mixed = torch.where(mask[:, None], images, images.roll(1, 0))
        answers = self.networks.answer(mixed, self._prompts(len(mixed), mixed.device)).sigmoid()
        aggregate = answers[:, :-1].amax(1)
        return soft_dice(answers[:, -1], aggregate.detach() if self.config.detach_aggregate else aggregate)


def shown_structures(
    known: Sequence[tuple[int, ...] | None], structures: int, device: torch.device
) -> torch.Tensor:
    """Return which structures each window's label shows.

    Args:
        known: For each window the class numbers that its label shows; ``None`` for all.
        structures: Number of structures S, classes without the background.
        device: Where the answer is wanted.

    Returns:
        (B, S) bool.
    """
    shown = [[part is None or number + 1 in part for number in range(structures)] for part in known]
    return torch.tensor(shown, device=device)


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


def soft_dice(
    probability: torch.Tensor, target: torch.Tensor, axes: tuple[int, ...] | None = None
) -> torch.Tensor:
    """Return ``1 - (2 sum p t + e) / (sum p^2 + sum t^2 + e)``, sums over the whole batch.

    Args:
        probability: (B, K, J, I), 0..1, or with further axes.
        target: The same, true or false or 0..1; equal soft maps cost nothing.
        axes: What the sums go over, if not over all.
    """
    p, t = probability.float(), target.float()
    squares = p.square().sum(axes) + t.square().sum(axes)
    return 1 - (2 * (p * t).sum(axes) + EPSILON) / (squares + EPSILON)


def structures_dice(probability: torch.Tensor, labels: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Return the mean of ``soft_dice`` over structures that occur where they count; 0 if none does.

    Args:
        probability: (B, S, K, J, I), 0..1, of structure numbers 1..S.
        labels: (B, K, J, I) class numbers, 255 where unknown.
        counted: Broadcasts to (B, S, K, J, I): where the truth of a structure is known.
    """
    return _mean_dice(probability, *_truth(labels, probability.shape[1], counted))


def structure_loss(gain: torch.Tensor, labels: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Return Dice plus binary cross-entropy, the mean over the structures that are asked.

    Every structure that a label shows is asked, found in the window or not: what is absent has to be
    denied, which is cross-entropy's part alone.

    Args:
        gain: (B, S, K, J, I) logits of being structure 1..S minus those of not being it.
        labels: (B, K, J, I) class numbers, 255 where unknown.
        counted: Broadcasts to (B, S, K, J, I): where the truth of a structure is known.
    """
    truth, known = _truth(labels, gain.shape[1], counted)
    entropy = functional.binary_cross_entropy_with_logits(gain.float(), truth.float(), reduction="none")
    voxels = known.sum(EACH_STRUCTURE)
    entropies = (entropy * known).sum(EACH_STRUCTURE) / voxels.clamp_min(1)
    asked = (voxels > 0).sum().clamp_min(1)
    return _mean_dice(gain.sigmoid(), truth, known) + entropies.sum() / asked


def _mean_dice(probability: torch.Tensor, truth: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    dice = soft_dice(probability * known, truth, EACH_STRUCTURE)
    present = (truth.sum(EACH_STRUCTURE) > 0).float()
    return (dice * present).sum() / present.sum().clamp_min(1)


def _truth(labels: torch.Tensor, structures: int, counted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where each structure is, and where that is known; both (B, S, K, J, I) bool."""
    numbers = torch.arange(1, structures + 1, device=labels.device)[:, None, None, None]
    known = counted & (labels != IGNORE)[:, None]
    return (labels[:, None] == numbers) & known, known
