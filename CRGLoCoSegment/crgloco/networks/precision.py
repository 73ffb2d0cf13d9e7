"""Mixed precision: bf16 where the hardware computes in it, float32 elsewhere.

bf16 has the range of float32, so no loss scaling is needed. On a CPU with AVX-512 BF16 or AMX it
halves the time of a convolution; on one without, it would be emulated and slower.
"""

from __future__ import annotations

import torch
from torch import nn

LONGEST_WRONG_AXIS = 2


def mixed_precision(device: torch.device) -> torch.autocast:
    """Return the context in which networks run on a device."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device))


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies in bf16 itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16"))


def convolved(block: nn.Module, *maps: torch.Tensor) -> torch.Tensor:
    """Run a block of 3 x 3 x 3 convolutions; in float32 where bf16 learns from wrong gradients.

    On a CPU, where a map has one or two voxels along an axis, oneDNN's gradient of bf16 weights may
    read and write memory that is not its own (torch 2.13 with AVX-512 BF16): the gradient differs from
    run to run, is 1e30 or NaN where such numbers lay, or the process dies. Larger maps are right.

    Args:
        block: The convolutions.
        maps: What the block takes, each (B, F, k, j, i).
    """
    result: torch.Tensor
    first = maps[0]
    if first.device.type == "cpu" and min(first.shape[2:]) <= LONGEST_WRONG_AXIS:
        with torch.autocast("cpu", enabled=False):
            result = block(*(each.float() for each in maps))
    else:
        result = block(*maps)
    return result
