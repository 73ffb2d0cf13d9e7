"""Labels to files: values by the table, Slicer's own formats, and what is refused; nothing is lost."""

import os
import signal
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk

from crgloco.errors import CasesError, InputError, ResourceError
from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.background.threads import runInThread
from CRGLoCoSegmentLib.background.worker import Worker, WorkerError
from CRGLoCoSegmentLib.logic import SegmentLogic, label_rescue
from CRGLoCoSegmentLib.nodes.corrections import originalsOf
from CRGLoCoSegmentLib.nodes.geometry import geometryOfNode
from CRGLoCoSegmentLib.nodes.label_tables import tagOf
from CRGLoCoSegmentLib.nodes.results import importResult
from grids import segmentationFromLabels
from stand_ins import TABLE, StandInWorker, addVolume


@pytest.fixture
def files() -> StandInWorker:
    return StandInWorker()


@pytest.fixture
def logic(scene: Any, files: StandInWorker) -> Any:
    made = SegmentLogic(compute=StandInWorker(), files=files)
    yield made
    made.sceneClosed()


@pytest.fixture
def volume(scene: Any) -> Any:
    return addVolume()


@pytest.fixture
def labels(volume: Any) -> np.ndarray:
    values = np.zeros(geometryOfNode(volume).shape, np.uint8)
    values[1:4, 2:5, 3:7] = 1
    values[4, 5:7, 1:5] = 7
    return values


@pytest.fixture
def segmentation(volume: Any, labels: np.ndarray) -> Any:
    table = LabelTable.from_json(TABLE)
    return segmentationFromLabels(labels, geometryOfNode(volume), table, "answer", volume)


@pytest.fixture
def realFiles() -> Any:
    worker = Worker("files")
    yield worker
    worker.end()


def test_values_and_place_arrive_whatever_the_segments_are_called(
    logic: SegmentLogic, segmentation: Any, volume: Any, labels: np.ndarray, realFiles: Any, tmp_path: Path
):
    logic.__dict__["files"] = realFiles
    segmentation.GetSegmentation().GetSegment("label_1").SetName("Leber")
    segmentation.GetSegmentation().SetSegmentIndex("label_7", 0)
    for ending in (".nii.gz", ".nrrd", ".mha"):
        path = tmp_path / f"label{ending}"
        assert logic.exportLabel(segmentation, volume, path, waitForCompletion=True) == path
        image = sitk.ReadImage(str(path))
        assert np.array_equal(sitk.GetArrayFromImage(image), labels), ending
        assert image.GetOrigin() == pytest.approx((31.0, -12.5, 77.25), abs=1e-4)
        assert image.GetSpacing() == pytest.approx((1.5, 1.0, 2.0))
    assert not list(tmp_path.glob("*.part*"))


def test_a_script_exports_into_the_folder_that_it_is_in(
    logic: SegmentLogic, segmentation: Any, volume: Any, realFiles: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    logic.__dict__["files"] = realFiles
    monkeypatch.chdir(tmp_path)
    assert logic.exportLabel(segmentation, volume, "label.mha", waitForCompletion=True).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["label.mha"]


def test_a_full_disk_is_told_and_the_segmentation_stays(
    logic: SegmentLogic, files: StandInWorker, segmentation: Any, volume: Any, waitUntil: Any
):
    heard: list[str] = []
    task = logic.exportLabel(
        segmentation, volume, "/data/label.nii.gz", onFailed=lambda message, _details: heard.append(message)
    )
    waitUntil(lambda: files.of("write_label"), 5)
    array = Path(files.of("write_label")[0].fields["label"]["file"])
    assert array.is_file()
    files.of("write_label")[0].fail("The disk of /data is full.", "ResourceError")
    assert heard == ["The disk of /data is full."]
    waitUntil(lambda: not array.parent.exists(), 5)
    assert slicer.mrmlScene.IsNodePresent(segmentation)
    with pytest.raises(WorkerError, match="is full"):
        task.wait()


def test_a_temporary_file_that_cannot_be_removed_yet_does_not_keep_an_export_from_its_end(
    logic: SegmentLogic, files: StandInWorker, segmentation: Any, volume: Any, waitUntil: Any
):
    task = logic.exportLabel(segmentation, volume, "/data/label.nii.gz")
    waitUntil(lambda: files.of("write_label"), 5)
    array = Path(files.of("write_label")[0].fields["label"]["file"])
    array.unlink()
    array.mkdir()  # cannot be unlinked, as on Windows a file that a scanner of viruses holds
    files.of("write_label")[0].answer(path="/data/label.nii.gz")
    assert task.state == "done"


def test_seg_nrrd_keeps_segments_and_leaves_the_nodes_own_file_alone(
    logic: SegmentLogic, segmentation: Any, volume: Any, tmp_path: Path
):
    path = tmp_path / "new folder" / "label.seg.nrrd"
    assert logic.exportLabel(segmentation, volume, path, waitForCompletion=True) == path
    assert segmentation.GetStorageNode() is None or segmentation.GetStorageNode().GetFileName() != str(path)
    assert [found.name for found in path.parent.iterdir()] == ["label.seg.nrrd"]
    text = path.read_bytes()[:4000].decode("latin-1")
    assert "Segment0_ID:=label_1" in text
    assert "right_kidney" in text


def test_seg_nrrd_that_cannot_be_written_is_told(
    logic: SegmentLogic, segmentation: Any, volume: Any, tmp_path: Path
):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResourceError):
        logic.exportLabel(segmentation, volume, tmp_path / "file" / "label.seg.nrrd", waitForCompletion=True)


