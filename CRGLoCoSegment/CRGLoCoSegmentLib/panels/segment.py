"""The section that segments: volume, model, quality, memory estimate, Apply that becomes Cancel, result."""

import logging
import time
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from crgloco.errors import CRGLoCoError
from CRGLoCoSegmentLib.logic.model_text import onePieceText
from CRGLoCoSegmentLib.logic.result_text import resultText, secondsText
from CRGLoCoSegmentLib.logic.task import Task
from CRGLoCoSegmentLib.nodes.cases import channelNamesOf, channelsFor
from CRGLoCoSegmentLib.nodes.inputs import overlayIds
from CRGLoCoSegmentLib.nodes.scene import isSameNode
from CRGLoCoSegmentLib.panels.answer_watch import AnswerWatch
from CRGLoCoSegmentLib.panels.device_list import listDevices
from CRGLoCoSegmentLib.panels.log_view import followingEnd
from CRGLoCoSegmentLib.panels.model_chooser import ModelChooser
from CRGLoCoSegmentLib.panels.panel import Panel, breakable
from CRGLoCoSegmentLib.panels.timers import timerOf
from CRGLoCoSegmentLib.parameters import CHANNELS

log = logging.getLogger("CRGLoCoSegment")

ESTIMATE_AFTER_MS = 400
ESTIMATE_AGAIN_MS = 3000
CLOCK_MS = 500
BAR = 1000


