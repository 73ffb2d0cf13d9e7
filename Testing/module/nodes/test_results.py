import json
import time

import numpy as np
import pytest
import slicer

from crgloco.errors import GeometryError, LabelError
from crgloco.io.volume import Geometry, Volume
from CRGLoCoSegmentLib.nodes import results
from CRGLoCoSegmentLib.nodes.results import (
    correctedOf,
    importResult,
    isEdited,
    noteEditsIn,
    resultNodesOf,
    resultOf,
    setCorrected,
    volumeOf,
)
from CRGLoCoSegmentLib.nodes.volumes import volumeFromNode, volumeNodeFromVolume
from grids import OBLIQUE, TABLE, labels, labelsFromSegmentation, segmentationFromLabels, volumeNode


def arrays(geometry=OBLIQUE):
    shares = np.random.default_rng(0).integers(0, 256, (2, *geometry.shape)).astype(np.uint8)
    return {
        "fused": labels(geometry, seed=1),
        "global": labels(geometry, seed=2),
        "local": labels(geometry, seed=3),
        "confidence": shares[0].copy(),
        "disagreement": shares[1].copy(),
    }


def answer(geometry=OBLIQUE, **more):
    return {
        "labels": TABLE.to_json(),
        "title": "Abdomen: a | b; ü",
        "model": "0123abcd",
        "geometry": geometry.to_json(),
        "regions": [{"position": [1.5, -2.25, 3.0], "name": "liver", "mean_confidence": 0.25}],
        "arrays": {"fused": "/home/patient name/fused.npy"},
        **more,
    }


def test_an_answer_becomes_nodes_that_the_volume_knows(scene):
    volume = volumeNode()
    given = arrays()
    expected = {kind: array.copy() for kind, array in given.items()}
    result = importResult(volume, answer(), given)
    assert result == resultOf(volume)
    assert result.volume is volume
    for kind in ("fused", "global", "local"):
        back = labelsFromSegmentation(result.segmentation(kind), TABLE, volume)
        assert np.array_equal(back.array, expected[kind])
        assert volumeOf(result.segmentation(kind)) is volume
    assert np.array_equal(volumeFromNode(result.confidence).array, expected["confidence"])
    assert np.array_equal(volumeFromNode(result.disagreement).array, expected["disagreement"])
    assert result.corrected is None


def test_the_record_is_kept_without_paths(scene):
    result = importResult(volumeNode(), answer(), arrays())
    assert result.record["regions"] == answer()["regions"]
    assert result.record["model"] == "0123abcd"
    assert "patient name" not in json.dumps(result.record)
    assert result.title == "Abdomen: a | b; ü"
    assert result.table == TABLE


def test_nodes_are_named_after_volume_kind_and_model(scene):
    result = importResult(volumeNode(name="CT 7"), answer(title="Liver"), arrays())
    assert result.fused.GetName() == "CT 7 fused (Liver)"
    assert result.confidence.GetName() == "CT 7 confidence (Liver)"


def test_names_follow_the_users_language_and_nothing_is_found_by_them(scene, monkeypatch):
    monkeypatch.setattr(results, "_", lambda text: text.replace("fused", "vereint"))
    volume = volumeNode(name="CT 7")
    result = importResult(volume, answer(title="Liver"), arrays())
    assert result.fused.GetName() == "CT 7 vereint (Liver)"
    assert resultOf(volume) == result


def test_only_the_fused_answer_is_shown_until_they_are_compared(scene):
    result = importResult(volumeNode(), answer(), arrays())
    shown = [node.GetDisplayNode().GetVisibility() for node in (result.fused, result.global_, result.local)]
    assert shown == [1, 0, 0]


def test_a_quality_without_local_pass_gives_a_result_without_local(scene):
    given = {kind: array for kind, array in arrays().items() if kind not in ("local", "disagreement")}
    result = importResult(volumeNode(), answer(), given)
    assert result.local is None
    assert result.disagreement is None
    assert result.global_ is not None


