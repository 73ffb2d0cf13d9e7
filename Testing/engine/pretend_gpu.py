"""A CUDA device for machines without one: its tensors are wrappers whose numbers lie in ordinary memory.

What CUDA refuses is refused here: operations on tensors of two devices (a single number, and indices on the
CPU, may come along), `.numpy()`, generators of another device. To torch the wrappers are tensors of the
device "meta", whose gradients need no GPU; to whoever asks them, they are on CUDA. What cannot be seen here:
mixed precision, speed, memory, and anything asynchronous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
MEMORY = 8 * 2**30
ATEN = torch.ops.aten
INDEXING = (ATEN.index, ATEN.index_put, ATEN.index_put_, ATEN._index_put_impl_)
# Answered by the numbers, since torch reaches for them without asking us.
ON_NUMBERS = (torch.Tensor.data_ptr, torch.Tensor.tolist, torch.Tensor.untyped_storage)
# A list in an index becomes a tensor without asking us: we make one, on the CPU.
BY_INDEX = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)
plain_generator, plain_tensor = torch.Generator, torch.tensor
places: dict[int, torch.device] = {}  # where generators are, by their number
Full = Callable[[], bool]


class PretendTensor(torch.Tensor):
    """A tensor on the pretended device; `held` has its numbers."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> PretendTensor:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        tensor: PretendTensor = torch.Tensor._make_wrapper_subclass(cls, held.size(), **layout, device="meta")
        tensor.held = held
        return tensor

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return GPU

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func in ON_NUMBERS:
            return func(args[0].held)
        if func in BY_INDEX:
            args = (args[0], tree_map_only(list, plain_tensor, args[1], is_leaf=_is_list), *args[2:])
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class PretendGenerator(plain_generator):
    """A generator of random numbers on one device; those of the pretended one are drawn on the CPU."""

    def __new__(cls, device: torch.device | str = CPU) -> PretendGenerator:
        generator: PretendGenerator = super().__new__(cls, CPU)
        places[generator._cdata] = torch.device(device)
        return generator


class _AsMeta(TorchFunctionMode):
    """To torch, the pretended device has another name."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        args, kwargs = tree_map_only(torch.device, _as_meta, (tuple(args), dict(kwargs or {})))
        return func(*args, **kwargs)


class _Made(TorchDispatchMode):
    """Lets tensors be made on the pretended device, also from those of the CPU, until it is full."""

    def __init__(self, full: Full) -> None:
        super().__init__()
        self.full = full

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        made = _compute(func, args, kwargs or {})
        if _storages(made) - _storages((args, kwargs)) and self.full():
            msg = "CUDA out of memory. Tried to allocate 2.00 MiB."
            raise torch.OutOfMemoryError(msg)
        return made


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _as_meta(device: torch.device) -> torch.device:
    return torch.device("meta") if device.type == "cuda" else device


def _compute(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run an operation on the numbers, and wrap the result where CUDA would have it."""
    if func is ATEN.to.device:  # in inference mode this comes as it was called
        func, kwargs, args = ATEN._to_copy.default, {"device": args[1], "dtype": args[2]}, args[:1]
    on_gpu = _is_on_gpu(func, args, kwargs)
    wrappers = {
        id(leaf.held): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, PretendTensor)
    }
    numbers, named = tree_map_only(PretendTensor, lambda tensor: tensor.held, (tuple(args), dict(kwargs)))
    named = {key: CPU if key == "device" else value for key, value in named.items() if key != "pin_memory"}
    result = func(*numbers, **named)
    if not on_gpu:
        return result
    return tree_map_only(torch.Tensor, lambda each: _wrapped(each, wrappers), result)


def _wrapped(held: torch.Tensor, wrappers: Mapping[int, PretendTensor]) -> PretendTensor:
    """Return the wrapper of numbers; what was changed in place keeps its own."""
    return wrappers[id(held)] if id(held) in wrappers else PretendTensor(held)


