"""The comparison on real slice views: who is seen where, what is coloured, what moves, what comes back."""

import re

import numpy as np
import pytest
import slicer
import vtk

from crgloco.io.volume import Geometry
from CRGLoCoSegmentLib.nodes.results import resultOf, setCorrected, volumeOf
from CRGLoCoSegmentLib.views.answers import OUTLINE, hideAnswers, segmentations
from CRGLoCoSegmentLib.views.compare import CompareView
from CRGLoCoSegmentLib.views.layout import THREE_PANES, TWO_PANES, VIEW_GROUP
from CRGLoCoSegmentLib.views.pane_views import PaneView
from CRGLoCoSegmentLib.views.regions import regionsOf, worldPosition
from grids import direction, outlineOf, segmentationFromLabels
from phantom_results import REGIONS, STRAIGHT, TABLE, colours, makeResult
from slicer_host.slice_views import pictureOf

FOUR_UP = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
GEOMETRIES = {
    "straight": STRAIGHT,
    "oblique": Geometry((12, 40, 40), (3.0, 1.0, 1.0), (7.0, -200.0, 50.0), direction((25, -18, 33))),
    "left-handed": Geometry(
        (12, 40, 40), (3.0, 1.0, 1.0), (5.0, 5.0, 5.0), direction((10, 0, 5), mirrored=True)
    ),
    "sagittal": Geometry((12, 40, 40), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0), direction((90, 0, 90))),
    "mouse": Geometry((12, 40, 40), (0.06, 0.02, 0.02), (1.0, 2.0, 3.0)),
}


@pytest.fixture
def result(scene):
    return makeResult()


def pane(layouts, name):
    return pictureOf(layouts.sliceWidget(f"CRG{name}"))


def sliceNode(layouts, name):
    return layouts.sliceWidget(name).mrmlSliceNode()


def place(node):
    matrix = node.GetSliceToRAS()
    return [matrix.GetElement(row, column) for row in range(3) for column in range(4)]


def middle(layouts, name):
    return PaneView(None, layouts.sliceWidget(name)).middle()


def nodesOf(scene):
    return {scene.GetNthNode(number).GetID() for number in range(scene.GetNumberOfNodes())}


def looks(result):
    """All that says how the result's segmentations are shown."""
    nodes = [node.GetDisplayNode() for node in (result.fused, result.global_, result.local)]
    return [
        (
            node.GetVisibility(),
            node.GetVisibility2D(),
            node.GetVisibility2DFill(),
            node.GetVisibility2DOutline(),
            node.GetOpacity2DOutline(),
            node.GetSliceIntersectionThickness(),
            node.GetViewNodeIDs(),
            sorted(node.GetAttributeNames()),
        )
        for node in nodes
    ]


def test_both_panes_show_the_volume_in_our_layout_linked_and_in_a_group_of_their_own(view, layouts, result):
    assert view.show(result)
    assert view.isShown()
    assert layouts.layout == TWO_PANES
    for name in ("CRGGlobal", "CRGLocal"):
        layers = layouts.sliceWidget(name).mrmlSliceCompositeNode()
        assert layers.GetBackgroundVolumeID() == result.volume.GetID()
        assert layers.GetLinkedControl()
        assert layers.GetHotLinkedControl()
        assert sliceNode(layouts, name).GetViewGroup() == VIEW_GROUP


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_each_pane_draws_only_its_own_answer_whatever_the_grid(view, layouts, scene, geometry):
    result = makeResult(geometry)
    view.setOverlay("none", 0.7, 0.5)
    view.show(result, thirdPane="fused")
    both = [colours(pane(layouts, name)) for name in ("Global", "Local", "Third")]
    assert [seen.red > 100 for seen in both] == [True, True, False]
    assert [seen.green > 100 for seen in both] == [False, False, True]
    result.global_.GetDisplayNode().SetVisibility(0)
    assert colours(pane(layouts, "Global")).any == 0
    assert colours(pane(layouts, "Local")).red == both[1].red


def test_answers_are_outlines_that_leave_the_anatomy_free(view, layouts, result):
    view.setOverlay("none", 0.7, 0.5)
    view.show(result)
    picture = pane(layouts, "Global")
    red = (picture[..., 0] > 200) & (picture[..., 1] < 60)
    rows, columns = np.nonzero(red)
    inside = picture[rows.min() + 4 : rows.max() - 3, columns.min() + 4 : columns.max() - 3]
    assert inside.size > 3000
    assert colours(inside).any == 0


