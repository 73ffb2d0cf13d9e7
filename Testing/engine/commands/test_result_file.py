"""``--json`` takes no word of the command for its file, and no file of somebody else is replaced."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from crgloco.__main__ import main, parser
from phantoms import write_cases_folder


def commands_below(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    inside = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    if not inside:
        yield top
    for action in inside:
        for below in action.choices.values():
            yield from commands_below(below)


COMMANDS = {command.prog: command for command in commands_below(parser())}


@pytest.fixture
def evaluated(cases_folder: Path) -> list[str]:
    labels = str(cases_folder / "labelsTr")
    return ["evaluate", "--predictions", labels, "--labels", labels]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_where_words_stand_alone_no_flag_may_take_one_of_them(command: argparse.ArgumentParser) -> None:
    alone = [action for action in command._actions if not action.option_strings]
    greedy = [action for action in command._actions if action.option_strings and action.nargs == "?"]
    assert not (alone and greedy)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"crgloco worker"}))
def test_every_command_gives_its_result_to_stdout_or_to_a_file(name: str) -> None:
    flags = COMMANDS[name].format_help()
    assert "--json" in flags
    assert "--json-file FILE" in flags


def test_a_merge_takes_the_folder_behind_the_flag(tmp_path, capsys):
    folders = [
        str(write_cases_folder(tmp_path / name, 1, 0, shape=(6, 8, 8), seed=seed))
        for seed, name in enumerate(("a", "b", "c"))
    ]
    assert main(["cases", "merge", "--json", *folders, "--out", str(tmp_path / "all")]) == 0
    assert json.loads(capsys.readouterr().out)["labelled"] == 3


def test_a_method_behind_the_flag_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["methods", "--json", "pgl"]) == 0
    assert [card["name"] for card in json.loads(capsys.readouterr().out)] == ["pgl"]
    assert list(tmp_path.iterdir()) == []


def test_models_in_the_folder_behind_the_flag_are_listed(tiny_model, capsys):
    assert main(["models", "list", "--json", str(tiny_model.parent)]) == 0
    assert [entry["path"] for entry in json.loads(capsys.readouterr().out)] == [str(tiny_model)]


def test_a_second_word_behind_the_flag_is_wrong_usage_and_not_a_file(cases_folder, capsys):
    document = cases_folder / "dataset.json"
    before = document.read_bytes()
    assert main(["cases", "list", "--json", str(document), str(cases_folder)]) == 2
    assert document.read_bytes() == before
    assert "usage:" in capsys.readouterr().err


def test_a_command_without_words_takes_a_file_behind_the_flag_and_replaces_its_own(
    evaluated, tmp_path, capsys
):
    assert main([*evaluated, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    for words in (["--json", str(tmp_path / "scores.json")], ["--json-file", str(tmp_path / "scores.json")]):
        assert main([*evaluated, *words]) == 0
        assert json.loads((tmp_path / "scores.json").read_text()) == {"written_by": "crgloco", **shown}
    assert "Cases scored: 1" in capsys.readouterr().out


def test_the_table_counts_the_cases_of_every_row(evaluated, capsys):
    assert main(evaluated) == 0
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [row[2].strip() for row in rows] == ["1"] * 3
    assert rows[-1][1].strip() == "mean"


def test_a_list_in_a_file_is_its_items_and_is_replaced_by_the_next(cases_folder, tmp_path):
    words = ["cases", "check", str(cases_folder), "--json-file", str(tmp_path / "problems.json")]
    assert main(words) == 0
    (cases_folder / "imagesTr" / "phantom_000_0000.nii.gz").write_bytes(b"no scan")
    assert main(words) == 3
    problems = json.loads((tmp_path / "problems.json").read_text())["items"]
    assert "phantom_000" in {problem["case"] for problem in problems}


def test_an_empty_file_gives_its_name(evaluated, tmp_path):
    (tmp_path / "made_by_mktemp").touch()
    assert main([*evaluated, "--json", str(tmp_path / "made_by_mktemp")]) == 0


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("", "is a folder"),
        ("missing/scores.json", "its folder does not exist"),
        ("dataset.json", "is no earlier result"),
        ("labelsTr/phantom_000.nii.gz", "is no earlier result"),
    ],
)
def test_a_file_that_must_not_be_written_is_refused_before_the_work(
    evaluated, cases_folder, monkeypatch, capsys, target, words
):
    def work(*_: object, **__: object) -> None:
        pytest.fail("the work began")

    monkeypatch.setattr("crgloco.evaluation.evaluate_folders", work)
    path = cases_folder / target
    before = path.read_bytes() if path.is_file() else None
    assert main([*evaluated, "--json", str(path)]) == 1
    said = capsys.readouterr().err
    assert str(path) in said
    assert words in said
    assert before is None or path.read_bytes() == before


def test_a_file_that_came_while_we_worked_stays(cases_folder, tiny_model, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    words = ["--model", str(tiny_model), "--input", str(cases_folder), "--out", str(out), "--quality", "fast"]
    assert main(["predict", *words, "--json", str(out / "predictions.json")]) == 1
    assert "is no earlier result" in capsys.readouterr().err
    assert "begun" in json.loads((out / "predictions.json").read_text())
