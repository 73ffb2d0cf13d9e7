"""One training step of CR-GLoCo ``released``: our engine against the published pipeline, in turn.

    python Testing/benchmarks/training_speed.py [--rounds 3] [--sides ours,published] [--no-json]

*ours* is the product's own path: ``Trainer._update`` on samples of ``SampleStream``, in bf16 where the
processor has it. *published* is written here from a description of the authors' code: padding, clip and
z-score of the whole volume, one-hot labels, cubic affine of the labelled crops by
``scipy.ndimage``, enlargement of the 16-channel map to 128 x 256 x 256 before the classifier, CE and Dice on
the native grids, two optimisers, float32. Both use the same networks, cases, boxes and threads; what is
enlarged, inside the networks too, *published* enlarges by torch's ``interpolate``.

A step is making its samples and the update, one after the other. The ratio is also given for an update
alone, as if samples were made elsewhere at no cost. ``ours_float32`` and ``published_bf16`` tell how much
of it is the precision. The share of the loop that waits for data is that of ``Trainer.fit``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from measuring import DATA, MemoryPeak, Times, in_turn, keep, machine, print_table, three_numbers
from scipy import ndimage
from torch import nn
from torch.nn import functional

from crgloco import methods
from crgloco.data.boxes import Box, Triple, draw_released_pair, overlap
from crgloco.data.cache import prepare_case
from crgloco.data.cases import open_cases
from crgloco.data.dataset import Samples, SampleStream, Slots
from crgloco.data.patches import TrainingCase
from crgloco.data.preparation import Preparation
from crgloco.methods.base import Method, Task
from crgloco.networks.backbones import PublishedUNet
from crgloco.networks.precision import convolved, mixed_precision
from crgloco.options import from_mapping
from crgloco.progress import Silent
from crgloco.training import trainer as trainer_module
from crgloco.training.trainer import Schedule, Trainer

CPU = torch.device("cpu")
CLASSES = 2
IGNORE = 255
LA_SHAPE = (88, 140, 190)
SIDES = ("ours", "published", "ours_float32", "published_bf16")
# The cross supervision counts from a fifth of the training on.
FIRST_STEP = 10_000


def open_la(count: int, cache: Path) -> list[TrainingCase]:
    """Return prepared cases of la2018, or made-up ones of their shape; the first one labelled."""
    if not (DATA / "la2018").is_dir():
        return [_made_up(number, labelled=number == 0) for number in range(count)]
    folder = open_cases(DATA / "la2018")
    cases = folder.labelled[:count]
    preparation = Preparation.fit(cases, folder.channel_names, None)
    prepared = [
        prepare_case(case, preparation, folder.table if number == 0 else None, cache)
        for number, case in enumerate(cases)
    ]
    return [TrainingCase.open(case) for case in prepared]


def _made_up(seed: int, *, labelled: bool) -> TrainingCase:
    rng = np.random.default_rng(seed)
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in LA_SHAPE)]
    label = (sum(axis**2 for axis in axes) < 0.2).astype(np.uint8)
    image = torch.from_numpy((label + rng.normal(size=LA_SHAPE)).astype(np.float16))[None]
    locations = {number: np.argwhere(label == number) for number in range(CLASSES)}
    kept = torch.from_numpy(label) if labelled else None
    return TrainingCase(f"made_up_{seed}", image, kept, image.flatten(1).min(1).values.float(), locations)


class Ours:
    """The engine's own step.

    Args:
        cases: One labelled, the others unlabelled.
        small: P_S.
        large: P_L.
        precision: ``"float32"``, or ``""`` for what the engine chooses.
    """

    def __init__(
        self, cases: Sequence[TrainingCase], small: Triple, large: Triple, precision: str = ""
    ) -> None:
        kind = methods.get("cr_gloco")
        options = dict(methods.card("cr_gloco").configurations["released"])
        options |= {
            f"{name}_window": ",".join(map(str, n)) for name, n in (("local", small), ("global", large))
        }
        config = from_mapping(kind.Config, options)
        task = Task(1, CLASSES, (0.625, 0.625, 0.625), tuple(case.shape for case in cases))
        torch.manual_seed(0)
        method: Method = kind(config, task)
        self.stream = SampleStream(
            cases[:1], cases[1:], method.views, Slots(config.labelled_batch, config.unlabelled_batch), 0
        )
        schedule = Schedule(config.iterations, config.learning_rate)
        self.trainer = Trainer(method, schedule, self.stream, Silent())
        self.trainer.method.networks.train()
        self._precision = precision
        self.loss = float("nan")

    def samples(self, step: int) -> Samples:
        """Make the samples of a step."""
        return self.stream.samples(step)

    def update(self, step: int, samples: Samples) -> None:
        """Run one update."""
        plain = mock.patch.object(trainer_module, "mixed_precision", return_value=nullcontext())
        with plain if self._precision == "float32" else nullcontext():
            self.loss = float(self.trainer._update(step, samples)["total"].detach())

    def waiting_share(self, steps: int) -> float:
        """Train by ``Trainer.fit`` and return the share of the loop that waited for data, 0..1."""
        schedule = replace(self.trainer.schedule, iterations=steps)
        return Trainer(self.trainer.method, schedule, self.stream, Silent()).fit().waiting_share


class PlainUNet(PublishedUNet):
    """The published U-Net with torch's own up-sampling; the engine's, by matrices, is ours."""

    def decode_all(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Map what ``encode`` returned to the map of every decoder level, the coarsest first."""
        *maps, result = maps
        result, decoded = self.dropout(result), []
        for block, skip in zip(reversed(self.decoder), reversed(maps), strict=True):
            large = functional.interpolate(result, scale_factor=2, mode="trilinear", align_corners=False)
            result = convolved(block, torch.cat([skip, large], 1))
            decoded.append(result)
        return [*decoded[:-1], self.dropout(result)]


