"""Options that every dual-resolution method shares: its networks and its training run. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crgloco.data.boxes import Triple, triple
from crgloco.errors import OptionError
from crgloco.options import option, three_numbers

# Options that fix the shape of the weights and the grid they know: a start model brings its own.
NETWORK_OPTIONS = (
    "network",
    "stem",
    "head",
    "width",
    "levels",
    "window_voxels",
    "local_window",
    "global_window",
    "spacing",
)
STEMS = ("strided", "space_to_depth", "full")
# When training goes on from a model that segments already, and nobody asks for a number.
UPDATES_PER_LABEL = 100
UPDATES_PER_SCAN = 20


@dataclass(frozen=True)
class DualResolutionOptions:
    """Networks, fields of view and training schedule.

    Raises:
        OptionError: A window that is named cannot be one.
    """

    iterations: int = option(
        4000,
        label="Updates",
        help="Number of training steps: time grows with it, and from scratch the result does too.",
        minimum=1,
        maximum=1_000_000,
    )
    labelled_batch: int = option(
        2, label="Labelled per update", help="Labelled crops in each update.", minimum=1, maximum=64
    )
    unlabelled_batch: int = option(
        2, label="Unlabelled per update", help="Unlabelled crops in each update.", minimum=0, maximum=64
    )
    optimiser: str = option(
        "adamw",
        label="Optimiser",
        help="'adamw' learns faster in short runs; 'sgd' is what the papers use.",
        choices=("adamw", "sgd"),
        advanced=True,
    )
    learning_rate: float = option(
        0.001,
        label="Learning rate",
        help="Rate at the start; falls to 0 by the power 0.9.",
        minimum=1e-7,
        maximum=1.0,
    )
    start_rate: float = option(
        0.06,
        label="Rate with a start model",
        help="Share of the learning rate for each labelled case, at most the whole, when training goes on "
        "from a model that segments already: a few labels could spoil what it knows.",
        minimum=0.001,
        maximum=1.0,
        advanced=True,
    )
    network: str = option(
        "fast",
        label="Network",
        help="'fast' suits a computer without GPU; 'published' is the paper's U-Net.",
        choices=("fast", "published"),
        advanced=True,
    )
    stem: str = option(
        "auto",
        label="Stem",
        help="How the fast network leaves full resolution; 'auto' stays there where windows are small.",
        choices=("auto", *STEMS),
        advanced=True,
    )
    head: str = option(
        "linear",
        label="Head",
        help="How the last map becomes logits at full resolution; 'perceptron' has two hidden layers. "
        "Methods with heads of their own (VerSemi, PGL) do not use it.",
        choices=("linear", "depth_to_space", "perceptron"),
        advanced=True,
    )
    width: int = option(
        32,
        label="Width",
        help="Features of the first level of the fast network.",
        minimum=4,
        maximum=128,
        advanced=True,
    )
    levels: int = option(
        4, label="Levels", help="Resolutions inside the fast network.", minimum=3, maximum=6, advanced=True
    )
    spacing: str = option(
        "",
        label="Voxel size",
        help="Voxel size K,J,I to train at; empty chooses from the scans.",
        unit="mm",
        automatic=True,
        advanced=True,
    )
    flips: str = option(
        "none",
        label="Mirroring",
        help=(
            "Mirror scans in training? 'auto' mirrors head-feet and front-back, never left-right: labels may "
            "name a side. Bodies are not mirrored: with few updates it costs accuracy."
        ),
        choices=("none", "auto"),
        advanced=True,
    )
    window_voxels: int = option(
        400_000,
        label="Window size",
        help="Voxels of a window as the network sees it.",
        unit="voxels",
        minimum=4_096,
        maximum=8_000_000,
        advanced=True,
    )
    local_window: str = option(
        "",
        label="Local window",
        help="Size K,J,I; empty chooses from the scans.",
        unit="voxels",
        automatic=True,
        advanced=True,
    )
    global_window: str = option(
        "",
        label="Global window",
        help="Size K,J,I; empty chooses from the scans. Methods without a global network do not use it.",
        unit="voxels",
        automatic=True,
        advanced=True,
    )
    global_weight: float = option(
        0.25,
        label="Weight of the global branch",
        help="Say of the global network where both answer; the local one, which sees every voxel, has 1. "
        "Methods without a global network do not use it.",
        minimum=0.0,
        maximum=10.0,
        advanced=True,
    )
    foreground: float = option(
        0.67,
        label="Aimed crops",
        help="Share of labelled crops that are centred on a structure.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )

    def __post_init__(self) -> None:
        window_named(self.local_window, "local_window")
        window_named(self.global_window, "global_window")


def window_named(text: str, name: str) -> Triple | None:
    """Read a window in voxels; ``None`` if it is empty.

    Args:
        text: Of the form ``"K,J,I"``; fractions of a voxel do not count.
        name: The option's.

    Raises:
        OptionError: These are not three positive numbers, or no network can be trained on such a window.
    """
    numbers = three_numbers(text, name)
    if numbers is None:
        return None
    window = triple(numbers)
    # Whatever the levels, strides leave 4 voxels of an axis that they halve; norms need more than 1 in all.
    if math.prod(window) < 2:
        msg = (
            f"Option {name!r} needs at least one voxel along each axis, and two in all; found {text!r}. "
            "Choose a larger window, or leave it empty to choose from the scans."
        )
        raise OptionError(msg)
    return window


def updates_going_on(iterations: int, labelled: int, unlabelled: int) -> int:
    """Return how many updates suit a training that goes on from a model that segments already.

    Few labels teach what they can in a few hundred updates; after that, unless unlabelled scans teach too, a
    model forgets what it knew.

    Args:
        iterations: Of a training from scratch.
        labelled: Cases that teach with their label.
        unlabelled: Scans that teach without; 0 if the method does not look at them.
    """
    return min(iterations, UPDATES_PER_LABEL * labelled + UPDATES_PER_SCAN * unlabelled)
