"""What a prediction is: labels of both branches and of their fusion, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crgloco.io.volume import Geometry, Volume

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """The answer for one scan, on exactly the grid of the scan.

    Attributes:
        fused: (K, J, I) uint8 class numbers.
        global_: Class numbers of the global branch; ``None`` if the model has none.
        local: Class numbers of the local branch, and of the global branch where no local window ran;
            ``None`` if the local branch was not run.
        confidence: (K, J, I) uint8, 0..255 for 0..1: calibrated probability of the fused class.
        disagreement: (K, J, I) uint8, 0..255 for 0..1: half the sum over classes of the difference
            of both branches' probabilities; 0 where no local window ran.
        geometry: Grid of all arrays.
        quality: ``"fast"``, ``"balanced"`` or ``"full"``.
        seconds: Time taken, preparation included.
        peak_memory_mb: Largest memory of the whole process seen meanwhile.
        peak_gpu_mb: Largest GPU memory meanwhile; 0 on the CPU.
        windows_run: Local windows that ran.
        windows_possible: Local windows that covering the whole scan would take.
        mean_confidence: Mean confidence 0..1 over the structures; over the whole scan if none is found.
        islands: Voxels of each class number that were removed from ``fused`` as islands; half of the
            confidence in the structure remains as doubt.
        notes: What was done differently, as for want of memory, and what about the scan should be checked;
            one sentence each.
        probes: (N, C) float32: natural logarithm of the uncalibrated fused probabilities at the voxels
            that were asked for; ``None`` if none were.
    """

    fused: Bytes
    global_: Bytes | None
    local: Bytes | None
    confidence: Bytes
    disagreement: Bytes
    geometry: Geometry
    quality: str
    seconds: float
    peak_memory_mb: float
    peak_gpu_mb: float
    windows_run: int
    windows_possible: int
    mean_confidence: float
    islands: Mapping[int, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    probes: npt.NDArray[np.float32] | None = None

    def share(self, array: Bytes) -> Volume:
        """Return confidence or disagreement as a volume of 0..1, float32."""
        return Volume((array / np.float32(255)).astype(np.float32), self.geometry)
