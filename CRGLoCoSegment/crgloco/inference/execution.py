"""Running a model on batches of windows, and what is done when the memory of a GPU is not enough."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch

from crgloco.errors import ResourceError
from crgloco.inference.convolutions import FastConvolutions
from crgloco.inference.model import SegmentationModel
from crgloco.io.volume import Shape
from crgloco.memory_faults import tells_of_memory
from crgloco.networks.precision import mixed_precision
from crgloco.progress import Reporter

Item = TypeVar("Item")
T = TypeVar("T")

CPU = torch.device("cpu")
LARGEST_BATCH = 8
# Floats that a network holds at once per voxel of its window; a network of 32 features needs about this.
FLOATS_PER_VOXEL = 96


class Execution:
    """Where and in what portions a model runs; steps down when memory runs out.

    The steps, each said to the reporter and kept in ``notes``: half the batch, down to one window;
    blending in the computer's memory; all on the CPU.

    Args:
        model: The model; moved to the device.
        device: Where the model runs.
        report: Hears of each step down.
        batch: Windows at once; estimated without.
    """

    def __init__(
        self, model: SegmentationModel, device: torch.device, report: Reporter, batch: int | None = None
    ) -> None:
        self.model = model
        self.device = device
        self.blend_device = device
        self.notes: list[str] = []
        self._report = report
        self.batch = self._placed(batch)

    def each(
        self, items: Sequence[Item], run: Callable[[Sequence[Item]], T]
    ) -> Iterator[tuple[Sequence[Item], T]]:
        """Run a function on consecutive batches of the items; yield each batch with its result.

        Raises:
            Cancelled: The reporter asked for an end.
            ResourceError: Even a single item on the CPU does not fit.
        """
        position = 0
        while position < len(items):
            self._report.check()
            chunk = items[position : position + self.batch]
            done = self._try(partial(run, chunk))
            if done is not None:
                position += len(chunk)
                yield chunk, done.pop()

    def attempt(self, run: Callable[[], T]) -> T:
        """Run a function that may be repeated after a step down, until it succeeds."""
        while (done := self._try(run)) is None:
            self._report.check()
        return done.pop()

    def allocate(self, make: Callable[[torch.device], T]) -> T:
        """Make something large where windows are blended: on the CPU if the GPU cannot hold it."""
        try:
            return make(self.blend_device)
        except (MemoryError, RuntimeError) as error:
            if self.blend_device.type == "cpu" or not tells_of_memory(error):
                raise
        self._blend_on_the_cpu()
        return make(self.blend_device)

    def note(self, text: str) -> None:
        """Say something to the user and keep it for the record."""
        self.notes.append(text)
        self._report.event("message", text=text)

    def _try(self, run: Callable[[], T]) -> list[T] | None:
        """Return the result in a list; after a step down ``None``, and the failed tensors are gone."""
        try:
            with torch.inference_mode(), mixed_precision(self.device), FastConvolutions():
                return [run()]
        except (MemoryError, RuntimeError) as error:
            if not tells_of_memory(error):
                raise
            reason = str(error)
        self._step_down(reason)
        return None

    def _step_down(self, reason: str) -> None:
        if self.device.type != "cpu":
            torch.cuda.empty_cache()
        if self.batch > 1:
            self.batch = self.batch // 2
            self.note(f"The memory of the device did not suffice; now {self.batch} window(s) at once.")
        elif self.blend_device.type != "cpu":
            self._blend_on_the_cpu()
        elif self.device.type != "cpu":
            self._go_on_on_the_cpu()
        else:
            msg = (
                "The computer's memory does not suffice for one window of this model. Close other "
                f"programs, or use the quality 'fast'. ({reason.splitlines()[0] if reason else 'no detail'})"
            )
            raise ResourceError(msg)

    def _placed(self, batch: int | None) -> int:
        """Put the model on its device, or on the CPU if it is full already; return the windows at once."""
        try:
            self._move_model(self.device)
            return batch if batch is not None else estimated_batch(self.model, self.device)
        except (MemoryError, RuntimeError) as error:
            if self.device.type == "cpu" or not tells_of_memory(error):
                raise
        self.blend_device = CPU
        self._go_on_on_the_cpu()
        return 1

    def _blend_on_the_cpu(self) -> None:
        self.blend_device = CPU
        self.note("The memory of the device did not suffice; windows are now blended on the CPU.")

    def _go_on_on_the_cpu(self) -> None:
        self.device = CPU
        self._move_model(CPU)
        self.note("The memory of the device did not suffice; going on on the CPU, which takes longer.")

    def _move_model(self, device: torch.device) -> None:
        with torch.inference_mode(mode=False):  # else its weights could never learn again
            self.model.to(device)


def estimated_batch(model: SegmentationModel, device: torch.device) -> int:
    """Return how many windows a device takes at once: one on the CPU, more where GPU memory is free."""
    if device.type != "cuda":
        return 1
    need = window_bytes(model.local.window, model.classes)
    return int(max(1, min(LARGEST_BATCH, free_bytes(device) // 2 // need)))


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a GPU, with what torch keeps there for its next tensors."""
    try:
        free, _ = torch.cuda.mem_get_info(device)
    except RuntimeError as error:
        if not tells_of_memory(error):
            raise
        return 0  # so full that CUDA cannot even start on it
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def window_bytes(window: Shape, classes: int) -> int:
    """Return a guess of the memory that one window of the local branch takes while it runs."""
    return math.prod(window) * (FLOATS_PER_VOXEL + 2 * classes) * 4


def mirrors(axes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return every combination of mirrored axes, none first."""
    return tuple(chosen for count in range(len(axes) + 1) for chosen in itertools.combinations(axes, count))