class PublishedNet(nn.Module):
    """The published U-Net; the global one enlarges its last map before the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.body = PlainUNet(1)
        self.classify = nn.Conv3d(self.body.channels, CLASSES, 1)

    def forward(self, image: torch.Tensor, size: Triple) -> torch.Tensor:
        """Map (B, 1, *P_S) to logits (B, C, *size)."""
        features = self.body(image)
        if features.shape[2:] != size:
            features = functional.interpolate(features, size=size, mode="trilinear", align_corners=False)
        logits: torch.Tensor = self.classify(features)
        return logits


class Published:
    """The published step, as plainly as the specification tells it.

    Args:
        cases: One labelled, the others unlabelled.
        small: P_S.
        large: P_L.
        precision: ``"bf16"``, or ``""`` for float32.
    """

    def __init__(
        self, cases: Sequence[TrainingCase], small: Triple, large: Triple, precision: str = ""
    ) -> None:
        self._cases, self._small, self._large = cases, small, large
        self._context: Callable[[], Any] = (
            (lambda: mixed_precision(CPU)) if precision == "bf16" else nullcontext
        )
        torch.manual_seed(0)
        self._nets = (PublishedNet().train(), PublishedNet().train())
        self._optimisers = [
            torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-5) for net in self._nets
        ]
        self.loss = float("nan")

    def samples(self, step: int) -> list[dict[str, Any]]:
        """Make one labelled and one unlabelled sample."""
        unlabelled = self._cases[1 + step % (len(self._cases) - 1)]
        return [
            self._sample(case, np.random.default_rng([step, side]))
            for side, case in enumerate((self._cases[0], unlabelled))
        ]

    def _sample(self, case: TrainingCase, rng: np.random.Generator) -> dict[str, Any]:
        image = case.image[0].numpy().astype(np.float32)
        labelled = case.label is not None
        label = case.label.numpy() if case.label is not None else np.zeros(image.shape, np.uint8)
        widths = [max(0, whole - n) for whole, n in zip(self._large, image.shape, strict=True)]
        before = [width // 2 for width in widths]
        room = [(b, width - b) for b, width in zip(before, widths, strict=True)]
        image = np.clip(np.pad(image, room), -200, 300)
        image = (image - image.mean()) / image.std()
        one_hot = np.stack([np.pad(label, room) == number for number in range(CLASSES)]).astype(np.uint8)
        large, small = (
            Box((box.start[0] + before[0], box.start[1] + before[1], box.start[2] + before[2]), box.size)
            for box in draw_released_pair(case.shape, self._large, self._small, rng)
        )
        sample: dict[str, Any] = {"large": large, "small": small}
        for name, box in (("small", small), ("large", large)):
            crop, classes = image[box.slices()], one_hot[(slice(None), *box.slices())].argmax(0)
            if labelled:
                crop, classes = _affine(crop, _without_cube(classes, rng), rng)
            sample[f"{name}_image"] = torch.from_numpy(np.ascontiguousarray(crop))[None]
            sample[f"{name}_label"] = torch.from_numpy(np.ascontiguousarray(classes)).long()
        reduced = functional.interpolate(
            sample["large_image"][None], size=self._small, mode="trilinear", align_corners=False
        )
        return sample | {"large_image": reduced[0]}

    def update(self, step: int, samples: list[dict[str, Any]]) -> None:
        """Run one update: supervised on the first sample, cross supervision on the second."""
        for optimiser in self._optimisers:
            optimiser.param_groups[0]["lr"] = 0.01 * (1 - step / 20_000) ** 0.9
        inputs = [_noisy(torch.stack([s[f"{name}_image"] for s in samples])) for name in ("small", "large")]
        with self._context():
            logits = [
                net(image, size)
                for net, image, size in zip(self._nets, inputs, (self._small, self._large), strict=True)
            ]
        logits = [one.float() for one in logits]
        labels = [samples[0][f"{name}_label"][None] for name in ("small", "large")]
        guesses = [_confident(one) for one in logits]
        shared = overlap(samples[1]["large"], samples[1]["small"])
        assert shared is not None
        places = [shared.moved_to_frame_of(samples[1][name]).slices() for name in ("small", "large")]
        total = 0.0
        for own, other in ((0, 1), (1, 0)):
            crop = logits[own][(slice(1, 2), slice(None), *places[own])]
            target = guesses[other][(slice(1, 2), *places[other])]
            cross = functional.cross_entropy(crop, target, ignore_index=IGNORE, reduction="sum")
            cross = cross / (target != IGNORE).sum().clamp_min(1)
            loss = _supervised(logits[own][:1], labels[own]) + 0.0106 * cross
            self._optimisers[own].zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self._nets[own].parameters(), 12.0)
            self._optimisers[own].step()
            total += float(loss.detach())
        self.loss = total


def _without_cube(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    k, j, i = (int(rng.integers(0, n - 3)) for n in label.shape)
    label = label.copy()
    label[k : k + 4, j : j + 4, i : i + 4] = 0
    return label


def _affine(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Turn and scale a crop about its centre: image cubic, label nearest, border "nearest"."""
    matrix = np.diag(rng.uniform(0.8, 1.2, 3))
    for axis, angle in enumerate(rng.uniform(-0.08, 0.08, 3)):
        turn = np.eye(3)
        a, b = [other for other in range(3) if other != axis]
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = turn @ matrix
    centre = (np.asarray(image.shape) - 1) / 2
    offset = centre - matrix @ centre
    moved = ndimage.affine_transform(image, matrix, offset, order=3, mode="nearest")
    return moved, ndimage.affine_transform(label, matrix, offset, order=0, mode="nearest")


