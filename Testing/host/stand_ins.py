"""Stand-ins for the two workers, and small volumes, for tests of the logic and the panels."""

from pathlib import Path
from typing import Any

import numpy as np
import slicer

TABLE = [
    {"value": 1, "name": "liver", "colour": [230, 159, 0], "terminology": ""},
    {"value": 7, "name": "right_kidney", "colour": [86, 180, 233], "terminology": ""},
]


class Asked:
    """One request that a test answers by hand."""

    def __init__(self, command: str, fields: dict[str, Any], callbacks: dict[str, Any]) -> None:
        self.command, self.fields, self._callbacks = command, fields, callbacks
        self.state = "running"
        self.wasCancelled = False

    def isOpen(self) -> bool:
        return self.state == "running"

    def cancel(self) -> None:
        self.wasCancelled = True

    def tell(self, **event: Any) -> None:
        self._callbacks["onProgress"](event)

    def answer(self, **answer: Any) -> None:
        self.state = "done"
        self._callbacks["onResult"](answer)

    def fail(self, message: str, kind: str = "InputError", details: str = "") -> None:
        from CRGLoCoSegmentLib.background.worker import WorkerError

        self.state = "failed"
        self._callbacks["onError"](WorkerError(message, kind, details))

    def confirmCancel(self) -> None:
        self.state = "cancelled"
        self._callbacks["onCancelled"]()


class StandInWorker:
    """Collects requests instead of starting a process."""

    def __init__(self) -> None:
        self.requests: list[Asked] = []
        self.isEnded = False

    def ask(self, command: str, fields: dict[str, Any], **callbacks: Any) -> Asked:
        self.requests.append(Asked(command, dict(fields), callbacks))
        return self.requests[-1]

    def isBusy(self) -> bool:
        return any(request.isOpen() for request in self.requests)

    def closeInput(self) -> None:
        pass

    def end(self, _patience: float = 4.0) -> None:
        self.isEnded = True

    def of(self, command: str) -> list[Asked]:
        return [request for request in self.requests if request.command == command]


def addVolume(name: str = "scan", shape: tuple[int, int, int] = (6, 8, 10), spacing: float = 2.0) -> Any:
    """Add a volume of random numbers, at an oblique place, to the scene."""
    array = np.random.default_rng(3).normal(100, 20, shape).astype(np.float32)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetSpacing(1.5, 1.0, spacing)
    node.SetOrigin(-31.0, 12.5, 77.25)
    node.SetIJKToRASDirections(0, 1, 0, -0.8, 0, 0.6, 0.6, 0, 0.8)
    return node


def answerSegment(request: Asked, *, kinds: tuple[str, ...] = ("fused", "global", "local")) -> np.ndarray:
    """Answer a ``segment`` request as the worker does; returns the fused labels."""
    geometry = request.fields["arrays"][0]["geometry"]
    labels = np.zeros(geometry["shape"], np.uint8)
    labels[1:4, 2:5, 3:7] = 1
    labels[4, 5:7, 1:5] = 7
    arrays = dict.fromkeys(kinds, labels)
    arrays |= {"confidence": np.where(labels > 0, 180, 250).astype(np.uint8)}
    arrays |= {"disagreement": np.zeros_like(labels)}
    out = Path(request.fields["out"])
    for kind, array in arrays.items():
        np.save(out / f"{kind}.npy", array)
    request.answer(
        arrays={kind: f"{kind}.npy" for kind in arrays},
        labels=TABLE,
        geometry=geometry,
        title="Tiny model",
        model="0" * 64,
        quality=request.fields["quality"],
        seconds=1.25,
        mean_confidence=0.91,
        expected_correction_ml=0.5,
        volumes_ml={"liver": 0.108, "right_kidney": 0.0},
        regions=[],
        notes=["The GPU was full; the CPU blended."],
    )
    return labels
