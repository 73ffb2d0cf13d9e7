"""The module script in Slicer's hands: loading, opening, scenes that come and go, reload, the end."""

import ast
import gc
import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.request
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ctk
import pytest
import qt
import slicer
import vtk
from PySide6.QtTest import QTest

from CRGLoCoSegmentLib.nodes import results
from CRGLoCoSegmentLib.panels import panelTitles
from CRGLoCoSegmentLib.panels.panel import Panel
from CRGLoCoSegmentLib.views.display_memory import showOutlined
from CRGLoCoSegmentLib.views.regions import seenRegions
from phantom_results import makeResult
from slicer_host.slice_views import whyNoPictures
from stand_ins import addVolume

FOLDER = Path(__file__).parents[2] / "CRGLoCoSegment"
SAMPLE = FOLDER / "Resources" / "Samples" / "chaos_mr" / "imagesTr" / "chaos_13_0000.nii.gz"
HEAVY = {"torch", "monai", "scipy", "SimpleITK", "psutil", "pydicom", "safetensors"}


@pytest.fixture
def widget(loadModule: Callable[[], Any]) -> Any:
    return loadModule()


def packages() -> dict[str, Any]:
    return {name: module for name, module in sys.modules.items() if name.startswith("CRGLoCoSegmentLib")}


# ------------------------------------------------------------------------------------------- opening


def test_opening_is_quick_and_imports_nothing_heavy():
    """In a process of its own: other tests of this one have imported a great deal."""
    code = (
        "import sys, time\n"
        f"sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(FOLDER)!r}]\n"
        "from slicer_host.install import installed\n"
        "host = installed()\n"
        "import slicer\n"
        "before = set(sys.modules)\n"
        "module = host.loadModule()\n"
        "atStart = set(sys.modules) - before\n"
        # A Slicer that runs has built widgets before; so has this one.
        f"slicer.util.loadUI({str(FOLDER / 'Resources/UI/compare.ui')!r})\n"
        "started = time.process_time()\n"
        "slicer.util.selectModule('CRGLoCoSegment')\n"
        "print('seconds', time.process_time() - started)\n"
        "print('start', *sorted(atStart))\n"
        "print('open', *sorted(set(sys.modules) - before))\n"
    )
    seconds, atStart, opened = float("inf"), set(), set()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _attempt in range(3):  # the first writes the byte code that Slicer's build has written
        found = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        lines = {line.split()[0]: line.split()[1:] for line in found.stdout.splitlines() if line}
        seconds = min(seconds, float(lines["seconds"][0]))
        atStart, opened = set(lines["start"]), set(lines["open"])
    assert seconds < 0.2
    assert {name.split(".")[0] for name in opened} & HEAVY == set()
    assert {name for name in atStart if name.startswith(("crgloco", "numpy"))} == set()


def test_only_the_section_that_is_open_is_built(widget: Any):
    assert list(widget.sections) == list(panelTitles())
    built = {name for name, section in widget.sections.items() if section.panel is not None}
    assert "segment" in built
    assert built <= {"segment", "environment"}
    for section in widget.sections.values():
        section.open()
        assert section.panel is not None, section.name
        assert section.panel.name == section.name


@pytest.mark.parametrize("ready", [True, False])
def test_the_environment_opens_by_itself_only_where_something_is_missing(
    loadModule: Callable[[], Any], processEvents: Any, monkeypatch: pytest.MonkeyPatch, ready: bool
):
    monkeypatch.setattr("CRGLoCoSegmentLib.logic.environment.Environment.isReady", lambda _self: ready)
    opened = loadModule()
    processEvents()
    assert (opened.sections["environment"].panel is None) == ready


def test_the_cases_open_by_themselves_where_a_label_was_kept_when_slicer_closed(
    loadModule: Callable[[], Any], processEvents: Any, settings: Any
):
    settings.setValue("CRGLoCoSegment/keptLabel", json.dumps("It is kept as /home/me/case.seg.nrrd."))
    opened = loadModule()
    processEvents()
    assert "It is kept as" in opened.sections["cases"].panel.ui.messageLabel.text


