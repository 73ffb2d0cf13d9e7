"""What this computer has and lacks, in words: one row for each thing that the work needs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from crgloco.memory_faults import speaks_of_memory
from CRGLoCoSegmentLib.requirements import Torch, withoutTorch

GB = 1024**3
OLDEST_SLICER = (5, 12)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: Of the thing, for programs.
        title: Of the thing, for users.
        state: ``"ok"``, ``"warning"``, ``"missing"`` (nothing can be segmented) or ``"unknown"`` (not yet).
        text: What was found and what to do.
        action: What a button would do: ``"getExtension"``, ``"installTorch"``, ``"installPackages"``,
            ``"restart"``; empty if there is no button.
        actionText: On the button.
    """

    name: str
    title: str
    state: str
    text: str
    action: str = ""
    actionText: str = ""


@dataclass(frozen=True)
class Facts:
    """What was found; the rows are made from it alone.

    Attributes:
        slicer: Major and minor version.
        slicerText: The version as Slicer writes it.
        python: Version.
        system: As ``sys.platform``.
        cannotHaveTorch: Whether nobody builds a torch that serves us for this computer.
        torch: The installed torch, or ``None``.
        missing: Requirements that are not met, torch aside.
        extension: Of PyTorch: ``"loaded"``, ``"restart"`` (added in this session) or ``"absent"``.
        wheelFolder: Where packages are installed from instead of a server.
        pending: Whether torch was to be installed after the last restart.
        restartFor: Packages that changed while Slicer was using them.
        hasDriver: Whether an NVIDIA driver seems to be installed.
        free: Free bytes: ``"temp"``, ``"models"``, ``"python"``.
        oddFolder: A folder of Slicer or the user with letters that Windows may not hand on, or ``None``.
        weights: What is wrong with the bundled model; empty: nothing; ``None``: not looked at yet.
        probe: The worker's answer, or ``None``.
        probeFault: Why the worker did not answer.
    """

    slicer: tuple[int, int]
    slicerText: str
    python: str
    system: str
    cannotHaveTorch: bool
    torch: Torch | None
    missing: tuple[str, ...]
    extension: str = "absent"
    wheelFolder: Path | None = None
    pending: bool = False
    restartFor: tuple[str, ...] = ()
    hasDriver: bool = False
    free: dict[str, int] = field(default_factory=dict)
    oddFolder: Path | None = None
    weights: str | None = None
    probe: dict[str, Any] | None = None
    probeFault: str = ""


def rows(facts: Facts) -> list[Row]:
    """Return the table, from what comes first to what builds on it."""
    made = [
        _slicerRow(facts),
        _torchRow(facts),
        _packagesRow(facts),
        _workerRow(facts),
        _gpuRow(facts),
        _memoryRow(facts),
        _diskRow(facts),
        _weightsRow(facts),
    ]
    return [row for row in made if row is not None]


def summary(facts: Facts) -> str:
    """Return the one line."""
    table = rows(facts)
    missing = [row for row in table if row.state == "missing"]
    if missing:
        names = ", ".join(row.title for row in missing)
        return _("Not ready yet: {names}.").format(names=names) + " " + noDataLeave()
    ready = _("Ready: torch {torch}, {device}.").format(torch=_torchWords(facts), device=_deviceWords(facts))
    return ready + " " + noDataLeave()


def noDataLeave() -> str:
    """Return what clinicians ask first."""
    return _("No data leave this computer.")


def _slicerRow(facts: Facts) -> Row:
    title = _("Slicer")
    found = _("{slicer} with Python {python}").format(slicer=facts.slicerText, python=facts.python)
    if facts.slicer < OLDEST_SLICER:
        text = _("{found}. Slicer {oldest} or later is needed: get it at slicer.org.")
        oldest = ".".join(map(str, OLDEST_SLICER))
        return Row("slicer", title, "missing", text.format(found=found, oldest=oldest))
    if facts.restartFor:
        text = _("Restart Slicer: these packages changed while it was using them: {names}.")
        names = ", ".join(facts.restartFor)
        return Row("slicer", title, "warning", text.format(names=names), "restart", _("Restart Slicer"))
    if facts.oddFolder is not None:
        text = _(
            "{found}. The folder {folder} has letters outside plain English; if the worker does not start, "
            "install Slicer into a folder such as C:\\Slicer."
        )
        return Row("slicer", title, "warning", text.format(found=found, folder=facts.oddFolder))
    return Row("slicer", title, "ok", found)


