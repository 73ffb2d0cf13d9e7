"""Cases in memory and methods so small that a training step takes a few hundredths of a second."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from crgloco import methods
from crgloco.data.boxes import Triple
from crgloco.data.dataset import SampleStream, Slots
from crgloco.data.patches import TrainingCase
from crgloco.errors import Cancelled
from crgloco.methods.base import Batch, Method, Task, averaged_copy
from crgloco.networks.backbones import PublishedUNet
from crgloco.options import from_mapping
from crgloco.training.checkpoint import Checkpoint
from crgloco.training.trainer import Schedule, Trainer
from phantoms import two_ellipsoids

# Tensors this small are not worth a second thread, least of all on a shared machine.
torch.set_num_threads(1)

SHAPE: Triple = (20, 24, 28)
TINY = {"local_window": "12,16,16", "global_window": "16,24,24", "width": 4, "levels": 3, "stem": "strided"}
# Every method in each of its named configurations, shrunk: the recipe stays, the network is the small one.
RECIPES = [(name, recipe) for name in methods.available() for recipe in methods.card(name).configurations]


def make_case(image: np.ndarray, label: np.ndarray | None, name: str = "case") -> TrainingCase:
    """A case in memory; the image is (C, K, J, I) and is kept as float16, as in the cache."""
    locations = {}
    if label is not None:
        locations = {int(number): np.argwhere(label == number) for number in np.unique(label)}
    tensor = torch.from_numpy(image.astype(np.float16))
    fill = tensor.flatten(1).min(1).values.float()
    return TrainingCase(name, tensor, None if label is None else torch.from_numpy(label), fill, locations)


def phantom_case(seed: int = 0, *, labelled: bool = True, shape: Triple = SHAPE) -> TrainingCase:
    """Two ellipsoids, grey values of about unit spread as after preparation."""
    image, label = two_ellipsoids(shape, seed)
    return make_case(image[None] / 60 - 0.5, label if labelled else None, f"phantom_{seed:03d}")


def coordinate_case(shape: Triple = SHAPE, *, labelled: bool = False) -> TrainingCase:
    """A case whose three channels are the coordinates K, J, I of each voxel."""
    image = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    return make_case(image, np.zeros(shape, np.uint8) if labelled else None, "coordinates")


def make_task(classes: int = 3, channels: int = 1) -> Task:
    return Task(channels, classes, (1.0, 1.0, 1.0), (SHAPE,))


def make_method(name: str = "cr_gloco", recipe: str = "default", *, seed: int = 0, **options: Any) -> Method:
    """A method in one of its named configurations, on tiny windows with a tiny network."""
    few = {"features": 64, "floor": 8, "transformer_width": 12} if name == "mcsc" else {}
    chosen = {**methods.card(name).configurations[recipe], "network": "fast", **TINY, **few, **options}
    method_class = methods.get(name)
    torch.manual_seed(seed)
    with quick_transformer():
        return method_class(from_mapping(method_class.Config, chosen), make_task())


class QuickTransformer(torch.nn.Module):
    """Stands in for the transformer of MCSC, which takes seconds a window: convolutions, the same maps."""

    def __init__(self, channels: int, classes: int, width: int, window: Triple) -> None:
        super().__init__()
        del window
        self.coarse = torch.nn.Conv3d(channels, 4 * width, 5, 8, 2)
        layers = [torch.nn.Conv3d(channels, width, 5, padding=2), torch.nn.InstanceNorm3d(width)]
        self.fine = torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Conv3d(width, width, 3, padding=1))
        self.head = torch.nn.Conv3d(width, classes, 1)

    def forward(self, image: torch.Tensor) -> Any:
        from crgloco.networks.transformer import TransformerAnswer

        fine = torch.relu(self.fine(image))
        return TransformerAnswer(self.head(fine), fine, self.coarse(image))


def quick_transformer() -> Any:
    """Build the stand-in wherever MCSC would build its transformer."""
    return patch("crgloco.methods.mcsc.WindowedTransformer", QuickTransformer)


def with_published_bodies(method: Method, dropout: float = 0.3) -> Method:
    """Give both branches the published U-Net, narrow; windows then need 16 voxels on each axis."""
    widths = (4, 4, 8, 8, 8)
    torch.manual_seed(1)
    method.networks.local_body = PublishedUNet(1, widths, dropout)
    method.networks.global_body = PublishedUNet(1, widths, dropout)
    for head in (method.networks.local_head, method.networks.global_head):
        head.stride, head.classify = (1, 1, 1), torch.nn.Conv3d(4, method.task.classes, 1)
    method.averaged = averaged_copy(method.networks)
    return method


def make_batch(method: Method, labelled: int = 2, unlabelled: int = 2, seed: int = 0) -> Batch:
    """The samples of one update, from phantoms of their own."""
    sides = []
    for side, count in ((True, labelled), (False, unlabelled)):
        cases = [phantom_case(seed * 100 + number + 50 * side, labelled=side) for number in range(count)]
        sides.append(
            [method.views(case, np.random.default_rng([seed, n, int(side)])) for n, case in enumerate(cases)]
        )
    return Batch(sides[0], sides[1], torch.device("cpu"), np.random.default_rng(seed))


class Recorder:
    """A reporter that remembers events and asks for an end after some checks."""

    def __init__(self, *, stop_after: int | None = None, error: type[BaseException] = Cancelled) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.checks, self.stop_after, self.error = 0, stop_after, error

    def event(self, kind: str, **fields: Any) -> None:
        self.events.append((kind, fields))

    def check(self) -> None:
        self.checks += 1
        if self.stop_after is not None and self.checks >= self.stop_after:
            raise self.error("an end was asked for")

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [fields for found, fields in self.events if found == kind]


class TinyRounds:
    """Pseudo-labels of phantoms in memory: the averaged local network on a whole, padded case."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self.begun: list[int] = []
        self.forgotten = False

    def forget(self) -> None:
        self.forgotten = True

    def labeller(self, number: int) -> Any:
        self.begun.append(number)
        return self._label

    def _label(self, case: TrainingCase, refine: Any, **_: float) -> TrainingCase:
        shape = [-(-n // 8) * 8 for n in case.shape]
        image = torch.zeros(1, case.image.shape[0], *shape)
        k, j, i = case.shape
        image[0, :, :k, :j, :i] = case.image.float()
        with torch.no_grad():
            there = image.to(next(self.method.parameters()).device)
            answer = self.method.averaged.full_resolution(there).argmax(1)[0, :k, :j, :i]
        label = refine(answer.to(torch.uint8).cpu().numpy())
        locations = {int(number): np.argwhere(label == number) for number in np.unique(label)}
        tensor = torch.from_numpy(label).to(case.image.device)
        return replace(case, label=tensor, locations=locations)


def make_trainer(
    method: Method,
    *,
    report: Recorder | None = None,
    checkpoint: Path | None = None,
    slots: Slots | None = None,
    seed: int = 0,
    run: dict[str, Any] | None = None,
    **schedule: Any,
) -> Trainer:
    """A trainer on three labelled and two unlabelled phantoms."""
    labelled = [phantom_case(number) for number in range(3)]
    unlabelled = [phantom_case(number, labelled=False) for number in range(10, 12)]
    if slots is None:
        slots = Slots(method.config.labelled_batch, method.config.unlabelled_batch)
    plan = replace(Schedule(4, method.config.learning_rate, seed, tell_every=0.0), **schedule)
    stream = SampleStream(labelled, unlabelled if slots.unlabelled else [], method.views, slots, seed)
    kept = None if checkpoint is None else Checkpoint(checkpoint, run or {"method": "tiny", "seed": seed})
    return Trainer(method, plan, stream, report or Recorder(), kept, rounds=TinyRounds(method))


def weights_of(method: Method) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in method.state_dict().items()}


def differing(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> list[str]:
    """Names of the tensors that are not bitwise equal."""
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def as_json(values: Any) -> Any:
    return json.loads(json.dumps(values))
