"""Data-parallel training under ``torchrun``: one process per device, gradients averaged.

No wrapper around the networks: every process computes its share of the update, then gradients are
averaged before the optimiser moves. Losses are means over samples, so the average over processes
is what one process with the whole batch would have found; contrasts between samples are those of the
samples of one process, of which there are fewer pairs then.
"""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

# The others wait while the first process validates or makes pseudo-labels; torch's own patience is minutes.
PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class Team:
    """The processes that share one run.

    Attributes:
        rank: Number of this process.
        processes: Number of processes.
        local_rank: Number of this process on its machine, which is its CUDA device.
        device_type: ``"cpu"`` or ``"cuda"``: where they compute, and so what their messages lie on.
    """

    rank: int = 0
    processes: int = 1
    local_rank: int = 0
    device_type: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this process reports, validates and writes files."""
        return self.rank == 0


def join_team(device_type: str) -> Team:
    """Join the processes that ``torchrun`` started; alone without it."""
    local_rank = own_gpu()
    if local_rank is None:
        return Team()
    if not distributed.is_initialized():
        # Windows has no NCCL; gloo averages gradients on GPUs too, more slowly.
        backend = "nccl" if device_type == "cuda" and distributed.is_nccl_available() else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE)
    rank, processes = distributed.get_rank(), distributed.get_world_size()
    return Team(rank, processes, local_rank, device_type)


def own_gpu() -> int | None:
    """Return the number of the CUDA device that this process takes; ``None`` for a process on its own."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    return int(os.environ.get("LOCAL_RANK", "0"))


def leave_team(*, alone: bool = False) -> None:
    """End the group of processes, if there is one.

    Args:
        alone: Whether the others may not be leaving. NCCL would wait for them, and they wait for this one;
            torchrun ends them once this process has ended.
    """
    if distributed.is_available() and distributed.is_initialized():
        if alone and distributed.get_backend() == "nccl":
            return
        distributed.destroy_process_group()
        # That lets go of the group; what garbage still holds it would end its threads only while Python
        # itself ends, and they then abort the process (pytorch 96017, 179291).
        gc.collect()


def average_gradients(parameters: Iterable[torch.nn.Parameter], team: Team) -> None:
    """Replace each gradient by its mean over the processes; one message for all of them."""
    if team.processes == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= team.processes
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def agreed_stop(team: Team, *, wanted: bool) -> bool:
    """Whether any process wants to stop: all of them must leave at the same update."""
    return largest(team, [float(wanted)])[0] > 0


def agree(team: Team, text: str) -> bool:
    """Whether all processes come here with the same text."""
    number = float(int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]))
    highest, lowest = largest(team, [number, -number])
    return highest == -lowest


def largest(team: Team, values: Sequence[float]) -> list[float]:
    """Return the largest of each value over the processes, once all of them have come here.

    Args:
        team: The processes.
        values: As many in every process.
    """
    if team.processes == 1:
        return list(values)
    device = torch.device(team.device_type, team.local_rank) if team.device_type == "cuda" else "cpu"
    shared = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
    return [float(value) for value in shared]
