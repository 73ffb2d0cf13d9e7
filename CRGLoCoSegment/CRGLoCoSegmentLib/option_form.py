"""A form made from a method's options as data, and the options that a user changed in it."""

from collections.abc import Collection, Mapping
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from crgloco.errors import OptionError
from CRGLoCoSegmentLib.option_fields import Field, SpinField, allowedInWords, automaticWord, makeField


class OptionForm:
    """A form for any method, present or future.

    Args:
        options: As ``crgloco methods --json`` describes them.
        without: Names that are asked for elsewhere, or not at all.

    Attributes:
        widget: The form.
        fields: One per option, by name.
    """

    def __init__(self, options: list[dict[str, Any]], *, without: Collection[str] = ()) -> None:
        self._options = [option for option in options if option["name"] not in without]
        self._start = {option["name"]: option["default"] for option in self._options}
        self.fields: dict[str, Field] = {option["name"]: makeField(option) for option in self._options}
        self.widget = qt.QWidget()
        self._build()
        self.reset()
        for field in self.fields.values():
            field.widget.connect(field.changedSignal, self._changed)

    def setStart(self, values: Mapping[str, Any]) -> None:
        """Show a configuration: what it says, and the defaults of the rest.

        What the user has changed stays while the configuration is the same.

        Args:
            values: Options that differ from the defaults; names that the form lacks are passed over.
        """
        defaults = {option["name"]: option["default"] for option in self._options}
        start = defaults | {name: value for name, value in values.items() if name in defaults}
        if start != self._start:
            self._start = start
            self.reset()

    def setFixed(self, names: Collection[str], why: str) -> None:
        """Grey out options that cannot be chosen now; all others can be.

        Args:
            names: Of the options.
            why: Shown as their tooltip.
        """
        for option in self._options:
            fixed, widget = option["name"] in names, self.fields[option["name"]].widget
            widget.enabled = not fixed
            widget.toolTip = why if fixed else tooltip(option)

    def show(self, values: Mapping[str, Any]) -> None:
        """Put values into the form; the rest stays as it is."""
        for name, value in values.items():
            self.fields[name].show(value)

    def reset(self) -> None:
        """Show the configuration again."""
        self.show(self._start)
        self._changed()

    def problems(self) -> list[str]:
        """Return what cannot be used, one sentence each."""
        return [problem for field in self.fields.values() if (problem := field.problem())]

    def values(self) -> dict[str, Any]:
        """Return every option.

        Raises:
            OptionError: A value cannot be used.
        """
        problems = self.problems()
        if problems:
            raise OptionError(problems[0])
        return {name: field.value() for name, field in self.fields.items()}

    def changed(self) -> dict[str, Any]:
        """Return the options that differ from the configuration, as a job stores them.

        Raises:
            OptionError: A value cannot be used.
        """
        return {name: value for name, value in self.values().items() if value != self._start[name]}

    def _build(self) -> None:
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        self._addRows(column, [option for option in self._options if not option.get("advanced")])
        advanced = [option for option in self._options if option.get("advanced")]
        if advanced:
            self.advancedBox = ctk.ctkCollapsibleGroupBox()
            self.advancedBox.title = _("Advanced options")
            self.advancedBox.toolTip = _("Options that rarely need another value.")
            self._addRows(qt.QVBoxLayout(self.advancedBox), advanced)
            self.advancedBox.collapsed = True
            column.addWidget(self.advancedBox)
        self.resetButton = qt.QPushButton(_("Reset options"))
        self.resetButton.objectName = "resetOptionsButton"
        self.resetButton.toolTip = _("Give every option the value of the chosen configuration.")
        self.resetButton.connect("clicked(bool)", lambda _checked=False: self.reset())
        column.addWidget(self.resetButton)

    def _addRows(self, column: Any, options: list[dict[str, Any]]) -> None:
        form = qt.QFormLayout()
        column.addLayout(form)
        for option in options:
            widget = self.fields[option["name"]].widget
            label = qt.QLabel(_labelText(option, self.fields[option["name"]]))
            label.toolTip = widget.toolTip = tooltip(option)
            widget.objectName = f"option_{option['name']}"
            label.setBuddy(widget)
            form.addRow(label, widget)

    def _changed(self, *_values: Any) -> None:
        self.resetButton.enabled = bool(self.problems()) or bool(self.changed())


def tooltip(option: Mapping[str, Any]) -> str:
    """Return an option's help, what is allowed, and its default."""
    lines = [option["help"]]
    if option["type"] in ("int", "float") and allowedInWords(option):
        lines.append(_("Allowed: {range}.").format(range=allowedInWords(option)))
    default = automaticWord() if option.get("automatic") else option["default"]
    if default != "":
        lines.append(_("Default: {value}.").format(value=default))
    return "\n".join(lines)


def _labelText(option: Mapping[str, Any], field: Field) -> str:
    """A unit stands behind the number where the widget has a place for it, else behind the label."""
    unit = option.get("unit")
    inWidget = isinstance(field, SpinField)
    return f"{option['label']} ({unit})" if unit and not inWidget else str(option["label"])
