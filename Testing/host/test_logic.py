"""The logic without any widget: real nodes, workers whose answers the test decides."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer

from crgloco.errors import Cancelled, GeometryError, InputError, ModelError
from crgloco.io.orientation import Orientation
from CRGLoCoSegmentLib.background.worker import WorkerError
from CRGLoCoSegmentLib.logic import SegmentLogic, models, segment_run
from CRGLoCoSegmentLib.logic.task import TimeLeft
from CRGLoCoSegmentLib.nodes.results import setCorrected
from CRGLoCoSegmentLib.nodes.segmentations import newSegmentation
from CRGLoCoSegmentLib.nodes.volumes import volumeFromNode, volumeNodeFromVolume
from stand_ins import TABLE, StandInWorker, addVolume, answerSegment

STARTER = Path(__file__).parents[2] / "CRGLoCoSegment" / "Resources" / "Models" / "chaos_mr_starter"


@pytest.fixture
def compute() -> StandInWorker:
    return StandInWorker()


@pytest.fixture
def files() -> StandInWorker:
    return StandInWorker()


@pytest.fixture
def logic(scene: Any, settings: Any, compute: StandInWorker, files: StandInWorker, tmp_path: Path) -> Any:
    made = SegmentLogic(compute=compute, files=files)
    made.settings.set("modelsFolder", str(tmp_path / "models"))
    yield made
    made.sceneClosed()


@pytest.fixture
def notices(logic: SegmentLogic) -> list[str]:
    heard: list[str] = []
    logic.listeners.add(heard.append)
    return heard


@pytest.fixture
def heard() -> SimpleNamespace:
    return SimpleNamespace(progress=[], finished=[], failed=[])


@pytest.fixture
def segment(
    logic: SegmentLogic, compute: StandInWorker, heard: SimpleNamespace, waitUntil: Callable[..., None]
) -> Callable[..., Any]:
    """Segment a volume up to the moment when the worker has been asked."""

    def start(volume: Any, **options: Any) -> Any:
        count = len(compute.of("segment"))
        task = logic.segment(
            volume,
            onProgress=lambda *values: heard.progress.append(values),
            onFinished=heard.finished.append,
            onFailed=lambda *values: heard.failed.append(values),
            **options,
        )
        waitUntil(lambda: len(compute.of("segment")) > count, 5)
        return task, compute.of("segment")[-1]

    return start


def temporaryFolders() -> list[Path]:
    return list(segment_run.sessionFolder().glob("segment-*"))


@pytest.fixture(autouse=True)
def ownSession(tmp_path: Path, monkeypatch: Any) -> None:
    """Threads of earlier tests may still write or remove in the folder that all tests share."""
    monkeypatch.setattr(segment_run, "sessionFolder", lambda: tmp_path / "session")


# ------------------------------------------------------------------------------------------- segment


def test_a_volume_goes_to_the_worker_bit_for_bit_and_comes_back_as_nodes(
    segment: Any, heard: Any, notices: list[str], waitUntil: Any
):
    volume = addVolume()
    task, request = segment(volume, quality="full", device="cpu")
    (reference,) = request.fields["arrays"]
    assert np.array_equal(np.load(reference["file"]), slicer.util.arrayFromVolume(volume))
    assert reference["geometry"]["shape"] == [6, 8, 10]
    assert reference["geometry"]["spacing"] == [2.0, 1.0, 1.5]
    assert reference["geometry"]["origin"] == [31.0, -12.5, 77.25]
    assert request.fields["quality"] == "full"
    assert request.fields["device"] == "cpu"
    assert request.fields["model"] == str(STARTER)
    labels = answerSegment(request)
    waitUntil(lambda: not task.isRunning(), 5)
    result = task.value
    assert heard.finished == [result]
    assert heard.failed == []
    ids = slicer.util.arrayFromSegmentBinaryLabelmap(result.fused, "label_7", volume)
    assert np.array_equal(ids > 0, labels == 7)
    assert result.record["mean_confidence"] == 0.91
    assert notices[-2:] == ["worker", "result"]
    waitUntil(lambda: not temporaryFolders(), 5)


def test_a_newer_answer_hides_the_older_ones_and_no_corrected_copy(segment: Any, waitUntil: Any):
    volume = addVolume()
    results = []
    for _ in range(2):
        task, request = segment(volume)
        answerSegment(request)
        waitUntil(lambda task=task: not task.isRunning(), 5)
        results.append(task.value)
        if len(results) == 1:
            copy = newSegmentation(np.ones((6, 8, 10), np.uint8), task.value.table, "mine", volume)
            setCorrected(volume, copy)
    old, new = results
    assert slicer.mrmlScene.IsNodePresent(old.fused)
    shown = [node.GetDisplayNode().GetVisibility() for node in (old.fused, new.fused, copy)]
    assert shown == [0, 1, 1]


def test_a_script_that_waits_gets_the_result(logic: SegmentLogic, compute: StandInWorker, monkeypatch: Any):
    ask = compute.ask

    def answerAtOnce(*given: Any, **callbacks: Any) -> Any:
        request = ask(*given, **callbacks)
        answerSegment(request)
        return request

    monkeypatch.setattr(compute, "ask", answerAtOnce)
    volume = addVolume()
    result = logic.segment(volume, STARTER, quality="fast", waitForCompletion=True)
    assert result.volume is volume
    assert logic.resultOf(volume).fused is result.fused
    assert slicer.app.layoutManager() is None
    assert logic.compare(result) is False
    assert logic.correct(result).IsA("vtkMRMLSegmentationNode")


def test_a_script_that_waits_hears_the_engines_words(
    logic: SegmentLogic, compute: StandInWorker, monkeypatch: Any
):
    ask = compute.ask

    def failAtOnce(*given: Any, **callbacks: Any) -> Any:
        request = ask(*given, **callbacks)
        request.fail("The volume holds NaN. Load it again.")
        return request

    monkeypatch.setattr(compute, "ask", failAtOnce)
    with pytest.raises(WorkerError, match="holds NaN"):
        logic.segment(addVolume(), waitForCompletion=True)


def test_a_volume_that_was_removed_meanwhile_gets_no_result(segment: Any, heard: Any, waitUntil: Any):
    volume = addVolume()
    task, request = segment(volume)
    slicer.mrmlScene.RemoveNode(volume)
    answerSegment(request)
    waitUntil(lambda: not task.isRunning(), 5)
    assert "removed meanwhile" in heard.failed[0][0]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    waitUntil(lambda: not temporaryFolders(), 5)


@pytest.mark.parametrize("change", ["voxels", "place"])
def test_a_volume_that_was_changed_meanwhile_gets_no_result(
    segment: Any, heard: Any, waitUntil: Any, change: str
):
    volume = addVolume()
    task, request = segment(volume)
    if change == "voxels":
        slicer.util.arrayFromVolume(volume)[0] = 0
        slicer.util.arrayFromVolumeModified(volume)
    else:
        volume.SetOrigin(0, 0, 0)
    answerSegment(request)
    waitUntil(lambda: not task.isRunning(), 5)
    assert "changed meanwhile" in heard.failed[0][0]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_transform_that_is_put_on_meanwhile_also_comes_on_the_result(segment: Any, waitUntil: Any):
    volume = addVolume()
    task, request = segment(volume)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    answerSegment(request)
    waitUntil(lambda: not task.isRunning(), 5)
    assert task.value.fused.GetTransformNodeID() == transform.GetID()


def test_cancel_before_the_worker_was_asked_leaves_nothing(
    logic: SegmentLogic, compute: StandInWorker, processEvents: Any, waitUntil: Any
):
    task = logic.segment(addVolume())
    task.cancel()
    waitUntil(lambda: not temporaryFolders(), 5)
    processEvents()
    assert compute.requests == []
    assert task.state == "cancelled"


def test_cancel_while_the_worker_works_waits_for_it_before_files_are_removed(
    segment: Any, heard: Any, processEvents: Any, waitUntil: Any
):
    task, request = segment(addVolume())
    task.cancel()
    assert request.wasCancelled
    assert heard.failed == [("Cancelled.", "")]
    processEvents()
    assert temporaryFolders(), "the worker may still be writing there"
    request.confirmCancel()
    waitUntil(lambda: not temporaryFolders(), 5)
    assert heard.failed == [("Cancelled.", "")]


def test_an_answer_that_was_faster_than_the_cancel_is_dropped(segment: Any, heard: Any, waitUntil: Any):
    task, request = segment(addVolume())
    task.cancel()
    answerSegment(request)
    waitUntil(lambda: not temporaryFolders(), 5)
    assert heard.finished == []
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_cancel_while_the_result_is_read_leaves_nothing(segment: Any, heard: Any, waitUntil: Any):
    task, request = segment(addVolume())
    answerSegment(request)
    assert task.isRunning()
    task.cancel()
    waitUntil(lambda: not temporaryFolders(), 5)
    assert heard.finished == []
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_closing_the_scene_ends_the_work_on_it(logic: SegmentLogic, segment: Any, notices: list[str]):
    task, request = segment(addVolume())
    slicer.mrmlScene.Clear()
    logic.sceneClosed()
    assert task.state == "cancelled"
    assert request.wasCancelled
    assert notices[-1] == "scene"
    with pytest.raises(Cancelled):
        task.wait()


def test_an_answer_that_does_not_belong_to_the_volume_is_refused(segment: Any, heard: Any, waitUntil: Any):
    task, request = segment(addVolume())
    request.fields["arrays"][0]["geometry"]["origin"] = [0.0, 0.0, 0.0]
    answerSegment(request)
    waitUntil(lambda: not task.isRunning(), 5)
    assert "different grids" in heard.failed[0][0]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


@pytest.mark.parametrize("garbage", ["cut off", "not there", "no arrays"])
def test_garbage_from_the_worker_ends_the_task_with_words(
    segment: Any, heard: Any, waitUntil: Any, garbage: str
):
    task, request = segment(addVolume())
    out = Path(request.fields["out"])
    (out / "fused.npy").write_bytes(b"\x93NUMPY\x01\x00") if garbage == "cut off" else None
    request.answer(arrays={} if garbage == "no arrays" else {"fused": "fused.npy"}, labels=TABLE)
    waitUntil(lambda: not task.isRunning(), 5)
    assert task.state == "failed"
    assert heard.failed[0][0]


def test_two_volumes_of_one_name_keep_their_results_apart(segment: Any, waitUntil: Any):
    first, second = addVolume("scan"), addVolume("scan")
    for volume in (second, first):
        task, request = segment(volume)
        answerSegment(request)
        waitUntil(lambda task=task: not task.isRunning(), 5)
        assert task.value.volume is volume


def test_a_volume_that_is_being_segmented_is_refused_and_another_one_waits_its_turn(
    logic: SegmentLogic, compute: StandInWorker, segment: Any, heard: Any
):
    first, second = addVolume("first"), addVolume("second")
    segment(first)
    with pytest.raises(InputError, match="first is being segmented already"):
        logic.segment(first)
    segment(second)
    assert len(compute.of("segment")) == 2
    assert heard.progress[-1][0] == "Waiting for the running computation"


def test_progress_only_grows_and_time_is_told_where_it_can_be(
    segment: Any, heard: Any, monkeypatch: pytest.MonkeyPatch
):
    now = [0.0]
    monkeypatch.setattr("CRGLoCoSegmentLib.logic.segment_run.TimeLeft", lambda: TimeLeft(lambda: now[0]))
    _task, request = segment(addVolume())
    stages = [
        ("loading the model", 0, 1),
        ("preparation", 0, 1),
        ("global view", 1, 2),
        ("global view", 2, 2),
    ]
    for stage, done, total in (*stages, *(("local windows", number, 10) for number in range(11))):
        now[0] += 2.0
        request.tell(event="progress", stage=stage, done=done, total=total)
    shares = [done / total for _text, done, total, _left in heard.progress]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.97)
    lefts = [left for _text, _done, _total, left in heard.progress]
    assert lefts[:5] == [None] * 5
    assert lefts[5:] == pytest.approx([2.0 * (10 - number) for number in range(1, 11)])


def test_messages_of_the_engine_are_kept_as_notes(segment: Any):
    task, request = segment(addVolume())
    request.tell(event="message", text="The GPU was full; the CPU blended.")
    assert task.notes == ["The GPU was full; the CPU blended."]


# ---------------------------------------------------------------------------------- what is refused


def test_what_cannot_be_segmented_is_refused_at_once_and_in_words(logic: SegmentLogic):
    labelMap = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "organs")
    colour = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    for node, words in ((None, "Choose a volume"), (labelMap, "organs"), (colour, "photo"), (empty, "empty")):
        with pytest.raises(InputError, match=words):
            logic.segment(node)
        assert words in logic.segmentation.problem(node)


def twoChannels(tmp_path: Path) -> Path:
    """Add a model of the channels T1 and T2."""
    folder = tmp_path / "models" / "two_channels"
    shutil.copytree(STARTER, folder)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(
        json.dumps(card | {"channel_names": ["T1", "T2"], "name": folder.name})
    )
    return folder


def test_a_further_channel_that_was_changed_meanwhile_gives_no_result(
    segment: Any, tmp_path: Path, waitUntil: Any
):
    t1, t2 = addVolume("T1 scan"), addVolume("T2 scan")
    task, request = segment(t1, model=twoChannels(tmp_path), channels=(t2,))
    t2.SetOrigin(0, 0, 0)
    answerSegment(request)
    waitUntil(lambda: not task.isRunning(), 5)
    assert "T2 scan was changed meanwhile" in str(task.error)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_channels_are_counted_and_must_share_one_grid_and_transform(logic: SegmentLogic, tmp_path: Path):
    folder = twoChannels(tmp_path)
    t1, t2, other = addVolume("T1 scan"), addVolume("T2 scan"), addVolume("other", spacing=3.0)
    with pytest.raises(ModelError, match=r"needs 2 volumes \(T1, T2\); 1 volume given"):
        logic.segment(t1, folder)
    with pytest.raises(ModelError, match="same volume"):
        logic.segment(t1, folder, channels=(t1,))
    with pytest.raises(GeometryError, match="other and T1 scan"):
        logic.segment(t1, folder, channels=(other,))
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    t2.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(InputError, match="different transforms"):
        logic.segment(t1, folder, channels=(t2,))
    t2.SetAndObserveTransformNodeID(None)
    assert logic.segment(t1, folder, channels=(t2,)).isRunning()


def test_a_channel_that_slicer_turned_round_is_segmented_on_the_grid_of_the_first(
    logic: SegmentLogic, compute: StandInWorker, tmp_path: Path, waitUntil: Callable[..., None]
):
    folder = twoChannels(tmp_path)
    t1 = addVolume("T1 scan")
    turned = Orientation(flips=(True, False, False)).apply(volumeFromNode(t1))
    t2 = volumeNodeFromVolume(turned, "T2 scan")
    logic.segment(t1, folder, channels=(t2,))
    waitUntil(lambda: compute.of("segment"))
    first, second = compute.of("segment")[0].fields["arrays"]
    assert first["geometry"] == second["geometry"]


def test_a_model_for_one_channel_refuses_two(logic: SegmentLogic):
    with pytest.raises(ModelError, match=r"needs 1 volume \(MR T2 SPIR\); 2 volumes given"):
        logic.segment(addVolume("a"), channels=(addVolume("b"),))


# -------------------------------------------------------------------------------------- the estimate


def test_the_estimate_is_asked_for_by_sizes_alone(logic: SegmentLogic, compute: StandInWorker):
    answers: list[Any] = []
    logic.estimate(addVolume(), quality="fast", onResult=answers.append, onError=None)
    (request,) = compute.of("estimate")
    assert request.fields["shape"] == [6, 8, 10]
    assert request.fields["spacing"] == [2.0, 1.0, 1.5]
    assert request.fields["quality"] == "fast"
    request.answer(text="Needs about 1.2 GB of memory (9.0 GB free).")
    assert answers[0]["text"].startswith("Needs about")


# ---------------------------------------------------------------------------------------- the models


def test_the_bundled_model_is_current_until_another_is_chosen(
    logic: SegmentLogic, notices: list[str], tmp_path: Path
):
    assert logic.models.current == STARTER
    mine = tmp_path / "models" / "mine"
    shutil.copytree(STARTER, mine)
    logic.models.current = mine
    assert SegmentLogic(compute=None, files=StandInWorker()).models.current == mine
    assert notices == ["models"]
    shutil.rmtree(mine)
    assert logic.models.current == STARTER
    assert SegmentLogic(compute=None, files=StandInWorker()).models.resolve() == STARTER


def test_nothing_is_segmented_by_another_model_because_the_chosen_one_is_gone(
    logic: SegmentLogic, notices: list[str], tmp_path: Path
):
    """A drive was unplugged; the panel still shows the model that was there."""
    mine = Path(shutil.copytree(STARTER, tmp_path / "models" / "mine"))
    logic.models.current = mine
    shutil.move(mine, tmp_path / "unplugged")
    with pytest.raises(ModelError, match=r"mine\. Look which one is chosen now"):
        logic.models.resolve()
    assert notices == ["models", "models"]  # the panel shows the one that is chosen now
    assert logic.models.resolve() == STARTER
    shutil.move(tmp_path / "unplugged", mine)
    assert SegmentLogic(compute=None, files=StandInWorker()).models.current == mine


def test_a_model_that_another_slicer_chooses_is_not_ours_before_the_next_start(
    logic: SegmentLogic, tmp_path: Path
):
    """Both keep their settings in one file; a batch of ours would be predicted by a model not seen here."""
    mine, others = (Path(shutil.copytree(STARTER, tmp_path / "models" / name)) for name in ("mine", "others"))
    logic.models.current = mine
    SegmentLogic(compute=None, files=StandInWorker()).models.current = others
    assert logic.models.current == logic.models.resolve() == mine
    assert SegmentLogic(compute=None, files=StandInWorker()).models.current == others


def test_a_damaged_model_is_listed_with_its_error_and_half_a_model_is_not(
    logic: SegmentLogic, tmp_path: Path
):
    damaged = tmp_path / "models" / "damaged"
    shutil.copytree(STARTER, damaged)
    (damaged / "model.json").write_text("{")
    shutil.copytree(STARTER, tmp_path / "models" / "coming.part")
    found = dict(logic.models.list())
    assert set(found) == {STARTER, damaged}
    assert isinstance(found[damaged], ModelError)
    with pytest.raises(ModelError, match="damaged"):
        logic.models.card(damaged)


def test_a_notice_of_models_reads_no_sound_card_again_and_every_damaged_one(
    logic: SegmentLogic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With 200 models, to read them all would hold up the window after each training."""
    read: list[Path] = []
    damaged = tmp_path / "models" / "damaged"
    shutil.copytree(STARTER, damaged)
    (damaged / "model.json").write_text("{")
    logic.models.list()
    before = models.read_card
    monkeypatch.setattr(models, "read_card", lambda folder: (read.append(folder), before(folder))[1])
    logic.models.changed()
    logic.models.list()
    assert read == [damaged]


