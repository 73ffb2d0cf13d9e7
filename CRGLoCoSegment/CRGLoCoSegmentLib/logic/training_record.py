"""What the events of a training have told so far: how far it is, its curve, and what it said."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slicer.i18n import tr as _

# The picture of a curve is a few hundred pixels wide, and a training may tell a hundred thousand points.
MOST_POINTS = 2000
MOST_MESSAGES = 500
COMPARED = ("new", "start", "made_from_start")


@dataclass(frozen=True)
class ComparisonRow:
    """One structure, measured on the cases that never trained.

    Attributes:
        label: Name of the structure; empty for the mean of all.
        old: Dice of the start model, 0..1; ``None`` if there is none.
        new: Dice of the new model, 0..1; ``None`` if it cannot be told.
        oldHd95: HD95 of the start model in mm, on the cases where both found the structure.
        newHd95: The same of the new model.
    """

    label: str
    old: float | None
    new: float | None
    oldHd95: float | None = None
    newHd95: float | None = None

    @property
    def difference(self) -> float | None:
        """How much better the new model is; negative if it is worse."""
        return None if self.old is None or self.new is None else self.new - self.old


@dataclass
class TrainingRecord:
    """The story of one job, event by event; its size is bounded however long the job is.

    Attributes:
        stage: What is being done, in the engine's words: ``"preparing"``, ``"training"``, ``"validation"``.
        done: Steps of that stage done.
        total: Steps of that stage.
        secondsLeft: Until the last update; ``None`` while it cannot be told.
        updates: Updates done.
        updatesTotal: Updates of the whole training; 0 before the first.
        losses: Points ``(update, parts)``; ``parts["total"]`` is what is minimised.
        scores: Points ``(update, mean Dice on the validation cases)``.
        messages: Sentences for the user, the newest last.
        comparison: Scores by ``"new"`` and ``"start"``, once they are known, and the validation cases
            ``"made_from_start"``: their labels are the start model's own answers, corrected.
    """

    stage: str = ""
    done: float = 0
    total: float = 0
    secondsLeft: float | None = None
    updates: int = 0
    updatesTotal: int = 0
    losses: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    comparison: dict[str, Any] = field(default_factory=dict)

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take one event in; kinds that are not known are passed over."""
        kind = event.get("event")
        if kind in ("stopped", "failed", "model"):
            self.secondsLeft = None
            self._say(_inPanel(event))
        elif kind == "progress":
            self._progress(event)
        elif kind == "validation":
            self._score(int(event.get("step", 0)), event.get("dice"))
        elif kind == "message":
            self._say(event.get("text"))
        elif kind == "comparison":
            self.comparison = {key: event[key] for key in COMPARED if key in event}
            self._score(self.updates, self.comparison.get("new", {}).get("dice"))

    def _progress(self, event: Mapping[str, Any]) -> None:
        self.stage = str(event.get("stage", ""))
        self.done, self.total = float(event.get("done") or 0), float(event.get("total") or 0)
        left = event.get("seconds_left")
        self.secondsLeft = None if left is None else float(left)
        if self.stage == "training":
            self._update(int(self.done), int(self.total), event.get("losses") or {})

    def _update(self, step: int, total: int, losses: Mapping[str, Any]) -> None:
        if self.losses and step <= self.losses[-1][0]:
            # It went on from a checkpoint that is older than what was told before.
            self.losses = [point for point in self.losses if point[0] < step]
            self.scores = [point for point in self.scores if point[0] < step]
        self.updates, self.updatesTotal = step, total
        parts = {str(name): float(value) for name, value in losses.items() if value is not None}
        if "total" in parts:
            self.losses.append((step, parts))
        if len(self.losses) > MOST_POINTS:
            self.losses = self.losses[::2]

    def _score(self, step: int, dice: float | None) -> None:
        if dice is not None:
            self.scores = [point for point in self.scores if point[0] < step] + [(step, float(dice))]

    def _say(self, text: Any) -> None:
        if text:
            self.messages = [*self.messages[1 - MOST_MESSAGES :], str(text)]


def _inPanel(event: Mapping[str, Any]) -> Any:
    """Return the words of an event; the way on from a stop is a button here, a command elsewhere."""
    if event.get("event") != "stopped" or not event.get("reason"):
        return event.get("text")
    return _("{reason} Press Resume to go on.").format(reason=event["reason"])


def comparisonRows(comparison: Mapping[str, Any]) -> list[ComparisonRow]:
    """Return old and new side by side, the mean first.

    Args:
        comparison: Scores by ``"new"`` and, if there was a start model, ``"start"``.
    """
    new, old = comparison.get("new") or {}, comparison.get("start") or {}
    if not new:
        return []
    names = list(new.get("per_label") or {})
    newDice, oldDice = new.get("per_label") or {}, old.get("per_label") or {}
    newMm, oldMm = new.get("hd95_mm_per_label") or {}, old.get("hd95_mm_per_label") or {}
    mean = ComparisonRow("", old.get("dice"), new.get("dice"), old.get("hd95_mm"), new.get("hd95_mm"))
    rows = [
        ComparisonRow(name, oldDice.get(name), newDice.get(name), oldMm.get(name), newMm.get(name))
        for name in names
    ]
    return [mean, *rows]
