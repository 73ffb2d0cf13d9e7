"""What happens when a GPU's memory does not suffice: every step is taken in order, and said."""

from types import SimpleNamespace

import pytest
import torch

from crgloco.errors import Cancelled, ResourceError
from crgloco.inference.execution import Execution, estimated_batch, free_bytes, mirrors
from crgloco.progress import Silent
from fake_models import FakeModel

CPU = torch.device("cpu")
GPU = torch.device("cuda")


class Failing:
    """Runs out of memory until nothing is left but the CPU."""

    def __init__(self, execution):
        self.execution = execution
        self.seen = []

    def __call__(self, chunk):
        self.seen.append((len(chunk), self.execution.blend_device.type, self.execution.device.type))
        if self.execution.device.type != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return len(chunk)


def test_batches_then_blending_then_everything_leave_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    plain = torch.autocast("cpu", enabled=False)
    monkeypatch.setattr("crgloco.inference.execution.mixed_precision", lambda _: plain)
    model = FakeModel()
    execution = Execution(model, GPU, Silent(), batch=4)
    run = Failing(execution)
    results = list(execution.each(list(range(5)), run))
    assert run.seen[:5] == [
        (4, "cuda", "cuda"),
        (2, "cuda", "cuda"),
        (1, "cuda", "cuda"),
        (1, "cpu", "cuda"),
        (1, "cpu", "cpu"),
    ]
    assert [count for _, count in results] == [1] * 5
    assert [len(note) > 0 for note in execution.notes] == [True] * 4
    assert model.devices == [GPU, CPU]


def test_a_function_is_repeated_after_a_step_down():
    execution = Execution(FakeModel(), CPU, Silent(), batch=4)
    left = [torch.OutOfMemoryError("full"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]

    def run():
        if left:
            raise left.pop()

    assert execution.attempt(run) is None
    assert execution.batch == 1
    assert len(execution.notes) == 2


def test_the_last_step_is_an_error_for_the_user():
    execution = Execution(FakeModel(), CPU, Silent(), batch=1)

    def run():
        raise MemoryError

    with pytest.raises(ResourceError, match="Close other programs"):
        execution.attempt(run)


def test_faults_of_ours_are_not_taken_for_want_of_memory():
    execution = Execution(FakeModel(), CPU, Silent(), batch=4)

    def run(chunk):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(execution.each([1], run))
    assert execution.batch == 4


def test_an_end_is_heard_between_batches():
    class Stopper(Silent):
        def check(self):
            raise Cancelled("Stopped on request.")

    execution = Execution(FakeModel(), CPU, Stopper(), batch=1)
    with pytest.raises(Cancelled):
        list(execution.each([1], len))


def test_the_cpu_takes_one_window_and_a_gpu_what_fits(monkeypatch):
    assert estimated_batch(FakeModel(), CPU) == 1
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10 * 2**20, 2**34))
    few = estimated_batch(FakeModel(), GPU)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**34, 2**34))
    assert 1 <= few < estimated_batch(FakeModel(), GPU) == 8


def test_memory_that_torch_keeps_for_its_next_tensors_is_free(monkeypatch):
    for name, value in (("mem_get_info", (5, 100)), ("memory_reserved", 80), ("memory_allocated", 30)):
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert free_bytes(GPU) == 55


def test_a_gpu_that_is_too_full_for_cuda_to_start_has_nothing_free(monkeypatch):
    def full(_):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", full)
    assert free_bytes(GPU) == 0
    assert estimated_batch(FakeModel(), GPU) == 1


def test_mirrors_are_all_combinations_and_begin_with_none():
    assert mirrors(()) == ((),)
    assert mirrors((0, 2)) == ((), (0,), (2,), (0, 2))


def test_sums_that_the_gpu_cannot_hold_are_made_on_the_cpu():
    execution = Execution(FakeModel(), CPU, Silent(), batch=4)
    execution.blend_device = GPU
    asked = []

    def make(device):
        asked.append(device.type)
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return device.type

    assert execution.allocate(make) == "cpu"
    assert asked == ["cuda", "cpu"]
    assert execution.blend_device == CPU
    assert execution.batch == 4
    assert len(execution.notes) == 1


def test_a_gpu_that_is_full_already_leaves_all_to_the_cpu(monkeypatch):
    def full(device):
        if device.type == "cuda":
            raise RuntimeError("CUDA error: out of memory")

    model = FakeModel()
    monkeypatch.setattr(model, "to", full)
    execution = Execution(model, GPU, Silent())
    assert (execution.device, execution.blend_device, execution.batch) == (CPU, CPU, 1)
    assert "going on on the CPU" in execution.notes[0]


def test_a_model_that_moved_in_a_prediction_can_still_learn():
    model = torch.nn.Linear(2, 2, dtype=torch.float64)
    with torch.inference_mode():
        execution = Execution(FakeModel(), CPU, Silent(), batch=1)
        execution.model = SimpleNamespace(to=lambda _device: model.to(torch.float32))
        execution._move_model(CPU)
    with torch.no_grad():
        model.weight.mul_(2)
    model(torch.ones(1, 2)).sum().backward()
    assert model.weight.grad is not None
