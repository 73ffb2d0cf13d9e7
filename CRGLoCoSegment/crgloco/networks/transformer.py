"""A windowed transformer beside the convolutional network: the parts of MONAI's SwinUNETR."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.networks.layers.factories import Norm
from monai.networks.nets import SwinUNETR
from torch import nn

from crgloco.data.boxes import Triple
from crgloco.networks.precision import convolved

COARSE = 8
TOKEN = 2
ATTENTION = (7, 6, 5, 4)


@dataclass(frozen=True)
class TransformerAnswer:
    """What the transformer says of windows.

    Attributes:
        logits: (B, C, K, J, I).
        fine: (B, width, K, J, I): the last decoder map.
        coarse: (B, 4 width, k, j, i): the decoder map at an eighth of the resolution, rounded up.
    """

    logits: torch.Tensor
    fine: torch.Tensor
    coarse: torch.Tensor


class SpreadNorm(nn.InstanceNorm3d):
    """Instance normalisation that lets single voxels pass: they have no spread, and would all become 0."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise (B, F, k, j, i)."""
        return super().forward(features) if features[0, 0].numel() > 1 else features


Norm.add_factory_class("spread", SpreadNorm)


class WindowedTransformer(nn.Module):
    """SwinUNETR from scratch, for windows of any size.

    MONAI's own forward pass wants sides that are multiples of 32, and would pad 24 x 40 x 56 voxels to
    two and a half times as many. Its parts round odd sides up: here what they enlarge is cut to fit.

    Args:
        in_channels: Channels of the image.
        classes: Number of classes C.
        width: Features of the first level, a multiple of 12.
        window: Voxels of the windows along K, J, I; attention is cut to suit them.
    """

    def __init__(self, in_channels: int, classes: int, width: int, window: Triple) -> None:
        super().__init__()
        self.network = SwinUNETR(
            in_channels,
            classes,
            feature_size=width,
            window_size=attention_window(window),
            norm_name="spread",
            spatial_dims=3,
        )

    def forward(self, image: torch.Tensor) -> TransformerAnswer:
        """Answer windows (B, channels, K, J, I)."""
        parts = self.network
        half, quarter, eighth, sixteenth, last = parts.swinViT(image, parts.normalize)
        steps = (
            (parts.decoder5, sixteenth),
            (parts.decoder4, convolved(parts.encoder4, eighth)),
            (parts.decoder3, convolved(parts.encoder3, quarter)),
            (parts.decoder2, convolved(parts.encoder2, half)),
            (parts.decoder1, convolved(parts.encoder1, image)),
        )
        maps = [convolved(parts.encoder10, last)]
        for decoder, skip in steps:
            k, j, i = skip.shape[2:]
            enlarged = decoder.transp_conv(maps[-1])[..., :k, :j, :i]
            maps.append(convolved(decoder.conv_block, torch.cat([enlarged, skip], 1)))
        return TransformerAnswer(parts.out(maps[-1]), fine=maps[-1], coarse=maps[2])


def attention_window(size: Triple) -> Triple:
    """Return the tokens K, J, I within which attention looks: the published 7, or less where that pads less.

    The first grid of tokens decides: later ones have an eighth of the tokens and less.

    Args:
        size: Voxels of the windows.
    """
    k, j, i = (_attention_side(-(-n // TOKEN)) for n in size)
    return k, j, i


def _attention_side(tokens: int) -> int:
    return min(ATTENTION, key=lambda side: -(-tokens // side) * side)
