"""The host itself, against PythonQt's rules."""

import time
from pathlib import Path
from typing import Any

import ctk
import numpy as np
import pytest
import qt
import slicer
from slicer.i18n import tr

from slicer_host import translation


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


def test_a_property_takes_only_its_type():
    spin, edit = qt.QSpinBox(), qt.QLineEdit()
    with pytest.raises(AttributeError, match="does not accept"):
        spin.value = np.int64(3)
    with pytest.raises(AttributeError, match="does not accept"):
        edit.text = None
    with pytest.raises(AttributeError, match="read only"):
        spin.text = "3"


def test_methods_take_no_keywords():
    with pytest.raises(TypeError):
        qt.QPushButton(text="Apply")
    with pytest.raises(TypeError):
        qt.QComboBox().addItem("a", userData=1)


def test_lists_come_back_as_tuples():
    dialog = qt.QFileDialog()
    dialog.setNameFilters(["a", "b"])
    assert dialog.nameFilters() == ("a", "b")


def test_isinstance_of_a_base_class_is_refused_and_inherits_is_the_way():
    button = qt.QPushButton("Apply")
    assert isinstance(button, qt.QPushButton)
    assert button.inherits("QAbstractButton")
    assert button.isWidgetType()
    with pytest.raises(TypeError, match="inherits"):
        isinstance(button, qt.QWidget)


def test_enums_have_the_short_form_only():
    assert qt.QSizePolicy.Expanding != qt.QSizePolicy.Fixed
    assert qt.QMessageBox.Yes | qt.QMessageBox.No
    with pytest.raises(AttributeError, match="directly"):
        _ = qt.Qt.ItemDataRole.UserRole
    with pytest.raises(AttributeError, match="short form"):
        _ = qt.QMessageBox.StandardButton.Yes


def test_a_slot_gets_as_many_arguments_as_it_takes():
    box, heard = qt.QComboBox(), []
    box.connect("currentIndexChanged(int)", lambda: heard.append("none"))
    box.connect("currentIndexChanged(int)", lambda index, *_more: heard.append(index))
    box.addItems(["a", "b"])
    assert heard == ["none", 0]


def test_a_signal_with_overloads_is_ambiguous_without_its_signature():
    spin = qt.QSpinBox()
    with pytest.raises(ValueError, match="ambiguous"):
        spin.valueChanged.connect(lambda value: value)
    spin.connect("valueChanged(int)", lambda value: value)


def test_what_was_connected_can_be_disconnected():
    class Counter:
        count = 0

        def more(self):
            self.count += 1

    button, counter = qt.QPushButton("Apply"), Counter()
    button.connect("clicked(bool)", counter.more)
    button.click()
    assert button.disconnect("clicked(bool)", counter.more)
    button.click()
    assert counter.count == 1
    assert not button.disconnect("clicked(bool)", counter.more)


def test_a_timer_that_nobody_keeps_stops_and_one_with_a_parent_lives_on(waitUntil: Any, processEvents: Any):
    beats, owner = [], qt.QWidget()

    def start(parent: Any, name: str) -> None:
        timer = qt.QTimer(parent) if parent else qt.QTimer()
        timer.connect("timeout()", lambda: beats.append(name))
        timer.start(1)

    start(None, "nobody's")
    start(owner, "owner's")
    waitUntil(lambda: len(beats) > 3, 5)
    assert set(beats) == {"owner's"}
    owner.deleteLater()
    processEvents()
    beats.clear()
    time.sleep(0.01)
    processEvents()
    assert not beats


def test_a_deleted_widget_says_so(processEvents: Any):
    button = qt.QPushButton("Apply")
    button.deleteLater()
    processEvents()
    assert not button
    with pytest.raises(ValueError, match="destroyed"):
        _ = button.text


def test_the_same_widget_is_always_the_same_object():
    form = qt.QWidget()
    form.setLayout(qt.QVBoxLayout())
    button = qt.QPushButton("Apply")
    form.layout().addWidget(button)
    assert form.findChildren(qt.QPushButton) == (button,)
    assert form.findChildren("QAbstractButton")[0] is button
    assert button.parent() == form


def test_a_class_derived_in_python_gets_its_virtual_methods_called():
    class Counting(qt.QObject):
        seen = 0

        def eventFilter(self, _watched: Any, _event: Any) -> bool:
            self.seen += 1
            return False

    counting, button = Counting(), qt.QPushButton("Apply")
    button.installEventFilter(counting)
    button.enabled = False
    assert counting.seen > 0