def test_a_new_result_takes_the_place_of_the_old_one_whose_nodes_stay(scene):
    volume = volumeNode()
    old = importResult(volume, answer(), arrays())
    copy = segmentationFromLabels(labels(), OBLIQUE, TABLE, "mine", volume)
    setCorrected(volume, copy)
    given = {"fused": labels(seed=9)}
    new = importResult(volume, answer(model="new"), given)
    assert resultOf(volume) == new
    assert new.record["model"] == "new"
    assert (new.global_, new.confidence) == (None, None)
    assert new.corrected is copy, "work of the user, which only the user lets go"
    for node in (old.fused, old.global_, old.local, old.confidence, old.disagreement):
        assert scene.IsNodePresent(node)
    assert np.array_equal(labelsFromSegmentation(old.fused, TABLE, volume).array, labels(seed=1))
    assert new.fused.GetName() != old.fused.GetName()


def test_the_nodes_of_all_results_of_a_volume_are_found_and_no_others(scene):
    volume, other = volumeNode(), volumeNode()
    old, new = importResult(volume, answer(), arrays()), importResult(volume, answer(), arrays())
    importResult(other, answer(), arrays())
    setCorrected(volume, segmentationFromLabels(labels(), OBLIQUE, TABLE, "mine", volume))
    made = [
        node
        for result in (old, new)
        for node in (result.fused, result.global_, result.local, result.confidence, result.disagreement)
    ]
    assert {node.GetID() for node in resultNodesOf(volume)} == {node.GetID() for node in made}
    assert len(resultNodesOf(volume)) == len(made)


def test_two_volumes_of_one_name_have_their_own_results(scene):
    first, second = volumeNode(), volumeNode()
    second.SetName(first.GetName())
    one, two = importResult(first, answer(), arrays()), importResult(second, answer(), arrays())
    assert resultOf(first) == one
    assert resultOf(second) == two
    assert one.fused is not two.fused
    assert one.fused.GetName() != two.fused.GetName()


def test_the_corrected_copy_can_be_named_and_let_go(scene):
    volume = volumeNode()
    importResult(volume, answer(), arrays())
    copy = segmentationFromLabels(labels(), OBLIQUE, TABLE, "mine", volume)
    assert setCorrected(volume, copy).corrected is copy
    assert correctedOf(volume) is copy
    assert setCorrected(volume, None).corrected is None


def test_a_deleted_node_is_missing_and_a_deleted_fused_answer_is_no_result(scene):
    volume = volumeNode()
    result = importResult(volume, answer(), arrays())
    scene.RemoveNode(result.local)
    assert resultOf(volume).local is None
    scene.RemoveNode(result.fused)
    assert resultOf(volume) is None
    assert resultOf(None) is None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"fused": labels()[1:]}, GeometryError),
        ({"confidence": np.zeros((2, 2, 2), np.uint8)}, GeometryError),
        ({"confidence": np.zeros(OBLIQUE.shape, np.float32)}, GeometryError),
        ({"local": np.full(OBLIQUE.shape, 99, np.uint8)}, LabelError),
        ({"entropy": labels()}, GeometryError),
    ],
)
def test_an_answer_that_does_not_fit_leaves_no_node_behind(scene, change, error):
    volume = volumeNode()
    before = scene.GetNumberOfNodes()
    with pytest.raises(error):
        importResult(volume, answer(), {**arrays(), **change})
    assert scene.GetNumberOfNodes() == before
    assert resultOf(volume) is None


def test_an_answer_without_labels_is_refused(scene):
    with pytest.raises(LabelError, match="no labels"):
        importResult(volumeNode(), answer(), {"confidence": arrays()["confidence"]})


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(OBLIQUE.shape, OBLIQUE.spacing, (0.0, 0.0, 0.0), OBLIQUE.direction),
        Geometry(OBLIQUE.shape, (1.0, 1.0, 1.0), OBLIQUE.origin, OBLIQUE.direction),
    ],
)
def test_an_answer_for_another_place_is_refused(scene, geometry):
    with pytest.raises(GeometryError, match="different grids"):
        importResult(volumeNode(), answer(geometry), arrays())


def test_nodes_made_before_a_failure_are_removed(scene, monkeypatch):
    def fail(*_arguments, **_named):
        raise MemoryError

    volume = volumeNode()
    monkeypatch.setattr(results, "overlayVolume", fail)
    with pytest.raises(MemoryError):
        importResult(volume, answer(), arrays())
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert resultOf(volume) is None


