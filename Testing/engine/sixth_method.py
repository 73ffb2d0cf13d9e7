"""A method that nobody has written yet, and a copy of the engine that holds it: one file more, no edit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import crgloco

NAME = "entropy_minimisation"
SOURCE = '''"""Entropy minimisation: unlabelled windows shall be answered with certainty."""

from dataclasses import dataclass

import torch

from crgloco.data.augment import SpatialRanges
from crgloco.data.window_views import draw_window_view
from crgloco.losses.segmentation import segmentation_loss
from crgloco.methods.base import Method, averaged_copy, build_local_network
from crgloco.networks.options import DualResolutionOptions
from crgloco.options import option

TITLE = "Entropy minimisation"
REFERENCE = "Grandvalet and Bengio, NeurIPS 2004"


@dataclass(frozen=True)
class Config(DualResolutionOptions):
    """Options of entropy minimisation."""

    certainty: float = option(0.1, label="Certainty", help="Weight of it.", minimum=0.0, maximum=5.0)


class EntropyMinimisation(Method):
    """One network that shall be sure of what it says."""

    title = TITLE
    reference = REFERENCE
    Config = Config

    def __init__(self, config, task):
        super().__init__(config, task)
        self.networks = build_local_network(config, task)
        self.averaged = averaged_copy(self.networks)

    def views(self, case, rng):
        """Return one window."""
        window, spacing = self.networks.local.window, self.task.spacing
        return draw_window_view(case, window, SpatialRanges(), spacing, rng, foreground=0.5)

    def losses(self, batch, progress):
        """Return the total and its two parts."""
        crops = [view.to(batch.device).cut() for view in (*batch.labelled, *batch.unlabelled)]
        logits = self.networks.full_resolution(torch.stack([image for image, _ in crops]))
        known = len(batch.labelled)
        supervised = segmentation_loss(logits[:known], torch.stack([label for _, label in crops[:known]]))
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
        total = supervised + progress * self.config.certainty * entropy
        return {"total": total, "supervised": supervised.detach(), "consistency": entropy.detach()}
'''


def engine_with_sixth_method(folder: Path) -> Path:
    """Copy the engine into a folder, write the method beside the others, and return the folder."""
    package = Path(crgloco.__file__).parent
    shutil.copytree(package, folder / "crgloco", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "crgloco" / "methods" / f"{NAME}.py").write_text(SOURCE, encoding="utf-8")
    return folder


def run_engine(folder: Path, *words: object) -> Any:
    """Run a command of the engine in that folder; return what it says in JSON."""
    program = [sys.executable, "-W", "error", "-m", "crgloco", *map(str, words), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    answer = subprocess.run(
        program, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=240, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return json.loads(answer.stdout)
