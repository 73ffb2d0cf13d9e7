"""Train from the command line: refusals at the door, a real tiny job, stop and resume."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import crgloco.training
from crgloco import jobs, model_store
from crgloco.__main__ import main
from crgloco.data.case_split import draw_split
from crgloco.data.cases import open_cases
from crgloco.errors import Cancelled, ModelError, ResourceError
from crgloco.io.files import read_volume, write_volume
from crgloco.io.volume import Volume
from crgloco.job_file import LARGEST_SEED, Job, read_job
from crgloco.options import parse_assignments
from crgloco.training import fine_tune, finishing
from crgloco.training.run import Run
from phantoms import write_cases_folder
from tiny_training import differing
from training_programs import events_of

TINY = ["--device", "cpu", "--set", "local_window=12,16,16", "global_window=24,32,32", "width=4", "levels=3"]


@pytest.fixture
def seen(monkeypatch):
    """The schedules of trainings, each of which is stopped before its first update."""
    schedules = []

    def fit(trainer):
        schedules.append(trainer.schedule)
        raise Cancelled("Seen.")

    monkeypatch.setattr("crgloco.training.trainer.Trainer.fit", fit)
    return schedules


def words_of(cases, out, *more):
    return ["train", "--cases", str(cases), "--out", str(out), "--iterations", "2", *TINY, *more]


def test_a_model_that_exists_already_is_refused_before_torch_is_needed(
    cases_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(__import__("sys").modules, "crgloco.training.fine_tune", None)
    (tmp_path / "model").mkdir()
    assert main(words_of(cases_folder, tmp_path / "model")) == 1
    assert "exists already" in capsys.readouterr().err
    assert not (tmp_path / "model.job").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "colour=red"], "Unknown option 'colour'"),
        (["--set", "width"], "Expected key=value"),
        (["--set", "local_window=1,1,1"], "Option 'local_window' needs at least one voxel"),
        (["--set", "spacing=[1,1.5,2]"], "found [1, 1.5, 2]: write 1,1.5,2."),
        (["--method", "magic"], "no method 'magic'"),
        (["--config-name", "magic"], "no configuration 'magic'"),
        (["--start", "nowhere"], "holds no model.json"),
        (["--out", "model.part"], "names that end in .part are those of unfinished files"),
    ],
)
def test_what_cannot_work_is_refused_at_the_door(cases_folder, tmp_path, capsys, words, said):
    assert main(words_of(cases_folder, tmp_path / "model", *words)) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "model.job").exists()


def test_a_table_with_one_structure_is_refused_for_versemi_before_torch_is_needed(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "crgloco.training.fine_tune", None)
    folder = write_cases_folder(tmp_path / "one", labelled=2, unlabelled=1, shape=(8, 8, 8), only="large")
    assert main(words_of(folder, tmp_path / "model", "--method", "versemi")) == 1
    assert "needs at least 2; the label table of" in capsys.readouterr().err
    assert not (tmp_path / "model.job").exists()


def test_a_job_file_and_flags_together_are_wrong_usage(tmp_path, capsys):
    assert main(["train", str(tmp_path / "job.json"), "--iterations", "3"]) == 2
    assert "not both" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-1", "half", str(2**63)])
def test_a_seed_that_cannot_be_used_is_wrong_usage(tmp_path, capsys, seed):
    assert main(["train", f"--seed={seed}"]) == 2
    said = capsys.readouterr().err
    assert f"argument --seed: expected a whole number from 0 to {LARGEST_SEED}, found '{seed}'" in said


def test_the_largest_seed_seeds_everything(cases_folder, tmp_path, seen):
    assert main(words_of(cases_folder, tmp_path / "model", "--seed", str(LARGEST_SEED))) == 130
    assert seen[0].seed == LARGEST_SEED


def test_a_training_whose_terminal_is_gone_is_a_good_end(cases_folder, tmp_path, monkeypatch):
    def gone(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("crgloco.training.fine_tune.run", lambda job, _folder, _report: job.out)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=gone, flush=gone, fileno=gone))
    assert main(words_of(cases_folder, tmp_path / "model")) == 0


def test_flags_become_the_job_beside_the_model(cases_folder, tmp_path, monkeypatch, capsys):
    seen = []

    def run(job, folder, report):
        seen.append((job, folder))
        report.event("message", text="Learning.")
        return job.out

    monkeypatch.setattr("crgloco.training.fine_tune.run", run)
    words = words_of(cases_folder, tmp_path / "model", "--labelled", "1", "--seed", "3", "--minutes", "2")
    assert main(words) == 0
    assert main(words) == 0  # the same words again: the same job, which resumes
    job, folder = seen[0]
    assert seen[0] == seen[1]
    assert folder.path == tmp_path / "model.job"
    assert (job.labelled, job.seed, job.minutes, job.iterations, job.config["width"]) == (1, 3, 2.0, 2, 4)
    assert read_job(folder.path) == job
    assert events_of(folder)[0] == {"event": "message", "text": "Learning."}
    assert "Learning." in folder.log_file.read_text(encoding="utf-8")
    assert main(["train", str(folder.job_file)]) == 0
    assert seen[2] == seen[0]


def test_other_flags_do_not_take_over_an_unfinished_job(cases_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "crgloco.training.fine_tune.run", lambda _job, folder, _report: folder.checkpoint_file.touch()
    )
    assert main(words_of(cases_folder, tmp_path / "model")) == 0
    assert main(words_of(cases_folder, tmp_path / "model", "--seed", "5")) == 1
    assert "holds another job already" in capsys.readouterr().err


def test_a_training_that_was_refused_lets_the_corrected_command_have_its_name(
    cases_folder, tmp_path, monkeypatch
):
    def run(job, _folder, report):
        report.event("message", text=f"Seed {job.seed}.")
        if job.seed == 1:
            raise ModelError("The start model knows other structures.")

    monkeypatch.setattr("crgloco.training.fine_tune.run", run)
    assert main(words_of(cases_folder, tmp_path / "model", "--seed", "1")) == 1
    assert main(words_of(cases_folder, tmp_path / "model", "--seed", "2")) == 0
    folder = jobs.JobFolder(tmp_path / "model.job")
    assert read_job(folder.path).seed == 2
    assert events_of(folder) == [{"event": "message", "text": "Seed 2."}]
    assert "Seed 1" not in folder.log_file.read_text(encoding="utf-8")


@pytest.mark.usefixtures("seen")
def test_a_start_model_of_which_no_weight_fits_leaves_the_name_to_the_corrected_command(
    cases_folder, tiny_model, tmp_path, capsys
):
    more = ["--start", str(tiny_model), "--method", "versemi"]
    words = words_of(cases_folder, tmp_path / "model", *more)
    wider = ["width=7" if word.startswith("width=") else word for word in words]
    assert main(wider) == 1
    assert "No weight of the start model fits" in capsys.readouterr().err
    assert main(words) == 130


@pytest.mark.usefixtures("seen")
def test_an_option_by_which_most_of_the_start_model_would_be_lost_is_refused_and_a_new_head_is_not(
    cases_folder, tiny_model, tmp_path, capsys
):
    words = words_of(cases_folder, tmp_path / "model", "--start", str(tiny_model))
    wider = ["width=7" if word.startswith("width=") else word for word in words]
    assert main(wider) == 1
    said = capsys.readouterr().err
    assert "The start model 'ellipsoids' has width=4: with width=7 only 3 of its 70 weights fit." in said
    assert "Leave width to the start model, or train without one." in said
    assert main([*words, "--set", "head=perceptron"]) == 130


def test_a_training_whose_first_update_fails_leaves_its_name_to_the_command_with_other_options(
    cases_folder, tmp_path, capsys, monkeypatch
):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr("crgloco.training.trainer.Trainer._update", full)
    words = words_of(cases_folder, tmp_path / "model", "--method", "supervised")
    for width in ("width=4", "width=5", "width=4"):
        assert main([*words, "--set", width]) == 1
        assert "memory of the computer does not suffice" in capsys.readouterr().err
    assert read_job(tmp_path / "model.job").config["width"] == 4


OF_THE_USER = dict.fromkeys(
    ("checkpoint", "log.txt", "process.json", "result.json", "rounds/first.txt", "split.json", "stop"),
    "by hand",
)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def study(cases_folder, tmp_path):
    """A folder of the user with a job that was written by hand, and files that have the names of ours."""
    folder = tmp_path / "study"
    (folder / "rounds").mkdir(parents=True)
    for name, content in OF_THE_USER.items():
        (folder / name).write_text(content)
    config = parse_assignments(TINY[TINY.index("--set") + 1 :])
    job = Job(
        cases_folder, "local_contrastive", tmp_path / "model", config=config, iterations=4, device="cpu"
    )
    (folder / "job.json").write_text(json.dumps(job.to_json()))
    return folder


@pytest.mark.parametrize("given", ["", "job.json"], ids=["by its folder", "by its file"])
def test_a_job_that_was_written_by_hand_is_worked_on_beside_the_model(study, tmp_path, monkeypatch, given):
    seen = []

    def run(job, folder, _report):
        seen.append(folder.path)
        folder.finish({})
        return job.out

    monkeypatch.setattr("crgloco.training.fine_tune.run", run)
    before = contents(study)
    assert main(["train", str(study / given)]) == 0
    assert main(["train", str(tmp_path / "model.job" / given)]) == 0  # as the message of a stop says
    assert seen == [tmp_path / "model.job"] * 2
    assert contents(study) == before


def test_a_job_that_lies_alone_in_its_folder_is_worked_on_and_gone_on_with_there(
    study, tmp_path, monkeypatch
):
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / ".DS_Store").touch()  # as macOS leaves it
    alone = Path(shutil.copy(study / "job.json", tmp_path / "alone"))
    seen = []

    def run(job, folder, report):
        seen.append(folder.path)
        report.event("message", text="Learning.")
        folder.checkpoint_file.touch()
        return job.out

    monkeypatch.setattr("crgloco.training.fine_tune.run", run)
    assert main(["train", str(alone)]) == 0
    assert main(["train", str(alone.parent)]) == 0
    assert seen == [alone.parent] * 2
    assert len(events_of(jobs.JobFolder(alone.parent))) == 2
    assert alone.read_bytes() == (study / "job.json").read_bytes()


@pytest.mark.slow
def test_a_training_touches_nothing_beside_a_job_that_was_written_by_hand(study, tmp_path):
    before = contents(study)
    assert main(["train", str(study / "job.json")]) == 0
    assert contents(study) == before
    assert jobs.JobFolder(tmp_path / "model.job").state == "finished"


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_job_folder_with_files_of_the_user_is_refused_before_anything_starts(
    study, cases_folder, tmp_path, monkeypatch, capsys, rank
):
    def run(job, _folder, _report):
        assert rank == "1", "It started."
        return job.out

    before = contents(study)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr("crgloco.training.fine_tune.run", run)
    assert main(["train", str(study / "job.json"), "--job", str(study)]) == int(rank == "0")
    assert contents(study) == before
    (study / "job.json").unlink()
    assert main(words_of(cases_folder, tmp_path / "model", "--job", str(study))) == int(rank == "0")
    assert contents(study) == OF_THE_USER
    assert capsys.readouterr().err.count("study is no folder of a training") == (2 if rank == "0" else 0)


def test_a_job_folder_of_any_name_is_gone_on_with_by_its_job_file(cases_folder, tmp_path, monkeypatch):
    seen = []

    def run(job, folder, report):
        seen.append(folder.path)
        if len(seen) == 1:
            folder.checkpoint_file.touch()
            raise Cancelled("Stopped.")
        return job.out

    monkeypatch.setattr("crgloco.training.fine_tune.run", run)
    words = words_of(cases_folder, tmp_path / "model", "--job", str(tmp_path / "my work"))
    assert main(words) == 130
    assert main(["train", str(tmp_path / "my work" / "job.json")]) == 0
    assert seen == [tmp_path / "my work"] * 2


def test_a_stop_says_how_to_go_on_and_ends_with_code_130(cases_folder, tmp_path, monkeypatch, capsys):
    def run(job, folder, report):
        folder.request_stop()
        report.check()

    monkeypatch.setattr("crgloco.training.fine_tune.run", run)
    assert main(words_of(cases_folder, tmp_path / "model")) == 130
    assert f"crgloco train {tmp_path / 'model.job' / 'job.json'}" in capsys.readouterr().err
    last = events_of(jobs.JobFolder(tmp_path / "model.job"))[-1]
    assert (last["event"], last["reason"]) == ("stopped", "Stopped on request.")


@pytest.mark.parametrize(("flips", "axes"), [("none", []), ("auto", [0, 1])])
def test_scans_are_never_mirrored_left_to_right_whatever_their_labels_are_called(
    cases_folder, tmp_path, flips, axes
):
    assert main(words_of(cases_folder, tmp_path / "model", f"flips={flips}")) == 0
    card = json.loads((tmp_path / "model" / "model.json").read_text())
    assert card["network"]["flip_axes"] == axes


def test_a_memory_that_does_not_even_hold_torch_is_told_in_words_and_in_the_diary(
    cases_folder, tmp_path, monkeypatch, capsys
):
    class Loading:
        """Windows, when its paging file is too small for torch's libraries."""

        def find_spec(self, name, *_where):
            if name == "crgloco.training.fine_tune":
                error = OSError("[WinError 1455] Die Auslagerungsdatei fehlt")
                error.winerror = 1455
                raise error

    monkeypatch.delitem(sys.modules, "crgloco.training.fine_tune", raising=False)
    monkeypatch.delattr(crgloco.training, "fine_tune", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Loading(), *sys.meta_path])
    assert main(words_of(cases_folder, tmp_path / "model")) == 1
    assert "memory does not suffice to load torch. Close other programs" in capsys.readouterr().err
    last = events_of(jobs.JobFolder(tmp_path / "model.job"))[-1]
    assert (last["event"], last["type"]) == ("failed", "ResourceError")


