"""What this computer has and lacks: one line when all is well, else a table with a button for each gap."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from CRGLoCoSegmentLib.panels.log_view import followingEnd
from CRGLoCoSegmentLib.panels.panel import Panel, breakable

if TYPE_CHECKING:
    from CRGLoCoSegmentLib.logic.environment_rows import Row


class EnvironmentPanel(Panel):
    """Shows the environment and installs what is missing, when asked and never by itself."""

    name = "environment"

    def __init__(self, logic: Any, resources: Path) -> None:
        super().__init__(logic, resources)
        self._environment = logic.environment
        self._lines: dict[str, _Line] = {}
        self._wasChecked = False
        installation = self._environment.installation
        self.ui.wheelFolderPathLineEdit.currentPath = str(installation.wheelFolder or "")
        self.ui.logPlainTextEdit.plainText = "\n".join(installation.lines)
        installation.onLine = self._onLine
        self.ui.checkButton.connect("clicked(bool)", self._onCheck)
        self.ui.detailsGroupBox.connect("toggled(bool)", self._onDetails)
        self.ui.wheelFolderPathLineEdit.connect("currentPathChanged(QString)", self._onWheelFolder)
        self.ui.wheelFolderPathLineEdit.connect("validInputChanged(bool)", self._onWheelFolderIsPath)

    def enter(self) -> None:
        """Look at the slow things too, once; later visits look at the quick ones."""
        if self._wasChecked:
            self._environment.checkQuickly()
        else:
            self._wasChecked = True
            self._environment.check()

    def refresh(self, what: str) -> None:
        """Show the present state."""
        if what not in ("parameters", "environment"):
            return
        rows = self._environment.rows()
        installation = self._environment.installation
        self.ui.summaryLabel.text = self._environment.summary()
        for row in rows:
            self._line(row).show(row, enabled=not installation.isRunning())
        allWell = all(row.state in ("ok", "unknown") for row in rows)
        isTableShown = not allWell or not self.ui.detailsGroupBox.collapsed
        self.ui.rowsFrame.visible = self.ui.checkButton.visible = isTableShown
        self.ui.installationLabel.text = breakable(_endOrPatience(installation))
        self.ui.installationLabel.visible = bool(self.ui.installationLabel.text)
        self.ui.checkButton.enabled = not self._environment.isLooking() and not installation.isRunning()

    def cleanup(self) -> None:
        """Hear no more lines of pip."""
        self._environment.installation.onLine = None
        super().cleanup()

    def _line(self, row: "Row") -> "_Line":
        if row.name not in self._lines:
            self._lines[row.name] = _Line(self.ui.rowsFrame.layout(), len(self._lines), self._onAction)
        return self._lines[row.name]

    def _onAction(self, action: str) -> None:
        if self._isAgreed(action):
            self._environment.act(action)

    def _isAgreed(self, action: str) -> bool:
        """Ask, unless the PyTorch extension or Slicer will; nothing happens without a yes."""
        installation = self._environment.installation
        what = {"installTorch": "torch", "installPackages": "packages"}.get(action)
        question, details = "", {}
        if action == "restart":  # without details: for these, empty or not, Slicer pads the title with blanks
            question = _("Restart Slicer now? What is not saved is lost.")
        elif what is not None:
            question = installation.plan(what)
            details = {"detailedText": "\n".join(installation.contents(what))}
        if not question:
            return True
        title = _("CRG LoCo Segment")
        # In testing mode Slicer answers this question with yes.
        agreed = slicer.util.confirmOkCancelDisplay(question, title, **details)
        return agreed and not slicer.app.testingEnabled()

    def _onCheck(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002  (a Qt signal)
        self._environment.check()

    def _onDetails(self, _expanded: bool = False) -> None:  # noqa: FBT001, FBT002  (a Qt signal)
        self.refresh("environment")

    def _onWheelFolder(self, path: str) -> None:
        self._environment.installation.wheelFolder = Path(path) if path.strip() else None
        self._environment.checkQuickly()

    def _onWheelFolderIsPath(self, isPath: bool) -> None:  # noqa: FBT001  (a Qt signal)
        if not isPath:  # an emptied edit does not tell its path
            self._onWheelFolder("")

    def _onLine(self, line: str) -> None:
        with followingEnd(self.ui.logPlainTextEdit):
            self.ui.logPlainTextEdit.appendPlainText(line)


class _Line:
    """One row of the table: state, title, what was found, and perhaps a button."""

    def __init__(self, grid: Any, number: int, onAction: Any) -> None:
        self._onAction = onAction
        self._action = ""
        self._state, self._title, self._text = qt.QLabel(), qt.QLabel(), qt.QLabel()
        self._button = qt.QPushButton()
        self._text.wordWrap = True
        self._button.connect("clicked(bool)", self._clicked)
        for column, label in enumerate((self._state, self._title, self._text)):
            label.alignment = qt.Qt.AlignLeft | qt.Qt.AlignTop
            grid.addWidget(label, 2 * number, column)
        # Below the text, not beside it: Slicer's module panel is narrow.
        grid.addWidget(self._button, 2 * number + 1, 2)

    def show(self, row: "Row", *, enabled: bool) -> None:
        """Show what was found."""
        self._action = row.action
        self._state.text = _stateWords()[row.state]
        self._title.text, self._text.text = row.title, breakable(row.text)
        self._button.objectName = f"{row.name}Button"
        self._button.text, self._button.toolTip = row.actionText, row.text
        self._button.visible = bool(row.action)
        self._button.enabled = enabled

    def _clicked(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002  (a Qt signal)
        self._onAction(self._action)


def _stateWords() -> dict[str, str]:
    return {
        "ok": _("ok"),
        "warning": "<b>" + _("note") + "</b>",
        "missing": "<b>" + _("missing") + "</b>",
        "unknown": "...",
    }


def _endOrPatience(installation: Any) -> str:
    if installation.isRunning():
        return _("Installing; the log is under Details. torch takes some minutes.")
    return installation.message
