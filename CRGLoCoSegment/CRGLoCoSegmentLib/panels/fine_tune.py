"""The section that fine-tunes: check the cases, start, stop, resume, and look at the outcome."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from crgloco.errors import CRGLoCoError
from CRGLoCoSegmentLib.logic.cases_check import ERROR, CasesCheck
from CRGLoCoSegmentLib.logic.task import Task
from CRGLoCoSegmentLib.logic.training_job import TrainingJob
from CRGLoCoSegmentLib.logic.training_request import TrainingRequest
from CRGLoCoSegmentLib.panels.panel import Panel, breakable
from CRGLoCoSegmentLib.panels.training_monitor import TrainingMonitor, stretchColumn
from CRGLoCoSegmentLib.panels.training_setup import TrainingSetup

log = logging.getLogger("CRGLoCoSegment")
# Stop becomes End at once under the pointer: a second click that comes this soon was meant for the first.
DOUBLE_CLICK_S = 1.0


class FineTunePanel(Panel):
    """Trains in the background; arguments as of ``Panel``.

    Attributes:
        setup: The choices.
        monitor: The trainings.
    """

    name = "fineTune"

    def __init__(self, logic: Any, resources: Path) -> None:
        super().__init__(logic, resources)
        self._check: Task | None = None
        self._checked: tuple[Any, CasesCheck] | None = None
        self._wanted: TrainingRequest | None = None
        self._stopAsked = 0.0
        self.setup = TrainingSetup(logic, self.ui)
        self.monitor = TrainingMonitor(logic, self.ui)
        self.ui.findingsTable.visible = self.ui.checkLabel.visible = False
        stretchColumn(self.ui.findingsTable, 2)
        # Not once when it is filled: then it has no width yet, and the user may change it later.
        self.ui.findingsTable.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        for name in ("check", "start", "stop", "resume"):
            button = getattr(self.ui, f"{name}Button")
            button.connect("clicked(bool)", getattr(self, f"_on{name.capitalize()}"))
        self._say("")
        logic.training.jobs()
        self._show()

    def enter(self) -> None:
        """The user looks at the module: another Slicer may have trained meanwhile."""
        self.logic.training.jobs()
        self.setup.proposeTitle()
        self._show()

    def refresh(self, what: str) -> None:
        """Show the present state."""
        if what == "models":
            self.setup.showModels()
        if what == "environment":
            self.setup.showDevices()
        if what == "cases":
            self._checked = None
            self.setup.showCasesFolder()
        if what in ("models", "training"):
            self._show()

    def cleanup(self) -> None:
        """Leave no request behind; trainings are ended by the logic."""
        self.setup.cleanup()
        if self._check is not None:
            self._check.cancel()
        super().cleanup()

    # ---------------------------------------------------------------------------------------- the check

    def _onCheck(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002  (a Qt signal)
        if self._check is not None:
            self._check.cancel()
            return
        request = self._tried(self.setup.request)
        if request is not None:
            self._wanted = None
            self._beginCheck(request)

    def _beginCheck(self, request: TrainingRequest) -> None:
        self._say("")
        self.ui.checkLabel.visible = True
        self.ui.checkLabel.text = _("Reading the cases...")
        self.ui.findingsTable.visible = False
        self._checked = None
        try:
            task = self.logic.training.check(
                request.casesFolder,
                request.unlabelledFolders,
                request.startModel,
                method=request.method,
                usesUnlabelled=request.usesUnlabelled,
                pretraining=request.isPretraining,
                onProgress=self._checkProgress,
                onFinished=lambda check: self._checkEnded(request, check),
                onFailed=self._checkFailed,
            )
        except CRGLoCoError as error:
            self._checkFailed(str(error), "")
            return
        if task.isRunning():
            self._check = task
        self._show()

    def _checkProgress(self, _text: str, done: float, total: float, _left: float | None) -> None:
        self.ui.checkLabel.text = _("Reading the cases: {done:.0f} of {total:.0f}").format(
            done=done, total=total
        )

    def _checkEnded(self, request: TrainingRequest, check: CasesCheck) -> None:
        wanted, self._wanted, self._check = self._wanted, None, None
        self._checked = (_inputs(request), check)
        self.setup.counted(check)
        self._showFindings(check)
        if wanted is not None:
            self._startChecked(wanted, check)
        self._show()

    def _checkFailed(self, message: str, details: str) -> None:
        self._check = self._wanted = None
        self.ui.checkLabel.text = breakable(message)
        if details:
            log.error("the check of the cases failed: %s\n%s", message, details)
        self._show()

    def _showFindings(self, check: CasesCheck) -> None:
        self.ui.checkLabel.text = check.summary()
        table = self.ui.findingsTable
        table.visible = bool(check.findings)
        table.rowCount = len(check.findings)
        for number, finding in enumerate(check.findings):
            severity = _("Error") if finding.severity == ERROR else _("Warning")
            for column, text in enumerate((severity, finding.case, finding.text)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                table.setItem(number, column, item)

    # ------------------------------------------------------------------------------------- the training

    def _onStart(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002  (a Qt signal)
        if missing := self.whatIsMissing():
            self._say(missing)
            return
        request = self._tried(self.setup.request)
        # Before all cases are read: that may take minutes.
        if request is None or self._tried(lambda: self.logic.training.assertStartable(request)) is None:
            return
        if self._checked is not None and self._checked[0] == _inputs(request):
            self._startChecked(request, self._checked[1])
        else:
            self._wanted = request
            self._beginCheck(request)

    def _startChecked(self, request: TrainingRequest, check: CasesCheck) -> None:
        if check.hasErrors:
            self._say(_("The training was not started: mend the errors in the table of the cases first."))
            return
        job = self._tried(lambda: self.logic.training.start(request))
        if job is None:
            return
        self.setup.started()
        self.setup.proposeTitle()
        self.monitor.select(job)
        self._show()

    def _onStop(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002  (a Qt signal)
        job = self.monitor.job
        if self._check is not None:
            self._check.cancel()
        elif job is not None and not (job.isStopping and time.monotonic() - self._stopAsked < DOUBLE_CLICK_S):
            self._stopAsked = time.monotonic()
            self._tried(lambda: self.logic.training.stop(job))

    def _onResume(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002  (a Qt signal)
        job = self.monitor.job
        if job is not None:
            keepRunning = bool(self.ui.keepRunningCheckBox.checked)
            self._tried(lambda: self.logic.training.resume(job, keepRunning=keepRunning))

    def _tried(self, action: Callable[[], Any]) -> Any:
        """Return what an action gives; ``None`` where it cannot be done, and the panel says why."""
        self._say("")
        try:
            return action()
        except CRGLoCoError as error:
            self._say(str(error))
            return None

    def _show(self) -> None:
        """Show what can be done now."""
        self.monitor.show()
        job, ui = self.monitor.job, self.ui
        running = [each for each in self.logic.training.known() if each.runsHere]
        checking = self._check is not None
        ui.checkButton.text = _("Cancel the check") if checking else _("Check the cases")
        ui.startButton.enabled = not running and not checking
        ui.startButton.toolTip = _startTip(running)
        ui.stopButton.enabled = checking or (job is not None and job.state == "running")
        ui.stopButton.text = _("End at once") if job is not None and job.isStopping else _("Stop")
        ui.resumeButton.enabled = job is not None and job.canResume and not running

    def _say(self, text: str) -> None:
        self.ui.messageLabel.text = breakable(text)
        self.ui.messageLabel.visible = bool(text)


def _inputs(request: TrainingRequest) -> tuple[Any, ...]:
    """What a check has looked at: with other inputs its answer is worth nothing."""
    return (
        request.casesFolder, request.unlabelledFolders, request.startModel, request.usesUnlabelled,
        request.isPretraining, request.method,
    )  # fmt: skip


def _startTip(running: list[TrainingJob]) -> str:
    if running:
        return _("{title} is being trained. Wait for it, or stop it first.").format(title=running[0].title)
    return _("Check the cases if that was not done, then train in the background. Slicer stays usable.")
