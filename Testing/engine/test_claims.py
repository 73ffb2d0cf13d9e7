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


@pytest.mark.parametrize(
    "change",
    [
        {"created": 0.0, "since_boot": 0.0},
        *({"pid": number} for number in (2**22 + 12345, -1, "x", float("inf"))),
        {"since_boot": "x"},
    ],
)
def test_a_dead_process_and_a_number_that_was_given_again_hold_nothing(change: dict[str, object]) -> None:
    assert live_holder(claim_of_this_process() | change) is None


def test_a_clock_that_is_set_while_a_process_works_does_not_free_what_it_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On Linux the start of a process is counted from that of the computer, which follows the clock."""
    claim, created, booted = claim_of_this_process(), psutil.Process.create_time, psutil.boot_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: created(process) + 3600)
    assert live_holder(claim) is None
    monkeypatch.setattr(psutil, "boot_time", lambda: booted() + 3600)
    assert live_holder(claim) == Holder(os.getpid(), claim["host"])


def test_a_boot_that_is_known_only_roughly_frees_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    claim, booted = claim_of_this_process(), psutil.boot_time
    monkeypatch.setattr(psutil, "boot_time", lambda: booted() + 5)
    assert live_holder(claim) == Holder(os.getpid(), claim["host"])


def test_a_process_that_may_not_be_looked_at_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: psutil.Process) -> float:
        raise psutil.AccessDenied(process.pid)

    claim = claim_of_this_process()
    monkeypatch.setattr(psutil.Process, "create_time", refuse)
    assert live_holder(claim) == Holder(os.getpid(), claim["host"])


def test_one_on_another_computer_counts_as_alive() -> None:
    assert live_holder({"pid": 7, "created": 1.0, "host": "station2"}) == Holder(7, "station2")
