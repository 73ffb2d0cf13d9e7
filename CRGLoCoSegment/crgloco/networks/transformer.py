"""A windowed transformer beside the convolutional network: MONAI's SwinUNETR with two maps laid open."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.networks.nets import SwinUNETR
from torch import nn
from torch.nn import functional

from crgloco.data.boxes import Triple

UNIT = 32
COARSE = 8


@dataclass(frozen=True)
class TransformerAnswer:
    """What the transformer says of windows.

    Attributes:
        logits: (B, C, K, J, I).
        fine: (B, width, K, J, I): the last decoder map.
        coarse: (B, 4 width, k, j, i): the decoder map at an eighth of the resolution.
    """

    logits: torch.Tensor
    fine: torch.Tensor
    coarse: torch.Tensor


class WindowedTransformer(nn.Module):
    """SwinUNETR from scratch, for windows of any size: they are padded to multiples of 32.

    Args:
        in_channels: Channels of the image.
        classes: Number of classes C.
        width: Features of the first level, a multiple of 12.
    """

    def __init__(self, in_channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.network = SwinUNETR(in_channels, classes, feature_size=width, spatial_dims=3)
        self._maps: dict[str, torch.Tensor] = {}
        for name, layer in (("fine", self.network.decoder1), ("coarse", self.network.decoder4)):
            layer.register_forward_hook(self._keeper(name))

    def forward(self, image: torch.Tensor) -> TransformerAnswer:
        """Answer windows (B, channels, K, J, I)."""
        k, j, i = image.shape[2:]
        sizes = padded_size((k, j, i))
        padding = [n for axis in (2, 1, 0) for n in (0, sizes[axis] - image.shape[2 + axis])]
        logits = self.network(functional.pad(image, padding))
        fine, coarse = self._maps.pop("fine"), self._maps.pop("coarse")
        at_eighth = [-(-n // COARSE) for n in (k, j, i)]
        return TransformerAnswer(
            logits[..., :k, :j, :i],
            fine[..., :k, :j, :i],
            coarse[..., : at_eighth[0], : at_eighth[1], : at_eighth[2]],
        )

    def _keeper(self, name: str):  # type: ignore[no-untyped-def]
        def keep(_layer: nn.Module, _given: object, result: torch.Tensor) -> None:
            self._maps[name] = result

        return keep


def padded_size(size: Triple) -> Triple:
    """Return sides divisible by 32 with more than one voxel left at the bottleneck."""
    k, j, i = (-(-n // UNIT) * UNIT for n in size)
    return (2 * UNIT if (k, j, i) == (UNIT, UNIT, UNIT) else k), j, i