@pytest.mark.parametrize(
    ("error", "told"), [(Cancelled("Stopped."), "stopped"), (ResourceError("Full."), "failed")]
)
def test_how_a_training_ended_is_told_before_the_job_is_let_go(
    cases_folder, tmp_path, monkeypatch, error, told
):
    """Slicer takes a job that nobody holds for interrupted, unless its diary says otherwise."""
    diaries = []

    def let_go(remove):
        diaries.append((tmp_path / "model.job" / "events.jsonl").read_text())
        remove()

    def fit(_trainer):
        raise error

    monkeypatch.setattr("crgloco.jobs.patiently", let_go)
    monkeypatch.setattr("crgloco.training.trainer.Trainer.fit", fit)
    assert main(words_of(cases_folder, tmp_path / "model")) in (1, 130)
    assert len(diaries) == 1
    assert f'"{told}"' in diaries[0]


def test_ctrl_c_asks_for_a_clean_end(cases_folder, tmp_path, monkeypatch, capsys):
    import os
    import signal

    def run(job, folder, report):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Cancelled):
            report.check()
        raise Cancelled("Stopped.")

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("crgloco.training.fine_tune.run", run)
    assert main(words_of(cases_folder, tmp_path / "model")) == 130
    assert "Ctrl-C again" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_a_ctrl_c_that_torchrun_passes_on_is_not_taken_for_a_second_one(
    cases_folder, tmp_path, monkeypatch, capsys
):
    import os
    import signal

    def run(job, folder, report):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        report.check()

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    monkeypatch.setattr("crgloco.training.fine_tune.run", run)
    assert main(words_of(cases_folder, tmp_path / "model")) == 130
    said = capsys.readouterr().err
    assert said.count("Stopping at the next step.") == 1
    assert "Ctrl-C again" not in said