def test_the_tab_key_comes_through_every_section_in_their_order_whatever_was_opened_first(
    widget: Any, host: Any, waitUntil: Callable[..., None]
):
    widget._parameterNode.inputVolume = makeResult().volume
    for name in ("fineTune", "correct", "compare", "cases", "environment", "segment"):
        widget.sections[name].open()
    widget.sections["fineTune"].panel.ui.optionsBox.collapsed = False
    sections = [section.button.qtObject_ for section in widget.sections.values()]
    window = sections[0].window()
    window.resize(500, 4000)
    window.show()
    window.activateWindow()
    waitUntil(window.isActiveWindow)
    sections[0].setFocus()
    come: list[Any] = []
    while (focused := host.application.focusWidget()) not in come:
        come.append(focused)
        QTest.keyClick(focused, qt.Qt.Key_Tab)
    window.hide()
    at = [next(n for n, one in enumerate(sections) if one in (each, *around(each))) for each in come]
    assert focused is sections[0]
    assert at == sorted(at)
    assert {0, 1, 2, 3, 4, 5} == set(at)
    tables = [each.objectName() for each in come if each.inherits("QTableWidget")]
    assert tables == ["regionsTable", "startsTable", "casesTable"]
    byName = {each.objectName(): number for number, each in enumerate(come)}
    assert come[byName["startsTable"] + 1] is come[byName["startsTable"]].cellWidget(0, 1)
    assert come[byName["optionsBox"] + 1].objectName().startswith("option_")
    assert seenRegions(widget.logic.resultOf(widget._parameterNode.inputVolume)) == frozenset()


def around(widget: Any) -> Iterator[Any]:
    while widget := widget.parentWidget():
        yield widget


def test_opening_starts_no_process(widget: Any, processEvents: Any):
    processEvents()
    for worker in ("compute", "files", "checker"):
        assert worker not in vars(widget.logic) or not getattr(widget.logic, worker).isRunning()


def test_a_section_that_cannot_be_built_says_so_and_the_others_work(
    widget: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
):
    def broken(*_given: Any) -> Panel:
        raise RuntimeError("no such file")

    monkeypatch.setattr("CRGLoCoSegmentLib.panels.section.makePanel", broken)
    section = widget.sections["compare"]
    section.open()
    assert section.panel is None
    labels = [child.text for child in slicer.util.findChildren(section.button, className="QLabel")]
    assert labels == ["This section cannot be shown; the application's error log says why."]
    assert "no such file" in caplog.text
    widget.enter()


def test_a_section_that_fails_later_does_not_silence_the_others(
    widget: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
):
    heard: list[str] = []
    widget.sections["compare"].open()
    monkeypatch.setattr(widget.sections["segment"].panel, "refresh", lambda _what: 1 / 0)
    monkeypatch.setattr(widget.sections["compare"].panel, "refresh", heard.append)
    widget.logic.listeners.tell("result")
    assert heard == ["result"]
    assert "ZeroDivisionError" in caplog.text


def test_without_a_parent_the_widget_makes_its_own(module: Any):
    made = module.script.CRGLoCoSegmentWidget()
    assert made.sections["segment"].panel is not None
    made.cleanup()
    made.parent.deleteLater()


# -------------------------------------------------------------------------------------------- scenes


def test_the_volume_that_is_shown_is_proposed(loadModule: Callable[[], Any]):
    _first, second = addVolume("first"), addVolume("second")
    selection = slicer.mrmlScene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    selection.SetActiveVolumeID(second.GetID())
    assert loadModule()._parameterNode.inputVolume is second


def test_the_first_volume_that_is_loaded_later_is_proposed_and_no_overlay_ever(
    widget: Any, processEvents: Any
):
    overlay = addVolume("confidence")
    overlay.SetAttribute("CRGLoCoSegment.overlay", "confidence")
    processEvents()
    assert widget._parameterNode.inputVolume is None
    volume = addVolume("scan")
    processEvents()
    assert widget._parameterNode.inputVolume is volume
    addVolume("another")
    processEvents()
    assert widget._parameterNode.inputVolume is volume


def test_choices_are_saved_with_the_scene_and_come_back(widget: Any):
    volume = addVolume("scan")
    ui = widget.sections["segment"].panel.ui
    ui.inputSelector.setCurrentNode(volume)
    ui.qualitySelector.setCurrentIndex(2)
    scene = slicer.mrmlScene
    scene.SetSaveToXMLString(1)
    scene.Commit()
    text = scene.GetSceneXMLString()
    assert "full" in text.lower()
    scene.Clear()
    assert ui.qualitySelector.currentIndex == 1
    assert ui.inputSelector.currentNode() is None
    scene.SetLoadFromXMLString(1)
    scene.SetSceneXMLString(text)
    scene.Import()
    scene.SetLoadFromXMLString(0)
    scene.SetSaveToXMLString(0)
    assert ui.qualitySelector.currentIndex == 2
    assert ui.inputSelector.currentNode().GetName() == "scan"
    assert widget._parameterNode.inputVolume.GetName() == "scan"


def test_a_scene_that_is_added_to_this_one_leaves_the_choices_as_they_are(widget: Any, addScene: Any):
    volume = addVolume("scan")
    ui = widget.sections["segment"].panel.ui
    ui.inputSelector.setCurrentNode(volume)
    addScene()
    assert slicer.mrmlScene.GetFirstNodeByName("added") is not None
    assert ui.inputSelector.currentNode() is volume
    assert widget._parameterNode.inputVolume is volume


