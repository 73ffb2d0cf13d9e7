"""What a training run consists of, once everything that can go wrong early has not."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from crgloco import model_store
from crgloco.data.preparation import Preparation
from crgloco.inference.predictor import Predictor
from crgloco.job_file import Job
from crgloco.methods.base import Task
from crgloco.networks.dual_resolution import DualResolution
from crgloco.networks.options import DualResolutionOptions
from crgloco.training.distributed import Team
from crgloco.training.pieces import Pieces
from crgloco.training.preparing import Prepared
from crgloco.training.selection import Selection


@dataclass(frozen=True)
class Run:
    """Everything that stands before the first update.

    Attributes:
        job: What was asked for.
        cases: What is taught, and how scans become arrays.
        config: The method's options.
        task: What the scans are like.
        device: Where the networks run.
        team: The processes that share the run.
        parent: The start model.
        pieces: Which structures are one piece.
    """

    job: Job
    cases: Prepared
    config: DualResolutionOptions
    task: Task
    device: torch.device
    team: Team
    parent: model_store.StartModel | None
    pieces: Pieces

    @property
    def selection(self) -> Selection:
        """The cases by role."""
        return self.cases.selection

    @property
    def preparation(self) -> Preparation:
        """How scans become arrays."""
        return self.cases.preparation

    def predictor(self, network: DualResolution, *, keep_islands: bool = False) -> Predictor:
        """Return a network ready to segment scans as these."""
        one_piece = () if keep_islands else self.pieces.one
        return Predictor(
            network, self.preparation, self.selection.table, device=self.device, one_piece=one_piece
        )
