"""One option of a method as a widget: chosen by type and range, never by name."""

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Protocol

import qt
from slicer.i18n import tr as _

LARGEST_INT = 2**31 - 1  # of a QSpinBox
# A range that spans more than this many powers of ten cannot be walked through in equal steps.
WIDEST_SPAN = 3
MOST_DECIMALS = 6


class Field(Protocol):
    """One option as a widget."""

    widget: Any
    changedSignal: str

    def show(self, value: Any) -> None:
        """Put a value into the widget."""

    def value(self) -> Any:
        """Return the value; ``problem`` must be empty."""

    def problem(self) -> str:
        """Say why there is no value, in one sentence; empty if all is well."""


class CheckField:
    """A yes or no."""

    changedSignal = "toggled(bool)"

    def __init__(self, option: Mapping[str, Any]) -> None:
        del option
        self.widget = qt.QCheckBox()

    def show(self, value: bool) -> None:  # noqa: FBT001
        """Tick the box, or not."""
        self.widget.checked = value

    def value(self) -> bool:
        """Return whether it is ticked."""
        return bool(self.widget.checked)

    def problem(self) -> str:
        """Nothing can be wrong."""
        return ""


class ChoiceField:
    """One of some texts."""

    changedSignal = "currentIndexChanged(int)"

    def __init__(self, option: Mapping[str, Any]) -> None:
        self.widget = qt.QComboBox()
        for choice in option["choices"]:
            self.widget.addItem(choice)

    def show(self, value: str) -> None:
        """Select a text."""
        self.widget.currentIndex = self.widget.findText(value)

    def value(self) -> str:
        """Return the selected text."""
        return str(self.widget.currentText)

    def problem(self) -> str:
        """Nothing can be wrong: only allowed texts are on offer."""
        return ""


class TextField:
    """Any text."""

    changedSignal = "textChanged(QString)"

    def __init__(self, option: Mapping[str, Any]) -> None:
        self.widget = _lineEdit(option)
        self.widget.clearButtonEnabled = True

    def show(self, value: str) -> None:
        """Put a text in."""
        self.widget.text = value

    def value(self) -> str:
        """Return the text without blanks around it."""
        return str(self.widget.text).strip()

    def problem(self) -> str:
        """Any text will do here; the engine reads it."""
        return ""


class SpinField:
    """A number with arrows; one step below an automatic option's range stands a word.

    Args:
        option: As data.
        widget: Its range, decimals and steps are set.
    """

    changedSignal = ""

    def __init__(self, option: Mapping[str, Any], widget: Any) -> None:
        self.widget = widget
        self.widget.suffix = _suffix(option)
        self._low, self._default = widget.minimum, option["default"]
        self._automatic = bool(option.get("automatic"))
        if self._automatic:
            widget.minimum = self._low - widget.singleStep
            widget.specialValueText = automaticWord()
            widget.connect("editingFinished()", self._settle)

    def problem(self) -> str:
        """The widget accepts nothing else."""
        return ""

    def _settle(self) -> None:
        """What was typed may lie between the word and the range."""
        if self._isAutomatic():
            self.widget.value = self.widget.minimum

    def _isAutomatic(self) -> bool:
        return self._automatic and self.widget.value < self._low

    def _place(self, value: float) -> float:
        return self.widget.minimum if self._automatic and value == self._default else value


class WholeField(SpinField):
    """A whole number with arrows."""

    changedSignal = "valueChanged(int)"

    def __init__(self, option: Mapping[str, Any]) -> None:
        widget = qt.QSpinBox()
        low, high = _range(option)
        widget.minimum = max(int(low), -LARGEST_INT) if low > -math.inf else -LARGEST_INT
        widget.maximum = min(int(high), LARGEST_INT) if high < math.inf else LARGEST_INT
        if widget.maximum - widget.minimum > 1000:
            widget.stepType = qt.QSpinBox.AdaptiveDecimalStepType
        super().__init__(option, widget)

    def show(self, value: int) -> None:
        """Put a number in."""
        self.widget.value = self._place(value)

    def value(self) -> int:
        """Return the number."""
        return int(self._default if self._isAutomatic() else self.widget.value)


class DecimalField(SpinField):
    """A number of few decimals with arrows."""

    changedSignal = "valueChanged(double)"

    def __init__(self, option: Mapping[str, Any]) -> None:
        widget = qt.QDoubleSpinBox()
        low, high = _range(option)
        widget.decimals = max(2, *(_decimals(x) for x in (low, high, option["default"])))
        widget.minimum, widget.maximum = low, high
        widget.singleStep = _step(low, high, widget.decimals)
        super().__init__(option, widget)

    def show(self, value: float) -> None:
        """Put a number in; no digit of it is lost."""
        self.widget.decimals = max(self.widget.decimals, _decimals(value))
        self.widget.value = self._place(value)

    def value(self) -> float:
        """Return the number as it is shown."""
        if self._isAutomatic():
            return float(self._default)
        return round(float(self.widget.value), int(self.widget.decimals))