def _torchRow(facts: Facts) -> Row:
    torch, title = facts.torch, _("torch")
    if torch is not None and torch.whole and torch.suits:
        return Row("torch", title, "ok", _torchWords(facts))
    if facts.cannotHaveTorch:
        text = _(
            "torch has no build newer than 2.2 for this Intel edition of Slicer on macOS; 2.4 or later is "
            "needed. Segment and fine-tune on Windows or Linux; cases can still be corrected here."
        )
        return Row("torch", title, "missing", text)
    if torch is not None and torch.whole and torch.version.startswith("2.9"):
        text = _(
            "torch {version} needs far more memory for 3-D images than others; 2.8 or 2.10 serve better."
        )
        return Row("torch", title, "warning", text.format(version=torch.version))
    return _missingTorchRow(facts, title)


def _missingTorchRow(facts: Facts, title: str) -> Row:
    install = ("installTorch", _("Install torch..."))
    if facts.torch is not None and facts.torch.whole:
        text = _("{version} is installed, another version is needed.").format(version=facts.torch.version)
    elif facts.torch is not None:
        text = _(
            "An installation of torch has failed and left parts behind. Restart Slicer, then install again."
        )
    elif facts.wheelFolder is not None:
        text = _("Not installed. It will come from the folder of Python packages below.")
    elif facts.extension == "restart":
        text = _("The PyTorch extension was added. Restart Slicer to go on.")
        install = ("restart", _("Restart Slicer"))
    elif facts.extension == "absent":
        text = _("Not installed. Slicer's PyTorch extension picks the build for this computer; add it first.")
        install = ("getExtension", _("Add PyTorch extension..."))
    elif facts.pending:
        text = _("The PyTorch extension is there: go on with torch itself (2 to 6 GB).")
    else:
        text = _("Not installed. The PyTorch extension picks the build for this computer (2 to 6 GB).")
    return Row("torch", title, "missing", text, *install)


def _packagesRow(facts: Facts) -> Row:
    title = _("Python packages")
    if not facts.missing:
        return Row("packages", title, "ok", _("complete"))
    wanted = withoutTorch(facts.missing) if facts.cannotHaveTorch else facts.missing
    if not wanted:
        return Row("packages", title, "ok", _("what correcting cases needs is there"))
    text = _("Missing: {names}.").format(names=", ".join(wanted))
    if not facts.cannotHaveTorch and (facts.torch is None or not facts.torch.whole):
        return Row("packages", title, "missing", text + " " + _("Install torch first."))
    return Row("packages", title, "missing", text, "installPackages", _("Install packages..."))


def _workerRow(facts: Facts) -> Row:
    title = _("Worker")
    if facts.probeFault:
        return Row("worker", title, "missing", facts.probeFault)
    if facts.probe is None:
        return Row("worker", title, "unknown", _waiting(facts))
    return Row("worker", title, "ok", _("starts; a crash or a lack of memory there leaves Slicer running"))


def _gpuRow(facts: Facts) -> Row:
    title = _("Graphics card")
    if facts.system == "darwin":
        return Row(
            "gpu", title, "ok", _("not used on macOS; the CPU computes: minutes, not seconds, per volume")
        )
    if facts.probe is None:
        return Row("gpu", title, "unknown", _waiting(facts))
    gpus = facts.probe.get("gpus") or []
    if not gpus:
        return _noGpuRow(facts, title, facts.probe)
    words, advice = "; ".join(_gpuWords(gpu) for gpu in gpus), _gpuAdvice(gpus)
    return Row("gpu", title, "warning", f"{words}. {advice}") if advice else Row("gpu", title, "ok", words)


def _gpuAdvice(gpus: list[dict[str, Any]]) -> str:
    """Return what to do about graphics cards that do not serve as they could; empty if they do."""
    usable = [gpu for gpu in gpus if not gpu.get("fault")]
    if not usable:
        return _("The CPU computes: update the driver, or install a torch that is built for this card.")
    if usable[0] is not gpus[0]:
        text = _("Choose {name} as the device: with Automatic, the CPU computes.")
        return text.format(name=usable[0]["name"])
    if max(gpu["free_mb"] for gpu in usable) < 1500:
        return _("Little memory is free: close other programs, or choose the CPU.")
    return ""


