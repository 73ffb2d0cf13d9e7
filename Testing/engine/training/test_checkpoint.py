"""The state of a run on disk: whole or absent, and never that of another run."""

import errno
from pathlib import Path

import pytest
import torch

from crgloco import atomic
from crgloco.errors import JobError, ResourceError
from crgloco.training import checkpoint as checkpoints
from crgloco.training.checkpoint import Checkpoint, Reached
from tiny_training import differing, make_method, make_trainer, weights_of

RUN = {"method": "supervised", "config": {"width": 4}, "seed": 0}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "checkpoint.safetensors"


def trained(name="supervised", recipe="default", *, seed=0, **options):
    trainer = make_trainer(make_method(name, recipe, seed=seed, **options), iterations=2)
    trainer.fit()
    return trainer.method, trainer.optimiser


def fresh(name="supervised", recipe="default", **options):
    trainer = make_trainer(make_method(name, recipe, seed=9, **options))
    return trainer.method, trainer.optimiser


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("recipe", ["default", "released"])
def test_what_was_saved_comes_back_bitwise_with_the_state_of_the_optimiser(file, recipe, optimiser):
    method, moving = trained("cr_gloco", recipe, optimiser=optimiser)
    Checkpoint(file, RUN).save(method, moving, Reached(17, 4.2))
    other, still = fresh("cr_gloco", recipe, optimiser=optimiser)
    assert Checkpoint(file, RUN).load(other, still) == Reached(17, 4.2)
    assert differing(weights_of(method), weights_of(other)) == []
    saved, loaded = moving.state_dict()["state"], still.state_dict()["state"]
    assert saved.keys() == loaded.keys()
    for number in saved:
        assert saved[number].keys() == loaded[number].keys()
        assert all(torch.equal(saved[number][key], loaded[number][key]) for key in saved[number])


def test_a_checkpoint_of_an_earlier_version_knows_no_time_and_still_loads(file, monkeypatch):
    written = checkpoints.to_bytes

    def earlier(tensors, metadata):
        return written(tensors, {key: text for key, text in metadata.items() if key != "seconds"})

    monkeypatch.setattr(checkpoints, "to_bytes", earlier)
    Checkpoint(file, RUN).save(*trained(), Reached(2, 60.0))
    assert Checkpoint(file, RUN).load(*fresh()) == Reached(2, 0.0)


def test_where_only_the_cases_differ_they_are_named(file):
    before = {**RUN, "cases": ["knee-1-0123456789ab", "hip-2-0123456789ab"]}
    Checkpoint(file, before).save(*trained(), Reached(2, 60.0))
    with pytest.raises(JobError, match=r"Taught before, not now: hip-2; now, not before: none\."):
        Checkpoint(file, {**before, "cases": before["cases"][:1]}).load(*fresh())
    with pytest.raises(JobError, match="other cases or options"):
        Checkpoint(file, {**before, "cases": [], "seed": 1}).load(*fresh())


def test_without_a_file_the_run_starts_at_zero_and_nothing_changes(file):
    method, optimiser = fresh()
    before = weights_of(method)
    assert Checkpoint(file, RUN).load(method, optimiser) == Reached(0, 0.0)
    assert differing(before, weights_of(method)) == []


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"config": {"width": 8}}, {"method": "cr_gloco"}, {"extra": 1}]
)
def test_the_checkpoint_of_a_run_with_other_options_is_refused_in_words(file, change):
    Checkpoint(file, RUN).save(*trained(), Reached(2))
    method, optimiser = fresh()
    before = weights_of(method)
    with pytest.raises(JobError, match="other cases or options") as refusal:
        Checkpoint(file, {**RUN, **change}).load(method, optimiser)
    assert str(file) in str(refusal.value)
    assert differing(before, weights_of(method)) == []
    assert file.exists()


@pytest.mark.parametrize("change", ["gone", "other shape"])
def test_the_checkpoint_of_a_version_with_other_networks_is_refused_in_words(file, change):
    method, optimiser = trained()
    weights = method.state_dict()
    name = next(iter(weights))
    weights[name] = torch.cat([weights[name]] * 2)
    if change == "gone":
        del weights[name]
    method.state_dict = lambda: weights
    Checkpoint(file, RUN).save(method, optimiser, Reached(2))
    with pytest.raises(JobError, match=r"of another version of CRGLoCoSegment.*Delete it to start"):
        Checkpoint(file, RUN).load(*fresh())


def test_the_order_in_which_options_are_written_does_not_matter(file):
    Checkpoint(file, RUN).save(*trained(), Reached(2))
    assert Checkpoint(file, dict(reversed(RUN.items()))).load(*fresh()) == Reached(2)


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "header"])
def test_a_damaged_checkpoint_is_refused_with_its_place_and_what_to_do(file, damage):
    Checkpoint(file, RUN).save(*trained(), Reached(2))
    whole = file.read_bytes()
    contents = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "foreign": b"not a checkpoint at all" * 10,
        "header": b"\xff" * 8 + whole[8:],
    }
    file.write_bytes(contents[damage])
    with pytest.raises(JobError, match="cannot be read") as refusal:
        Checkpoint(file, RUN).load(*fresh())
    assert str(file) in str(refusal.value)
    assert "Delete it to start the job anew" in str(refusal.value)


def test_a_full_disk_leaves_the_old_checkpoint_and_no_half_one(file, monkeypatch):
    checkpoint = Checkpoint(file, RUN)
    first = trained()
    checkpoint.save(*first, Reached(2))
    before = file.read_bytes()

    def full(path, _content):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "write_through", full)
    with pytest.raises(ResourceError, match="the disk is full") as failure:
        checkpoint.save(*trained(seed=4), Reached(3))
    assert str(file) in str(failure.value)
    assert "Make room and try again" in str(failure.value)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_is_gone_is_told_as_such(tmp_path):
    with pytest.raises(ResourceError, match="cannot be written"):
        Checkpoint(tmp_path / "gone" / "c.safetensors", RUN).save(*trained(), Reached(2))


def test_a_process_killed_while_writing_leaves_the_last_whole_checkpoint(file, monkeypatch):
    checkpoint = Checkpoint(file, RUN)
    checkpoint.save(*trained(), Reached(2))

    def killed(path, _content):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "write_through", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(*trained(seed=4), Reached(3))
    assert checkpoint.load(*fresh()) == Reached(2)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc: nobody can say what is mapped")
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_nothing_of_the_file_stays_mapped_so_that_windows_can_replace_it(file, optimiser):
    Checkpoint(file, RUN).save(*trained(optimiser=optimiser), Reached(2, 1.0))
    method, restored = fresh(optimiser=optimiser)
    Checkpoint(file, RUN).load(method, restored)
    assert str(file) not in Path("/proc/self/maps").read_text()
    assert restored.state