def test_an_edit_is_noted_once_however_often_scenes_were_added(scene, monkeypatch):
    noted = []
    note = results._noteEdit
    monkeypatch.setattr(results, "_noteEdit", lambda node, event: (noted.append(node), note(node, event)))
    result = importResult(volumeNode(), answer(), arrays())
    result, volume = None, result.volume  # nothing of Python holds the answers meanwhile
    for _ in range(3):
        noteEditsIn(scene)
    result = resultOf(volume)
    result.fused.GetSegmentation().AddEmptySegment()
    assert noted == [result.fused]
    assert [isEdited(node) for node in (result.fused, result.global_)] == [True, False]


def saved(scene, folder, ending):
    """Save the scene as Slicer does, and load it into an empty one."""
    path = str(folder / f"scene.{ending}")
    if ending == "mrb":
        cache, manager = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
        cache.SetRemoteCacheDirectory(str(folder))
        manager.SetCacheManager(cache)
        scene.SetDataIOManager(manager)
        assert scene.WriteToMRB(path)
        scene.Clear(1)
        assert scene.ReadFromMRB(path)
        return
    for number in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(number)
        if node.IsA("vtkMRMLStorableNode") and node.GetSaveWithScene():
            node.AddDefaultStorageNode()
            if node.GetStorageNode() is not None:
                kind = node.GetStorageNode().GetDefaultWriteFileExtension()
                node.GetStorageNode().SetFileName(str(folder / f"{node.GetID()}.{kind}"))
                assert node.GetStorageNode().WriteData(node), node.GetID()
    scene.SetURL(path)
    scene.SetRootDirectory(str(folder))
    assert scene.Commit()
    scene.Clear(1)
    scene.SetURL(path)
    assert scene.Connect()


def inPlaceOf(geometry, values):
    """Label values of ``OBLIQUE`` in the order of another grid of the same voxels."""
    places = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    positions = geometry.affine @ np.c_[places[:, ::-1], np.ones(len(places))].T
    i, j, k, _one = np.round(np.linalg.inv(OBLIQUE.affine) @ positions).astype(int)
    return values[k, j, i].reshape(geometry.shape)


@pytest.mark.parametrize("ending", ["mrml", "mrb"])
def test_a_result_is_saved_with_the_scene_and_found_again(scene, tmp_path, ending):
    volume = volumeNode()
    before = importResult(volume, answer(), arrays())
    copy = segmentationFromLabels(labels(seed=5), OBLIQUE, TABLE, "mine", volume)
    copy.GetSegmentation().GetSegment("label_7").SetName("renamed")
    record = setCorrected(volume, copy).record
    names = [node.GetName() for node in (before.fused, before.global_, before.local)]
    del volume, before, copy
    saved(scene, tmp_path, ending)
    loaded = slicer.mrmlScene.GetFirstNodeByName("scan")
    result = resultOf(loaded)
    assert result.record == record
    assert [node.GetName() for node in (result.fused, result.global_, result.local)] == names
    assert result.table == TABLE
    kinds = {"fused": 1, "global": 2, "local": 3, "corrected": 5}
    for kind, seed in kinds.items():
        back = labelsFromSegmentation(result.segmentation(kind), TABLE, loaded, onNote=pytest.fail)
        # Slicer stores left-handed volumes right-handed: the voxels are in another order, at their place.
        assert np.array_equal(back.array, inPlaceOf(back.geometry, labels(seed=seed))), kind
    confidence = volumeFromNode(result.confidence)
    assert np.array_equal(confidence.array, inPlaceOf(confidence.geometry, arrays()["confidence"]))
    assert result.confidence.GetDisplayNode().GetColorNode().GetNumberOfColors() == 256


def test_five_nodes_of_a_large_result_take_less_than_100_ms(scene):
    geometry = Geometry((40, 256, 256), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    volume = volumeNodeFromVolume(Volume(np.zeros(geometry.shape, np.int16), geometry), "v")
    given = arrays(geometry)
    spent = []
    for _ in range(3):
        start = time.thread_time()
        importResult(volume, answer(geometry), given)
        spent.append(time.thread_time() - start)
    assert min(spent) < 0.1
