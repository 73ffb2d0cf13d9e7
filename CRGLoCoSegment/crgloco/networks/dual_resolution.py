"""Two branches that answer on one grid: local (full resolution) and global (whole field of view)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from torch import nn

from crgloco.data.boxes import Box, Triple
from crgloco.data.patches import resize, sample_lattice
from crgloco.networks.backbones import Body
from crgloco.networks.plan import Windows


@dataclass(frozen=True)
class BranchShape:
    """How inference runs one branch.

    Attributes:
        name: ``"local"`` or ``"global"``.
        window: Field of view in prepared voxels along K, J, I.
        scale: Tensor size over window along K, J, I; 1 is full resolution.
        weight: Weight in the fusion; 0 is shown but not fused.
        antialias: Whether the window is smoothed before it is reduced.
    """

    name: str
    window: Triple
    scale: tuple[float, float, float]
    weight: float
    antialias: bool = True

    @property
    def tensor_size(self) -> Triple:
        """Voxels of the tensor that the network sees."""
        k, j, i = (round(n * share) for n, share in zip(self.window, self.scale, strict=True))
        return k, j, i


class Head(nn.Module):
    """From the last decoder map to logits on the input grid.

    Args:
        features: Channels of the map.
        classes: Number of classes C.
        stride: Input voxels per voxel of the map.
        kind: ``"linear"`` (1 x 1 x 1 convolution, then linear enlargement: the two commute, and C
            channels are cheaper to enlarge than features), ``"depth_to_space"`` (channels become
            blocks of voxels, so that detail within a stride can be learnt) or ``"perceptron"`` (two hidden
            layers of single voxels before the linear one, as the head that VerSemi generates has).
    """

    def __init__(self, features: int, classes: int, stride: Triple, kind: str = "linear") -> None:
        super().__init__()
        self.stride = stride
        self.unfolds = kind == "depth_to_space" and stride != (1, 1, 1)
        blocks = stride[0] * stride[1] * stride[2] if self.unfolds else 1
        self.hidden = _hidden_layers(features) if kind == "perceptron" else nn.Identity()
        self.classify = nn.Conv3d(features, classes * blocks, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, F, k, j, i) to logits (B, C, ...) at the resolution of the map or, unfolded, the input."""
        logits: torch.Tensor = self.classify(self.hidden(features))
        if self.unfolds:
            k, j, i = self.stride
            logits = rearrange(logits, "b (c p q r) k j i -> b c (k p) (j q) (i r)", p=k, q=j, r=i)
        return logits


def _hidden_layers(features: int) -> nn.Sequential:
    # No norm: just before the last layer it lends windows without structure the contrast of those with one.
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Conv3d(features, features, 1), nn.ReLU()]
    return nn.Sequential(*layers)


class ContextGate(nn.Module):
    """Add the global branch's view to the local map: 1 x 1 x 1 without bias, gate that starts at zero.

    Args:
        context: Channels of the global map; one more says where it is valid.
        features: Channels of the local map.
    """

    def __init__(self, context: int, features: int) -> None:
        super().__init__()
        self.project = nn.Conv3d(context + 1, features, 1, bias=False)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, features: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Return features (B, F, k, j, i) plus gated context (B, G + 1, k, j, i)."""
        added: torch.Tensor = features + self.gate * self.project(context)
        return added


class DualResolution(nn.Module):
    """The two networks of a dual-resolution model, as losses and inference both use them.

    Args:
        local_body: Body of the local branch.
        global_body: Body of the global branch; ``None`` for a model with the local branch only.
        windows: Both fields of view.
        classes: Number of classes C.
        head: Kind of ``Head``.
        context: Whether the local branch sees the global map.
        global_weight: Weight of the global branch in the fusion (local has 1).
        antialias: Whether the global window is smoothed before it is reduced.
    """

    def __init__(
        self,
        local_body: Body,
        global_body: Body | None,
        windows: Windows,
        classes: int,
        *,
        head: str = "linear",
        context: bool = False,
        global_weight: float = 1.0,
        antialias: bool = True,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.local = BranchShape("local", windows.local, (1.0, 1.0, 1.0), 1.0)
        self.global_: BranchShape | None = None
        self.context_stride: Triple | None = None
        self.local_body = local_body
        self.local_head = Head(local_body.channels, classes, local_body.stride, head)
        if global_body is not None:
            self.global_ = BranchShape("global", windows.global_, windows.scale, global_weight, antialias)
            self.global_body = global_body
            self.global_head = Head(global_body.channels, classes, global_body.stride, head)
            if context:
                self.context_stride = local_body.stride
                self.context_gate = ContextGate(global_body.channels, local_body.channels)

    def weigh(self, weights: dict[str, float]) -> None:
        """Give the branches the weights in the fusion that a model was saved with, by name."""
        self.local = replace(self.local, weight=weights.get("local", self.local.weight))
        if self.global_ is not None:
            self.global_ = replace(self.global_, weight=weights.get("global", self.global_.weight))

    def low_resolution(self, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run the global branch on windows already reduced to tensor size.

        Args:
            tensor: (B, channels, k, j, i).

        Returns:
            Logits (B, C, ...) over the same field of view, at the resolution of the tensor or of the
            global map, and the map (B, F, ...) if the local branch wants it.
        """
        features = self.global_body(tensor)
        return self.global_head(features), features if self.context_stride is not None else None

    def full_resolution(self, tensor: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Run the local branch.

        Args:
            tensor: (B, channels, K, J, I).
            context: (B, F + 1, k, j, i): global map and validity on the grid of the local map;
                ``None`` leaves the local branch on its own.

        Returns:
            Logits (B, C, K, J, I), float32.
        """
        k, j, i = tensor.shape[2:]
        return resize(self.local_head(self.local_map(tensor, context)), (k, j, i))

    def local_map(self, tensor: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Return the last map of the local branch, (B, F, k, j, i); arguments as of ``full_resolution``."""
        features: torch.Tensor = self.local_body(tensor)
        if context is not None:
            features = self.context_gate(features, context.to(features.dtype))
        return features


def sample_context(features: torch.Tensor, field: Triple, window: Box, size: Triple) -> torch.Tensor:
    """Sample a global map at the voxels of a local map.

    Args:
        features: (B, F, k, j, i) over the whole global window.
        field: Voxels of the global window along K, J, I.
        window: Local window in the frame of the global one; may reach outside.
        size: Voxels of the local map along K, J, I.

    Returns:
        (B, F + 1, *size), float32: the map, 0 outside the global window, and 1 where it is valid.
    """
    voxels = [
        window.start[axis] + (np.arange(size[axis]) + 0.5) * window.size[axis] / size[axis]
        for axis in range(3)
    ]
    shares = [voxel / length for voxel, length in zip(voxels, field, strict=True)]
    k, j, i = (share * length - 0.5 for share, length in zip(shares, features.shape[2:], strict=True))
    inside = [((share >= 0) & (share <= 1)).astype(np.float32) for share in shares]
    valid = torch.from_numpy(np.einsum("k,j,i->kji", *inside)).to(features.device)
    sampled = sample_lattice(features, (k, j, i)) * valid
    return torch.cat([sampled, valid.expand(features.shape[0], 1, -1, -1, -1)], 1)
