"""Segmentation nodes to label values on the volume's grid, and what changed between two of them.

The main thread copies (``snapshots.snapshotOf``); the rest is numpy and may run in any thread.
"""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from crgloco.errors import LabelError
from crgloco.io.volume import Volume
from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.nodes.changes import Changes, labelChanges
from CRGLoCoSegmentLib.nodes.images import Array
from CRGLoCoSegmentLib.nodes.label_tables import tableOf
from CRGLoCoSegmentLib.nodes.matching import matchSegments
from CRGLoCoSegmentLib.nodes.merging import Merge
from CRGLoCoSegmentLib.nodes.results import volumeOf
from CRGLoCoSegmentLib.nodes.snapshots import Snapshot, snapshotOf

log = logging.getLogger("CRGLoCoSegment")


def labelsFromSegmentation(
    segmentationNode: Any, table: LabelTable, volumeNode: Any, *, onNote: Callable[[str], None] | None = None
) -> Volume:
    """Return the label values of a segmentation on the grid of a volume.

    512 x 512 x 300 voxels took 0.1 to 0.6 s on two idle cores; to leave the main thread free, take
    ``snapshotOf`` and give it to ``labelsOf`` in a thread.

    Args:
        segmentationNode: Ours, or any other whose segments carry the table's names or terminology.
        table: Which value each label gets, whatever the order or names of the segments.
        volumeNode: The image that the label belongs to.
        onNote: Hears what the user should know: resampling, voxels outside of the volume. Else it is logged.

    Raises:
        LabelError: A segment is not in the table, could be two labels, or overlaps another.
        GeometryError: The segmentation does not belong to the volume.
    """
    return labelsOf(snapshotOf(segmentationNode, volumeNode), table, onNote=onNote)


def labelsOf(snapshot: Snapshot, table: LabelTable, *, onNote: Callable[[str], None] | None = None) -> Volume:
    """Return the label values of a snapshot; see ``labelsFromSegmentation``. Any thread."""
    tell = onNote if onNote is not None else log.warning
    for note in snapshot.notes:
        tell(note)
    found = matchSegments(snapshot, table)
    labels = Merge(snapshot, table, found)
    for number in range(len(snapshot.layers)):
        labels.add(number)
    labels.assertApart()
    labels.assertInside(tell)
    return Volume(labels.values, snapshot.geometry)


def changedSince(corrected: Any, original: Any) -> Changes:
    """Return what differs between two segmentation nodes of one volume; overlaps count for one label.

    512 x 512 x 300 voxels took 0.9 s on two idle cores; see ``labelChanges`` for a thread.

    Raises:
        LabelError: The original is not one of ours, or a segment of either is unknown.
    """
    table, volume = tableOf(original), volumeOf(original)
    if table is None or volume is None:
        msg = f"{original.GetName()!r} is no prediction of this module: its labels or its volume are unknown."
        raise LabelError(msg)
    snapshots = [snapshotOf(node, volume) for node in (corrected, original)]
    now, before = (comparableLabels(snapshot, table) for snapshot in snapshots)
    return labelChanges(now, {"": before}, table, voxelMl=voxelMl(snapshots[0]))


def comparableLabels(snapshot: Snapshot, table: LabelTable) -> Array:
    """Return label values as ``labelsOf``, but pass over unknown segments and overlaps. Any thread."""
    found = matchSegments(snapshot, table, strict=False)
    labels = Merge(snapshot, table, found)
    for number in range(len(snapshot.layers)):
        labels.add(number)
    return labels.values


def voxelMl(snapshot: Snapshot) -> float:
    """Return the volume of a voxel."""
    return float(np.prod(snapshot.geometry.spacing)) / 1000
