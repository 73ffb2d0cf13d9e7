"""From scans as they come to arrays as networks want them.

A ``Preparation`` is fitted on the training cases, stored in the model and applied alike in training
and inference: every channel gets canonical axes (``io.orientation``), is scaled by its rule, then brought
to the target voxel size over its own field of view. Scans come in the order of their file; prepared arrays
have K towards superior, J towards posterior, I towards left, or what is closest to it. Nothing is turned by
interpolation or cropped, so the way back needs only the original grid.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crgloco.data.cases import Case, assert_channels
from crgloco.data.intensities import ChannelRule, body_voxels, ct_rule, kind_of
from crgloco.data.resampling import resize_image, resize_labels
from crgloco.errors import CasesError, GeometryError, InputError, ModelError, OptionError
from crgloco.io.files import read_channels, read_volume, source_geometry
from crgloco.io.orientation import Orientation, canonical_geometry, on_grid
from crgloco.io.volume import Geometry, Spacing, Volume, assert_same_grid, in_mm
from crgloco.progress import Reporter, Silent

# Counts up when the same scans would be prepared differently.
FORMAT = 3
# An axis this many times coarser than the finest one is anisotropic.
ANISOTROPIC_FROM = 3.0
# More voxels than this (2 GB per channel) are a mistake in the voxel size, not a scan.
MAXIMUM_VOXELS = 2**30
# Fewer than these are so too: in all, and along an axis (a single thin axis is a slab).
MINIMUM_VOXELS = 32
MINIMUM_COUNT = 4
# Voxels of each labelled case that the CT rule is fitted on.
FITTED_VOXELS = 100_000


@dataclass(frozen=True)
class Preparation:
    """Target voxel size and one intensity rule per channel.

    Attributes:
        spacing: Millimetres along canonical K, J, I.
        rules: One per channel, in the order of the channels.
    """

    spacing: Spacing
    rules: tuple[ChannelRule, ...]

    def __post_init__(self) -> None:
        k, j, i = map(float, self.spacing)  # 1 and 1.0 are one number, but not in JSON
        object.__setattr__(self, "spacing", (k, j, i))
        _check_spacing(self.spacing)
        if not self.rules:
            msg = "A preparation needs the intensity rule of at least one channel."
            raise ModelError(msg)

    @classmethod
    def fit(
        cls,
        cases: Sequence[Case],
        channel_names: Sequence[str],
        spacing: Spacing | None = None,
        report: Reporter | None = None,
    ) -> Preparation:
        """Fit voxel size and intensity rules on training cases.

        The voxel size is the median of the cases per canonical axis. If the coarsest axis is more than
        three times coarser than the finest, its 10th percentile is taken instead (nnU-Net), never finer
        than the next axis. CT rules use the labelled structures, or the body where no case has a label.

        Args:
            cases: Training cases, labelled or not; never those for evaluation.
            channel_names: Chooses the rule of each channel: ``"CT"`` or anything else.
            spacing: Takes the place of the fitted voxel size; mm along canonical K, J, I.
            report: Hears of progress, may stop.

        Raises:
            CasesError: There is no case, or a case has another number of channels.
            OptionError: The given voxel size is not positive.
            GeometryError: The label of a case lies on another grid than its image.
        """
        report = report or Silent()
        if not cases:
            msg = "There is no training case to fit the preparation on; add cases to the folder."
            raise CasesError(msg)
        for case in cases:
            assert_channels(case, channel_names)
        if spacing is None:
            grids = [canonical_geometry(source_geometry(case.channels[0])) for case in cases]
            spacing = target_spacing([grid.spacing for grid in grids])
        rules = tuple(
            ChannelRule("mr") if kind_of(name) == "mr" else _fit_ct(cases, channel, report)
            for channel, name in enumerate(channel_names)
        )
        return cls(spacing, rules)

    def prepared_geometry(self, grid: Geometry) -> Geometry:
        """Return the grid of the prepared arrays: the field of view of ``grid`` at our voxel size.

        Its axes are canonical, whatever those of ``grid`` are. Voxel sizes differ from the target by
        rounding only, unless the scan is thinner than one voxel.

        Raises:
            GeometryError: The grid would have more than ``MAXIMUM_VOXELS`` voxels, fewer than
                ``MINIMUM_VOXELS``, or fewer than ``MINIMUM_COUNT`` along two axes.
        """
        canonical = canonical_geometry(grid)
        one, two, three = (
            max(1, round(count * size / target))
            for count, size, target in zip(canonical.shape, canonical.spacing, self.spacing, strict=True)
        )
        advice = ""
        if one * two * three > MAXIMUM_VOXELS:
            advice = "crop it, or use a coarser voxel size"
        elif one * two * three < MINIMUM_VOXELS or sorted((one, two, three))[1] < MINIMUM_COUNT:
            advice = "or use a finer voxel size"
        if advice:
            msg = (
                f"The scan ({grid.describe()}) would have {three} x {two} x {one} voxels at the voxel size "
                f"{in_mm(self.spacing)} of this model. Check the unit of the scan's voxel size, {advice}."
            )
            raise GeometryError(msg)
        return canonical.with_shape((one, two, three))

    def image(self, volumes: Sequence[Volume]) -> npt.NDArray[np.float16]:
        """Scale and resize the channels of one case.

        Linear interpolation; axes that shrink by more than 1.5 are smoothed first (``resampling``).

        Args:
            volumes: One per rule, all on one grid, in the order of their files.

        Returns:
            (C, K, J, I), canonical, within -10..10, mean 0 and standard deviation 1 inside the body.

        Raises:
            InputError: Another number of channels, or voxels that are not numbers.
            GeometryError: The channels lie on different grids.
        """
        if len(volumes) != len(self.rules):
            msg = (
                f"The model needs {len(self.rules)} channel(s), this scan has {len(volumes)}. Each channel "
                "is a file of its own, named <case>_0000, <case>_0001 and so on, in the order of the model."
            )
            raise InputError(msg)
        for number, volume in enumerate(volumes[1:], start=2):
            assert_same_grid(volumes[0].geometry, volume.geometry, f"Channel 1 and channel {number}")
        orientation = Orientation.of(volumes[0].geometry)
        shape = self.prepared_geometry(volumes[0].geometry).shape
        image = np.empty((len(volumes), *shape), np.float16)
        for rule, volume, channel in zip(self.rules, volumes, image, strict=True):
            array = orientation.apply(volume.array)
            resize_image(array, channel, rule.scaling(array))
        return image

    def label(self, volume: Volume) -> npt.NDArray[np.uint8]:
        """Resize a volume of class numbers to the prepared grid, (K, J, I)."""
        array = Orientation.of(volume.geometry).apply(volume.array)
        return resize_labels(array, self.prepared_geometry(volume.geometry).shape)

    def digest(self) -> str:
        """Return a SHA-256 that changes when prepared arrays would."""
        text = json.dumps({"format": FORMAT, **self.to_json()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"spacing": list(self.spacing), "rules": [rule.to_json() for rule in self.rules]}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Preparation:
        """Read what ``to_json`` wrote.

        Raises:
            ModelError: A key is missing or unknown, or a value makes no sense.
        """
        try:
            if set(entry) != {"spacing", "rules"}:
                raise KeyError(*entry)
            k, j, i = (float(mm) for mm in entry["spacing"])
            return cls((k, j, i), tuple(ChannelRule.from_json(rule) for rule in entry["rules"]))
        except (KeyError, TypeError, ValueError, OptionError) as error:
            msg = f"The preparation of the model cannot be read: {error!r}."
            raise ModelError(msg) from error


def target_spacing(spacings: Sequence[Spacing]) -> Spacing:
    """Return the voxel size for scans of these voxel sizes (mm along K, J, I; rule in ``fit``)."""
    sizes = np.asarray(spacings, float)
    target = np.median(sizes, axis=0)
    coarsest = int(target.argmax())
    if target[coarsest] > ANISOTROPIC_FROM * target.min():
        others = np.delete(target, coarsest)
        target[coarsest] = max(float(np.percentile(sizes[:, coarsest], 10)), float(others.max()))
    k, j, i = target.tolist()
    return k, j, i


def _check_spacing(spacing: Spacing) -> None:
    if not all(math.isfinite(mm) and mm > 0 for mm in spacing):
        msg = f"The voxel size must be three positive numbers in mm; found {spacing}."
        raise OptionError(msg)


def _fit_ct(cases: Sequence[Case], channel: int, report: Reporter) -> ChannelRule:
    """Percentiles, mean and spread of a channel over the labelled structures of all labelled cases."""
    chosen = [case for case in cases if case.label is not None] or list(cases)
    samples: list[npt.NDArray[Any]] = []
    readable: list[Case] = []
    for number, case in enumerate(chosen):
        report.check()
        # a scan without label that cannot be read is named, and left out, where it is prepared
        with suppress(InputError) if case.label is None else nullcontext():
            samples.append(_ct_sample(case, channel))
            readable.append(case)
        report.event("progress", stage="intensities", done=number + 1, total=len(chosen))
    if not samples:
        msg = (
            f"None of the {len(chosen)} scans can be read. "
            "The check of the cases (crgloco cases check) names what is wrong."
        )
        raise CasesError(msg)
    voxels = np.concatenate(samples)
    if not voxels.size:
        voxels = np.concatenate([body_voxels(_canonical(case, channel).array) for case in readable])
    return ct_rule(voxels)


def _ct_sample(case: Case, channel: int) -> npt.NDArray[Any]:
    if case.label is None:
        voxels = body_voxels(_canonical(case, channel).array)
    else:
        scan, label = _channel(case, channel), read_volume(case.label)
        label = on_grid(label, scan.geometry, f"Case {case.name}: label and image")
        orientation = Orientation.of(scan.geometry)
        inside = orientation.apply(label.array).astype(bool)
        voxels = orientation.apply(scan.array)[inside].astype(np.float64)
    return voxels[:: max(1, voxels.size // FITTED_VOXELS)]


def _canonical(case: Case, channel: int) -> Volume:
    """Read a channel; its axes count, because intensities are sampled in their order."""
    scan = _channel(case, channel)
    return Orientation.of(scan.geometry).apply(scan)


def _channel(case: Case, channel: int) -> Volume:
    """Read one channel as it is stored."""
    (scan,) = read_channels(case.channels[channel : channel + 1])
    return scan
