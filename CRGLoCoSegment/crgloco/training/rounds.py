"""Pseudo-labels of whole cases, made once a round and frozen on disk, so that a resumed run finds them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from crgloco.atomic import LONG_PAUSES_S, appearing, saving
from crgloco.data.augment import IntensityDraw, apply_intensity
from crgloco.data.cache import PreparedCase, sample_locations
from crgloco.data.patches import TrainingCase
from crgloco.errors import Cancelled
from crgloco.inference.predictor import Predictor
from crgloco.methods.base import Labels
from crgloco.progress import Reporter
from crgloco.training.distributed import Team, agreed_stop

# The second look of the stability filter: grey values changed as in training. Not a mirror: bodies are not
# mirrored in training, and good answers would look unsure.
_OTHER_VIEW = IntensityDraw(noise=0.1, factor=0.8, shift=0.1, gamma=1.2)
# Kept on disk in place of a label, so that a resumed run need not predict the case again.
_NOT_TRUSTED = np.zeros(1, np.uint8)


@dataclass(frozen=True)
class Rounds:
    """Where the pseudo-labels of a run are kept, and who predicts them.

    Attributes:
        folder: One sub-folder per round.
        cases: The prepared cases by name.
        predictor: Makes a predictor with the averaged networks as they are now.
        report: Hears of progress, may stop; what is finished then stays.
        team: The processes that share the run: the first one predicts, all read.
    """

    folder: Path
    cases: Mapping[str, PreparedCase]
    predictor: Callable[[], Predictor]
    report: Reporter
    team: Team

    def forget(self) -> None:
        """Remove the pseudo-labels of a run that was given up: they are not those of the next."""
        if self.team.leads:
            shutil.rmtree(self.folder, ignore_errors=True)

    def labeller(self, number: int) -> _Labeller:
        """Return what makes the pseudo-labels of one round; earlier rounds are forgotten."""
        folder = self.folder / f"{number:03d}"
        if self.team.leads:
            with saving(folder):
                folder.mkdir(parents=True, exist_ok=True)
            for old in self.folder.iterdir():
                if old != folder:
                    shutil.rmtree(old, ignore_errors=True)
        return _Labeller(folder, self)


class _Labeller:
    """The pseudo-labels of one round."""

    def __init__(self, folder: Path, rounds: Rounds) -> None:
        self._folder, self._rounds = folder, rounds
        self._predictor: Predictor | None = None
        self._done = 0

    def __call__(
        self, case: TrainingCase, refine: Callable[[Labels], Labels], *, agreement: float = 0.0
    ) -> TrainingCase | None:
        path = self._folder / f"{self._rounds.cases[case.name].folder.name}.npy"
        stopped = None
        if self._rounds.team.leads and not path.is_file():
            try:
                self._rounds.report.check()
                self._store(path, self._predicted(case, refine, agreement))
            except Cancelled as end:
                stopped = end
        # The others wait here until the label is written, and leave together with the first one.
        if agreed_stop(self._rounds.team, wanted=stopped is not None):
            raise stopped or Cancelled("Stopped on request.")
        self._done += 1
        total = len(self._rounds.cases)
        self._rounds.report.event("progress", stage="pseudo-labels", done=self._done, total=total)
        label = np.load(path, mmap_mode="c", allow_pickle=False)
        if label.ndim != 3:
            return None
        tensor = torch.from_numpy(label).to(case.image.device)
        return replace(case, label=tensor, locations=sample_locations(label))

    def _predicted(self, case: TrainingCase, refine: Callable[[Labels], Labels], agreement: float) -> Labels:
        label = self._predict(case)
        if agreement > 0 and self._agreement(case, label) < agreement:
            return _NOT_TRUSTED
        return refine(label)

    def _predict(self, case: TrainingCase, change: IntensityDraw | None = None) -> Labels:
        """Return class numbers (K, J, I) on the prepared grid, seen with other grey values if wanted."""
        if self._predictor is None:
            self._predictor = self._rounds.predictor()
        prepared = self._rounds.cases[case.name]
        image = np.array(prepared.image())
        if change is not None:
            image = apply_intensity(torch.from_numpy(image).float(), change).numpy().astype(np.float16)
        grid = prepared.geometry  # that of the image and of the answer
        prediction = self._predictor.predict_prepared(image, grid, prepared=grid)
        return prediction.fused

    def _agreement(self, case: TrainingCase, label: Labels) -> float:
        """Return the mean Dice of the structures between a prediction and one of other grey values, 0..1."""
        other = self._predict(case, _OTHER_VIEW)
        shares = [
            2 * int(((label == c) & (other == c)).sum()) / total
            for c in np.union1d(label, other)
            if c > 0 and (total := int((label == c).sum() + (other == c).sum()))
        ]
        return float(np.mean(shares)) if shares else 1.0

    def _store(self, path: Path, label: Labels) -> None:
        with appearing(path, LONG_PAUSES_S) as part, part.open("wb") as file:
            np.save(file, label, allow_pickle=False)
