"""Why slicer-core or offscreen Qt cannot run here, and the one line that helps."""

import functools
import importlib
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

LIST = Path(__file__).parents[3] / ".ci" / "system-libraries"


def installLine() -> str:
    """The command that installs everything, for Debian and Ubuntu."""
    return f"apt-get install -y --no-install-recommends {' '.join(LIST.read_text('utf-8').split())}"


@functools.cache
def whyMissing(*modules: str) -> str | None:
    """Try to import modules.

    Args:
        modules: For example ``slicer_core``, ``PySide6.QtWidgets``.

    Returns:
        What is missing and what to do, or ``None`` if all is there.
    """
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            return f"{error.name} is not installed (make test does it where this Python has a wheel)"
        except ImportError as error:
            return f"a library of the system is missing ({error}); as root: {installLine()}"
    return None


class SkippedModule(pytest.Module):
    """A file of tests that cannot run here: one skip, with the reason, instead of an error of import."""

    reason = ""

    def collect(self) -> Iterable[pytest.Item]:
        """Skip the whole file."""
        pytest.skip(self.reason)


def skippedModule(parent: pytest.Collector, path: Path, reason: str | None) -> SkippedModule | None:
    """For ``pytest_pycollect_makemodule``: a skipped file if there is a reason, else pytest's usual one."""
    if reason is None:
        return None
    made = SkippedModule.from_parent(parent, path=path)
    made.reason = reason
    return made