def _is_on_gpu(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return where the result of an operation lies; refuse what CUDA refuses."""
    packet = func.overloadpacket
    if packet is ATEN.copy_:
        return isinstance(args[0], PretendTensor)
    if kwargs.get("device") is not None:
        on_gpu = kwargs["device"].type == "meta"
    else:
        beside_indices = (args[0], *args[2:]) if packet in INDEXING else args
        tensors = [t for t in tree_leaves((beside_indices, kwargs)) if isinstance(t, torch.Tensor)]
        on_gpu = any(isinstance(tensor, PretendTensor) for tensor in tensors)
        apart = [t for t in tensors if not isinstance(t, PretendTensor) and t.dim() > 0]
        if (on_gpu and apart) or (not on_gpu and _any_pretended(args)):
            msg = f"Expected all tensors to be on the same device, but found cuda:0 and cpu! (in {func})"
            raise RuntimeError(msg)
    generator = kwargs.get("generator")
    if generator is not None and (places[generator._cdata].type != "cpu") != on_gpu:
        msg = f"Expected a generator of the same device (in {func})"
        raise RuntimeError(msg)
    return on_gpu


def _storages(values: Any) -> set[int]:
    """Return where the numbers of all pretended tensors among the values lie."""
    leaves = tree_leaves(values)
    return {leaf.held.untyped_storage().data_ptr() for leaf in leaves if isinstance(leaf, PretendTensor)}


def _any_pretended(values: Any) -> bool:
    return any(isinstance(leaf, PretendTensor) for leaf in tree_leaves(values))


def _tensor(values: Any, *, device: Any = CPU, dtype: torch.dtype | None = None) -> torch.Tensor:
    return plain_tensor(values, dtype=dtype).to(device)


def _moved(module: torch.nn.Module, convert: Callable[[torch.Tensor], torch.Tensor]) -> torch.nn.Module:
    """Stands in for `Module._apply`: as on CUDA, a parameter stays the same object wherever it moves."""
    for part in module.modules():
        for parameter in part._parameters.values():
            if parameter is None or (changed := convert(parameter.detach())).device == parameter.device:
                continue
            gradient, parameter.grad = parameter.grad, None
            torch.utils.swap_tensors(parameter, torch.nn.Parameter(changed, parameter.requires_grad))
            parameter.grad = None if gradient is None else convert(gradient)
        part._buffers.update({key: convert(each) for key, each in part._buffers.items() if each is not None})
    return module


def _enter(modes: Sequence[Any]) -> None:
    for mode in modes:
        mode.__enter__()


@contextmanager
def pretended_gpu(full: Full = lambda: False) -> Iterator[torch.device]:
    """Pretend for a while that there is one NVIDIA GPU, of a kind that does not compute in bf16.

    Args:
        full: Asked whenever a tensor is made there, whether there is no memory for it.
    """
    modes = (_Made(full), _AsMeta())
    answers = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_capability": lambda _=None: (7, 5),
        "mem_get_info": lambda _=None: (MEMORY, MEMORY),
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda _=None: None,
        "max_memory_allocated": lambda _=None: 0,
        "memory_reserved": lambda _=None: 0,
        "memory_allocated": lambda _=None: 0,
    }
    readers = partial(ThreadPoolExecutor, initializer=_enter, initargs=(modes,))
    with ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(patch.object(torch.cuda, name, answer))
        stack.enter_context(patch.object(torch, "Generator", PretendGenerator))
        stack.enter_context(patch.object(torch, "tensor", _tensor))
        stack.enter_context(patch.object(torch.nn.Module, "_apply", _moved))
        # Optimisers ask the driver whether a graph is being recorded, where torch is built with CUDA.
        if hasattr(torch, "accelerator"):  # not before torch 2.6
            stack.enter_context(patch.object(torch.accelerator, "current_accelerator", lambda **_: None))
        stack.enter_context(patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False))
        stack.enter_context(patch("crgloco.data.dataset.ThreadPoolExecutor", readers))
        for mode in modes:
            stack.enter_context(mode)
        yield GPU
