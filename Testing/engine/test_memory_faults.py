"""A lack of memory is known by what torch, the GPU's driver and the system say."""

import errno

import pytest
import torch

from crgloco.memory_faults import tells_of_memory


def _of_windows(number: int) -> OSError:
    error = OSError(f"[WinError {number}] Die Auslagerungsdatei fehlt")
    error.winerror = number
    return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("HIP error: out of memory"), True),
        (RuntimeError("miopenStatusAllocFailed"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), True),
        (
            RuntimeError(
                'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp"'
            ),
            True,
        ),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: not enough memory"), True),
        (RuntimeError("shapes do not match"), False),
        (OSError("out of memory"), False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (_of_windows(1455), True),
        (_of_windows(126), False),
    ],
)
def test_a_full_memory_is_known_by_its_words(error, full):
    assert tells_of_memory(error) == full