@pytest.mark.parametrize("ends", ["well", "stopped", "failed"])
def test_a_process_that_follows_in_a_team_leaves_words_and_files_to_the_first(
    cases_folder, tmp_path, monkeypatch, capsys, ends
):
    def run(job, folder, report):
        report.event("message", text="Learning.")
        if ends == "stopped":
            raise Cancelled("Stopped.")
        if ends == "failed":
            raise ResourceError("The memory of this process does not suffice.")

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("crgloco.training.fine_tune.run", run)
    code = main(words_of(cases_folder, tmp_path / "model", "--events"))
    assert code == {"well": 0, "stopped": 130, "failed": 1}[ends]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == ("crgloco: The memory of this process does not suffice.\n" if ends == "failed" else "")
    assert not (tmp_path / "model.job").exists()


@pytest.mark.usefixtures("seen")
def test_scans_that_are_left_out_are_named_before_the_training(cases_folder, tmp_path, capsys):
    words = words_of(cases_folder, tmp_path / "model", "--unlabelled", str(cases_folder / "imagesTr"))
    assert main(words) == 130
    said = capsys.readouterr().err
    assert "phantom_000_0000.nii.gz is left out of the unlabelled scans" in said.splitlines()[0]
    assert "Training on 1 labelled and 1 unlabelled cases" in said


