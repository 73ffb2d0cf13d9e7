"""The state of a run on disk: networks, averages, optimiser, the number of updates and the time they took.

One safetensors file, written beside and renamed: a killed process leaves the last whole one. Random
numbers need no state, since they follow from the seed and the update.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from crgloco import atomic
from crgloco.errors import JobError
from crgloco.methods.base import Method

# Of what a run is: other cases have another of each.
OF_THE_CASES = ("cases", "labelled", "known", "task")


@dataclass(frozen=True)
class Reached:
    """How far a run has come, over all its calls.

    Attributes:
        updates: Updates done.
        seconds: Time spent on them, which a time budget counts.
    """

    updates: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """Where a run keeps its state.

    Attributes:
        path: The file.
        run: What the run is (method, options, seed, cases, start model); another run's state is refused.
    """

    path: Path
    run: dict[str, Any]

    def save(self, method: Method, optimiser: torch.optim.Optimizer, reached: Reached) -> None:
        """Write the state of a run that has come so far.

        Raises:
            ResourceError: The file cannot be written.
        """
        tensors = {f"method.{name}": value.contiguous() for name, value in method.state_dict().items()}
        for number, entry in optimiser.state_dict()["state"].items():
            tensors.update({f"optimiser.{number}.{k}": t for k, t in entry.items() if torch.is_tensor(t)})
        far = {"step": str(reached.updates), "seconds": repr(reached.seconds)}
        atomic.write_bytes(self.path, to_bytes(tensors, {**far, "run": json.dumps(self.run, sort_keys=True)}))

    def load(self, method: Method, optimiser: torch.optim.Optimizer) -> Reached:
        """Put the state back; return how far the run had come, which is nowhere without a checkpoint.

        Raises:
            JobError: The file is damaged, or belongs to a run with other options or other networks.
        """
        if not self.path.exists():
            return Reached()
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                # Copies: on Windows a file that is still mapped into memory can never be replaced.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            msg = f"The checkpoint {self.path} cannot be read ({error}). Delete it to start the job anew."
            raise JobError(msg) from error
        if metadata.get("run") != json.dumps(self.run, sort_keys=True):
            raise JobError(self._difference(metadata.get("run", "{}")))
        state = {name.removeprefix("method."): t for name, t in tensors.items() if name.startswith("method.")}
        if _shapes(state) != _shapes(method.state_dict()):
            msg = (
                f"The checkpoint {self.path} is of another version of CRGLoCoSegment, whose networks were "
                "built otherwise. Delete it to start the job anew."
            )
            raise JobError(msg)
        method.load_state_dict(state)
        _restore(optimiser, tensors)
        # Checkpoints of earlier versions know no time; their clock starts anew.
        return Reached(int(metadata["step"]), float(metadata.get("seconds", 0)))

    def _difference(self, run: str) -> str:
        """Say in what another run differs; where it is the cases alone, which ones."""
        stored, own = json.loads(run), json.loads(json.dumps(self.run))
        before, now = set(stored.get("cases", [])), set(own.get("cases", []))
        if before != now and _without(stored, *OF_THE_CASES) == _without(own, *OF_THE_CASES):
            # a prepared case is a folder <case>-<hash>
            gone, new = (
                ", ".join(sorted(name.rpartition("-")[0] for name in names)) or "none"
                for names in (before - now, now - before)
            )
            return (
                f"The cases have changed since the checkpoint {self.path}. Taught before, not now: {gone}; "
                f"now, not before: {new}. Make the cases what they were, readable, and resume; or delete "
                "the checkpoint to start anew."
            )
        if _without(stored, "start") == _without(own, "start"):
            return (
                f"The start model has been replaced since the checkpoint {self.path}. Bring the former one "
                "back and resume; or delete the checkpoint to start anew."
            )
        return (
            f"The checkpoint {self.path} belongs to a run with other cases or options. Use another job "
            "folder, or delete the checkpoint to start anew."
        )


def _without(run: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in run.items() if name not in names}


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _restore(optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimiser":
            number, _, key = rest.partition(".")
            parameter = parameters[int(number)]
            # AdamW counts its steps in a scalar on the CPU; everything else lies beside its parameter.
            optimiser.state[parameter][key] = tensor if key == "step" else tensor.to(parameter.device)
