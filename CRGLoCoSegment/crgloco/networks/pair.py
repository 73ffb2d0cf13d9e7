"""A convolutional network and the transformer that learnt beside it, deployed as one model."""

from __future__ import annotations

import torch
from torch import nn

from crgloco.networks.dual_resolution import DualResolution
from crgloco.networks.plan import Windows


class NetworkPair(DualResolution):
    """Two networks of different kinds for the same windows; both are kept, one or both answer.

    Args:
        convolutional: A model of the local branch only.
        transformer: Its answer to windows (B, channels, K, J, I) has ``logits`` (B, C, K, J, I).
        mean: Whether both answer; else the transformer alone.
    """

    def __init__(self, convolutional: DualResolution, transformer: nn.Module, *, mean: bool) -> None:
        window = convolutional.local.window
        super().__init__(convolutional.local_body, None, Windows(window, window), convolutional.classes)
        self.local_head = convolutional.local_head
        self.transformer = transformer
        self.mean = mean

    def full_resolution(self, tensor: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Answer windows by the transformer, or by the mean of both networks' log-probabilities.

        Log-probabilities are logits less a number per voxel, which no softmax sees: logits will do.

        Args:
            tensor: (B, channels, K, J, I).
            context: Not used.

        Returns:
            Logits (B, C, K, J, I), float32.
        """
        del context
        logits: torch.Tensor = self.transformer(tensor).logits.float()
        return (super().full_resolution(tensor) + logits) / 2 if self.mean else logits