def _noGpuRow(facts: Facts, title: str, probe: dict[str, Any]) -> Row:
    build = probe.get("cuda_build")
    if error := probe.get("torch_error"):
        if speaks_of_memory(error):
            text = _("The computer's memory did not suffice to load torch: close other programs.")
            return Row("gpu", title, "warning", text)
        text = _(
            "torch could not look at the graphics card ({error}). Update its driver, or install torch again."
        )
        return Row("gpu", title, "warning", text.format(error=error))
    if build:
        text = _(
            "torch is built for CUDA {build} but can use no NVIDIA card here: update its driver. The CPU "
            "computes."
        )
        return Row("gpu", title, "warning", text.format(build=build))
    if facts.hasDriver:
        text = _(
            "An NVIDIA driver is here, but torch is the build for the CPU. For seconds instead of minutes, "
            "open the module PyTorch Utils, uninstall torch, restart Slicer, and install it again."
        )
        return Row("gpu", title, "warning", text)
    return Row("gpu", title, "ok", _("no NVIDIA card; the CPU computes: minutes, not seconds, per volume"))


def _memoryRow(facts: Facts) -> Row:
    title = _("Memory")
    if facts.probe is None:
        return Row("memory", title, "unknown", _waiting(facts))
    free, total = facts.probe["memory_free_mb"], facts.probe["memory_total_mb"]
    if free is None or total is None:  # psutil, which knows, is not installed yet
        return Row("memory", title, "unknown", _("known once the Python packages are installed"))
    text = _("{free:.1f} of {total:.1f} GB free").format(free=free / 1024, total=total / 1024)
    if free < 2500:
        return Row("memory", title, "warning", text + ". " + _("Close other programs before a large volume."))
    return Row("memory", title, "ok", text)


def _diskRow(facts: Facts) -> Row:
    title = _("Disk")
    if not facts.free:
        return Row("disk", title, "unknown", _waiting(facts))
    words = {"temp": _("temporary files"), "models": _("models"), "python": _("Python packages")}
    needed = {"temp": 2 * GB, "models": GB, "python": 8 * GB if facts.torch is None else 0}
    text = ", ".join(f"{words[name]} {free / GB:.0f} GB" for name, free in facts.free.items())
    text = _("free for {places}").format(places=text)
    remarks = []
    if short := [name for name, free in facts.free.items() if free < needed[name]]:
        least = ", ".join(f"{words[name]} {needed[name] / GB:.0f} GB" for name in short)
        remarks.append(_("Needed: {least}.").format(least=least))
    if gone := [words[name] for name in ("temp", "models") if name not in facts.free]:
        remarks.append(_("No drive, or no access to it, for {places}.").format(places=", ".join(gone)))
    if remarks:
        return Row("disk", title, "warning", " ".join([f"{text}.", *remarks]))
    return Row("disk", title, "ok", text)


def _weightsRow(facts: Facts) -> Row:
    title = _("Starter model")
    if facts.weights is None:
        return Row("weights", title, "unknown", _waiting(facts))
    if facts.weights:
        return Row("weights", title, "warning", facts.weights)
    return Row("weights", title, "ok", _("bundled and sound"))


def _waiting(facts: Facts) -> str:
    if facts.missing or facts.torch is None or not facts.torch.whole:
        return _("known once torch and the packages are installed")
    return _("being looked at ...")


def _torchWords(facts: Facts) -> str:
    version = facts.torch.version if facts.torch else "?"
    if facts.probe is None:
        return version
    plain, build = version.split("+")[0], facts.probe.get("cuda_build")
    return f"{plain} (CUDA {build})" if build else f"{plain} (CPU)"


def _gpuWords(gpu: dict[str, Any]) -> str:
    if gpu.get("fault"):
        return _("{name}: torch cannot use it ({fault})").format(name=gpu["name"], fault=gpu["fault"])
    return _("{name}, {free:.1f} GB free").format(name=gpu["name"], free=gpu["free_mb"] / 1024)


def _deviceWords(facts: Facts) -> str:
    if facts.system == "darwin":
        return _("CPU")
    if facts.probe is None:
        return _("graphics card being looked for")
    gpus = facts.probe.get("gpus") or []
    return _gpuWords(gpus[0]) if gpus and not gpus[0].get("fault") else _("CPU")
