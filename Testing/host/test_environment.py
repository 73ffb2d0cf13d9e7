"""What the computer has and lacks: rows in words, quick facts at once, slow ones in the background."""

import dataclasses
import importlib
import importlib.metadata
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest
import slicer

from CRGLoCoSegmentLib import requirements
from CRGLoCoSegmentLib.background.worker import Worker, WorkerError
from CRGLoCoSegmentLib.logic import environment as environment_module
from CRGLoCoSegmentLib.logic.environment import Environment
from CRGLoCoSegmentLib.logic.environment_rows import GB, Facts, rows, summary
from CRGLoCoSegmentLib.logic.listeners import Listeners
from CRGLoCoSegmentLib.requirements import Torch
from CRGLoCoSegmentLib.settings import Settings

CARD = {"name": "NVIDIA RTX A4000", "free_mb": 11264, "total_mb": 16376}
OLD_CARD = {**CARD, "name": "NVIDIA GeForce GTX 770", "fault": "no kernel image is available"}
PROBE = {
    "cuda_build": "12.8", "gpus": [CARD], "memory_free_mb": 20000, "memory_total_mb": 32000, "torch": "2.8.0",
}  # fmt: skip
GOOD = Facts(
    slicer=(5, 12), slicerText="5.12.2", python="3.12.10", system="linux", cannotHaveTorch=False,
    torch=Torch("2.8.0+cu128", whole=True, suits=True), missing=(), extension="loaded",
    free={"temp": 100 * GB, "models": 100 * GB}, weights="", probe=PROBE,
)  # fmt: skip


def row(name, **changed):
    (found,) = [row for row in rows(dataclasses.replace(GOOD, **changed)) if row.name == name]
    return found


def test_all_well_is_one_line_with_torch_card_and_the_promise():
    assert {row.state for row in rows(GOOD)} == {"ok"}
    assert summary(GOOD) == (
        "Ready: torch 2.8.0 (CUDA 12.8), NVIDIA RTX A4000, 11.0 GB free. No data leave this computer."
    )


@pytest.mark.parametrize(
    ("changed", "state", "action"),
    [
        ({"torch": None, "extension": "absent"}, "missing", "getExtension"),
        ({"torch": None, "extension": "restart"}, "missing", "restart"),
        ({"torch": None}, "missing", "installTorch"),
        ({"torch": None, "extension": "absent", "wheelFolder": Path("/wheels")}, "missing", "installTorch"),
        ({"torch": Torch("2.1.0", whole=True, suits=False)}, "missing", "installTorch"),
        ({"torch": Torch("2.8.0", whole=False, suits=False)}, "missing", "installTorch"),
        ({"torch": Torch("2.9.1+cu128", whole=True, suits=False)}, "warning", ""),
        ({"torch": None, "cannotHaveTorch": True}, "missing", ""),
        ({"torch": None, "system": "darwin"}, "missing", "installTorch"),
    ],
)
def test_torch_has_the_button_that_helps(changed, state, action):
    found = row("torch", **changed)
    assert (found.state, found.action) == (state, action)
    assert bool(found.actionText) == bool(action)
    assert found.text


def test_packages_wait_for_torch_because_pip_would_choose_one():
    assert row("packages", missing=("monai>=1.5",)).action == "installPackages"
    early = row("packages", missing=("monai>=1.5",), torch=None)
    assert early.action == ""
    assert "torch first" in early.text


def test_where_there_can_be_no_torch_what_correcting_cases_needs_can_be_installed():
    intel = {"torch": None, "cannotHaveTorch": True}
    some = row("packages", missing=("monai>=1.5", "psutil>=5.9"), **intel)
    assert (some.state, some.action) == ("missing", "installPackages")
    assert some.text == "Missing: psutil>=5.9."
    rest = row("packages", missing=("monai>=1.5",), **intel)
    assert (rest.state, rest.action) == ("ok", "")
    assert "correcting cases" in rest.text


@pytest.mark.parametrize(
    ("changed", "state", "words"),
    [
        ({"system": "darwin"}, "ok", "not used on macOS"),
        (
            {"probe": {**PROBE, "gpus": [], "torch_error": "OSError: [WinError 1455] zu klein"}},
            "warning",
            "close other programs",
        ),
        ({"probe": {**PROBE, "gpus": []}}, "warning", "update its driver"),
        ({"probe": {**PROBE, "gpus": [], "cuda_build": None}}, "ok", "CPU computes"),
        (
            {"probe": {**PROBE, "gpus": [], "cuda_build": None}, "hasDriver": True},
            "warning",
            "build for the CPU",
        ),
        ({"probe": {**PROBE, "gpus": [{**CARD, "free_mb": 700}]}}, "warning", "close other programs"),
        (
            {"probe": {**PROBE, "gpus": [OLD_CARD]}},
            "warning",
            "GTX 770: torch cannot use it (no kernel image",
        ),
        ({"probe": {**PROBE, "gpus": [OLD_CARD]}}, "warning", "The CPU computes"),
        ({"probe": {**PROBE, "gpus": [OLD_CARD, CARD]}}, "warning", "Choose NVIDIA RTX A4000 as the device"),
        ({"probe": {**PROBE, "gpus": [CARD, OLD_CARD]}}, "ok", "NVIDIA RTX A4000, 11.0 GB free"),
        ({"probe": {**PROBE, "gpus": [], "torch_error": "libcuda is gone"}}, "warning", "libcuda is gone"),
        ({"probe": None}, "unknown", "being looked at"),
        ({"probe": None, "torch": None}, "unknown", "once torch"),
    ],
)
def test_the_graphics_card_is_judged_together_with_the_build_of_torch(changed, state, words):
    found = row("gpu", **changed)
    assert found.state == state
    assert words in found.text


