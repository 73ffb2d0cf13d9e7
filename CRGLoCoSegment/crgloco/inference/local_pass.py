"""The local branch over chosen windows, streamed along K into the fused slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from crgloco.data.boxes import Box, overlap
from crgloco.inference.execution import Execution, mirrors
from crgloco.inference.fusion import FusedSlices
from crgloco.inference.global_pass import GlobalAnswer
from crgloco.inference.sampling import sample
from crgloco.inference.stitching import SlabBlend, hull
from crgloco.inference.windows import gaussian_weight
from crgloco.io.volume import Shape
from crgloco.progress import Reporter

# Slices of the ring beyond those of a window: what sampling along K still needs, and one to spare.
EXTRA_SLICES = 2
FEWEST_ROWS = 32


@dataclass(frozen=True)
class BlendPlan:
    """How blending fits the memory.

    Attributes:
        dtype: Type of the sums.
        strips: Ranges of rows (J) of the scan that are done one after the other.
        bytes: Memory of the sums of the largest strip.
    """

    dtype: torch.dtype
    strips: tuple[tuple[int, int], ...]
    bytes: int


class LocalPass:
    """Runs local windows and writes slices as soon as no later window touches them.

    Args:
        image: (channels, K, J, I) on the prepared grid.
        fill: (channels,) value of padding.
        fused: Receives finished slices; its global answer gives the context, where the model takes one.
        execution: Runs the model.
        flip_axes: Axes that are mirrored for a mean over all mirrors.
        report: Hears of progress.
        watch: Called after each portion of work.
    """

    def __init__(
        self,
        image: npt.NDArray[np.float16],
        fill: torch.Tensor,
        fused: FusedSlices,
        execution: Execution,
        *,
        flip_axes: tuple[int, ...],
        report: Reporter,
        watch: Callable[[], None],
    ) -> None:
        self._image = image
        self._fill = fill.numpy()
        self._fused = fused
        self._execution = execution
        self._mirrors = mirrors(flip_axes)
        self._report = report
        self._watch = watch
        self._classes = execution.model.classes

    def plan(self, windows: tuple[Box, ...], available: int) -> BlendPlan:
        """Choose the type of the sums and the strips so that the sums stay below ``available`` bytes."""
        rows = self._fused.shape[1]
        plan = self._planned(windows, torch.float32, 1)
        for count in range(1, max(1, rows // FEWEST_ROWS) + 1):
            if plan.bytes <= max(available, 0):  # without windows there is nothing to save
                break
            plan = self._planned(windows, torch.float16, count)
        return plan

    def run(self, windows: tuple[Box, ...], plan: BlendPlan) -> None:
        """Run all windows and write all slices.

        Args:
            windows: Sorted by first slice; may be empty.
            plan: From ``plan``.
        """
        weight = torch.from_numpy(gaussian_weight(windows[0].size)) if windows else torch.zeros(1)
        parts = [self._in_strip(windows, strip) for strip in plan.strips]
        total = sum(len(part) for part in parts)
        done = 0
        for strip, part in zip(plan.strips, parts, strict=True):
            done = self._run_strip(strip, part, plan.dtype, weight, (done, total))

    def _run_strip(
        self,
        strip: tuple[int, int],
        windows: tuple[Box, ...],
        dtype: torch.dtype,
        weight: torch.Tensor,
        progress: tuple[int, int],
    ) -> int:
        blend = None
        if windows:
            region = self._region(windows, strip)
            depth = windows[0].size[0] + EXTRA_SLICES
            blend = self._execution.allocate(partial(SlabBlend, region, self._classes, depth, dtype))
            weight = self._execution.allocate(weight.to)
        done, total = progress
        written = 0
        for chunk, probabilities in self._execution.each(windows, self._forward):
            assert blend is not None
            for window, values in zip(chunk, probabilities, strict=True):
                written = self._advance(blend, max(window.start[0], 0), written, strip)
                weight = weight.to(blend.device)
                blend.add(window, values, weight)
            done += len(chunk)
            self._report.event("progress", stage="local windows", done=done, total=total)
            self._watch()
        self._advance(blend, self._image.shape[1], written, strip)
        return done

    def _advance(self, blend: SlabBlend | None, finished: int, written: int, strip: tuple[int, int]) -> int:
        """Write all slices that need no prepared slice from ``finished`` on; return how many are written."""

        def finish() -> None:
            self._gather(blend)
            if blend is not None:
                blend.finish(finished)

        self._execution.attempt(finish)
        until = self._fused.ready(finished)
        step = self._fused.chunk(self._classes)
        while written < until:
            self._report.check()
            stop = min(written + step, until)
            self._write(written, stop, blend, strip)
            written = stop
            self._watch()
        # Even if nothing was written: between two windows there may be no slice of the scan.
        if blend is not None:
            blend.release(min(self._fused.needs(written), finished))
        return written

    def _write(self, start: int, stop: int, blend: SlabBlend | None, strip: tuple[int, int]) -> None:
        def work() -> None:
            self._gather(blend)
            self._fused.write(start, stop, blend, strip)

        self._execution.attempt(work)

    def _gather(self, blend: SlabBlend | None) -> None:
        """Bring what is blended, and the global answer, to where windows are blended now."""
        if blend is not None and blend.device != self._execution.blend_device:
            blend.move(self._execution.blend_device)
        self._fused.move(self._execution.blend_device)

    def _forward(self, windows: Sequence[Box]) -> torch.Tensor:
        """Return the mean probabilities (B, C, *window) of a batch over all mirrors, float32."""
        device = self._execution.device
        model = self._execution.model
        tensor = torch.from_numpy(np.stack([self._read(window) for window in windows])).to(device)
        context = self._context(windows)
        total = model.full_resolution(tensor, context).float().softmax(1)
        for flip in self._mirrors[1:]:
            axes = [2 + axis for axis in flip]
            seen = None if context is None else context.flip(axes)
            total += model.full_resolution(tensor.flip(axes), seen).float().softmax(1).flip(axes)
        return total.div_(len(self._mirrors)) if len(self._mirrors) > 1 else total

    def _read(self, window: Box) -> npt.NDArray[np.float32]:
        """Return (channels, *window.size); voxels outside the volume hold the fill value."""
        k, j, i = self._image.shape[1:]
        inside = overlap(window, Box((0, 0, 0), (k, j, i)))
        if inside is not None and inside.size == window.size:
            return self._image[(slice(None), *window.slices())].astype(np.float32)
        patch = np.empty((self._image.shape[0], *window.size), np.float32)
        patch[:] = self._fill[:, None, None, None]
        if inside is not None:
            target = inside.moved_to_frame_of(window).slices()
            patch[(slice(None), *target)] = self._image[(slice(None), *inside.slices())]
        return patch

    def _context(self, windows: Sequence[Box]) -> torch.Tensor | None:
        stride = self._execution.model.context_stride
        self._fused.move(self._execution.blend_device)
        answer = self._fused.answer
        if stride is None or answer is None or answer.features is None:
            return None
        maps = [sample_window(answer, window, stride) for window in windows]
        return torch.stack(maps).to(self._execution.device)

    def _in_strip(self, windows: tuple[Box, ...], strip: tuple[int, int]) -> tuple[Box, ...]:
        low, high = self._fused.source_rows(strip)
        return tuple(window for window in windows if window.start[1] < high and window.stop[1] > low)

    def _region(self, windows: tuple[Box, ...], strip: tuple[int, int]) -> Box:
        """The part of the prepared grid that these windows give to the strip."""
        k, j, i = self._image.shape[1:]
        low, high = self._fused.source_rows(strip)
        whole = hull(windows, (k, j, i))
        part = overlap(whole, Box((0, low, 0), (k, high - low, i)))
        return part if part is not None else whole

    def _planned(self, windows: tuple[Box, ...], dtype: torch.dtype, count: int) -> BlendPlan:
        rows = self._fused.shape[1]
        edges = [round(number * rows / count) for number in range(count + 1)]
        strips = tuple(pairwise(edges))
        largest = 0
        for strip in strips:
            part = self._in_strip(windows, strip)
            if part:
                depth = part[0].size[0] + EXTRA_SLICES
                region = self._region(part, strip)
                largest = max(largest, SlabBlend.bytes_needed(region, self._classes, depth, dtype))
        return BlendPlan(dtype, strips, largest)


def sample_window(answer: GlobalAnswer, window: Box, stride: Shape) -> torch.Tensor:
    """Sample the global features at a local window, as ``dual_resolution.sample_context`` does in training.

    Cell c of the context lies at ``start + (c + 0.5) window / ceil(window / stride)``; the outermost
    feature repeats, and all is 0 outside the field of view of the global branch.

    Args:
        answer: The global answer, with features.
        window: The local window on the prepared grid.
        stride: Prepared voxels per cell of the context.

    Returns:
        (F + 1, *ceil(window / stride)), float32: the features, and 1 inside the field of view.
    """
    assert answer.features is not None
    assert answer.feature_grid is not None
    taps, valid = [], []
    for axis in range(3):
        count = math.ceil(window.size[axis] / stride[axis])
        cells = (np.arange(count) + 0.5) * (window.size[axis] / count)
        points: npt.NDArray[np.float64] = np.asarray(window.start[axis] + cells, np.float64)
        first, last = answer.field[axis]
        taps.append(answer.feature_grid.taps(axis, points))
        valid.append((points >= first) & (points <= last))
    near = [axis.within(*axis.source) for axis in taps]
    cut = answer.features[(slice(None), *(slice(*axis.source) for axis in taps))]
    features = sample(cut, (near[0], near[1], near[2]))
    inside = valid[0][:, None, None] & valid[1][None, :, None] & valid[2][None, None, :]
    seen = torch.from_numpy(inside[None].astype(np.float32)).to(features.device)
    return torch.cat([features * seen, seen])
