"""What this computer and this Python have: the one request of the file worker that imports torch."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import Any

from crgloco.progress import Reporter
from crgloco.requests.fields import Answer, Fields

PACKAGES = (
    "torch",
    "monai",
    "einops",
    "safetensors",
    "numpy",
    "scipy",
    "SimpleITK",
    "pydicom",
    "pylibjpeg",
    "pylibjpeg-openjpeg",
    "psutil",
    "rich",
)
MB = 2**20


def probe(fields: Fields, report: Reporter) -> Answer:
    """Answer ``probe``; what cannot be found out is null."""
    del fields, report
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "executable": sys.executable,
        **_torch(),
        **_memory(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _torch() -> Answer:
    nothing: Answer = {"torch": None, "cuda_build": None, "gpus": [], "torch_error": ""}
    try:
        import torch
    except Exception as error:  # noqa: BLE001  (a torch that is there and broken fails in many ways)
        missing = isinstance(error, ModuleNotFoundError) and error.name == "torch"
        return nothing if missing else {**nothing, "torch_error": f"{type(error).__name__}: {error}"}
    found = {**nothing, "torch": torch.__version__, "cuda_build": torch.version.cuda}
    try:
        found["gpus"] = [_gpu(torch, number) for number in range(torch.cuda.device_count())]
    except RuntimeError as error:  # a driver that does not fit, a card that fell off the bus
        found["torch_error"] = f"{type(error).__name__}: {error}"
    return found


def _gpu(torch: Any, number: int) -> Answer:
    free, total = torch.cuda.mem_get_info(number)
    name = torch.cuda.get_device_name(number)
    return {"name": name, "free_mb": round(free / MB), "total_mb": round(total / MB)}


def _memory() -> Answer:
    try:
        import psutil
    except ImportError:
        return {"memory_free_mb": None, "memory_total_mb": None}
    memory = psutil.virtual_memory()
    return {"memory_free_mb": round(memory.available / MB), "memory_total_mb": round(memory.total / MB)}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
