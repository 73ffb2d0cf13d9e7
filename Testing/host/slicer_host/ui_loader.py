"""``slicer.util.loadUI``: as the real QUiLoader, but with an error where that would only fall back."""

import io
import keyword
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from PySide6.QtCore import QBuffer, QByteArray, QIODevice
from PySide6.QtUiTools import QUiLoader
from PySide6.QtWidgets import QWidget

from slicer_host.mrml_widgets import Line
from slicer_host.proxy import _classes
from slicer_host.surface import classNames, classSurface
from slicer_host.values import pack

MARGINS = {
    "leftMargin",
    "topMargin",
    "rightMargin",
    "bottomMargin",
    "horizontalSpacing",
    "verticalSpacing",
    "spacing",
}
FORM = {"fieldGrowthPolicy", "rowWrapPolicy", "labelAlignment", "formAlignment", "sizeConstraint", "margin"}

FORM_BUILDERS_OWN = {
    ("QLabel", "buddy")
}  # Qt's form builder understands them although they are no properties


class UiError(RuntimeError):
    """A .ui file that a real Slicer would load wrongly or not at all."""


def implementations() -> dict[str, type]:
    """The widget class for each name that a .ui file may use."""
    found = {proxy.__name__: cls for cls, proxy in _classes.items() if issubclass(cls, QWidget)}
    return {**found, "Line": Line}


class _Loader(QUiLoader):
    def __init__(self) -> None:
        super().__init__()
        self._implementations = implementations()
        self.made: list[QWidget] = []

    def createWidget(self, className: str, parent: QWidget | None = None, name: str = "") -> QWidget:
        """Make the host's own class where it has one."""
        made = self._implementations[className](parent)
        made.setObjectName(name)
        self.made.append(made)
        return made


def loadUI(path: str) -> Any:
    """Build the widgets of a .ui file.

    Raises:
        UiError: Naming what a real Slicer would not understand.
    """
    if not Path(path).exists():
        raise RuntimeError(f"Could not load UI file: file not found {path}\n\n")
    tree = ET.parse(path)
    _check(tree, Path(path).name)
    later, connections = _takeEnums(tree), _takeConnections(tree)
    widget, loader = _build(tree)
    if widget is None:
        raise UiError(f"{path}: {loader.errorString()}")
    byName = {one.objectName(): one for one in loader.made}
    for name, key, value in later:
        byName[name].setProperty(key, value)
    packed = pack(widget)
    _connect(connections, byName, Path(path).name)
    packed.__dict__["_made_"] = loader.made
    return packed


def _build(tree: ET.ElementTree) -> tuple[QWidget | None, _Loader]:
    text = io.BytesIO()
    tree.write(text)
    buffer = QBuffer()
    buffer.setData(QByteArray(text.getvalue()))
    buffer.open(QIODevice.OpenModeFlag.ReadOnly)
    loader = _Loader()
    return loader.load(buffer), loader


def _check(tree: ET.ElementTree, file: str) -> None:
    names: set[str] = set()
    for element in tree.iter("widget"):
        kind, name = element.get("class", ""), element.get("name", "")
        if kind not in implementations():
            raise UiError(f"{file}: no loader knows the class {kind} of {name}")
        if name in names or keyword.iskeyword(name) or not name.isidentifier():
            raise UiError(f"{file}: the object name {name!r} is used twice, or is no name in Python")
        names.add(name)
        _checkProperties(element, kind, file)


def _checkProperties(element: ET.Element, kind: str, file: str) -> None:
    surface = classSurface(classNames().get(kind, ""))
    for one in element.findall("property"):
        name = one.get("name", "")
        known = surface is None or name in surface.properties or (kind, name) in FORM_BUILDERS_OWN
        if one.get("stdset") != "0" and not known:
            raise UiError(f"{file}: {kind} has no property {name!r} (a dynamic one needs stdset=0)")
    for layout in element.findall("layout"):
        for one in layout.findall("property"):
            if one.get("name") not in MARGINS | FORM:
                raise UiError(f"{file}: a layout has no property {one.get('name')!r}")


def _takeEnums(tree: ET.ElementTree) -> list[tuple[str, str, int]]:
    """Enum values of CTK's and qMRML's own classes: Qt cannot read those of classes made in Python."""
    found = []
    for element in tree.iter("widget"):
        for one in list(element.findall("property")):
            value = one.find("enum") if one.find("enum") is not None else one.find("set")
            if value is not None and (value.text or "").startswith(("ctk", "qMRML")):
                cls = implementations()[element.get("class", "")]
                flags = [
                    getattr(cls, part.rpartition("::")[2], None) for part in (value.text or "").split("|")
                ]
                if None in flags:
                    raise UiError(
                        f"{element.get('name')}: unknown {value.text}; the host's class may lack it"
                    )
                number = 0
                for flag in flags:
                    number |= int(flag)
                found.append((element.get("name", ""), one.get("name", ""), number))
                element.remove(one)
    return found


def _takeConnections(tree: ET.ElementTree) -> list[ET.Element]:
    """Connections by themselves: Qt does not find signals of MRML types in classes made in Python."""
    found = list(tree.iter("connection"))
    for group in tree.getroot().findall("connections"):
        tree.getroot().remove(group)
    return found


def _connect(connections: list[ET.Element], byName: dict[str, QWidget], file: str) -> None:
    for one in connections:
        sender, signal, receiver, slot = (
            one.findtext(key, "") for key in ("sender", "signal", "receiver", "slot")
        )
        for name in (sender, receiver):
            if name not in byName:
                raise UiError(f"{file}: a connection names {name!r}, which is not there")
        pack(byName[sender]).connect(signal, pack(byName[receiver]), slot)
