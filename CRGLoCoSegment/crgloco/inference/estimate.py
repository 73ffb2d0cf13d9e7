"""What a prediction will take, from sizes alone: nothing is read but headers, no model is loaded."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import torch

from crgloco.data.boxes import Box
from crgloco.data.preparation import Preparation
from crgloco.inference.execution import free_bytes, window_bytes
from crgloco.inference.fitting import cheapest, largest
from crgloco.inference.fusion import CHUNK_BYTES
from crgloco.inference.local_pass import EXTRA_SLICES
from crgloco.inference.predictor import CHUNK_TENSORS, LIBRARIES_BYTES, MEMORY_BUDGET_GB, OVERLAP, Quality
from crgloco.inference.windows import all_windows
from crgloco.io.volume import Geometry, Shape

if TYPE_CHECKING:
    from crgloco.model_card import ModelCard

MEGABYTE = 2**20
# Preparation holds a scan as floats before and after each of its two steps.
PREPARATION_BYTES_PER_VOXEL = 8


@dataclass(frozen=True)
class Estimate:
    """Memory and work of one prediction.

    Attributes:
        memory_mb: Largest memory of the process.
        free_memory_mb: Memory that is free on this computer now.
        gpu_mb: Largest GPU memory; 0 on the CPU.
        free_gpu_mb: GPU memory that is free now; 0 on the CPU.
        windows_possible: Local windows that covering the whole scan would take.
        prepared_shape: Voxels K J I that the model sees.
        fits: Whether both are free.
        text: All this as a sentence.
    """

    memory_mb: float
    free_memory_mb: float
    gpu_mb: float
    free_gpu_mb: float
    windows_possible: int
    prepared_shape: Shape
    fits: bool
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return dataclasses.asdict(self)


def estimate(
    card: ModelCard,
    grid: Geometry,
    quality: Quality,
    device: torch.device,
    *,
    budget_gb: float = MEMORY_BUDGET_GB,
) -> Estimate:
    """Estimate memory and work; on the cautious side.

    Args:
        card: The model.
        grid: Grid of the scan.
        quality: As of the prediction.
        device: Where the model would run.
        budget_gb: The prediction blends in strips or half precision to stay below.
    """
    preparation = Preparation.from_json(card.preparation)
    prepared = preparation.prepared_geometry(grid)
    local = next((branch for branch in card.branches if branch.scale == (1.0, 1.0, 1.0)), card.branches[-1])

    def lay(window: Shape) -> tuple[Box, ...]:
        return all_windows(prepared.shape, window, OVERLAP[quality])

    window = local.window if quality == "full" else cheapest(local, lay)
    # Which windows are open, and so which size is cheapest, only the scan itself tells.
    at_most = local.window if quality == "full" else largest(local)
    voxels, seen = math.prod(grid.shape), math.prod(prepared.shape)
    channels, classes = len(card.channel_names), card.labels.classes
    scan = 4 * channels * voxels
    preparing = LIBRARIES_BYTES + scan + PREPARATION_BYTES_PER_VOXEL * (voxels + seen)
    network, blend = window_bytes(at_most, classes), _blend_bytes(prepared.shape, at_most, classes)
    held = LIBRARIES_BYTES + scan + 2 * channels * seen + 5 * voxels + CHUNK_TENSORS * CHUNK_BYTES
    on_gpu = device.type == "cuda"
    running = held + (0 if on_gpu else min(network + blend, max(network, int(budget_gb * 2**30) - held)))
    memory = max(preparing, running) / MEGABYTE
    gpu = (network + blend) / MEGABYTE if on_gpu else 0.0
    # What this process holds already is not asked for again.
    free = (psutil.virtual_memory().available + psutil.Process().memory_info().rss) / MEGABYTE
    free_gpu = free_bytes(device) / MEGABYTE if on_gpu else 0.0
    fits = memory <= free and gpu <= free_gpu
    return Estimate(
        round(memory, 1),
        round(free, 1),
        round(gpu, 1),
        round(free_gpu, 1),
        len(lay(window)),
        prepared.shape,
        fits,
        _in_words((memory, free), (gpu, free_gpu), on_gpu=on_gpu),
    )


def _blend_bytes(shape: Shape, window: Shape, classes: int) -> int:
    """Sums of probabilities and weights for one slab as deep as a window."""
    depth = min(shape[0], window[0] + EXTRA_SLICES)
    return depth * shape[1] * shape[2] * (classes + 1) * 4


def _in_words(memory: tuple[float, float], gpu: tuple[float, float], *, on_gpu: bool) -> str:
    parts = [f"{memory[0] / 1024:.1f} GB of memory ({memory[1] / 1024:.1f} GB free)"]
    parts += [f"{gpu[0] / 1024:.1f} GB of GPU memory ({gpu[1] / 1024:.1f} GB free)"] if on_gpu else []
    text = f"Needs about {' and '.join(parts)}."
    if memory[0] > memory[1]:
        return f"{text} That is more than is free: close other programs or choose a model with larger voxels."
    if on_gpu and gpu[0] > gpu[1]:
        return f"{text} The GPU has less: parts will run on the CPU, which takes longer."
    return text
