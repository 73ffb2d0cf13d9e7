"""One network that answers the task it is asked for: a prompt makes the weights of a small head."""

from __future__ import annotations

import torch
from torch import nn

from crgloco.data.patches import resize
from crgloco.networks.backbones import Body
from crgloco.networks.dual_resolution import DualResolution
from crgloco.networks.plan import Windows

WIDTH = 8
HIDDEN = WIDTH * WIDTH + WIDTH
# Two layers 8 -> 8 and one 8 -> 2, with bias.
GENERATED = 2 * HIDDEN + 2 * WIDTH + 2


class PromptedHead(nn.Module):
    """The dynamic head of VerSemi: prompt and bottleneck make its weights.

    Args:
        features: Channels of the last decoder map.
        bottleneck: Channels of the deepest map.
        tasks: Number of prompts, the synthetic one included.
    """

    def __init__(self, features: int, bottleneck: int, tasks: int) -> None:
        super().__init__()
        self.tasks = tasks
        self.prepare = nn.Sequential(_norm(features), nn.ReLU(), nn.Conv3d(features, WIDTH, 1))
        self.describe = nn.Sequential(_norm(bottleneck), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
        self.control = nn.Linear(bottleneck + tasks, GENERATED)

    def forward(self, features: torch.Tensor, deepest: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        """Answer several prompts in one pass.

        Args:
            features: (B, F, k, j, i).
            deepest: (B, D, ...).
            prompts: (B, P) task numbers from 0, each sample its own.

        Returns:
            (B, P, 2, k, j, i): logits of not being and of being the task's structure, float32.
        """
        batch, count = prompts.shape
        prepared = self.prepare(features).float().flatten(2)  # (B, 8, V)
        description = self.describe(deepest).float()
        asked = nn.functional.one_hot(prompts, self.tasks).to(description.dtype)
        described = description[:, None].expand(-1, count, -1)
        with torch.autocast(features.device.type, enabled=False):
            weights = self.control(torch.cat([described, asked], -1).float())  # (B, P, 162)
            answer = apply_generated(prepared, weights)
        shaped: torch.Tensor = answer.reshape(batch, count, 2, *features.shape[2:])
        return shaped


def apply_generated(prepared: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Run the generated layers: 8 -> 8, ReLU, 8 -> 8, ReLU, 8 -> 2.

    Args:
        prepared: (B, 8, V).
        weights: (B, P, 162): for each layer its matrix, row by row, then its bias.

    Returns:
        (B, P, 2, V).
    """
    first, second, last = weights.split((HIDDEN, HIDDEN, GENERATED - 2 * HIDDEN), -1)
    hidden = torch.relu(_layer("bpoc,bcv->bpov", prepared, first, WIDTH))
    hidden = torch.relu(_layer("bpoc,bpcv->bpov", hidden, second, WIDTH))
    return _layer("bpoc,bpcv->bpov", hidden, last, 2)


def _layer(sum_: str, given: torch.Tensor, weights: torch.Tensor, outputs: int) -> torch.Tensor:
    matrix, bias = weights.split((outputs * WIDTH, outputs), -1)
    matrix = matrix.reshape(*matrix.shape[:-1], outputs, WIDTH)
    result: torch.Tensor = torch.einsum(sum_, matrix, given) + bias[..., None]
    return result


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(4 if channels % 4 == 0 else 1, channels)


class PromptedNetwork(DualResolution):
    """A local branch that answers prompts; asked for nothing in particular, it answers all structures.

    Args:
        body: Body of the branch.
        windows: Fields of view; only the local one is used.
        classes: Number of classes C, background included: prompts 0..C-2, and C-1 for any structure.
    """

    def __init__(self, body: Body, windows: Windows, classes: int) -> None:
        super().__init__(body, None, windows, classes)
        self.local_head = PromptedHead(body.channels, body.widths[-1], classes)  # type: ignore[assignment]

    def answer(self, tensor: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        """Answer prompts; encoder and decoder run once.

        Args:
            tensor: (B, channels, K, J, I).
            prompts: (B, P) task numbers, each sample its own.

        Returns:
            (B, P, K, J, I): logit of being the task's structure minus that of not being it, float32.
        """
        maps = self.local_body.encode(tensor)
        low = self.local_head(self.local_body.decode(maps), maps[-1], prompts)
        k, j, i = tensor.shape[2:]
        return resize(low[:, :, 1] - low[:, :, 0], (k, j, i))  # the difference commutes with enlarging

    def full_resolution(self, tensor: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Answer all structures at once: background 0, and how much more likely each one is than not.

        Args:
            tensor: (B, channels, K, J, I).
            context: Not used.

        Returns:
            Logits (B, C, K, J, I), float32.
        """
        del context
        structures = torch.arange(self.classes - 1, device=tensor.device).expand(len(tensor), -1)
        gain = self.answer(tensor, structures)
        return torch.cat([torch.zeros_like(gain[:, :1]), gain], 1)