class NumberTextField:
    """A number over many orders of magnitude, or without bounds, as text such as ``1e-5``."""

    changedSignal = "textChanged(QString)"

    def __init__(self, option: Mapping[str, Any]) -> None:
        self._option = option
        self._read: Callable[[str], float] = int if option["type"] == "int" else float
        self._automatic = bool(option.get("automatic"))
        self.widget = _lineEdit(option)

    def show(self, value: float) -> None:
        """Put a number in; no digit of it is lost."""
        short = f"{value:g}"
        text = short if self._read is float and float(short) == value else repr(value)
        self.widget.text = "" if self._automatic and value == self._option["default"] else text

    def value(self) -> float:
        """Return the number."""
        return self._read(self._option["default"] if self._isAutomatic() else self._text())

    def problem(self) -> str:
        """Say what is wrong with the text."""
        low, high = _range(self._option)
        try:
            inside = self._isAutomatic() or low <= self.value() <= high
        except ValueError:
            inside = False
        if inside:
            return ""
        msg = _("{label}: '{text}' cannot be used. Give a number {allowed}, for example {default}.")
        allowed = allowedInWords(self._option)
        return msg.format(
            label=self._option["label"], text=self.widget.text, allowed=allowed,
            default=low if self._automatic else self._option["default"],
        )  # fmt: skip

    def _isAutomatic(self) -> bool:
        return self._automatic and not self._text()

    def _text(self) -> str:
        # Half the world writes a comma where the other half writes a point.
        return str(self.widget.text).strip().replace(",", ".")


def makeField(option: Mapping[str, Any]) -> Field:
    """Choose the widget that suits an option; knows types and ranges, and no option by name."""
    if option["type"] == "bool":
        return CheckField(option)
    if option["type"] == "str":
        return ChoiceField(option) if option.get("choices") else TextField(option)
    if option["type"] == "int":
        return WholeField(option) if _fitsSpinBox(option) else NumberTextField(option)
    return DecimalField(option) if _evenlySpread(option) else NumberTextField(option)


def automaticWord() -> str:
    """Return what stands for a value that the method chooses."""
    return str(_("Automatic"))


def allowedInWords(option: Mapping[str, Any]) -> str:
    """Say which numbers an option may have, such as "from 0 to 1"; empty if it is not bounded."""
    low, high = _range(option)
    if math.isinf(low) and math.isinf(high):
        return ""
    if math.isinf(high):
        return _("from {low:g} on").format(low=low)
    if math.isinf(low):
        return _("up to {high:g}").format(high=high)
    return _("from {low:g} to {high:g}").format(low=low, high=high)


def _fitsSpinBox(option: Mapping[str, Any]) -> bool:
    finite = [abs(x) for x in (*_range(option), option["default"]) if not math.isinf(x)]
    return max(finite) <= LARGEST_INT


def _evenlySpread(option: Mapping[str, Any]) -> bool:
    """Whether equal steps lead through the range, and few decimals say every bound."""
    low, high = _range(option)
    if math.isinf(low) or math.isinf(high) or max(abs(low), abs(high)) > 1e6:
        return False
    wide = low > 0 and math.log10(high / low) > WIDEST_SPAN
    return not wide and max(_decimals(x) for x in (low, high, option["default"])) <= MOST_DECIMALS


def _range(option: Mapping[str, Any]) -> tuple[float, float]:
    low, high = option.get("minimum"), option.get("maximum")
    return (-math.inf if low is None else low, math.inf if high is None else high)


def _decimals(value: float) -> int:
    """Digits behind the point that write a number exactly."""
    exponent = Decimal(repr(float(value))).normalize().as_tuple().exponent
    return max(0, -int(exponent))


def _step(low: float, high: float, decimals: int) -> float:
    """One, two or five of a power of ten, so that about twenty steps lead through the range."""
    if high <= low:
        return 10.0**-decimals
    wanted = (high - low) / 20
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(factor * power for factor in (5, 2, 1) if factor * power <= wanted * (1 + 1e-9))
    return max(round(step, 12), 10.0**-decimals)


def _lineEdit(option: Mapping[str, Any]) -> Any:
    """Return an empty line; of an automatic option it says so while it is empty."""
    line = qt.QLineEdit()
    line.placeholderText = automaticWord() if option.get("automatic") else ""
    return line


def _suffix(option: Mapping[str, Any]) -> str:
    return f" {option['unit']}" if option.get("unit") else ""
