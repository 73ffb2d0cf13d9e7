"""``slicer.packaging`` that never installs: it records what was asked, and a test says what is there."""

import types
from collections.abc import Callable
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import slicer
from packaging.requirements import Requirement


class Packages:
    """What a test's Slicer has installed, and what was asked of pip.

    Attributes:
        missing: Names of packages that ``pip_check`` says are missing; everything else is there.
        calls: Every install that was asked for, with its arguments.
        failure: Raised by the next installs; ``None`` lets them succeed.
        declined: Whether the user says no to ``pip_ensure``'s question.
    """

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self.calls: list[dict[str, Any]] = []
        self.failure: BaseException | None = None
        self.declined = False

    def load_requirements(self, path: str | Path) -> list[Requirement]:
        """Requirements of a file, without option lines and comments."""
        lines = (line.partition(" #")[0].strip() for line in Path(path).read_text("utf-8").splitlines())
        return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]

    def pip_check(self, requirements: Any) -> bool:
        """Whether all are there."""
        return not any(one.name in self.missing for one in _parsed(requirements))

    def pip_ensure(
        self,
        requirements: Any,
        constraints: Any = None,
        skip_packages: list[str] | None = None,
        prompt_install: bool = True,
        prompt_restart: bool = True,
        requester: str | None = None,
        skip_in_testing: bool = True,
        show_progress: bool = True,
    ) -> list[str] | None:
        """Install what is missing, unless declined or in testing mode."""
        missing = [one for one in _parsed(requirements) if one.name in self.missing]
        if not missing or (skip_in_testing and slicer.app.testingEnabled()):
            return None
        if prompt_install and self.declined:
            raise RuntimeError("User declined package installation")
        return self.pip_install(
            [str(one) for one in missing],
            constraints=constraints,
            skip_packages=skip_packages,
            requester=requester,
            show_progress=show_progress,
        )

    def pip_install(
        self,
        requirements: str | list[str],
        constraints: Any = None,
        no_deps_requirements: Any = None,
        skip_packages: list[str] | None = None,
        blocking: bool = True,
        show_progress: bool = True,
        requester: str | None = None,
        logCallback: Callable[[str], None] | None = None,
        completedCallback: Callable[[int], None] | None = None,
    ) -> list[str] | None:
        """Record the call; what it names is no longer missing."""
        self.calls.append(
            {
                "requirements": requirements,
                "constraints": constraints,
                "no_deps_requirements": no_deps_requirements,
                "skip_packages": skip_packages,
                "blocking": blocking,
                "requester": requester,
            }
        )
        if self.failure is not None and blocking:
            raise self.failure
        if self.failure is None:
            words = requirements.split() if isinstance(requirements, str) else requirements
            self.missing -= {Requirement(w).name for w in words if w[:1].isalnum() and "/" not in w}
        if not blocking:
            _later(logCallback, completedCallback, code=0 if self.failure is None else 1)
        return [] if skip_packages else None

    def pip_uninstall(self, requirements: Any, **_more: Any) -> None:
        """Record the call."""
        self.calls.append({"uninstall": requirements})

    def isPipInstallInProgress(self) -> bool:
        """Never."""
        return False


def _parsed(requirements: Any) -> list[Requirement]:
    if isinstance(requirements, str):
        requirements = (
            requirements.split() if " " in requirements and ";" not in requirements else [requirements]
        )
    if isinstance(requirements, Requirement):
        requirements = [requirements]
    return [Requirement(one) if isinstance(one, str) else one for one in requirements]


def _later(log: Callable[[str], None] | None, completed: Callable[[int], None] | None, *, code: int) -> None:
    import qt

    def finish() -> None:
        if log is not None:
            log("Successfully installed" if code == 0 else "ERROR: could not install")
        if completed is not None:
            completed(code)

    qt.QTimer.singleShot(0, finish)


packages = Packages()


def makeModule() -> types.ModuleType:
    """Build ``slicer.packaging``; its functions follow the present ``packages``."""
    module = types.ModuleType("slicer.packaging")
    for name in (
        "load_requirements",
        "pip_check",
        "pip_ensure",
        "pip_install",
        "pip_uninstall",
        "isPipInstallInProgress",
    ):
        setattr(module, name, getattr(packages, name))
    module.CalledProcessError, module.Requirement = CalledProcessError, Requirement
    return module
