"""Quality ``balanced`` against MONAI's sliding windows with the same local network, in turn.

    python Testing/benchmarks/inference_speed.py --model MODEL --data chaos_mr [--names a,b] [--rounds 3]

*balanced* is ``Predictor.predict``: global view, local windows where it leaves something open, fusion.
*monai* is ``sliding_window_inference`` with the model's local network on its own, the same window, overlap
0.5 and Gaussian blending, then linear enlargement of the blended logits to the scan's grid. Both begin with
the scan in memory, prepare it by the same code, run on the same device in the same precision, and end
with labels on the scan's grid. ``monai_windows`` in the results is the call to MONAI alone.

Other sides: ``monai_with_context`` gives the windows the global map too; ``balanced_float32`` and
``monai_float32`` do without bf16. By default the cases are those that the model never saw. Dice is the mean
over the model's structures if the labels know them all by name.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from measuring import DATA, Times, in_turn, keep, machine, print_table
from monai.inferers import sliding_window_inference

from crgloco import model_store
from crgloco.data.boxes import Box, triple
from crgloco.data.cases import Case, CasesFolder, open_cases
from crgloco.data.patches import resize
from crgloco.inference import execution as execution_module
from crgloco.inference.device import choose_device
from crgloco.inference.execution import Execution
from crgloco.inference.global_pass import GlobalAnswer, run_global
from crgloco.inference.local_pass import sample_window
from crgloco.inference.predictor import Predictor
from crgloco.io.files import read_source
from crgloco.io.label_files import read_label
from crgloco.io.orientation import Orientation
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import LabelTable
from crgloco.metrics import evaluate_case
from crgloco.networks.precision import mixed_precision
from crgloco.progress import Silent

Labels = npt.NDArray[np.uint8]
SIDES = ("balanced", "monai", "monai_with_context", "balanced_float32", "monai_float32")


class Balanced:
    """The product's predictor.

    Args:
        model: The model.
        device: Where it runs.
        precision: ``"float32"``, or ``""`` for what the engine chooses.
    """

    def __init__(self, model: model_store.LoadedModel, device: torch.device, precision: str = "") -> None:
        self._predictor = Predictor(model.network, model.preparation, model.table, device=device)
        self._float32 = precision == "float32"
        self.windows = ""

    def segment(self, volumes: tuple[Volume, ...]) -> Labels:
        """Return fused labels on the scan's grid."""
        plain = mock.patch.object(execution_module, "mixed_precision", return_value=nullcontext())
        with plain if self._float32 else nullcontext():
            result = self._predictor.predict(volumes, "balanced")
        self.windows = f"{result.windows_run} of {result.windows_possible}"
        return result.fused