def test_the_line_does_not_promise_a_card_that_torch_cannot_use():
    told = summary(dataclasses.replace(GOOD, probe={**PROBE, "gpus": [OLD_CARD]}))
    assert told.startswith("Ready: torch 2.8.0 (CUDA 12.8), CPU.")


@pytest.mark.parametrize(
    ("name", "changed", "state", "words"),
    [
        ("slicer", {"slicer": (5, 10), "slicerText": "5.10.0"}, "missing", "5.12 or later"),
        ("slicer", {"restartFor": ("numpy",)}, "warning", "Restart"),
        ("slicer", {"oddFolder": Path("C:/Users/Jürgen")}, "warning", "C:\\Slicer"),
        ("worker", {"probe": None, "probeFault": "The package psutil is missing."}, "missing", "psutil"),
        ("memory", {"probe": {**PROBE, "memory_free_mb": 900}}, "warning", "Close other programs"),
        ("disk", {"free": {"temp": GB, "models": 90 * GB}}, "warning", "temporary files 2 GB"),
        ("disk", {"free": {"temp": 90 * GB}}, "warning", "no access to it, for models"),
        ("disk", {"free": {"python": 3 * GB}, "torch": None}, "warning", "Python packages 8 GB"),
        ("weights", {"weights": "weights.safetensors is cut off"}, "warning", "cut off"),
    ],
)
def test_other_gaps_are_said_with_their_remedy(name, changed, state, words):
    found = row(name, **changed)
    assert found.state == state
    assert words in found.text


def test_the_line_names_what_is_missing_and_still_promises():
    told = summary(dataclasses.replace(GOOD, torch=None, missing=("monai>=1.5",), probe=None))
    assert told == "Not ready yet: torch, Python packages. No data leave this computer."


# ------------------------------------------------------------------------------------------- the logic


class FakeWorker:
    """Keeps what it was asked; the test answers."""

    def __init__(self):
        self.asked, self.ended, self.busy = [], 0, False

    def ask(self, command, fields, **callbacks):
        self.asked.append((command, fields, callbacks))
        return FakeRequest(callbacks)

    def isBusy(self):
        return self.busy

    def end(self):
        self.ended += 1


class FakeRequest:
    def __init__(self, callbacks):
        self.callbacks = callbacks

    def cancel(self):
        self.callbacks["onCancelled"]()


@pytest.fixture
def worker():
    return FakeWorker()


@pytest.fixture
def compute():
    return FakeWorker()


@pytest.fixture
def heard():
    return []


@pytest.fixture
def environment(worker, compute, heard, settings):
    listeners = Listeners()
    listeners.add(heard.append)
    made = Environment(settings=Settings(), prober=worker, listeners=listeners, workers=[compute])
    yield made
    made.shutDown()


def test_the_quick_part_asks_nobody_and_takes_less_than_20_ms(environment, worker):
    environment.rows()  # imports and the first look at the disk
    times = []
    for _ in range(5):
        start = time.thread_time()  # what a busy computer takes away meanwhile is not ours
        environment.checkQuickly()
        environment.rows()
        times.append(time.thread_time() - start)
    assert min(times) < 0.02
    assert worker.asked == []


def test_a_check_asks_the_worker_and_tells_when_more_is_known(environment, worker, heard, waitUntil):
    environment.check()
    ((command, fields, callbacks),) = worker.asked
    assert (command, fields) == ("probe", {})
    assert environment.isLooking()
    callbacks["onResult"](PROBE)
    waitUntil(lambda: not environment.isLooking())
    assert environment.gpus() == [CARD]
    assert {row.name: row.state for row in environment.rows()}["weights"] == "ok"
    assert environment.isReady()
    assert set(heard) == {"environment"}
    assert len(heard) >= 3


def test_a_second_check_does_not_ask_again_while_the_first_waits(environment, worker):
    environment.check()
    environment.check()
    assert len(worker.asked) == 1


