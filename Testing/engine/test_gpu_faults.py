"""A GPU that fails is told in one line; faults of ours, and a full memory, are not taken for it."""

import pytest

from crgloco import gpu_faults

LOST = """CUDA error: unspecified launch failure
CUDA kernel errors might be asynchronously reported at some other API call."""


@pytest.mark.parametrize(
    "said",
    [
        LOST,
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle)`",
        "CUDA driver error: device not ready",
        "CUDA unknown error - this may be due to an incorrectly set up environment",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
        "HIP error: unspecified launch failure",
        "miopenStatusUnknownError",
        "NCCL error in: ProcessGroupNCCL.cpp:268, unhandled system error",
    ],
)
def test_what_cuda_says_of_a_gpu_becomes_one_line_with_a_way_out(said):
    text = str(gpu_faults.in_words(RuntimeError(said)))
    assert said.splitlines()[0] in text
    assert "\n" not in text
    assert "--device cpu" in text


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("Expected all tensors to be on the same device, but found at least two devices"),
        RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        OSError("CUDA error: unspecified launch failure"),
        RuntimeError(""),
    ],
)
def test_other_errors_are_left_to_whom_they_concern(error):
    assert gpu_faults.in_words(error) is None
