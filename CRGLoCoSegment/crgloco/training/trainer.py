"""The one training loop: it knows networks, losses and time, and no method by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from crgloco.data.dataset import Samples, SampleStream
from crgloco.errors import Cancelled, CRGLoCoError, TrainingDiverged
from crgloco.methods.base import Batch, Method
from crgloco.networks.precision import mixed_precision
from crgloco.progress import Reporter
from crgloco.training.checkpoint import Checkpoint, Reached
from crgloco.training.distributed import Team, agreed_stop, average_gradients, largest
from crgloco.training.rounds import Rounds

POWER = 0.9
# SGD as in the CR-GLoCo code; AdamW decouples its decay, which is then a thousand times larger.
MOMENTUM = 0.9
WEIGHT_DECAY = {"sgd": 1e-5, "adamw": 1e-2}
CLIP_NORM = 12.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        iterations: Updates of the whole run.
        learning_rate: Rate at the start; falls as ``(1 - progress) ** 0.9``.
        seed: Seed of everything random.
        minutes: Time budget of the run, over all its calls. The schedule then follows the clock where
            that is further than the updates, so that a run cut short still ends with a low rate.
        validate_every: Updates between validations; 0 validates at the end only.
        save_every: Seconds between checkpoints.
        tell_every: Seconds between progress events.
    """

    iterations: int
    learning_rate: float
    seed: int = 0
    minutes: float | None = None
    validate_every: int = 0
    save_every: float = 60.0
    tell_every: float = 0.5


@dataclass
class Timings:
    """Where the time of this call went, in seconds, and how far the run came, over all its calls."""

    waiting: float = 0.0
    total: float = 0.0
    updates: int = 0

    @property
    def waiting_share(self) -> float:
        """Share of the loop spent waiting for data, 0..1."""
        return self.waiting / self.total if self.total else 0.0


