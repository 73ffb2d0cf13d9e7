"""What the engine needs beyond Slicer: what of it is missing, and installing it when the user asks."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from crgloco.errors import CRGLoCoError

FILE = Path(__file__).parents[1] / "Resources" / "requirements.txt"

# The networks alone need these, and these need torch; files are read, written and checked without them.
NEED_TORCH = ("monai",)
# Slicer's own builds, and the torch that was chosen for this computer: pip may use, never replace them.
KEPT = ("torch", "torchvision", "numpy", "scipy", "SimpleITK", "vtk", "pydicom", "pillow")


class InstallationError(CRGLoCoError):
    """An installation could not begin or did not succeed.

    Args:
        message: What happened and what to do.
        details: What pip or Python said.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


@dataclass(frozen=True)
class Torch:
    """The installed torch as its metadata tells; nothing is imported.

    Attributes:
        version: For example ``"2.8.0+cu128"``.
        whole: Whether its files are there; a failed installation leaves metadata alone.
        suits: Whether it is a version that the engine can use.
    """

    version: str
    whole: bool
    suits: bool


def torchRequirement() -> str:
    """Return the versions of torch that serve us, as pip reads them."""
    # 2.9 computes 3-D convolutions in half precision slowly and with far more memory.
    versions = ">=2.4.1,!=2.9.*"
    # 2.13 cannot be unpacked where Windows refuses paths of more than 260 characters (light-the-torch#176).
    return versions + ",<2.13" if sys.platform == "win32" else versions


def isTorchBuilt(system: str, machine: str) -> bool:
    """Whether there is a torch that serves us for a computer: the last one for Intel's macOS is 2.2.

    Args:
        system: As ``sys.platform``.
        machine: As ``platform.machine()``; of Slicer's edition, which may be Intel's on other Macs too.
    """
    return (system, machine) != ("darwin", "x86_64")


def withoutTorch(wanted: Sequence[str]) -> list[str]:
    """Return those requirements that torch need not be there for."""
    from packaging.requirements import Requirement

    return [each for each in wanted if Requirement(each).name not in NEED_TORCH]


def installedTorch() -> Torch | None:
    """Return what is known of the installed torch, or ``None``."""
    try:
        found = importlib.metadata.distribution("torch")
        version = found.metadata.get("Version")
    except importlib.metadata.PackageNotFoundError:
        return None
    whole = Path(str(found.locate_file("torch/__init__.py"))).is_file() and bool(version)
    return Torch(version or "?", whole, whole and _packaging().pip_check("torch" + torchRequirement()))


def missingPackages() -> list[str]:
    """Return the requirements that are not met, torch aside; reads metadata only."""
    packaging = _packaging()
    return [str(wanted) for wanted in packaging.load_requirements(FILE) if not _isMet(packaging, wanted)]


def hasTorchExtension() -> bool:
    """Whether the PyTorch extension is installed and loaded."""
    # The first: a module that Slicer has run itself may have no specification, which find_spec refuses.
    return "PyTorchUtils" in sys.modules or importlib.util.find_spec("PyTorchUtils") is not None


def constraints(wanted: Sequence[str] = ()) -> list[str]:
    """Return pip's constraints that keep Slicer's builds and the chosen torch as they are.

    Args:
        wanted: Requirements that shall be installed, so that these are free; torchvision goes with torch.
    """
    from packaging.requirements import Requirement

    free = {Requirement(each).name for each in wanted}
    free |= {"torchvision"} if "torch" in free else set()
    lines = []
    for name in (name for name in KEPT if name not in free):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            if version := importlib.metadata.version(name):
                lines.append(f"{name}=={version}")
    return lines


@dataclass(frozen=True)
class Installed:
    """What is installed at one moment, and which top modules Slicer is using.

    Attributes:
        versions: By the package's name.
        modules: Names without dots.
    """

    versions: dict[str, str]
    modules: frozenset[str]

    @classmethod
    def now(cls) -> "Installed":
        """Look at Slicer's Python."""
        importlib.invalidate_caches()
        found = importlib.metadata.distributions()
        versions = {each.metadata["Name"]: each.version for each in found if each.metadata["Name"]}
        return cls(versions, frozenset(name for name in sys.modules if "." not in name))

    def changedWhileInUse(self) -> list[str]:
        """Return the packages that Slicer was using then and that differ now: a restart is due."""
        changed = [
            name for name, version in Installed.now().versions.items() if self.versions.get(name) != version
        ]
        return [name for name in changed if _topModules(name) & self.modules]


