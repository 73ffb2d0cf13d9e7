"""Where networks run."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn import functional

from crgloco.errors import OptionError, ResourceError
from crgloco.memory_faults import tells_of_memory
from crgloco.progress import Reporter, Silent


def choose_device(
    name: str = "auto", report: Reporter | None = None, *, number: int | None = None
) -> torch.device:
    """Return the device of that name; ``"auto"`` takes CUDA where there is one that works, else the CPU.

    Args:
        name: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        report: Hears a ``message`` if ``"auto"`` passes over a GPU that does not work.
        number: Of the CUDA device, for a process of a team, in which each takes one of its own.

    Raises:
        OptionError: There is no device of that kind.
        ResourceError: CUDA is asked for and there is none, or it does not work; in a team, whoever asks:
            processes on CPUs and on GPUs would wait for one another for ever.
    """
    kind, _, index = name.partition(":")
    if kind not in {"auto", "cpu", "cuda"} or (index and not (kind == "cuda" and index.isdecimal())):
        msg = f"There is no device {name!r}; choose auto, cpu, cuda or cuda:N."
        raise OptionError(msg)
    available = kind != "cpu" and torch.cuda.is_available()
    if kind == "cuda" and not available:
        msg = (
            "No CUDA device was found. Choose the CPU as device (--device cpu), "
            "or install torch for this GPU and its driver."
        )
        raise ResourceError(msg)
    if not available:
        return torch.device("cpu")
    chosen = int(index or 0) if number is None else number
    count = torch.cuda.device_count()
    if chosen >= count:
        msg = f"cuda:{chosen} was asked for, but there are {count} CUDA devices."
        raise ResourceError(msg)
    device = torch.device("cuda", chosen) if index or number is not None else torch.device("cuda")
    fault = fault_of(device)
    insists = kind == "cuda" or number is not None
    return _instead(device, fault, report or Silent(), insists=insists) if fault else device


def _instead(device: torch.device, fault: str, report: Reporter, *, insists: bool) -> torch.device:
    """Return the CPU, if nobody insists on the GPU that does not work."""
    if insists:
        msg = (
            f"{device} does not work ({fault}). Choose the CPU as device (--device cpu), "
            "or install torch for it and its driver."
        )
        raise ResourceError(msg)
    report.event("message", text=f"The GPU does not work ({fault}). The CPU computes, which takes longer.")
    return torch.device("cpu")


@lru_cache
def fault_of(device: torch.device) -> str:
    """Return why a GPU that torch sees cannot compute, in CUDA's words; "" if it can.

    Most often it is older than this build of torch, which has no code for it.
    """
    try:
        image = torch.ones((1, 1, 4, 4, 4), device=device)
        functional.conv3d(image, image).sum().item()
    except RuntimeError as error:
        return "" if tells_of_memory(error) else str(error).partition("\n")[0]
    return ""
