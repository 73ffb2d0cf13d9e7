"""Installing what is missing: by the PyTorch extension, by pip from a server or a folder; bad ends."""

import subprocess
import sys
import tomllib
import types
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import slicer
import slicer.packaging

from CRGLoCoSegmentLib import requirements
from CRGLoCoSegmentLib.logic.installation import Installation, extensionAwaitsRestart
from CRGLoCoSegmentLib.logic.installation_faults import explanation
from CRGLoCoSegmentLib.requirements import InstallationError, Installed
from CRGLoCoSegmentLib.settings import Settings


@pytest.fixture
def installation(settings):
    return Installation(settings=Settings(), onChange=lambda: None)


@pytest.fixture
def noTorch(monkeypatch):
    monkeypatch.setattr(requirements, "installedTorch", lambda: None)


@pytest.fixture
def extension(monkeypatch):
    """A PyTorch extension whose installation the test directs by ``answer``: a value or an exception."""

    class Logic:
        asked: ClassVar = []
        answer = types.SimpleNamespace(__version__="2.8.0")

        def installTorch(self, **named):
            Logic.asked.append(named)
            if isinstance(Logic.answer, BaseException):
                raise Logic.answer
            return Logic.answer

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=Logic))
    return Logic


def wheel(folder, name, version, *needs):
    """Write the smallest wheel that pip accepts."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {each}\n" for each in needs)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}/__init__.py", "")
        file.writestr(f"{info}/METADATA", metadata)
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


def pip(*words):
    """What pip says, with its code; nothing is installed and the settings of this machine do not matter."""
    command = [sys.executable, "-m", "pip", "--isolated", "install", "--dry-run", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def realPip(monkeypatch):
    """``slicer.packaging.pip_install`` by the real pip as Slicer calls it, as a dry run."""
    said = []

    def install(words, constraints=None, *, blocking, show_progress, logCallback, completedCallback):
        assert (blocking, show_progress) == (False, False)
        code, text = pip(*words, "-c", constraints)
        said.append(text)
        for line in text.splitlines():
            logCallback(line)
        completedCallback(code)

    monkeypatch.setattr(slicer.packaging, "pip_install", install)
    return said


# ------------------------------------------------------------------------------------------------- torch


def test_torch_comes_by_the_extension_which_asks_and_hears_which_versions_serve(installation, extension):
    assert requirements.hasTorchExtension()
    installation.installTorch()
    (asked,) = extension.asked
    assert asked == {"askConfirmation": True, "torchVersionRequirement": requirements.torchRequirement()}
    assert installation.state == "done"


def test_declining_torch_is_no_error(installation, extension):
    extension.answer = None
    installation.installTorch()
    assert (installation.state, installation.message) == ("declined", "torch was not installed.")


@pytest.mark.parametrize(
    "fault",
    [
        subprocess.CalledProcessError(1, "light_the_torch"),
        TypeError("'NoneType' object is not iterable"),
        ImportError("DLL load failed while importing _C"),
        OSError("[WinError 126] The specified module could not be found"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_failed_installation_of_torch_says_what_to_do_and_keeps_the_reason(installation, extension, fault):
    extension.answer = fault
    installation.installTorch()
    assert installation.state == "failed"
    assert "Restart Slicer" in installation.message
    assert any(type(fault).__name__ in line for line in installation.lines)


def test_a_missing_extension_is_said_and_nothing_else_is_tried(installation, host):
    assert not requirements.hasTorchExtension()
    installation.installTorch()
    assert installation.state == "failed"
    assert "PyTorch extension" in installation.message
    assert host.packages.calls == []


def test_in_testing_mode_nothing_is_ever_installed(installation, extension, host):
    host.application.testing = True
    host.packages.missing = {"monai"}
    for install in (installation.installTorch, installation.installPackages, installation.getExtension):
        install()
        assert installation.state == "failed"
    assert extension.asked == []
    assert host.packages.calls == []


def test_torch_comes_from_the_wheel_folder_without_the_extension(installation, host, tmp_path, waitUntil):
    installation.wheelFolder = tmp_path
    installation.installTorch()
    waitUntil(lambda: not installation.isRunning())
    (call,) = host.packages.calls
    assert call["requirements"][-4:] == [
        "--no-index", "--find-links", str(tmp_path), "torch" + requirements.torchRequirement(),
    ]  # fmt: skip
    assert call["blocking"] is False


@pytest.mark.parametrize(("system", "newest"), [("win32", False), ("linux", True)])
def test_on_windows_the_torch_with_paths_too_long_is_left_out(monkeypatch, system, newest):
    from packaging.specifiers import SpecifierSet

    monkeypatch.setattr(sys, "platform", system)
    served = SpecifierSet(requirements.torchRequirement())
    assert "2.8.0+cu128" in served
    assert "2.9.1" not in served
    assert "2.3.1" not in served
    assert ("2.13.0" in served) is newest


def test_the_package_and_the_page_on_offline_computers_name_the_same_torch(monkeypatch):
    root = Path(__file__).parents[2]
    dependencies = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    (oldest,) = [each for each in dependencies if each.startswith("torch")]
    assert requirements.torchRequirement().split(",")[0] == oldest.removeprefix("torch")
    monkeypatch.setattr(sys, "platform", "win32")
    page = (root / "docs" / "offline_installation.md").read_text("utf-8")
    assert f'"torch{requirements.torchRequirement()}"' in page


# --------------------------------------------------------------------------------------------- the others


def test_packages_come_after_torch_else_pip_would_choose_one(installation, noTorch, host):
    host.packages.missing = {"monai"}
    installation.installPackages()
    assert installation.state == "failed"
    assert "torch first" in installation.message
    assert host.packages.calls == []


def test_on_a_mac_that_can_have_no_torch_what_works_without_it_is_installed(
    installation, noTorch, host, monkeypatch, waitUntil
):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    host.packages.missing = {"monai", "psutil", "rich"}
    installation.installPackages()
    waitUntil(lambda: not installation.isRunning())
    assert installation.state == "done"
    assert [each[:4] for each in host.packages.calls[0]["requirements"][-2:]] == ["psut", "rich"]
    assert requirements.missingPackages() == ["monai>=1.5"]


def test_only_what_is_missing_is_installed_and_the_user_is_asked_with_a_list(installation, host, waitUntil):
    host.packages.missing = {"monai", "psutil"}
    assert "Slicer's own packages stay" in installation.plan("packages")
    assert installation.contents("packages") == ["monai>=1.5", "psutil>=5.9"]
    installation.installPackages()
    assert installation.isRunning()
    waitUntil(lambda: not installation.isRunning())
    assert installation.state == "done"
    assert host.packages.calls[0]["requirements"][-2:] == ["monai>=1.5", "psutil>=5.9"]
    assert requirements.missingPackages() == []
    assert "Successfully installed" in installation.lines


def test_the_constraints_hold_slicers_builds_and_torch_and_leave_no_file(installation, monkeypatch):
    seen = {}

    def install(words, constraints, completedCallback, **_named):
        seen.update(words=words, file=constraints, text=Path(constraints).read_text())
        completedCallback(0)

    monkeypatch.setattr(slicer.packaging, "pip_install", install)
    installation.installPackages()
    kept = dict(line.split("==") for line in seen["text"].split())
    assert {"torch", "numpy", "scipy", "SimpleITK", "vtk", "pydicom"} <= set(kept)
    assert kept["numpy"] == np.__version__
    assert not seen["file"].exists()
    assert requirements.constraints(["torch>=2.4"]) == [
        line for line in requirements.constraints() if not line.startswith("torch")
    ]


def test_pip_itself_refuses_a_package_that_would_replace_numpy(realPip, tmp_path):
    wheel(tmp_path, "numpy", "99.0")
    wheel(tmp_path, "greedy", "1.0", "numpy>=99")
    wheel(tmp_path, "modest", "1.0", "numpy>=1.26")
    ends, lines = [], []
    for name in ("modest", "greedy"):
        requirements.installByPip([name], wheelFolder=tmp_path, onLine=lines.append, onEnd=ends.append)
    assert "Would install modest-1.0" in realPip[0]
    assert ends == [0, 1]
    assert "numpy" in explanation(realPip[1])
    assert "Slicer's own packages were left" in explanation(realPip[1])


def test_a_wheel_that_is_not_in_the_folder_is_named(installation, realPip, tmp_path, monkeypatch):
    monkeypatch.setattr(requirements, "missingPackages", lambda: ["crgloco-absent>=1.5"])
    installation.wheelFolder = tmp_path
    installation.installPackages()
    assert installation.state == "failed"
    assert "holds no crgloco-absent>=1.5" in installation.message
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in installation.message


def test_a_wheel_folder_that_does_not_exist_is_told_before_anything_starts(installation, host, tmp_path):
    host.packages.missing = {"monai"}
    installation.wheelFolder = tmp_path / "gone"
    installation.installPackages()
    assert installation.state == "failed"
    assert str(tmp_path / "gone") in installation.message
    assert host.packages.calls == []


def test_a_failure_without_a_known_reason_points_to_the_log(installation, host, waitUntil):
    host.packages.missing, host.packages.failure = {"monai"}, RuntimeError("odd")
    installation.installPackages()
    waitUntil(lambda: not installation.isRunning())
    assert installation.state == "failed"
    assert "log" in installation.message


def test_two_installations_at_once_are_refused(installation, host, monkeypatch):
    host.packages.missing = {"monai"}
    monkeypatch.setattr(slicer.packaging, "isPipInstallInProgress", lambda: True)
    installation.installPackages()
    assert installation.state == "failed"
    assert "Another installation" in installation.message


def test_a_package_that_slicer_was_using_asks_for_a_restart():
    now = Installed.now()
    assert now.changedWhileInUse() == []
    older = {"pytest": "0.1", "seaborn": "0.1"}  # the second is installed, nobody uses it
    before = Installed({**now.versions, **older}, now.modules - {"seaborn"})
    assert before.changedWhileInUse() == ["pytest"]


def test_a_package_that_the_installation_itself_has_loaded_needs_no_restart():
    """The PyTorch extension imports the torch that it has installed."""
    now = Installed.now()
    fresh = {name: version for name, version in now.versions.items() if name != "pytest"}
    assert Installed(fresh, now.modules - {"pytest", "_pytest", "py"}).changedWhileInUse() == []


# ------------------------------------------------------------------------------------- what pip really says


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--index-url", "http://127.0.0.1:9/simple"], "cannot be reached"),
        (["--index-url", "https://pypi.invalid/simple", "--proxy", "http://127.0.0.1:9"], "proxy refused"),
    ],
)
def test_a_network_that_is_closed_is_explained(words, told):
    code, text = pip("--retries", "1", "--timeout", "3", *words, "crgloco_no_such_package")
    assert code != 0
    assert told in explanation(text)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "disk is full",
        ),
        ("ERROR: [WinError 5] Access is denied: 'c:\\slicer\\torch\\lib\\c10.dll'", "in use or locked"),
        ("ERROR: [Errno 13] Permission denied: '/opt/Slicer/lib'", "cannot be written to"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
        (
            "HINT: This error might have occurred since this system does not have Windows Long Path support",
            "260",
        ),
        ("ERROR: [Errno 2] No such file or directory: 'C:\\\\Users\\\\a\\\\torch\\\\include\\\\x.h'", "260"),
    ],
)
def test_ends_of_pip_on_other_computers_are_explained(line, told):
    assert told in explanation(line)


def test_an_unknown_end_is_not_explained_away():
    assert explanation("ERROR: something new") == ""


# ---------------------------------------------------------------------------------- the PyTorch extension


class Manager:
    """Slicer's extensions manager, as far as it is asked."""

    def __init__(self, *, agrees):
        self.agrees, self.installed = agrees, False

    def installExtensionFromServer(self, name, restart):
        assert (name, restart) == ("PyTorch", False)
        self.installed = self.agrees
        return self.agrees

    def isExtensionInstalled(self, name):
        return self.installed and name == "PyTorch"

    isExtensionEnabled = isExtensionInstalled


def givenManager(monkeypatch, *, agrees):
    manager = Manager(agrees=agrees)
    monkeypatch.setattr("CRGLoCoSegmentLib.logic.installation._extensionsManager", lambda: manager)


def test_the_wish_for_torch_survives_the_restart_that_the_extension_needs(installation, monkeypatch):
    givenManager(monkeypatch, agrees=True)
    installation.getExtension()
    assert installation.state == "done"
    assert "Restart Slicer" in installation.message
    assert extensionAwaitsRestart()
    assert Installation(settings=Settings(), onChange=print).isPending
    installation.noLongerPending()
    assert not installation.isPending


def test_declining_the_extension_is_no_error_and_leaves_nothing_pending(installation, monkeypatch):
    givenManager(monkeypatch, agrees=False)
    installation.getExtension()
    assert installation.state == "declined"
    assert not installation.isPending
    assert not extensionAwaitsRestart()


def test_a_slicer_without_an_extensions_manager_offers_the_wheel_folder(installation):
    installation.getExtension()
    assert installation.state == "failed"
    assert "folder of Python packages" in installation.message
    with pytest.raises(InstallationError, match="Extensions Manager"):
        requirements.installTorch()
