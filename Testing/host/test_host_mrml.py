"""The host's MRML side: parameters, node selectors, segment editor, forms, the life of a scripted module."""

import enum
from pathlib import Path
from typing import Annotated, Any

import ctk
import numpy as np
import pytest
import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Choice, Default, Minimum, WithinRange, parameterNodeWrapper

FORM = """<ui version="4.0"><class>Form</class>
<widget class="qMRMLWidget" name="form"><layout class="QFormLayout" name="formLayout">
{items}
</layout></widget><resources/><connections>{connections}</connections></ui>"""
COLOURED = (
    '<item row="0" column="1"><widget class="QLabel" name="a"><property name="colour">'
    "<string>red</string></property></widget></item>"
)
SELECTOR = '<item row="0" column="1"><widget class="qMRMLNodeComboBox" name="selector"/></item>'
TO_SELECTOR = (
    "<connection><sender>form</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>"
    "<receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection>"
)


class Level(enum.Enum):
    LOW = 1
    HIGH = 2

    def label(self) -> str:
        return {"LOW": "a little", "HIGH": "a lot"}[self.name]


@parameterNodeWrapper
class Values:
    volume: vtkMRMLScalarVolumeNode
    either: vtkMRMLScalarVolumeNode | vtkMRMLSegmentationNode | None
    level: Level = Level.HIGH
    share: Annotated[float, WithinRange(0, 1)] = 0.5
    count: Annotated[int, Minimum(1), Default(3)]
    name: str
    color: Annotated[str, Choice(["red", "blue"])] = "blue"
    isOn: bool = True
    folder: Path
    numbers: list[int]
    sizes: dict[str, float]
    place: tuple[int, str]


@pytest.fixture
def node(scene: Any) -> Any:
    return scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "parameters")


@pytest.fixture
def volume(scene: Any) -> Any:
    return slicer.util.addVolumeFromArray(np.zeros((4, 6, 8), np.float32), name="scan")


@pytest.fixture
def segmentation(scene: Any, volume: Any) -> Any:
    made = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "labels")
    made.CreateDefaultDisplayNodes()
    made.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    made.GetSegmentation().AddEmptySegment("label_1", "liver")
    made.GetSegmentation().AddEmptySegment("label_2", "spleen")
    return made


@pytest.fixture
def form(tmp_path: Path) -> Any:
    def write(items: str, connections: str = "") -> str:
        (tmp_path / "form.ui").write_text(FORM.format(items=items, connections=connections))
        return str(tmp_path / "form.ui")

    return write


# ------------------------------------------------------------------------------------ parameters


