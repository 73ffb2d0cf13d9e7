"""Batches of labelled and unlabelled samples, the same for every run with the same seed.

Which case is read at which update, and every random draw, follow from (seed, update, slot) alone:
so a resumed run continues exactly, and processes that share a batch draw what one would have drawn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from crgloco.data.patches import TrainingCase
from crgloco.errors import OptionError

ViewFunction = Callable[[TrainingCase, np.random.Generator], Any]


@dataclass(frozen=True)
class Slots:
    """How many samples an update has, and which of them this process makes.

    Attributes:
        labelled: Labelled samples of the whole update.
        unlabelled: Unlabelled samples of the whole update.
        rank: Number of this process.
        processes: Number of processes that share the update.

    Raises:
        OptionError: The samples cannot be shared evenly: gradients would not be those of the whole update.
    """

    labelled: int
    unlabelled: int
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.labelled % self.processes or self.unlabelled % self.processes:
            msg = (
                f"{self.processes} processes cannot share {self.labelled} labelled and {self.unlabelled} "
                "unlabelled samples per update evenly. Make both multiples of the number of processes."
            )
            raise OptionError(msg)


@dataclass(frozen=True)
class Samples:
    """The samples of one update that this process makes.

    Attributes:
        labelled: Results of the view function.
        unlabelled: Results of the view function.
        rng: For draws that concern the batch as a whole; the same in every process.
    """

    labelled: list[Any]
    unlabelled: list[Any]
    rng: np.random.Generator


class SampleStream:
    """Samples for one update after the other, read ahead by threads.

    Args:
        labelled: Labelled cases.
        unlabelled: Unlabelled cases (their labels, if any, must already be absent).
        views: Makes one sample of a case.
        slots: Size of an update and our share of it.
        seed: Seed of the run.
        ahead: Updates that are read ahead.
        threads: Reading threads; reading releases Python's lock while it copies.
    """

    def __init__(
        self,
        labelled: Sequence[TrainingCase],
        unlabelled: Sequence[TrainingCase],
        views: ViewFunction,
        slots: Slots,
        seed: int,
        *,
        ahead: int = 3,
        threads: int = 1,
    ) -> None:
        self._cases = {0: labelled, 1: unlabelled}
        self._views, self._slots, self._seed = views, slots, seed
        self._ahead, self._threads = ahead, threads

    @property
    def unlabelled(self) -> Sequence[TrainingCase]:
        """The unlabelled cases."""
        return self._cases[1]

    def samples(self, step: int) -> Samples:
        """Make the samples of one update."""
        labelled = self._side(0, self._slots.labelled, step)
        unlabelled = self._side(1, self._slots.unlabelled, step) if self._cases[1] else []
        return Samples(labelled, unlabelled, np.random.default_rng([self._seed, 3, step]))

    def steps(self, start: int, stop: int) -> Generator[Samples]:
        """Yield the samples of updates ``start`` to ``stop - 1``, made ahead of time."""
        with ThreadPoolExecutor(self._threads, thread_name_prefix="samples") as pool:
            waiting: deque[Future[Samples]] = deque()
            upcoming = iter(range(start, stop))
            try:
                for step in upcoming:
                    waiting.append(pool.submit(self.samples, step))
                    if len(waiting) > self._ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _side(self, side: int, count: int, step: int) -> list[Any]:
        mine = range(self._slots.rank, count, self._slots.processes)
        return [self._sample(side, step * count + slot) for slot in mine]

    def _sample(self, side: int, position: int) -> Any:
        cases = self._cases[side]
        turn, place = divmod(position, len(cases))
        order = np.random.default_rng([self._seed, 1, side, turn]).permutation(len(cases))
        rng = np.random.default_rng([self._seed, 2, side, position])
        return self._views(cases[order[place]], rng)
