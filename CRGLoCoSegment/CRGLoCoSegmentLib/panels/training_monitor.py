"""The trainings on this computer, and one of them in detail: progress, curve, log, old and new model."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from CRGLoCoSegmentLib.logic.model_text import plainName
from CRGLoCoSegmentLib.logic.result_text import secondsText
from CRGLoCoSegmentLib.logic.training_job import TrainingJob
from CRGLoCoSegmentLib.logic.training_record import ComparisonRow
from CRGLoCoSegmentLib.panels.learning_curve import LearningCurve
from CRGLoCoSegmentLib.panels.log_view import followingEnd
from CRGLoCoSegmentLib.panels.panel import breakable

BAR = 1000
# A loss of so much Dice is told in words.
NOTICED = 0.02


class TrainingMonitor:
    """Shows what the logic knows about trainings; changes nothing but which one is current.

    Args:
        logic: ``SegmentLogic``.
        ui: The panel's widgets.
    """

    def __init__(self, logic: Any, ui: Any) -> None:
        self._logic, self._ui = logic, ui
        self._path: Path | None = None
        self._listed: list[tuple[Any, ...]] = []
        self._filling = False
        self._told: tuple[Path | None, list[str]] = (None, [])
        self.curve = LearningCurve()
        ui.curveFrame.layout().addWidget(self.curve)
        stretchColumn(ui.jobsTable, 0)
        stretchColumn(ui.comparisonTable, 0)
        ui.jobsTable.connect("itemSelectionChanged()", self._selected)
        ui.useNewButton.connect("clicked(bool)", self._useNew)
        ui.keepOldButton.connect("clicked(bool)", self._keepOld)

    @property
    def job(self) -> TrainingJob | None:
        """The training that is shown."""
        return next((job for job in self._logic.training.known() if job.path == self._path), None)

    def select(self, job: TrainingJob) -> None:
        """Show this training from now on."""
        self._path = job.path
        self._logic.training.follow(job)
        self.show()

    def show(self) -> None:
        """Show the present state of the list and of the training that is shown."""
        jobs = self._logic.training.known()
        if self.job is None and jobs:
            newest = next((job for job in jobs if job.state == "running"), jobs[0])
            self._path = newest.path
            self._logic.training.follow(newest)
        self._showList(jobs)
        job = self.job
        self._ui.progressBox.visible = self._ui.jobsBox.visible = job is not None
        self._ui.comparisonBox.visible = job is not None and job.state == "finished"
        if job is not None:
            self._showProgress(job)
            self._showCurve(job)
            self._showLog(job)
            self._showComparison(job)

    # ----------------------------------------------------------------------------------------- the list

    def _showList(self, jobs: Sequence[TrainingJob]) -> None:
        rows = [(job.path, job.title, stateText(job), _updates(job), _day(job.createdAt)) for job in jobs]
        if rows != self._listed:
            self._listed = rows
            self._filling = True
            _fill(self._ui.jobsTable, [row[1:] for row in rows])
            self._filling = False
        row = next((number for number, job in enumerate(jobs) if job.path == self._path), -1)
        if row >= 0 and self._ui.jobsTable.currentRow() != row:
            self._filling = True
            self._ui.jobsTable.selectRow(row)
            self._filling = False

    def _selected(self) -> None:
        row, jobs = self._ui.jobsTable.currentRow(), self._logic.training.known()
        if not self._filling and 0 <= row < len(jobs) and jobs[row].path != self._path:
            self.select(jobs[row])

    # ---------------------------------------------------------------------------------- one in detail

    def _showProgress(self, job: TrainingJob) -> None:
        record, running = job.record, job.state == "running"
        self._ui.statusLabel.text = breakable(statusText(job))
        bar = self._ui.progressBar
        bar.visible = running or record.updatesTotal > 0
        bar.maximum = BAR
        done, total = (record.done, record.total) if running else (record.updates, record.updatesTotal)
        bar.value = BAR if job.state == "finished" else int(BAR * done / total) if total else 0

    def _showCurve(self, job: TrainingJob) -> None:
        losses = [(step, parts["total"]) for step, parts in job.record.losses]
        self.curve.setPoints(losses, job.record.scores, job.record.updatesTotal)

    def _showLog(self, job: TrainingJob) -> None:
        """Add what is new."""
        lines = list(job.record.messages)
        if job.state == "failed":
            lines += [line for line in (job.reason, job.details) if line and line not in lines]
        path, told = self._told
        if (path, told) == (job.path, lines):
            return
        edit = self._ui.logEdit
        with followingEnd(edit):
            if path == job.path and lines[: len(told)] == told:
                for line in lines[len(told) :]:
                    edit.appendPlainText(line)
            else:
                edit.plainText = "\n".join(lines)
        self._told = (job.path, lines)

    def _showComparison(self, job: TrainingJob) -> None:
        rows = job.rows() if job.state == "finished" else []
        usesNew = self._logic.training.usesNew(job)
        hasOld = job.job is not None and job.job.start is not None
        favoured = job.madeFromStart() if rows else []
        self._ui.comparisonLabel.text = (
            pretrainedText(job) if job.isPretraining else comparisonText(rows, favoured, usesNew=usesNew)
        )
        self._ui.comparisonTable.visible = bool(rows)
        _fill(self._ui.comparisonTable, [_comparisonRow(row) for row in rows])
        self._ui.useNewButton.enabled = job.hasModel and not usesNew and not job.isPretraining
        self._ui.keepOldButton.enabled = job.hasModel and hasOld and usesNew

    def _useNew(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002  (a Qt signal)
        if self.job is not None:
            self._logic.training.useNew(self.job)

    def _keepOld(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002  (a Qt signal)
        if self.job is not None:
            self._logic.training.keepOld(self.job)


def stateText(job: TrainingJob) -> str:
    """Return a training's state in one or two words."""
    if job.isStopping:
        return _("stopping")
    texts = {
        "new": _("not begun"),
        "running": _("running"),
        "stopped": _("stopped"),
        "finished": _("finished"),
        "failed": _("failed"),
    }
    return texts.get(job.state, job.state)