def _noisy(image: torch.Tensor) -> torch.Tensor:
    return image + (0.1 * torch.randn_like(image)).clamp(-0.2, 0.2)


def _confident(logits: torch.Tensor) -> torch.Tensor:
    confidence, label = logits.detach().softmax(1).max(1)
    kept = ((label == 0) & (confidence > 0.99)) | ((label != 0) & (confidence > 0.95))
    return torch.where(kept, label, IGNORE)


def _supervised(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    probability = logits.softmax(1)
    one_hot = functional.one_hot(label, CLASSES).movedim(-1, 1).float()
    axes = (0, 2, 3, 4)
    shared = (probability * one_hot).sum(axes)
    both = (probability**2).sum(axes) + (one_hot**2).sum(axes)
    dice = (1 - (2 * shared + 1e-5) / (both + 1e-5)).mean()
    return 0.5 * (functional.cross_entropy(logits, label) + dice)


def measure(sides: dict[str, Ours | Published], rounds: int, warm_up: int) -> dict[str, dict[str, Any]]:
    """Run all sides in turn; return seconds of samples, update and both, and peak memory, by side."""
    reading = {name: Times() for name in sides}
    updating = {name: Times() for name in sides}
    peaks: dict[str, list[float]] = {name: [] for name in sides}

    def step(name: str) -> None:
        side, number, made = sides[name], FIRST_STEP + len(peaks[name]), []
        peak = MemoryPeak()
        reading[name].add(lambda: made.append(side.samples(number)))
        updating[name].add(lambda: side.update(number, made.pop()))
        peaks[name].append(peak.gib)
        print(
            f"{name}: {reading[name].wall[-1] + updating[name].wall[-1]:.1f} s", file=sys.stderr, flush=True
        )

    taken = in_turn({name: lambda n=name: step(n) for name in sides}, rounds, warm_up=warm_up)  # type: ignore[misc]
    return {
        name: {
            **taken[name].to_json("step_"),
            **Times(reading[name].wall[-rounds:], reading[name].cpu[-rounds:]).to_json("samples_"),
            **Times(updating[name].wall[-rounds:], updating[name].cpu[-rounds:]).to_json("update_"),
            "peak_memory_gib": max(peaks[name]),
            "last_loss": round(sides[name].loss, 4),
        }
        for name in sides
    }


def ratios(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return how many times faster ours is, whole steps and updates alone, where both were measured."""
    pairs = [(a, b) for a in found for b in found if a.startswith("ours") and b.startswith("published")]
    answer = {}
    for ours, published in pairs:
        for what in ("step_seconds", "update_seconds", "step_cpu_seconds"):
            ratio = found[published][what] / found[ours][what]
            answer[f"{ours} over {published}, {what.replace('_', ' ')}"] = round(ratio, 2)
        # Samples made by other processes at no cost, but only for them: the least that can be claimed.
        least = found[published]["update_seconds"] / found[ours]["step_seconds"]
        answer[f"{ours}, step, over {published}, update alone"] = round(least, 2)
    return answer


def main() -> None:
    """Measure, print, keep the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=1, help="steps of each side that do not count")
    parser.add_argument("--sides", default="ours,published", help=f"of {', '.join(SIDES)}")
    parser.add_argument("--fit-steps", type=int, default=4, help="updates of Trainer.fit; 0 leaves it out")
    parser.add_argument("--small", type=three_numbers, default=(80, 112, 112))
    parser.add_argument("--large", type=three_numbers, default=(128, 256, 256))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--no-json", action="store_true", help="do not add the run to the results")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    run = machine() | {"rounds": options.rounds, "local": options.small, "global": options.large}
    run["data"] = "la2018" if (DATA / "la2018").is_dir() else "made up"
    print(run)
    with tempfile.TemporaryDirectory() as cache:
        cases = open_la(3, Path(cache))
        sides: dict[str, Ours | Published] = {}
        for name in options.sides.split(","):
            kind, _, precision = name.partition("_")
            sides[name] = {"ours": Ours, "published": Published}[kind](
                cases, options.small, options.large, precision
            )
        found = measure(sides, options.rounds, options.warm_up)
        columns = (
            "step_seconds",
            "step_cpu_seconds",
            "samples_seconds",
            "update_seconds",
            "peak_memory_gib",
            "last_loss",
        )
        print_table(("side", *columns), [(name, *(found[name][key] for key in columns)) for name in found])
        run |= {"sides": found, "times_faster": ratios(found)}
        ours = sides.get("ours")
        if options.fit_steps and isinstance(ours, Ours):
            run["fit_steps"] = options.fit_steps
            run["waiting_share"] = round(ours.waiting_share(options.fit_steps), 5)
            print(f"\nWaiting for data: {run['waiting_share']:.2%} of {options.fit_steps} updates")
    for name, ratio in run["times_faster"].items():
        print(f"{name}: {ratio} times as fast")
    if not options.no_json:
        print(f"Added to {keep('training_speed', run)}")


if __name__ == "__main__":
    main()
