"""Our arrangements: parsed by Slicer's own layout logic, shown, and given back."""

import pytest
import slicer

from CRGLoCoSegmentLib.views.layout import (
    PANES,
    THREE_PANES,
    TWO_PANES,
    VIEW_GROUP,
    isOurs,
    layoutXml,
    paneExplanation,
    paneTitle,
    registerLayouts,
    restoreLayout,
    showLayout,
)

FOUR_UP = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def layoutNode(layouts):
    return layouts.layoutLogic().GetLayoutNode()


@pytest.mark.parametrize(
    ("layout", "names"),
    [(TWO_PANES, ("CRGGlobal", "CRGLocal")), (THREE_PANES, ("CRGGlobal", "CRGLocal", "CRGThird"))],
)
def test_slicers_layout_logic_makes_the_panes_that_the_description_names(layouts, layout, names):
    showLayout(layouts, layout)
    assert layouts.shownViews() == names
    for pane in PANES[: len(names)]:
        node = layouts.sliceWidget(pane.tag).mrmlSliceNode()
        assert node.GetSingletonTag() == pane.tag
        assert node.GetLayoutLabel() == pane.letter
        assert node.GetViewGroup() == VIEW_GROUP
        assert node.GetOrientation() == "Axial"
        assert tuple(round(part * 255) for part in node.GetLayoutColor()) == tuple(
            bytes.fromhex(pane.colour[1:])
        )


def test_a_letter_is_short_enough_for_the_bar_and_a_word_explains_it():
    assert all(1 <= len(pane.letter) <= 3 for pane in PANES)
    for kind in ("global", "local", "fused", "corrected"):
        assert paneExplanation(kind).startswith(f"{paneTitle(kind)}: ")


def test_the_former_arrangement_comes_back(layouts):
    showLayout(layouts, TWO_PANES)
    showLayout(layouts, THREE_PANES)
    restoreLayout(layouts)
    assert layouts.layout == FOUR_UP


def test_an_arrangement_that_the_user_chose_meanwhile_stays(layouts):
    showLayout(layouts, TWO_PANES)
    layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    restoreLayout(layouts)
    assert layouts.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


def test_a_former_arrangement_that_is_gone_gives_way_to_four_views(layouts):
    showLayout(layouts, TWO_PANES)
    layoutNode(layouts).SetAttribute("CRGLoCoSegment.formerArrangement", "987654")
    restoreLayout(layouts)
    assert layouts.layout == FOUR_UP


def test_registering_twice_changes_the_description_instead_of_failing(layouts):
    node = layoutNode(layouts)
    registerLayouts(node)
    node.SetLayoutDescription(TWO_PANES, layoutXml(PANES[:1]))
    registerLayouts(node)
    assert node.GetLayoutDescription(TWO_PANES) == layoutXml(PANES[:2])


def test_a_layout_that_was_opened_before_slicer_knew_it_is_filled_when_we_show_it(layouts):
    node = layoutNode(layouts)
    node.AddLayoutDescription(TWO_PANES, "")
    node.SetViewArrangement(TWO_PANES)
    assert layouts.shownViews() == ()
    showLayout(layouts, TWO_PANES)
    assert layouts.shownViews() == ("CRGGlobal", "CRGLocal")


def test_our_layouts_do_not_take_a_number_of_slicers(layouts):
    assert min(TWO_PANES, THREE_PANES) > 100
    assert not isOurs(layoutNode(layouts))
