"""Where networks run."""

from __future__ import annotations

import torch

from crgloco.errors import OptionError, ResourceError


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name; ``"auto"`` takes CUDA where there is one, else the CPU.

    Args:
        name: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Raises:
        OptionError: There is no device of that kind.
        ResourceError: CUDA is asked for and there is none.
    """
    kind = name.partition(":")[0]
    if kind not in {"auto", "cpu", "cuda"}:
        msg = f"There is no device {name!r}; choose auto, cpu, cuda or cuda:N."
        raise OptionError(msg)
    available = torch.cuda.is_available()
    if kind == "cuda" and not available:
        msg = "No CUDA device was found. Use --device cpu, or install torch for this GPU and its driver."
        raise ResourceError(msg)
    if kind == "auto":
        return torch.device("cuda" if available else "cpu")
    device = torch.device(name)
    if kind == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        msg = f"{name} was asked for, but there are {torch.cuda.device_count()} CUDA devices."
        raise ResourceError(msg)
    return device
