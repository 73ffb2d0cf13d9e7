"""The environment section: one line when all is well, else a table with a button for each gap."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import qt
import slicer

from CRGLoCoSegmentLib import requirements
from CRGLoCoSegmentLib.logic.environment import Environment
from CRGLoCoSegmentLib.logic.listeners import Listeners
from CRGLoCoSegmentLib.panels.environment import EnvironmentPanel
from CRGLoCoSegmentLib.settings import Settings
from slicer_host import dialogs

RESOURCES = Path(__file__).parents[2] / "CRGLoCoSegment" / "Resources"
PROBE = {
    "cuda_build": "12.8", "memory_free_mb": 20000, "memory_total_mb": 32000,
    "gpus": [{"name": "NVIDIA RTX A4000", "free_mb": 11264, "total_mb": 16376}],
}  # fmt: skip


class AnsweringWorker:
    """Answers a probe at once."""

    answer = PROBE
    asked = 0

    def ask(self, _command, _fields, *, onResult, **_others):
        self.asked += 1
        qt.QTimer.singleShot(0, lambda: onResult(self.answer))
        return SimpleNamespace(cancel=lambda: None)

    def isBusy(self):
        return False

    def end(self):
        return


@pytest.fixture
def worker():
    return AnsweringWorker()


@pytest.fixture
def environment(worker, settings):
    made = Environment(settings=Settings(), prober=worker, listeners=Listeners())
    yield made
    made.shutDown()


@pytest.fixture
def panel(environment, scene):
    made = EnvironmentPanel(SimpleNamespace(environment=environment), RESOURCES)
    environment._listeners.add(made.refresh)
    made.widget.show()
    made.setParameters(None)
    yield made
    made.cleanup()
    made.widget.deleteLater()


@pytest.fixture
def looked(panel, environment, waitUntil):
    """The panel after its first look at everything."""
    panel.enter()
    waitUntil(lambda: not environment.isLooking())
    return panel


def button(panel, name):
    (found,) = [
        each for each in slicer.util.findChildren(panel.ui.rowsFrame) if each.objectName == f"{name}Button"
    ]
    return found


def texts(panel):
    return [each.text for each in slicer.util.findChildren(panel.ui.rowsFrame, className="QLabel")]


def test_when_all_is_well_there_is_one_line_and_no_table(looked):
    assert looked.ui.summaryLabel.text.startswith("Ready: torch ")
    assert "NVIDIA RTX A4000, 11.0 GB free" in looked.ui.summaryLabel.text
    assert looked.ui.summaryLabel.text.endswith("No data leave this computer.")
    assert not looked.ui.rowsFrame.visible
    assert not looked.ui.checkButton.visible
    assert not looked.ui.installationLabel.visible


def test_the_details_show_every_row_also_when_all_is_well(looked):
    looked.ui.detailsGroupBox.collapsed = False
    assert looked.ui.rowsFrame.visible
    assert {"Slicer", "torch", "Python packages", "Worker", "Graphics card", "Memory", "Disk"} <= set(
        texts(looked)
    )


def test_the_worker_is_asked_at_the_first_visit_only(looked, worker):
    looked.exit()
    looked.enter()
    assert worker.asked == 1
    looked.ui.checkButton.click()
    assert worker.asked == 2


def test_only_gaps_have_buttons_and_packages_are_installed_after_a_yes(
    looked, host, answers, environment, waitUntil
):
    host.packages.missing = {"monai"}
    environment.checkQuickly()
    assert looked.ui.rowsFrame.visible
    assert not button(looked, "torch").visible
    assert button(looked, "packages").visible
    answers.put(qt.QMessageBox.Ok)
    button(looked, "packages").click()
    assert not button(looked, "packages").enabled
    waitUntil(lambda: not environment.installation.isRunning() and not environment.isLooking())
    assert host.packages.calls[0]["requirements"][-1] == "monai>=1.5"
    assert "Successfully installed" in looked.ui.logPlainTextEdit.plainText
    assert looked.ui.installationLabel.text == "Installed."
    assert looked.ui.summaryLabel.text.startswith("Ready")


def test_a_no_installs_nothing_and_is_no_error(looked, host, answers, environment):
    host.packages.missing = {"monai"}
    environment.checkQuickly()
    answers.put(qt.QMessageBox.Cancel)
    button(looked, "packages").click()
    assert host.packages.calls == []
    assert not looked.ui.installationLabel.visible


def test_slicer_is_restarted_after_a_yes_because_unsaved_work_is_lost(looked, host, answers, environment):
    environment.installation.restartFor = ["numpy"]
    environment.checkQuickly()
    for answer, restarts in ((qt.QMessageBox.Cancel, 0), (qt.QMessageBox.Ok, 1)):
        answers.put(answer)
        button(looked, "slicer").click()
        assert host.application.opened.count("restart") == restarts
    assert "not saved is lost" in answers.shown[-1]


def test_the_question_before_a_restart_shows_its_title(looked, answers, environment, monkeypatch):
    titles, ask = [], dialogs.QMessageBox.exec
    monkeypatch.setattr(dialogs.QMessageBox, "exec", lambda box: titles.append(box.windowTitle()) or ask(box))
    environment.installation.restartFor = ["numpy"]
    environment.checkQuickly()
    answers.put(qt.QMessageBox.Cancel)
    button(looked, "slicer").click()
    assert titles == ["CRG LoCo Segment"]


def test_in_testing_mode_a_click_neither_installs_nor_restarts(looked, host, answers, environment):
    host.packages.missing, host.application.testing = {"monai"}, True
    environment.installation.restartFor = ["numpy"]
    environment.checkQuickly()
    for name in ("slicer", "packages"):
        button(looked, name).click()
    assert host.application.opened == []
    assert host.packages.calls == []


def test_opening_the_section_installs_nothing(looked, host, environment):
    host.packages.missing = {"monai", "psutil"}
    looked.enter()
    looked.ui.checkButton.click()
    assert host.packages.calls == []


def test_the_wheel_folder_is_kept_for_this_computer(
    looked, environment, tmp_path, monkeypatch, answers, host, waitUntil
):
    monkeypatch.setattr(requirements, "installedTorch", lambda: None)
    looked.ui.wheelFolderPathLineEdit.currentPath = str(tmp_path)
    assert Settings().folder("wheelFolder") == tmp_path
    assert button(looked, "torch").text == "Install torch..."
    answers.put(qt.QMessageBox.Ok)
    button(looked, "torch").click()
    waitUntil(lambda: not environment.installation.isRunning())
    assert str(tmp_path) in answers.shown[0]
    assert "--no-index" in host.packages.calls[0]["requirements"]
    looked.ui.wheelFolderPathLineEdit.currentPath = ""
    assert Settings().folder("wheelFolder") is None


def test_a_new_panel_shows_the_folder_and_the_log_that_were_there(environment, settings, scene, tmp_path):
    environment.installation.wheelFolder = tmp_path
    environment.installation.lines.append("Collecting monai")
    made = EnvironmentPanel(SimpleNamespace(environment=environment), RESOURCES)
    assert made.ui.wheelFolderPathLineEdit.currentPath == str(tmp_path)
    assert made.ui.logPlainTextEdit.plainText == "Collecting monai"
    made.cleanup()
    assert environment.installation.onLine is None


def test_a_failed_installation_is_told_in_the_panel_without_a_dialog(
    looked, host, answers, environment, waitUntil
):
    host.packages.missing, host.packages.failure = {"monai"}, RuntimeError("odd")
    environment.checkQuickly()
    answers.put(qt.QMessageBox.Ok)
    button(looked, "packages").click()
    waitUntil(lambda: not environment.installation.isRunning())
    assert "the log below says why" in looked.ui.installationLabel.text
    assert button(looked, "packages").enabled


@pytest.mark.parametrize(("missing", "opened"), [(set(), False), ({"monai"}, True)])
def test_the_module_opens_this_section_only_when_something_is_missing(
    host, loadModule, processEvents, missing, opened
):
    host.packages.missing = missing
    section = loadModule().sections["environment"]
    processEvents()
    assert (section.panel is not None) is opened
    assert section.button.collapsed is not opened


def test_a_fresh_slicer_without_any_of_our_packages_shows_every_section():
    """In a process of its own, where nothing of requirements.txt, torch or psutil can be imported."""
    code = """
