"""The flat module ``ctk``."""

import types

from slicer_host import ctk_buttons, ctk_numbers, ctk_paths, ctk_texts
from slicer_host.proxy import expose
from slicer_host.surface import classSurface


def makeCtk() -> types.ModuleType:
    """Build the module from the host's widgets."""
    module = types.ModuleType("ctk", "CTK's widgets, made of PySide6.")
    found = {}
    for source in (ctk_texts, ctk_buttons, ctk_numbers, ctk_paths):
        found.update({name: cls for name, cls in vars(source).items() if classSurface(f"ctk.{name}")})
    for name, cls in sorted(found.items(), key=lambda item: len(item[1].__mro__)):
        setattr(module, name, expose(f"ctk.{name}", cls))
    return module