@pytest.mark.parametrize("ending", [".seg.nrrd", ".dcm"])
def test_a_file_that_leaves_transforms_out_is_refused_where_one_stands_between_label_and_volume(
    logic: SegmentLogic, segmentation: Any, volume: Any, dicom: list[Any], tmp_path: Path, ending: str
):
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 2.0)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    path = tmp_path / f"label{ending}"
    with pytest.raises(InputError, match=f"{ending} leaves out: the label would lie at a wrong place"):
        logic.exportLabel(segmentation, volume, path)
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    assert logic.exportLabel(segmentation, volume, path, waitForCompletion=True) == path


def test_half_a_seg_nrrd_of_a_full_disk_takes_no_files_place(
    logic: SegmentLogic, segmentation: Any, volume: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Half:
        def SetFileName(self, name: str) -> None:
            self.path = Path(name)

        def WriteData(self, _node: Any) -> int:
            self.path.write_bytes(b"NRRD0004")
            return 0

    monkeypatch.setattr(slicer, "vtkMRMLSegmentationStorageNode", Half)
    path = tmp_path / "label.seg.nrrd"
    path.write_text("before")
    with pytest.raises(ResourceError, match="Check the free space"):
        logic.exportLabel(segmentation, volume, path, waitForCompletion=True)
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [(path.name, "before")]


@pytest.mark.parametrize("name", ["label", "label.png", "label.stl"])
def test_an_ending_that_no_label_has_is_refused(
    logic: SegmentLogic, segmentation: Any, volume: Any, name: str
):
    with pytest.raises(InputError, match=r"\.seg\.nrrd, \.dcm, \.nii\.gz"):
        logic.exportLabel(segmentation, volume, name)


def loaded(path: Path) -> Any:
    """A volume as Slicer has it after loading a file of 6 x 8 x 10 voxels, whose axes are left-handed."""
    image = sitk.GetImageFromArray(np.random.default_rng(3).normal(100, 20, (6, 8, 10)).astype(np.float32))
    image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    image.SetSpacing((1.5, 1.0, 2.0))
    sitk.WriteImage(image, str(path))
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "scan")
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    volume.SetAndObserveStorageNodeID(storage.GetID())
    assert storage.ReadData(volume)
    return volume


@pytest.mark.parametrize("name", ["scan.nrrd", "link.nrrd"])
def test_the_volumes_own_file_is_not_replaced_by_its_label(
    logic: SegmentLogic, labels: np.ndarray, tmp_path: Path, name: str
):
    volume = loaded(tmp_path / "scan.nrrd")
    (tmp_path / "link.nrrd").symlink_to(tmp_path / "scan.nrrd")
    table = LabelTable.from_json(TABLE)
    segmentation = segmentationFromLabels(labels, geometryOfNode(volume), table, "answer", volume)
    with pytest.raises(
        InputError, match=r"is the file of the image scan itself. Give the label another name"
    ):
        logic.exportLabel(segmentation, volume, tmp_path / name)