def test_a_failure_is_kept_in_the_job_for_whoever_looks_later(cases_folder, tmp_path, monkeypatch):
    def run(job, folder, report):
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr("crgloco.training.fine_tune.run", run)
    with pytest.raises(ZeroDivisionError):
        main(words_of(cases_folder, tmp_path / "model"))
    folder = jobs.JobFolder(tmp_path / "model.job")
    assert events_of(folder)[-1]["event"] == "failed"
    assert "Traceback" in folder.log_file.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_tiny_training_ends_with_a_model_that_predicts(cases_folder, tmp_path, capsys):
    assert main(words_of(cases_folder, tmp_path / "model", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["model"] == str(tmp_path / "model")
    words = ["--model", str(tmp_path / "model"), "--input", str(cases_folder), "--out", str(tmp_path / "out")]
    assert main(["predict", *words, "--quality", "fast"]) == 0


def test_a_training_that_its_time_ended_says_how_far_it_came(cases_folder, tmp_path, capsys):
    words = words_of(cases_folder, tmp_path / "model", "--method", "supervised", "--minutes", "0.001")
    words[words.index("--iterations") + 1] = "100000"
    assert main(words) == 0
    updates = json.loads((tmp_path / "model" / "model.json").read_text())["training"]["updates"]
    said = " ".join(capsys.readouterr().err.split())
    assert f"The time of 0.001 min ended the training: {updates} of 100000 updates are done." in said
    assert main(words_of(cases_folder, tmp_path / "other", "--minutes", "1000")) == 0
    assert "ended the training" not in capsys.readouterr().err


def test_scans_that_a_method_does_not_look_at_are_not_said_to_have_taught(cases_folder, tmp_path, capsys):
    assert main(words_of(cases_folder, tmp_path / "model", "--method", "supervised")) == 0
    said = capsys.readouterr().err
    assert "Training on 1 labelled and 0 unlabelled cases" in said
    assert "Scans without label, 1 here, teach nothing (unlabelled_batch=0)." in said
    training = json.loads((tmp_path / "model" / "model.json").read_text())["training"]
    assert (len(training["labelled"]), training["unlabelled"]) == (1, {})


def test_a_model_knows_which_structures_were_one_piece_and_its_predictions_lose_islands(tmp_path):
    cases = write_cases_folder(tmp_path / "cases", 4, 0)
    for path in sorted((cases / "labelsTr").iterdir()):
        label = read_volume(path)
        apart = np.argwhere(label.array == 2)[0]
        label.array[:3, :4, :4] = 2  # a second piece, far from the first
        assert np.abs(apart - 2).max() > 3
        write_volume(label, path)
    assert main(words_of(cases, tmp_path / "model")) == 0
    training = json.loads((tmp_path / "model" / "model.json").read_text())["training"]
    assert (training["one_piece"], training["several_pieces"]) == (["large"], ["small"])
    out = ["--out", str(tmp_path / "out"), "--input", str(cases / "imagesTr"), "--device", "cpu"]
    assert main(["predict", "--model", str(tmp_path / "model"), *out]) == 0
    records = json.loads((tmp_path / "out" / "predictions.json").read_text())["cases"]
    assert len(records) == 4
    assert all(set(record["islands_ml"]) <= {"large"} for record in records)


def test_encoders_pre_trained_on_a_plain_folder_of_scans_start_a_training_with_labels(
    cases_folder, tmp_path, capsys
):
    scans = cases_folder / "imagesUl"
    heads = [*TINY, "hidden=8", "projected=8"]
    out = ["--out", str(tmp_path / "start"), "--iterations", "2"]
    assert main(["train", "--method", "pgl", "--cases", str(scans), *out, *heads]) == 0
    card = json.loads((tmp_path / "start" / "model.json").read_text())
    assert card["method"] == "pgl"
    assert card["branches"] == []
    assert card["training"]["labelled"] == {}
    assert card["training"]["unlabelled"]
    assert main(words_of(cases_folder, tmp_path / "model", "--start", str(tmp_path / "start"))) == 0
    assert "weights start from 'start'" in capsys.readouterr().err
    assert json.loads((tmp_path / "model" / "model.json").read_text())["parent"] == card["weights_sha256"]
    predict = ["predict", "--model", str(tmp_path / "start"), "--input", str(scans), "--out", str(tmp_path)]
    assert main(predict) == 1
    assert "cannot segment by itself" in capsys.readouterr().err


def test_a_pre_training_starts_from_a_model_that_segments_whatever_that_is_labelled_with(
    cases_folder, tiny_model, tmp_path, monkeypatch
):
    start = shutil.copytree(tiny_model, tmp_path / "start")
    card = json.loads((start / "model.json").read_text())
    names = [label["name"] for label in card["labels"]]
    card["training"]["one_piece"] = names
    (start / "model.json").write_text(json.dumps(card))
    rates, rate = [], fine_tune.learning_rate
    monkeypatch.setattr(fine_tune, "learning_rate", lambda *given: rates.append(rate(*given)) or rates[-1])
    words = ["train", "--method", "pgl", "--cases", str(cases_folder / "imagesUl"), "--iterations", "2"]
    heads = ["--set", "hidden=8", "projected=8", "learning_rate=0.004"]
    assert main([*words, "--start", str(start), "--out", str(tmp_path / "encoder"), *heads]) == 0
    made = json.loads((tmp_path / "encoder" / "model.json").read_text())
    assert made["parent"] == card["weights_sha256"]
    assert rates == [0.004]
    assert made["training"]["one_piece"] == []  # what may follow has other structures


def test_a_method_in_rounds_trains_from_the_command_line_and_leaves_no_pseudo_label(cases_folder, tmp_path):
    words = words_of(cases_folder, tmp_path / "model", "--method", "local_contrastive")
    words[words.index("2")] = "4"
    assert main(words) == 0
    folder = jobs.JobFolder(tmp_path / "model.job")
    stages = [event.get("stage") for event in events_of(folder) if event["event"] == "progress"]
    assert stages.count("pseudo-labels") == 3
    assert not folder.rounds_folder.exists()


def test_a_training_keeps_its_checkpoint_and_ends_with_the_program_that_started_it(cases_folder, tmp_path):
    out = tmp_path / "model"
    words = words_of(cases_folder, out, "--stop-on-eof")
    words[words.index("--iterations") + 1] = "100000"
    folder = jobs.JobFolder(tmp_path / "model.job")
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "crgloco", *words], stdin=subprocess.PIPE, stdout=said, stderr=said
        )
        try:
            end = time.monotonic() + 100
            while not any(event.get("stage") == "training" for event in events_of(folder)):
                assert process.poll() is None, (tmp_path / "said.txt").read_text()
                assert time.monotonic() < end
                time.sleep(0.1)
            process.stdin.close()
            assert process.wait(30) == 130
        finally:
            process.kill()
            process.wait()
    assert folder.state == "stopped"
    assert folder.checkpoint_file.is_file()
    assert events_of(folder)[-1]["event"] == "stopped"