def installTorch() -> bool:
    """Install torch by the PyTorch extension, which asks first and picks the build for this computer.

    Slicer does not answer until it has ended: the extension offers no other way.

    Returns:
        Whether torch is installed now; ``False`` if the user declined.

    Raises:
        InstallationError: The extension is missing, or the installation failed.
    """
    refuseInTests()
    try:
        import PyTorchUtils
    except ImportError as error:
        message = _("Get the PyTorch extension in the Extensions Manager and restart Slicer first.")
        raise InstallationError(message) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    # TypeError: the extension stumbles so when an earlier attempt has left half a torch behind.
    failures = (subprocess.CalledProcessError, ImportError, OSError, RuntimeError, TypeError, ValueError)
    try:
        torch = logic.installTorch(askConfirmation=True, torchVersionRequirement=torchRequirement())
    except failures as error:
        message = _(
            "torch could not be installed. Restart Slicer and try again; if it fails again, open the module "
            "PyTorch Utils, uninstall torch there, restart, and install it anew."
        )
        raise InstallationError(message, f"{type(error).__name__}: {error}") from error
    finally:
        importlib.invalidate_caches()
    return torch is not None


def installByPip(
    wanted: Sequence[str],
    *,
    wheelFolder: Path | None = None,
    onLine: Callable[[str], None],
    onEnd: Callable[[int], None],
) -> None:
    """Start an installation that lets Slicer go on; it does not ask.

    pip follows its own settings: ``pip.ini``, ``PIP_INDEX_URL``, ``PIP_PROXY``, ``PIP_CERT`` and the like.

    Args:
        wanted: Requirements as pip reads them.
        wheelFolder: Install from the files of this folder alone, without any network.
        onLine: Hears each line of pip.
        onEnd: Hears pip's exit code, on the main thread; 0 is success.

    Raises:
        InstallationError: It could not be started.
    """
    refuseInTests()
    packaging = _packaging()
    if packaging.isPipInstallInProgress():
        raise InstallationError(_("Another installation is going on in Slicer. Wait for its end."))
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    if wheelFolder is not None:
        options += ["--no-index", "--find-links", str(_existing(wheelFolder))]
    file = _constraintsFile(wanted)

    def end(code: int) -> None:
        file.unlink(missing_ok=True)
        importlib.invalidate_caches()
        onEnd(code)

    try:
        packaging.pip_install(
            [*options, *wanted],
            constraints=file,
            blocking=False,
            show_progress=False,
            logCallback=onLine,
            completedCallback=end,
        )
    except (OSError, RuntimeError) as error:
        file.unlink(missing_ok=True)
        message = _("The installation could not be started: {reason}").format(reason=error)
        raise InstallationError(message) from error


def _packaging() -> Any:
    # Not at file scope: it costs 20 ms, and Slicer 5.10 has none.
    return importlib.import_module("slicer.packaging")


def _isMet(packaging: Any, wanted: Any) -> bool:
    try:
        return bool(packaging.pip_check(wanted))
    except (AttributeError, TypeError, ValueError):  # metadata without a version, from a broken installation
        return False


def _topModules(name: str) -> set[str]:
    """Return what a package is imported by; looked up only for the few that changed."""
    files = importlib.metadata.distribution(name).files or []
    return {file.parts[0].removesuffix(".py") for file in files if file.suffix in (".py", ".pyd", ".so")}


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        message = _("The folder of Python packages {folder} does not exist. Choose another, or none.")
        raise InstallationError(message.format(folder=folder))
    return folder


def _constraintsFile(wanted: Sequence[str]) -> Path:
    number, name = tempfile.mkstemp(prefix="crgloco_constraints_", suffix=".txt")
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write("\n".join(constraints(wanted)) + "\n")
    return Path(name)


def refuseInTests() -> None:
    """Raise ``InstallationError`` in testing mode.

    The PyTorch extension asks nobody in testing mode, and pip would block: a test never installs.
    """
    if slicer.app.testingEnabled():
        raise InstallationError(_("Slicer runs in testing mode: nothing is installed."))
