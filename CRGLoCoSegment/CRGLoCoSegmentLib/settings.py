"""What belongs to the computer: folders, current model, device; kept in Slicer's settings file."""

import json
from pathlib import Path
from typing import Any

import qt

GROUP = "CRGLoCoSegment"


class Settings:
    """Machine settings as plain values.

    Keys in use: ``modelsFolder``, ``currentModel``, ``device``, ``memoryGb``, ``casesFolder``,
    ``unlabelledFolders`` (list), ``wheelFolder``, ``annotator``, ``training`` (dict), ``exportFolder``,
    ``pendingInstallation``, ``keptLabel``.
    """

    def get(self, key: str, default: Any = None) -> Any:
        """Return a stored value, or the default if there is none or it cannot be read."""
        text = qt.QSettings().value(f"{GROUP}/{key}")
        if not text:
            return default
        try:
            return json.loads(text)
        except (TypeError, ValueError):
            return default

    def set(self, key: str, value: Any) -> None:
        """Store a plain value; ``None`` removes it."""
        settings = qt.QSettings()
        if value is None:
            settings.remove(f"{GROUP}/{key}")
        else:
            settings.setValue(f"{GROUP}/{key}", json.dumps(value))

    def folder(self, key: str) -> Path | None:
        """Return a stored folder, or ``None``; it need not exist."""
        text = self.get(key)
        return Path(text) if text else None