class Monai:
    """MONAI's sliding windows over the whole prepared scan.

    Args:
        model: The model; only its local network is used, unless context is wanted.
        device: Where it runs.
        variant: ``"with_context"``, ``"float32"`` or ``""``.
        batch: Windows at once.
    """

    def __init__(
        self, model: model_store.LoadedModel, device: torch.device, variant: str = "", batch: int = 4
    ) -> None:
        model.network.to(device)
        self._model, self._device, self._batch = model, device, batch
        self._context = variant == "with_context"
        self._precision: Callable[[], AbstractContextManager[Any]] = (
            nullcontext if variant == "float32" else lambda: mixed_precision(device)
        )
        self.times = Times()
        self._count = 0

    @property
    def windows(self) -> str:
        """Windows of the last scan."""
        return str(self._count)

    def segment(self, volumes: tuple[Volume, ...]) -> Labels:
        """Return labels on the scan's grid."""
        image = self._model.preparation.image(volumes)
        logits: list[torch.Tensor] = []
        with torch.inference_mode():
            self.times.add(lambda: logits.append(self._slide(image)))
            return self._on_grid(logits.pop(), volumes[0].geometry)

    def _slide(self, image: npt.NDArray[np.float16]) -> torch.Tensor:
        self._count = 0
        network, window = self._model.network, self._model.network.local.window
        lowest = torch.from_numpy(image.astype(np.float32).min((1, 2, 3)))
        answer = self._global_answer(image, lowest) if self._context else None
        before = [max(0, w - n) // 2 for w, n in zip(window, image.shape[1:], strict=True)]

        def run(tensor: torch.Tensor, places: list[tuple[slice, ...]] | None = None) -> torch.Tensor:
            self._count += len(tensor)
            context = None
            if answer is not None and places is not None and network.context_stride is not None:
                boxes = [
                    Box(triple([p.start - b for p, b in zip(place[-3:], before, strict=True)]), window)
                    for place in places
                ]
                maps = [sample_window(answer, box, network.context_stride) for box in boxes]
                context = torch.stack(maps).to(tensor.device)
            return network.full_resolution(tensor, context)

        tensor = torch.from_numpy(image.astype(np.float32))[None].to(self._device)
        with self._precision():
            result = sliding_window_inference(
                tensor,
                window,
                self._batch,
                run,
                overlap=0.5,
                mode="gaussian",
                cval=float(lowest.min()),
                with_coord=answer is not None,
            )
        assert isinstance(result, torch.Tensor)
        return result

    def _global_answer(self, image: npt.NDArray[np.float16], fill: torch.Tensor) -> GlobalAnswer | None:
        network = self._model.network
        if network.global_ is None or network.context_stride is None:
            return None
        execution = Execution(network, self._device, Silent())
        return run_global(image, fill, network.global_, execution, Silent())

    def _on_grid(self, logits: torch.Tensor, geometry: Geometry) -> Labels:
        orientation = Orientation.of(geometry)
        shape = triple(orientation.apply_geometry(geometry).shape)
        labels: Labels = resize(logits, shape)[0].argmax(0).to(torch.uint8).cpu().numpy()
        return np.ascontiguousarray(orientation.undo(labels))


def chosen_cases(folder: CasesFolder, card: Any, names: str, limit: int) -> tuple[Case, ...]:
    """Return the named cases, or those that the model never saw."""
    if names:
        return tuple(folder.find(name) for name in names.split(","))
    roles = ("labelled", "unlabelled", "validation")
    seen = {name for role in roles for name in card.training.get(role, {})}
    unseen = [case for case in folder.labelled if case.name not in seen]
    return tuple((unseen or list(folder.labelled))[:limit])


def reference(case: Case, known: LabelTable, wanted: LabelTable, grid: Geometry) -> Labels | None:
    """Return the manual label in the model's class numbers; ``None`` if it does not know all of them."""
    if case.label is None or not set(wanted.names[1:]) <= set(known.names):
        return None
    numbers = np.zeros(256, np.uint8)
    for number, name in enumerate(wanted.names):
        if number:
            numbers[known.names.index(name)] = number
    return numbers[read_label(case.label, known, grid).array]


def dice(labels: Labels, truth: Labels, geometry: Geometry, classes: int) -> float | None:
    """Return the mean Dice of the structures, 0..1."""
    return evaluate_case(labels, truth, geometry.spacing, classes, distances=False, case="case").mean_dice


def measure(
    case: Case, folder: CasesFolder, table: LabelTable, sides: dict[str, Balanced | Monai], rounds: int
) -> dict[str, Any]:
    """Segment one case by all sides in turn; return seconds, windows, Dice, and voxels unlike the first."""
    volumes = tuple(read_source(source) for source in case.channels)
    geometry = volumes[0].geometry
    labels: dict[str, Labels] = {}

    def segment(name: str) -> None:
        labels[name] = sides[name].segment(volumes)

    taken = in_turn({name: lambda n=name: segment(n) for name in sides}, rounds)  # type: ignore[misc]
    assert folder.table is not None
    truth = reference(case, folder.table, table, geometry)
    first = labels[next(iter(sides))]
    found: dict[str, Any] = {"case": case.name, "shape": geometry.shape}
    for name, side in sides.items():
        unlike = int((labels[name] != first).sum()) / max(1, int((first > 0).sum()))
        entry = taken[name].to_json() | {"windows": side.windows, "unlike_first": round(unlike, 5)}
        if isinstance(side, Monai):
            last = Times(side.times.wall[-rounds:], side.times.cpu[-rounds:])
            entry |= last.to_json("monai_windows_")
        if truth is not None:
            entry["dice"] = dice(labels[name], truth, geometry, table.classes)
        found[name] = entry
    return found


def summary(cases: list[dict[str, Any]], names: list[str]) -> dict[str, dict[str, Any]]:
    """Return sums of seconds, how many times longer than the first side, and mean Dice, by side."""
    answer: dict[str, dict[str, Any]] = {}
    for name in names:
        entries = [case[name] for case in cases]
        scores = [entry["dice"] for entry in entries if entry.get("dice") is not None]
        answer[name] = {
            "seconds": round(sum(entry["seconds"] for entry in entries), 3),
            "cpu_seconds": round(sum(entry["cpu_seconds"] for entry in entries), 3),
            "dice": round(float(np.mean(scores)), 5) if scores else None,
        }
        if "monai_windows_seconds" in entries[0]:
            windows = sum(entry["monai_windows_seconds"] for entry in entries)
            answer[name]["monai_windows_seconds"] = round(windows, 3)
    for entry in answer.values():
        for what in ("seconds", "cpu_seconds"):
            entry[f"times_{what}_of_{names[0]}"] = round(entry[what] / answer[names[0]][what], 2)
    return answer


def main() -> None:
    """Measure, print, keep the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", default="chaos_mr", help="a folder below the data folder")
    parser.add_argument("--names", default="", help="cases; those that the model never saw without")
    parser.add_argument("--limit", type=int, default=4, help="most cases")
    parser.add_argument("--sides", default="balanced,monai", help=f"of {', '.join(SIDES)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4, help="windows at once, MONAI")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--no-json", action="store_true", help="do not add the run to the results")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    model = model_store.load(options.model)
    sides: dict[str, Balanced | Monai] = {}
    for name in options.sides.split(","):
        kind, _, variant = name.partition("_")
        sides[name] = (
            Balanced(model, device, variant)
            if kind == "balanced"
            else Monai(model, device, variant, options.batch)
        )
    folder = open_cases(DATA / options.data)
    run = machine(device) | {
        "model": model.card.name,
        "weights_sha256": model.card.weights_sha256,
        "data": options.data,
        "window": model.network.local.window,
        "spacing": model.preparation.spacing,
        "classes": model.table.classes,
        "rounds": options.rounds,
        "monai_batch": options.batch,
    }
    print(run)
    chosen = chosen_cases(folder, model.card, options.names, options.limit)
    cases = [measure(case, folder, model.table, sides, options.rounds) for case in chosen]
    keys = ("seconds", "cpu_seconds", "windows", "dice", "unlike_first")
    print_table(
        ("case", "side", *keys),
        [(case["case"], name, *(case[name].get(key) for key in keys)) for case in cases for name in sides],
    )
    total = summary(cases, list(sides))
    for name, entry in total.items():
        print(f"{name}: {entry}")
    if not options.no_json:
        print(f"Added to {keep('inference_speed', run | {'cases': cases, 'total': total})}")


if __name__ == "__main__":
    main()
