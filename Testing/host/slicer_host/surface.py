"""What a real Slicer's widgets offer, as its meta-objects told it (slicer_surface.json)."""

import functools
import json
from pathlib import Path

FILE = Path(__file__).parents[1] / "slicer_surface.json"


class ClassSurface:
    """One class of the surface file, with all that it has from its ancestors.

    Attributes:
        name: For example ``qt.QLineEdit``.
        own: What the file says of this class alone.
        ancestor: The nearest ancestor in the file, or ``None``.
        properties: Type of each Qt property, by its name.
        names: Everything that PythonQt shows on the class.
        signals: Exact normalised signatures.
        signalNames: The same without arguments.
    """

    def __init__(self, name: str, own: dict, ancestor: "ClassSurface | None") -> None:
        self.name = name
        self.own = own
        self.ancestor = ancestor
        self.properties: dict[str, str] = {**(ancestor.properties if ancestor else {}), **own["properties"]}
        self.names = {*(ancestor.names if ancestor else ()), *own["python"], *own["properties"]}
        self.signals = {*(ancestor.signals if ancestor else ()), *own["signals"]}
        self.signalNames = {signature.partition("(")[0] for signature in self.signals}
        self.slots = {*(ancestor.slots if ancestor else ()), *own["slots"]}

    def lineage(self) -> list[str]:
        """Plain class names that ``inherits`` answers with yes, for example ``QPushButton``."""
        return [self.name.partition(".")[2], *self.own["inherits"]]

    def overloads(self, signalName: str) -> list[str]:
        """All signatures of a signal, the longest first."""
        found = [text for text in self.signals if text.partition("(")[0] == signalName]
        return sorted(found, key=lambda text: (-len(arguments(text)), text))


def arguments(signature: str) -> list[str]:
    """The argument types of a signature: ``a(int,bool)`` gives ``["int", "bool"]``."""
    inside = signature.partition("(")[2].rpartition(")")[0]
    return inside.split(",") if inside else []


@functools.cache
def document() -> dict:
    """The whole file."""
    return json.loads(FILE.read_text("utf-8"))


@functools.cache
def classSurface(name: str) -> ClassSurface | None:
    """The surface of a class by its full name, or ``None`` if the file does not have it."""
    own = document()["classes"].get(name)
    if own is None:
        return None
    return ClassSurface(name, own, classSurface(own["ancestor"]) if own["ancestor"] else None)


@functools.cache
def classNames() -> dict[str, str]:
    """Full name of each class by its plain one, for ``.ui`` files: ``QLabel`` is ``qt.QLabel``."""
    return {name.partition(".")[2]: name for name in document()["classes"]}
