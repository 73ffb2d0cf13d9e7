"""CR-GLoCo: cross-resolution learning via global-local context consistency.

A *global* network sees a large field of view at low resolution, a *local* network a small field of
view at full resolution. On unlabelled scans each learns from the other on the overlap of the two
fields. The file holds the published recipe (``released``) and our improved one (``default``).

| part | ``released`` (paper's code) | ``default`` (ours, not the paper's) |
|---|---|---|
| networks | U-Net 16..256 at full resolution | DynUNet (strided stem), EMA teachers, context gate |
| views | independent boxes, noise, labelled affine and label cut-out | one scene, weak, strong, mixed |
| pseudo-labels | other network, same pass, 0.99 / 0.95 | fused teachers where they agree, hard or soft |
| loss on overlap | CE, weight up to 0.1 after 20 % | CE over the whole overlap, weight 1 or 0.3 from a ramp |
| inference | local branch only | log-probabilities of both, local to global as 4 to 1 |

Not reproduced from the code, in both recipes: its preparation (the project's own is used), fp16
with one scaler per network (bf16), cubic image interpolation (linear), selection of the checkpoint
on the test list (last, averaged weights are deployed), distances in voxels only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from crgloco.data.boxes import Box, Triple, draw_released_pair, overlap, triple
from crgloco.data.mixing import Scene, draw_mix, mix_scenes
from crgloco.data.patches import IGNORE, TrainingCase, resize
from crgloco.data.released_views import ReleasedView, draw_released_view, released_inputs
from crgloco.data.views import DualCrop, DualView, strong_inputs, weak_inputs
from crgloco.errors import OptionError
from crgloco.losses.contrastive import at_cells, draw_pairs, gather_classes, inter_contrast, joined
from crgloco.losses.pseudo_labels import (
    AdaptiveThreshold,
    LearntClasses,
    fixed_filter,
    fuse_by_entropy,
    sigmoid_ramp,
)
from crgloco.losses.segmentation import (
    batch_cross_entropy,
    has_few_structures,
    masked_cross_entropy,
    segmentation_loss,
    soft_cross_entropy,
)
from crgloco.methods.base import Batch, Task, draw_lattice
from crgloco.methods.two_branches import TwoBranches
from crgloco.networks.dual_resolution import sample_context
from crgloco.networks.options import DualResolutionOptions
from crgloco.networks.projection import projection_head
from crgloco.options import option

TITLE = "CR-GLoCo (global-local context consistency)"
REFERENCE = "Computerized Medical Imaging and Graphics 2026, 102742, doi 10.1016/j.compmedimag.2026.102742"
CONFIGURATIONS = {
    "default": {},
    "released": {
        "recipe": "released",
        "network": "published",
        "optimiser": "sgd",
        "learning_rate": 0.01,
        "iterations": 20000,
        "labelled_batch": 1,
        "unlabelled_batch": 1,
    },
}
RAMP_START, RAMP_LENGTH, RAMP_STEPS = 0.20, 1.5, 200
CLIP_NORM = 12.0
ANCHORS, TEMPERATURE = 32, 0.1


@dataclass(frozen=True)
class Config(DualResolutionOptions):
    """Options of CR-GLoCo."""

    recipe: str = option(
        "default",
        label="Recipe",
        help="'default' is our improved recipe; 'released' is the published code.",
        choices=("default", "released"),
    )
    unlabelled_weight: float = option(
        -1.0,
        label="Weight of unlabelled scans",
        help="Largest weight of the loss on the overlap ('default' only). Automatic (-1): 1 for one or two "
        "structures, 0.3 for more.",
        minimum=0.0,
        maximum=10.0,
        automatic=True,
    )
    ramp: float = option(
        0.3,
        label="Ramp",
        help="Share of the training after which the weight of unlabelled scans is reached ('default' only).",
        minimum=0.01,
        maximum=1.0,
        advanced=True,
    )
    threshold: float = option(
        0.0,
        label="Confidence threshold",
        help="Confidence above which the surest class is trusted in hard labels; other classes follow "
        "('default' only). Automatic (0): 0.7 for one or two structures, 0.97 for more.",
        minimum=0.01,
        maximum=0.999,
        automatic=True,
        advanced=True,
    )
    labels: str = option(
        "auto",
        label="Labels of the teachers",
        help="Where both teachers name one class: 'hard', that class if they are sure; 'soft', their "
        "probabilities, without mixed scenes ('default' only). 'auto': 'hard' for one or two structures, or "
        "where a threshold or mixed scenes are asked for, else 'soft'.",
        choices=("auto", "hard", "soft"),
        advanced=True,
    )
    background: str = option(
        "auto",
        label="Background of the teachers",
        help="Speaks against 'all' structures, or against those alone that a branch has 'learnt' from the "
        "labels, so that those can come that are learnt late ('default' only). 'auto': 'all' for one or two "
        "structures, 'learnt' for more.",
        choices=("auto", "all", "learnt"),
        advanced=True,
    )
    mixing: float = option(
        -1.0,
        label="Mixed scenes",
        help="Share of crops with a block of another scan at the start; falls to none ('default' only). "
        "Automatic (-1): all for one or two structures, none for more and with soft labels.",
        minimum=0.0,
        maximum=1.0,
        automatic=True,
        advanced=True,
    )
    context: bool = option(
        default=True,
        label="Global context",
        help="Let the local network see the global map ('default' only).",
        advanced=True,
    )
    context_dropout: float = option(
        0.4,
        label="Context dropout",
        help="Share of crops in which the local network must do without the global map ('default' only).",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    contrast_weight: float = option(
        0.0,
        label="Weight of the contrast",
        help="Draw features of a class together in both branches ('default' only); 0 does without.",
        minimum=0.0,
        maximum=10.0,
        advanced=True,
    )


class CRGLoCo(TwoBranches):
    """Two branches that teach each other where their fields of view overlap."""

    title = TITLE
    reference = REFERENCE
    Config = Config

    def __init__(self, config: Any, task: Task) -> None:
        released: bool = config.recipe == "released"
        super().__init__(
            config,
            task,
            context=config.context and not released,
            global_weight=0.0 if released else config.global_weight,
            antialias=not released,
        )
        self.released = released
        self.threshold = AdaptiveThreshold(
            task.classes, share=config.threshold or chosen_threshold(task.classes)
        )
        self.soft = has_soft_labels(config, task.classes) and not released
        self.mixing = self._mixing(config.mixing)
        self.learnt = torch.nn.ModuleDict()
        if spares_what_is_not_learnt(config, task.classes) and not released:
            self.learnt.update({branch: LearntClasses(task.classes) for branch in ("local", "global")})
        asked = config.unlabelled_weight
        self.unlabelled_weight: float = chosen_weight(task.classes) if asked < 0 else asked
        self.projections: torch.nn.ModuleDict | None = None
        if config.contrast_weight > 0 and not self.released:  # made last: the weights above stay the same
            bodies = (self.networks.local_body, self.networks.global_body)
            heads = [projection_head(body.channels) for body in bodies]
            self.projections = torch.nn.ModuleDict(dict(zip(("local", "global"), heads, strict=True)))

    def _mixing(self, asked: float) -> float:
        if not self.soft:
            return chosen_mixing(self.task.classes) if asked < 0 else asked
        if asked > 0:
            msg = (
                "Scenes are mixed with hard labels of the teachers only: choose labels=hard, or leave out "
                "the option mixing."
            )
            raise OptionError(msg)
        return 0.0

    @property
    def deviations(self) -> tuple[str, ...]:
        """Return what differs from the publication."""
        contrasts, mixes, spares = self.projections is not None, self.mixing > 0, len(self.learnt) > 0
        fast = self.config.network == "fast"  # as a start model brings it, whatever the recipe
        shared = (
            "The project's preparation and spacing in mm replace the code's fixed clip and z-score.",
            "bf16 where the hardware has it instead of fp16 with one scaler per network.",
            "The last averaged (EMA 0.99) weights are deployed, not the best on the test list.",
        )
        if self.released:
            return (
                *shared,
                "Windows are planned from the scans, unless `local_window` and `global_window` name them.",
                "Labelled affine by linear instead of cubic interpolation, on the training device.",
                *(("The project's fast networks instead of the published U-Net.",) * fast),
            )
        return (
            *shared,
            (
                "Improved recipe, not the paper's: EMA teachers, weak and strong views of one scene, "
                f"entropy-fused {'soft' if self.soft else 'and class-adaptive'} pseudo-labels that both "
                f"teachers agree on with CE, weight up to {self.unlabelled_weight:g}, global context with "
                "dropout in the local branch, fused inference."
            ),
            *(("Background of the teachers speaks against what a branch has learnt alone.",) * spares),
            *(("Blocks of other scans are pasted into ever fewer scenes, at both resolutions.",) * mixes),
            *(("Contrast of voxels with class means (Chaitanya et al. 2023) is added.",) * contrasts),
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group per network, each clipped at norm 12, and one of what only the contrast needs."""
        groups: dict[bool, list[torch.nn.Parameter]] = {False: [], True: []}
        for name, parameter in self.networks.named_parameters():
            groups[name.startswith("global")].append(parameter)
        heads = [] if self.projections is None else [list(self.projections.parameters())]
        return [{"params": group, "clip_norm": CLIP_NORM} for group in (*groups.values(), *heads)]

    def views(self, case: TrainingCase, rng: np.random.Generator) -> Any:
        """Return one scene with both fields of view: a ``DualView``, or a ``ReleasedView``."""
        if not self.released:
            return super().views(case, rng)
        pair = draw_released_pair(case.shape, self.large, self.small, rng)
        return draw_released_view(case, *pair, rng)

    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        """Return ``total``, the four parts, and the share of voxels that the filter kept."""
        return (
            self._released_losses(batch, progress) if self.released else self._default_losses(batch, progress)
        )

    def _released_losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        views: list[ReleasedView] = [view.to(batch.device) for view in (*batch.labelled, *batch.unlabelled)]
        labelled = len(batch.labelled)
        small, large = released_inputs(views, self.networks.local.tensor_size)
        local = self.networks.full_resolution(small)
        low, _ = self.networks.low_resolution(large)
        parts = {
            "supervised_local": segmentation_loss(
                local[:labelled],
                torch.stack([view.small_label for view in views[:labelled]]),
                over_batch=True,
            ),
            "supervised_global": segmentation_loss(
                resize(low[:labelled], self.large),
                torch.stack([view.large_label for view in views[:labelled]]),
                over_batch=True,
            ),
        }
        cross = [
            self._released_cross(local[index], low[index], views[index])
            for index in range(labelled, len(views))
        ]
        for position, name in enumerate(("cross_local", "cross_global")):
            losses = [pair[position] for pair in cross] or [local.new_zeros(())]
            parts[name] = torch.stack(losses).mean()
        weight = released_weight(progress)
        return _with_total(parts, weight)

    def _released_cross(
        self, local: torch.Tensor, low: torch.Tensor, view: ReleasedView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of the local and of the global network on the overlap of one scan."""
        shared = overlap(view.large, view.small)
        if shared is None:
            return local.sum() * 0, low.sum() * 0
        in_small = local[(..., *shared.moved_to_frame_of(view.small).slices())][None]
        in_large = resize(low[None], self.large, part=shared.moved_to_frame_of(view.large).slices())
        return (
            batch_cross_entropy(in_small, fixed_filter(in_large)),
            batch_cross_entropy(in_large, fixed_filter(in_small)),
        )

    def _default_losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        views: list[DualView] = [view.to(batch.device) for view in (*batch.labelled, *batch.unlabelled)]
        labelled = len(batch.labelled)
        crops = [view.cut() for view in views]
        kept = crops[0].small.new_zeros(())
        answers: list[torch.Tensor] = []
        if len(views) > labelled:
            crops[labelled:], answers, kept = self._ask_teachers(crops[labelled:], views[labelled:])
        scenes = [
            Scene(
                crop,
                torch.full_like(crop.small_label, index < labelled),
                torch.full_like(crop.large_label, index < labelled),
                view.offset,
            )
            for index, (crop, view) in enumerate(zip(crops, views, strict=True))
        ]
        share = self.mixing * (1 - progress)
        mixes = draw_mix(labelled, len(views), self.small, share, batch.rng)
        rngs = [np.random.default_rng(view.seed) for view in views]
        parts = self._student_losses(mix_scenes(scenes, mixes), answers, rngs, batch)
        ramp = sigmoid_ramp(progress, self.config.ramp)
        told = _with_total(parts, self.unlabelled_weight * ramp)
        if "contrast" in parts:
            told["total"] = told["total"] + self.config.contrast_weight * ramp * parts["contrast"]
        thresholds = {f"threshold_{c}": t for c, t in enumerate(self.threshold.thresholds)}
        return {**told, "kept": kept, **thresholds}

    @torch.no_grad()
    def _ask_teachers(
        self, crops: list[DualCrop], views: list[DualView]
    ) -> tuple[list[DualCrop], list[torch.Tensor], torch.Tensor]:
        """Return unlabelled crops with the filtered labels of both teachers, soft labels, and the share kept.

        The local teacher sees the global map, as it will in use; what only one of the two says is ignored.
        Soft labels are the fused probabilities (1, C, k, j, i) on each overlap, 0 where ignored.
        """
        small, large = weak_inputs(crops, self.averaged.local.tensor_size)
        low, large_map = self.averaged.low_resolution(large)
        context = self._context(large_map, [view.offset for view in views])
        local = self.averaged.full_resolution(small, context).softmax(1)
        labelled, answers, kept = [], [], []
        for crop, view, own, other in zip(crops, views, local, low.float(), strict=True):
            shared = _shared(view.large, view.small)
            in_small = shared.moved_to_frame_of(view.small).slices()
            in_large = shared.moved_to_frame_of(view.large).slices()
            glob = resize(other[None], self.large, part=in_large).softmax(1)
            own_part = own[(..., *in_small)][None]
            fused = fuse_by_entropy(own_part, glob)
            self.threshold.update(*fused.max(1))
            differ = own_part.argmax(1) != glob.argmax(1)
            label = self.threshold.filter(fused).masked_fill(differ, IGNORE)[0]
            small_label = torch.full_like(crop.small_label, IGNORE)
            large_label = torch.full_like(crop.large_label, IGNORE)
            small_label[in_small] = label
            large_label[in_large] = label
            kept.append((label != IGNORE).float().mean())
            labelled.append(DualCrop(crop.small, small_label, crop.large, large_label))
            if self.soft:
                answers.append(fused * ~differ[:, None])
        return labelled, answers, torch.stack(kept).mean()

    def _student_losses(
        self,
        scenes: list[Scene],
        answers: list[torch.Tensor],
        rngs: list[np.random.Generator],
        batch: Batch,
    ) -> dict[str, torch.Tensor]:
        lattice = draw_lattice(self.networks, batch.rng)
        small, large = strong_inputs([s.crop for s in scenes], rngs, self.networks.local.tensor_size)
        large_map = self.networks.global_body(large)
        low = self.networks.global_head(large_map)
        context = self._context(large_map, [scene.offset for scene in scenes])
        small_map = self.networks.local_map(small, self._with_dropout(context, rngs))
        local = resize(self.networks.local_head(small_map), self.small)
        whole = Box((0, 0, 0), self.large)
        points = whole.lattice(*lattice)
        glob = resize(low, self.large, part=points)
        target = torch.stack([scene.crop.small_label for scene in scenes])
        true = torch.stack([scene.known for scene in scenes])
        target_large = torch.stack([scene.crop.large_label[points] for scene in scenes])
        true_large = torch.stack([scene.known_large[points] for scene in scenes])
        shared = [_shared(whole, Box(scene.offset, self.small)) for scene in scenes]
        truth = target.masked_fill(true == 0, IGNORE)
        truth_large = target_large.masked_fill(true_large == 0, IGNORE)
        parts = {
            "supervised_local": segmentation_loss(local, truth),
            "supervised_global": segmentation_loss(glob, truth_large),
        }
        hidden = (self._not_learnt("local", local, truth), self._not_learnt("global", glob, truth_large))
        if self.soft:
            windows = [Box(scene.offset, self.small) for scene in scenes]
            parts |= _soft_losses((local, glob), answers, shared, windows, lattice, hidden)
        else:
            voxels = [box.volume for box in shared]
            shared_points = [_count(box.lattice(*lattice)) for box in shared]
            taught = target.masked_fill(true != 0, IGNORE)
            taught_large = target_large.masked_fill(true_large != 0, IGNORE)
            parts |= {
                "cross_local": _overlap_loss(local, taught, voxels, hidden[0]),
                "cross_global": _overlap_loss(glob, taught_large, shared_points, hidden[1]),
            }
        if self.projections is not None:
            parts["contrast"] = self._contrast(scenes, (small_map, large_map), batch)
        return parts

    def _not_learnt(self, branch: str, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor | None:
        """Return the (C,) share of each class that a branch has not learnt yet; ``None`` if nobody asks.

        Teachers do not see what is learnt late, and their background would keep it from being learnt at
        all: it drowns the few voxels of the labels (``docs/measurements.md`` has the numbers).
        """
        if branch not in self.learnt:
            return None
        learnt = self.learnt[branch]
        assert isinstance(learnt, LearntClasses)
        learnt.update(logits.detach(), truth)
        return 1 - learnt.share

    def _contrast(
        self, scenes: list[Scene], maps: tuple[torch.Tensor, torch.Tensor], batch: Batch
    ) -> torch.Tensor:
        """Return the contrast of voxels with class means, of both branches and of different scans.

        The classes are those that teach: the truth, and on the overlap of unlabelled scans the filtered
        labels of the teachers.
        """
        assert self.projections is not None
        generator = torch.Generator(batch.device).manual_seed(int(batch.rng.integers(2**31)))
        labels = ([scene.crop.small_label for scene in scenes], [scene.crop.large_label for scene in scenes])
        parts = [
            gather_classes(
                project(features),
                at_cells(torch.stack(label), features.shape[2:]),
                self.task.classes,
                anchors=ANCHORS,
                first_class=0 if self.task.classes == 2 else 1,
                generator=generator,
            )
            for project, features, label in zip(self.projections.values(), maps, labels, strict=True)
        ]
        number = len(scenes)
        both_branches = tuple((index, number + index) for index in range(number))
        pairs = (*both_branches, *draw_pairs(len(batch.labelled), number))
        return inter_contrast(joined(parts), pairs, TEMPERATURE)

    def _context(self, features: torch.Tensor | None, offsets: Sequence[Triple]) -> torch.Tensor | None:
        """Return the global map at the local windows; ``None`` if the local network takes none."""
        stride = self.networks.context_stride
        if stride is None or features is None:
            return None
        size = triple([math.ceil(n / s) for n, s in zip(self.small, stride, strict=True)])
        return torch.cat(
            [
                sample_context(own[None], self.large, Box(offset, self.small), size)
                for own, offset in zip(features, offsets, strict=True)
            ]
        )

    def _with_dropout(
        self, context: torch.Tensor | None, rngs: list[np.random.Generator]
    ) -> torch.Tensor | None:
        """Put zeros in place of the context of samples that must do without."""
        if context is None:
            return None
        with_context = [rng.random() >= self.config.context_dropout for rng in rngs]
        keep = torch.tensor(with_context, device=context.device).float()
        return context * keep[:, None, None, None, None]


def chosen_threshold(classes: int) -> float:
    """Return the confidence that the surest class must have, for C classes with the background.

    Of many structures a teacher misses some, and would teach background there; it is seldom very sure of
    that. One or two it finds; what it is unsure of is their border, which is worth teaching
    (``docs/methods/cr_gloco.md`` has the numbers).
    """
    return 0.7 if has_few_structures(classes) else 0.97


def chosen_weight(classes: int) -> float:
    """Return the largest weight of the loss on the overlap, for C classes with the background.

    Of many structures the large ones grow from pseudo-labels of full weight
    (``docs/measurements.md`` has the numbers).
    """
    return 1.0 if has_few_structures(classes) else 0.3


def chosen_mixing(classes: int) -> float:
    """Return the share of mixed crops at the start, for C classes with the background.

    Of many structures, place tells which is which; pasted blocks show them where they never are, and
    islands far away are the answer (``docs/methods/cr_gloco.md`` has the numbers).
    """
    return 1.0 if has_few_structures(classes) else 0.0


def has_soft_labels(config: Config, classes: int) -> bool:
    """Whether the teachers' labels are soft, for C classes with the background.

    Of many structures the teachers are sure of the large ones first; hard labels of those alone make them
    grow (``docs/measurements.md`` has the numbers).
    """
    if config.labels != "auto":
        return config.labels == "soft"
    asks_for_hard_ones = config.threshold > 0 or config.mixing > 0
    return not (has_few_structures(classes) or asks_for_hard_ones)


def spares_what_is_not_learnt(config: Config, classes: int) -> bool:
    """Whether the teachers' background spares what a branch has not learnt, for C classes with it.

    Of many structures some are learnt late (``docs/measurements.md`` has the numbers).
    """
    return config.background == "learnt" or (config.background == "auto" and not has_few_structures(classes))


def released_weight(progress: float) -> float:
    """Return lambda(t) of the released code, with its iteration numbers as shares of the training.

    0 before 20 %; then ``0.1 exp(-5 (1 - min(floor(t / 150), 200) / 200)^2)`` for T = 20,000: the
    ramp would be full at 1.5 T and never is.
    """
    if progress < RAMP_START:
        return 0.0
    step = min(math.floor(progress / RAMP_LENGTH * RAMP_STEPS + 1e-9), RAMP_STEPS)
    return 0.1 * math.exp(-5 * (1 - step / RAMP_STEPS) ** 2)


def _overlap_loss(
    logits: torch.Tensor, target: torch.Tensor, voxels: list[int], hidden: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the cross-entropy summed over kept voxels, divided by the voxels of the overlap.

    Background of the teachers may hold the hidden share of each class.
    No Dice: it gives a class that the teachers found in ten voxels as much weight as an organ, and what
    they imagined grows (``docs/methods/cr_gloco.md`` has the numbers).
    """
    sizes = torch.tensor(voxels, device=logits.device, dtype=torch.float32)
    return masked_cross_entropy(logits, target, voxels=sizes, hidden=hidden)


def _soft_losses(
    logits: tuple[torch.Tensor, torch.Tensor],
    answers: list[torch.Tensor],
    shared: list[Box],
    windows: list[Box],
    lattice: tuple[Triple, Triple],
    hidden: tuple[torch.Tensor | None, torch.Tensor | None],
) -> dict[str, torch.Tensor]:
    """Return the cross-entropy of both branches to the teachers' probabilities on the overlap.

    Args:
        logits: Those (B, C, K, J, I) in the small windows, and (B, C, k, j, i) at the points of the lattice
            in the large ones; the last samples are unlabelled.
        answers: (1, C, ...) probabilities on the overlap of each unlabelled sample; 0 where nothing is known.
        shared: Overlap of each sample, in the frame of its large window.
        windows: Small window of each sample, in the same frame.
        lattice: Step and phase of the points.
        hidden: Of each branch, the (C,) share of each class that may lie in background.
    """
    local, glob = logits
    if not answers:
        return {"cross_local": local.new_zeros(()), "cross_global": local.new_zeros(())}
    first = len(local) - len(answers)
    in_local, in_global = [], []
    for index, answer in enumerate(answers, first):
        box = shared[index]
        place = box.moved_to_frame_of(windows[index]).slices()
        in_local.append(soft_cross_entropy(local[index : index + 1][(..., *place)], answer, hidden=hidden[0]))
        rows, points = box.lattice_rows(*lattice)
        in_global.append(
            soft_cross_entropy(
                glob[index : index + 1][(..., *rows)], answer[(..., *points)], hidden=hidden[1]
            )
        )
    return {"cross_local": torch.stack(in_local).mean(), "cross_global": torch.stack(in_global).mean()}


def _shared(large: Box, small: Box) -> Box:
    """Return what both fields of view show; ``draw_pair`` always leaves some."""
    shared = overlap(large, small)
    assert shared is not None
    return shared


def _count(points: tuple[slice, slice, slice]) -> int:
    return math.prod(len(range(axis.start, axis.stop, axis.step)) for axis in points)


def _with_total(parts: dict[str, torch.Tensor], weight: float) -> dict[str, torch.Tensor]:
    supervised = parts["supervised_local"] + parts["supervised_global"]
    total = supervised + weight * (parts["cross_local"] + parts["cross_global"])
    return {"total": total, **{name: part.detach() for name, part in parts.items()}}
