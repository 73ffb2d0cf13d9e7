"""Bodies of the branches: the U-Net of the CR-GLoCo code, and MONAI's DynUNet with a stem."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from einops import rearrange
from monai.networks.nets import DynUNet
from torch import nn
from torch.nn import functional

from crgloco.data.boxes import Triple
from crgloco.data.patches import enlarged
from crgloco.networks.plan import Strides, plan_strides
from crgloco.networks.precision import convolved


class Body(nn.Module, ABC):
    """From an image to the last decoder map.

    Attributes:
        widths: Features of each level, the finest first.
        stride: Input voxels per voxel of the last decoder map.
    """

    widths: tuple[int, ...]
    stride: Triple

    @property
    def channels(self) -> int:
        """Features of the last decoder map."""
        return self.widths[0]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (B, channels, K, J, I) to (B, widths[0], K / stride, J / stride, I / stride)."""
        return self.decode(self.encode(image))

    @abstractmethod
    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Map (B, channels, K, J, I) to the map (B, F, k, j, i) of every level, the finest first."""

    def decode(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Map what ``encode`` returned to the last decoder map, of the shape of ``forward``."""
        return self.decode_all(maps)[-1]

    @abstractmethod
    def decode_all(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Map what ``encode`` returned to the map of every decoder level, the coarsest first.

        Each has the shape of the map that ``encode`` returned for its level; the deepest level has none.
        """


class PublishedUNet(Body):
    """The 3-D U-Net of CR-GLoCo's code: 16-32-64-128-256, max-pooling, trilinear up-sampling.

    Each block is twice convolution 3 x 3 x 3 with bias, InstanceNorm without affine, ReLU.
    Element-wise dropout acts on the bottleneck and on the last map, as in the code. With its
    1 x 1 x 1 head it has 5.884 M parameters. The sides of the image are divisible by 16.

    Args:
        in_channels: Channels of the image.
        widths: Features of each level.
        dropout: Share of features dropped in training.
    """

    def __init__(
        self, in_channels: int, widths: tuple[int, ...] = (16, 32, 64, 128, 256), dropout: float = 0.3
    ) -> None:
        super().__init__()
        self.widths = widths
        self.stride = (1, 1, 1)
        self.encoder = nn.ModuleList(_double(a, b) for a, b in pairwise((in_channels, *widths)))
        self.decoder = nn.ModuleList(_double(a + b, a) for a, b in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight)

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Map (B, channels, K, J, I) to the map (B, F, k, j, i) of every level, the finest first."""
        maps = [self.encoder[0](image)]
        for block in self.encoder[1:]:
            maps.append(convolved(block, _halved(maps[-1])))
        return maps

    def decode_all(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Map what ``encode`` returned to the map of every decoder level, the coarsest first."""
        *maps, result = maps
        result, decoded = self.dropout(result), []
        for block, skip in zip(reversed(self.decoder), reversed(maps), strict=True):
            k, j, i = skip.shape[2:]
            result = convolved(block, torch.cat([skip, enlarged(result, (k, j, i))], 1))
            decoded.append(result)
        return [*decoded[:-1], self.dropout(result)]


class StemmedDynUNet(Body):
    """MONAI's DynUNet behind a stem that leaves full resolution at once.

    Three-dimensional convolutions at full resolution are what costs on a CPU; with a stem of stride
    2 the body works on an eighth of the voxels (``Testing/benchmarks/networks.py`` has the table).

    Args:
        in_channels: Channels of the image.
        widths: Features of each level.
        size: Tensor size along K, J, I that the levels are planned for.
        spacing: Millimetres of the tensor's voxels.
        stem: ``"strided"`` (first convolution with a stride), ``"space_to_depth"`` (blocks of voxels
            become channels) or ``"full"`` (none).
    """

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, ...],
        size: Triple,
        spacing: tuple[float, float, float],
        stem: str = "strided",
    ) -> None:
        super().__init__()
        strides = plan_strides(size, spacing, len(widths) + (stem != "full"))
        self.stride = (1, 1, 1) if stem == "full" or len(strides) == 1 else strides[1]
        self._fold = stem == "space_to_depth" and self.stride != (1, 1, 1)
        levels = list(strides) if stem == "full" else [self.stride, *strides[2:]]
        if self._fold:
            in_channels *= self.stride[0] * self.stride[1] * self.stride[2]
            levels[0] = (1, 1, 1)
        levels += [(1, 1, 1)] * (3 - len(levels))  # a DynUNet has at least three; a tiny window has fewer
        self.widths = tuple(widths[: len(levels)])
        whole = DynUNet(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=1,
            kernel_size=_kernels(strides, spacing, len(levels), stem),
            strides=levels,
            upsample_kernel_size=levels[1:],
            filters=list(widths[: len(levels)]),
            norm_name=("INSTANCE", {"affine": True}),
        )
        # DynUNet holds each block twice, in these lists and in a recursive skip layer: once will do.
        self.encoder = nn.ModuleList([whole.input_block, *whole.downsamples])
        self.bottleneck = whole.bottleneck
        self.decoder = whole.upsamples

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Map (B, channels, K, J, I) to the map (B, F, k, j, i) of every level, the finest first."""
        if self._fold:
            k, j, i = self.stride
            image = rearrange(image, "b c (k p) (j q) (i r) -> b (c p q r) k j i", p=k, q=j, r=i)
        maps = [convolved(self.encoder[0], image)]
        for block in self.encoder[1:]:
            maps.append(convolved(block, maps[-1]))
        return [*maps, convolved(self.bottleneck, maps[-1])]

    def decode_all(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Map what ``encode`` returned to the map of every decoder level, the coarsest first."""
        *maps, result = maps
        decoded = []
        for block, skip in zip(self.decoder, reversed(maps), strict=True):
            result = convolved(block, result, skip)
            decoded.append(result)
        return decoded


def _kernels(
    strides: Strides, spacing: tuple[float, float, float], levels: int, stem: str
) -> list[tuple[int, ...]]:
    """Return 1 along an axis while its voxels are over twice as long as the shortest, else 3."""
    kernels = []
    mm = list(spacing)
    steps = list(strides) if stem == "full" else [strides[min(1, len(strides) - 1)], *strides[2:]]
    steps += [(1, 1, 1)] * (levels - len(steps))
    for step in steps[:levels]:
        kernels.append(tuple(1 if value > 2 * min(mm) else 3 for value in mm))
        mm = [value * s for value, s in zip(mm, step, strict=True)]
    return kernels


def _halved(features: torch.Tensor) -> torch.Tensor:
    """Return the largest of every 2 x 2 x 2 voxels in the type of the map: autocast would change it."""
    with torch.autocast(features.device.type, enabled=False):
        return functional.max_pool3d(features, 2)


def _double(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv3d(channels, out_channels, 3, padding=1),
            nn.InstanceNorm3d(out_channels),
            nn.ReLU(),  # in place it would copy: norms return views
        ]
    return nn.Sequential(*layers)