def test_every_type_of_parameter_survives_saving_and_loading_the_scene(scene, node, volume, tmp_path):
    values = Values(node)
    assert (values.level, values.count, values.numbers, values.volume) == (Level.HIGH, 3, [], None)
    values.volume = values.either = volume
    values.level, values.share, values.name = Level.LOW, 0.25, "a b"
    values.isOn, values.folder, values.place = False, Path("/data"), (2, "x")
    values.numbers.append(7)
    values.sizes["liver"] = 1.5
    scene.SetURL(str(tmp_path / "scene.mrml"))
    scene.Commit()
    scene.Clear()
    scene.SetURL(str(tmp_path / "scene.mrml"))
    scene.Connect()
    again = Values(scene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode"))
    assert (again.level, again.share, again.name, again.isOn) == (Level.LOW, 0.25, "a b", False)
    assert (again.folder, again.place, again.numbers, again.sizes) == (
        Path("/data"),
        (2, "x"),
        [7],
        {"liver": 1.5},
    )
    assert again.volume.GetName() == again.either.GetName() == "scan"


@pytest.mark.parametrize(
    ("name", "value"),
    [("share", 1.5), ("count", 0), ("color", "green"), ("name", 3), ("volume", "scan"), ("level", "LOW")],
)
def test_a_parameter_refuses_a_value_of_another_kind(node, name, value):
    with pytest.raises((TypeError, ValueError)):
        setattr(Values(node), name, value)


def test_widgets_and_parameters_follow_each_other(scene, node, volume):
    values = Values(node)
    widgets = {
        "level": qt.QComboBox(),
        "share": ctk.ctkSliderWidget(),
        "count": qt.QSpinBox(),
        "name": qt.QLineEdit(),
    }
    widgets |= {"isOn": qt.QCheckBox(), "volume": slicer.qMRMLNodeComboBox(), "color": qt.QComboBox()}
    widgets["volume"].noneEnabled = True
    widgets["volume"].setMRMLScene(scene)
    tag = values.connectParametersToGui(widgets)
    assert (widgets["level"].currentText, widgets["share"].value, widgets["count"].minimum) == (
        "a lot",
        0.5,
        1,
    )
    widgets["level"].currentIndex, widgets["isOn"].checked, widgets["name"].text = 0, False, "liver"
    widgets["volume"].setCurrentNode(volume)
    assert (values.level, values.isOn, values.name) == (Level.LOW, False, "liver")
    assert values.volume is volume
    values.share = 0.75
    assert widgets["share"].value == 0.75
    values.disconnectGui(tag)
    widgets["name"].text = "spleen"
    assert values.name == "liver"


def test_the_forms_name_the_parameters(scene, node, form):
    prop = '<property name="SlicerParameterName" stdset="0"><string>name</string></property>'
    path = form(f'<item row="0" column="1"><widget class="QLineEdit" name="nameEdit">{prop}</widget></item>')
    widget = slicer.util.loadUI(path)
    values = Values(node)
    values.connectGui(slicer.util.childWidgetVariables(widget))
    slicer.util.childWidgetVariables(widget).nameEdit.text = "kidney"
    assert values.name == "kidney"


def test_a_widget_of_another_class_cannot_carry_a_parameter(node):
    class MyEdit(qt.QLineEdit):
        pass

    for widget in (MyEdit(), qt.QPlainTextEdit()):
        with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
            Values(node).connectParametersToGui({"name": widget})
    with pytest.raises(RuntimeError, match="unbounded"):
        Values(node).connectParametersToGui({"count": qt.QSlider()})
    with pytest.raises(RuntimeError, match="Choice"):
        Values(node).connectParametersToGui({"name": qt.QComboBox()})


def test_reserved_names_and_constructors_are_refused():
    with pytest.raises(ValueError, match="reserved"):
        parameterNodeWrapper(type("A", (), {"__annotations__": {"default": int}}))
    with pytest.raises(ValueError, match="__init__"):
        parameterNodeWrapper(type("B", (), {"__init__": print}))


# ------------------------------------------------------------------------------------------ forms


def test_a_form_passes_the_scene_on(scene, form):
    widget = slicer.util.loadUI(form(SELECTOR, TO_SELECTOR))
    widget.setMRMLScene(scene)
    assert slicer.util.childWidgetVariables(widget).selector.mrmlScene() is scene


@pytest.mark.parametrize(
    ("items", "connections", "says"),
    [
        ('<item row="0" column="1"><widget class="ctkNoSuchEdit" name="a"/></item>', "", "ctkNoSuchEdit"),
        ('<item row="0" column="1"><widget class="QLabel" name="class"/></item>', "", "class"),
        (COLOURED, "", "colour"),
        (SELECTOR, TO_SELECTOR.replace("vtkMRMLScene*)</signal>", "vtkMRMLScene)</signal>"), "no signal"),
        (SELECTOR, TO_SELECTOR.replace("setMRMLScene(", "setScene("), "no slot"),
        (SELECTOR, TO_SELECTOR.replace(">selector<", ">other<"), "other"),
    ],
)
def test_what_a_real_loader_would_not_understand_is_refused(form, items, connections, says):
    with pytest.raises((RuntimeError, ValueError), match=says):
        slicer.util.loadUI(form(items, connections))


# --------------------------------------------------------------------------------------- selectors


def test_a_node_selector_follows_the_scene(scene, volume):
    selector, heard = slicer.qMRMLNodeComboBox(), []
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.showChildNodeTypes = False
    selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    selector.setMRMLScene(scene)
    assert selector.currentNode() is volume  # without "none" the first one is chosen
    other = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other")
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "not a scan")
    assert selector.nodeCount() == 2
    scene.RemoveNode(volume)
    assert selector.currentNode() is other
    scene.RemoveNode(other)
    assert selector.currentNode() is None
    assert heard == [volume, other, None]


def test_a_node_selector_with_none_chooses_nothing_by_itself(scene, volume):
    selector = slicer.qMRMLNodeComboBox()
    selector.noneEnabled = True
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(scene)
    assert selector.currentNode() is None
    selector.setCurrentNodeID(volume.GetID())
    assert selector.currentNodeID == volume.GetID()
    scene.Clear()
    assert selector.currentNode() is None


# ------------------------------------------------------------------------------------ segment editor


@pytest.fixture
def editor(scene: Any, segmentation: Any, volume: Any) -> Any:
    widget = slicer.qMRMLSegmentEditorWidget()
    made = scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
    made.UnRegister(None)
    widget.setMRMLScene(scene)
    widget.setMRMLSegmentEditorNode(scene.AddNode(made))
    widget.setSegmentationNode(segmentation)
    widget.setSourceVolumeNode(volume)
    yield widget
    widget.setActiveEffectByName("")
    widget.setSegmentationNode(None)
    widget.setMRMLSegmentEditorNode(None)
    widget.setMRMLScene(None)


