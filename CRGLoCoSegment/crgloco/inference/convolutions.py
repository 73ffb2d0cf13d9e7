"""Three-dimensional convolutions of a single window on the CPU, by the fast library.

For a batch of one and small maps torch takes its own loop instead of oneDNN (``use_mkldnn`` in ATen's
Convolution.cpp). For one window of 48 x 80 x 80 and a network of 16 features that takes up to five
times as long (one thread, measured: 1.12 s against 0.23 s; 32 features: 0.84 s against 0.68 s). The
numbers differ by rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class FastConvolutions(TorchFunctionMode):  # type: ignore[misc,unused-ignore]
    """While active, ``torch.conv3d`` of float32 on the CPU goes to oneDNN. Has no gradient of its own.

    Under autocast it stands back: torch itself gives every convolution in bf16 to oneDNN.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one function of torch."""
        del types
        if func is torch.conv3d and not kwargs and _suits(args):
            image, weight, bias, stride, padding, dilation, groups = args
            return torch.mkldnn_convolution(image, weight, bias, padding, stride, dilation, groups)
        return func(*args, **(kwargs or {}))


def _suits(arguments: Sequence[Any]) -> bool:
    """Whether these are all arguments of a convolution that oneDNN can do as it stands."""
    if len(arguments) != 7 or not torch.backends.mkldnn.is_available() or torch.is_autocast_enabled("cpu"):
        return False
    image, padding = arguments[0], arguments[4]
    on_cpu = image.device.type == "cpu" and image.dtype == torch.float32
    return bool(on_cpu and image.ndim == 5 and not isinstance(padding, str))
