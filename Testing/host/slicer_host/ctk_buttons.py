"""CTK's buttons and boxes that fold."""

from typing import Any

from PySide6.QtCore import Property, QRect, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from PySide6.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QFrame,
    QGroupBox,
    QPushButton,
    QStyle,
    QStyleOptionButton,
    QStyleOptionGroupBox,
    QStylePainter,
    QToolButton,
    QWidget,
)

from slicer_host.dialogs import QMessageBox
from slicer_host.stored import stored

MARGIN = 4


def showContents(box: QWidget, *, shown: bool) -> None:
    """Show or hide the direct children; those that were hidden before stay so."""
    hidden = box.__dict__.setdefault("_hiddenByFold", [])
    if not shown:
        fresh = [
            c for c in box.children() if isinstance(c, QWidget) and not c.isWindow() and not c.isHidden()
        ]
        hidden.extend(fresh)
        for child in fresh:
            child.hide()
    else:
        for child in hidden:
            child.setVisible(True)
        hidden.clear()


class ctkCollapsibleButton(QAbstractButton):
    """A titled section that folds; the user's layout is the button's own."""

    contentsCollapsed = Signal(bool)
    buttonTextAlignment = stored(int, "buttonTextAlignment", 0x84)
    collapsedHeight = stored(int, "collapsedHeight", 0)
    contentsFrameShadow = stored(int, "contentsFrameShadow", QFrame.Shadow.Raised.value)
    contentsFrameShape = stored(int, "contentsFrameShape", QFrame.Shape.NoFrame.value)
    contentsLineWidth = stored(int, "contentsLineWidth", 1)
    contentsMidLineWidth = stored(int, "contentsMidLineWidth", 0)
    flat = stored(bool, "flat", False)
    indicatorAlignment = stored(int, "indicatorAlignment", 0x81)

    def __init__(self, *given: Any) -> None:
        texts = [one for one in given if isinstance(one, str)]
        super().__init__(next((one for one in given if isinstance(one, QWidget)), None))
        self.setText(texts[0] if texts else "")
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self._header(), 0, 0)
        self.toggled.connect(self._fold)

    def _header(self) -> int:
        return self.fontMetrics().height() + 2 * MARGIN

    def _fold(self, opened: bool) -> None:
        showContents(self, shown=opened)
        self.updateGeometry()
        self.contentsCollapsed.emit(not opened)

    def _collapsed(self) -> bool:
        return not self.isChecked()

    def _setCollapsed(self, value: bool) -> None:
        self.setChecked(not value)

    collapsed = Property(bool, _collapsed, _setCollapsed)

    def sizeHint(self) -> QSize:
        """The header, and below it the content unless folded."""
        if self.isChecked() and self.layout() is not None:
            return self.layout().totalSizeHint().expandedTo(QSize(120, self._header()))
        return QSize(120, self._header() + self.collapsedHeight)

    def minimumSizeHint(self) -> QSize:
        """As little as the content needs."""
        if self.isChecked() and self.layout() is not None:
            return self.layout().totalMinimumSize()
        return QSize(0, self._header() + self.collapsedHeight)

    def hitButton(self, position: Any) -> bool:
        """Only the header is clicked."""
        return position.y() < self._header()

    def paintEvent(self, _event: Any) -> None:
        """Draw the header with its triangle."""
        painter, option = QPainter(self), QStyleOptionButton()
        option.initFrom(self)
        option.rect = QRect(0, 0, self.width(), self._header())
        style = self.style()
        style.drawPrimitive(QStyle.PrimitiveElement.PE_PanelButtonCommand, option, painter, self)
        arrow = QStyleOptionButton()
        arrow.initFrom(self)
        arrow.rect = QRect(
            MARGIN, MARGIN + 2, self._header() - 2 * MARGIN - 4, self._header() - 2 * MARGIN - 4
        )
        down, right = (
            QStyle.PrimitiveElement.PE_IndicatorArrowDown,
            QStyle.PrimitiveElement.PE_IndicatorArrowRight,
        )
        style.drawPrimitive(down if self.isChecked() else right, arrow, painter, self)
        painter.drawText(
            option.rect.adjusted(self._header(), 0, -MARGIN, 0),
            Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextShowMnemonic,
            self.text(),
        )


