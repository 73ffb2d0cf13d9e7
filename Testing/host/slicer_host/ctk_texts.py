"""CTK's widgets with text, lists, and those that only hold space."""

from PySide6.QtCore import Property, QSize, Qt, Signal, Slot
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QComboBox, QFrame, QLineEdit, QSizePolicy, QTextBrowser, QWidget

from slicer_host.stored import stored


class ctkFittedTextBrowser(QTextBrowser):
    """A text browser as high as its text."""

    disableMouseScroll = stored(bool, "disableMouseScroll", False)
    hideDetailsText = stored(str, "hideDetailsText", "")
    showDetailsText = stored(str, "showDetailsText", "")
    collapsed = stored(bool, "collapsed", True)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.textChanged.connect(self.updateGeometry)

    def heightForWidth(self, width: int) -> int:
        """The height that the text needs in a width."""
        self.document().setTextWidth(width - 2 * self.frameWidth())
        return int(self.document().size().height()) + 2 * self.frameWidth()

    def sizeHint(self) -> QSize:
        """As wide as ever, as high as the text."""
        return QSize(200, self.heightForWidth(self.width()))

    def minimumSizeHint(self) -> QSize:
        """One line."""
        return QSize(100, self.fontMetrics().height() + 10)

    def collapsibleText(self) -> str:
        """The whole text."""
        return self.__dict__.get("_whole", "")

    @Slot(str)
    def setCollapsibleText(self, text: str) -> None:
        """Show a text; the host never folds it."""
        self._whole = text
        self.setText(text)

    setCollapsiblePlainText = setCollapsibleHtml = setCollapsibleText


class ctkComboBox(QComboBox):
    """A combo box with a text for "nothing chosen"."""

    returnRelease = Signal()
    defaultIcon = stored(QIcon, "defaultIcon", QIcon())
    defaultText = stored(str, "defaultText", "")
    elideMode = stored(int, "elideMode", 3)
    forceDefault = stored(bool, "forceDefault", False)
    scrollWheelEffect = stored(int, "scrollWheelEffect", 1)

    def _data(self) -> str:
        return str(self.currentData() or "")

    @Slot(str)
    def setCurrentUserDataAsString(self, data: str) -> None:
        """Choose by the item's data."""
        self.setCurrentIndex(self.findData(data))

    currentUserDataAsString = Property(str, _data, setCurrentUserDataAsString)


class ctkCheckableComboBox(QComboBox):
    """A combo box whose items have check marks."""

    checkedIndexesChanged = Signal()
    returnRelease = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model().itemChanged.connect(lambda _item: self.checkedIndexesChanged.emit())

    def checkedIndexes(self) -> list:
        """Model indexes of the checked items."""
        items = [self.model().item(row) for row in range(self.count())]
        return [item.index() for item in items if item.checkState() == Qt.CheckState.Checked]

    def checkState(self, index: object) -> Qt.CheckState:
        """The mark of an item."""
        return self.model().itemFromIndex(index).checkState()

    def setCheckState(self, index: object, state: Qt.CheckState) -> None:
        """Set or remove an item's mark."""
        item = self.model().itemFromIndex(index)
        item.setCheckable(True)
        item.setCheckState(state)

    def allChecked(self) -> bool:
        """Whether every item is checked."""
        return len(self.checkedIndexes()) == self.count()

    def noneChecked(self) -> bool:
        """Whether no item is checked."""
        return not self.checkedIndexes()


class ctkSearchBox(QLineEdit):
    """A line edit with a magnifying glass."""

    clearIcon = stored(QIcon, "clearIcon", QIcon())
    searchIcon = stored(QIcon, "searchIcon", QIcon())
    showSearchIcon = stored(bool, "showSearchIcon", False)


class ctkDynamicSpacer(QWidget):
    """Space with two size policies."""

    activeSizePolicy = stored(QSizePolicy, "activeSizePolicy", QSizePolicy())
    inactiveSizePolicy = stored(QSizePolicy, "inactiveSizePolicy", QSizePolicy())
    active = stored(bool, "active", False)


class ctkExpandableWidget(QFrame):
    """A frame that the user can make higher."""

    orientations = stored(int, "orientations", 3)
    sizeGripInside = stored(bool, "sizeGripInside", True)
    sizeGripMargins = stored(QSize, "sizeGripMargins", QSize())
