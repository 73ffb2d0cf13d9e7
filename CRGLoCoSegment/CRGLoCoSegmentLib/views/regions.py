"""The regions where a correction is worth most: read from a result's record, placed in the scene."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Position = tuple[float, float, float]
SEEN = "CRGLoCoSegment.seenRegions"


@dataclass(frozen=True)
class Region:
    """One uncertain region.

    Attributes:
        rank: 1 is the most worthwhile one.
        name: Of the structure that most of its voxels were given; empty for background.
        position: Its most central voxel in mm, LPS, in the volume's own coordinates.
        volumeMl: Its volume.
        expectedMl: How much of it is expected to be wrong.
        confidence: Mean, 0..1.
    """

    rank: int
    name: str
    position: Position
    volumeMl: float
    expectedMl: float
    confidence: float


def regionsOf(record: Mapping[str, Any]) -> tuple[Region, ...]:
    """Read the regions of a result's record, in its order: the most worthwhile first."""
    return tuple(_region(rank, entry) for rank, entry in enumerate(record.get("regions", ()), start=1))


def seenRegions(result: Any) -> frozenset[int]:
    """Return the ranks of a result's regions that the user has looked at; saved with the scene."""
    text = result.fused.GetAttribute(SEEN) or ""
    return frozenset(int(rank) for rank in text.split(",") if rank)


def setSeenRegions(result: Any, ranks: Iterable[int]) -> None:
    """Note which regions of a result the user has looked at."""
    result.fused.SetAttribute(SEEN, ",".join(str(rank) for rank in sorted(ranks)))


def worldPosition(volumeNode: Any, position: Position) -> Position:
    """Turn a position in a volume's own coordinates (LPS) into one of the scene's world (RAS).

    They differ where the volume has a parent transform, also a non-linear one.
    """
    left, posterior, superior = position
    world = [0.0, 0.0, 0.0]
    volumeNode.TransformPointToWorld([-left, -posterior, superior], world)
    return world[0], world[1], world[2]


def _region(rank: int, entry: Mapping[str, Any]) -> Region:
    x, y, z = (float(part) for part in entry["position"])
    return Region(
        rank=rank,
        name=str(entry.get("name", "")) if entry.get("label") else "",
        position=(x, y, z),
        volumeMl=float(entry["volume_ml"]),
        expectedMl=float(entry["expected_ml"]),
        confidence=float(entry["mean_confidence"]),
    )
