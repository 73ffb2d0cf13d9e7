"""Where a volume lay, and what it held, when something was made on it: written down as JSON, compared later.

Slicer turns left-handed volumes round when it loads them: the same voxels lie at the same places, stored in
another order. That is no move.
"""

import json
from collections.abc import Mapping
from typing import Any

from crgloco.io.orientation import Orientation
from crgloco.io.volume import Geometry
from CRGLoCoSegmentLib.nodes.attributes import mappingOf
from CRGLoCoSegmentLib.nodes.geometry import geometryOfNode
from CRGLoCoSegmentLib.nodes.ownership import OURS
from CRGLoCoSegmentLib.nodes.volumes import contentStamp

VOXELS = "voxels"
GRID = "grid"
# On a volume: for a label of a case that no model's answer is behind.
PLACE = f"{OURS}Place"


def placeOf(volumeNode: Any) -> dict[str, Any]:
    """Return what a volume holds and where, in its own coordinates; ready for JSON."""
    return {VOXELS: contentStamp(volumeNode), GRID: geometryOfNode(volumeNode).to_json()}


def markPlace(volumeNode: Any, place: Mapping[str, Any]) -> None:
    """Write on a volume what the file of its case holds, and where; saved with the scene."""
    volumeNode.SetAttribute(PLACE, json.dumps(dict(place)))


def markedPlace(volumeNode: Any) -> dict[str, Any]:
    """Return what ``markPlace`` wrote; empty if it wrote nothing that can be read."""
    return mappingOf(volumeNode, PLACE)


def liesElsewhere(volumeNode: Any, place: Mapping[str, Any]) -> bool:
    """Whether the voxels of a volume lie elsewhere than they did, in whatever order they are stored."""
    if GRID not in place:
        return False
    then, now = Geometry.from_json(place[GRID]), geometryOfNode(volumeNode)
    return not then.same_grid(Orientation.onto(now, then).apply_geometry(now))


def showsOthers(volumeNode: Any, place: Mapping[str, Any]) -> bool:
    """Whether a volume shows other voxels than it did, in whatever order they are stored."""
    if VOXELS not in place:
        return False
    axes = Geometry.from_json(place[GRID]) if GRID in place else None
    return bool(place[VOXELS] != contentStamp(volumeNode, axes))


def wasMoved(volumeNode: Any, place: Mapping[str, Any]) -> bool:
    """Whether a volume lies elsewhere than it did, or was turned about its own middle."""
    return liesElsewhere(volumeNode, place) or isTurnedInPlace(volumeNode, place)


def isTurnedInPlace(volumeNode: Any, place: Mapping[str, Any]) -> bool:
    """Whether a volume was turned about its own middle, say: onto the places that other voxels had.

    Slicer's reader leaves every voxel at its place when it turns the axes round.
    """
    if GRID not in place or Geometry.from_json(place[GRID]).same_grid(geometryOfNode(volumeNode)):
        return False
    return not liesElsewhere(volumeNode, place) and showsOthers(volumeNode, place)
