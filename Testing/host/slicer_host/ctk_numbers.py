"""CTK's sliders and spin boxes for decimal numbers."""

from typing import Any

from PySide6.QtCore import Property, Qt, Signal, Slot
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSlider, QWidget

from slicer_host.stored import forwarded, stored

STEPS = 1000


def _orientation(given: tuple[Any, ...]) -> Qt.Orientation:
    return next((one for one in given if isinstance(one, Qt.Orientation)), Qt.Orientation.Horizontal)


def _parent(given: tuple[Any, ...]) -> QWidget | None:
    return next((one for one in given if isinstance(one, QWidget)), None)


class _Number(QWidget):
    """A value between a minimum and a maximum; subclasses show it."""

    def __init__(self, parent: QWidget | None, maximum: float) -> None:
        super().__init__(parent)
        self._minimum, self._maximum, self._value = 0.0, maximum, 0.0

    def _show(self) -> None:
        raise NotImplementedError

    def _announce(self) -> None:
        self.valueChanged.emit(self._value)

    def setValue(self, value: float) -> None:
        """Take a value, cut to the range."""
        value = min(max(float(value), self._minimum), self._maximum)
        if value != self._value:
            self._value = value
            self._show()
            self._announce()

    def setMinimum(self, value: float) -> None:
        """Move the lower bound; the upper one follows if it has to."""
        self._bound(value, max(value, self._maximum))

    def setMaximum(self, value: float) -> None:
        """Move the upper bound; the lower one follows if it has to."""
        self._bound(min(value, self._minimum), value)

    def _bound(self, minimum: float, maximum: float) -> None:
        self._minimum, self._maximum = float(minimum), float(maximum)
        self._show()
        self.setValue(self._value)
        self._show()


class ctkDoubleSlider(_Number):
    """A slider with decimals."""

    valueChanged = Signal(float)
    sliderMoved = Signal(float)
    sliderPressed = Signal()
    sliderReleased = Signal()
    rangeChanged = Signal(float, float)
    handleToolTip = stored(str, "handleToolTip", "")
    invertedAppearance = stored(bool, "invertedAppearance", False)
    invertedControls = stored(bool, "invertedControls", False)
    pageStep = stored(float, "pageStep", 10.0)
    singleStep = stored(float, "singleStep", 1.0)
    tickInterval = stored(float, "tickInterval", 0.0)
    tickPosition = stored(int, "tickPosition", 0)
    tracking = stored(bool, "tracking", True)
    orientation = forwarded(Qt.Orientation, "_slider", "orientation")

    def __init__(self, *given: Any) -> None:
        super().__init__(_parent(given), 99.0)
        self._slider = QSlider(_orientation(given))
        self._slider.setRange(0, STEPS)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        self._slider.valueChanged.connect(self._moved)
        self._slider.sliderPressed.connect(self.sliderPressed)
        self._slider.sliderReleased.connect(self.sliderReleased)

    def _show(self) -> None:
        span = self._maximum - self._minimum
        blocked = self._slider.blockSignals(True)
        self._slider.setValue(round((self._value - self._minimum) / span * STEPS) if span else 0)
        self._slider.blockSignals(blocked)

    def _moved(self, step: int) -> None:
        value = self._minimum + (self._maximum - self._minimum) * step / STEPS
        self._value = value
        self.sliderMoved.emit(value)
        self.valueChanged.emit(value)

    def _bound(self, minimum: float, maximum: float) -> None:
        super()._bound(minimum, maximum)
        self.rangeChanged.emit(self._minimum, self._maximum)

    setValue = Slot(float)(_Number.setValue)
    minimum = Property(float, lambda self: self._minimum, _Number.setMinimum)
    maximum = Property(float, lambda self: self._maximum, _Number.setMaximum)
    value = Property(float, lambda self: self._value, _Number.setValue)
    sliderPosition = Property(float, lambda self: self._value, _Number.setValue)

    @Slot(Qt.Orientation)
    def setOrientation(self, orientation: Qt.Orientation) -> None:
        """Turn it."""
        self._slider.setOrientation(orientation)


