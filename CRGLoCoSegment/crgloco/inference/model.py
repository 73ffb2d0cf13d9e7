"""What inference asks of a model: the shape of its branches and two forward passes.

Methods stand on a lower floor and know nothing of this file; any object of this shape will do.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from crgloco.io.volume import Shape


class Sized(Protocol):
    """What a branch sees at once."""

    @property
    def window(self) -> Shape:
        """Field of view in voxels of the prepared grid, K J I."""

    @property
    def scale(self) -> tuple[float, float, float]:
        """Size of the input tensor divided by the window, per axis, 0..1."""


class Branch(Sized, Protocol):
    """One branch as inference sees it."""

    @property
    def name(self) -> str:
        """Name shown to users, for example ``"local"``."""

    @property
    def weight(self) -> float:
        """Weight in the fusion; 0 = shown, not fused."""

    @property
    def antialias(self) -> bool:
        """Whether training widens the kernel when it reduces the window to the tensor."""


class SegmentationModel(Protocol):
    """A trained model of one or two branches, in evaluation mode."""

    @property
    def classes(self) -> int:
        """Number of classes C, background included."""

    @property
    def local(self) -> Branch:
        """The branch at full resolution; its scale is 1."""

    @property
    def global_(self) -> Branch | None:
        """The branch at low resolution; ``None`` for methods of one branch."""

    @property
    def context_stride(self) -> Shape | None:
        """Prepared voxels per voxel of the context map; ``None``: the local branch takes no context."""

    def low_resolution(self, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Answer for windows that are already reduced.

        Args:
            tensor: (B, channels, k, j, i).

        Returns:
            Logits (B, C, k, j, i) and features (B, F, k', j', i') over the same field, or ``None``.
        """

    def full_resolution(self, tensor: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
        """Answer for windows at full resolution.

        Args:
            tensor: (B, channels, *window).
            context: (B, F + 1, *ceil(window / context_stride)): the features of the global branch at
                this window, and a last channel that is 1 where the global branch saw something.

        Returns:
            Logits (B, C, *window).
        """

    def to(self, device: torch.device) -> Any:
        """Move all weights to the device, in place."""


def tensor_size(branch: Sized) -> Shape:
    """Return the voxels of a branch's input tensor along K, J, I."""
    k, j, i = (max(1, round(n * s)) for n, s in zip(branch.window, branch.scale, strict=True))
    return k, j, i
