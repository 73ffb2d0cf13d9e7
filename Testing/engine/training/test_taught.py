"""Who fine-tunes goes on correcting: a run keeps to the cases it began with, to its end and over a stop."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk

from crgloco.data.case_split import draw_split
from crgloco.data.case_store import accept_label
from crgloco.data.cases import open_cases
from crgloco.data.manifest import read_manifest, write_manifest
from crgloco.data.provenance import Provenance, source_hash
from crgloco.errors import Cancelled, JobError
from crgloco.io.files import read_volume
from crgloco.job_file import Job
from crgloco.jobs import write_job
from crgloco.training import fine_tune
from phantoms import write_cases_folder
from tiny_training import Recorder

TINY = {"local_window": "12,16,16", "global_window": "16,24,24", "width": 4, "levels": 3, "stem": "strided"}
UPDATES = 4


class Busy(Recorder):
    """Does something after the first update, and may ask for an end then."""

    def __init__(self, act: Callable[[], object] = lambda: None, *, stop: bool = False) -> None:
        super().__init__()
        self.act, self.stop, self.learnt = act, stop, False

    def event(self, kind: str, **fields: object) -> None:
        super().event(kind, **fields)
        if kind == "progress" and fields["stage"] == "training" and not self.learnt:
            self.learnt = True
            self.act()

    def check(self) -> None:
        if self.stop and self.learnt:
            raise Cancelled("an end was asked for")


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    return write_cases_folder(tmp_path / "cases", labelled=4, unlabelled=2, shape=(16, 24, 24))


def train(
    cases: Path, out: Path, report: Recorder, method: str = "cr_gloco", start: Path | None = None
) -> Path:
    config = {**TINY, "iterations": UPDATES}
    job = Job(cases=cases, method=method, out=out, config=config, seed=1, device="cpu", start=start)
    return fine_tune.run(job, write_job(out.with_suffix(".job"), job), report)


def accept(cases: Path, name: str) -> Callable[[], object]:
    """Label a case with the label of another one, or correct it so."""

    def act() -> None:
        label = read_volume(next(iter(open_cases(cases).labelled)).label)
        accept_label(cases, name, label, Provenance())

    return act


def taught(model: Path) -> dict[str, dict[str, str]]:
    card = json.loads((model / "model.json").read_text())
    return {role: card["training"][role] for role in ("labelled", "unlabelled", "validation")}


def test_a_scan_that_is_labelled_and_moved_while_a_run_learns_from_it_does_not_end_the_run(cases, tmp_path):
    before = open_cases(cases).find("phantom_004").channels[0]
    known = source_hash(before)
    model = train(cases, tmp_path / "model", Busy(accept(cases, "phantom_004")))
    assert not before.path.exists()
    assert taught(model)["unlabelled"]["phantom_004"] == known


@pytest.mark.parametrize("name", ["phantom_004", "phantom_001", "phantom_000"])
def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not_whatever_was_labelled_meanwhile(
    cases, tmp_path, name
):
    whole = train(cases, tmp_path / "whole", Recorder())
    with pytest.raises(Cancelled):
        train(cases, tmp_path / "broken", Busy(stop=True))
    accept(cases, name)()
    again = Recorder()
    broken = train(cases, tmp_path / "broken", again)
    assert (whole / "weights.safetensors").read_bytes() == (broken / "weights.safetensors").read_bytes()
    assert taught(whole) == taught(broken)
    assert not (tmp_path / "broken.job" / "taught.json").exists()


def test_it_is_said_when_the_roles_of_cases_have_changed(cases, tmp_path):
    for name, said in (("one", False), ("two", True)):
        with pytest.raises(Cancelled):
            train(cases, tmp_path / name, Busy(stop=True))
        if said:
            accept(cases, "phantom_005")()
        again = Recorder()
        train(cases, tmp_path / name, again)
        texts = " ".join(fields["text"] for fields in again.of_kind("message"))
        assert ("ends with those it began with" in texts) == said


def test_a_new_run_learns_from_the_cases_as_they_are_now(cases, tmp_path):
    train(cases, tmp_path / "first", Busy(accept(cases, "phantom_004")))
    roles = taught(train(cases, tmp_path / "second", Recorder()))
    assert "phantom_004" in {**roles["labelled"], **roles["validation"]}


def test_a_scan_that_taught_before_the_stop_does_not_measure_after_it(tmp_path):
    cases = write_cases_folder(tmp_path / "cases", labelled=1, unlabelled=2, shape=(16, 24, 24))
    with pytest.raises(Cancelled):
        train(cases, tmp_path / "model", Busy(stop=True))
    accept(cases, "phantom_001")()
    accept(cases, "phantom_002")()
    assert taught(train(cases, tmp_path / "model", Recorder()))["validation"] == {}


def test_what_labels_show_is_known_after_a_stop_though_more_may_be_told_meanwhile(cases, tmp_path):
    def tell(*structures: str) -> None:
        folder = open_cases(cases)
        shown = {case.name: (Provenance(structures=structures or None),) for case in folder.training[:1]}
        write_manifest(cases, replace(read_manifest(cases), provenance=shown))

    draw_split(open_cases(cases))
    for case in open_cases(cases).training[:1]:
        sitk.WriteImage(sitk.ChangeLabel(sitk.ReadImage(case.label), {1: 0}), case.label)
    tell("small")
    whole = train(cases, tmp_path / "whole", Recorder(), "versemi")
    with pytest.raises(Cancelled):
        train(cases, tmp_path / "broken", Busy(stop=True), "versemi")
    tell()
    broken = train(cases, tmp_path / "broken", Recorder(), "versemi")
    assert (whole / "weights.safetensors").read_bytes() == (broken / "weights.safetensors").read_bytes()


def test_where_a_prepared_case_is_gone_the_cases_that_changed_are_named(cases, tmp_path):
    with pytest.raises(Cancelled):
        train(cases, tmp_path / "model", Busy(stop=True))
    accept(cases, "phantom_004")()
    for file in (tmp_path / ".crgloco-cache").glob("phantom_004-*/case.json"):
        file.unlink()
    with pytest.raises(JobError, match="phantom_004"):
        train(cases, tmp_path / "model", Recorder())


def test_a_run_that_was_refused_goes_on_once_its_cases_are_what_they_were(cases, tmp_path):
    before = tmp_path / "before"
    shutil.copytree(cases, before)
    whole = train(cases, tmp_path / "whole", Recorder())
    with pytest.raises(Cancelled):
        train(cases, tmp_path / "model", Busy(stop=True))
    accept(cases, "phantom_004")()
    shutil.rmtree(tmp_path / ".crgloco-cache")
    with pytest.raises(JobError, match="phantom_004"):
        train(cases, tmp_path / "model", Recorder())
    shutil.rmtree(cases)
    before.rename(cases)
    model = train(cases, tmp_path / "model", Recorder())
    assert (whole / "weights.safetensors").read_bytes() == (model / "weights.safetensors").read_bytes()


def test_structures_that_got_other_values_meanwhile_never_end_under_another_name(cases, tmp_path):
    with pytest.raises(Cancelled):
        train(cases, tmp_path / "model", Busy(stop=True))
    for case in open_cases(cases).labelled:
        label = sitk.ReadImage(case.label)
        sitk.WriteImage(sitk.ChangeLabel(label, {1: 2, 2: 1}), case.label)
    for file in (cases / "dataset.json", cases / "crgloco.json"):
        text = file.read_text()
        file.write_text(text.replace("large", "?").replace("small", "large").replace("?", "small"))
    with pytest.raises(JobError, match="have changed"):
        train(cases, tmp_path / "model", Recorder())


def test_a_structure_that_was_misspelt_gets_its_name_when_the_run_goes_on(cases, tmp_path):
    with pytest.raises(Cancelled):
        train(cases, tmp_path / "model", Busy(stop=True))
    for file in (cases / "dataset.json", cases / "crgloco.json"):
        file.write_text(file.read_text().replace("large", "liver"))
    model = train(cases, tmp_path / "model", Recorder())
    labels = json.loads((model / "model.json").read_text())["labels"]
    assert [(label["value"], label["name"]) for label in labels] == [(1, "liver"), (2, "small")]


def test_a_start_model_that_was_replaced_meanwhile_is_told_and_the_former_one_goes_on(cases, tmp_path):
    start = train(cases, tmp_path / "start", Recorder())
    other = train(cases, tmp_path / "other", Recorder(), start=start)
    whole = train(cases, tmp_path / "whole", Recorder(), start=start)
    with pytest.raises(Cancelled):
        train(cases, tmp_path / "model", Busy(stop=True), start=start)
    start.rename(tmp_path / "former")
    other.rename(start)
    with pytest.raises(JobError, match="start model has been replaced"):
        train(cases, tmp_path / "model", Recorder(), start=start)
    shutil.rmtree(start)
    (tmp_path / "former").rename(start)
    model = train(cases, tmp_path / "model", Recorder(), start=start)
    assert (whole / "weights.safetensors").read_bytes() == (model / "weights.safetensors").read_bytes()
