"""``slicer.parameterNodeWrapper``: typed parameters in a parameter node, bound to widgets by name."""

import types
import typing
import weakref
from typing import Any

import slicer
import slicer.util
import vtk

from slicer_host import parameter_annotations
from slicer_host.gui_connectors import Connector, connectorFor
from slicer_host.parameter_annotations import Default, first, split
from slicer_host.parameter_storage import storageFor

PROPERTY = "SlicerParameterName"
RESERVED = [
    "allParameters",
    "default",
    "isCached",
    "dataType",
    "getValue",
    "setValue",
    "connectGui",
    "connectParametersToGui",
    "disconnectGui",
    "StartModify",
    "EndModify",
    "AddObserver",
    "RemoveObserver",
    "Modified",
    "parameterNode",
]


class Wrapped:
    """The methods that every wrapped class gets."""

    allParameters: dict[str, Any]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        if parameterNode is None or not parameterNode.IsA("vtkMRMLScriptedModuleNode"):
            raise TypeError(f"A parameter node is wrapped, not {parameterNode!r}")
        self.parameterNode = parameterNode
        self._prefix = prefix or ""
        self._guis: dict[int, tuple[dict[str, Connector], int]] = {}
        self._nextTag = 0
        self._updating = False
        self._remembered: dict[str, Remembered] = {}
        for name, parameter in self.allParameters.items():
            self._remembered[name] = Remembered(parameter, parameterNode, self._prefix + name)

    def getValue(self, name: str) -> Any:
        """A parameter by its name."""
        self._known(name)
        return self._remembered[name].value

    def setValue(self, name: str, value: Any) -> None:
        """Set a parameter by its name."""
        self._known(name)
        self._remembered[name].write(value)

    def default(self, name: str) -> Default:
        """A parameter's value at first."""
        self._known(name)
        return Default(self.allParameters[name].first)

    def isCached(self, name: str) -> bool:
        """Whether Slicer would keep it in memory."""
        self._known(name)
        return True

    @classmethod
    def dataType(cls, name: str) -> Any:
        """A parameter's annotated type."""
        cls._known(name)
        return cls.allParameters[name].kind

    @classmethod
    def _known(cls, name: str) -> None:
        if name not in cls.allParameters:
            raise ValueError(
                f"Cannot find a param with the given name: {name}; there are {list(cls.allParameters)}"
            )

    def connectGui(self, gui: Any) -> int:
        """Bind every widget that carries a parameter's name."""
        widgets = gui.findChildren("QWidget") if hasattr(gui, "isWidgetType") else gui.__dict__.values()
        named = {widget.property(PROPERTY): widget for widget in widgets if widget.property(PROPERTY)}
        return self.connectParametersToGui(named)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind widgets by the parameters' names."""
        for name in mapping:
            self._known(name)
        connectors = {name: connectorFor(widget, self.dataType(name)) for name, widget in mapping.items()}
        tag, self._nextTag = self._nextTag, self._nextTag + 1
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda name=name, connector=connector: self._take(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_given: self._show())
        self._guis[tag] = (connectors, observer)
        return tag

    def disconnectGui(self, tag: int) -> None:
        """Let the widgets of a tag go."""
        if tag in self._guis:
            connectors, observer = self._guis.pop(tag)
            for connector in connectors.values():
                connector.onChanged(None)
            self.RemoveObserver(observer)

    def _take(self, name: str, connector: Connector) -> None:
        if not self._updating:
            self.setValue(name, connector.read())

    def _show(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors, _observer in self._guis.values():
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating = False

    def StartModify(self) -> Any:
        """Hold back the modified event."""
        return self.parameterNode.StartModify()

    def EndModify(self, former: Any) -> Any:
        """Send the modified event."""
        return self.parameterNode.EndModify(former)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        """Observe the node."""
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        """Stop observing the node."""
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        """Tell the node's observers."""
        self.parameterNode.Modified()


class Remembered:
    """A value as one wrapper remembers it; it hears of others' changes by the node's event, as Slicer's does.

    So whoever observes the node too may be told before, and still reads the former value.
    """

    def __init__(self, parameter: "Parameter", node: Any, name: str) -> None:
        self._parameter, self._node, self._name = parameter, node, name
        self._writing = False
        self.value = self._read()
        us = weakref.ref(self)
        self._observer = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_given: us()._heard())

    def __del__(self) -> None:
        self._node.RemoveObserver(self._observer)

    def write(self, value: Any) -> None:
        """Set the value; the node's observers are told when it is remembered."""
        self._writing = True
        try:
            with slicer.util.NodeModify(self._node):
                self._parameter.storage.write(self._node, self._name, value)
                self.value = self._read()
        finally:
            self._writing = False

    def _heard(self) -> None:
        if not self._writing:
            self.value = self._read()

    def _read(self) -> Any:
        storage = self._parameter.storage
        if not storage.isIn(self._node, self._name):
            storage.write(self._node, self._name, self._parameter.first)
        return storage.read(self._node, self._name)


class Parameter:
    """One parameter of a wrapped class."""

    def __init__(self, kind: Any, given: Any, missing: Any) -> None:
        self.kind = kind
        self.storage = storageFor(kind)
        note = first(split(kind)[1], Default)
        self.first = given if given is not missing else (note.value if note else self.storage.default())


def _property(name: str) -> property:
    return property(
        lambda self: Wrapped.getValue(self, name), lambda self, value: Wrapped.setValue(self, name, value)
    )


def parameterNodeWrapper(cls: type | None = None) -> Any:
    """Decorate a class of annotated parameters."""
    if cls is None:
        return parameterNodeWrapper
    missing = object()
    kinds = typing.get_type_hints(cls, include_extras=True)
    for name in (*kinds, *vars(cls)):
        if name in RESERVED:
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    if "__init__" in vars(cls):
        raise ValueError("__init__ of a wrapped class is replaced: yours would never run")
    members = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    members["allParameters"] = {
        name: Parameter(kind, vars(cls).get(name, missing), missing) for name, kind in kinds.items()
    }
    members.update({name: _property(name) for name in kinds})
    return type(cls.__name__, (Wrapped,), members)


def isParameterNodeWrapper(one: Any) -> bool:
    """Whether a class or object is wrapped."""
    return issubclass(one if isinstance(one, type) else type(one), Wrapped)


def makeModule() -> types.ModuleType:
    """Build ``slicer.parameterNodeWrapper``."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    for name in [
        "Default",
        "Decimals",
        "SingleStep",
        "Validator",
        "WithinRange",
        "Minimum",
        "Maximum",
        "Choice",
        "Exclude",
        "NotNone",
    ]:
        setattr(module, name, getattr(parameter_annotations, name))
    module.parameterNodeWrapper, module.isParameterNodeWrapper = parameterNodeWrapper, isParameterNodeWrapper
    module.SlicerParameterNamePropertyName = PROPERTY
    return module


__all__ = ["makeModule", "slicer"]
