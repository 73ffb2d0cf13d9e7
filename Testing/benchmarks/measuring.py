"""What the speed benchmarks share: the machine in words, sides measured in turn, results kept."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from crgloco.networks.precision import has_bf16

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
DATA = Path(os.environ.get("CRGLOCO_DATA", REPOSITORY.parent / "shared" / "data"))


def machine(device: torch.device | None = None) -> dict[str, Any]:
    """Return what a number depends on: processor, threads, torch, and what else the machine was doing."""
    device = device if device is not None else torch.device("cpu")
    found: dict[str, Any] = {
        "time_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": device.type,
        "bf16_in_hardware": has_bf16(device),
        "load_at_start": round(os.getloadavg()[0], 2),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


@dataclass
class Times:
    """What the runs of one side took.

    Attributes:
        wall: Seconds of every run.
        cpu: Processor seconds of every run, all threads together: hardly changed by other programs.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, act: Callable[[], object]) -> None:
        """Run once and remember what it took, work queued on a GPU included."""
        wall, cpu = time.perf_counter(), time.process_time()
        act()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    def to_json(self, prefix: str = "") -> dict[str, Any]:
        """Return medians, and every run."""
        return {
            f"{prefix}seconds": median(self.wall),
            f"{prefix}cpu_seconds": median(self.cpu),
            f"{prefix}all_seconds": [round(value, 4) for value in self.wall],
        }


def in_turn(sides: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: int = 1) -> dict[str, Times]:
    """Run all sides one after the other, then all again (A B A B): a busy machine is unfair to none.

    Args:
        sides: What to run, by name.
        rounds: Runs of every side that count.
        warm_up: Runs of every side before, which do not count.

    Returns:
        The runs that count, by name.
    """
    taken = {name: Times() for name in sides}
    for turn in range(warm_up + rounds):
        for name, act in sides.items():
            (taken[name] if turn >= warm_up else Times()).add(act)
    return taken


def median(values: Sequence[float]) -> float:
    """Return the median, rounded to a tenth of a millisecond."""
    return round(statistics.median(values), 4)


class MemoryPeak:
    """Highest resident memory of this process since construction, GiB (Linux; NaN elsewhere)."""

    def __init__(self) -> None:
        reset = Path("/proc/self/clear_refs")
        if reset.exists():
            reset.write_text("5", encoding="ascii")

    @property
    def gib(self) -> float:
        """The peak so far."""
        status = Path("/proc/self/status")
        lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
        found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
        return round(found[0] / 2**20, 2) if found else float("nan")


def keep(name: str, run: dict[str, Any]) -> Path:
    """Add a run to ``results/<name>.json``; earlier runs stay."""
    path = RESULTS / f"{name}.json"
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps({"runs": [*runs, run]}, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
    return path


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(headings) + " |")
    print("|" + "---|" * len(headings))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


def three_numbers(text: str) -> tuple[int, int, int]:
    """Read ``K,J,I``."""
    k, j, i = (int(word) for word in text.split(","))
    return k, j, i


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