def test_a_volume_that_a_script_chooses_is_seen_in_every_section_at_once(widget: Any):
    slicer.util.selectModule("Data")
    slicer.util.selectModule("CRGLoCoSegment")  # the parameter node is bound anew, to its first wrapper
    widget.sections["correct"].open()
    for volume in (addVolume("first"), addVolume("second")):
        widget.logic.getParameterNode().inputVolume = volume
        assert widget.sections["segment"].panel.ui.inputSelector.currentNode() is volume
        assert widget.sections["correct"].panel._volume is volume


def test_an_answer_that_the_user_deletes_is_shown_in_no_section_any_more(widget: Any, processEvents: Any):
    result = makeResult()
    widget._parameterNode.inputVolume = result.volume
    panels = {name: widget.sections[name] for name in ("segment", "compare", "correct", "cases")}
    for section in panels.values():
        section.open()
    ui = {name: section.panel.ui for name, section in panels.items()}
    assert ui["segment"].resultLabel.text
    assert ui["correct"].startsTable.cellWidget(0, 1).count == 3
    slicer.mrmlScene.RemoveNode(result.local)
    processEvents()
    assert "no local answer" in ui["compare"].messageLabel.text
    assert ui["correct"].startsTable.cellWidget(0, 1).count == 2
    slicer.mrmlScene.RemoveNode(result.fused)
    processEvents()
    assert ui["segment"].resultLabel.text == ""
    buttons = (ui["compare"].compareButton, ui["correct"].startButton, ui["cases"].exportButton)
    assert [button.enabled for button in buttons] == [False] * 3


