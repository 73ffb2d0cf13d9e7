"""Which widget carries which type of parameter; the exact class counts, as in Slicer."""

import enum
import pathlib
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer

from slicer_host.parameter_annotations import (
    Choice,
    Decimals,
    Maximum,
    Minimum,
    SingleStep,
    WithinRange,
    split,
)
from slicer_host.parameter_storage import Node, Union, storageFor

SMALLEST, LARGEST = -(2**31), 2**31 - 1


class Connector:
    """One widget with one parameter.

    Args:
        widget: The widget.
        notes: The type's annotations.
    """

    attribute = ""
    signal = ""

    def __init__(self, widget: Any, plain: Any, notes: list[Any]) -> None:
        self.widget, self.plain, self.notes = widget, plain, notes
        self._callback: Callable[[], None] | None = None

    def note(self, kind: type) -> Any:
        """The first annotation of a kind."""
        return next((one for one in self.notes if isinstance(one, kind)), None)

    def changed(self) -> None:
        """The user changed the widget."""
        if self._callback is not None:
            self._callback()

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call back on changes, or stop."""
        self._callback = callback
        if self.signal:
            (self.widget.disconnect if callback is None else self.widget.connect)(self.signal, self.changed)

    def read(self) -> Any:
        """The widget's value."""
        return getattr(self.widget, self.attribute)

    def write(self, value: Any) -> None:
        """Show a value."""
        setattr(self.widget, self.attribute, value)


class Checked(Connector):
    """A check box or checkable button."""

    attribute, signal = "checked", "toggled(bool)"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        if not self.widget.checkable:
            self.widget.checkable = True


class Whole(Connector):
    """A slider or spin box of whole numbers."""

    attribute, signal = "value", "valueChanged(int)"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        low, high = bounds(self)
        if type(self.widget) is qt.QSlider and None in (low, high):
            raise RuntimeError("Cannot have a connection to QSlider where the int type is unbounded.")
        self.widget.setRange(SMALLEST if low is None else low, LARGEST if high is None else high)
        step = self.note(SingleStep)
        if step is not None:
            self.widget.singleStep = step.value


class Decimal(Connector):
    """A slider or spin box with decimals."""

    attribute, signal = "value", "valueChanged(double)"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        low, high = bounds(self)
        if type(self.widget) in (ctk.ctkSliderWidget, slicer.qMRMLSliderWidget) and None in (low, high):
            raise RuntimeError(
                "Cannot have a connection to ctkSliderWidget where the float type is unbounded."
            )
        self._decimals()
        step = self.note(SingleStep)
        if step is not None:
            self.widget.singleStep = step.value
        self.widget.minimum = float("-inf") if low is None else low
        self.widget.maximum = float("inf") if high is None else high

    def _decimals(self) -> None:
        if type(self.widget) is not ctk.ctkDoubleSlider:
            note = self.note(Decimals)
            if self.plain is int:
                self.widget.decimals = 0
            elif note is not None:
                self.widget.decimals = note.value

    def read(self) -> Any:
        """The number in the parameter's type."""
        return self.plain(self.widget.value)


class Listed(Connector):
    """A combo box of texts or of an enum."""

    signal = "currentIndexChanged(int)"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        if isinstance(self.plain, type) and issubclass(self.plain, enum.Enum):
            self._choices = list(self.plain)
            label = getattr(self.plain, "label", lambda one: one.name)
            texts = [label(one) for one in self._choices]
        else:
            choice = self.note(Choice)
            if choice is None:
                raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
            self._choices = list(choice.choices)
            texts = [str(one) for one in self._choices]
        self.widget.clear()
        self.widget.addItems(texts)

    def read(self) -> Any:
        """The chosen value."""
        return self._choices[self.widget.currentIndex]

    def write(self, value: Any) -> None:
        """Choose a value."""
        self.widget.currentIndex = self._choices.index(value)


class Text(Connector):
    """A line edit; an equal text is not written, so that the cursor stays."""

    attribute, signal = "text", "textChanged(QString)"

    def write(self, value: str) -> None:
        """Show a text."""
        if value != self.widget.text:
            self.widget.text = value