def test_only_uncertain_voxels_are_coloured(view, layouts, result):
    for node in (result.global_, result.local, result.fused):
        node.GetSegmentation().RemoveAllSegments()
    view.setOverlay("none", 0.7, 0.5)
    view.show(result)
    assert colours(pane(layouts, "Local")).any == 0
    before = pane(layouts, "Global")
    view.setOverlay("confidence", 0.7, 0.5)
    after = pane(layouts, "Global")
    changed = np.any(before != after, axis=-1)
    # The doubtful part is 10 x 6 mm; one pixel of it is that many mm wide.
    node = sliceNode(layouts, "CRGGlobal")
    pixel = node.GetFieldOfView()[0] / node.GetDimensions()[0]
    names = slice(0, -40)  # the lowest lines tell the layers' names
    assert changed[names].sum() == pytest.approx(60 / pixel**2, rel=0.1)
    assert colours(after[names]).violet == changed[names].sum()


def test_an_answer_is_seen_in_its_pane_also_where_the_user_had_made_its_lines_invisible(
    view, layouts, result
):
    view.setOverlay("none", 0.7, 0.5)
    view.show(result)
    seen = pane(layouts, "Global")
    view.hide()
    hidden = (("SetVisibility2D", 0), ("SetVisibility2DOutline", 0), ("SetOpacity2DOutline", 0.0))
    for setter, value in hidden:
        getattr(result.global_.GetDisplayNode(), setter)(value)
        before = looks(result)
        view.show(result)
        assert (pane(layouts, "Global") == seen).all(), setter
        view.hide()
        assert looks(result) == before


def test_the_overlay_is_coloured_as_its_legend_says_whatever_was_done_to_its_display(view, layouts, result):
    view.show(result)
    before = pane(layouts, "Global")
    view.hide()
    display = result.confidence.GetDisplayNode()
    display.SetWindowLevelMinMax(90, 110)
    display.InterpolateOn()
    display.ApplyThresholdOff()
    view.show(result)
    assert (pane(layouts, "Global") == before).all()


@pytest.mark.parametrize(
    ("kind", "threshold", "coloured"),
    [
        ("confidence", 0.38, False),  # the doubtful voxels have 100 / 255 = 0.39
        ("confidence", 0.40, True),
        ("disagreement", 0.20, False),  # and disagree by 200 / 255 = 0.78
        ("disagreement", 0.23, True),
        ("confidence", 0.0, False),
        ("disagreement", 0.0, False),
        ("none", 1.0, False),
    ],
)
def test_the_slider_decides_which_voxels_are_uncertain(view, layouts, result, kind, threshold, coloured):
    view.show(result)
    view.setOverlay(kind, threshold, 0.5)
    # The middle of the pane: the legend in the corner does not count.
    assert (colours(pane(layouts, "Global")[60:-60]).violet > 100) == coloured


def test_at_one_everything_is_uncertain_but_what_is_fully_sure(view, layouts, result):
    view.show(result)
    view.setOverlay("confidence", 1.0, 1.0)
    part = colours(pane(layouts, "Global")[60:-60]).violet
    result.confidence.GetImageData().GetPointData().GetScalars().Fill(254)
    result.confidence.GetImageData().Modified()
    result.confidence.Modified()
    assert colours(pane(layouts, "Global")[60:-60]).violet > 5 * part


def test_the_legend_stands_in_the_last_pane_only_and_goes_with_the_overlay(view, layouts, result):
    def corner(name):
        return colours(pane(layouts, name)[-18:, -130:]).violet

    view.show(result)
    assert corner("Global") == 0
    assert corner("Local") > 500
    view.setThirdPane("fused")
    assert corner("Local") == 0
    assert corner("Third") > 500
    view.setOverlay("none", 0.7, 0.5)
    assert corner("Third") == 0


