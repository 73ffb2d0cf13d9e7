"""Stands for the process of one training; a test says what it does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


class StandInRun:
    """As ``CRGLoCoSegmentLib.background.training.TrainingRun``, without a process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state, self.reason, self.details = folder, "new", "", ""
        self.calls: list[Any] = []
        self.events: list[dict[str, Any]] = []

    def poll(self) -> list[dict[str, Any]]:
        events, self.events = self.events, []
        return events

    def start(self, *, keepRunning: bool) -> None:
        self.calls.append(("start", keepRunning))
        self.state, self.reason, self.details = "running", "", ""

    def attach(self) -> bool:
        self.calls.append("attach")
        self.state = "running"
        return True

    def output(self) -> list[str]:
        return []

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: self.calls.append(name)
