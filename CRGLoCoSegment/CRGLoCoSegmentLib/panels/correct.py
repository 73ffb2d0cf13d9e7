"""The section that corrects: where each label starts, the Segment Editor on a copy, and what was changed."""

from pathlib import Path
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from crgloco.errors import CRGLoCoError
from CRGLoCoSegmentLib.nodes.changes import Changes
from CRGLoCoSegmentLib.nodes.composition import FUSED
from CRGLoCoSegmentLib.nodes.corrections import answersOf, lostOf, originalsOf, startsOf
from CRGLoCoSegmentLib.nodes.editing import presetSegmentEditor
from CRGLoCoSegmentLib.nodes.label_tables import tableOf
from CRGLoCoSegmentLib.nodes.results import correctedOf
from CRGLoCoSegmentLib.panels.embedded_editor import EmbeddedEditor
from CRGLoCoSegmentLib.panels.panel import Panel
from CRGLoCoSegmentLib.panels.start_table import StartTable, amountText
from CRGLoCoSegmentLib.panels.timers import timerOf

FOLLOWED = {"parameters", "result", "corrected", "cases", "scene"}
# Strokes follow each other; what changed is counted when the hand rests.
COUNT_AFTER_MS = 700


class CorrectPanel(Panel):
    """Corrects a copy of the chosen volume's result; arguments as of ``Panel``."""

    name = "correct"

    def __init__(self, logic: Any, resources: Path) -> None:
        super().__init__(logic, resources)
        ui = self.ui
        self._volume: Any = None
        self._result: Any = None
        self._copy: Any = None
        self._shown: tuple[Any, ...] | None = None
        self._problem = ""
        self._busy = self._folded = False
        self._job: Any = None
        self._again = False
        self._table = StartTable(ui.startsTable)
        self._editor = EmbeddedEditor(ui.editorFrame)
        self._timer = timerOf(self.widget, self._count)
        ui.startButton.connect("clicked(bool)", self._onStart)
        ui.newCopyButton.connect("clicked(bool)", self._onNewCopy)
        ui.segmentEditorButton.connect("clicked(bool)", self._onSegmentEditor)
        logic.correction.onEdit = self._onEdit
        self._show()

    # ------------------------------------------------------------------------------------- the life

    def enter(self) -> None:
        """The user looks at the module; what he changed in Slicer's own editor is counted."""
        self._editor.enter()
        self._timer.start(0)

    def exit(self) -> None:
        """The user looks at another module; the undo steps stay."""
        self._editor.exit()
        self._timer.stop()

    def fold(self, folded: bool) -> None:  # noqa: FBT001 (as Qt's own setters)
        """Folded away, the editor is at rest: no click in a view may paint unseen."""
        self._folded = folded
        self._show()

    def refresh(self, what: str) -> None:
        """Show the present state; ``what`` as of ``Panel``."""
        if what not in FOLLOWED:
            return
        if slicer.mrmlScene.IsClosing():
            self._editor.letGo()
            # Work on the nodes that go is cancelled, and never calls back.
            self._busy, self._job, self._again = False, None, False
            self._take(None)
        elif slicer.mrmlScene.IsImporting():
            self._editor.letGo()  # Slicer's widget would go on with whatever comes first in the scene
            self._take(None)
        elif self.parameters is not None:
            self._take(self.parameters.inputVolume)

    def cleanup(self) -> None:
        """Leave no timer, no editor and no request behind."""
        self._timer.stop()
        if self._job is not None:
            self._job.cancel()
        self.logic.correction.onEdit = None
        self._editor.remove()
        super().cleanup()

    # ------------------------------------------------------------------------------------- the state

    def _take(self, volume: Any) -> None:
        """Show another volume, result or copy; a slider of another section changes none of them."""
        self._editor.letGoOfLost(self._copy)
        self._volume = volume
        self._result = self.logic.resultOf(volume)
        self._copy = correctedOf(volume) if volume is not None else None
        fused = self._result.fused if self._result is not None else None
        answers = answersOf(self._result) if self._result is not None else ()
        nodes = tuple(node.GetID() if node is not None else None for node in (volume, fused, self._copy))
        shown = (*nodes, answers)
        if shown != self._shown:
            self._shown, self._problem = shown, ""
            self.logic.correction.watch(self._copy)
            self._fill()
            self._timer.start(0)
        self._show()

    def _fill(self) -> None:
        if self._result is not None:
            starts = startsOf(self._copy) if self._copy is not None else {}
            self._table.fill(self._result.table, answersOf(self._result), starts)
        else:
            self._table.fill(tableOf(self._copy) if self._copy is not None else None, (), {})
        self.ui.changedLabel.text = ""

    def _show(self) -> None:
        ui, there = self.ui, self._copy is not None
        editing = there and self._editor.edits(self._copy)
        ui.startsTable.visible = there or self._result is not None
        ui.startButton.text = _("Continue correcting") if there else _("Start correcting")
        ui.startButton.visible = not editing
        ui.startButton.enabled = not self._busy and (there or self._result is not None)
        ui.newCopyButton.visible = there and self._result is not None
        ui.newCopyButton.enabled = not self._busy
        ui.segmentEditorButton.enabled = there
        ui.changedLabel.visible = bool(ui.changedLabel.text)
        ui.messageLabel.text = self._message(editing=editing)
        self._editor.setVisible(editing and not self._folded)

    def _message(self, *, editing: bool) -> str:
        if self._problem:
            return self._problem
        if self._busy:
            return _("The labels are put together ...")
        if self._copy is not None:
            text = _("You are correcting {name}.") if editing else _("There is a corrected copy: {name}.")
            return " ".join([text.format(name=self._copy.GetName()), *self._lost(), *self._olderAnswer()])
        if self._result is not None:
            return _("Choose what each label starts from. The model's answers stay as they are.")
        if self._volume is not None:
            return _("Segment the chosen volume first; then its result can be corrected here.")
        return _("Choose a volume in the section Segment.")

    def _lost(self) -> list[str]:
        """Say which labels lost voxels when the copy was put together from different answers."""
        text = _("{count} voxels of {label} went to other labels that claimed them too.")
        lost = lostOf(self._copy)
        return [text.format(count=count, label=label) for label, count in lost.items()]

    def _olderAnswer(self) -> list[str]:
        """Say that the copy began with an answer that is no longer the newest one."""
        original = originalsOf(self._copy).get(FUSED)
        if self._result is None or original is None or original is self._result.fused:
            return []
        return [_("It began with an earlier answer; a new copy begins with the present one.")]

    # ------------------------------------------------------------------------------------ the buttons

    def _onStart(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002 (a Qt signal)
        if self._copy is not None:
            self._edit(self._copy)
        else:
            self._start(anew=False)

    def _onNewCopy(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002 (a Qt signal)
        self._start(anew=True)

    def _onSegmentEditor(self, _checked: bool = False) -> None:  # noqa: FBT001, FBT002 (a Qt signal)
        if self._copy is not None:
            presetSegmentEditor(self._copy, self._volume)
            slicer.util.selectModule("SegmentEditor")

    def _start(self, *, anew: bool) -> None:
        result = self.logic.resultOf(self._volume)
        if result is None or self._busy:
            self._take(self._volume)
            return
        self._busy, self._problem = True, ""
        self._show()
        try:
            self.logic.correction.startLater(
                result, self._table.starts(), anew=anew, onFinished=self._started, onFailed=self._failed
            )
        except CRGLoCoError as error:
            self._failed(error)

    def _started(self, copy: Any) -> None:
        self._busy = False
        self._take(self._volume)
        if copy is self._copy:  # else the user has chosen another volume meanwhile
            self._edit(copy)

    def _failed(self, error: Exception) -> None:
        self._busy, self._problem = False, str(error)
        self._show()

    def _edit(self, copy: Any) -> None:
        self._editor.edit(copy, self._volume)
        self._show()

    # ------------------------------------------------------------------------------------ the changes

    def _onEdit(self) -> None:
        self._timer.start(COUNT_AFTER_MS)

    def _count(self) -> None:
        """Count what was changed, in a thread; one count at a time."""
        if self._job is not None:
            self._again = True
            return
        self._again = False
        copy = self._copy
        if copy is None or not slicer.mrmlScene.IsNodePresent(copy):
            return
        try:
            self._job = self.logic.correction.changed(
                copy,
                lambda changes: self._counted(copy, changes),
                lambda error: self._counted(copy, None, str(error)),
            )
        except CRGLoCoError as error:
            self._counted(copy, None, str(error))

    def _counted(self, copy: Any, changes: Changes | None, problem: str = "") -> None:
        self._job = None
        if copy is self._copy:
            self._table.showChanges(changes)
            text = _("Changed since prediction: {amount}")
            amount = amountText(changes.ml, changes.voxels) if changes is not None else ""
            self.ui.changedLabel.text = text.format(amount=amount) if amount else problem
            self.ui.changedLabel.visible = bool(self.ui.changedLabel.text)
        if self._again:
            self._count()