def test_a_label_lies_voxel_by_voxel_on_the_file_of_its_image_though_slicer_has_turned_that_round(
    logic: SegmentLogic, labels: np.ndarray, realFiles: Any, tmp_path: Path
):
    logic.__dict__["files"] = realFiles
    for ending in (".nii.gz", ".nrrd"):
        volume = loaded(tmp_path / f"scan{ending}")
        table, file = LabelTable.from_json(TABLE), sitk.ReadImage(str(tmp_path / f"scan{ending}"))
        segmentation = segmentationFromLabels(labels, geometryOfNode(volume), table, "answer", volume)
        path = logic.exportLabel(segmentation, volume, tmp_path / f"label{ending}", waitForCompletion=True)
        image = sitk.ReadImage(str(path))
        assert image.GetDirection() == pytest.approx(file.GetDirection())
        assert image.GetOrigin() == pytest.approx(file.GetOrigin())
        assert np.array_equal(sitk.GetArrayFromImage(image), labels[::-1])  # K runs the other way in Slicer


def test_an_export_without_a_volume_or_a_segmentation_says_so(
    logic: SegmentLogic, segmentation: Any, volume: Any
):
    for given in ((segmentation, None), (None, volume)):
        with pytest.raises(InputError, match="needs a segmentation and the volume"):
            logic.exportLabel(*given, "label.nii.gz")