def test_a_training_that_hears_nothing_is_left_after_its_patience():
    code = """
import time
from crgloco.commands import parent
parent.PATIENCE_S = 0.3
parent.stop_at_end_of_input(lambda: print("asked", flush=True))
print("working", flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"working\n"
        process.stdin.write(b"anything\n")
        process.stdin.flush()
        time.sleep(0.5)
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(10) == 130
        assert process.stdout.read() == b"asked\n"


@pytest.mark.parametrize("maker", ["start", "somebody"])
def test_validation_labels_that_began_as_the_start_models_answers_are_named(
    cases_folder, tiny_model, tmp_path, maker
):
    """On them, the start model looks better than it is."""
    from crgloco.data.case_store import accept_label
    from crgloco.data.cases import open_cases
    from crgloco.data.provenance import Provenance
    from crgloco.io.files import read_source
    from crgloco.io.volume import Volume

    start = json.loads((tiny_model / "model.json").read_text())["weights_sha256"]
    folder = open_cases(cases_folder)
    for case in (*folder.labelled, *folder.unlabelled):
        image = read_source(case.channels[0])
        label = Volume((image.array > image.array.mean()).astype("uint8"), image.geometry)
        model = start if maker == "start" else None
        accept_label(cases_folder, case.name, label, Provenance(model=model))
    out = tmp_path / "model"
    assert main(["train", "--cases", str(cases_folder), "--out", str(out), "--iterations", "1",
                 "--start", str(tiny_model), "--device", "cpu"]) == 0  # fmt: skip
    training = json.loads((out / "model.json").read_text())["training"]
    assert len(training["validation"]) == 1
    expected = list(training["validation"]) if maker == "start" else []
    metrics = training["metrics"]
    assert metrics["made_from_start"] == expected
    assert ("hd95_mm" in metrics["new"]) == ("hd95_mm" in metrics["start"])


def test_a_start_model_that_is_deleted_meanwhile_does_not_cost_the_new_one(tiny_model, tmp_path, monkeypatch):
    cases = write_cases_folder(tmp_path / "cases", 2, 1)
    start, out, finish = tmp_path / "start", tmp_path / "model", fine_tune.finish
    shutil.copytree(tiny_model, start)

    def finish_late(*values):
        shutil.rmtree(start)
        return finish(*values)

    monkeypatch.setattr("crgloco.training.fine_tune.finish", finish_late)
    words = ["train", "--cases", str(cases), "--out", str(out), "--iterations", "1"]
    assert main([*words, "--start", str(start), "--device", "cpu"]) == 0
    assert "start" in json.loads((out / "model.json").read_text())["training"]["metrics"]


@pytest.mark.parametrize(
    ("start", "labelled", "share"), [(True, 1, 0.25), (True, 3, 0.75), (True, 5, 1.0), (False, 1, 1.0)]
)
def test_training_goes_on_from_a_model_at_a_share_of_the_learning_rate_for_each_label(
    tiny_model, tmp_path, seen, start, labelled, share
):
    cases = write_cases_folder(tmp_path / "cases", 7, 1)
    words = words_of(cases, tmp_path / "model", "--labelled", str(labelled))
    words += ["--start", str(tiny_model)] if start else []
    assert main([*words, "--set", "learning_rate=0.004", "start_rate=0.25"]) == 130
    assert [schedule.learning_rate for schedule in seen] == [pytest.approx(0.004 * share)]


@pytest.mark.parametrize(
    ("more", "share"),
    [
        (["--method", "supervised"], 0.25),
        (["--method", "mcsc"], 0.25),
        (["--method", "versemi"], 1.0),
        (["--set", "head=perceptron"], 1.0),
    ],
)
def test_what_starts_from_a_model_but_with_new_heads_learns_at_the_whole_rate(
    cases_folder, tiny_model, tmp_path, seen, more, share
):
    words = words_of(cases_folder, tmp_path / "model", "--start", str(tiny_model), *more)
    assert main([*words, "--set", "learning_rate=0.004", "start_rate=0.25"]) == 130
    assert [schedule.learning_rate for schedule in seen] == [pytest.approx(0.004 * share)]


@pytest.mark.parametrize(
    ("start", "more", "updates"),
    [
        (False, [], 4000),
        (True, [], 320),
        (True, ["--method", "supervised"], 300),
        (True, ["--iterations", "5000"], 5000),
        (True, ["--set", "iterations=700"], 700),
        (True, ["--config-name", "released"], 20000),
    ],
)
def test_training_goes_on_from_a_model_for_as_long_as_its_labels_teach_unless_told_otherwise(
    tiny_model, tmp_path, seen, start, more, updates
):
    cases = write_cases_folder(tmp_path / "cases", 4, 1)
    words = ["train", "--cases", str(cases), "--out", str(tmp_path / "model"), "--device", "cpu", *more]
    assert main([*words, *(["--start", str(tiny_model)] if start else TINY[2:])]) == 130
    assert [schedule.iterations for schedule in seen] == [updates]


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize(("spacing", "code"), [("3,3,3", 1), ("", 130)])
def test_a_voxel_size_that_the_start_model_does_not_know_is_refused(
    cases_folder, tiny_model, tmp_path, capsys, spacing, code
):
    words = words_of(cases_folder, tmp_path / "model", "--start", str(tiny_model))
    wanted = [word for word in words if not word.startswith("spacing=")]
    assert main([*wanted, "--set", f'spacing="{spacing}"']) == code
    assert ("the option spacing asks for 3,3,3" in capsys.readouterr().err) == (code == 1)


def test_a_memory_that_is_too_small_for_the_training_is_told_in_words(
    cases_folder, tmp_path, monkeypatch, capsys
):
    def fit(_trainer):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("crgloco.training.trainer.Trainer.fit", fit)
    assert main(words_of(cases_folder, tmp_path / "model")) == 1
    said = capsys.readouterr().err
    assert "does not suffice for this training" in said
    assert "window_voxels" in said
    assert "Traceback" not in said


def test_what_a_training_held_makes_room_for_what_measures_its_model(cases_folder, tmp_path, monkeypatch):
    made, alive = [], []
    build, finish = fine_tune._trainer, fine_tune.finish

    def built(*arguments):
        trainer = build(*arguments)
        made.append(weakref.ref(trainer))
        return trainer

    def finished(*arguments):
        alive.append(made[0]())
        return finish(*arguments)

    monkeypatch.setattr(fine_tune, "_trainer", built)
    monkeypatch.setattr(fine_tune, "finish", finished)
    assert main(words_of(cases_folder, tmp_path / "model")) == 0
    assert alive == [None]


def test_what_makes_labels_and_what_is_measured_is_the_network_that_becomes_the_model(tmp_path, monkeypatch):
    cases, out = write_cases_folder(tmp_path / "cases", 2, 1), tmp_path / "model"
    made, asked = [], []
    build, predictor, measure = fine_tune.build_method, Run.predictor, finishing.score_and_calibrate

    def built(*given):
        made.append(build(*given))
        return made[0]

    def ready(run, network, **how):
        asked.append(network)
        return predictor(run, network, **how)

    monkeypatch.setattr(fine_tune, "build_method", built)
    monkeypatch.setattr(Run, "predictor", ready)
    monkeypatch.setattr(
        finishing, "score_and_calibrate", lambda *given: (measure(*given)[0], {"temperature": 1.5})
    )
    assert main(words_of(cases, out, "--method", "local_contrastive")) == 0
    averaged = made[0].averaged
    assert [network is averaged for network in asked] == [True] * 3  # a round, half-way, at the end
    assert differing(model_store.load_tensors(out), averaged.state_dict()) == []
    assert model_store.read_card(out).calibration == {"temperature": 1.5}


def test_a_gpu_that_fails_in_a_training_is_told_in_one_line(cases_folder, tmp_path, monkeypatch, capsys):
    def fit(_trainer):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with it.")

    monkeypatch.setattr("crgloco.training.trainer.Trainer.fit", fit)
    assert main(words_of(cases_folder, tmp_path / "model")) == 1
    said = capsys.readouterr().err
    assert "The GPU failed (CUDA error: an illegal memory access was encountered)" in said
    assert "Traceback" not in said
    failed = [
        event for event in events_of(jobs.JobFolder(tmp_path / "model.job")) if event["event"] == "failed"
    ]
    assert [event["type"] for event in failed] == ["ResourceError"]


@pytest.mark.usefixtures("seen")
def test_a_disk_without_room_stops_only_what_is_not_prepared_yet(cases_folder, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as full:
        full.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=0))
        assert main(words_of(cases_folder, tmp_path / "model")) == 1
    assert "MB more, but" in capsys.readouterr().err
    assert main(words_of(cases_folder, tmp_path / "model")) == 130
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=0))
    assert main(words_of(cases_folder, tmp_path / "model")) == 130


def test_a_diary_that_cannot_be_written_ends_no_training(cases_folder, tmp_path, monkeypatch):
    whole = Path.open

    def full(path, mode="r", *arguments, **options):
        if "a" in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    assert main(words_of(cases_folder, tmp_path / "model")) == 0
    assert (tmp_path / "model" / "model.json").is_file()


FAULTS = {
    "cut off": lambda image, _label: image.write_bytes(image.read_bytes()[:200]),
    "the same everywhere": lambda image, _label: write_volume(
        Volume(np.zeros_like(read_volume(image).array), read_volume(image).geometry), image
    ),
    "label value 9": lambda _image, label: write_volume(
        Volume(np.full_like(read_volume(label).array, 9), read_volume(label).geometry), label
    ),
    "another grid": lambda _image, label: write_volume(
        Volume(read_volume(label).array, replace(read_volume(label).geometry, spacing=(9.0, 9.0, 9.0))), label
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_validation_case_that_cannot_measure_is_told_before_the_first_update(
    tmp_path, monkeypatch, capsys, fault
):
    def fit(_trainer):
        pytest.fail("It trained first.")

    monkeypatch.setattr("crgloco.training.trainer.Trainer.fit", fit)
    folder = write_cases_folder(tmp_path / "cases", 3, 0)
    (kept,) = draw_split(open_cases(folder)).validating
    fault(kept.channels[0].path, kept.label)
    assert main(words_of(folder, tmp_path / "model")) == 1
    assert kept.name in capsys.readouterr().err.splitlines()[-1]


def test_labels_in_which_nothing_was_drawn_teach_nothing_and_are_refused(tmp_path, capsys):
    folder = write_cases_folder(tmp_path / "cases", 2, 0)
    for path in (folder / "labelsTr").iterdir():
        volume = read_volume(path)
        write_volume(Volume(np.zeros_like(volume.array), volume.geometry), path)
    assert main(words_of(folder, tmp_path / "model")) == 1
    assert "there is nothing to learn" in capsys.readouterr().err


@pytest.mark.usefixtures("seen")
def test_a_training_that_nothing_measures_says_so(tmp_path, capsys):
    folder = write_cases_folder(tmp_path / "cases", 1, 1)
    main(words_of(folder, tmp_path / "model"))
    said = capsys.readouterr().err
    assert "Nothing will be measured" in said
    assert "A single label" not in said


@pytest.mark.usefixtures("seen")
def test_going_on_from_a_model_with_a_single_label_is_warned_of(cases_folder, tiny_model, tmp_path, capsys):
    main(words_of(cases_folder, tmp_path / "model", "--start", str(tiny_model)))
    said = capsys.readouterr().err
    assert "A single label may well make it worse on other scans: keep 'Two ellipsoids'." in said
    assert "much smaller" not in said


@pytest.mark.usefixtures("seen")
def test_a_start_model_that_sees_no_details_of_the_scans_is_told_of(tiny_model, tmp_path, capsys):
    folder = write_cases_folder(tmp_path / "cases", 1, 1)
    for path in (*folder.glob("images*/*.nii.gz"), *folder.glob("labelsTr/*.nii.gz")):
        volume = read_volume(path)
        smaller = tuple(mm / 3 for mm in volume.geometry.spacing)
        write_volume(Volume(volume.array, replace(volume.geometry, spacing=smaller)), path)
    main(words_of(folder, tmp_path / "model", "--start", str(tiny_model)))
    assert "are much smaller than those that 'Two ellipsoids' sees" in capsys.readouterr().err
