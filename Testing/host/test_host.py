"""The host itself, against PythonQt's rules."""

from typing import Any

import ctk
import pytest
import qt
import slicer


def test_properties_are_attributes_and_not_methods():
    edit = qt.QLineEdit()
    edit.text = "liver"
    assert edit.text == "liver"
    with pytest.raises(TypeError, match="not callable"):
        edit.text()


def test_a_name_that_slicer_does_not_list_is_refused():
    button = qt.QPushButton("Apply")
    with pytest.raises(AttributeError, match="colour"):
        _ = button.colour
    with pytest.raises(AttributeError, match="colour"):
        button.colour = "red"
    with pytest.raises(AttributeError):
        _ = qt.QPushButton.Colour


@pytest.mark.parametrize(
    ("signature", "passed"), [("clicked(bool)", [(False,)]), ("clicked()", [()]), ("toggled(bool)", [])]
)
def test_signals_are_connected_by_their_exact_signatures(signature: str, passed: list[Any]):
    button, heard = qt.QPushButton("Apply"), []
    button.connect(signature, lambda *given: heard.append(given))
    button.click()
    assert heard == passed


@pytest.mark.parametrize("signature", ["clicked(int)", "clicked( bool )", "pushed()", "clicked"])
def test_a_signature_that_slicer_does_not_have_is_refused(signature: str):
    with pytest.raises(ValueError, match="has no signal"):
        qt.QPushButton("Apply").connect(signature, print)


def test_signals_that_only_qt_5_has_are_refused():
    with pytest.raises(ValueError, match="both Qt"):
        qt.QComboBox().connect("currentIndexChanged(QString)", print)


def test_an_error_in_a_slot_is_kept_and_does_not_reach_the_caller(host: Any):
    button = qt.QPushButton("Apply")
    button.connect("clicked(bool)", lambda _checked: 1 / 0)
    button.click()
    assert "ZeroDivisionError" in host.faults.take()[0]


def test_the_main_window_exists_only_when_a_test_asks_for_it(mainWindow: Any):
    assert slicer.util.mainWindow() == mainWindow
    mainWindow.statusBar().showMessage("ready")


def test_without_asking_there_is_neither_main_window_nor_layout_manager():
    assert slicer.util.mainWindow() is None
    assert slicer.app.layoutManager() is None


def test_a_dialog_takes_the_answer_that_the_test_has_put(answers: Any, mainWindow: Any):
    answers.put(qt.QMessageBox.Yes, "/data/cases")
    assert slicer.util.confirmYesNoDisplay("Delete the case?")
    assert qt.QFileDialog.getExistingDirectory(None, "Cases folder") == "/data/cases"
    assert answers.shown == ["Delete the case?", "Cases folder"]


def test_a_dialog_without_an_answer_fails_instead_of_hanging(host: Any, mainWindow: Any):
    with pytest.raises(AssertionError, match="did not expect"):
        slicer.util.errorDisplay("The disk is full")
    assert "The disk is full" in host.faults.take()[0]


def test_a_collapsible_section_hides_its_content():
    section = ctk.ctkCollapsibleButton()
    section.setLayout(qt.QVBoxLayout())
    label = qt.QLabel("inside")
    section.layout().addWidget(label)
    section.collapsed = True
    assert label.isHidden()
    section.collapsed = False
    assert not label.isHidden()
