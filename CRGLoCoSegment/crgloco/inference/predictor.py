"""One scan in, labels of both branches and their fusion out; memory bounded.

    volumes -> prepared image, canonical axes -> global branch over the whole field of view
            -> local windows where the global answer leaves something open -> fused slices
            -> the axes of the file again

Probabilities of all classes exist at low resolution for the whole field of view, and at full
resolution for one slab as deep as a window.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import psutil
import torch

from crgloco.data.boxes import Box
from crgloco.data.preparation import Preparation
from crgloco.errors import GeometryError, ModelError, OptionError
from crgloco.inference.confidence import mean_confidence
from crgloco.inference.execution import Execution, window_bytes
from crgloco.inference.fitting import cheapest, resized
from crgloco.inference.fusion import CHUNK_BYTES, FusedSlices
from crgloco.inference.global_pass import GlobalAnswer, run_global, tiles_of
from crgloco.inference.local_pass import LocalPass
from crgloco.inference.model import SegmentationModel
from crgloco.inference.openness import Openness, open_cells
from crgloco.inference.prediction import Prediction
from crgloco.inference.windows import all_windows, covering_windows
from crgloco.io.orientation import Orientation, canonical_geometry
from crgloco.io.volume import Geometry, Shape, Spacing, Volume, in_mm
from crgloco.islands import remove_islands
from crgloco.labels import LabelTable
from crgloco.model_store import LoadedModel
from crgloco.progress import Reporter, Silent

Quality = Literal["fast", "balanced", "full"]
QUALITIES: tuple[Quality, ...] = ("fast", "balanced", "full")
OVERLAP = {"fast": 0.125, "balanced": 0.125, "full": 0.5}
GIGABYTE = 2**30
# Memory of the whole process to stay below, unless the user says otherwise, in GiB.
MEMORY_BUDGET_GB = 6.0
# Python, torch, MONAI and SimpleITK, before any scan.
LIBRARIES_BYTES = 700 * 2**20
# Tensors of a chunk that live at once while slices are fused.
CHUNK_TENSORS = 8
# A voxel size so many times that of the model, or less than one part in so many, may have a wrong unit.
STRANGE_FACTOR = 4.0


class Predictor:
    """A model that is ready to segment scans, one after the other.

    Args:
        model: Of the shape ``inference.model.SegmentationModel``, in evaluation mode; moved to the device.
        preparation: Stored with the model.
        table: The structures; class numbers of predictions count in it.
        temperature: From ``confidence.fit_temperature``; 1 leaves confidence uncalibrated.
        device: Where the model runs.
        flip_axes: Canonical axes (0 = K) that quality ``full`` mirrors.
        batch: Local windows at once; estimated without.
        one_piece: Class numbers of structures whose islands are removed from the fused answer.

    Raises:
        ModelError: Model and table have different numbers of classes.
    """

    def __init__(
        self,
        model: SegmentationModel,
        preparation: Preparation,
        table: LabelTable,
        *,
        temperature: float = 1.0,
        device: torch.device | None = None,
        flip_axes: tuple[int, ...] = (),
        batch: int | None = None,
        one_piece: tuple[int, ...] = (),
    ) -> None:
        if table.classes != model.classes:
            msg = (
                f"The model knows {model.classes} classes, its label table {table.classes}; "
                "the model is damaged."
            )
            raise ModelError(msg)
        self.model = model
        self.preparation = preparation
        self.table = table
        self.temperature = temperature
        self.device = device if device is not None else torch.device("cpu")
        self.flip_axes = flip_axes
        self.batch = batch
        self.one_piece = one_piece

    @classmethod
    def of(cls, loaded: LoadedModel, device: torch.device | None = None) -> Predictor:
        """Return a stored model ready to segment, as its card says.

        Args:
            loaded: From ``model_store.load``.
            device: Where it runs.
        """
        return cls(
            loaded.network,
            loaded.preparation,
            loaded.table,
            temperature=loaded.temperature,
            device=device,
            flip_axes=loaded.flip_axes,
            one_piece=loaded.one_piece,
        )

    def predict(
        self,
        volumes: Sequence[Volume],
        quality: Quality = "balanced",
        report: Reporter | None = None,
        *,
        memory_budget_gb: float = MEMORY_BUDGET_GB,
        probes: npt.NDArray[np.int64] | None = None,
        keep_islands: bool = False,
    ) -> Prediction:
        """Segment one scan.

        Args:
            volumes: Its channels, all on one grid.
            quality: ``"fast"``: global branch only; ``"balanced"``: local windows where the global
                answer leaves something open; ``"full"``: all windows, with mirrors.
            report: Hears of progress, may stop.
            memory_budget_gb: Memory of the whole process, in GiB, to stay below.
            probes: (N, 3) voxels of the scan, as it is stored, whose fused log-probabilities are
                wanted (calibration).
            keep_islands: Leave the fused answer as it is, also of structures that are one piece.

        Raises:
            InputError: Another number of channels, or voxels that are not numbers.
            OptionError: No such quality.
            ResourceError: Not enough memory even for one window on the CPU.
            Cancelled: The reporter asked for an end.
        """
        started = time.perf_counter()
        report = report if report is not None else Silent()
        report.event("progress", stage="preparation", done=0, total=1)
        image = self.preparation.image(volumes)
        report.check()
        held = sum(volume.array.nbytes for volume in volumes)
        return self.predict_prepared(
            image,
            volumes[0].geometry,
            quality,
            report,
            memory_budget_gb=memory_budget_gb,
            probes=probes,
            keep_islands=keep_islands,
            held_bytes=held,
            started=started,
        )

    def predict_prepared(
        self,
        image: npt.NDArray[np.float16],
        geometry: Geometry,
        quality: Quality = "balanced",
        report: Reporter | None = None,
        *,
        prepared: Geometry | None = None,
        memory_budget_gb: float = MEMORY_BUDGET_GB,
        probes: npt.NDArray[np.int64] | None = None,
        keep_islands: bool = False,
        held_bytes: int = 0,
        started: float | None = None,
    ) -> Prediction:
        """Segment one scan that is prepared already, for example in the cache of training.

        Args:
            image: (channels, K, J, I) from ``Preparation.image``; may be memory-mapped.
            geometry: Grid of the scan as it is stored, and of the results.
            quality: As in ``predict``.
            report: Hears of progress, may stop.
            prepared: Grid of ``image``; without, the one that ``geometry`` is prepared to.
            memory_budget_gb: As in ``predict``.
            probes: As in ``predict``.
            keep_islands: As in ``predict``.
            held_bytes: What the caller holds besides ``image``; counts towards the budget.
            started: ``time.perf_counter()`` when the work began.

        Raises:
            OptionError: There is no such quality.
            GeometryError: ``image`` has not the shape of its grid.
        """
        if quality not in QUALITIES:
            msg = f"There is no quality {quality!r}; choose one of {', '.join(QUALITIES)}."
            raise OptionError(msg)
        prepared = prepared if prepared is not None else self.preparation.prepared_geometry(geometry)
        if image.shape[1:] != prepared.shape:
            msg = f"An image of shape {image.shape} was not prepared from a scan of {geometry.describe()}."
            raise GeometryError(msg)
        report = report if report is not None else Silent()
        walk = _Walk(
            self, image, prepared, geometry, quality=quality, keep_islands=keep_islands, report=report
        )
        with torch.inference_mode():
            return walk.run(
                int(memory_budget_gb * GIGABYTE) - held_bytes,
                probes,
                started if started is not None else time.perf_counter(),
            )


class _Walk:
    """The way of one scan through both branches."""

    def __init__(
        self,
        predictor: Predictor,
        image: npt.NDArray[np.float16],
        prepared: Geometry,
        geometry: Geometry,
        *,
        quality: Quality,
        keep_islands: bool,
        report: Reporter,
    ) -> None:
        self._predictor = predictor
        self._one_piece = () if keep_islands else predictor.one_piece
        self._image = image
        self._prepared = prepared
        self._geometry = geometry
        self._orientation = Orientation.of(geometry)
        self._quality = quality
        self._report = report
        self._model = predictor.model
        # By all windows with much overlap methods are compared: there they stay as in training.
        self._fits = quality != "full"
        self._flips = predictor.flip_axes if quality == "full" else ()
        self._window = self._model.local.window
        self._execution = Execution(self._model, predictor.device, report, predictor.batch)
        self._memory = MemoryWatch(predictor.device)

    def run(self, budget: int, probes: npt.NDArray[np.int64] | None, started: float) -> Prediction:
        remark = remark_on_voxel_size(self._geometry, self._predictor.preparation.spacing)
        if remark:
            self._execution.note(remark)
        fill = torch.tensor([smallest(channel) for channel in self._image])
        answer = self._global_answer(fill)
        with_local = self._quality != "fast" or answer is None
        fused = self._execution.attempt(partial(self._begin, answer, probes, with_local=with_local))
        windows = self._execution.attempt(partial(self._windows, fused)) if with_local else ()
        local = LocalPass(
            self._image,
            fill,
            fused,
            self._execution,
            flip_axes=self._flips,
            report=self._report,
            watch=self._memory.look,
        )
        plan = local.plan(windows, budget - self._other_bytes(answer))
        if plan.dtype != torch.float32:
            self._execution.note(
                "To stay within the memory budget, windows are blended in half precision, in "
                f"{len(plan.strips)} strip(s)."
            )
        local.run(windows, plan)
        self._memory.look()
        return self._collect(fused, len(windows), started)

    def _global_answer(self, fill: torch.Tensor) -> GlobalAnswer | None:
        branch = self._model.global_
        if branch is None:
            if self._quality == "fast":
                self._execution.note(
                    "This model has no global branch: the quality 'fast' runs its local windows with little "
                    "overlap."
                )
            return None
        if self._fits:
            shape = self._prepared.shape
            branch = resized(
                branch, cheapest(branch, lambda window: tiles_of(shape, resized(branch, window)))
            )
        answer = run_global(self._image, fill, branch, self._execution, self._report, flip_axes=self._flips)
        self._memory.look()
        return answer

    def _begin(
        self, answer: GlobalAnswer | None, probes: npt.NDArray[np.int64] | None, *, with_local: bool
    ) -> FusedSlices:
        """Return where the results are collected; the global answer moves to where windows are blended."""
        local, other = self._model.local.weight, self._model.global_
        return FusedSlices(
            self._orientation.apply_geometry(self._geometry).shape,
            self._prepared.shape,
            self._model.classes,
            None if answer is None else answer.to(self._execution.blend_device),
            share=local / (local + (0.0 if other is None else other.weight)),
            # Fitted on fused answers; the global branch alone is not too sure (docs/measurements.md).
            temperature=self._predictor.temperature if with_local else 1.0,
            with_local=with_local,
            probes=None if probes is None else self._orientation.voxels(probes, self._geometry.shape),
            orientation=self._orientation,
        )

    def _windows(self, fused: FusedSlices) -> tuple[Box, ...]:
        lay = self._all_windows
        fused.move(self._execution.blend_device)
        answer = fused.answer
        if answer is not None and self._fits:
            cells = open_cells(answer, self._prepared, Openness())
            faces = tuple(answer.grid.faces(axis) for axis in range(3))
            shape, overlap = self._prepared.shape, OVERLAP[self._quality]
            lay = partial(covering_windows, cells, faces, shape, overlap=overlap)
        if self._fits:
            self._window = cheapest(self._model.local, lay)
        return lay(self._window)

    def _all_windows(self, window: Shape) -> tuple[Box, ...]:
        return all_windows(self._prepared.shape, window, OVERLAP[self._quality])

    def _other_bytes(self, answer: GlobalAnswer | None) -> int:
        """Everything but the sums of the blend; from sizes alone: a result never depends on chance."""
        maps = 0
        if answer is not None:
            maps = answer.probabilities.nbytes
            maps += 0 if answer.features is None else answer.features.nbytes
        results = 5 * math.prod(self._geometry.shape)
        network = 0
        if self._execution.device.type == "cpu":  # else it works in the memory of the GPU
            network = window_bytes(self._window, self._model.classes) * self._execution.batch
        return LIBRARIES_BYTES + self._image.nbytes + results + maps + network + CHUNK_TENSORS * CHUNK_BYTES

    def _collect(self, fused: FusedSlices, windows: int, started: float) -> Prediction:
        stored = self._orientation.undo
        labels, confidence = stored(fused.fused), stored(fused.confidence)
        seen = None if fused.global_ is None else stored(fused.global_)
        removed = remove_islands(labels, confidence, self._one_piece, seen)
        self._memory.look()
        return Prediction(
            fused=labels,
            global_=seen,
            local=None if fused.local is None else stored(fused.local),
            confidence=confidence,
            disagreement=stored(fused.disagreement),
            geometry=self._geometry,
            quality=self._quality,
            seconds=time.perf_counter() - started,
            peak_memory_mb=self._memory.peak_mb,
            peak_gpu_mb=self._memory.peak_gpu_mb,
            windows_run=windows,
            windows_possible=len(self._all_windows(self._window)),
            mean_confidence=mean_confidence(labels, confidence),
            islands=removed,
            notes=tuple(self._execution.notes),
            probes=fused.probes,
        )


class MemoryWatch:
    """Remembers the largest memory of the process that it has seen."""

    def __init__(self, device: torch.device) -> None:
        self._process = psutil.Process()
        self._device = device
        self.peak_mb = 0.0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self.look()

    def look(self) -> None:
        """Look once more."""
        self.peak_mb = max(self.peak_mb, self._process.memory_info().rss / 2**20)

    @property
    def peak_gpu_mb(self) -> float:
        """Largest GPU memory that torch held; 0 on the CPU."""
        return torch.cuda.max_memory_allocated(self._device) / 2**20 if self._device.type == "cuda" else 0.0


def remark_on_voxel_size(scan: Geometry, model: Spacing) -> str:
    """Return a sentence if the scan's voxels, along their finest axis, are far from those of the model.

    Args:
        scan: Grid of the scan as it is stored.
        model: Voxel size that the model wants, mm along canonical K, J, I.
    """
    sizes = canonical_geometry(scan).spacing
    finest = sizes.index(min(sizes))
    if 1 / STRANGE_FACTOR <= sizes[finest] / model[finest] <= STRANGE_FACTOR:
        return ""
    return (
        f"The voxels of the scan ({in_mm(sizes)}) are far from those that the model knows ({in_mm(model)}): "
        "check the unit of the scan's voxel size, and the result."
    )


def smallest(channel: npt.NDArray[np.float16]) -> float:
    """Return the smallest value of (K, J, I), slice by slice: half precision is slow in numpy."""
    return min(float(plane.astype(np.float32).min()) for plane in channel)