def test_a_card_that_changed_is_read_again(logic: SegmentLogic, tmp_path: Path):
    mine = tmp_path / "models" / "mine"
    shutil.copytree(STARTER, mine)
    assert logic.models.card(mine).title.startswith("Abdomen")
    card = json.loads((mine / "model.json").read_text())
    (mine / "model.json").write_text(json.dumps(card | {"title": "Renamed and longer than before"}))
    assert logic.models.card(mine).title == "Renamed and longer than before"


def test_an_imported_model_becomes_current(
    logic: SegmentLogic, files: StandInWorker, notices: list[str], tmp_path: Path
):
    mine = tmp_path / "models" / "mine"
    task = logic.models.importZip(tmp_path / "mine.zip")
    (request,) = files.of("import_model")
    assert request.fields == {"zip": str(tmp_path / "mine.zip"), "into": str(tmp_path / "models")}
    shutil.copytree(STARTER, mine)
    request.answer(path=str(mine))
    assert task.value == mine == logic.models.current
    assert notices == ["models"]


def test_the_worker_is_told_whole_paths_because_it_is_in_another_folder_than_the_script(
    logic: SegmentLogic, files: StandInWorker, segment: Any, tmp_path: Path, monkeypatch: Any
):
    shutil.copytree(STARTER, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    logic.models.importZip(Path("in.zip"))
    logic.models.exportZip(Path("mine"), Path("out.zip"))
    told = [files.requests[0].fields["zip"], *(files.requests[1].fields[key] for key in ("zip", "model"))]
    assert told == [str(tmp_path / name) for name in ("in.zip", "out.zip", "mine")]
    _task, request = segment(addVolume(), model="mine")
    assert request.fields["model"] == str(tmp_path / "mine")


def test_a_failed_import_is_told_and_changes_nothing(logic: SegmentLogic, files: StandInWorker, heard: Any):
    logic.models.importZip(Path("/data/bad.zip"), onFailed=lambda *values: heard.failed.append(values))
    files.of("import_model")[0].fail("bad.zip is no zip file. Get it again.", "ModelError")
    assert heard.failed == [("bad.zip is no zip file. Get it again.", "")]
    assert logic.models.current == STARTER


# ------------------------------------------------------------------------------------------ the life


def test_a_logic_that_did_nothing_has_nothing_to_end():
    logic = SegmentLogic()
    logic.sceneClosed()
    logic.shutDown()
    assert set(vars(logic)) == {"listeners"}


def test_a_check_before_a_training_keeps_nobody_waiting_who_accepts_or_loads_a_case(
    scene: Any, tmp_path: Path, monkeypatch: Any
):
    files, checker = StandInWorker(), StandInWorker()
    logic = SegmentLogic(files=files, checker=checker)
    monkeypatch.chdir(tmp_path)
    logic.training.check(Path("cases"), [Path("more")])
    assert checker.requests[0].fields["folder"] == str(tmp_path / "cases")
    assert checker.requests[0].fields["unlabelled"] == [str(tmp_path / "more")]
    assert (len(checker.of("check")), files.requests) == (1, [])
    logic.shutDown()
    assert checker.isEnded


def test_shutting_down_cancels_and_ends_both_workers_even_if_a_part_fails(
    logic: SegmentLogic,
    compute: StandInWorker,
    files: StandInWorker,
    segment: Any,
    monkeypatch: Any,
    caplog: Any,
):
    task, _request = segment(addVolume())
    monkeypatch.setattr(logic.models.__class__, "shutDown", lambda _self: 1 / 0, raising=False)
    monkeypatch.setattr(logic.segmentation, "shutDown", lambda: (task.cancel(), 1 / 0))
    logic.shutDown()
    assert task.state == "cancelled"
    assert compute.isEnded
    assert files.isEnded
    assert "failed; the others still end" in caplog.text
