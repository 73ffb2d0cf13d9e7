"""Mixed precision: bf16 where the hardware computes in it, float32 elsewhere.

bf16 has the range of float32, so no loss scaling is needed. On a CPU with AVX-512 BF16 or AMX it
halves the time of a convolution; on one without, it would be emulated and slower.
"""

from __future__ import annotations

import torch


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
