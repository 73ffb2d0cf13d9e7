"""What this computer and this Python have."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

from crgloco.progress import Reporter
from crgloco.requests import graphics
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
        **graphics.ask(),
        **_memory(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


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
