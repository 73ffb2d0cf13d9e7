"""What a learning method is: networks, views, losses, and the branches that inference runs.

The trainer and the predictor know this class and no method by name. A method is one file in this
folder with the constants ``TITLE`` and ``REFERENCE`` (and ``KIND``, ``CONFIGURATIONS``, ``PARTIAL_LABELS``,
``FEWEST_STRUCTURES`` where they differ from the usual), which are read without importing it, a frozen
dataclass ``Config``, and one subclass of ``Method`` that repeats them; everything else finds it by itself.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from crgloco.data.boxes import Triple, triple
from crgloco.data.patches import TrainingCase
from crgloco.errors import ModelError, OptionError
from crgloco.networks.backbones import Body, PublishedUNet, StemmedDynUNet
from crgloco.networks.dual_resolution import BranchShape, DualResolution
from crgloco.networks.options import DualResolutionOptions, window_named
from crgloco.networks.plan import Windows, plan_stem, plan_windows

Labels = npt.NDArray[np.uint8]
Options = TypeVar("Options", bound=DualResolutionOptions)


@dataclass(frozen=True)
class Task:
    """What a method must know of the scans to build its networks; stored in the model card.

    Attributes:
        channels: Image channels.
        classes: Number of classes C, background included.
        spacing: Millimetres of prepared voxels along K, J, I.
        shapes: Prepared shapes of the training cases.
        flip_axes: Axes (0 = K) along which the body may be mirrored without changing any label.
    """

    channels: int
    classes: int
    spacing: tuple[float, float, float]
    shapes: tuple[Triple, ...]
    flip_axes: tuple[int, ...] = (0, 1, 2)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Task:
        """Read what ``to_json`` wrote.

        Raises:
            ModelError: A value is missing or of the wrong kind.
        """
        try:
            spacing = tuple(float(mm) for mm in values["spacing"])
            shapes = tuple(tuple(int(n) for n in shape) for shape in values["shapes"])
            flips = tuple(int(axis) for axis in values["flip_axes"])
            return cls(int(values["channels"]), int(values["classes"]), spacing, shapes, flips)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            msg = f"The description of the network cannot be read: {error!r}."
            raise ModelError(msg) from error


class PseudoLabel(Protocol):
    """Gives an unlabelled case the label that the averaged networks predict for it."""

    def __call__(
        self, case: TrainingCase, refine: Callable[[Labels], Labels], *, agreement: float = 0.0
    ) -> TrainingCase | None:
        """Return the case with its frozen label, or ``None`` if it is not trusted."""


@dataclass(frozen=True)
class Batch:
    """The samples of one update.

    Attributes:
        labelled: What ``views`` made of labelled cases.
        unlabelled: What ``views`` made of unlabelled cases.
        device: Where the networks are.
        rng: For draws that concern the batch as a whole.
    """

    labelled: Sequence[Any]
    unlabelled: Sequence[Any]
    device: torch.device
    rng: np.random.Generator


class Method(nn.Module, ABC):
    """One way to learn from labelled and unlabelled scans.

    Args:
        config: The method's options.
        task: What the scans are like.
    """

    title: ClassVar[str]
    reference: ClassVar[str]
    kind: ClassVar[str] = "segmentation"
    partial_labels: ClassVar[bool] = False
    fewest_structures: ClassVar[int] = 1
    # Labelled samples that every process must have in an update, if some parts need more than any.
    labelled_at_once: ClassVar[int] = 0
    Config: ClassVar[type[DualResolutionOptions]]

    networks: DualResolution
    averaged: DualResolution

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__()
        self.config = config
        self.task = task

    @property
    def deviations(self) -> tuple[str, ...]:
        """Return what differs from the publication, one sentence each, for the model card."""
        return ()

    @abstractmethod
    def views(self, case: TrainingCase, rng: np.random.Generator) -> Any:
        """Return one training sample.

        Args:
            case: Case to read from; its label is ``None`` if it serves as unlabelled.
            rng: Randomness of this sample.
        """

    @abstractmethod
    def losses(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        """Return ``{"total": ..., parts...}``: scalars, of which ``total`` alone carries gradients.

        Args:
            batch: What ``views`` made of the cases of this update.
            progress: Runs from 0 to 1 over the training and drives every ramp.
        """

    def after_step(self, step: int) -> None:
        """Follow the networks with their moving average, decay ``min(0.99, 1 - 1 / (step + 1))``."""
        update_average(self.averaged, self.networks, min(0.99, 1 - 1 / (step + 1)))

    def fitting(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return those of a start model's weights, by name, that the networks have by name and shape."""
        own = self.networks.state_dict()
        return {name: w for name, w in weights.items() if name in own and own[name].shape == w.shape}

    def start_from(self, weights: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
        """Take over the weights of a start model where name and shape agree.

        Args:
            weights: What ``weights_to_keep`` of its method returned, by name.

        Returns:
            The names that were taken over.

        Raises:
            ModelError: Nothing fits.
        """
        fitting = self.fitting(weights)
        if not fitting:
            msg = (
                "No weight of the start model fits the networks of this method. Leave the options of the "
                "networks (width, levels, ...) to the start model, or train without one."
            )
            raise ModelError(msg)
        self.networks.load_state_dict(fitting, strict=False)
        self.averaged.load_state_dict(fitting, strict=False)
        return tuple(fitting)

    @property
    def round_starts(self) -> tuple[float, ...]:
        """Return where rounds with new pseudo-labels begin, as shares of the training; without any, ()."""
        return ()

    def begin_round(self, number: int, cases: Sequence[TrainingCase], pseudo_label: PseudoLabel) -> None:
        """Renew the pseudo-labels of the unlabelled cases; they stay for the whole round.

        Args:
            number: 1 for the round that begins at ``round_starts[0]``.
            cases: All unlabelled cases.
            pseudo_label: Lent by the trainer: predicts a whole case with the averaged networks, refines
                the answer, keeps it on disk, and returns the case with that label; ``None`` if two
                mirrored predictions agree by less than ``agreement``.
        """

    def weights_to_keep(self) -> dict[str, torch.Tensor]:
        """Return the weights that make the new model, by name, of whatever shapes."""
        return self.averaged.state_dict()

    def branches(self, task: str | None = None) -> tuple[BranchShape, ...]:
        """Return the branches as inference runs them, global first where there is one."""
        del task
        network = self.averaged
        return (network.local,) if network.global_ is None else (network.global_, network.local)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return optimiser groups, here one of all weights that learn; gradients are clipped group by group.

        Besides ``params`` a group may have ``rate`` (its share of the learning rate), ``warm_up`` (share
        of the training over which its rate rises to that) and ``clip_norm``.
        """
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]


def build_networks(config: DualResolutionOptions, task: Task, **kwargs: Any) -> DualResolution:
    """Build both branches from options and scans.

    Args:
        config: Network, widths and windows.
        task: What the scans are like.
        kwargs: ``context`` of ``DualResolution``, and what shall differ from the options.

    Raises:
        OptionError: The windows do not suit one another or the network.
    """
    windows = windows_of(config, task)
    k, j, i = (mm / share for mm, share in zip(task.spacing, windows.scale, strict=True))
    local_body = _body(config, task, windows.local, task.spacing)
    global_body = _body(config, task, windows.local, (k, j, i))
    head = config.head if config.network == "fast" else "linear"
    chosen = {"global_weight": config.global_weight} | kwargs
    return DualResolution(local_body, global_body, windows, task.classes, head=head, **chosen)


def build_local_network(config: DualResolutionOptions, task: Task) -> DualResolution:
    """Build a model of one network, at full resolution, for methods that know no global branch.

    Raises:
        OptionError: The windows do not suit one another or the network.
    """
    windows = windows_of(config, task)
    body = _body(config, task, windows.local, task.spacing)
    head = config.head if config.network == "fast" else "linear"
    return DualResolution(body, None, windows, task.classes, head=head)


def windows_of(config: DualResolutionOptions, task: Task) -> Windows:
    """Return both windows: as the options say, else as the scans suggest.

    Raises:
        OptionError: The global window is smaller than the local one.
    """
    planned = plan_windows(task.shapes, task.spacing, config.window_voxels)
    local = window_named(config.local_window, "local_window") or planned.local
    glob = window_named(config.global_window, "global_window") or planned.global_
    if any(large < small for large, small in zip(glob, local, strict=True)):
        msg = f"The global window {glob} must be at least as large as the local window {local}."
        raise OptionError(msg)
    return Windows(local, glob)


def settled(config: Options, task: Task) -> Options:
    """Return the options with what ``"auto"`` stands for here, as a model keeps them."""
    return replace(config, stem=plan_stem(config.stem, windows_of(config, task).local))


def draw_lattice(networks: DualResolution, rng: np.random.Generator) -> tuple[Triple, Triple]:
    """Draw step and phase of the native voxels on which the global branch is supervised.

    A reduced map holds no detail between its voxels, so every second voxel of the unresized label
    (or every so many, as the reduction allows) says as much as all of them, at a fraction of the cost.
    """
    scale = networks.global_.scale if networks.global_ is not None else (1.0, 1.0, 1.0)
    step = triple([max(1, int(1 / share + 1e-6)) for share in scale])
    return step, triple(rng.integers(0, step))


def averaged_copy(networks: DualResolution) -> DualResolution:
    """Return a copy without gradients, in evaluation mode for good."""
    average = copy.deepcopy(networks)
    for parameter in average.parameters():
        parameter.requires_grad = False
    return average.eval()


@torch.no_grad()
def update_average(average: nn.Module, source: nn.Module, decay: float) -> None:
    """Move every parameter towards the source: ``average = decay * average + (1 - decay) * source``."""
    torch._foreach_lerp_(list(average.parameters()), list(source.parameters()), 1 - decay)
    for target, value in zip(average.buffers(), source.buffers(), strict=True):
        target.copy_(value)


def _body(
    config: DualResolutionOptions, task: Task, size: Triple, spacing: tuple[float, float, float]
) -> Body:
    if config.network == "published":
        if min(size) < 16 or max(size) < 32:
            msg = (
                "The published network halves its window four times and needs at least 16 voxels on each "
                f"axis, 32 on one; the local window has {size}. Choose a larger one, or the fast network."
            )
            raise OptionError(msg)
        return PublishedUNet(task.channels)
    widths = tuple(min(config.width * 2**level, 4 * config.width) for level in range(config.levels))
    return StemmedDynUNet(task.channels, widths, size, spacing, plan_stem(config.stem, size))