class Shown(Connector):
    """A label, one way."""

    attribute = "text"


class LongText(Connector):
    """A text edit."""

    signal = "textChanged()"

    def read(self) -> str:
        """The plain text."""
        return self.widget.toPlainText()

    def write(self, value: str) -> None:
        """Show a text."""
        self.widget.setPlainText(value)


class PathText(Connector):
    """A path edit."""

    attribute, signal = "currentPath", "currentPathChanged(QString)"

    def read(self) -> pathlib.Path:
        """The path."""
        return pathlib.Path(super().read())

    def write(self, value: Any) -> None:
        """Show a path."""
        super().write(str(value))


class Folder(PathText):
    """A directory button."""

    attribute, signal = "directory", "directoryChanged(QString)"


class Selected(Connector):
    """A node selector; its types are set from the parameter's."""

    signal = "currentNodeChanged(vtkMRMLNode*)"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        kinds = self.plain.__args__ if hasattr(self.plain, "__args__") else (self.plain,)
        self.widget.nodeTypes = tuple(one().GetClassName() for one in kinds if one is not type(None))

    def read(self) -> Any:
        """The chosen node."""
        return self.widget.currentNode()

    def write(self, value: Any) -> None:
        """Choose a node."""
        self.widget.setCurrentNode(value)


def bounds(connector: Connector) -> tuple[float | None, float | None]:
    """Lower and upper bound of the annotations, ``None`` where there is none."""
    both = connector.note(WithinRange)
    if both is not None:
        return both.minimum, both.maximum
    low, high = connector.note(Minimum), connector.note(Maximum)
    return (low.minimum if low else None), (high.maximum if high else None)


def _holdsNode(plain: Any) -> bool:
    storage = storageFor(plain)
    return isinstance(storage, Node) or (
        isinstance(storage, Union) and all(one is None or isinstance(one, Node) for one in storage._parts)
    )


def _rules() -> list[tuple[tuple[type, ...], Callable[[Any], bool], type[Connector]]]:
    def isEnum(plain: Any) -> bool:
        return isinstance(plain, type) and issubclass(plain, enum.Enum)

    combos = (qt.QComboBox, ctk.ctkComboBox)
    buttons = (qt.QCheckBox, ctk.ctkCheckBox, qt.QPushButton, ctk.ctkCheckablePushButton)
    decimals = (qt.QDoubleSpinBox, ctk.ctkSliderWidget, ctk.ctkDoubleSlider, ctk.ctkDoubleSpinBox)
    decimals += (slicer.qMRMLSliderWidget, slicer.qMRMLSpinBox)
    return [
        (buttons, lambda plain: plain is bool, Checked),
        ((qt.QSlider, qt.QSpinBox), lambda plain: plain is int, Whole),
        (decimals, lambda plain: plain in (int, float), Decimal),
        (combos, lambda plain: plain in (int, float, str, bool) or isEnum(plain), Listed),
        ((qt.QLineEdit,), lambda plain: plain is str, Text),
        ((qt.QLabel,), lambda plain: plain is str, Shown),
        ((qt.QTextEdit,), lambda plain: plain is str, LongText),
        ((ctk.ctkPathLineEdit,), lambda plain: plain is pathlib.Path, PathText),
        ((ctk.ctkDirectoryButton,), lambda plain: plain is pathlib.Path, Folder),
        ((slicer.qMRMLNodeComboBox,), _holdsNode, Selected),
    ]


def connectorFor(widget: Any, kind: Any) -> Connector:
    """The connector of a widget for a type.

    Raises:
        RuntimeError: As Slicer does, if this exact class takes no such type.
    """
    plain, notes = split(kind)
    for classes, fits, connector in _rules():
        if type(widget) in classes and fits(plain):
            return connector(widget, plain, notes)
    raise RuntimeError(
        f"Unable to create GUI connector from datatype '{kind}' to widget type '{type(widget)}' ({widget!r})."
    )