def test_a_segmentation_of_others_needs_a_table(logic: SegmentLogic, volume: Any):
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn by hand")
    with pytest.raises(InputError, match="drawn by hand was not made by this module"):
        logic.exportLabel(other, volume, "label.nii.gz")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where labels go that could not be written; not into the home of whoever runs the tests."""
    monkeypatch.setattr(label_rescue, "rescueFolders", lambda: (tmp_path / "kept",))
    return tmp_path / "kept"


def closeScene(logic: SegmentLogic) -> None:
    slicer.mrmlScene.Clear()
    logic.sceneClosed()


def test_an_export_goes_on_though_its_scene_is_closed(
    logic: SegmentLogic, segmentation: Any, volume: Any, labels: np.ndarray, realFiles: Any, tmp_path: Path
):
    logic.__dict__["files"] = realFiles
    task = logic.exportLabel(segmentation, volume, tmp_path / "label.nii.gz")
    closeScene(logic)
    assert task.wait() == tmp_path / "label.nii.gz"
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(task.value))), labels)


def test_an_export_that_fails_after_its_scene_was_closed_keeps_the_label_in_a_file(
    logic: SegmentLogic, files: StandInWorker, segmentation: Any, volume: Any, kept: Path, waitUntil: Any
):
    task = logic.exportLabel(segmentation, volume, "/data/label.nii.gz")
    waitUntil(lambda: files.of("write_label"), 5)
    closeScene(logic)
    files.of("write_label")[0].fail("The disk of /data is full.", "ResourceError")
    with pytest.raises(CasesError, match=r"not lost: it is kept as .*The disk of /data is full") as failure:
        task.wait()
    (path,) = kept.iterdir()
    assert str(path) in str(failure.value)
    assert path.name.startswith("label ")
    assert b"Segment1_ID:=label_7" in path.read_bytes()[:4000]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_worker_that_is_killed_while_it_exports_is_told_and_leaves_no_half_file(
    logic: SegmentLogic, segmentation: Any, volume: Any, realFiles: Any, tmp_path: Path, waitUntil: Any
):
    logic.__dict__["files"] = realFiles
    logic.exportLabel(segmentation, volume, tmp_path / "first.nii.gz", waitForCompletion=True)
    os.kill(realFiles.pid, signal.SIGSTOP)
    task = logic.exportLabel(segmentation, volume, tmp_path / "label.nii.gz")
    waitUntil(realFiles.isBusy, 5)
    os.kill(realFiles.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="killed"):
        task.wait()
    assert [path.name for path in tmp_path.glob("*.nii.gz*")] == ["first.nii.gz"]
    assert slicer.mrmlScene.IsNodePresent(segmentation)
    logic.exportLabel(segmentation, volume, tmp_path / "label.nii.gz", waitForCompletion=True)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_export_that_does_not_end_before_slicer_closes_keeps_the_label_in_a_file(
    scene: Any, segmentation: Any, volume: Any, kept: Path, tmp_path: Path, waitUntil: Any
):
    logic = SegmentLogic(compute=StandInWorker(), files=Worker("files"))
    logic.exportLabel(segmentation, volume, tmp_path / "first.nii.gz", waitForCompletion=True)
    pid = logic.files.pid
    os.kill(pid, signal.SIGSTOP)  # a network disk that does not answer looks like this
    task = logic.exportLabel(segmentation, volume, tmp_path / "label.nii.gz")
    began = time.monotonic()
    logic.shutDown()
    assert time.monotonic() - began < 5
    assert not task.isRunning()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    (path,) = kept.iterdir()
    assert str(path) in logic.settings.get(label_rescue.KEPT)


def test_labels_of_one_name_that_are_kept_while_slicer_closes_get_a_file_each(
    logic: SegmentLogic, files: StandInWorker, segmentation: Any, volume: Any, kept: Path, waitUntil: Any
):
    for folder in ("/data/first", "/data/second", "/data/third"):
        logic.exportLabel(segmentation, volume, f"{folder}/label.nii.gz")
    waitUntil(lambda: len(files.of("write_label")) == 3, 5)
    logic.shutDown()
    paths = sorted(kept.iterdir())
    assert len(paths) == 3
    assert all(b"Segment1_ID:=label_7" in path.read_bytes()[:4000] for path in paths)
    assert all(str(path) in logic.settings.get(label_rescue.KEPT) for path in paths)


def test_a_place_that_cannot_even_be_looked_at_does_not_keep_a_label_from_the_next_one(
    logic: SegmentLogic, files: StandInWorker, segmentation: Any, volume: Any, kept: Path, waitUntil: Any,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    unreachable = kept.parent / ("x" * 300)  # the system refuses to look, as at a home on a dead network
    monkeypatch.setattr(label_rescue, "rescueFolders", lambda: (unreachable, kept))
    task = logic.exportLabel(segmentation, volume, "/data/label.nii.gz")
    waitUntil(lambda: files.of("write_label"), 5)
    closeScene(logic)
    files.of("write_label")[0].fail("The disk of /data is full.", "ResourceError")
    with pytest.raises(CasesError, match="not lost: it is kept as"):
        task.wait()
    assert len(list(kept.iterdir())) == 1


def test_a_label_that_could_be_neither_written_nor_kept_before_slicer_closed_is_told_at_the_next_start(
    logic: SegmentLogic, files: StandInWorker, segmentation: Any, volume: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, waitUntil: Any,
):  # fmt: skip
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(label_rescue, "rescueFolders", lambda: (tmp_path / "file" / "kept",))
    logic.exportLabel(segmentation, volume, "/data/scan 3.nii.gz")
    waitUntil(lambda: files.of("write_label"), 5)
    logic.shutDown()
    assert "The label of scan 3 was still on its way" in logic.cases.keptLabel()


def test_a_kept_file_that_cannot_be_removed_hides_no_label_that_did_not_arrive(
    logic: SegmentLogic, files: StandInWorker, segmentation: Any, volume: Any, kept: Path, waitUntil: Any,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    for name in ("first", "second"):
        logic.exportLabel(segmentation, volume, f"/data/{name}.nii.gz")
    waitUntil(lambda: len(files.of("write_label")) == 2, 5)

    def held(_snapshot: Any, case: str) -> Path:
        (kept / case).mkdir(parents=True)  # a folder cannot be unlinked, as no file that a scanner holds
        return kept / case

    monkeypatch.setattr(label_rescue, "keepLabel", held)
    first = files.of("write_label")[0]
    runInThread(lambda: None, lambda _: first.answer(path="/data/first.nii.gz"), pytest.fail)
    logic.shutDown()
    assert str(kept / "second") in logic.cases.keptLabel()


class Exporter:
    """Stands in for Slicer's own exporter of DICOM SEG."""

    calls: list[tuple[Any, ...]] = []  # noqa: RUF012

    def __init__(self, segmentationNode: Any) -> None:
        self.node = segmentationNode

    def export(self, *given: Any, **named: Any) -> None:
        Exporter.calls.append((*given, named))
        if "broken" in given[1]:
            raise ValueError("Segment liver has missing attributes.")

    def cleanup(self) -> None:
        Exporter.calls.append(("cleanup",))


