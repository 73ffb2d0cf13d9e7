"""Our code and .ui files against what a real Slicer's widgets offer (slicer_surface.json).

Attributes and methods are enforced while the other tests run: the host refuses unknown ones. Here stands
what no run needs to reach: signal strings, classes, enums, and the .ui files.
"""

import ast
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import ctk
import pytest
import qt
import slicer

from slicer_host.surface import classNames, classSurface, document
from slicer_host.ui_loader import loadUI

CODE = Path(__file__).parents[2] / "CRGLoCoSegment"
SCRIPTS = [CODE / "CRGLoCoSegment.py", *sorted((CODE / "CRGLoCoSegmentLib").rglob("*.py"))]
FORMS = sorted((CODE / "Resources" / "UI").glob("*.ui"))
MODULES = {"qt": qt, "ctk": ctk, "slicer": slicer}

# Of classes that the surface file could not read; Qt's documentation has them, the same in 5 and 6.
DOCUMENTED = {"activated()", "sectionClicked(int)", "sectionResized(int,int,int)"}


def nameOf(path: Path) -> str:
    return str(path.relative_to(CODE))


def allSignals() -> set[str]:
    return {text for name in document()["classes"] for text in classSurface(name).signals} | DOCUMENTED


def chains(path: Path) -> Iterator[tuple[list[str], int]]:
    """Dotted names such as ``qt.QMessageBox.Yes``, longest first, with their line."""
    tree = ast.parse(path.read_text("utf-8"))
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            names, part = [], node
            while isinstance(part, ast.Attribute):
                names.append(part.attr)
                part = part.value
            if isinstance(part, ast.Name):
                yield [part.id, *reversed(names)], node.lineno


@pytest.mark.parametrize("path", SCRIPTS, ids=nameOf)
def test_every_signal_string_exists_in_slicer(path: Path):
    known = allSignals()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            texts = [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
            if node.func.attr in ("connect", "disconnect") and texts and isinstance(texts[0], str):
                assert texts[0] in known, (
                    f"{path}:{node.lineno}: no class of Slicer has the signal {texts[0]!r}"
                )


@pytest.mark.parametrize("path", SCRIPTS, ids=nameOf)
def test_every_class_and_enum_exists_in_slicer(path: Path):
    for names, line in chains(path):
        if names[0] not in ("qt", "ctk") and not (names[0] == "slicer" and names[1].startswith("q")):
            continue
        found = MODULES[names[0]]
        for name in names[1:]:
            assert hasattr(found, name), f"{path}:{line}: Slicer has no {'.'.join(names)}"
            found = getattr(found, name)


@pytest.mark.parametrize("path", SCRIPTS, ids=nameOf)
def test_enums_are_used_in_their_short_form(path: Path):
    for names, line in chains(path):
        isEnum = names[0] == "qt" and len(names) > 3
        assert not isEnum, (
            f"{path}:{line}: {'.'.join(names)}: in PythonQt the values stand in the class itself"
        )


@pytest.mark.parametrize("path", SCRIPTS, ids=nameOf)
def test_functions_of_slicer_util_and_packaging_exist_in_slicer(path: Path):
    for names, line in chains(path):
        module = ".".join(names[:2])
        if module in document()["functions"] and len(names) > 2:
            assert names[2] in document()["functions"][module], f"{path}:{line}: no {'.'.join(names)}"


@pytest.mark.parametrize("path", SCRIPTS, ids=nameOf)
def test_no_signal_is_declared_in_python(path: Path):
    for names, line in chains(path):
        assert names[:2] not in (["qt", "Signal"], ["qt", "Slot"], ["qt", "Property"]), f"{path}:{line}"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_every_form_is_loaded_without_a_complaint(path: Path, scene):
    widget = loadUI(str(path))
    widget.setMRMLScene(scene)
    assert widget.className() == "qMRMLWidget"
    assert widget.objectName == f"{path.stem}Panel"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_every_control_of_a_form_has_a_tooltip(path: Path):
    silent = (
        "QLabel",
        "QWidget",
        "QFrame",
        "Line",
        "qMRMLWidget",
        "ctkCollapsibleGroupBox",
        "QGroupBox",
        "QProgressBar",
    )
    for element in ET.parse(path).iter("widget"):
        if element.get("class") not in silent:
            named = {one.get("name") for one in element.findall("property")}
            assert "toolTip" in named, f"{path.name}: {element.get('name')} has no tooltip"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_every_control_of_a_form_tells_a_screen_reader_its_name(path: Path):
    """By its own words, by a label whose buddy it is, or by the title of a group it fills."""
    tree = ET.parse(path)
    labelled = {one.findtext("cstring") for one in tree.iter("property") if one.get("name") == "buddy"}
    groups = [one for one in tree.iter("widget") if one.get("class") == "ctkCollapsibleGroupBox"]
    inside = [each for group in groups for each in group.iter("widget")]
    filling = {each.get("name") for each in inside if each.get("class") in ("QTableWidget", "QPlainTextEdit")}
    silent = ("QLabel", "QWidget", "QFrame", "Line", "qMRMLWidget", "QProgressBar")
    for element in tree.iter("widget"):
        named = {one.get("name") for one in element.findall("property")} & {"text", "title", "accessibleName"}
        name = element.get("name")
        assert element.get("class") in silent or named or name in labelled | filling, f"{path.name}: {name}"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_no_table_of_a_form_keeps_the_tab_key_to_itself(path: Path):
    for element in ET.parse(path).iter("widget"):
        if element.get("class") == "QTableWidget":
            properties = {one.get("name"): one.findtext("bool") for one in element.findall("property")}
            assert properties.get("tabKeyNavigation") == "false", f"{path.name}: {element.get('name')}"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_every_mrml_widget_of_a_form_gets_the_scene(path: Path):
    tree = ET.parse(path)
    top = tree.getroot().find("widget").get("name")
    connected = {
        one.findtext("receiver")
        for one in tree.iter("connection")
        if (one.findtext("sender"), one.findtext("signal")) == (top, "mrmlSceneChanged(vtkMRMLScene*)")
    }
    takers = (
        {
            element.get("name")
            for element in tree.iter("widget")
            if "setMRMLScene(vtkMRMLScene*)" in classSurface(classNames()[element.get("class")]).slots
        }
        if all(element.get("class") in classNames() for element in tree.iter("widget"))
        else set()
    )
    assert takers - {top} <= connected


def test_no_form_has_a_style_sheet():
    for path in FORMS:
        assert "styleSheet" not in path.read_text("utf-8"), path


@pytest.mark.parametrize(
    ("line", "check"),
    [
        ("button.connect('clicked(int)', print)", test_every_signal_string_exists_in_slicer),
        ("qt.QNoSuchWidget()", test_every_class_and_enum_exists_in_slicer),
        ("slicer.qMRMLNoSuchWidget()", test_every_class_and_enum_exists_in_slicer),
        ("box.setIcon(qt.QMessageBox.Icon.Warning)", test_enums_are_used_in_their_short_form),
        ("slicer.util.noSuchFunction()", test_functions_of_slicer_util_and_packaging_exist_in_slicer),
        ("changed = qt.Signal(int)", test_no_signal_is_declared_in_python),
    ],
)
def test_a_slip_in_a_script_would_be_seen(line: str, check, tmp_path: Path):
    (tmp_path / "script.py").write_text(f"import qt\nimport slicer\n{line}\n")
    with pytest.raises(AssertionError):
        check(tmp_path / "script.py")
