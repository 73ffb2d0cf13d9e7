"""The choices of a training: cases, start model, method with its options, time, device, name."""

from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from crgloco.errors import CRGLoCoError, OptionError
from crgloco.model_card import ModelCard
from crgloco.model_store import is_pretraining
from crgloco.networks.options import NETWORK_OPTIONS, updates_going_on
from CRGLoCoSegmentLib.logic.cases_check import CasesCheck
from CRGLoCoSegmentLib.logic.model_text import listTitles
from CRGLoCoSegmentLib.logic.training_request import PRETRAINING, TrainingRequest
from CRGLoCoSegmentLib.option_form import OptionForm
from CRGLoCoSegmentLib.panels.device_list import listDevices
from CRGLoCoSegmentLib.panels.panel import takeTabsAfter
from CRGLoCoSegmentLib.panels.timers import typingPause

# Asked for by widgets of their own.
ELSEWHERE = ("iterations",)


class TrainingSetup:
    """Fills and reads the widgets of the sections "Cases" and "Training" of the panel.

    What belongs to the computer is kept in the settings; options are not: each training begins with what
    the configuration says.

    Args:
        logic: ``SegmentLogic``.
        ui: The panel's widgets.
    """

    def __init__(self, logic: Any, ui: Any) -> None:
        self._logic, self._ui = logic, ui
        self._methods: dict[str, dict[str, Any]] = {}
        self._cards: dict[str, ModelCard] = {}
        self._filling = False
        self._titleIsOurs = self._iterationsAreOurs = True
        self._counts: tuple[int, int] | None = None  # labelled and unlabelled cases, as a check found them
        self.form = OptionForm([])  # till the method is known
        self._typing = typingPause(ui.casesFolderEdit, self._casesFolderChosen)
        self._fillMethods()
        self._restore()
        self.showModels()
        self.showDevices()
        self._methodChosen()
        self._connect()

    # -------------------------------------------------------------------------------------- what is read

    @property
    def casesFolder(self) -> Path | None:
        """The cases folder; need not exist."""
        text = str(self._ui.casesFolderEdit.currentPath).strip()
        return Path(text) if text else None

    @property
    def unlabelledFolders(self) -> tuple[Path, ...]:
        """Further unlabelled scans."""
        listed = self._ui.unlabelledList
        return tuple(Path(listed.item(row).text()) for row in range(listed.count))

    @property
    def startModel(self) -> Path | None:
        """The model to start from; ``None`` for none."""
        chosen = self._ui.startModelCombo.currentData
        return Path(chosen) if chosen else None

    def request(self) -> TrainingRequest:
        """Return the choices.

        Raises:
            OptionError: Something is missing or cannot be used; in words.
        """
        if self.casesFolder is None:
            msg = _("Choose the folder of the labelled cases.")
            raise OptionError(_("Choose the folder of your scans.") if self._isPretraining() else msg)
        if not str(self._ui.titleEdit.text).strip():
            msg = _("Give the new model a name.")
            raise OptionError(msg)
        return TrainingRequest(
            title=str(self._ui.titleEdit.text).strip(),
            casesFolder=self.casesFolder,
            unlabelledFolders=self.unlabelledFolders,
            startModel=self.startModel,
            method=self._method()["name"],
            configName=self._configuration(),
            options=self.form.changed(),
            # What the cases ask for is known to who reads them; here they may not even be listed yet.
            iterations=None if self._iterationsAreOurs else int(self._ui.iterationsSpinBox.value),
            minutes=float(self._ui.minutesSpinBox.value) if self._ui.minutesCheckBox.checked else None,
            device=str(self._ui.deviceCombo.currentData or "auto"),
            keepRunning=bool(self._ui.keepRunningCheckBox.checked),
        )

    # ------------------------------------------------------------------------------------- what is shown

    def showCasesFolder(self) -> None:
        """Show the cases folder that another section may have chosen, and what suits its labels."""
        folder = self._logic.cases.folder
        if folder != self.casesFolder and not self._typing.isActive():
            self._filling = True
            self._ui.casesFolderEdit.currentPath = str(folder or "")
            self._filling = False
        self._counts = None
        self._proposeIterations()

    def counted(self, check: CasesCheck) -> None:
        """Show how many updates suit the cases that a check has counted, those of further folders too."""
        self._counts = check.labelled, check.unlabelled
        self._proposeIterations()

    def showModels(self) -> None:
        """List the sound models; the chosen one stays chosen though it is lost; at first the current one."""
        combo, models = self._ui.startModelCombo, self._logic.models
        wanted = str(self.startModel or "") if combo.count else str(models.current or "")
        found = [(path, card) for path, card in models.list() if isinstance(card, ModelCard)]
        self._cards, titles = {str(path): card for path, card in found}, listTitles(found)
        self._filling = True
        combo.clear()
        for number, (path, card) in enumerate(found):
            title = _("{title} (pre-trained)") if is_pretraining(card) else "{title}"
            combo.addItem(title.format(title=titles[str(path)]), str(path))
            combo.setItemData(number, str(path), qt.Qt.ToolTipRole)
        combo.addItem(_("None: train from scratch"), "")
        if combo.findData(wanted) < 0:  # in its place another one would train, and nobody would know
            combo.addItem(_("{name} (lost or damaged)").format(name=Path(wanted).name), wanted)
        combo.setCurrentIndex(combo.findData(wanted))
        self._filling = False
        self._startModelChosen()

    def showDevices(self) -> None:
        """List the processor and the graphics cards that the environment's last look found."""
        combo = self._ui.deviceCombo
        wanted = str(combo.currentData or self._logic.settings.get("device", "auto"))
        listDevices(combo, self._logic.environment.gpus(), wanted)

    def proposeTitle(self) -> None:
        """Put a free name in, unless the user has typed one."""
        if self._titleIsOurs:
            try:
                self._ui.titleEdit.text = self._logic.training.proposedTitle(
                    self.startModel, pretraining=self._isPretraining()
                )
                self._ui.titleEdit.cursorPosition = 0  # of a long name the beginning is seen
            except CRGLoCoError:  # a start model that cannot be read is told at the start
                self._ui.titleEdit.text = ""

    def started(self) -> None:
        """The name is used up; what belongs to the computer is kept for the next time."""
        self._titleIsOurs = True
        ui = self._ui
        kept = {
            "method": self._method()["name"],
            "minutes": int(ui.minutesSpinBox.value),
            "hasMinutes": bool(ui.minutesCheckBox.checked),
            "keepRunning": bool(ui.keepRunningCheckBox.checked),
        }
        self._logic.settings.set("training", kept)

    # ----------------------------------------------------------------------------------------- the rest

    def _connect(self) -> None:
        ui = self._ui
        ui.casesFolderEdit.connect("currentPathChanged(QString)", self._casesFolderTyped)
        ui.addUnlabelledButton.connect("clicked(bool)", self._addUnlabelled)
        ui.removeUnlabelledButton.connect("clicked(bool)", self._removeUnlabelled)
        ui.unlabelledList.connect("itemSelectionChanged()", self._unlabelledSelected)
        ui.startModelCombo.connect("currentIndexChanged(int)", self._startModelChosen)
        ui.methodCombo.connect("currentIndexChanged(int)", self._methodChosen)
        ui.configurationCombo.connect("currentIndexChanged(int)", self._configurationChosen)
        ui.minutesCheckBox.connect("toggled(bool)", ui.minutesSpinBox.setEnabled)
        ui.titleEdit.connect("textEdited(QString)", self._titleEdited)
        ui.iterationsSpinBox.connect("valueChanged(int)", self._iterationsChosen)

    def _fillMethods(self) -> None:
        combo = self._ui.methodCombo
        self._methods = {method["name"]: method for method in self._logic.training.methods()}
        for number, method in enumerate(self._methods.values()):
            combo.addItem(_methodTitle(method), method["name"])
            combo.setItemData(number, method["reference"], qt.Qt.ToolTipRole)

    def _restore(self) -> None:
        ui, kept = self._ui, self._logic.settings.get("training", {})
        self.showCasesFolder()
        for folder in self._logic.settings.get("unlabelledFolders", []):
            ui.unlabelledList.addItem(str(folder))
        ui.methodCombo.setCurrentIndex(max(ui.methodCombo.findData(kept.get("method", "")), 0))
        ui.minutesSpinBox.value = int(kept.get("minutes", 60))
        ui.minutesCheckBox.checked = bool(kept.get("hasMinutes", False))
        ui.minutesSpinBox.enabled = bool(ui.minutesCheckBox.checked)
        ui.keepRunningCheckBox.checked = bool(kept.get("keepRunning", False))

    def _method(self) -> dict[str, Any]:
        return self._methods[str(self._ui.methodCombo.currentData)]

    def _options(self) -> dict[str, dict[str, Any]]:
        return {option["name"]: option for option in self._method()["options"]}

    def _isPretraining(self) -> bool:
        return bool(self._method()["kind"] == PRETRAINING)

    def _configuration(self) -> str:
        return str(self._ui.configurationCombo.currentText)

    def _methodChosen(self, _index: int = 0) -> None:
        method, ui = self._method(), self._ui
        ui.methodCombo.toolTip = f"{method['title']}\n{method['reference']}"
        self._replaceForm(OptionForm(method["options"], without=ELSEWHERE))
        self._filling = True
        ui.configurationCombo.clear()
        for name in method["configurations"]:
            ui.configurationCombo.addItem(name)
        ui.configurationCombo.enabled = len(method["configurations"]) > 1
        self._filling = False
        self._configurationChosen()
        self.proposeTitle()

    def _replaceForm(self, form: OptionForm) -> None:
        layout = self._ui.optionsBox.layout()
        layout.removeWidget(self.form.widget)
        self.form.widget.hide()
        self.form.widget.deleteLater()
        self.form = form
        layout.addWidget(form.widget)
        takeTabsAfter(self._ui.optionsBox, form.widget)

    def _configurationChosen(self, _index: int = 0) -> None:
        if self._filling:
            return
        options = self._options()
        if "iterations" in options:
            spin, option = self._ui.iterationsSpinBox, options["iterations"]
            spin.minimum, spin.maximum = int(option["minimum"]), int(option["maximum"])
        self._iterationsAreOurs = True
        self._proposeIterations()
        self._showStart()

    def _proposeIterations(self) -> None:
        """Put in how many updates suit method, start model and labels, unless the user has chosen."""
        options = self._options()
        if not self._iterationsAreOurs or "iterations" not in options:
            return
        named, card = self._chosen().get("iterations"), self._cards.get(str(self.startModel or ""))
        wanted = int(options["iterations"]["default"] if named is None else named)
        labelled, unlabelled = self._counts or self._listed()
        goesOn = labelled and card is not None and not is_pretraining(card) and not self._isPretraining()
        if named is None and goesOn:
            looksAtThem = options["unlabelled_batch"]["maximum"] > 0
            wanted = updates_going_on(wanted, labelled, unlabelled if looksAtThem else 0)
        self._filling = True
        self._ui.iterationsSpinBox.value = wanted
        self._filling = False

    def _listed(self) -> tuple[int, int]:
        """Count the labelled cases that teach and the unlabelled ones, as far as the folder is listed."""
        rows = self._logic.cases.rows
        return sum(row.state == "corrected" for row in rows), sum(not row.isLabelled for row in rows)

    def _iterationsChosen(self, _value: int) -> None:
        self._iterationsAreOurs = self._iterationsAreOurs and self._filling

    def _chosen(self) -> dict[str, Any]:
        """Options that the configuration sets."""
        return dict(self._method()["configurations"].get(self._configuration(), {}))

    def _startModelChosen(self, _index: int = 0) -> None:
        if not self._filling:
            path = self.startModel
            self._ui.startModelCombo.toolTip = str(
                path or _("A new model learns everything from your cases.")
            )
            self._showStart()
            self._proposeIterations()
            self.proposeTitle()

    def _showStart(self) -> None:
        """Show what the configuration and the start model say; a start model brings its own networks."""
        card = self._cards.get(str(self.startModel or ""))
        own = {} if card is None else {n: card.config[n] for n in NETWORK_OPTIONS if n in card.config}
        self.form.setStart(self._chosen() | own)
        self.form.setFixed(
            tuple(own), _("The start model brings its own networks, so this cannot be chosen.")
        )

    def _casesFolderTyped(self, _path: str) -> None:
        if not self._filling:  # every folder on the way to the one that is meant is a folder too
            self._typing.start()

    def _casesFolderChosen(self) -> None:
        if self.casesFolder is not None and self.casesFolder.is_dir():
            self._logic.cases.open(self.casesFolder)

    def cleanup(self) -> None:
        """Leave no timer behind."""
        self._typing.stop()

    def _addUnlabelled(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002  (a Qt signal)
        title = _("Folder of unlabelled scans")
        folder = qt.QFileDialog.getExistingDirectory(self._ui.addUnlabelledButton, title, "")
        if folder and Path(folder) not in self.unlabelledFolders:
            self._ui.unlabelledList.addItem(str(folder))
            self._keepUnlabelled()

    def _removeUnlabelled(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002  (a Qt signal)
        listed = self._ui.unlabelledList
        for item in listed.selectedItems():
            listed.takeItem(listed.row(item))
        self._keepUnlabelled()

    def _keepUnlabelled(self) -> None:
        self._logic.settings.set("unlabelledFolders", [str(path) for path in self.unlabelledFolders])
        self._counts = None

    def _unlabelledSelected(self) -> None:
        self._ui.removeUnlabelledButton.enabled = len(self._ui.unlabelledList.selectedItems()) > 0

    def _titleEdited(self, text: str) -> None:
        self._titleIsOurs = not text.strip()


def _methodTitle(method: dict[str, Any]) -> str:
    """Return what the list calls a method; of pre-training it says what for."""
    if method["kind"] != PRETRAINING:
        return str(method["title"])
    name = str(method["title"]).partition(" (")[0]
    return _("{name}: pre-train on my unlabelled folder").format(name=name)
