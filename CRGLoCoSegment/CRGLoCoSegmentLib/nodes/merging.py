"""The layers of a segmentation become one array of label values; overlaps are counted, never hidden."""

from collections.abc import Callable, Mapping

import numpy as np
from slicer.i18n import tr as _

from crgloco.errors import GeometryError, InputError, LabelError
from crgloco.labels import Label, LabelTable
from CRGLoCoSegmentLib.nodes.images import Array, smallestLabels
from CRGLoCoSegmentLib.nodes.snapshots import Layer, Snapshot

Region = tuple[slice, slice, slice]


class Merge:
    """Layers of a snapshot, one after the other, as one array of label values."""

    def __init__(self, snapshot: Snapshot, table: LabelTable, found: Mapping[str, Label]) -> None:
        self._snapshot, self._table, self._found = snapshot, table, found
        kind = np.uint8 if max(table.values) <= 255 else np.uint16
        self.values: Array = np.zeros(snapshot.geometry.shape, kind)
        self._overlaps: dict[tuple[int, int], int] = {}
        self._outside = 0

    def add(self, number: int) -> None:
        """Add a layer; where it has voxels that an earlier one has too, both are counted as overlap."""
        layer = self._snapshot.layers[number]
        indices, lookup = self._translation(number, layer)
        there, here = _common(layer, self.values.shape)
        target, source = self.values[there], indices[here]
        for plane, place in zip(source, target, strict=True):  # by planes: no second large array is made
            labels = lookup[plane]
            if number > 0:
                self._countOverlap(place, labels)
                np.copyto(place, labels, where=labels > 0)
            else:
                place[...] = labels
        if source.shape != indices.shape:
            whole, inside = (
                sum(int(np.count_nonzero(lookup[plane])) for plane in part) for part in (indices, source)
            )
            self._outside += whole - inside

    def assertApart(self) -> None:
        """Refuse overlaps: a voxel of a label file has one value."""
        if self._overlaps:
            names = dict(zip(self._table.values, self._table.names, strict=True))
            pair = _("{first!r} and {second!r} in {count} voxels")
            shown = "; ".join(
                pair.format(first=names[first], second=names[second], count=count)
                for (first, second), count in sorted(self._overlaps.items())
            )
            msg = _(
                "Segments of {name!r} overlap: {overlaps}. A file has one label per voxel: "
                "take the shared voxels from one of them, with the Segment Editor's Logical operators."
            )
            raise LabelError(msg.format(name=self._snapshot.name, overlaps=shown))

    def assertInside(self, tell: Callable[[str], None]) -> None:
        """Refuse a segmentation that lies outside of its volume; say how much lies outside."""
        if not self._outside:
            return
        if not self.values.any():
            msg = _("{name!r} lies outside of the volume. Choose the volume it was made on.")
            raise GeometryError(msg.format(name=self._snapshot.name))
        note = _("{count} voxels of {name!r} lie outside of the volume: left out.")
        tell(note.format(count=self._outside, name=self._snapshot.name))

    def _translation(self, number: int, layer: Layer) -> tuple[Array, Array]:
        """Return the layer's numbers as indices, and the label value of each index."""
        try:
            indices = layer.values if layer.values.dtype.kind == "u" else smallestLabels(layer.values)
            indices = indices if indices.dtype.itemsize <= 2 else smallestLabels(indices)
        except ValueError as error:
            msg = _("{name!r} cannot be exported. {reason}")
            raise InputError(msg.format(name=self._snapshot.name, reason=error)) from error
        lookup = np.zeros(1 << (8 * indices.dtype.itemsize), self.values.dtype)
        for segment in self._snapshot.segments:
            if segment.layer == number and segment.id in self._found and 0 <= segment.value < lookup.size:
                lookup[segment.value] = self._found[segment.id].value
        return indices, lookup

    def _countOverlap(self, place: Array, labels: Array) -> None:
        both = (labels > 0) & (place > 0) & (labels != place)
        if not both.any():
            return
        first, second = place[both], labels[both]
        pairs = np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1)
        for (low, high), count in zip(*np.unique(pairs, axis=0, return_counts=True), strict=True):
            key = (int(low), int(high))
            self._overlaps[key] = self._overlaps.get(key, 0) + int(count)


def _common(layer: Layer, shape: tuple[int, ...]) -> tuple[Region, Region]:
    """Return the part of the grid that a layer covers, and the part of the layer that lies on the grid."""
    there, here = [], []
    for first, size, count in zip(layer.first, layer.values.shape, shape, strict=True):
        start, stop = min(max(first, 0), count), min(max(first + size, 0), count)
        there.append(slice(start, stop))
        here.append(slice(start - first, stop - first) if stop > start else slice(0, 0))
    return (there[0], there[1], there[2]), (here[0], here[1], here[2])
