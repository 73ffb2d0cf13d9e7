"""The cases folder as it was read last: its cases, labels and channels, or what is wrong with it."""

from pathlib import Path
from typing import Any

from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.logic.batch import predictionsOf
from CRGLoCoSegmentLib.logic.case_rows import CaseRow, rowsFrom
from CRGLoCoSegmentLib.logic.listeners import Listeners
from CRGLoCoSegmentLib.logic.task import Task


class CaseList:
    """What is in the cases folder; read in the files worker.

    Args:
        files: Worker for files.
        settings: Holds ``casesFolder``.
        listeners: Hear ``"cases"``.
        models: The models of this computer.

    Attributes:
        rows: The cases, by name.
        table: The folder's label table; ``None`` for a plain folder of scans, or while it is not read.
        channelNames: Of the folder.
        problem: Why the folder cannot be used, in words; empty if it can.
        isReading: Whether the folder is being read.
    """

    def __init__(self, *, files: Any, settings: Any, listeners: Listeners, models: Any) -> None:
        self._files, self._settings, self._listeners, self._models = files, settings, listeners, models
        self._turn = 0
        self._request: Any = None
        self._forget()

    @property
    def folder(self) -> Path | None:
        """The cases folder of this computer; need not exist."""
        folder: Path | None = self._settings.folder("casesFolder")
        return folder

    def open(self, folder: Path | str | None) -> None:
        """Make a folder the cases folder, and read it in the background; nothing is written."""
        chosen = Path(folder).absolute() if folder else None
        if chosen != self.folder:
            self._settings.set("casesFolder", str(chosen) if chosen else None)
            self._forget()
        self.refresh()

    def refresh(self) -> None:
        """Read the folder anew, in the background; ``"cases"`` is told at the end."""
        folder = self.folder
        self._turn += 1
        turn = self._turn
        self.isReading = folder is not None
        if self._request is not None:
            self._request.cancel()
        if folder is None:
            self._request = None
            self._forget()
        else:
            self._request = self._files.ask(
                "cases",
                {"folder": str(folder), "predictions": str(predictionsOf(folder))},
                onResult=lambda answer: self._read(turn, answer),
                onError=lambda error: self._unreadable(turn, error),
            )
        self._listeners.tell("cases")

    def create(
        self, folder: Path | str, model: Path | None = None, *, onFinished: Any = None, onFailed: Any = None
    ) -> Task:
        """Make a new cases folder with the labels and channels of a model, the current one by default.

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
            self.open(chosen)
            task.finish(chosen)

        self._files.ask(
            "create", fields, onResult=made, onError=lambda error: task.fail(error, error.details)
        )
        return task

    def row(self, name: str | None) -> CaseRow | None:
        """Return the row of a case, or ``None``."""
        return next((row for row in self.rows if row.name == name), None)

    def _read(self, turn: int, answer: dict[str, Any]) -> None:
        if turn != self._turn:
            return
        self._forget()
        self.rows = rowsFrom(answer["cases"])
        self.channelNames = tuple(answer.get("channel_names") or ())
        labels = answer.get("labels")
        self.table = LabelTable.from_json(labels) if labels else None
        self._listeners.tell("cases")

    def _unreadable(self, turn: int, error: Exception) -> None:
        if turn == self._turn:
            self._forget()
            self.problem = str(error)
            self._listeners.tell("cases")

    def _forget(self) -> None:
        self.rows: tuple[CaseRow, ...] = ()
        self.table: LabelTable | None = None
        self.channelNames: tuple[str, ...] = ()
        self.problem = ""
        self.isReading = False
