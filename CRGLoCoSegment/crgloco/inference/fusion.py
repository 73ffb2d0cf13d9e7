"""From the answers of both branches to labels, confidence and disagreement on the grid of the scan.

Written a few slices at a time. Probabilities are sampled linearly to the scan's grid; the fused
answer is the weighted mean of log-probabilities, brought back to sum 1. Where no local window ran,
the global answer counts for both. All classes are only looked at inside the rectangle where the
global branch is not settled on background or local windows ran: outside, linear sampling of a
background above one half can give nothing else.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from crgloco.inference.global_pass import GlobalAnswer
from crgloco.inference.prediction import Bytes
from crgloco.inference.sampling import Grid, Taps, sample
from crgloco.inference.stitching import SlabBlend
from crgloco.inference.windows import any_along
from crgloco.io.orientation import CANONICAL, Orientation
from crgloco.io.volume import Shape

# Probabilities below this count as this: one branch cannot veto the other with certainty.
LEAST_PROBABILITY = 1e-6
# Tensors of a chunk stay below this: larger ones are unmapped and cleared by the system each time.
CHUNK_BYTES = 24 * 2**20

Range = tuple[int, int]
NOTHING: Range = (0, 0)


class FusedSlices:
    """Collects the results on the scan's grid, canonical axes.

    Args:
        shape: Voxels of the scan along its canonical axes.
        field: Voxels of the prepared grid.
        classes: Number of classes C.
        answer: The global answer, if the model gives one.
        share: What the local branch counts in the fusion, 0..1; the global one is the rest.
        temperature: Divides fused log-probabilities before the confidence is read off.
        with_local: Whether local labels are wanted.
        probes: (N, 3) voxels of the scan, canonical, whose fused log-probabilities are wanted.
        orientation: How the scan is stored: its ``undo`` of the results is contiguous, without a copy.
    """

    def __init__(
        self,
        shape: Shape,
        field: Shape,
        classes: int,
        answer: GlobalAnswer | None,
        *,
        share: float,
        temperature: float,
        with_local: bool,
        probes: npt.NDArray[np.int64] | None = None,
        orientation: Orientation = CANONICAL,
    ) -> None:
        self.shape = shape
        self.fused: Bytes = orientation.zeros(shape)
        self.global_: Bytes | None = None if answer is None else orientation.zeros(shape)
        self.local: Bytes | None = orientation.zeros(shape) if with_local else None
        self.confidence: Bytes = orientation.zeros(shape)
        self.disagreement: Bytes = orientation.zeros(shape)
        self.probes = None if probes is None else np.zeros((len(probes), classes), np.float32)
        self._points = probes
        self._temperature = temperature
        self._share = share
        out, prepared = Grid.over(field, shape), Grid.over(field, field)
        self._local_taps = [prepared.taps(axis, out.centres(axis)) for axis in range(3)]
        self.answer = answer
        if answer is not None:
            self._global_taps = [answer.grid.taps(axis, out.centres(axis)) for axis in range(3)]
            self._unsettled = (answer.probabilities[0] <= 0.5).cpu().numpy()
            self._background = _sharpened_background(answer.probabilities, temperature)
        self._used = np.where(
            self._local_taps[0].upper_weight > 0, self._local_taps[0].upper, self._local_taps[0].lower
        )

    def move(self, device: torch.device) -> None:
        """Compute on another device from now on; ``answer`` lies there then."""
        if self.answer is not None and self.answer.probabilities.device != device:
            self.answer = self.answer.to(device)
            self._background = self._background.to(device)

    def ready(self, finished: int) -> int:
        """Return how many slices of the scan need no prepared slice from ``finished`` on."""
        return int(np.searchsorted(self._used, finished))

    def needs(self, number: int) -> int:
        """Return the first prepared slice that slice ``number`` of the scan and later ones need."""
        lower = self._local_taps[0].lower
        return int(lower[number]) if number < len(lower) else int(self._used[-1]) + 1

    def chunk(self, classes: int) -> int:
        """Return how many slices are written at once."""
        return max(1, CHUNK_BYTES // (classes * self.shape[1] * self.shape[2] * 4))

    def source_rows(self, rows: Range) -> Range:
        """Return the prepared rows (J) that these rows of the scan need."""
        return self._local_taps[1].part(*rows).source

    def write(self, start: int, stop: int, blend: SlabBlend | None, rows: Range | None = None) -> None:
        """Write slices ``start..stop``.

        Args:
            start: First slice of the scan.
            stop: First slice behind.
            blend: Finished prepared slices; ``None`` if no local window is near.
            rows: Rows (J) of the scan that are written; all without.
        """
        rows = rows if rows is not None else (0, self.shape[1])
        local = _near(blend, self._local_taps[0].part(start, stop))
        box = self._interesting((start, stop), rows, local)
        if self.answer is not None:
            self._write_background((start, stop), rows)
        if box is not None:
            self._write_box(box, local)

    def _interesting(
        self, slices: Range, rows: Range, local: _Local | None
    ) -> tuple[Range, Range, Range] | None:
        """The part of the slices that is more than settled background."""
        if self.answer is None or self._points is not None:
            return slices, rows, (0, self.shape[2])
        low, high = self._global_taps[0].part(*slices).source
        cells = any_along(self._unsettled[low:high], 0)
        ranges = [
            self._global_taps[1].touching(*_extent(any_along(cells, 1))),
            self._global_taps[2].touching(*_extent(any_along(cells, 0))),
        ]
        if local is not None:
            ranges[0] = _hull(ranges[0], self._local_taps[1].touching(*local.rows))
            ranges[1] = _hull(ranges[1], self._local_taps[2].touching(*local.columns))
        first, last = max(ranges[0][0], rows[0]), min(ranges[0][1], rows[1])
        if last <= first or ranges[1] == NOTHING:
            return None
        return slices, (first, last), ranges[1]

    def _write_background(self, slices: Range, rows: Range) -> None:
        ranges = (slices, rows, (0, self.shape[2]))
        certain = _sample_part(self._background, self._global_taps, ranges)[0]
        self.confidence[slices[0] : slices[1], rows[0] : rows[1]] = _to_bytes(certain)

    def _write_box(self, box: tuple[Range, Range, Range], local: _Local | None) -> None:
        where = tuple(slice(*part) for part in box)
        coarse, fine = None, None
        if self.answer is not None:
            coarse = _sample_part(self.answer.probabilities, self._global_taps, box)
        if local is not None:
            fine = self._sample_local(local, box, coarse)
        if coarse is not None and self.global_ is not None:
            self.global_[where] = _labels(coarse)
        best = fine if fine is not None else coarse
        if best is None:
            return
        if self.local is not None:
            self.local[where] = _labels(best)
        if fine is not None and coarse is not None:
            self.disagreement[where] = _to_bytes((fine - coarse).abs_().sum(0) / 2)
        self._write_fused(where, _log_mean(fine, coarse, self._share))

    def _write_fused(self, where: tuple[slice, ...], logs: torch.Tensor) -> None:
        """Write label and confidence from fused, not yet normalised log-probabilities (C, n, J, I)."""
        largest, label = logs.max(0)
        self.fused[where] = label.to(torch.uint8).cpu().numpy()
        if self._points is not None and self.probes is not None:
            inside = (self._points >= [part.start for part in where]).all(1)
            inside &= (self._points < [part.stop for part in where]).all(1)
            k, j, i = (self._points[inside] - [part.start for part in where]).T
            self.probes[inside] = torch.log_softmax(logs[:, k, j, i].T.cpu(), 1).numpy()
        logs -= largest
        if self._temperature != 1:
            logs /= self._temperature
        self.confidence[where] = _to_bytes(1 / logs.exp_().sum(0))

    def _sample_local(
        self, local: _Local, box: tuple[Range, Range, Range], coarse: torch.Tensor | None
    ) -> torch.Tensor:
        """Local probabilities (C, n, J, I) on the scan's grid, the global ones where no window ran."""
        taps = [
            axis.part(*part).within(first, first + length)
            for axis, part, first, length in zip(
                self._local_taps, box, local.start, local.present.shape, strict=True
            )
        ]
        fine = sample(local.means, (taps[0], taps[1], taps[2]))
        present = sample(local.present[None], (taps[0], taps[1], taps[2]))
        fine /= present.clamp_min(1e-3)
        return fine if coarse is None else torch.where(present >= 0.5, fine, coarse)