@pytest.fixture
def dicom(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    plugin = types.ModuleType("DICOMSegmentationPlugin")
    plugin.DICOMSegmentationExporter = Exporter
    plugin.__spec__ = types.SimpleNamespace(name="DICOMSegmentationPlugin")
    monkeypatch.setitem(sys.modules, "DICOMSegmentationPlugin", plugin)
    Exporter.calls = []
    return Exporter.calls


def test_dicom_seg_is_written_by_slicer_with_the_segments_that_have_voxels(
    logic: SegmentLogic, segmentation: Any, volume: Any, dicom: list[Any], labels: np.ndarray, tmp_path: Path
):
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    labels[labels == 7] = 0
    emptied = segmentationFromLabels(
        labels, geometryOfNode(volume), LabelTable.from_json(TABLE), "answer", volume
    )
    path = tmp_path / "label.dcm"
    assert logic.exportLabel(emptied, volume, path, waitForCompletion=True) == path
    folder, name, metadata, segments, named = dicom[0]
    assert (folder, name, segments, named) == (str(tmp_path), "label.dcm", ["label_1"], {"skipEmpty": True})
    assert metadata == {"SeriesDescription": emptied.GetName()}
    assert dicom[1] == ("cleanup",)


def test_dicom_seg_whose_temporary_files_are_held_is_written_all_the_same(
    logic: SegmentLogic, segmentation: Any, volume: Any, dicom: list[Any], tmp_path: Path, monkeypatch: Any
):
    def held(_exporter: Exporter) -> None:
        raise PermissionError("another program has it open")

    monkeypatch.setattr(Exporter, "cleanup", held)
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    path = tmp_path / "label.dcm"
    assert logic.exportLabel(segmentation, volume, path, waitForCompletion=True) == path
    with pytest.raises(InputError, match="Segment liver has missing attributes"):
        logic.exportLabel(segmentation, volume, tmp_path / "broken.dcm", waitForCompletion=True)


def test_dicom_seg_without_dicom_images_is_refused_with_a_way_out(
    logic: SegmentLogic, segmentation: Any, volume: Any, dicom: list[Any], tmp_path: Path
):
    with pytest.raises(InputError, match="Slicer's DICOM database"):
        logic.exportLabel(segmentation, volume, tmp_path / "label.dcm", waitForCompletion=True)
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    with pytest.raises(InputError, match="Segment liver has missing attributes"):
        logic.exportLabel(segmentation, volume, tmp_path / "broken.dcm", waitForCompletion=True)


def test_dicom_seg_names_the_model_that_a_label_began_with_and_no_other(
    logic: SegmentLogic, volume: Any, labels: np.ndarray, dicom: list[Any], tmp_path: Path
):
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    table, geometry = LabelTable.from_json(TABLE), geometryOfNode(volume)
    byHand = segmentationFromLabels(labels.copy(), geometry, table, "by hand", volume)
    copies = []
    for title in ("First", "Second", "Third"):
        answer = {"labels": TABLE, "geometry": geometry.to_json(), "title": title}
        result = importResult(volume, answer, {"fused": labels.copy()})
        copies.append(logic.correction.start(result, anew=True))
    slicer.mrmlScene.RemoveNode(originalsOf(copies[1])["fused"])
    drawn = copies[0].GetSegmentation().GetSegment("label_7")
    drawn.SetTag("DICOM.SegmentAlgorithmType", "MANUAL")  # by another module, which knew better
    titles = ("First", "Second", "Third", "Third", "")
    for node, title in zip((*copies, result.fused, byHand), titles, strict=True):
        logic.exportLabel(node, volume, tmp_path / "label.dcm", waitForCompletion=True)
        segment = node.GetSegmentation().GetSegment("label_1")
        assert tagOf(segment, "DICOM.SegmentAlgorithmName") == title, node.GetName()
    assert tagOf(drawn, "DICOM.SegmentAlgorithmType") == "MANUAL"


def test_a_segment_that_is_deleted_while_it_goes_to_dicom_seg_ends_the_export_in_words(
    logic: SegmentLogic, segmentation: Any, volume: Any, dicom: list[Any], tmp_path: Path
):
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    task = logic.exportLabel(segmentation, volume, tmp_path / "label.dcm")
    segmentation.GetSegmentation().RemoveSegment("label_7")
    with pytest.raises(InputError, match="was deleted meanwhile"):
        task.wait()


def test_an_export_to_dicom_seg_ends_with_its_scene(
    logic: SegmentLogic, segmentation: Any, volume: Any, dicom: list[Any], tmp_path: Path
):
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    task = logic.exportLabel(segmentation, volume, tmp_path / "label.dcm")
    closeScene(logic)
    assert (task.state, dicom) == ("cancelled", [])


def test_a_slicer_without_dicom_seg_says_so(logic: SegmentLogic, segmentation: Any, volume: Any):
    with pytest.raises(InputError, match=r"5\.12"):
        logic.exportLabel(segmentation, volume, "label.dcm", waitForCompletion=True)
