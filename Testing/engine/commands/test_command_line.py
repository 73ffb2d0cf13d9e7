"""What every command shares: exit codes, one line per error, quick start, JSON for programs."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import subprocess
import sys

import pytest

from crgloco import methods
from crgloco.__main__ import main
from crgloco.commands.bars import Bars, PlainLines
from crgloco.progress import parse_event

PROGRAM = [sys.executable, "-X", "importtime", "-m", "crgloco"]


@pytest.mark.parametrize(
    "words", [["--help"], ["methods", "--json"], ["models", "list"], ["cases", "--help"]]
)
def test_lists_and_help_start_without_torch_and_monai(words, tmp_path):
    answer = subprocess.run(
        [*PROGRAM, *words], capture_output=True, encoding="utf-8", check=True, cwd=tmp_path
    )
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in answer.stderr.splitlines()}
    assert "crgloco" in imported
    assert not {"torch", "monai", "matplotlib"} & imported


def test_listing_cases_starts_without_torch(cases_folder):
    answer = subprocess.run(
        [*PROGRAM, "cases", "list", str(cases_folder)], capture_output=True, encoding="utf-8", check=True
    )
    assert "torch" not in {line.rpartition("|")[2].strip() for line in answer.stderr.splitlines()}
    assert answer.stdout.split()[:2] == ["phantom_000", "labelled"]


@pytest.mark.parametrize(
    "words",
    [[], ["sing"], ["predict"], ["train", "--cases", "x"], ["train", "--cases", "x", "--labelled", "0"]],
)
def test_wrong_usage_ends_with_code_2(words, capsys):
    assert main(words) == 2
    assert "usage:" in capsys.readouterr().err


def test_help_ends_with_code_0(capsys):
    assert main(["--help"]) == 0
    assert "COMMAND" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="closed streams are a matter of the shell")
@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_work_is_done_without_stdout_and_stderr_too(closed, cases_folder, tmp_path):
    words = [sys.executable, "-m", "crgloco", "cases", "check", str(cases_folder)]
    report = tmp_path / "report.json"
    line = f"{shlex.join([*words, '--json-file', str(report)])} {closed}"
    assert subprocess.run(["sh", "-c", line], check=False).returncode == 0
    assert json.loads(report.read_text())["written_by"] == "crgloco"


class Lost(io.StringIO):
    """A terminal that was closed, or a log on a disk that is full."""

    def isatty(self):
        return True

    def write(self, *_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def flush(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_progress_that_nobody_can_be_told_of_ends_no_work(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Lost())
    PlainLines(sys.stderr).event("message", text="Half of it is done.")
    with Bars() as bars:
        bars.event("progress", stage="training", done=1, total=2)
        bars.event("message", text="Half of it is done.")


def test_events_and_a_document_on_one_stdout_are_wrong_usage(tmp_path, capsys):
    assert main(["models", "list", str(tmp_path), "--json", "--events"]) == 2
    said = capsys.readouterr()
    assert "--events and --json both write to stdout" in said.err
    assert said.out == ""


@pytest.mark.parametrize("words", [[], ["--json"], ["--events"]])
def test_a_result_that_cannot_be_written_is_told_in_one_line(words, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "stdout", Lost())
    assert main(["models", "list", str(tmp_path), *words]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == f"crgloco: The output cannot be written: {os.strerror(errno.EIO)}."
    assert "Traceback" not in "".join(told)


def test_an_error_is_one_line_without_traceback(tmp_path, capsys):
    assert main(["models", "export", str(tmp_path / "none"), str(tmp_path / "a.zip")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("crgloco: ")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err


def test_debug_shows_where_an_error_arose(tmp_path, capsys):
    assert main(["models", "export", str(tmp_path / "none"), str(tmp_path / "a.zip"), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_with_events_an_error_is_an_event_too(tmp_path, capsys):
    assert main(["models", "export", str(tmp_path / "none"), str(tmp_path / "a.zip"), "--events"]) == 1
    event = parse_event(capsys.readouterr().out.strip())
    assert event is not None
    assert (event["event"], event["type"]) == ("error", "ModelError")


def test_a_keyboard_interrupt_ends_with_code_130(monkeypatch, tmp_path, capsys):
    def interrupted(folders: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crgloco.model_store.list_models", interrupted)
    assert main(["models", "list", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "crgloco: Cancelled.\n"


def test_a_lack_of_memory_is_told_in_words(monkeypatch, tmp_path, capsys):
    def too_much(folders: object) -> None:
        raise MemoryError

    monkeypatch.setattr("crgloco.model_store.list_models", too_much)
    assert main(["models", "list", str(tmp_path)]) == 1
    assert "memory does not suffice" in capsys.readouterr().err


def test_a_fault_of_ours_keeps_its_traceback_and_is_told_to_programs(monkeypatch, tmp_path, capsys):
    def fault(folders: object) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr("crgloco.model_store.list_models", fault)
    with pytest.raises(ZeroDivisionError):
        main(["models", "list", str(tmp_path), "--events"])
    event = parse_event(capsys.readouterr().out.strip())
    assert event is not None
    assert event["type"] == "Fault"


def test_every_method_is_listed_with_all_that_a_form_needs(capsys):
    assert main(["methods", "--json"]) == 0
    cards = json.loads(capsys.readouterr().out)
    assert [card["name"] for card in cards] == list(methods.available())
    for card in cards:
        assert card["title"]
        assert card["reference"]
        assert all(
            {"name", "type", "default", "label", "help"} <= option.keys() for option in card["options"]
        )


def test_a_method_is_shown_with_its_options(capsys):
    assert main(["methods", "cr_gloco"]) == 0
    said = capsys.readouterr().out
    assert "learning_rate" in said
    assert "--config-name released" in said


def test_json_can_go_to_a_file(tmp_path, capsys):
    assert main(["methods", "--json-file", str(tmp_path / "methods.json")]) == 0
    assert json.loads((tmp_path / "methods.json").read_text(encoding="utf-8"))
    assert "cr_gloco" in capsys.readouterr().out


def test_models_are_listed_checked_exported_and_imported(tiny_model, tmp_path, capsys):
    assert main(["models", "list", str(tiny_model.parent), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed[0]["card"]["title"] == "Two ellipsoids"
    assert main(["models", "check", str(tiny_model)]) == 0
    assert main(["models", "export", str(tiny_model), str(tmp_path / "model.zip")]) == 0
    assert main(["models", "import", str(tmp_path / "model.zip"), "--into", str(tmp_path / "models")]) == 0
    assert main(["models", "check", str(tmp_path / "models" / tiny_model.name)]) == 0


def test_a_zip_that_exists_is_kept_and_the_option_that_replaces_it_is_named(tiny_model, tmp_path, capsys):
    (tmp_path / "model.zip").write_bytes(b"mine")
    words = ["models", "export", str(tiny_model), str(tmp_path / "model.zip")]
    assert main(words) == 1
    assert "exists already. Choose another name, or replace it with --overwrite." in capsys.readouterr().err
    assert (tmp_path / "model.zip").read_bytes() == b"mine"
    assert main([*words, "--overwrite"]) == 0


def test_a_models_own_folder_lists_that_model(tiny_model, monkeypatch, capsys):
    assert main(["models", "list", str(tiny_model), "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["path"], entry["card"]["title"]) == (str(tiny_model), "Two ellipsoids")
    monkeypatch.chdir(tiny_model)
    assert main(["models", "list", "."]) == 0
    assert "Two ellipsoids" in capsys.readouterr().out


def test_a_bundled_model_is_listed_by_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["models", "list", "chaos_mr_starter", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert "card" in entry


def test_a_folder_without_models_is_an_empty_list_and_one_that_is_not_there_an_error(
    tiny_model, tmp_path, capsys
):
    assert main(["models", "list", str(tmp_path)]) == 0
    assert f"No models in {tmp_path}." in capsys.readouterr().out
    assert main(["models", "list", str(tiny_model.parent), str(tmp_path / "nowhere")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "nowhere does not exist. Give a folder of models" in said.err
    (tmp_path / "note.txt").touch()
    assert main(["models", "list", str(tmp_path / "note.txt")]) == 1
    assert "note.txt is no folder" in capsys.readouterr().err


def test_a_damaged_model_is_named_by_check_with_code_3(tiny_model, tmp_path, capsys):
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "damaged")
    (folder / "weights.safetensors").write_bytes(b"none")
    assert main(["models", "check", str(folder)]) == 3
    assert "damaged" in capsys.readouterr().out


def test_a_sound_cases_folder_passes_the_check(cases_folder, capsys):
    assert main(["cases", "check", str(cases_folder), "--json"]) == 0
    assert all(problem["severity"] == "warning" for problem in json.loads(capsys.readouterr().out))


def test_a_check_with_further_scans_names_those_that_are_there_already(cases_folder, tmp_path, capsys):
    source = cases_folder / "imagesTr" / "phantom_000_0000.nii.gz"
    (tmp_path / "others").mkdir()
    copy = tmp_path / "others" / "scan.nii.gz"
    copy.write_bytes(source.read_bytes())
    assert main(["cases", "check", str(cases_folder), "--unlabelled", str(tmp_path / "others")]) == 0
    said = capsys.readouterr().out
    assert f"warning: {copy} is left out of the unlabelled scans: it is the same as {source}" in said
    assert main(["cases", "check", str(cases_folder), "--unlabelled", str(tmp_path / "nowhere")]) == 3
    assert "nowhere is no folder" in capsys.readouterr().out
    assert main(["cases", "check", str(tmp_path / "nowhere")]) == 3


def test_a_plain_folder_of_scans_can_be_checked_for_pre_training(cases_folder, capsys):
    scans = str(cases_folder / "imagesUl")
    assert main(["cases", "check", scans, "--method", "pgl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["cases", "check", scans, "--method", "supervised"]) == 3
    assert "has no labelled case" in capsys.readouterr().out
    assert main(["cases", "check", scans, "--method", "magic"]) == 1
    assert "no method 'magic'" in capsys.readouterr().err


def test_a_case_that_cannot_be_read_is_named_by_the_check_with_code_3(cases_folder, capsys):
    (cases_folder / "imagesTr" / "phantom_000_0000.nii.gz").write_bytes(b"no scan")
    assert main(["cases", "check", str(cases_folder), "--json"]) == 3
    problems = json.loads(capsys.readouterr().out)
    assert "phantom_000" in {problem["case"] for problem in problems if problem["severity"] == "error"}
