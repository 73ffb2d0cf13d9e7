"""The cases folder in the panel: which case next, into the scene, and back as an accepted label."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer.util
from slicer.i18n import tr as _

from crgloco.errors import CRGLoCoError
from CRGLoCoSegmentLib.logic.case_rows import STATES, nameProblem, stateTitles
from CRGLoCoSegmentLib.logic.result_text import secondsText
from CRGLoCoSegmentLib.panels import case_dialogs as dialogs
from CRGLoCoSegmentLib.panels.case_table import CaseTable
from CRGLoCoSegmentLib.panels.case_texts import acceptText, folderText
from CRGLoCoSegmentLib.panels.panel import Panel, breakable
from CRGLoCoSegmentLib.panels.timers import typingPause
from CRGLoCoSegmentLib.parameters import CHANNELS

log = logging.getLogger("CRGLoCoSegment")

BAR = 100
FOLLOWED = {"parameters", "cases", "batch", "corrected", "result", "models", "scene"}


class CasesPanel(Panel):
    """Lists the cases, loads them, predicts them, and accepts labels."""

    name = "cases"

    def __init__(self, logic: Any, resources: Path) -> None:
        super().__init__(logic, resources)
        self._cases = logic.cases
        self._proposed = ""
        self._named = ""  # the volume that the name is for
        self._table = CaseTable(
            self.ui.casesTable,
            lambda name: self._try(lambda: self._load(name)),
            lambda: self.refresh("cases"),
        )
        self.ui.stateFilter.addItem(_("All cases"), "")
        for state in STATES:
            self.ui.stateFilter.addItem(stateTitles()[state], state)
        self.ui.annotatorEdit.text = logic.settings.get("annotator", "")
        self._typing = typingPause(self.widget, self._openTyped)
        self._say(self._cases.keptLabel())
        self._cases.onArriving = self._choose
        self._connect()

    def _connect(self) -> None:
        ui = self.ui
        for signal in ("currentPathChanged(QString)", "validInputChanged(bool)"):  # the second when emptied
            ui.folderPath.connect(signal, lambda _value: self._typing.start())
        ui.stateFilter.connect("currentIndexChanged(int)", lambda _index: self._showTable())
        ui.caseNameEdit.connect("textChanged(QString)", lambda _text: self._showAccept())
        ui.annotatorEdit.connect("editingFinished()", self._storeRole)
        for button, action in (
            (ui.newFolderButton, self._newFolder),
            (ui.openFolderButton, self._openFolder),
            (ui.loadButton, lambda: self._load(self._table.selected)),
            (ui.loadNextButton, self._loadNext),
            (ui.predictButton, self._predictOrCancel),
            (ui.acceptButton, self._accept),
            (ui.exportButton, self._export),
        ):
            button.connect("clicked(bool)", lambda _checked=False, action=action: self._try(action))

    # ------------------------------------------------------------------------------------- the life

    def enter(self) -> None:
        """Look into the folder: others may have worked on it meanwhile."""
        if self._cases.folder is not None:
            self._cases.refresh()

    def refresh(self, what: str) -> None:
        """Show the present state."""
        if what in FOLLOWED:
            self._showFolder()
            self._showTable()
            self._showBatch()
            self._showAccept()

    def cleanup(self) -> None:
        """Leave nothing behind; a batch belongs to the logic, and ends with it."""
        self._typing.stop()
        self._cases.onArriving = None
        super().cleanup()

    # ------------------------------------------------------------------------------------- the state

    def _showFolder(self) -> None:
        cases, ui = self._cases, self.ui
        shown = ui.folderPath.currentPath
        if (Path(shown) if shown else None) != cases.folder and not self._typing.isActive():
            ui.folderPath.blockSignals(True)  # noqa: FBT003  (Qt knows no keywords)
            ui.folderPath.currentPath = str(cases.folder or "")
            ui.folderPath.blockSignals(False)  # noqa: FBT003
        ui.openFolderButton.enabled = cases.folder is not None
        ui.folderLabel.text = folderText(
            cases.folder, cases.rows, cases.table, cases.problem, isReading=cases.isReading
        )

    def _showTable(self) -> None:
        cases, ui = self._cases, self.ui
        loaded = cases.loaded.name if cases.loaded is not None else None
        self._table.show(cases.rows, ui.stateFilter.itemData(ui.stateFilter.currentIndex) or "", loaded)
        ui.loadButton.enabled = bool(self._table.selected) and not cases.isLoading
        waiting = [row for row in cases.rows if not row.isLabelled and row.name != loaded]
        ui.loadNextButton.enabled = bool(waiting) and not cases.isLoading

    def _showBatch(self) -> None:
        batch, ui = self._cases.batch, self.ui
        waiting = sum(not row.isLabelled for row in self._cases.rows)
        text = _("Predict all unlabelled ({count})").format(count=waiting)
        ui.predictButton.text = _("Cancel") if batch.isRunning else text
        ui.predictButton.enabled = batch.isRunning or waiting > 0
        ui.batchFrame.visible = batch.progress is not None
        if batch.progress is not None:
            seconds = batch.progress.secondsLeft
            left = _("{time} left").format(time=secondsText(seconds)) if seconds else ""
            ui.batchBar.maximum = batch.progress.total * BAR
            ui.batchBar.value = round(batch.progress.done * BAR)
            ui.batchLabel.text = "; ".join(part for part in (batch.progress.text, left) if part)

    def _showAccept(self) -> None:
        cases, ui = self._cases, self.ui
        segmentation, volume = cases.acceptable(self._volume())
        row = cases.row(cases.caseOf(volume))
        self._showName(volume, isNew=volume is not None and row is None and cases.table is not None)
        name = ui.caseNameEdit.text.strip()
        problem = nameProblem(name, [known.name for known in cases.rows]) if row is None else ""
        ui.acceptLabel.text = acceptText(
            volumeName=volume.GetName() if volume is not None else "",
            hasLabel=segmentation is not None,
            isCorrected=cases.isCorrected(segmentation),
            isAccepted=cases.isAccepted(segmentation),
            folder=cases.folder.name if cases.folder is not None and cases.table is not None else "",
            row=row,
            newName=name,
            problem=problem,
        )
        canWrite = segmentation is not None and cases.table is not None and not problem
        ui.acceptButton.enabled = canWrite and not cases.isAccepting
        ui.exportButton.enabled = segmentation is not None

    def _showName(self, volume: Any, *, isNew: bool) -> None:
        """Propose a name for a new case, unless the user has typed one for it."""
        edit = self.ui.caseNameEdit
        if isNew and volume.GetID() != self._named:  # what was typed is the name of another patient
            self._named = volume.GetID()
            edit.text = ""
        edit.visible = self.ui.caseNameLabel.visible = isNew
        if isNew and edit.text in {"", self._proposed}:
            self._proposed = self._cases.proposedName()
            if edit.text != self._proposed:
                edit.text = self._proposed

    def _say(self, text: str, details: str = "") -> None:
        """Tell the user what happened; details go to the log only."""
        self.ui.messageLabel.text = breakable(text)
        self.ui.messageLabel.visible = bool(text)
        if details:
            log.error("%s\n%s", text, details)

    def _volume(self) -> Any:
        """Return the chosen volume, else that of the loaded case."""
        chosen = self.parameters.inputVolume if self.parameters is not None else None
        loaded = self._cases.loaded
        return chosen if chosen is not None else loaded.volume if loaded is not None else None

    # ------------------------------------------------------------------------------------ the folder

    def _openTyped(self) -> None:
        path = self.ui.folderPath.currentPath.strip()
        if path and not Path(path).is_dir():
            self._say(_("There is no folder {path}.").format(path=path))
            return
        self._say("")
        self._cases.open(path or None)

    def _newFolder(self) -> None:
        chosen = dialogs.newFolder(self.widget, self._cases.folder)
        if chosen is not None:
            self._say(_("Making the cases folder ..."))
            self._cases.create(chosen, onFinished=self._folderMade, onFailed=self._say)

    def _folderMade(self, folder: Path) -> None:
        self._say(
            _("{folder} is ready for cases with the labels of the current model.").format(folder=folder)
        )

    def _openFolder(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._cases.folder)))

    # ------------------------------------------------------------------------------------- the cases

    def _load(self, name: str) -> None:
        self._bringIn(lambda **how: self._cases.load(name, **how))

    def _loadNext(self) -> None:
        how = {"quality": self.quality(), "keepIslands": self.keepsIslands()}
        self._bringIn(lambda **more: self._cases.loadNext(**how, **more))

    def _bringIn(self, load: Callable[..., Any]) -> None:
        """Load a case, after asking about the former one if something on it is not accepted."""
        loaded, discard = self._cases.loaded, False
        if loaded is not None and self._cases.hasUnsavedCorrection():
            answer = dialogs.whatAboutUnsaved(self.widget, loaded.name)
            if answer == dialogs.CANCEL:
                return
            discard = answer == dialogs.DISCARD
        load(
            discardUnsaved=discard,
            onProgress=lambda text, _done, _total, _left: self._say(text),
            onFinished=self._arrived,
            onFailed=self._notLoaded,
        )

    def _choose(self, volume: Any) -> None:
        if self.parameters is not None:
            self.parameters.inputVolume = volume

    def _arrived(self, loaded: Any) -> None:
        if self.parameters is not None:
            self.parameters.caseName = loaded.name
        row = self._cases.row(loaded.name)
        reason = row.reason if row is not None else ""
        text = _("{case} is loaded.").format(case=loaded.name)
        older = ""
        if self._cases.isOfAnotherModel(loaded):
            older = _("Its prediction is of another model than the one in use; Apply segments it anew.")
        self._say(" ".join(part for part in (text, reason, older, *loaded.notes) if part))
        self._table.select(loaded.name)
        self.refresh("cases")

    def _notLoaded(self, message: str, details: str) -> None:
        if not self._cases.isLoading:  # else another one was asked for meanwhile
            self._say(message, details)

    def _predictOrCancel(self) -> None:
        if self._cases.batch.isRunning:
            self._cases.batch.cancel()
            return
        if missing := self.whatIsMissing():
            self._say(missing)
            return
        self._say("")
        self._cases.predictAll(
            quality=self.quality(),
            keepIslands=self.keepsIslands(),
            onFinished=lambda _outcome: self._batchEnded(),
            onFailed=lambda *_: self._batchEnded(),
        )

    def _batchEnded(self) -> None:
        outcome = self._cases.batch.lastOutcome
        if outcome is not None:
            self._say(outcome.inWords())

    # ------------------------------------------------------------------------------------- the label

    def _accept(self) -> None:
        self._storeRole()
        volume = self._volume()
        channels = [getattr(self.parameters, name, None) for name in CHANNELS]
        names = self._cases.chosenAs((volume, *channels))
        further = max(len(self._cases.channelNames) - 1, 0)
        chosen = [(node, name) for node, name in zip(channels, names[1:], strict=True) if node is not None]
        self._cases.accept(
            volume,
            caseName=self.ui.caseNameEdit.text.strip(),
            channels=[node for node, _name in chosen[:further]],
            channelNames=(names[0], *(name for _node, name in chosen[:further])),
            onProgress=lambda text, _done, _total, _left: self._say(text),
            onFinished=self._accepted,
            onFailed=self._say,
        )

    def _accepted(self, accepted: Any) -> None:
        text = _("Revision {revision} of {case} is written: {path}").format(
            revision=accepted.revision, case=accepted.case, path=accepted.path
        )
        self._say("\n".join([text, *accepted.notes]))
        if self.parameters is not None:
            self.parameters.caseName = accepted.case
        self.refresh("cases")
        if self.ui.loadNextCheckBox.checked:
            self._try(self._loadNext)

    def _export(self) -> None:
        segmentation, volume = self._cases.acceptable(self._volume())
        start = Path(self.logic.settings.get("exportFolder") or Path.home())
        name = self._cases.caseOf(volume) or _("label")
        path = dialogs.exportFile(self.widget, start / f"{name}.nii.gz")
        if path is None:
            return
        if "." not in path.name:
            path = path.with_name(f"{path.name}.nii.gz")
            if path.exists():  # Slicer has asked about the name without the ending
                msg = _("{path} exists already. Choose it by its whole name to replace it.")
                self._say(msg.format(path=path))
                return
        self.logic.settings.set("exportFolder", str(path.parent))
        self._say(_("Writing {path} ...").format(path=path))
        with slicer.util.WaitCursor():  # Slicer's own writer takes seconds of this thread for a large volume
            self.logic.exportLabel(
                segmentation,
                volume,
                path,
                onFinished=lambda written: self._say(_("The label is written: {path}").format(path=written)),
                onFailed=self._say,
            )

    def _storeRole(self) -> None:
        self.logic.settings.set("annotator", self.ui.annotatorEdit.text.strip() or None)

    def _try(self, action: Callable[[], None]) -> None:
        """Do what a button asks for; what cannot be done is said in the panel."""
        try:
            action()
        except CRGLoCoError as error:
            self._say(str(error))
        self.refresh("cases")