def test_a_region_is_centred_in_our_panes_while_the_users_views_stay(view, layouts, scene, result):
    for name in ("Red", "Green", "Yellow"):
        layouts.sliceWidget(name).mrmlSliceCompositeNode().SetBackgroundVolumeID(result.volume.GetID())
    before = [place(sliceNode(layouts, name)) for name in ("Red", "Green", "Yellow")]
    view.show(result, thirdPane="fused")
    for region in regionsOf(result.record):
        view.jumpTo(region.position)
        world = worldPosition(result.volume, region.position)
        for name in ("CRGGlobal", "CRGLocal", "CRGThird"):
            pixel = sliceNode(layouts, name).GetFieldOfView()[0] / sliceNode(layouts, name).GetDimensions()[0]
            assert middle(layouts, name) == pytest.approx(world, abs=pixel)
        assert scene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairRAS() == pytest.approx(world)
    assert [place(sliceNode(layouts, name)) for name in ("Red", "Green", "Yellow")] == before


def test_a_place_of_one_volume_is_not_gone_to_in_the_next(view, layouts):
    view.show(makeResult())
    view.jumpTo(REGIONS[0]["position"])
    view.show(makeResult(Geometry(STRAIGHT.shape, STRAIGHT.spacing, (480.0, 470.0, 600.0)), name="next"))
    assert middle(layouts, "CRGGlobal") == pytest.approx((-499.5, -489.5, 616.5), abs=2)


def test_a_crosshair_that_the_user_shows_or_chooses_stays_as_it_is(view, scene, result):
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    for before, chosen, after in ((1, None, 1), (0, 2, 2)):
        crosshair.SetCrosshairMode(before)
        view.show(result)
        view.jumpTo(regionsOf(result.record)[0].position)
        if chosen is not None:
            crosshair.SetCrosshairMode(chosen)
        view.hide()
        assert crosshair.GetCrosshairMode() == after


def test_a_transformed_volume_is_found_where_the_transform_puts_it(view, layouts, scene):
    matrix = vtk.vtkTransform()
    matrix.Translate(40, -30, 250)
    matrix.RotateWXYZ(30, 1, 1, 0)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix.GetMatrix())
    result = makeResult()
    for node in (result.volume, result.global_, result.local, result.fused, result.confidence):
        node.SetAndObserveTransformNodeID(transform.GetID())
    view.show(result)
    view.jumpTo((0.0, -10.0, 115.0))
    seen = colours(pane(layouts, "Global"))
    assert seen.red > 100
    assert seen.violet > 100
    half = np.asarray(matrix.TransformPoint(0.0, 10.0, 115.0))
    assert middle(layouts, "CRGGlobal") == pytest.approx(half, abs=0.2)


def test_a_bent_volume_is_shown_without_turning_to_a_plane_that_it_does_not_have(view, layouts, scene):
    points = vtk.vtkPoints()
    for corner in np.ndindex(2, 2, 2):
        points.InsertNextPoint(np.array(corner) * 40.0 + [-20, -10, 100])
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(points)
    spline.SetBasisToR()
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(spline)
    result = makeResult()
    for node in (result.volume, result.global_, result.local, result.fused, result.confidence):
        node.SetAndObserveTransformNodeID(transform.GetID())
    view.show(result)
    assert colours(pane(layouts, "Global")).red > 100