def test_painting_can_be_undone(editor, segmentation, volume):
    stroke = np.zeros((4, 6, 8), np.uint8)
    stroke[1:3, 2:4, 3] = 1
    editor.setCurrentSegmentID("label_2")
    editor.setActiveEffectByName("Paint")
    editor.qtObject_.paint(stroke)

    def painted() -> int:
        return int(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "label_2", volume).sum())

    assert painted() == 4
    editor.undo()
    assert painted() == 0
    editor.redo()
    assert painted() == 4


def test_the_segment_editor_refuses_the_wrong_order(scene, segmentation):
    widget = slicer.qMRMLSegmentEditorWidget()
    with pytest.raises(RuntimeError, match="before setMRMLSegmentEditorNode"):
        widget.setSegmentationNode(segmentation)
    with pytest.raises(RuntimeError, match="before setMRMLScene"):
        widget.setMRMLSegmentEditorNode(slicer.vtkMRMLSegmentEditorNode())


def test_a_segment_editor_that_is_deleted_with_its_nodes_is_a_fault(host, scene, segmentation, processEvents):
    widget = slicer.qMRMLSegmentEditorWidget()
    made = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    widget.setMRMLScene(scene)
    widget.setMRMLSegmentEditorNode(made)
    widget.deleteLater()
    processEvents()
    assert "setSegmentationNode(None)" in host.faults.take()[0]


def test_an_unknown_effect_is_refused(editor):
    with pytest.raises(ValueError, match="Lasso"):
        editor.setActiveEffectByName("Lasso")


def test_the_list_of_segments_follows_the_segmentation(scene, segmentation):
    view = slicer.qMRMLSegmentsTableView()
    view.setMRMLScene(scene)
    view.setSegmentationNode(segmentation)
    segmentation.GetSegmentation().AddEmptySegment("label_3", "kidney")
    assert view.displayedSegmentIDs() == ("label_1", "label_2", "label_3")
    view.setSelectedSegmentIDs(["label_2"])
    assert view.selectedSegmentIDs() == ("label_2",)


# ---------------------------------------------------------------------------------------------- plots


def test_a_plot_is_drawn_from_its_chart_node(scene, picture, tmp_path):
    nodes: dict[str, Any] = {}
    curve = np.c_[np.arange(20), np.exp(-np.arange(20) / 5)]
    slicer.util.plot(curve, 0, ["step", "loss"], "Loss", False, nodes)
    view = scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    widget = slicer.qMRMLPlotWidget()
    widget.setMRMLScene(scene)
    empty = picture(widget, tmp_path / "empty.png", 300, 200).read_bytes()
    widget.setMRMLPlotViewNode(view)
    view.SetPlotChartNodeID(nodes["chart"].GetID())
    assert picture(widget, tmp_path / "full.png", 300, 200).read_bytes() != empty


# --------------------------------------------------------------------------------------------- modules


SCRIPT = """
from slicer.ScriptedLoadableModule import *
import slicer
class Little(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "Little"
class LittleWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        LOG.append("setup")
    def enter(self): LOG.append(f"enter {self.parent.isEntered}")
    def exit(self): LOG.append("exit")
    def cleanup(self): LOG.append("cleanup")
class LittleLogic(ScriptedLoadableModuleLogic):
    pass
import builtins
LOG = builtins.littleLog
LOG.append("script")
"""


def test_a_scripted_module_lives_as_in_slicer(host, scene, tmp_path, monkeypatch):
    log: list[str] = []
    monkeypatch.setattr("builtins.littleLog", log, raising=False)
    (tmp_path / "Little.py").write_text(SCRIPT)
    module = host.loadModule(tmp_path / "Little.py")
    assert module.title == "Little"
    assert log == ["script"]
    slicer.util.selectModule("Little")
    slicer.util.selectModule("Data")
    slicer.util.selectModule("Little")
    assert log[1:] == ["setup", "enter True", "exit", "enter True"]
    log.clear()
    slicer.util.reloadScriptedModule("Little")
    assert log == ["script", "cleanup", "setup"]
    log.clear()
    host.unloadModules()
    assert log == ["exit", "cleanup"]


def test_a_module_that_the_host_lacks_is_refused():
    with pytest.raises(AttributeError, match="no module"):
        _ = slicer.modules.nosuchmodule


def test_data_nodes_have_their_place_in_the_subject_hierarchy(scene, volume, segmentation):
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert tree.GetItemByDataNode(volume)
    item = tree.GetItemByDataNode(segmentation)
    assert item
    scene.RemoveNode(segmentation)
    assert tree.GetItemDataNode(item) is None


def test_volumes_are_loaded_saved_and_exported(scene, volume, tmp_path):
    assert slicer.util.exportNode(volume, str(tmp_path / "scan.nrrd"))
    assert volume.GetStorageNode() is None
    loaded = slicer.util.loadVolume(str(tmp_path / "scan.nrrd"))
    assert slicer.util.arrayFromVolume(loaded).shape == (4, 6, 8)
