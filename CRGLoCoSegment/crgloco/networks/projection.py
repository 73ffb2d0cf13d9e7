"""The small head through which features enter a contrast; only training has it."""

from __future__ import annotations

from torch import nn

PROJECTED = 16


def projection_head(features: int) -> nn.Sequential:
    """Return 1 x 1 x 1 convolution, norm, ReLU, 1 x 1 x 1 convolution without bias, to 16 features.

    Args:
        features: Channels of the map that is contrasted.
    """
    return nn.Sequential(
        nn.Conv3d(features, PROJECTED, 1),
        nn.GroupNorm(4, PROJECTED),
        nn.ReLU(),
        nn.Conv3d(PROJECTED, PROJECTED, 1, bias=False),
    )
