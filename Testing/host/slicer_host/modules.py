"""``slicer.modules``: the built-in modules' logics, and scripted modules with their real life cycle."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6.QtCore import Property

from slicer_host.proxy import expose
from slicer_host.values import pack


class BuiltIn:
    """A module of Slicer's own: it has a logic."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name, self.path, self.title = name, "", name
        self._logic = logic

    def logic(self) -> Any:
        """The module's logic."""
        return self._logic

    def widgetRepresentation(self) -> None:
        """The host has none."""
        return


class Parent:
    """The module object that a scripted module's class fills in."""

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path = name, path
        self.title, self.helpText, self.acknowledgementText = name, "", ""
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.icon: Any = None


class Scripted:
    """One scripted module: made from its file, its widget built at the first request.

    Attributes:
        parent: What the module's class filled in.
    """

    def __init__(self, path: Path) -> None:
        self.name, self.path = path.stem, str(path)
        self.parent = Parent(self.name, self.path)
        self._representation: Any = None
        self.script = self._run()
        self.instance = getattr(self.script, self.name)(self.parent)

    @property
    def title(self) -> str:
        """What the user sees in the list of modules."""
        return self.parent.title

    def _run(self) -> Any:
        folder = str(Path(self.path).parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        specification = importlib.util.spec_from_file_location(self.name, self.path)
        script = importlib.util.module_from_spec(specification)
        sys.modules[self.name] = script
        specification.loader.exec_module(script)
        return script

    def widgetRepresentation(self) -> Any:
        """The module's panel; built and set up at the first call."""
        if self._representation is None:
            self._representation = Representation(self)
        return self._representation

    def logic(self) -> Any:
        """A scripted module has a C++ logic without content; the Python one is the widget's."""
        return slicer.vtkSlicerScriptedLoadableModuleLogic()

    def reload_(self) -> Any:
        """Slicer's order: the script runs first, then the old widget is cleaned up and a new one made."""
        self.script = self._run()
        if self._representation is not None:
            self._representation.renew()
        return self.script


class Representation:
    """The C++ widget around a scripted module's Python widget.

    Attributes:
        host: The qMRMLWidget that the Python widget fills.
    """

    def __init__(self, module: Scripted) -> None:
        self._module = module
        self._entered = False
        self.host: Any = None
        self._widget: Any = None
        self._make()

    def _make(self) -> None:
        import qt

        self.host = HOST_WIDGET()
        self.host.setLayout(qt.QVBoxLayout())
        self.host.setMRMLScene(slicer.mrmlScene)
        self._fill()

    def _fill(self) -> None:
        self._widget = getattr(self._module.script, f"{self._module.name}Widget")(self.host)
        setattr(slicer.modules, f"{self._module.name}Widget", self._widget)
        self._widget.setup()

    def self(self) -> Any:
        """The Python widget."""
        return self._widget

    def isEntered(self) -> bool:
        """Whether the user looks at it."""
        return self._entered

    def enter(self) -> None:
        """The user comes."""
        self._entered = self.host.qtObject_.entered = True
        if hasattr(self._widget, "enter"):
            self._widget.enter()

    def exit(self) -> None:
        """The user goes."""
        self._entered = self.host.qtObject_.entered = False
        if hasattr(self._widget, "exit"):
            self._widget.exit()

    def renew(self) -> None:
        """Clean up and make the widget again in the same parent, as reload does; enter() is not called."""
        for child in self.host.children():
            if child.isWidgetType():
                child.hide()
        self._widget.cleanup()
        layout = self.host.layout()
        while layout.count():
            layout.takeAt(0)
        self._fill()

    def close(self) -> None:
        """The module is unloaded."""
        if self._entered:
            self.exit()
        self._widget.cleanup()
        self.host.qtObject_.deleteLater()


def _hostWidget() -> type:
    from slicer_host.mrml_widgets import qMRMLWidget

    class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
        """The widget that a scripted module fills; it knows whether the user looks at it."""

        entered = False
        isEntered = Property(bool, lambda self: self.entered)

    return qSlicerScriptedLoadableModuleWidget


HOST_WIDGET: Any = None


class Modules:
    """``slicer.modules``: attributes in lower case; a module that the host lacks says so."""

    def __init__(self, logics: dict[str, Any]) -> None:
        global HOST_WIDGET  # noqa: PLW0603 (one class for all modules, made after the widgets)
        if HOST_WIDGET is None:
            HOST_WIDGET = expose("slicer.qSlicerScriptedLoadableModuleWidget", _hostWidget())
        self.selected_ = ""
        for name, logic in logics.items():
            setattr(self, name.lower(), BuiltIn(name, logic))
        for name in ("SegmentEditor", "DICOM", "Data", "ExtensionsManager", "Welcome"):
            setattr(self, name.lower(), BuiltIn(name, None))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the host has no module {name!r} (slicer.modules.{name})")

    def load_(self, path: Path) -> Scripted:
        """Load a scripted module, as Slicer does at its start."""
        module = Scripted(Path(path))
        setattr(self, module.name.lower(), module)
        return module

    def scripted_(self) -> list[str]:
        """Names of the scripted modules that are loaded."""
        return [one.name for one in self.__dict__.values() if isinstance(one, Scripted)]

    def unload_(self, name: str) -> None:
        """Close a scripted module, as Slicer does at its end."""
        module = self.__dict__.pop(name.lower())
        if module._representation is not None:
            module._representation.close()
        self.__dict__.pop(f"{name}Widget", None)
        self.selected_ = "" if self.selected_ == name else self.selected_

    def select_(self, name: str) -> None:
        """Leave the module that is shown and enter another."""
        former, self.selected_ = self.selected_, name
        for one, step in ((former, "exit"), (name, "enter")):
            module = self.__dict__.get(one.lower())
            if isinstance(module, Scripted):
                getattr(module.widgetRepresentation(), step)()
            elif one and module is None:
                raise RuntimeError(f"there is no module {one!r}")


__all__ = ["Modules", "pack"]
