"""A made-up result whose voxels are known, and counts of colours in a picture of it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from crgloco.io.volume import Geometry, Volume
from crgloco.labels import Label, LabelTable
from CRGLoCoSegmentLib.nodes.results import Result, importResult
from CRGLoCoSegmentLib.nodes.volumes import volumeNodeFromVolume

# Pure red and green can be told apart from any grey, and from the overlay, by counting pixels.
TABLE = LabelTable((Label(1, "liver", (255, 0, 0)), Label(2, "spleen", (0, 255, 0))))
STRAIGHT = Geometry((12, 40, 40), (3.0, 1.0, 1.0), (-20.0, -30.0, 100.0))
# What an engine of before names: positions in mm, LPS, in the volume's own coordinates.
REGIONS = [
    {"position": [8.0, -20.0, 106.0], "volume_ml": 1.0, "expected_ml": 0.9, "mean_confidence": 0.3,
     "label": 0, "name": "background"},
    {"position": [-5.0, -12.0, 118.0], "volume_ml": 2.0, "expected_ml": 0.4, "mean_confidence": 0.6,
     "label": 1, "name": "liver"},
]  # fmt: skip


def arraysOn(geometry: Geometry) -> dict[str, npt.NDArray[np.uint8]]:
    """Liver low along I in the global answer, high in the local one, spleen in the fused; doubt between."""
    kinds = ("fused", "global", "local", "disagreement")
    found = {kind: np.zeros(geometry.shape, np.uint8) for kind in kinds}
    found["global"][2:-2, 10:30, 5:15] = 1
    found["local"][2:-2, 10:30, 25:35] = 1
    found["fused"][2:-2, 10:30, 5:15] = 2
    found["confidence"] = np.full(geometry.shape, 255, np.uint8)
    found["confidence"][2:-2, 15:25, 17:23] = 100
    found["disagreement"][2:-2, 15:25, 17:23] = 200
    return found


def makeResult(geometry: Geometry = STRAIGHT, name: str = "scan") -> Result:
    """Return a grey volume of the current scene with a result."""
    image = np.full(geometry.shape, 300, np.int16)
    image[:, ::4] = 200
    node: Any = volumeNodeFromVolume(Volume(image, geometry), name)
    record = {"regions": REGIONS, "labels": TABLE.to_json(), "title": "phantom"}
    return importResult(node, record, arraysOn(geometry))


def colours(picture: npt.NDArray[np.uint8]) -> SimpleNamespace:
    """Count the pixels that are clearly red, green, violet, white, or any colour at all."""
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    return SimpleNamespace(
        red=int(((red > 200) & (green < 60) & (blue < 60)).sum()),
        green=int(((green > 200) & (red < 60) & (blue < 60)).sum()),
        violet=int(((blue > green + 30) & (blue > red + 5)).sum()),
        white=int((picture.min(-1) > 250).sum()),
        any=int((picture.max(-1).astype(int) - picture.min(-1) > 30).sum()),
    )