class _Local:
    """Blended local slices, and the part of them that windows reached."""

    def __init__(self, means: torch.Tensor, present: torch.Tensor, start: Shape) -> None:
        self.means = means
        self.present = present
        self.start = start
        rows = _extent(present.amax((0, 2)).cpu().numpy() > 0)
        columns = _extent(present.amax((0, 1)).cpu().numpy() > 0)
        self.rows = (rows[0] + start[1], rows[1] + start[1])
        self.columns = (columns[0] + start[2], columns[1] + start[2])


def _near(blend: SlabBlend | None, taps: Taps) -> _Local | None:
    """The blended slices between which the taps lie, if a window reached any of them."""
    if blend is None:
        return None
    low, high = taps.source
    start, size = blend.region.start, blend.region.size
    low, high = max(low, start[0]), min(high, start[0] + size[0])
    if low >= min(high, blend.touched):
        return None
    means, present = blend.read(low, high)
    if not bool(present.any()):
        return None
    return _Local(means, present, (low, start[1], start[2]))


def _log_mean(fine: torch.Tensor | None, coarse: torch.Tensor | None, share: float) -> torch.Tensor:
    """Weighted mean of log-probabilities; may overwrite its arguments."""
    if fine is None or coarse is None or share == 1:
        single = fine if fine is not None else coarse
        assert single is not None
        return single.clamp_min_(LEAST_PROBABILITY).log_()
    logs = fine.clamp_min_(LEAST_PROBABILITY).log_().mul_(share)
    return logs.add_(coarse.clamp_min_(LEAST_PROBABILITY).log_(), alpha=1 - share)


