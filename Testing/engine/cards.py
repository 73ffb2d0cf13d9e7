"""A small but complete model card and weights, for the tests of cards, stores and zips."""

from __future__ import annotations

from typing import Any

import torch

from crgloco.labels import Label, LabelTable
from crgloco.model_card import BranchCard, ModelCard


def make_card(**changes: Any) -> ModelCard:
    values: dict[str, Any] = {
        "name": "liver",
        "title": "Liver and spleen, MR",
        "method": "supervised",
        "config": {"iterations": 10, "rate": 0.1},
        "labels": LabelTable((Label(1, "liver", (221, 130, 101), "a~b~c"), Label(4, "spleen"))),
        "channel_names": ("T2",),
        "preparation": {"spacing": [3.0, 1.5, 1.5]},
        "network": {"widths": [8, 16]},
        "branches": (
            BranchCard("local", (32, 64, 64), (1.0, 1.0, 1.0), 0.6),
            BranchCard("global", (40, 160, 160), (0.5, 0.25, 0.25), 0.4),
        ),
        "training": {"labelled": {"case_01": "sha256:ab"}, "seed": 3},
        "intended_use": "Research",
        "engine": "0.1.0",
        "created": "2026-11-21T04:00:00Z",
    }
    return ModelCard(**{**values, **changes})


def make_tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "stem.weight": torch.randn(4, 1, 3, 3, 3, generator=generator),
        "stem.bias": torch.randn(4, generator=generator),
        "steps": torch.tensor(7),
    }
