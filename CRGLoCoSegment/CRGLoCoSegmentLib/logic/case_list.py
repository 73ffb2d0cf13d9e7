"""The cases folder as it was read last: its cases, labels and channels, or what is wrong with it."""

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from crgloco.errors import CasesError
from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.logic.batch import predictionsOf
from CRGLoCoSegmentLib.logic.case_rows import CaseRow, rowsFrom
from CRGLoCoSegmentLib.logic.listeners import Listeners
from CRGLoCoSegmentLib.logic.task import Task


class CaseList:
    """What is in the cases folder; read in the files worker.

    Args:
        files: Worker for files.
        settings: Hold ``casesFolder`` for the next start.
        listeners: Hear ``"cases"``.
        models: The models of this computer.

    Attributes:
        folder: The cases folder, or ``None``; need not exist.
        rows: The cases, by name.
        table: The folder's label table; ``None`` for a plain folder of scans, or while it is not read.
        channelNames: Of the folder.
        problem: Why the folder cannot be used, in words; empty if it can.
    """

    def __init__(self, *, files: Any, settings: Any, listeners: Listeners, models: Any) -> None:
        self._files, self._settings, self._listeners, self._models = files, settings, listeners, models
        self._reading: Task | None = None
        # Read once: another Slicer of this user may open another folder, and our labels would go there.
        self.folder: Path | None = settings.folder("casesFolder")
        self._forget()

    @property
    def isReading(self) -> bool:
        """Whether the folder is being read."""
        return self._reading is not None and self._reading.isRunning()

    def open(self, folder: Path | str | None, *, onFinished: Any = None, onFailed: Any = None) -> Task:
        """Make a folder the cases folder, and read it in the background; nothing is written.

        Args:
            folder: A cases folder, or a plain folder of scans; ``None`` for none at all.
            onFinished: Hears the rows.
            onFailed: Hears a message in words and details.
        """
        chosen = Path(folder).absolute() if folder else None
        self._settings.set("casesFolder", str(chosen) if chosen else None)
        if chosen != self.folder:
            self.folder = chosen
            self._forget()
        return self.refresh(onFinished=onFinished, onFailed=onFailed)

    def refresh(self, *, onFinished: Any = None, onFailed: Any = None) -> Task:
        """Read the folder anew, in the background; ``"cases"`` is told at the beginning and at the end."""
        if self._reading is not None:
            self._reading.cancel()
        folder = self.folder
        task = self._reading = Task(_("Cases folder"), onFinished=onFinished, onFailed=onFailed)
        if folder is None:
            self._forget()
            task.finish(self.rows)
        else:
            task.ask(
                self._files,
                "cases",
                {"folder": str(folder), "predictions": str(predictionsOf(folder))},
                lambda answer: self._read(task, answer),
                onError=lambda error: self._unreadable(task, error),
            )
        self._listeners.tell("cases")
        return task

    def create(
        self, folder: Path | str, model: Path | None = None, *, onFinished: Any = None, onFailed: Any = None
    ) -> Task:
        """Make a new cases folder with the labels and channels of a model, and open it.

        Args:
            folder: Empty, or not there yet.
            model: The model's folder; the current model if none is given.
            onFinished: Hears the folder, once it is open.
            onFailed: Hears a message in words and details.

        Raises:
            ModelError: There is no such model.
        """
        card, chosen = self._models.card(model), Path(folder).absolute()
        task = Task(chosen.name, onFinished=onFinished, onFailed=onFailed)
        fields = {
            "folder": str(chosen),
            "table": card.labels.to_json(),
            "channel_names": list(card.channel_names),
        }

        def made(_answer: dict[str, Any]) -> None:
            self.open(
                chosen,
                onFinished=lambda _rows: task.finish(chosen),
                onFailed=lambda message, details: task.fail(CasesError(message), details),
            )

        self._files.ask("create", fields, onResult=made, onError=task.fail, onCancelled=task.cancel)
        return task

    def row(self, name: str | None) -> CaseRow | None:
        """Return the row of a case, or ``None``."""
        return next((row for row in self.rows if row.name == name), None)

    def _read(self, task: Task, answer: dict[str, Any]) -> None:
        if not task.isRunning():  # another folder was opened meanwhile
            return
        self._forget()
        self.rows = rowsFrom(answer["cases"])
        self.channelNames = tuple(answer.get("channel_names") or ())
        labels = answer.get("labels")
        self.table = LabelTable.from_json(labels) if labels else None
        task.finish(self.rows)
        self._listeners.tell("cases")

    def _unreadable(self, task: Task, error: Any) -> None:
        if task.isRunning():
            self._forget()
            self.problem = str(error)
            task.fail(error)
            self._listeners.tell("cases")

    def _forget(self) -> None:
        self.rows: tuple[CaseRow, ...] = ()
        self.table: LabelTable | None = None
        self.channelNames: tuple[str, ...] = ()
        self.problem = ""
