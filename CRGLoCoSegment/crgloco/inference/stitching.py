"""Blending of overlapping windows, one slab of slices at a time.

Windows come sorted by their first slice, so a slice is final once no later window begins above it.
The sums live in a ring of slices as deep as a window: memory does not grow with the volume.
"""

from __future__ import annotations

import numpy as np
import torch

from crgloco.data.boxes import Box, overlap, triple

# Half precision loses what is below 6e-8, such as a small probability at the rim of a window, where weights
# are 0.001; its logarithm counts. So scaled, windows that overlap by half sum up to 1200 of 65504.
_HALF_SCALE = 1024.0


class SlabBlend:
    """Weighted mean of the probabilities of windows, over a part of the prepared grid.

    Args:
        region: Part of the prepared grid that is kept; windows are clipped to it.
        classes: Number of classes C.
        depth: Slices of the ring: those of a window and a few more for what is not read yet.
        dtype: Type of the sums; ``torch.float16`` halves the memory and costs three decimal places.
        device: Where the sums live.
    """

    def __init__(
        self, region: Box, classes: int, depth: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.region = region
        self.depth = min(depth, region.size[0])
        self._sums = torch.zeros((classes, self.depth, *region.size[1:]), dtype=dtype, device=device)
        self._weights = torch.zeros((self.depth, *region.size[1:]), dtype=torch.float32, device=device)
        self.first = region.start[0]
        self.finished = region.start[0]
        self.touched = region.start[0]

    @staticmethod
    def bytes_needed(region: Box, classes: int, depth: int, dtype: torch.dtype) -> int:
        """Return the memory that the sums take."""
        slices = min(depth, region.size[0])
        return slices * region.size[1] * region.size[2] * (classes * dtype.itemsize + 4)

    @property
    def device(self) -> torch.device:
        """Where the sums live."""
        return self._sums.device

    def move(self, device: torch.device) -> None:
        """Move the sums to another device."""
        self._sums, self._weights = self._sums.to(device), self._weights.to(device)

    def add(self, window: Box, probabilities: torch.Tensor, weight: torch.Tensor) -> None:
        """Add one window.

        Args:
            window: Where it lies on the prepared grid; no slice of it is finished yet.
            probabilities: (C, *window.size), float32.
            weight: (*window.size), above 0.
        """
        inside = overlap(window, self.region)
        if inside is None:
            return
        source = inside.moved_to_frame_of(window).slices()
        _, rows, columns = inside.moved_to_frame_of(self.region).slices()
        probabilities = probabilities[(slice(None), *source)].to(self.device)
        weight = weight[source].to(self.device)
        if self._sums.dtype == torch.float16:
            weight = weight * _HALF_SCALE
        for ring, part in self._pieces(inside.start[0], inside.stop[0]):
            # In place and without temporaries: running out of memory here would spoil the sums.
            target = self._sums[:, ring, rows, columns]
            if target.dtype == torch.float32:
                target.addcmul_(probabilities[:, part], weight[part])
            else:
                for channel, share in enumerate(probabilities[:, part]):
                    target[channel] += share * weight[part]
            self._weights[ring, rows, columns] += weight[part]
        self.touched = max(self.touched, inside.stop[0])

    def finish(self, until: int) -> None:
        """Turn the sums of all slices before ``until`` into means; no later window touches them.

        May be repeated where memory ran out: the weight of what is a mean already is 1.
        """
        stop = min(until, self.touched)
        for ring, _ in self._pieces(self.finished, stop):
            for index in range(ring.start, ring.stop):
                weight = self._weights[index]
                share = torch.where(weight > 0, 1 / weight, 0).to(self._sums.dtype)
                present = (weight > 0).to(weight.dtype)
                self._sums[:, index] *= share
                self._weights[index] = present
        self.finished = max(self.finished, until)

    def read(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return finished slices ``start..stop``: means (C, n, J, I) and 1 where a window was, (n, J, I)."""
        index = torch.arange(start - self.region.start[0], stop - self.region.start[0], device=self.device)
        means = self._sums.index_select(1, index % self.depth)
        present = self._weights.index_select(0, index % self.depth)
        beyond = max(start, self.touched) - start
        means[:, beyond:] = 0
        present[beyond:] = 0
        return means, present

    def release(self, before: int) -> None:
        """Give up all slices before ``before``; the ring moves on."""
        for ring, _ in self._pieces(self.first, min(before, self.touched)):
            self._sums[:, ring] = 0
            self._weights[ring] = 0
        self.first = max(self.first, before)

    def _pieces(self, start: int, stop: int) -> list[tuple[slice, slice]]:
        """Split a range of slices where the ring wraps: (range in the ring, range from ``start``)."""
        pieces = []
        position = start
        while position < stop:
            ring = (position - self.region.start[0]) % self.depth
            count = min(stop - position, self.depth - ring)
            pieces.append((slice(ring, ring + count), slice(position - start, position - start + count)))
            position += count
        return pieces


def hull(boxes: tuple[Box, ...], shape: tuple[int, int, int]) -> Box:
    """Return the smallest box inside a volume of that shape around all boxes."""
    start = np.maximum(np.min([box.start for box in boxes], axis=0), 0)
    stop = np.minimum(np.max([box.stop for box in boxes], axis=0), shape)
    return Box(triple(start), triple(stop - start))