class SegmentPanel(Panel):
    """Segments the chosen volume; arguments as of ``Panel``."""

    name = "segment"

    def __init__(self, logic: Any, resources: Path) -> None:
        super().__init__(logic, resources)
        ui = self.ui
        self._task: Task | None = None
        self._estimate: Task | None = None
        self._stage, self._secondsLeft = "", None
        self._shown: Any = None
        self._channelled: Any = None
        self._filling = self._entered = False
        self._channels = (ui.secondChannelSelector, ui.thirdChannelSelector, ui.fourthChannelSelector)
        self._channelLabels = (ui.secondChannelLabel, ui.thirdChannelLabel, ui.fourthChannelLabel)
        self._models = ModelChooser(logic, ui, self._say)
        self._watch = AnswerWatch(self.widget, self._showResult)
        self._estimateTimer = timerOf(self.widget, self._askEstimate)
        self._clock = timerOf(self.widget, self._showTime, single=False)
        for selector in (ui.inputSelector, *self._channels):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._changed)
            letGo = lambda node, chosen=selector: _letGo(chosen, node)  # noqa: E731
            selector.connect("nodeAboutToBeRemoved(vtkMRMLNode*)", letGo)
        ui.qualitySelector.connect("currentIndexChanged(int)", self._changed)
        ui.deviceSelector.connect("currentIndexChanged(int)", self._deviceChosen)
        ui.applyButton.connect("clicked(bool)", self._onApply)
        self._showDevices()
        self._models.show()
        self.refresh("parameters")

    # ------------------------------------------------------------------------------------- the life

    def setParameters(self, parameters: Any) -> None:
        """Bind the widgets to a parameter node; ``None`` lets them go."""
        # First: a selector that still hides an overlay of a former scene would not take a volume of its ID.
        self._hideOverlays()
        super().setParameters(parameters)

    def enter(self) -> None:
        """The user looks at the module: models may have been copied into their folder meanwhile."""
        self._entered = True
        self._models.show()
        self._hideOverlays()
        self._show(force=True)

    def exit(self) -> None:
        """The user looks at another module."""
        self._entered = False
        self._estimateTimer.stop()

    def refresh(self, what: str) -> None:
        """Show the present state."""
        if what == "parameters":
            self._takeChannels()
        if what == "models":
            self._models.show()
        if what == "environment":
            self._showDevices()
        self._hideOverlays()
        self._show(force=what in {"models", "environment", "result", "scene"})

    def cleanup(self) -> None:
        """Leave no timer and no request behind; the running segmentation is ended by the logic."""
        super().cleanup()  # first: letting the parameters go starts the timer once more
        self._watch.stop()
        self._estimateTimer.stop()
        self._clock.stop()
        if self._estimate is not None:
            self._estimate.cancel()

    # ------------------------------------------------------------------------------------- the state

    def _show(self, *, force: bool = False) -> None:
        """Show what follows from the choices; a slider of another section changes none of them."""
        ui = self.ui
        card, volumes = self._models.card, self._volumes()
        names = channelNamesOf(volumes, card.channel_names) if card is not None else ()
        for number, (label, selector) in enumerate(zip(self._channelLabels, self._channels, strict=True), 2):
            label.visible = selector.visible = len(names) >= number
            if len(names) >= number:
                label.text = f"{names[number - 1]}:"
        self._offerIslands(card)
        state = (volumes, self._models.path, ui.qualitySelector.currentIndex, self._device())
        if force or state != self._shown:
            self._shown = state
            self._showProblem()
            self._showResult()
            if self._entered:
                self._estimateTimer.start(ESTIMATE_AFTER_MS)

    def _offerIslands(self, card: Any) -> None:
        """Show the choice where the model knows structures that are one piece, and name them."""
        names = onePieceText(card) if card is not None else ""
        self.ui.islandsCheckBox.visible = bool(names)
        self.ui.islandsCheckBox.toolTip = _(
            "Of structures that were one piece in every label the model learned from ({names}), remove "
            "pieces of which the global branch sees little. Where the model was sure, the place counts as "
            "uncertain."
        ).format(names=names)

    def _hideOverlays(self) -> None:
        """Offer no overlay of ours as a volume; hidden from editors, they could not be saved or found."""
        overlays = overlayIds()
        for selector in (self.ui.inputSelector, *self._channels):
            model = selector.sortFilterProxyModel()
            if list(model.hiddenNodeIDs) != overlays:
                model.hiddenNodeIDs = overlays

    def _changed(self, _value: Any = None) -> None:
        self._show()

    def _takeChannels(self) -> None:
        """Choose the further channels of a newly chosen volume's case; those of another case are let go."""
        volume = self.parameters.inputVolume if self.parameters is not None else None
        if volume is self._channelled:
            return
        self._channelled = volume
        if volume is not None:
            chosen = [getattr(self.parameters, name) for name in CHANNELS]
            for name, node in zip(CHANNELS, channelsFor(volume, chosen), strict=True):
                setattr(self.parameters, name, node)

    def _volumes(self) -> list[Any]:
        """Return the volume and the further channels that the model wants; ``None`` where none is chosen."""
        card = self._models.card
        count = len(card.channel_names) if card is not None else 1
        return [selector.currentNode() for selector in (self.ui.inputSelector, *self._channels)[:count]]

    def _showProblem(self) -> None:
        """Say why Apply cannot be pressed, where there is a reason."""
        volume, *channels = self._volumes()
        problem = ""
        if volume is None:
            problem = _("Choose a volume to segment.")
        elif self._models.path is None:
            problem = _("Import a model first.")
        else:
            problem = self.logic.segmentation.problem(volume, self._models.path, channels)
        running = self._task is not None
        button = self.ui.applyButton
        button.enabled = running or not problem
        button.text = _("Cancel") if running else _("Apply")
        button.toolTip = _("End the segmentation.") if running else problem or _("Segment the volume.")
        self._hint(problem)

    def _hint(self, text: str) -> None:
        """Say what Apply will take, or why it cannot be pressed."""
        self.ui.estimateLabel.text = breakable(text)
        self.ui.estimateLabel.visible = bool(text) and self._task is None

    def _showResult(self) -> None:
        result = self.logic.resultOf(self.ui.inputSelector.currentNode())
        self._watch.watch(result)
        self.ui.resultLabel.visible = result is not None
        text = resultText(result.record, result.table, self._watch.remark) if result is not None else ""
        self.ui.resultLabel.text = text

    def _say(self, text: str, details: str = "") -> None:
        """Tell the user what happened; details go to the log only."""
        self.ui.statusLabel.text = breakable(text)
        self.ui.statusLabel.visible = bool(text)
        if text:
            self._log("\n".join(part for part in (text, details) if part))

    def _log(self, text: str) -> None:
        """Add to the log."""
        with followingEnd(self.ui.logText):
            self.ui.logText.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")

    # ------------------------------------------------------------------------------------ the device

    def _showDevices(self) -> None:
        """List the processor and the graphics cards that the environment's last look found."""
        self._filling = True
        chosen = self.logic.settings.get("device", "auto")
        listDevices(self.ui.deviceSelector, self.logic.environment.gpus(), chosen)
        self._filling = False

    def _device(self) -> str:
        return str(self.ui.deviceSelector.currentData or "auto")

    def _deviceChosen(self, _index: int) -> None:
        if not self._filling:
            self.logic.settings.set("device", self._device())
            self._show()

    # ---------------------------------------------------------------------------------- the estimate

    def _askEstimate(self) -> None:
        """Ask what the choices will take, once they have not changed for a moment."""
        volume, *channels = self._volumes()
        if volume is None or self._models.path is None or self._task is not None:
            return
        if self.logic.segmentation.problem(volume, self._models.path, channels):
            self._showProblem()
            self._estimateTimer.start(ESTIMATE_AGAIN_MS)  # voxels may still come
            return
        if missing := self.whatIsMissing():
            self._hint(missing)
            return
        if self.logic.compute.isBusy():  # its answer would come when nobody needs it any more
            self._estimateTimer.start(ESTIMATE_AGAIN_MS)
            return
        if self._estimate is not None:
            self._estimate.cancel()
        self._estimate = self.logic.estimate(
            volume,
            self._models.path,
            quality=self.quality(),
            device=self._device(),
            onResult=lambda answer: self._showEstimate(volume, answer["text"]),
            onError=lambda message, _details: self._showEstimate(volume, message),
        )

    def _showEstimate(self, volume: Any, text: str) -> None:
        if volume is self.ui.inputSelector.currentNode() and self._task is None:
            self._hint(" ".join([text, *self.logic.remarks(volume)]))

    # --------------------------------------------------------------------------------------- the work

    def _onApply(self, _checked: Any = None) -> None:
        if self._task is not None:
            self._task.cancel()
            return
        if missing := self.whatIsMissing():
            self._say(missing)
            return
        if self._estimate is not None:
            self._estimate.cancel()
        volume, *channels = self._volumes()
        self._say("")
        try:
            task = self.logic.segment(
                volume,
                self._models.path,
                quality=self.quality(),
                keepIslands=self.keepsIslands(),
                device=self._device(),
                channels=tuple(channels),
                onProgress=self._progress,
                onFinished=self._finished,
                onFailed=self._failed,
            )
        except CRGLoCoError as error:
            self._say(str(error))
            return
        if task.isRunning():
            self._begin(task)

    def _begin(self, task: Task) -> None:
        self._task = task
        self._stage, self._secondsLeft = _("Starting"), None
        self._log(_("{name}: started.").format(name=task.name))
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = self.ui.progressLabel.visible = True
        self._clock.start(CLOCK_MS)
        self._showTime()
        self._showProblem()

    def _progress(self, stage: str, done: float, total: float, secondsLeft: float | None) -> None:
        if stage != self._stage:
            self._log(stage)
        self._stage, self._secondsLeft = stage, secondsLeft
        self.ui.progressBar.value = int(BAR * done / total) if total else 0
        self._showTime()

    def _showTime(self) -> None:
        if self._task is None:
            return
        elapsed = secondsText(time.monotonic() - self._task.startedAt)
        text = _("{name}: {stage}, {elapsed}")
        if self._secondsLeft is not None:
            text = _("{name}: {stage}, {elapsed}, about {left} left")
        left = secondsText(self._secondsLeft or 0)
        self.ui.progressLabel.text = text.format(
            name=self._task.name, stage=self._stage, elapsed=elapsed, left=left
        )

    def _finished(self, result: Any) -> None:
        self._ended()
        self._log(_("Done: {name}.").format(name=result.volume.GetName()))

    def _failed(self, message: str, details: str) -> None:
        self._ended()
        self._say(message, details)

    def _ended(self) -> None:
        task, self._task = self._task, None
        self._clock.stop()
        self.ui.progressBar.visible = self.ui.progressLabel.visible = False
        for note in task.notes if task is not None else ():
            self._log(note)
        self._show(force=True)


def _letGo(selector: Any, node: Any) -> None:
    """Choose nothing when the chosen node goes: Qt would choose its neighbour, another patient perhaps."""
    if node is not None and isSameNode(selector.currentNode(), node):
        selector.setCurrentNode(None)