class ctkSliderWidget(_Number):
    """A slider with a spin box beside it."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)
    invertedAppearance = stored(bool, "invertedAppearance", False)
    invertedControls = stored(bool, "invertedControls", False)
    pageStep = stored(float, "pageStep", 10.0)
    popupSlider = stored(bool, "popupSlider", False)
    spinBoxAlignment = stored(int, "spinBoxAlignment", 2)
    synchronizeSiblings = stored(int, "synchronizeSiblings", 0)
    tickInterval = stored(float, "tickInterval", 0.0)
    tickPosition = stored(int, "tickPosition", 0)
    tracking = stored(bool, "tracking", True)
    decimals = Property(int, lambda self: self._spin.decimals(), lambda self, value: self.setDecimals(value))
    prefix = forwarded(str, "_spin", "prefix")
    suffix = forwarded(str, "_spin", "suffix")
    singleStep = forwarded(float, "_spin", "singleStep")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, 99.0)
        self._slider, self._spin = ctkDoubleSlider(), QDoubleSpinBox()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin)
        self._show()
        self._slider.valueChanged.connect(self._slid)
        self._spin.valueChanged.connect(self.setValue)

    def _slid(self, value: float) -> None:
        self.setValue(round(value, self._spin.decimals()))

    def _show(self) -> None:
        for part in (self._slider, self._spin):
            blocked = part.blockSignals(True)
            part.setMinimum(self._minimum)
            part.setMaximum(self._maximum)
            part.setValue(self._value)
            part.blockSignals(blocked)

    setValue = Slot(float)(_Number.setValue)
    minimum = Property(float, lambda self: self._minimum, _Number.setMinimum)
    maximum = Property(float, lambda self: self._maximum, _Number.setMaximum)
    value = Property(float, lambda self: self._value, _Number.setValue)

    @Slot(int)
    def setDecimals(self, count: int) -> None:
        """Show so many decimals."""
        if count != self._spin.decimals():
            self._spin.setDecimals(count)
            self._show()
            self.decimalsChanged.emit(count)

    @Slot(bool)
    def setSpinBoxVisible(self, shown: bool) -> None:
        """Show or hide the spin box."""
        self._spin.setVisible(shown)

    spinBoxVisible = Property(bool, lambda self: not self._spin.isHidden(), setSpinBoxVisible)

    @Slot()
    def reset(self) -> None:
        """Go back to the minimum or 0."""
        self.setValue(0.0)


class ctkDoubleSpinBox(QWidget):
    """A spin box with decimals."""

    valueChanged = Signal((float,), (str,))
    decimalsChanged = Signal(int)
    editingFinished = Signal()
    decimalsOption = stored(int, "decimalsOption", 0)
    invertedControls = stored(bool, "invertedControls", False)
    isSettingValue = stored(bool, "isSettingValue", False)
    setMode = stored(int, "setMode", 1)
    sizeHintPolicy = stored(int, "sizeHintPolicy", 0)
    alignment = forwarded(Qt.AlignmentFlag, "_spin", "alignment")
    decimals = forwarded(int, "_spin", "decimals")
    maximum = forwarded(float, "_spin", "maximum")
    minimum = forwarded(float, "_spin", "minimum")
    prefix = forwarded(str, "_spin", "prefix")
    suffix = forwarded(str, "_spin", "suffix")
    singleStep = forwarded(float, "_spin", "singleStep")
    value = forwarded(float, "_spin", "value")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._spin = QDoubleSpinBox()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._spin)
        self._spin.valueChanged.connect(self.valueChanged[float])
        self._spin.textChanged.connect(self.valueChanged[str])
        self._spin.editingFinished.connect(self.editingFinished)

    @Slot(float)
    def setValue(self, value: float) -> None:
        """Take a value, cut to the range."""
        self._spin.setValue(value)

    @Slot(int)
    def setDecimals(self, count: int) -> None:
        """Show so many decimals."""
        self._spin.setDecimals(count)
        self.decimalsChanged.emit(count)

    def _readOnly(self) -> bool:
        return self._spin.isReadOnly()

    @Slot(bool)
    def setReadOnly(self, value: bool) -> None:
        """Refuse typing."""
        self._spin.setReadOnly(value)

    readOnly = Property(bool, _readOnly, setReadOnly)


class _Range(QWidget):
    """Two values between two bounds, shown by two spin boxes."""

    def __init__(self, *given: Any) -> None:
        super().__init__(_parent(given))
        self._bounds, self._values = (0.0, 99.0), (0.0, 99.0)
        self._spins = (QDoubleSpinBox(), QDoubleSpinBox())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for index, spin in enumerate(self._spins):
            layout.addWidget(spin)
            spin.valueChanged.connect(lambda value, index=index: self._typed(index, value))
        self._show()

    def _typed(self, index: int, value: float) -> None:
        low, high = self._values
        self.setValues(*((value, max(value, high)) if index == 0 else (min(value, low), value)))

    def _show(self) -> None:
        for spin, value in zip(self._spins, self._values, strict=True):
            blocked = spin.blockSignals(True)
            spin.setRange(*self._bounds)
            spin.setValue(value)
            spin.blockSignals(blocked)

    def setValues(self, low: float, high: float) -> None:
        """Take both values, cut to the bounds."""
        least, most = self._bounds
        values = tuple(min(max(float(one), least), most) for one in sorted((low, high)))
        former, self._values = self._values, values
        self._show()
        if values[0] != former[0]:
            self.minimumValueChanged.emit(values[0])
        if values[1] != former[1]:
            self.maximumValueChanged.emit(values[1])
        if values != former:
            self.valuesChanged.emit(*values)

    def setRange(self, low: float, high: float) -> None:
        """Take both bounds."""
        self._bounds = (float(low), float(high))
        self.setValues(*self._values)
        self.rangeChanged.emit(*self._bounds)

    def _setMinimum(self, value: float) -> None:
        self.setRange(value, max(value, self._bounds[1]))

    def _setMaximum(self, value: float) -> None:
        self.setRange(min(value, self._bounds[0]), value)

    def setMinimumValue(self, value: float) -> None:
        """Take the lower value."""
        self.setValues(value, max(value, self._values[1]))

    def setMaximumValue(self, value: float) -> None:
        """Take the upper value."""
        self.setValues(min(value, self._values[0]), value)


class ctkRangeWidget(_Range):
    """A range with spin boxes."""

    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    minimumValueIsChanging = Signal(float)
    maximumValueIsChanging = Signal(float)
    valuesChanged = Signal(float, float)
    rangeChanged = Signal(float, float)
    autoSpinBoxWidth = stored(bool, "autoSpinBoxWidth", True)
    decimals = Property(
        int, lambda s: s._spins[0].decimals(), lambda s, v: [p.setDecimals(v) for p in s._spins] and None
    )
    prefix = stored(str, "prefix", "")
    suffix = stored(str, "suffix", "")
    singleStep = stored(float, "singleStep", 1.0)
    symmetricMoves = stored(bool, "symmetricMoves", False)
    tracking = stored(bool, "tracking", True)
    minimum = Property(float, lambda s: s._bounds[0], _Range._setMinimum)
    maximum = Property(float, lambda s: s._bounds[1], _Range._setMaximum)
    minimumValue = Property(float, lambda s: s._values[0], _Range.setMinimumValue)
    maximumValue = Property(float, lambda s: s._values[1], _Range.setMaximumValue)


class ctkDoubleRangeSlider(_Range):
    """A range without spin boxes in real life; the host draws it with them."""

    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    valuesChanged = Signal(float, float)
    rangeChanged = Signal(float, float)
    singleStep = stored(float, "singleStep", 1.0)
    symmetricMoves = stored(bool, "symmetricMoves", False)
    tracking = stored(bool, "tracking", True)
    minimum = Property(float, lambda s: s._bounds[0], _Range._setMinimum)
    maximum = Property(float, lambda s: s._bounds[1], _Range._setMaximum)
    minimumValue = Property(float, lambda s: s._values[0], _Range.setMinimumValue)
    maximumValue = Property(float, lambda s: s._values[1], _Range.setMaximumValue)
