"""The background needs neither Qt nor an application; only Slicer's function of translation."""

import importlib.util
import sys
import types

# slicer-core brings the scene without Slicer's own Python files.
if "slicer.i18n" not in sys.modules and importlib.util.find_spec("slicer.i18n") is None:
    sys.modules["slicer.i18n"] = types.ModuleType("slicer.i18n")
    sys.modules["slicer.i18n"].tr = lambda text: text  # type: ignore[attr-defined]