def _sharpened_background(probabilities: torch.Tensor, temperature: float) -> torch.Tensor:
    """Calibrated probability of background per cell, (1, k, j, i)."""
    if temperature == 1:
        return probabilities[:1].float()
    result = torch.empty_like(probabilities[:1], dtype=torch.float32)
    for index in range(probabilities.shape[1]):
        logs = probabilities[:, index].float().clamp_min(LEAST_PROBABILITY).log_() / temperature
        result[0, index] = logs.softmax(0)[0]
    return result


def _sample_part(maps: torch.Tensor, taps: list[Taps], box: tuple[Range, Range, Range]) -> torch.Tensor:
    """Sample maps (C, k, j, i) at a box of the scan, reading only the cells it needs."""
    parts = [axis.part(*part) for axis, part in zip(taps, box, strict=True)]
    source = [part.source for part in parts]
    cut = maps[(slice(None), *(slice(*cells) for cells in source))]
    near = [part.within(*cells) for part, cells in zip(parts, source, strict=True)]
    result = sample(cut, (near[0], near[1], near[2]))
    # An exact copy shares the memory of the maps, and what follows works in place.
    return result.clone() if result.data_ptr() == cut.data_ptr() else result


def _labels(probabilities: torch.Tensor) -> Bytes:
    labels: Bytes = probabilities.max(0).indices.to(torch.uint8).cpu().numpy()
    return labels


def _to_bytes(share: torch.Tensor) -> Bytes:
    values: Bytes = (share * 255 + 0.5).clamp_(0, 255).to(torch.uint8).cpu().numpy()
    return values


def _extent(occupied: npt.NDArray[np.bool_]) -> Range:
    found = np.flatnonzero(occupied)
    return (int(found[0]), int(found[-1]) + 1) if len(found) else NOTHING


def _hull(first: Range, second: Range) -> Range:
    if NOTHING in {first, second}:
        return second if first == NOTHING else first
    return min(first[0], second[0]), max(first[1], second[1])