def test_edits_of_answers_are_noted_in_a_scene_that_was_loaded_before_the_module_was_opened(
    loadModule: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as asInAFile:
        asInAFile.setattr(results, "noteEdits", lambda _node: None)
        result = makeResult()
    loadModule()
    result.global_.GetSegmentation().RemoveSegment("label_1")
    assert [results.isEdited(node) for node in (result.fused, result.global_)] == [False, True]


def test_a_volume_whose_id_was_an_overlays_in_a_former_scene_is_shown_as_chosen(widget: Any):
    selector = widget.sections["segment"].panel.ui.inputSelector
    makeResult()
    widget.logic.listeners.tell("result")
    hidden = selector.sortFilterProxyModel().hiddenNodeIDs
    slicer.util.selectModule("Data")
    slicer.mrmlScene.Clear()
    volumes = [addVolume(name) for name in ("first", "second")]
    assert volumes[1].GetID() in hidden
    widget.logic.getParameterNode().inputVolume = volumes[1]
    slicer.util.selectModule("CRGLoCoSegment")
    assert selector.currentNode() is volumes[1]


@pytest.mark.skipif(bool(whyNoPictures()), reason=whyNoPictures())
def test_a_scene_that_was_saved_while_comparing_is_shown_as_before_once_the_module_is_opened(
    layoutManager: Any, loadModule: Callable[[], Any]
):
    display = makeResult().fused.GetDisplayNode()
    showOutlined(display, ["vtkMRMLSliceNodeCRGGlobal"], others=["vtkMRMLSliceNodeRed"])
    loadModule()
    assert display.GetVisibility2DFill()
    assert display.GetViewNodeIDs() == ()


def test_nothing_of_the_machine_is_saved_with_the_scene(widget: Any):
    widget.logic.settings.set("casesFolder", "/data/Patient Smith")
    addVolume("scan")
    scene = slicer.mrmlScene
    scene.SetSaveToXMLString(1)
    scene.Commit()
    scene.SetSaveToXMLString(0)
    assert "Smith" not in scene.GetSceneXMLString()
    assert str(FOLDER) not in scene.GetSceneXMLString()


def test_a_closed_scene_leaves_the_panels_without_parameters_until_the_user_comes_back(
    widget: Any, monkeypatch: pytest.MonkeyPatch
):
    panel = widget.sections["segment"].panel
    slicer.util.selectModule("Data")
    assert panel.parameters is None
    slicer.mrmlScene.Clear()
    assert panel.parameters is None
    slicer.util.selectModule("CRGLoCoSegment")
    assert panel.parameters.quality.value == "balanced"


def test_a_change_by_a_script_reaches_the_widgets_and_the_other_way_round(widget: Any):
    panel = widget.sections["segment"].panel
    parameters = widget.logic.getParameterNode()
    parameters.quality = type(parameters.quality).FAST
    assert panel.ui.qualitySelector.currentIndex == 0
    panel.ui.qualitySelector.setCurrentIndex(1)
    assert parameters.quality.value == "balanced"


def test_leaving_lets_the_parameter_node_go(widget: Any):
    node = widget._parameterNode.parameterNode
    before = node.HasObserver(vtk.vtkCommand.ModifiedEvent)
    slicer.util.selectModule("Data")
    heard: list[str] = []
    widget.sections["segment"].panel.refresh = heard.append
    node.Modified()
    assert before
    assert heard == []


# ------------------------------------------------------------------------------- reload and the end


def test_reload_makes_everything_anew_and_ends_what_was(widget: Any, processEvents: Any):
    old, library = widget, packages()
    observers = slicer.mrmlScene.HasObserver(slicer.vtkMRMLScene.StartCloseEvent)
    widget.onReload()
    processEvents()
    new = slicer.modules.CRGLoCoSegmentWidget
    assert new is not old
    assert observers
    assert old.sections == {}
    assert old.logic is None
    assert packages()["CRGLoCoSegmentLib.logic"] is not library["CRGLoCoSegmentLib.logic"]
    assert new.sections["segment"].panel.parameters is not None
    slicer.mrmlScene.Clear()  # would reach the old widget if it still listened
    # The tests that follow were written against the classes that were imported first.
    for name in packages():
        del sys.modules[name]
    sys.modules.update(library)


def test_sections_that_were_cleaned_up_hold_nothing_in_memory(widget: Any, processEvents: Any):
    """PythonQt holds a slot and its owner as long as the sender lives; no garbage collector sees that."""
    for section in widget.sections.values():
        section.open()
    panels = {name: weakref.ref(section.panel) for name, section in widget.sections.items()}
    widget.cleanup()
    processEvents()
    gc.collect()
    assert [name for name, panel in panels.items() if panel() is not None] == []


def test_cleaning_up_twice_is_harmless(widget: Any):
    widget.cleanup()
    widget.cleanup()
    slicer.mrmlScene.Clear()


def test_leaving_slicer_ends_a_running_segmentation_and_its_process_within_five_seconds(
    widget: Any, host: Any, waitUntil: Any
):
    task = widget.logic.segment(slicer.util.loadVolume(str(SAMPLE)), quality="full")
    waitUntil(lambda: widget.logic.compute.pid is not None, 60)
    process = widget.logic.compute.pid
    started = time.monotonic()
    host.emit(slicer.app, "aboutToQuit()")
    assert time.monotonic() - started < 5
    assert task.state == "cancelled"
    waitUntil(lambda: not runs(process), 5)


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


# --------------------------------------------------------------------------------------- sample data


def test_the_bundled_scans_are_offered_without_any_network(module: Any, host: Any):
    from SampleData import SampleDataLogic

    host.emit(slicer.app, "startupCompleted()")
    assert list(SampleDataLogic.categories) == ["CRGLoCoSegment"]
    # Each test that loaded the module has registered them; Slicer loads it once, and drops what is alike.
    sources = {source["sampleName"]: source for source in SampleDataLogic.sources}
    assert list(sources) == ["CRGLoCoAbdomenMR1", "CRGLoCoAbdomenMR2"]
    for source in sources.values():
        assert source["uris"].startswith("file:")
        with urllib.request.urlopen(source["uris"]) as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        assert source["checksums"] == f"SHA256:{digest}"
        assert source["fileNames"].endswith(".nii.gz")
        assert pngSize(Path(source["thumbnailFileName"])) == (260, 280)


def pngSize(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def test_the_modules_own_test_passes(module: Any):
    case = module.script.CRGLoCoSegmentTest()
    case.runTest()


def test_sections_are_collapsible_and_titled(widget: Any):
    for name, section in widget.sections.items():
        assert isinstance(section.button, ctk.ctkCollapsibleButton)
        assert section.button.text == panelTitles()[name]


def test_graphics_cards_are_looked_for_once_the_user_has_settled(
    loadModule: Callable[[], Any], waitUntil: Any, monkeypatch: pytest.MonkeyPatch
):
    looked: list[int] = []
    monkeypatch.setattr("CRGLoCoSegmentLib.logic.environment.Environment.isReady", lambda _self: True)
    monkeypatch.setattr(
        "CRGLoCoSegmentLib.logic.environment.Environment.check", lambda _self: looked.append(1)
    )
    opened = loadModule()
    waitUntil(lambda: looked == [1])
    opened.exit()
    opened.enter()
    assert looked == [1]


def test_a_slicer_that_is_too_old_reads_the_script_and_says_so():
    source = (FOLDER / "CRGLoCoSegment.py").read_text(encoding="utf-8")
    script = ast.parse(source, feature_version=(3, 9))
    guard = next(number for number, line in enumerate(script.body) if isinstance(line, ast.If))
    ours = [
        number
        for number, line in enumerate(script.body)
        if isinstance(line, ast.ImportFrom) and str(line.module).startswith("CRGLoCoSegmentLib")
    ]
    assert guard < min(ours)
    assert "5.12 or later" in ast.unparse(script.body[guard])