def test_an_oblique_volume_is_cut_along_its_own_planes(view, layouts, scene):
    geometry = GEOMETRIES["oblique"]
    view.show(makeResult(geometry))
    normal = [sliceNode(layouts, "CRGGlobal").GetSliceToRAS().GetElement(row, 2) for row in range(3)]
    along = np.asarray(geometry.direction)[:, 2] * [-1, -1, 1]
    assert abs(np.dot(normal, along)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("orientation", ["Axial", "Sagittal", "Coronal"])
def test_all_panes_turn_together_around_the_place_that_is_looked_at(view, layouts, result, orientation):
    view.show(result, thirdPane="fused")
    view.jumpTo((2.0, -11.0, 112.0))
    view.setOrientation(orientation)
    for name in ("CRGGlobal", "CRGLocal", "CRGThird"):
        assert sliceNode(layouts, name).GetOrientation() == orientation
        assert middle(layouts, name) == pytest.approx((-2.0, 11.0, 112.0), abs=0.3)


def test_scrolling_one_pane_scrolls_the_other_but_not_red(view, layouts, result):
    red = place(sliceNode(layouts, "Red"))
    view.show(result)
    layouts.sliceWidget("CRGGlobal").sliceController().setSliceOffsetValue(112.0)
    assert layouts.sliceWidget("CRGLocal").sliceLogic().GetSliceOffset() == pytest.approx(112.0)
    assert place(sliceNode(layouts, "Red")) == red


def test_hiding_gives_back_layout_looks_and_crosshair(view, layouts, scene, result):
    before = looks(result)
    view.show(result, thirdPane="fused")
    view.setDisagreementOutline(True)
    view.jumpTo(regionsOf(result.record)[0].position)
    view.hide()
    assert layouts.layout == FOUR_UP
    assert looks(result) == before
    assert not view.isShown()
    assert scene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairMode() == 0


def test_what_the_user_had_chosen_for_the_fused_answer_comes_back_too(view, result):
    display = result.fused.GetDisplayNode()
    display.SetVisibility2DFill(1)
    display.SetOpacity2DOutline(0.25)
    display.SetSliceIntersectionThickness(5)
    display.SetViewNodeIDs(("vtkMRMLSliceNodeRed",))
    before = looks(result)
    for third in ("none", "fused", "none"):
        view.show(result, thirdPane=third)
    view.hide()
    assert looks(result) == before


def test_the_users_views_go_on_showing_the_fused_answer_and_only_that(view, layouts, result):
    layouts.sliceWidget("Red").mrmlSliceCompositeNode().SetBackgroundVolumeID(result.volume.GetID())
    layouts.sliceWidget("Red").fitSliceToBackground()
    before = pictureOf(layouts.sliceWidget("Red"))
    assert colours(before).any > 100
    view.show(result)
    assert (pictureOf(layouts.sliceWidget("Red")) == before).all()


def test_the_users_3d_views_go_on_showing_the_answer(view, scene, result):
    threeD = scene.AddNewNodeByClass("vtkMRMLViewNode")
    view.show(result, thirdPane="fused")
    assert result.fused.GetDisplayNode().IsDisplayableInView(threeD.GetID())
    assert not result.global_.GetDisplayNode().IsDisplayableInView(threeD.GetID())


def test_answers_of_an_older_result_stay_out_of_our_panes(view, layouts, scene):
    older = makeResult()
    older.global_.GetDisplayNode().SetVisibility(1)
    newer = makeResult(name="scan again")
    for node in (newer.global_, newer.local, newer.fused):
        node.GetSegmentation().RemoveAllSegments()
    view.setOverlay("none", 0.7, 0.5)
    before = looks(older)
    view.show(newer)
    assert colours(pane(layouts, "Global")).any == 0
    view.hide()
    assert looks(older) == before


def test_an_answer_that_is_hidden_is_not_touched_and_any_other_only_once(view, scene, result):
    older = [makeResult(name=f"scan {number}") for number in range(2)]
    events = []
    for answer in older:
        for node in (answer.fused, answer.global_, answer.local):
            display = node.GetDisplayNode()
            display.AddObserver("ModifiedEvent", lambda display, _event: events.append(display.GetID()))
    view.show(result)
    assert sorted(events) == sorted(answer.fused.GetDisplayNode().GetID() for answer in older)
    events.clear()
    view.hide()
    assert sorted(events) == sorted(answer.fused.GetDisplayNode().GetID() for answer in older)
    assert all(answer.fused.GetDisplayNode().GetVisibility() for answer in older)


def test_an_answer_that_a_newer_one_hid_stays_hidden_after_comparing(view, layouts, result):
    view.show(result)
    hideAnswers(result)
    view.show(result)
    view.hide()
    assert not result.fused.GetDisplayNode().GetVisibility()


def test_a_segmentation_of_the_users_own_is_left_alone(view, scene, result):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    node.CreateDefaultDisplayNodes()
    view.show(result)
    assert node.GetDisplayNode().GetViewNodeIDs() == ()
    assert node.GetDisplayNode().GetVisibility()


def test_the_corrected_copy_appears_in_the_third_pane_without_moving_the_others(view, layouts, scene, result):
    view.setOverlay("none", 0.7, 0.5)
    view.show(result, thirdPane="corrected")
    assert layouts.layout == THREE_PANES
    assert sliceNode(layouts, "CRGThird").GetLayoutLabel() == "C"
    assert colours(pane(layouts, "Third")).any == 0
    view.jumpTo(regionsOf(result.record)[1].position)
    before = place(sliceNode(layouts, "CRGGlobal"))
    labels = np.zeros(STRAIGHT.shape, np.uint8)
    labels[:, 5:20, 5:30] = 2
    corrected = segmentationFromLabels(labels, STRAIGHT, TABLE, "corrected", result.volume)
    view.show(setCorrected(result.volume, corrected), thirdPane="corrected")
    assert colours(pane(layouts, "Third")).green > 100
    assert colours(pane(layouts, "Global")).green == 0
    assert place(sliceNode(layouts, "CRGGlobal")) == before


def test_a_third_pane_that_comes_later_shows_the_same_place(view, layouts, result):
    view.show(result)
    view.jumpTo(regionsOf(result.record)[0].position)
    sliceNode(layouts, "CRGGlobal").SetFieldOfView(20.0, 20.0, 1.0)
    sliceNode(layouts, "CRGGlobal").SetSliceOrigin(6.0, -4.0, 0.0)  # moved by the mouse
    view.setThirdPane("fused")
    assert middle(layouts, "CRGThird") == pytest.approx(middle(layouts, "CRGGlobal"), abs=0.1)
    fields = [sliceNode(layouts, name).GetFieldOfView() for name in ("CRGThird", "CRGGlobal")]
    assert fields[0] == pytest.approx(fields[1], rel=0.02)


def test_a_quality_without_a_local_answer_leaves_its_pane_to_the_anatomy(view, layouts, scene, result):
    scene.RemoveNode(result.local)
    view.setOverlay("none", 0.7, 0.5)
    view.setDisagreementOutline(True)
    assert view.show(result)
    assert colours(pane(layouts, "Local")).any == 0


def test_the_disagreement_is_outlined_by_choice_and_its_node_goes_again(view, layouts, scene, result):
    view.setOverlay("none", 0.7, 0.5)
    view.show(result)
    before, nodes = pane(layouts, "Local")[40:-40], nodesOf(scene)
    view.setDisagreementOutline(True)
    after = pane(layouts, "Local")[40:-40]
    # Where global alone sees the liver, nothing was drawn in the local pane.
    assert colours(after).white > colours(before).white + 100
    view.setDisagreementOutline(False)
    assert (pane(layouts, "Local")[40:-40] == before).all()
    assert nodesOf(scene) == nodes


def viewThatSeeks(found, layouts):
    """A view whose outlines are found when the test says so: it calls what is put into ``found``."""
    return CompareView(
        outline=lambda _result, onFound: found.append(onFound),
        layoutManager=lambda: layouts,
        later=lambda call: call(),
    )


def test_an_outline_that_is_found_too_late_is_not_made(layouts, scene, result):
    found = []
    view = viewThatSeeks(found, layouts)
    view.show(result)
    view.setDisagreementOutline(True)
    view.setDisagreementOutline(False)
    other = makeResult(name="other")
    nodes = nodesOf(scene)
    found[0](lambda: pytest.fail("nobody wants it"))
    view.setDisagreementOutline(True)
    view.show(other)
    found[1](lambda: pytest.fail("it is of another result"))
    found[2](lambda: outlineOf(other))
    assert len(nodesOf(scene) - nodes) == 2
    view.hide()
    assert nodesOf(scene) == nodes


def test_an_outline_is_asked_for_once_while_it_is_sought(layouts, result):
    found = []
    made = viewThatSeeks(found, layouts)
    made.show(result)
    for _slider in range(3):
        made.setDisagreementOutline(True)
    assert len(found) == 1
    made.setDisagreementOutline(False)
    made.setDisagreementOutline(True)
    assert len(found) == 2
    made.hide()


def test_a_disagreement_outline_is_of_the_result_that_is_shown(view, scene):
    first, second = makeResult(), makeResult(name="other")
    view.setDisagreementOutline(True)
    for result in (first, second):
        view.show(result)
        outlines = [node for node in segmentations(scene) if node.GetAttribute(OUTLINE)]
        assert [volumeOf(node) for node in outlines] == [result.volume]


def test_showing_and_hiding_again_and_again_leaves_no_node_behind(view, scene, result):
    view.setDisagreementOutline(True)
    view.show(result, thirdPane="fused")
    view.hide()
    nodes = nodesOf(scene)
    for third in ("none", "fused", "corrected", "none"):
        view.show(result, thirdPane=third)
        view.hide()
    assert nodesOf(scene) == nodes


def test_titles_and_legends_do_not_pile_up(view, layouts, result):
    def props():
        view_ = layouts.sliceWidget("CRGLocal").sliceView()
        return view_.renderWindow().GetRenderers().GetFirstRenderer().GetViewProps().GetNumberOfItems()

    view.show(result)
    shown = props()
    for threshold in (0.2, 0.5, 0.9):
        view.setOverlay("confidence", threshold, 0.5)
        view.show(result)
    assert props() == shown
    view.hide()
    # A module that was reloaded has another view object, and finds what the first one drew.
    another = CompareView(layoutManager=lambda: layouts, later=lambda call: call())
    another.show(result)
    assert props() == shown
    another.shutDown()


def test_a_scene_that_is_closed_while_we_compare_leaves_nothing_behind(view, layouts, scene, result):
    heard = []
    view.onHidden = lambda: heard.append("hidden")
    view.show(result, thirdPane="fused")
    view.setDisagreementOutline(True)
    scene.Clear(0)
    assert layouts.layout == FOUR_UP
    assert not view.isShown()
    assert heard == ["hidden"]
    view.sceneClosed()
    view.show(makeResult())
    view.setOverlay("none", 0.7, 0.5)
    assert colours(pane(layouts, "Global")).red > 100
    assert sliceNode(layouts, "CRGLocal").GetViewGroup() == VIEW_GROUP


def test_a_volume_that_is_deleted_ends_the_comparison(view, layouts, scene, result):
    view.show(result)
    scene.RemoveNode(result.volume)
    assert not view.isShown()
    assert layouts.layout == FOUR_UP
    assert not view.show(result)


def test_choosing_another_layout_gives_the_looks_back_at_once(view, layouts, result):
    heard = []
    view.onHidden = lambda: heard.append("hidden")
    before = looks(result)
    view.show(result)
    layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpGreenSliceView)
    assert heard == ["hidden"]
    assert looks(result) == before
    assert layouts.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpGreenSliceView


def test_the_place_is_kept_when_the_comparison_is_left_and_entered_again(view, layouts, result):
    view.show(result)
    view.jumpTo(regionsOf(result.record)[1].position)
    before = place(sliceNode(layouts, "CRGGlobal"))
    view.hide()
    view.show(result)
    assert place(sliceNode(layouts, "CRGGlobal")) == before
    view.fit()
    assert place(sliceNode(layouts, "CRGGlobal")) != before


def test_a_volume_is_found_after_a_scene_was_added_that_had_compared_one_of_the_same_id(
    view, layouts, scene, tmp_path
):
    view.show(makeResult())
    view.hide()
    assert scene.Commit(str(tmp_path / "scene.mrml"))
    scene.Clear(False)
    mine = makeResult(Geometry(STRAIGHT.shape, STRAIGHT.spacing, (500.0, -30.0, 100.0)))
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Import(None)
    view.show(mine)
    assert middle(layouts, "CRGGlobal")[0] == pytest.approx(-519.5, abs=1)
    assert middle(layouts, "CRGLocal")[0] == pytest.approx(-519.5, abs=1)


def test_a_label_map_that_was_chosen_in_a_pane_is_not_laid_over_the_next_volume(view, layouts, scene, result):
    view.show(result)
    layers = layouts.sliceWidget("CRGLocal").mrmlSliceCompositeNode()
    layers.SetLabelVolumeID(scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode").GetID())
    view.show(makeResult(name="next"))
    assert layers.GetLabelVolumeID() is None


def test_the_next_volume_that_is_loaded_does_not_push_ours_out(view, layouts, scene, result):
    view.show(result)
    other = makeResult(name="loaded meanwhile")
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    selection.SetActiveVolumeID(other.volume.GetID())
    slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance().GetMRMLApplicationLogic(
    ).PropagateVolumeSelection()  # fmt: skip
    shown = [layouts.sliceWidget(name).mrmlSliceCompositeNode() for name in ("CRGGlobal", "Red")]
    assert shown[0].GetBackgroundVolumeID() == result.volume.GetID()
    assert shown[1].GetBackgroundVolumeID() == other.volume.GetID()


def test_without_a_main_window_nothing_happens_and_nothing_fails(scene, result):
    view = CompareView(layoutManager=lambda: None)
    before = looks(result)
    assert not view.show(result)
    view.setOverlay("confidence", 0.5, 0.5)
    view.setThirdPane("fused")
    view.setOrientation("Coronal")
    view.setDisagreementOutline(True)
    view.jumpTo((0.0, 0.0, 0.0))
    view.fit()
    view.hide()
    view.sceneClosed()
    view.shutDown()
    assert not view.isShown()
    assert looks(result) == before


def test_a_scene_saved_while_comparing_is_taken_up_again(view, layouts, scene, result):
    before = looks(result)
    view.show(result)
    # What a scene file brings back: the nodes with their attributes, and the number of the layout.
    again = CompareView(layoutManager=lambda: layouts, later=lambda call: call())
    assert again.isLeftOver()
    assert not again.isShown()
    again.show(result)
    assert not again.isLeftOver()
    again.hide()
    assert looks(result) == before
    assert layouts.layout == FOUR_UP


def test_a_scene_saved_while_comparing_names_no_arrangement_that_others_do_not_know(
    view, layouts, scene, result, tmp_path
):
    def savedArrangement():
        assert scene.Commit(str(tmp_path / "scene.mrml"))
        return re.findall(r'currentViewArrangement="(\d+)"', (tmp_path / "scene.mrml").read_text())

    assert savedArrangement() == [str(FOUR_UP)]
    view.show(result)
    assert savedArrangement() == []
    view.hide()
    assert savedArrangement() == [str(FOUR_UP)]
    view.show(result)
    layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)  # the user leaves it so
    assert savedArrangement() == [str(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)]


