"""Array references as a program makes them for the worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from crgloco.io.volume import Geometry

# Oblique, left-handed, anisotropic: whatever mixes up axes, signs or spacings shows.
TURN = 0.3
OBLIQUE = Geometry(
    (6, 8, 10),
    (2.5, 0.7, 0.9),
    (-12.5, 30.25, 101.0),
    (
        (float(np.cos(TURN)), float(-np.sin(TURN)), 0.0),
        (float(np.sin(TURN)), float(np.cos(TURN)), 0.0),
        (0.0, 0.0, -1.0),
    ),
)


def grid_fields(grid: Geometry) -> dict[str, Any]:
    """The geometry of a reference."""
    return {
        "shape": list(grid.shape),
        "spacing": list(grid.spacing),
        "origin": list(grid.origin),
        "direction": [list(row) for row in grid.direction],
    }


def reference(array: np.ndarray, path: Path, grid: Geometry | None = None) -> dict[str, Any]:
    """Write an array and return the reference to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    chosen = grid or Geometry(array.shape, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    return {"file": str(path), "geometry": grid_fields(chosen)}
