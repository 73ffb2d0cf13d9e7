"""The list of models with what they say of themselves, and its menu: import, export, folder."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from crgloco.model_card import ModelCard
from CRGLoCoSegmentLib.logic.model_text import detailsText, labelsText, listTitles


class ModelChooser:
    """Fills the widgets of the segment section that belong to models.

    Args:
        logic: ``SegmentLogic``.
        ui: With ``modelSelector``, ``modelMenuButton``, ``labelsLabel``, ``labelsTitle``,
            ``modelDetailsLabel`` and ``modelDetailsBox``.
        say: Tells the user what happened.
    """

    def __init__(self, logic: Any, ui: Any, say: Callable[..., None]) -> None:
        self._logic, self._ui, self._say = logic, ui, say
        self._cards: dict[str, Any] = {}
        self._filling = False
        ui.modelSelector.connect("currentIndexChanged(int)", self._chosen)
        self._menu = qt.QMenu(ui.modelMenuButton)
        self._actions = [
            self._action(_("Import from zip file..."), self._importZip),
            self._action(_("Export to zip file..."), self._exportZip),
            self._action(_("Open models folder"), self._openFolder),
            self._action(_("Choose models folder..."), self._chooseFolder),
            self._action(_("Refresh list"), logic.models.changed),
        ]
        ui.modelMenuButton.setMenu(self._menu)

    @property
    def path(self) -> Path | None:
        """The chosen model, also a damaged one."""
        chosen = self._ui.modelSelector.currentData
        return Path(chosen) if chosen else None

    @property
    def card(self) -> ModelCard | None:
        """The chosen model's card, unless it is damaged."""
        card = self._cards.get(str(self.path))
        return card if isinstance(card, ModelCard) else None

    def show(self) -> None:
        """Read the list again; the same model stays chosen."""
        found = self._logic.models.segmenting()
        self._cards = {str(path): card for path, card in found}
        current = str(self._logic.models.current or "")
        selector = self._ui.modelSelector
        self._filling = True
        selector.clear()
        for number, (path, title) in enumerate(listTitles(found).items()):
            selector.addItem(title, path)
            selector.setItemData(number, path, qt.Qt.ToolTipRole)
        if current in self._cards:
            selector.setCurrentIndex(list(self._cards).index(current))
        selector.enabled = bool(found)
        self._filling = False
        self._showDetails()

    def _chosen(self, _index: int) -> None:
        if not self._filling and self.path is not None:
            self._logic.models.current = self.path  # the notice brings us back to ``show``
            self._showDetails()

    def _showDetails(self) -> None:
        ui, card = self._ui, self.card
        ui.labelsLabel.visible = ui.labelsTitle.visible = card is not None
        ui.modelDetailsBox.visible = bool(self._cards)
        ui.modelSelector.toolTip = str(self.path or _("No model was found. Import one from a zip file."))
        if card is not None:
            ui.labelsLabel.text = labelsText(card.labels)
            sound = [each for each in self._cards.values() if isinstance(each, ModelCard)]
            ui.modelDetailsLabel.text = detailsText(card, {each.weights_sha256: each.title for each in sound})
        elif self._cards:
            ui.modelDetailsLabel.text = escape(str(self._cards.get(str(self.path), "")))

    # -------------------------------------------------------------------------------------- the menu

    def _action(self, text: str, action: Callable[[], None]) -> Any:
        entry = qt.QAction(text, self._menu)
        entry.connect("triggered()", action)
        self._menu.addAction(entry)
        return entry

    def _importZip(self) -> None:
        title, kinds = _("Import a model"), _("Models as zip files (*.zip)")
        chosen = qt.QFileDialog.getOpenFileName(self._ui.modelMenuButton, title, "", kinds)
        if chosen:
            self._say(_("Importing {name}...").format(name=Path(chosen).name))
            done = _("The model was imported into {path}.")
            self._logic.models.importZip(
                Path(chosen), onFinished=lambda path: self._say(done.format(path=path)), onFailed=self._say
            )

    def _exportZip(self) -> None:
        if self.path is None:
            return
        title, kinds = _("Export the model"), _("Zip files (*.zip)")
        proposed = str(Path.home() / f"{self.path.name}.zip")
        chosen = qt.QFileDialog.getSaveFileName(self._ui.modelMenuButton, title, proposed, kinds)
        if chosen:
            target = Path(chosen if chosen.lower().endswith(".zip") else f"{chosen}.zip")
            self._say(_("Exporting {name}...").format(name=target.name))
            done = _("The model was exported to {path}.")
            self._logic.models.exportZip(
                self.path,
                target,
                overwrite=target == Path(chosen),  # the dialog has asked about this name only
                onFinished=lambda path: self._say(done.format(path=path)),
                onFailed=self._say,
            )

    def _openFolder(self) -> None:
        folder = self._logic.models.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._say(_("{path} cannot be made: {reason}.").format(path=folder, reason=error.strerror))
            return
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _chooseFolder(self) -> None:
        running = [job.title for job in self._logic.training.jobs() if job.runsHere]
        if running:  # out of sight it could not be stopped, and its model would be in no list
            msg = _("{title} is being trained into this folder. Wait for it or stop it, then choose another.")
            self._say(msg.format(title=running[0]))
            return
        title = _("Folder of imported and fine-tuned models")
        folder = self._logic.models.folder
        chosen = qt.QFileDialog.getExistingDirectory(self._ui.modelMenuButton, title, str(folder))
        if chosen:
            self._logic.settings.set("modelsFolder", chosen)
            self._logic.models.changed()
