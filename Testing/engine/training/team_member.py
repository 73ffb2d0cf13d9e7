"""One process of a team that trains together; started by test_distributed.py, once per rank."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import torch

from crgloco.data.dataset import Slots
from crgloco.errors import Cancelled
from crgloco.methods.base import Method
from crgloco.training import trainer as training
from crgloco.training.distributed import Team, agree, join_team, leave_team
from tiny_training import Recorder, make_method, make_trainer, weights_of, with_published_bodies

UPDATES = 3
ROOMY = {"local_window": "16,16,32", "global_window": "16,24,32"}


def supervised() -> Method:
    return make_method("supervised", labelled_batch=2, optimiser="sgd", learning_rate=0.01)


def released() -> Method:
    """The released recipe with its published network, dropout off: it is drawn per process."""
    method = make_method("cr_gloco", "released", labelled_batch=2, unlabelled_batch=2, **ROOMY)
    with_published_bodies(method, dropout=0.0)
    with torch.no_grad():
        for head in (method.networks.local_head, method.networks.global_head):
            head.classify.weight *= 40  # confident: the cross losses are at work
    return method


def default() -> Method:
    return make_method("cr_gloco", labelled_batch=2, unlabelled_batch=2)


def soft() -> Method:
    """The recipe for several structures."""
    return make_method("cr_gloco", labels="soft", background="learnt", labelled_batch=2, unlabelled_batch=2)


def train(method: Method, team: Team, **options) -> Recorder:
    slots = Slots(method.config.labelled_batch, method.config.unlabelled_batch, team.rank, team.processes)
    report = options.pop("report", Recorder())
    trainer = make_trainer(method, slots=slots, report=report, iterations=UPDATES, **options)
    trainer.team = team
    # Halve the way, as if the run began late: the released recipe weighs its cross losses only then.
    trainer.progress = lambda step: 0.5 + 0.5 * step / UPDATES
    trainer.fit()
    return report


def in_a_hurry(method: Method, team: Team) -> None:
    """Train against the clock, which is another one in each process."""
    slots = Slots(2, 0, team.rank, team.processes)
    trainer = make_trainer(method, slots=slots, iterations=1_000_000, minutes=0.05)
    trainer.team = team
    assert trainer.fit().updates > 3


def in_float32() -> None:
    """Sums in bf16 depend on how a batch is divided; compare exact arithmetic."""
    training.mixed_precision = lambda _device: contextlib.nullcontext()


def main(folder: Path) -> None:
    in_float32()
    team = join_team("cpu")
    told = {}
    for build in (supervised, released, default, soft):
        method = build()
        report = train(method, team, checkpoint=folder / f"{build.__name__}-{team.rank}.checkpoint")
        told[build.__name__] = len(report.of_kind("progress"))
        torch.save(weights_of(method), folder / f"{build.__name__}-{team.rank}.pt")
    hurried = supervised()
    in_a_hurry(hurried, team)
    torch.save(weights_of(hurried), folder / f"hurried-{team.rank}.pt")
    try:
        # Only the second process is asked to stop; both must leave, after the same update.
        train(supervised(), team, report=Recorder(stop_after=2 if team.rank == 1 else None))
        told["stopped"] = "not at all"
    except Cancelled as end:
        told["stopped"] = str(end)
    agreed = {"same": agree(team, "cases"), "different": agree(team, f"cases of {team.rank}")}
    (folder / f"agreed-{team.rank}.json").write_text(json.dumps(agreed), encoding="utf-8")
    (folder / f"told-{team.rank}.json").write_text(json.dumps(told), encoding="utf-8")
    leave_team()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