def test_each_bar_explains_its_letter(view, layouts, result):
    view.show(result, thirdPane="fused")
    texts = [
        layouts.sliceWidget(name).sliceController().toolTip for name in ("CRGGlobal", "CRGLocal", "CRGThird")
    ]
    assert [text.partition(":")[0] for text in texts] == ["Global", "Local", "Fused"]


def test_a_scene_saved_while_comparing_shows_the_copy_in_the_users_views_when_it_is_opened(
    view, layouts, scene, result, tmp_path
):
    copy = segmentationFromLabels(np.ones(STRAIGHT.shape, np.uint8), STRAIGHT, TABLE, "copy", result.volume)
    setCorrected(result.volume, copy)
    view.setDisagreementOutline(True)
    view.show(resultOf(result.volume), thirdPane="corrected")
    assert scene.Commit(str(tmp_path / "scene.mrml"))
    view.hide()
    scene.Clear(False)
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Import(None)
    red = layouts.sliceWidget("Red").mrmlSliceNode().GetID()
    opened = {node.GetName(): node.GetDisplayNode() for node in segmentations(scene)}
    assert set(opened) == {node.GetName() for node in (result.fused, result.global_, result.local, copy)}
    assert opened["copy"].IsDisplayableInView(red)
    assert not opened[result.global_.GetName()].IsDisplayableInView(red)


def test_a_file_that_kept_the_looks_of_our_panes_is_shown_as_the_user_had_chosen(view, layouts, result):
    before = looks(result)
    view.show(result)
    # What such a file brings back: the nodes with what was noted on them, and not our arrangement.
    again = CompareView(layoutManager=lambda: layouts, later=lambda call: call())
    layouts.layoutLogic().GetLayoutNode().SetViewArrangement(FOUR_UP)
    again.sceneImported()
    assert looks(result) == before


def test_a_scene_that_is_added_while_comparing_changes_nothing_in_our_panes(view, layouts, scene, result):
    view.show(result)
    view.jumpTo(regionsOf(result.record)[0].position)
    before, mode = looks(result), scene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairMode()
    view.sceneImported()
    assert looks(result) == before
    assert scene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairMode() == mode


def test_a_file_saved_while_a_place_was_marked_is_opened_without_the_mark(
    view, layouts, scene, result, tmp_path
):
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    view.show(result)
    view.jumpTo(regionsOf(result.record)[0].position)
    assert scene.Commit(str(tmp_path / "scene.mrml"))
    scene.Clear(False)
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Import(None)
    assert crosshair.GetCrosshairMode() != crosshair.NoCrosshair
    view.sceneImported()
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair
