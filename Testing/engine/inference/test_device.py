"""Which device a name stands for, with GPUs that are missing, too few, too old or full."""

import pytest
import torch

from crgloco.errors import OptionError, ResourceError
from crgloco.inference import device as devices
from crgloco.inference.device import choose_device, fault_of
from tiny_training import Recorder

CPU = torch.device("cpu")
TOO_OLD = "CUDA error: no kernel image is available for execution on the device\nSearch for it in the manual."


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "fault_of", lambda _: "")


@pytest.fixture
def saying(monkeypatch):
    """Two GPUs that answer every computation with an error."""

    def broken(text):
        def ones(*_size, **_options):
            raise RuntimeError(text)

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch, "ones", ones)
        fault_of.cache_clear()

    yield broken
    fault_of.cache_clear()


@pytest.mark.usefixtures("two_gpus")
def test_auto_takes_the_gpu_and_a_name_the_one_it_names():
    assert choose_device() == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert choose_device("cpu") == CPU
    with pytest.raises(ResourceError, match=r"cuda:2 was asked for, but there are 2"):
        choose_device("cuda:2")
    with pytest.raises(ResourceError, match=r"cuda:999 was asked for, but there are 2"):
        choose_device("cuda:999")  # to torch this is cuda:-25


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("name", ["mps", "cuda:x", "cuda:-1", "cpu:1", "auto:0"])
def test_what_is_no_device_is_refused_in_words(name):
    with pytest.raises(OptionError, match=f"no device '{name}'"):
        choose_device(name)


@pytest.mark.usefixtures("two_gpus")
def test_in_a_team_each_process_has_a_gpu_of_its_own():
    assert choose_device("auto", number=1) == choose_device("cuda", number=1) == torch.device("cuda", 1)
    assert choose_device("cpu", number=1) == CPU
    with pytest.raises(ResourceError, match=r"cuda:2 was asked for, but there are 2"):
        choose_device("auto", number=2)


def test_without_a_gpu_the_cpu_computes_unless_cuda_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(number=0) == CPU
    with pytest.raises(ResourceError, match="No CUDA device was found"):
        choose_device("cuda")


def test_a_gpu_that_torch_has_no_code_for_is_passed_over_and_that_is_said(saying):
    saying(TOO_OLD)
    report = Recorder()
    assert choose_device("auto", report) == choose_device() == CPU
    (told,) = report.of_kind("message")
    assert "no kernel image is available" in told["text"]
    assert "CPU computes" in told["text"]


def test_whoever_insists_on_such_a_gpu_is_told_why_not_in_one_line(saying):
    saying(TOO_OLD)
    with pytest.raises(ResourceError, match=r"cuda:1 does not work .*no kernel image") as told:
        choose_device("cuda:1")
    assert "\n" not in str(told.value)


def test_in_a_team_nobody_passes_over_a_gpu_for_the_others_would_wait_for_ever(saying):
    saying(TOO_OLD)
    with pytest.raises(ResourceError, match=r"cuda:1 does not work .*no kernel image"):
        choose_device("auto", number=1)


def test_a_gpu_that_is_full_works(saying):
    saying("CUDA error: out of memory")
    assert choose_device() == torch.device("cuda")
