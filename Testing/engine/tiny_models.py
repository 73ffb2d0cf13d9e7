"""A model folder with random weights, so small that it predicts in a tenth of a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from crgloco import methods, model_store
from crgloco.data.intensities import ChannelRule
from crgloco.data.preparation import Preparation
from crgloco.labels import LabelTable
from crgloco.methods.base import Task
from crgloco.model_card import BranchCard, ModelCard
from crgloco.options import from_mapping, to_mapping

OPTIONS = {
    "local_window": "12,16,16",
    "global_window": "24,32,32",
    "width": 4,
    "levels": 3,
    "stem": "strided",
}


def save_tiny_model(
    folder: Path, *, method: str = "cr_gloco", channels: tuple[str, ...] = ("MR",), **options: Any
) -> Path:
    """Write a model for the phantoms of `phantoms.write_cases_folder`; return its folder."""
    kind = methods.get(method)
    config = from_mapping(kind.Config, {**OPTIONS, **options})
    task = Task(len(channels), 3, (2.0, 1.0, 1.0), ((24, 32, 32),))
    torch.manual_seed(0)
    model = kind(config, task)
    rule = ChannelRule(kind="mr", low=0.5, high=99.5, mean=0.0, std=1.0)
    card = ModelCard(
        name=folder.name,
        title="Two ellipsoids",
        method=method,
        config=to_mapping(config),
        labels=LabelTable.from_names({"large": 1, "small": 2}),
        channel_names=channels,
        preparation=Preparation((2.0, 1.0, 1.0), (rule,) * len(channels)).to_json(),
        network=task.to_json(),
        branches=tuple(BranchCard(b.name, b.window, b.scale, b.weight) for b in model.branches()),
    )
    model_store.save(folder, card, model.weights_to_keep())
    return folder