def test_settings_come_back_as_text_and_each_test_has_its_own(settings: Any):
    assert settings.allKeys() == ()
    settings.setValue("CRGLoCoSegment/number", 3)
    settings.setValue("CRGLoCoSegment/yes", True)
    again = qt.QSettings()
    assert again.value("CRGLoCoSegment/number") == "3"
    assert slicer.util.settingsValue("CRGLoCoSegment/yes", False, converter=slicer.util.toBool) is True
    assert again.value("CRGLoCoSegment/absent") is None


def test_settings_of_another_test_are_gone(settings: Any):
    assert settings.allKeys() == ()


def test_file_dialogs_return_a_text_and_input_dialogs_too(answers: Any):
    answers.put("", "case_1", "b")
    assert qt.QFileDialog.getOpenFileName(None, "Model", "", "*.zip") == ""
    assert qt.QInputDialog.getText(None, "Case", "Name:") == "case_1"
    assert qt.QInputDialog.getItem(None, "Case", "Which?", ["a", "b"], 0, False) == "b"


def test_in_testing_mode_nothing_is_asked(host: Any, answers: Any, mainWindow: Any):
    host.application.testing = True
    slicer.util.confirmOkCancelDisplay("Delete?")
    slicer.util.errorDisplay("The disk is full")
    assert answers.shown == []


def test_a_path_edit_tells_its_path_and_asks_for_a_folder(answers: Any, tmp_path: Path):
    edit, heard = ctk.ctkPathLineEdit(), []
    edit.filters = ctk.ctkPathLineEdit.Dirs
    edit.connect("currentPathChanged(QString)", heard.append)
    answers.put(str(tmp_path))
    edit.browse()
    assert heard == [edit.currentPath] == [str(tmp_path)]


def test_an_emptied_path_edit_says_that_it_holds_no_path_and_does_not_tell_one():
    edit, paths, valid = ctk.ctkPathLineEdit(), [], []
    edit.connect("currentPathChanged(QString)", paths.append)
    edit.connect("validInputChanged(bool)", valid.append)
    edit.currentPath = "/no/such/folder"
    edit.currentPath = ""
    assert paths == ["/no/such/folder"]
    assert valid == [True, False]


def test_a_slider_cuts_to_its_range():
    slider, heard = ctk.ctkSliderWidget(), []
    slider.connect("valueChanged(double)", heard.append)
    slider.minimum, slider.maximum, slider.singleStep = 0, 1, 0.01
    slider.value = 3.0
    assert heard == [slider.value] == [1.0]


def test_pictures_are_drawn(picture: Any, tmp_path: Path):
    assert picture(qt.QLabel("liver"), tmp_path / "label.png").stat().st_size > 100


def test_the_heartbeat_sees_a_blocked_event_loop(heartbeat: Any, processEvents: Any, waitUntil: Any):
    with heartbeat() as beat:
        end = time.monotonic() + 0.05
        waitUntil(lambda: time.monotonic() > end)
        time.sleep(0.15)
        processEvents()
    assert 0.15 <= beat.longest < 0.6


def test_a_lap_counts_the_gap_that_has_not_ended_and_the_next_lap_does_not(
    heartbeat: Any, processEvents: Any
):
    with heartbeat() as beat:
        processEvents()
        time.sleep(0.15)
        assert 0.15 <= beat.lap() < 0.6
        processEvents()
        assert beat.lap() < 0.15


def test_pip_is_only_recorded(host: Any, tmp_path: Path):
    (tmp_path / "requirements.txt").write_text(
        "--index-url https://example.org\nmonai>=1.5  # losses\neinops\n"
    )
    needed = slicer.packaging.load_requirements(tmp_path / "requirements.txt")
    host.packages.missing.add("monai")
    assert not slicer.packaging.pip_check(needed)
    slicer.packaging.pip_ensure(needed, requester="CRGLoCoSegment")
    assert [call["requirements"] for call in host.packages.calls] == [["monai>=1.5"]]
    assert slicer.packaging.pip_check(needed)


def test_a_declined_install_is_a_runtime_error(host: Any):
    host.packages.missing.add("monai")
    host.packages.declined = True
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("monai")


def test_texts_go_through_the_translation(monkeypatch: Any):
    monkeypatch.setattr(translation, "translator", [lambda _context, text: text.upper()])
    assert tr("liver") == "LIVER"