def test_without_torch_no_worker_is_started(environment, worker, monkeypatch, waitUntil):
    monkeypatch.setattr(requirements, "installedTorch", lambda: None)
    environment.check()
    waitUntil(lambda: not environment.isLooking())
    assert worker.asked == []
    assert environment.problem().startswith("torch: Not installed")


def test_missing_packages_are_named_and_no_worker_is_started(environment, worker, host):
    host.packages.missing = {"monai", "psutil"}
    environment.check()
    assert worker.asked == []
    assert "monai" in environment.problem()
    assert "psutil" in environment.problem()


def test_a_worker_that_does_not_start_is_a_row_with_its_reason(environment, worker):
    environment.check()
    worker.asked[0][2]["onError"](WorkerError("The worker could not be started.", "Died", "log"))
    assert "Worker: The worker could not be started." in environment.problem()


def test_a_damaged_starter_model_is_told(environment, worker, tmp_path, monkeypatch, waitUntil):
    copy = tmp_path / "chaos_mr_starter"
    shutil.copytree(environment_module.STARTER, copy)
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    monkeypatch.setattr(environment_module, "STARTER", copy)
    environment.check()
    worker.asked[0][2]["onResult"](PROBE)
    waitUntil(lambda: not environment.isLooking())
    (found,) = [row for row in environment.rows() if row.name == "weights"]
    assert found.state == "warning"
    assert str(copy) in found.text


def test_a_drive_that_is_gone_hides_neither_the_other_disks_nor_a_damaged_model(
    environment, worker, tmp_path, monkeypatch, waitUntil
):
    real = Path.exists
    gone = environment._models.folder if environment._models is not None else Path.home()
    lost = {gone, *gone.parents}
    monkeypatch.setattr(Path, "exists", lambda self: self not in lost and real(self))
    monkeypatch.setattr(environment_module, "_fault", lambda _model: "It is damaged.")
    environment.check()
    waitUntil(lambda: environment.facts.weights is not None)
    assert environment.facts.weights == "It is damaged."
    assert set(environment.facts.free) == {"temp"}


@pytest.mark.parametrize(("torch", "own"), [(Torch("2.8.0", whole=True, suits=True), True), (None, False)])
def test_the_space_for_volumes_is_that_of_slicers_own_temporary_folder_and_for_pip_of_the_systems(
    environment, monkeypatch, waitUntil, torch, own
):
    looked: dict[str, Path] = {}
    monkeypatch.setattr(requirements, "installedTorch", lambda: torch)
    monkeypatch.setattr(environment_module, "_free", lambda folders: looked.update(folders) or {})
    environment.check()
    waitUntil(lambda: bool(looked))
    assert looked["temp"] == Path(slicer.app.temporaryPath if own else tempfile.gettempdir())
    assert ("python" in looked) != own


def test_an_older_slicer_is_told_first_and_its_missing_packaging_does_no_harm(environment, monkeypatch):
    monkeypatch.setattr(environment_module, "_version", lambda: (5, 10))
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    environment.checkQuickly()
    assert environment.problem().startswith("Slicer:")


def test_nothing_is_answered_after_the_end(environment, heard):
    environment.check()
    environment.shutDown()
    before = len(heard)
    slicer.app.processEvents()
    time.sleep(0.1)
    slicer.app.processEvents()
    assert len(heard) == before
    assert not environment.isLooking()


def test_idle_workers_start_anew_after_an_installation_and_busy_ones_go_on(
    environment, worker, compute, host, waitUntil
):
    host.packages.missing = {"monai"}
    environment.check()
    compute.busy = True
    environment.act("installPackages")
    waitUntil(lambda: not environment.installation.isRunning())
    assert (worker.ended, compute.ended) == (1, 0)
    assert [command for command, _, _ in worker.asked] == ["probe"]


def test_the_real_worker_answers_and_the_gui_goes_on_meanwhile(settings, waitUntil, heartbeat):
    files = Worker("files")
    environment = Environment(settings=Settings(), prober=files, listeners=Listeners())
    environment.rows()
    try:
        with heartbeat() as beat:
            environment.check()
            waitUntil(lambda: not environment.isLooking(), 60)
    finally:
        environment.shutDown()
        files.end()
    assert environment.isReady(), environment.problem()
    assert {row.state for row in environment.rows() if row.name in ("worker", "torch")} == {"ok"}
    assert environment.summary().startswith(
        f"Ready: torch {importlib.metadata.version('torch').split('+')[0]} ("
    )
    assert beat.longest < beat.limit


def test_half_a_torch_is_recognised_by_its_missing_files(tmp_path, monkeypatch):
    info = tmp_path / "torch-2.8.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.8.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert requirements.installedTorch() == Torch("2.8.0", whole=False, suits=False)
    (info / "METADATA").unlink()
    assert requirements.installedTorch() == Torch("?", whole=False, suits=False)


def test_the_torch_of_this_test_environment_is_found_without_importing_it():
    torch = requirements.installedTorch()
    assert torch.whole
    assert torch.version == importlib.metadata.version("torch")
