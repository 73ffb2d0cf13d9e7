"""Intensities that networks can live with: one rule per channel, for CT or for anything else.

CT numbers mean the same in every scan: clip and scale by numbers fitted on the training cases. MR
numbers mean nothing across scans (0..4 in one, 0..1.7e6 in the next): every volume is scaled by its
own statistics, which depend on nothing but that volume, so training and inference agree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from crgloco.errors import InputError, ModelError

# Percentiles between which intensities are kept, as in nnU-Net.
LOW_PERCENTILE = 0.5
HIGH_PERCENTILE = 99.5
# Air around the body lies below this share of the volume's robust range. Of seven rules tried this one
# makes the same organ most alike between the scans of chaos_mr and hippocampus.
BACKGROUND_SHARE = 0.05
# Nothing is further from the mean than this many standard deviations: safe in float16.
LIMIT = 10.0
# Statistics come from a fixed subset of about this many voxels.
SAMPLED_VOXELS = 2_000_000


@dataclass(frozen=True)
class ChannelRule:
    """How the intensities of one channel are brought to mean 0 and standard deviation 1.

    Attributes:
        kind: ``"ct"`` for fixed numbers, ``"mr"`` for numbers taken from each volume.
        low: Lower clip: an intensity (ct) or a percentile of the volume's voxels (mr).
        high: Upper clip, likewise.
        mean: Subtracted after clipping (ct); unused, 0 (mr).
        std: Divided by (ct); unused, 1 (mr).
    """

    kind: Literal["ct", "mr"]
    low: float = LOW_PERCENTILE
    high: float = HIGH_PERCENTILE
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        for name in ("low", "high", "mean", "std"):  # 1 and 1.0 are one number, but not in JSON
            object.__setattr__(self, name, float(getattr(self, name)))
        numbers = (self.low, self.high, self.mean, self.std)
        if self.kind not in ("ct", "mr") or not all(map(math.isfinite, numbers)) or self.std <= 0:
            msg = f"The intensity rule {self!r} cannot be used: the kind is ct or mr, the numbers are finite."
            raise ModelError(msg)
        if self.low > self.high or (self.kind == "mr" and not 0 <= self.low < self.high <= 100):
            msg = f"The intensity rule {self!r} cannot be used: its limits are in the wrong order."
            raise ModelError(msg)

    def scaling(self, array: npt.NDArray[Any]) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]:
        """Return the function that scales any part of this volume: clip, subtract, divide.

        Args:
            array: The whole channel (K, J, I), any real dtype, on its original grid.

        Raises:
            InputError: On NaN or infinite voxels (also when the returned function meets them).
        """
        if self.kind == "ct":
            low, high, mean, std = self.low, self.high, self.mean, self.std
        else:
            low, high, mean, std = _volume_statistics(_sampled(array), self.low, self.high)
        if std <= 1e-9 * abs(mean):  # constant after clipping
            std = math.inf
        # float32 cannot tell neighbours apart in wide integers or float64
        exact: type[np.floating[Any]] = np.float64
        if array.dtype.itemsize <= 2 or array.dtype == np.float32:
            exact = np.float32

        def scale(part: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
            scaled: npt.NDArray[np.floating[Any]] = part.astype(exact)
            if array.dtype.kind == "f" and not np.isfinite(scaled).all():
                raise InputError(_NOT_FINITE)
            np.clip(scaled, exact(low), exact(high), out=scaled)
            np.subtract(scaled, exact(mean), out=scaled)
            np.divide(scaled, exact(std), out=scaled)
            return np.clip(scaled, -LIMIT, LIMIT, out=scaled).astype(np.float32, copy=False)

        return scale

    def to_json(self) -> dict[str, Any]:
        """Return the rule as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> ChannelRule:
        """Read what ``to_json`` wrote.

        Raises:
            ModelError: A key is missing or unknown, or a number makes no sense.
        """
        try:
            numbers = {key: float(value) for key, value in entry.items() if key != "kind"}
            return cls(kind=entry["kind"], **numbers)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            msg = f"The intensity rule {entry!r} of the model cannot be read."
            raise ModelError(msg) from error


def kind_of(channel_name: str) -> Literal["ct", "mr"]:
    """Return the rule for a channel of that name: CT if one of its words is ``ct``, else MR."""
    return "ct" if "ct" in re.split(r"[^a-z0-9]+", channel_name.lower()) else "mr"


def ct_rule(voxels: npt.NDArray[Any]) -> ChannelRule:
    """Return the CT rule for the given training voxels (any shape): percentiles, mean and spread."""
    low, high = np.percentile(voxels, (LOW_PERCENTILE, HIGH_PERCENTILE)).tolist()
    clipped = np.clip(np.asarray(voxels, np.float64), low, high)
    std = float(clipped.std())
    return ChannelRule("ct", low, high, float(clipped.mean()), std if std > 1e-6 else 1.0)


def body_voxels(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return a fixed sample (N,) of the voxels brighter than the air around the body.

    Args:
        array: (K, J, I) grey values of one channel.

    Raises:
        InputError: On NaN or infinite voxels in the sample.
    """
    voxels = _sampled(array)
    return _brighter_than_air(voxels, *_robust_range(voxels, LOW_PERCENTILE, HIGH_PERCENTILE))


_NOT_FINITE = "The scan contains voxels that are not numbers (NaN or infinite); export it again without them."


def _sampled(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Every n-th row and column of every slice: about ``SAMPLED_VOXELS``, the same ones each time."""
    step = max(1, math.ceil(math.sqrt(array.size / SAMPLED_VOXELS)))
    voxels = array[:, ::step, ::step].ravel().astype(np.float64)
    if not np.isfinite(voxels).all():
        raise InputError(_NOT_FINITE)
    return voxels


def _robust_range(voxels: npt.NDArray[np.float64], low: float, high: float) -> tuple[float, float]:
    """Percentiles without the voxels at the minimum, which may be padding and the vast majority."""
    above = voxels[voxels > voxels.min()]
    bottom, top = np.percentile(above if above.size else voxels, (low, high)).tolist()
    return bottom, top


def _brighter_than_air(voxels: npt.NDArray[np.float64], bottom: float, top: float) -> npt.NDArray[np.float64]:
    brighter = voxels[voxels > bottom + BACKGROUND_SHARE * (top - bottom)]
    return brighter if brighter.size else voxels


def _volume_statistics(
    voxels: npt.NDArray[np.float64], low: float, high: float
) -> tuple[float, float, float, float]:
    bottom, top = _robust_range(voxels, low, high)
    body = np.clip(_brighter_than_air(voxels, bottom, top), bottom, top)
    return bottom, top, float(body.mean()), float(body.std())
