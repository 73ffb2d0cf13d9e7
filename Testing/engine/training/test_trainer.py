"""The training loop: resumable bitwise, stoppable, within its time, honest about waiting and NaN."""

import math
import time
from contextlib import nullcontext
from unittest.mock import Mock

import pytest
import torch

from crgloco import atomic
from crgloco.data.dataset import SampleStream, Slots
from crgloco.errors import Cancelled, InputError, ResourceError, TrainingDiverged
from crgloco.training.trainer import Timings
from tiny_training import RECIPES, Recorder, differing, make_method, make_trainer, phantom_case, weights_of

UPDATES = 5


class Killed(BaseException):
    """What the trainer can neither foresee nor catch."""


@pytest.mark.parametrize(("name", "recipe"), RECIPES)
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_run_killed_at_any_update_and_resumed_equals_the_uninterrupted_one_bitwise(
    name, recipe, optimiser, tmp_path
):
    whole = make_method(name, recipe, optimiser=optimiser)
    make_trainer(whole, iterations=UPDATES).fit()
    expected = weights_of(whole)
    for killed_at in range(1, UPDATES):
        file = tmp_path / f"{killed_at}.safetensors"
        # The checkpoint is written after the check: what update `killed_at` did is lost, and done again.
        options = {"checkpoint": file, "iterations": UPDATES, "save_every": -1.0}
        report = Recorder(stop_after=killed_at, error=Killed)
        with pytest.raises(Killed):
            make_trainer(make_method(name, recipe, optimiser=optimiser), report=report, **options).fit()
        assert file.exists() == (killed_at > 1)
        resumed = make_method(name, recipe, optimiser=optimiser, seed=77)
        if killed_at == 1:
            resumed = make_method(name, recipe, optimiser=optimiser)
        timings = make_trainer(resumed, **options).fit()
        assert timings.updates == UPDATES
        assert differing(weights_of(resumed), expected) == [], f"killed at update {killed_at}"


def test_averages_know_each_update_by_its_number_and_every_update_has_randomness_of_its_own(tmp_path):
    def course(stop_after: int | None) -> tuple[list[int], list[float]]:
        method, drawn = make_method("supervised"), []
        losses = method.losses
        method.after_step = Mock()
        method.losses = lambda *given: (drawn.append(float(torch.rand(()))), losses(*given))[1]
        trainer = make_trainer(method, report=Recorder(stop_after=stop_after), checkpoint=tmp_path / "file")
        with nullcontext() if stop_after is None else pytest.raises(Cancelled):
            trainer.fit()
        return [call.args[0] for call in method.after_step.call_args_list], drawn

    (early, before), (late, after) = course(2), course(None)
    assert early + late == [0, 1, 2, 3]
    assert len({*before, *after}) == 4


