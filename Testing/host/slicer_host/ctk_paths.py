"""CTK's widgets for files and folders."""

from typing import Any

from PySide6.QtCore import Property, QDir, QSettings, Signal, Slot
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QStyle, QToolButton, QWidget

from slicer_host.dialogs import QFileDialog
from slicer_host.stored import stored

DIRECTORIES = QDir.Filter.Dirs.value
FILES = QDir.Filter.Files.value


class ctkPathLineEdit(QWidget):
    """A path to type, to choose from the former ones or from a dialog."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    Dirs, Files, Drives, NoDot, NoDotDot = (
        QDir.Filter[n].value for n in ("Dirs", "Files", "Drives", "NoDot", "NoDotDot")
    )
    NoDotAndDotDot, AllDirs, AllEntries = (
        QDir.Filter[n].value for n in ("NoDotAndDotDot", "AllDirs", "AllEntries")
    )
    Readable, Writable, Executable, Hidden = (
        QDir.Filter[n].value for n in ("Readable", "Writable", "Executable", "Hidden")
    )
    filters = stored(int, "filters", DIRECTORIES | FILES)
    label = stored(str, "label", "")
    nameFilters = stored("QStringList", "nameFilters", [])
    options = stored(int, "options", 0)
    settingKey = stored(str, "settingKey", "")
    minimumContentsLength = stored(int, "minimumContentsLength", 0)
    sizeAdjustPolicy = stored(int, "sizeAdjustPolicy", 0)

    def __init__(self, *given: Any) -> None:
        super().__init__(next((one for one in given if isinstance(one, QWidget)), None))
        self._combo = QComboBox()
        self._combo.setEditable(True)
        self._combo.setMinimumContentsLength(8)
        self._button = QToolButton()
        self._button.setIcon(self.style().standardIcon(QStyle.StandardPixmap.SP_DialogOpenButton))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._combo, 1)
        layout.addWidget(self._button)
        self._valid = False
        self._combo.editTextChanged.connect(self._changed)
        self._button.clicked.connect(self.browse)

    def _changed(self, text: str) -> None:
        """As CTK does: what is no path at all, such as an emptied edit, is not told as one."""
        valid = bool(text)
        if valid:
            self.currentPathChanged.emit(text)
        if valid != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)

    def comboBox(self) -> QComboBox:
        """The box that holds the text."""
        return self._combo

    @Slot(str)
    def setCurrentPath(self, path: str) -> None:
        """Show a path."""
        self._combo.setEditText(path)

    def _currentPath(self) -> str:
        return self._combo.currentText()

    currentPath = Property(str, _currentPath, setCurrentPath)

    @Slot()
    def browse(self) -> None:
        """Ask for a path: a folder if only folders are wanted."""
        if self.filters & FILES:
            chosen = QFileDialog.getOpenFileName(self, self.label or "Select a file to open", "", "")
        else:
            chosen = QFileDialog.getExistingDirectory(self, self.label or "Select a folder", "")
        if chosen:
            self.setCurrentPath(chosen)

    @Slot()
    def addCurrentPathToHistory(self) -> None:
        """Keep the path among the former ones, and in the settings if there is a key."""
        path = self._currentPath()
        if self.settingKey and path:
            settings = QSettings()
            former = settings.value(self.settingKey) or []
            former = [former] if isinstance(former, str) else list(former)
            settings.setValue(self.settingKey, [path, *(one for one in former if one != path)][:10])
        if path and self._combo.findText(path) < 0:
            self._combo.insertItem(0, path)
            self._combo.setEditText(path)

    @Slot()
    def retrieveHistory(self) -> None:
        """Fill in the former paths."""
        former = QSettings().value(self.settingKey) or [] if self.settingKey else []
        blocked = self._combo.blockSignals(True)
        for path in [former] if isinstance(former, str) else former:
            self._combo.addItem(path)
        self._combo.blockSignals(blocked)

    def _showBrowseButton(self) -> bool:
        return not self._button.isHidden()

    def _setShowBrowseButton(self, shown: bool) -> None:
        self._button.setVisible(shown)

    showBrowseButton = Property(bool, _showBrowseButton, _setShowBrowseButton)
    showHistoryButton = stored(bool, "showHistoryButton", True)


class ctkDirectoryButton(QWidget):
    """A button that shows a folder and asks for another one."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)
    acceptMode = stored(int, "acceptMode", 0)
    caption = stored(str, "caption", "")
    elideMode = stored(int, "elideMode", 3)
    options = stored(int, "options", 1)

    def __init__(self, *given: Any) -> None:
        super().__init__(next((one for one in given if isinstance(one, QWidget)), None))
        self._button = QPushButton()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        self._directory, self._text = QDir.currentPath(), ""
        self._button.clicked.connect(self.browse)
        self._button.setText(self._directory)

    def _get(self) -> str:
        return self._directory

    def _set(self, path: str) -> None:
        if path != self._directory:
            self._directory = path
            self._button.setText(self._text or path)
            self.directoryChanged.emit(path)

    directory = Property(str, _get, _set)

    def _getText(self) -> str:
        return self._text

    def _setText(self, text: str) -> None:
        self._text = text
        self._button.setText(text or self._directory)

    text = Property(str, _getText, _setText)
    icon = Property(QIcon, lambda self: self._button.icon(), lambda self, icon: self._button.setIcon(icon))

    @Slot()
    def browse(self) -> None:
        """Ask for a folder."""
        chosen = QFileDialog.getExistingDirectory(self, self.caption, self._directory)
        if chosen:
            self._set(chosen)
            self.directorySelected.emit(chosen)
