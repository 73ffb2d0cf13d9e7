"""Who holds a piece of work, and whether that process still lives."""

import os

import psutil
import pytest

from crgloco.claims import Holder, claim_of_this_process, live_holder


def test_a_claim_is_known_again_while_its_process_lives() -> None:
    holder = live_holder(claim_of_this_process())
    assert holder is not None
    assert holder.is_here
    assert holder.process == os.getpid()


@pytest.mark.parametrize("change", [{"created": 0.0}, {"pid": 2**22 + 12345}, {"pid": -1}, {"pid": "x"}])
def test_a_dead_process_and_a_number_that_was_given_again_hold_nothing(change: dict[str, object]) -> None:
    assert live_holder(claim_of_this_process() | change) is None


def test_a_process_that_may_not_be_looked_at_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: psutil.Process) -> float:
        raise psutil.AccessDenied(process.pid)

    claim = claim_of_this_process()
    monkeypatch.setattr(psutil.Process, "create_time", refuse)
    assert live_holder(claim) == Holder(os.getpid(), claim["host"])


def test_one_on_another_computer_counts_as_alive() -> None:
    assert live_holder({"pid": 7, "created": 1.0, "host": "station2"}) == Holder(7, "station2")
