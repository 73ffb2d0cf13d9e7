"""The processor and the graphics cards as a list to choose from."""

from collections.abc import Iterable, Mapping
from typing import Any

from slicer.i18n import tr as _


def listDevices(combo: Any, gpus: Iterable[Mapping[str, Any]], chosen: str) -> None:
    """Fill a list with what can compute.

    Args:
        combo: The ``QComboBox``.
        gpus: The graphics cards that the environment's last look found; those with a fault are left out.
        chosen: The device to select; listed too if it was not found.
    """
    devices = {"auto": _("Automatic"), "cpu": _("Processor (CPU)")}
    devices |= {f"cuda:{number}": gpu["name"] for number, gpu in enumerate(gpus) if not gpu.get("fault")}
    devices.setdefault(chosen, chosen)
    combo.clear()
    for name, title in devices.items():
        combo.addItem(title, name)
    combo.setCurrentIndex(list(devices).index(chosen))