import importlib.metadata, sys
ABSENT = {"torch", "monai", "einops", "psutil", "pylibjpeg", "openjpeg", "rich", "safetensors"}
class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent)
find = importlib.metadata.Distribution.from_name
def found(name):
    if name == "torch":
        raise importlib.metadata.PackageNotFoundError(name)
    return find(name)
importlib.metadata.Distribution.from_name = found
from slicer_host.install import installed
host = installed()
host.packages.missing = ABSENT
import slicer
host.loadModule()
slicer.util.selectModule("CRGLoCoSegment")
widget = slicer.util.getModuleWidget("CRGLoCoSegment")
for section in widget.sections.values():
    section.open()
    print(section.name, section.panel is not None)
print(widget.logic.environment.summary())
print("faults", host.faults.take())
host.unloadModules()
"""
    folders = [str(Path(__file__).parent), str(RESOURCES.parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.endswith(" False")] == [], done.stderr
    assert "Not ready yet: torch, Python packages. No data leave this computer." in lines, done.stderr
    assert lines[-1] == "faults []"
    assert len(lines) == 8


def test_every_control_says_what_it_is_for(panel):
    for name, widget in vars(panel.ui).items():
        if name.endswith(("Button", "Edit", "Label", "GroupBox")):
            assert widget.toolTip, name


def test_the_panel_looks_as_it_should(looked, host, environment, picture, tmp_path):
    """Not compared with a stored picture: that it can be drawn in both states, narrow and wide."""
    assert picture(looked.widget, tmp_path / "well.png").stat().st_size > 1000
    host.packages.missing = {"monai"}
    environment.checkQuickly()
    assert picture(looked.widget, tmp_path / "gaps.png", 360, 400).stat().st_size > 1000
    looked.ui.detailsGroupBox.collapsed = False
    assert picture(looked.widget, tmp_path / "details.png", 420, 560).stat().st_size > 1000
