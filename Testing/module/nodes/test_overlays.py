import numpy as np
import pytest

from crgloco.errors import GeometryError, OptionError
from CRGLoCoSegmentLib.nodes.overlays import KINDS, overlayColors, overlayVolume
from CRGLoCoSegmentLib.nodes.results import importResult
from CRGLoCoSegmentLib.nodes.volumes import volumeFromNode
from grids import OBLIQUE, TABLE, labels, outlineOf, slicersMask, volumeNode


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(0, 256, OBLIQUE.shape).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_an_overlay_lies_on_the_volume_to_the_last_bit(scene, values, kind):
    volume = volumeNode()
    back = volumeFromNode(overlayVolume(values, volume, "o", kind))
    assert back.geometry == OBLIQUE
    assert np.array_equal(back.array, values)


def test_an_overlay_shares_transform_and_study_of_its_volume(scene, hierarchy, values):
    volume = volumeNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    moved = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    volume.SetAndObserveTransformNodeID(moved.GetID())
    node = overlayVolume(values, volume, "o", "confidence")
    assert node.GetParentTransformNode() is moved
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_the_display_has_a_fixed_window_and_hides_what_is_certain(scene, values):
    display = overlayVolume(values, volumeNode(), "o", "confidence").GetDisplayNode()
    assert not display.GetAutoWindowLevel()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 255)
    assert display.GetApplyThreshold()
    assert display.GetUpperThreshold() < 255


def brightness(kind, scene):
    node = overlayColors(kind, scene)
    table = [node.GetLookupTable().GetTableValue(entry) for entry in range(256)]
    return np.array([0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue, _ in table])


def test_brightness_grows_evenly_towards_what_needs_a_look(scene):
    assert (np.diff(brightness("disagreement", scene)) >= 0).all()
    assert (np.diff(brightness("confidence", scene)) <= 0).all()


def test_there_is_one_colour_node_per_kind_and_scene(scene, values):
    volume = volumeNode()
    nodes = [overlayVolume(values, volume, "o", "confidence") for _ in range(3)]
    assert len({node.GetDisplayNode().GetColorNodeID() for node in nodes}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_scene_that_was_saved_without_its_colour_files_gets_its_colours_back(scene, values, kind):
    before = brightness(kind, scene)
    scene.SetSaveToXMLString(1)
    scene.Commit()
    saved = scene.GetSceneXMLString()
    scene.SetSaveToXMLString(0)
    scene.Clear()
    scene.SetLoadFromXMLString(1)
    scene.SetSceneXMLString(saved)
    scene.Import()
    scene.SetLoadFromXMLString(0)
    assert np.array_equal(brightness(kind, scene), before)


def test_an_overlay_of_another_shape_or_type_is_refused(scene, values):
    before = scene.GetNumberOfNodes()
    for wrong in (values[1:], values.astype(np.float32)):
        with pytest.raises(GeometryError, match="does not fit"):
            overlayVolume(wrong, volumeNode(), "o", "confidence")
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2
    assert before < scene.GetNumberOfNodes()


def test_an_unknown_kind_is_refused(scene):
    with pytest.raises(OptionError, match="confidence, disagreement"):
        overlayColors("entropy", scene)


def test_the_outline_is_where_global_and_local_differ(scene, hierarchy):
    volume = volumeNode()
    arrays = {"fused": labels(), "global": labels(seed=2), "local": labels(seed=3)}
    result = importResult(volume, {"labels": TABLE.to_json()}, arrays)
    node = outlineOf(result)
    seen = slicersMask(scene, node, "disagreement", volume)
    assert np.array_equal(seen, labels(seed=2) != labels(seed=3))