def test_a_stop_request_writes_the_checkpoint_and_says_that_the_job_can_be_resumed(tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    trainer = make_trainer(make_method(), report=Recorder(stop_after=2), checkpoint=file, save_every=1e9)
    with pytest.raises(Cancelled, match="after 2 updates; the checkpoint is kept and the job can be resumed"):
        trainer.fit()
    resumed = make_trainer(make_method(seed=5), checkpoint=file)
    assert resumed.checkpoint.load(resumed.method, resumed.optimiser).updates == 2
    assert differing(weights_of(resumed.method), weights_of(trainer.method)) == []


def test_a_finished_run_started_again_changes_nothing(tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    method = make_method()
    make_trainer(method, checkpoint=file).fit()
    again = make_method(seed=5)
    make_trainer(again, checkpoint=file).fit()
    assert differing(weights_of(again), weights_of(method)) == []


def test_the_learning_rate_falls_from_its_start_to_nearly_nothing_by_the_power():
    trainer = make_trainer(make_method(), iterations=8, learning_rate=0.002)
    rates = record_rates(trainer)
    trainer.fit()
    assert rates == pytest.approx([0.002 * (1 - step / 8) ** 0.9 for step in range(8)])


def record_rates(trainer) -> list[float]:
    rates, step = [], trainer.optimiser.step

    def remember():
        rates.append(trainer.optimiser.param_groups[0]["lr"])
        step()

    trainer.optimiser.step = remember
    return rates


def test_a_time_budget_ends_the_run_with_a_low_learning_rate(tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    trainer = make_trainer(
        make_method("supervised"),
        iterations=1_000_000,
        minutes=1.5 / 60,
        learning_rate=0.001,
        checkpoint=file,
    )
    rates, progress = record_rates(trainer), []
    losses = trainer.method.losses
    trainer.method.losses = lambda batch, share: (progress.append(share), losses(batch, share))[1]
    began = time.monotonic()
    timings = trainer.fit()
    assert 1.5 <= time.monotonic() - began < 15
    assert 3 < timings.updates < 1_000_000
    assert rates[-1] < 0.3 * rates[0]
    assert rates == sorted(rates, reverse=True)
    assert progress == sorted(progress)  # ramps follow the clock as well
    assert progress[-1] > 0.7
    assert file.exists()
    left = [event["seconds_left"] for event in trainer.report.of_kind("progress")]
    assert all(0 <= seconds <= 1.5 for seconds in left)


BUDGET_S = 2.0


def test_a_run_that_is_resumed_goes_on_with_the_time_it_has_left(tmp_path):
    """Also where it was killed: the clock stands where the checkpoint that is left was written."""
    options = {"iterations": 1_000_000, "minutes": BUDGET_S / 60, "checkpoint": tmp_path / "checkpoint"}
    first = make_trainer(make_method("supervised"), **options, save_every=-1.0)
    clock = first.report.check

    def die_half_way():
        clock()
        if first.progress(0) > 0.5:
            raise Killed

    first.report.check = die_half_way
    rates = record_rates(first)
    with pytest.raises(Killed):
        first.fit()
    second = make_trainer(make_method("supervised", seed=3), **options)
    rates_of_second = record_rates(second)
    timings = second.fit()
    assert 0 < timings.total < 0.7 * BUDGET_S
    assert timings.updates > len(rates)
    # The rate goes on where it was; only the last updates of the killed run are done again.
    assert rates_of_second[0] == pytest.approx(rates[-1], rel=0.2)
    assert rates_of_second[0] < 0.7 * rates[0]
    assert max(event["seconds_left"] for event in second.report.of_kind("progress")) < 0.7 * BUDGET_S


def test_a_run_whose_time_is_spent_learns_no_more_when_it_is_started_again(tmp_path):
    """As after a stop while the new model is compared with the old one."""
    options = {"iterations": 1_000_000, "minutes": 0.5 / 60, "checkpoint": tmp_path / "checkpoint"}
    ended = make_trainer(make_method("supervised"), **options)
    updates = ended.fit().updates
    again = make_trainer(make_method("supervised", seed=3), **options)
    assert again.fit().updates == updates
    assert differing(weights_of(again.method), weights_of(ended.method)) == []
    assert again.report.of_kind("progress") == []


def test_a_stop_during_a_validation_ends_after_the_next_update_with_a_checkpoint(tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    trainer = make_trainer(
        make_method("supervised"), iterations=6, validate_every=2, checkpoint=file, save_every=1e9
    )

    def validate():
        trainer.report.stop_after = 0
        trainer.report.check()

    trainer.validate = validate
    with pytest.raises(Cancelled, match="after 3 updates"):
        trainer.fit()
    resumed = make_trainer(make_method("supervised", seed=3), iterations=6, checkpoint=file)
    assert resumed.checkpoint.load(resumed.method, resumed.optimiser).updates == 3


def test_the_schedule_follows_updates_where_they_are_further_than_the_clock():
    trainer = make_trainer(make_method("supervised"), iterations=4, minutes=1000.0)
    rates = record_rates(trainer)
    assert trainer.fit().updates == 4
    assert rates[-1] == pytest.approx(rates[0] * 0.25**0.9)


def test_time_spent_waiting_for_samples_is_reported():
    method = make_method("supervised")
    trainer = make_trainer(method, iterations=4)
    views = method.views

    def slow(*arguments):
        time.sleep(0.1)
        return views(*arguments)

    trainer.stream = SampleStream([phantom_case()], [], slow, Slots(1, 0), 0, ahead=1)
    timings = trainer.fit()
    assert timings.waiting > 0.1
    assert 0 < timings.waiting_share <= 1
    assert timings.waiting_share == timings.waiting / timings.total
    assert Timings().waiting_share == 0.0


def test_progress_is_told_with_losses_and_the_time_that_is_left():
    report = Recorder()
    make_trainer(make_method(), report=report, iterations=3).fit()
    events = report.of_kind("progress")
    assert [event["done"] for event in events] == [1, 2, 3]
    assert all(event["total"] == 3 and event["stage"] == "training" for event in events)
    assert events[-1]["seconds_left"] == 0
    assert set(events[0]["losses"]) == {
        "total", "supervised_local", "supervised_global", "cross_local", "cross_global", "kept",
        "threshold_0", "threshold_1", "threshold_2",
    }  # fmt: skip
    assert all(math.isfinite(value) for value in events[0]["losses"].values())


def test_progress_is_told_no_more_often_than_asked_but_always_at_the_end():
    report = Recorder()
    make_trainer(make_method("supervised"), report=report, iterations=3, tell_every=1e9).fit()
    assert [event["done"] for event in report.of_kind("progress")] == [3]


def diverging(trainer, at: int, value: float = math.nan):
    losses, count = trainer.method.losses, iter(range(1, 1000))

    def change(batch, progress):
        parts = losses(batch, progress)
        if next(count) == at:
            parts["total"] = parts["total"] * value
        return parts

    trainer.method.losses = change
    return trainer


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_run_in_words(value):
    trainer = diverging(make_trainer(make_method("supervised"), iterations=6), 3, value)
    with pytest.raises(TrainingDiverged, match=r"at update 3 is not a number.*lower learning rate"):
        trainer.fit()


def test_a_diverged_run_never_replaces_the_last_good_checkpoint(tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    trainer = make_trainer(
        make_method("supervised"), iterations=6, checkpoint=file, save_every=-1.0, tell_every=1e9
    )
    with pytest.raises(TrainingDiverged, match="update 3"):
        diverging(trainer, 3).fit()
    resumed = make_trainer(make_method("supervised", seed=3), iterations=6, checkpoint=file)
    assert resumed.checkpoint.load(resumed.method, resumed.optimiser).updates == 2
    assert all(torch.isfinite(value).all() for value in weights_of(resumed.method).values())


@pytest.mark.parametrize("last", [3, 6])
def test_a_gradient_that_is_no_number_ends_the_run_before_it_is_kept(tmp_path, monkeypatch, last):
    file = tmp_path / "checkpoint.safetensors"
    trainer = make_trainer(
        make_method("supervised"), iterations=6, checkpoint=file, save_every=-1.0, tell_every=1e9
    )
    updates = []

    def spoil(parameters, _team):
        updates.append(1)
        if len(updates) == last:
            parameters[0].grad[...] = float("nan")

    monkeypatch.setattr("crgloco.training.trainer.average_gradients", spoil)
    with pytest.raises(TrainingDiverged, match=f"update {last}"):
        trainer.fit()
    resumed = make_trainer(make_method("supervised", seed=3), iterations=6, checkpoint=file)
    assert resumed.checkpoint.load(resumed.method, resumed.optimiser).updates == last - 1
    assert all(torch.isfinite(value).all() for value in weights_of(resumed.method).values())


def test_validation_comes_when_due_but_not_after_the_last_update():
    report = Recorder()
    trainer = make_trainer(make_method("supervised"), report=report, iterations=6, validate_every=2)

    def validate():
        trainer.method.networks.eval()
        return {"dice": 0.5}

    trainer.validate = validate
    trainer.fit()
    assert report.of_kind("validation") == [{"step": 2, "dice": 0.5}, {"step": 4, "dice": 0.5}]
    assert trainer.method.networks.training


def test_validation_cases_that_are_away_for_a_while_do_not_end_the_training():
    report = Recorder()
    trainer = make_trainer(make_method("supervised"), report=report, iterations=6, validate_every=2)

    trainer.validate = Mock(side_effect=[InputError("The drive is gone."), {"dice": 0.5}])
    assert trainer.fit().updates == 6
    assert report.of_kind("validation") == [{"step": 4, "dice": 0.5}]
    text = "After update 2 nothing was measured; the training goes on. The drive is gone."
    assert report.of_kind("message") == [{"text": text}]


def test_each_group_of_weights_is_clipped_at_its_own_norm():
    trainer = make_trainer(make_method("cr_gloco", "released"), iterations=1)
    for group in trainer.groups:
        group["clip_norm"] = 0.01
    norms, step = [], trainer.optimiser.step

    def measure():
        gradients = [[p.grad.norm() for p in group["params"]] for group in trainer.groups]
        norms.extend(float(torch.stack(group).norm()) for group in gradients)
        step()

    trainer.optimiser.step = measure
    trainer.fit()
    assert norms == pytest.approx([0.01, 0.01], rel=1e-3)


def test_a_full_disk_is_told_and_the_reading_threads_end(tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "write_through", full)
    trainer = make_trainer(make_method("supervised"), checkpoint=tmp_path / "c.safetensors", save_every=-1.0)
    with pytest.raises(ResourceError, match="the disk is full"):
        trainer.fit()


def test_the_global_random_state_of_the_caller_does_not_change_the_result():
    results = []
    for seed in (1, 2):
        method = make_method()
        torch.manual_seed(seed)
        make_trainer(method, iterations=2).fit()
        results.append(weights_of(method))
    assert differing(*results) == []