class ctkCollapsibleGroupBox(QGroupBox):
    """A group box that folds; an arrow stands where a check mark would be."""

    collapsedHeight = stored(int, "collapsedHeight", 14)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._fold)

    def paintEvent(self, _event: Any) -> None:
        """Draw the box with an arrow."""
        painter, option = QStylePainter(self), QStyleOptionGroupBox()
        self.initStyleOption(option)
        control, parts = QStyle.ComplexControl.CC_GroupBox, QStyle.SubControl
        arrow = QStyleOptionButton()
        arrow.initFrom(self)
        arrow.rect = self.style().subControlRect(control, option, parts.SC_GroupBoxCheckBox, self)
        place = self.style().subControlRect(control, option, parts.SC_GroupBoxLabel, self)
        # Without the check mark, the style would put the title where the arrow stands.
        option.subControls = parts.SC_GroupBoxFrame
        painter.drawComplexControl(control, option)
        painter.drawText(place.adjusted(2, 0, 40, 0), 0, self.title())
        down, right = (
            QStyle.PrimitiveElement.PE_IndicatorArrowDown,
            QStyle.PrimitiveElement.PE_IndicatorArrowRight,
        )
        painter.drawPrimitive(down if self.isChecked() else right, arrow)

    def _fold(self, opened: bool) -> None:
        showContents(self, shown=opened)
        self.setMaximumHeight(0xFFFFFF if opened else self.fontMetrics().height() + self.collapsedHeight)
        # A folded box stays usable: QGroupBox would only disable its children, which are hidden anyway.

    def _collapsed(self) -> bool:
        return not self.isChecked()

    def _setCollapsed(self, value: bool) -> None:
        self.setChecked(not value)

    collapsed = Property(bool, _collapsed, _setCollapsed)


class ctkPushButton(QPushButton):
    """A push button with alignments."""

    buttonTextAlignment = stored(int, "buttonTextAlignment", 0x84)
    elideMode = stored(int, "elideMode", 3)
    iconAlignment = stored(int, "iconAlignment", 0x81)


class ctkCheckablePushButton(ctkPushButton):
    """A push button with a check box in it."""

    checkBoxToggled = Signal(bool)
    checkStateChanged = Signal(int)
    checkBoxControlsButton = stored(bool, "checkBoxControlsButton", True)
    checkBoxControlsButtonToggleState = stored(bool, "checkBoxControlsButtonToggleState", True)
    checkBoxUserCheckable = stored(bool, "checkBoxUserCheckable", True)
    checkState = stored(int, "checkState", 0)
    indicatorAlignment = stored(int, "indicatorAlignment", 0x81)


class ctkCheckBox(QCheckBox):
    """A check box with an icon."""

    indicatorIcon = stored(QIcon, "indicatorIcon", QIcon())
    indicatorIconSize = stored(QSize, "indicatorIconSize", QSize(0, 0))


class ctkMenuButton(QPushButton):
    """A push button whose right end opens a menu."""


class ctkExpandButton(QToolButton):
    """A small button with two arrow heads."""

    mirrorOnExpand = stored(bool, "mirrorOnExpand", False)
    orientation = stored(int, "orientation", 1)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self.setText("»")


class ctkColorPickerButton(QPushButton):
    """A button that shows a colour; no dialog in the host."""

    colorChanged = Signal(QColor)
    colorNameChanged = Signal(str)
    colorName = stored(str, "colorName", "")
    dialogOptions = stored(int, "dialogOptions", 0)
    displayColorName = stored(bool, "displayColorName", True)

    def __init__(self, *given: Any) -> None:
        super().__init__(*[one for one in given if not isinstance(one, QColor)])
        self._color = next((one for one in given if isinstance(one, QColor)), QColor(0, 0, 0))
        self._show()

    def _show(self) -> None:
        pixmap = QPixmap(16, 16)
        pixmap.fill(self._color)
        self.setIcon(QIcon(pixmap))
        if self.displayColorName:
            self.setText(self._color.name())

    def _get(self) -> QColor:
        return self._color

    @Slot(QColor)
    def setColor(self, color: QColor) -> None:
        """Show a colour."""
        if color != self._color:
            self._color = QColor(color)
            self._show()
            self.colorChanged.emit(self._color)

    color = Property(QColor, _get, setColor)


class ctkMessageBox(QMessageBox):
    """A message box that may be told not to come again."""

    dontShowAgain = stored(bool, "dontShowAgain", False)
    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")
    dontShowAgainVisible = stored(bool, "dontShowAgainVisible", False)