@dataclass
class Trainer:
    """Runs the updates of one method.

    Attributes:
        method: What learns; already on its device.
        schedule: How long and how fast.
        stream: Where samples come from.
        report: Who is told, and who may ask for an end.
        checkpoint: Where the state is kept; ``None`` keeps nothing.
        validate: Measures the networks as they are; its result is told as an event.
        team: The processes that share the run.
        rounds: Makes pseudo-labels of whole cases, for methods that learn in rounds.
    """

    method: Method
    schedule: Schedule
    stream: SampleStream
    report: Reporter
    checkpoint: Checkpoint | None = None
    validate: Callable[[], dict[str, Any]] | None = None
    team: Team = field(default_factory=Team)
    rounds: Rounds | None = None

    def __post_init__(self) -> None:
        self.device = next(self.method.networks.parameters()).device
        self.groups = self.method.parameter_groups()
        self.optimiser = _optimiser(self.method.config.optimiser, self.groups, self.schedule.learning_rate)
        self.timings = Timings()
        self._seconds_before = 0.0
        self._clock_share = 0.0
        self._total = torch.zeros(())

    def fit(self) -> Timings:
        """Train to the end of the schedule, from the checkpoint on if there is one.

        Raises:
            Cancelled: An end was asked for; the checkpoint is written first.
            TrainingDiverged: The loss is no longer a number.
        """
        start = self._resume()
        # A run whose time was spent when it was stopped, while it was measured for one, learns no more.
        stop = self.schedule.iterations if self._clock_share < 1 else start
        began = saved = told = time.monotonic()
        self.method.networks.train()
        current = self._begin_round(0, start) if start < stop else 0
        steps = self.stream.steps(start, stop)
        try:
            for step in range(start, stop):
                if self._round(step) > current:  # what was read ahead belongs to the round before
                    steps.close()
                    self._save(step)
                    current = self._begin_round(current, step)
                    steps = self.stream.steps(step, stop)
                waited = time.monotonic()
                samples = next(steps)
                self.timings.waiting += time.monotonic() - waited
                parts = self._update(step, samples)
                now = time.monotonic()
                self.timings.updates, self.timings.total = step + 1, now - began
                if now - told > self.schedule.tell_every or step + 1 == self.schedule.iterations:
                    told = now
                    self._tell(step + 1, start, parts)
                if self._wants_end(step + 1):
                    break
                if now - saved > self.schedule.save_every:
                    saved = now
                    self._save(step + 1)
                self._validate_if_due(step + 1)
        finally:
            steps.close()
        self._save(self.timings.updates)
        return self.timings

    def progress(self, step: int) -> float:
        """Return how far the run is, 0..1: by updates or, if that is further, by the clock."""
        return min(1.0, max(step / self.schedule.iterations, self._clock_share))

    def _resume(self) -> int:
        """Put back what the checkpoint holds; return the number of updates done."""
        reached = Reached()
        if self.checkpoint is not None:
            reached = self.checkpoint.load(self.method, self.optimiser)
        if self.rounds is not None and not reached.updates:
            self.rounds.forget()
        self.timings.updates, self._seconds_before = reached.updates, reached.seconds
        self._clock_share = self._clock()
        return reached.updates

    @property
    def _seconds(self) -> float:
        """The time spent on the run, over all its calls."""
        return self._seconds_before + self.timings.total

    def _clock(self) -> float:
        """Return the share of the time budget that is spent; 0 without one."""
        return 0.0 if self.schedule.minutes is None else self._seconds / (60 * self.schedule.minutes)

    def _round(self, step: int) -> int:
        """Return the number of the round that an update belongs to, 0 before the first."""
        return sum(self.progress(step) >= share for share in self.method.round_starts)

    def _begin_round(self, current: int, step: int) -> int:
        """Let the method renew its pseudo-labels where a round begins, also where a resumed run enters it."""
        number = self._round(step)
        if number > current and step < self.schedule.iterations:
            if self.rounds is None:
                msg = "A method that learns in rounds needs somebody to predict whole cases."
                raise TypeError(msg)
            self.method.begin_round(number, self.stream.unlabelled, self.rounds.labeller(number))
            self._go_on_learning()
        return number

    def _update(self, step: int, samples: Samples) -> dict[str, torch.Tensor]:
        torch.manual_seed(hash((self.schedule.seed, step, self.team.rank)) % 2**63)
        progress = self.progress(step)
        for group, wanted in zip(self.optimiser.param_groups, self.groups, strict=True):
            group["lr"] = self.schedule.learning_rate * _rate(wanted, progress)
        batch = Batch(samples.labelled, samples.unlabelled, self.device, samples.rng)
        with mixed_precision(self.device):
            parts = self.method.losses(batch, progress)
        self.optimiser.zero_grad(set_to_none=True)
        parts["total"].backward()
        parameters = [p for group in self.groups for p in group["params"]]
        average_gradients(parameters, self.team)
        norms = [
            nn.utils.clip_grad_norm_(group["params"], group.get("clip_norm", CLIP_NORM))
            for group in self.groups
        ]
        self.optimiser.step()
        # What is no number in a gradient has spoiled the weights already; the loss tells only the next time.
        self._total = parts["total"].detach() + 0 * sum(norms)
        self.method.after_step(step)
        return parts

    def _tell(self, step: int, start: int, parts: dict[str, torch.Tensor]) -> None:
        self._assert_finite(step)
        if not self.team.leads:
            return
        values = {name: float(part.detach()) for name, part in parts.items()}
        done = max(step - start, 1)
        left = self.timings.total / done * (self.schedule.iterations - step)
        if self.schedule.minutes is not None:
            left = min(left, max(0.0, self.schedule.minutes * 60 - self._seconds))
        self.report.event(
            "progress",
            stage="training",
            done=step,
            total=self.schedule.iterations,
            seconds_left=round(left, 1),
            losses=values,
        )

    def _wants_end(self, step: int) -> bool:
        wanted = False
        try:
            self.report.check()
        except Cancelled:
            wanted = True
        # One message for both: all processes follow one clock, else their learning rates would differ.
        ends, self._clock_share = largest(self.team, (float(wanted), self._clock()))
        if ends:
            self._save(step)
            # Nobody leaves before it is written: torchrun ends the others with the first one that does.
            agreed_stop(self.team, wanted=True)
            msg = (
                f"Stopped on request after {step} updates; the checkpoint is kept and the job can be resumed."
            )
            raise Cancelled(msg)
        return self._clock_share >= 1

    def _assert_finite(self, step: int) -> None:
        if not torch.isfinite(self._total):
            msg = (
                f"The training diverged: the loss at update {step} is not a number. The last checkpoint is "
                "kept; start again with a lower learning rate."
            )
            raise TrainingDiverged(msg)

    def _save(self, step: int) -> None:
        self._assert_finite(step)
        if self.checkpoint is not None and self.team.leads:
            self.checkpoint.save(self.method, self.optimiser, Reached(step, self._seconds))

    def _validate_if_due(self, step: int) -> None:
        every = self.schedule.validate_every
        if self.validate is None or not every or step % every or step == self.schedule.iterations:
            return
        self._save(step)  # whatever measuring may meet, the updates are kept
        if self.team.leads:
            self._measure(step, self.validate)
        self._go_on_learning()

    def _measure(self, step: int, validate: Callable[[], dict[str, Any]]) -> None:
        try:
            self.report.event("validation", step=step, **validate())
        except Cancelled:
            pass  # an end that is asked for meanwhile still is after the next update, when all agree
        except CRGLoCoError as error:  # a drive that is away tonight shall not end what learns without it
            text = f"After update {step} nothing was measured; the training goes on. {error}"
            self.report.event("message", text=text)

    def _go_on_learning(self) -> None:
        """Take the networks back from a prediction, which may have moved them off a GPU that was full."""
        self.method.to(self.device)
        self.method.networks.train()


def _rate(group: dict[str, Any], progress: float) -> float:
    """Return the share of the learning rate: falling by a power, after a linear rise where one is wanted."""
    rise = min(1.0, (progress + 1e-3) / group["warm_up"]) if "warm_up" in group else 1.0
    share: float = group.get("rate", 1.0) * rise * (1 - progress) ** POWER
    return share


def _optimiser(name: str, groups: list[dict[str, Any]], rate: float) -> torch.optim.Optimizer:
    parameters = [{"params": group["params"]} for group in groups]
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY[name])
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=WEIGHT_DECAY[name])