def statusText(job: TrainingJob) -> str:
    """Say what a training is doing, or how it ended."""
    if job.hasModel:
        return _("{title} is ready.").format(title=job.title)
    if job.state == "finished" and job.job is not None:
        text = _("{title} was trained, but its model is not in {folder} any more.")
        return text.format(title=job.title, folder=job.job.out)
    if job.state != "running":
        return job.reason or _("{title} was not begun.").format(title=job.title)
    return " ".join(part for part in (job.reason, _runningText(job)) if part)


def _runningText(job: TrainingJob) -> str:
    record = job.record
    if job.isStopping:
        return _("Stopping at the next step; the state is kept. End at once returns to the last checkpoint.")
    if not record.stage:
        return _("Starting")
    if record.stage == "training":
        text = _("Update {done:.0f} of {total:.0f}")
        if record.secondsLeft is not None:
            text = _("Update {done:.0f} of {total:.0f}, about {left} left")
    else:
        text = _("{stage}: {done:.0f} of {total:.0f}")
    stages = {
        "checking validation": _("Checking the validation cases"),
        "headers": _("Looking at the unlabelled scans"),
        "intensities": _("Measuring the intensities"),
        "preparing": _("Preparing the scans"),
        "pseudo-labels": _("Labelling the unlabelled scans"),
        "validation": _("Measuring on the validation cases"),
    }
    return text.format(
        stage=stages.get(record.stage, record.stage), done=record.done, total=record.total,
        left=secondsText(record.secondsLeft or 0),
    )  # fmt: skip


def pretrainedText(job: TrainingJob) -> str:
    """Say what a model that was pre-trained is good for."""
    text = _(
        "{title} cannot segment by itself. Choose it as the start model of a fine-tuning on labelled cases."
    )
    return text.format(title=job.title)


def comparisonText(rows: Sequence[ComparisonRow], favoured: Sequence[str] = (), *, usesNew: bool) -> str:
    """Say what the table shows, and which model is in use.

    Args:
        rows: Of the table.
        favoured: Validation cases whose labels began as the old model's answers.
        usesNew: Whether the new model is in use.
    """
    use = _("The new model is in use.") if usesNew else _("The new model is not in use yet.")
    if not rows:
        return _("There were no validation cases, so the models cannot be compared. {use}").format(use=use)
    if rows[0].old is None:
        text = _("Dice overlap (0 to 1) on the validation cases. {use}")
    else:
        text = _("Dice overlap (0 to 1) on the validation cases, which the new model never trained on. {use}")
    texts = [text.format(use=use), *_losses(rows)]
    if favoured:
        warning = _(
            "The labels of {names} were made by correcting the old model's own answers: there, the old model "
            "looks better than it is."
        )
        texts.append(warning.format(names=", ".join(favoured[:5])))
    return " ".join(texts)


def _losses(rows: Sequence[ComparisonRow]) -> list[str]:
    """Name the structures that the new model finds worse, so that nobody has to read the table for it."""
    lost = [row for row in rows if row.difference is not None and row.difference <= -NOTICED]
    names = [f"{plainName(row.label)} ({row.difference:+.2f})" for row in lost if row.label]
    texts = [_("Worse than before: {list}.").format(list=", ".join(names))] if names else []
    if any(not row.label for row in lost):
        texts.append(_("On the whole the old model is better."))
    return texts


def stretchColumn(table: Any, widest: int) -> None:
    """Give one column what the others, as wide as their texts, leave over."""
    header = table.horizontalHeader()
    for column in range(table.columnCount):
        mode = qt.QHeaderView.Stretch if column == widest else qt.QHeaderView.ResizeToContents
        header.setSectionResizeMode(column, mode)


def _comparisonRow(row: ComparisonRow) -> tuple[str, ...]:
    difference = "" if row.difference is None else f"{row.difference:+.3f}"
    distances = (_millimetres(row.oldHd95), _millimetres(row.newHd95))
    return (plainName(row.label) or _("All (mean)"), _score(row.old), _score(row.new), difference, *distances)


def _millimetres(distance: float | None) -> str:
    return "-" if distance is None else f"{distance:.1f}"


def _score(dice: float | None) -> str:
    return "-" if dice is None else f"{dice:.3f}"


def _updates(job: TrainingJob) -> str:
    done, total = job.updates
    return f"{done}/{total}" if total else ""


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _fill(table: Any, rows: Sequence[Sequence[str]]) -> None:
    """Put texts into a table; widgets of rows that are there already are used again."""
    table.rowCount = len(rows)
    for number, row in enumerate(rows):
        for column, text in enumerate(row):
            item = table.item(number, column)
            if item is None:
                table.setItem(number, column, qt.QTableWidgetItem(text))
            elif item.text() != text:
                item.setText(text)
