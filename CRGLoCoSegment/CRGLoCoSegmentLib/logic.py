"""What the module does, for scripts as well as for its panels; knows no widget."""

from pathlib import Path

import crgloco


class SegmentLogic:
    """The module's work, without any widget."""

    def engineVersion(self) -> str:
        """The version of the engine that this module carries, such as "0.1.0"."""
        return crgloco.__version__

    def resourcesFolder(self) -> Path:
        """The folder with the models and sample scans that come with the module."""
        return Path(crgloco.__file__).parents[1] / "Resources"
