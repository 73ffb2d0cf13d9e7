"""Models whose answer is known in advance, for tests of inference; no training, no network."""

from dataclasses import dataclass, field

import torch
from torch.nn import functional

Shape = tuple[int, int, int]


@dataclass
class FakeBranch:
    """A branch as inference sees it."""

    name: str
    window: Shape
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    weight: float = 1.0
    antialias: bool = True


@dataclass
class FakeModel:
    """Logits are a function of the image at each voxel, so that windows cannot matter.

    Class c has the logit ``sharpness * (1 - |image - c|)``: an image of class numbers segments itself.

    Attributes:
        tilt: Adds a ramp over the window to class 1, so that blending matters.
        shift: Added to the image in the local branch: the branches disagree.
        fail_times: So many calls of the local branch run out of memory first.
        fail_above: Every call with more windows runs out of memory.
    """

    classes: int = 3
    local: FakeBranch = field(default_factory=lambda: FakeBranch("local", (12, 16, 16)))
    global_: FakeBranch | None = field(
        default_factory=lambda: FakeBranch("global", (24, 32, 32), (0.5, 0.5, 0.5))
    )
    context_stride: Shape | None = None
    sharpness: float = 6.0
    tilt: float = 0.0
    shift: float = 0.0
    feature_stride: int = 2
    logit_stride: int = 1
    fail_times: int = 0
    fail_above: int = 1000
    local_calls: int = 0
    contexts: list[torch.Tensor] = field(default_factory=list)
    devices: list[torch.device] = field(default_factory=list)

    def to(self, device: torch.device) -> "FakeModel":
        self.devices.append(device)
        return self

    def low_resolution(self, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        features = None
        if self.context_stride is not None:
            features = functional.avg_pool3d(tensor, self.feature_stride)
        return self._logits(functional.avg_pool3d(tensor, self.logit_stride)), features

    def full_resolution(self, tensor: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
        if self.fail_times > 0 or len(tensor) > self.fail_above:
            self.fail_times -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.local_calls += 1
        if context is not None:
            self.contexts.append(context)
        logits = self._logits(tensor + self.shift)
        ramp = sum(
            torch.linspace(-1, 1, n).reshape([-1 if other == axis else 1 for other in range(3)])
            for axis, n in enumerate(tensor.shape[2:])
        )
        logits[:, 1] += self.tilt * ramp
        return logits

    def _logits(self, tensor: torch.Tensor) -> torch.Tensor:
        classes = torch.arange(self.classes).reshape(1, -1, 1, 1, 1)
        return self.sharpness * (1 - (tensor[:, :1] - classes).abs())
