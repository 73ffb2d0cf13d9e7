"""How Slicer's Python is started outside Slicer's own process."""

import os
import shutil
import sys
from pathlib import Path


def pythonProgram() -> list[str]:
    """Return the words that start Slicer's Python: its launcher, or this very Python outside Slicer."""
    return [shutil.which("PythonSlicer") or sys.executable]


def engineCommand(*words: str) -> list[str]:
    """Return the words that start the engine; to be run in ``moduleFolder``."""
    return [*pythonProgram(), "-m", "crgloco", *words]


def moduleFolder() -> Path:
    """Return the folder that holds ``crgloco``; as working directory it comes first on Python's path."""
    return Path(__file__).resolve().parents[2]


def childEnvironment() -> dict[str, str]:
    """Return our own environment, with output that arrives at once and in UTF-8."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
