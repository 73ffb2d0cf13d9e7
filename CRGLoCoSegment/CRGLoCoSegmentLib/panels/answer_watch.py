"""Watches whether the volume that is shown is still the one that was segmented."""

from collections.abc import Callable
from typing import Any

import slicer
import vtk

from CRGLoCoSegmentLib.logic.answer_remark import answerRemark
from CRGLoCoSegmentLib.panels.timers import timerOf

LOOK_AFTER_MS = 300
MOVED = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
OF_VOLUME = (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, MOVED)
OF_ANSWER = (MOVED,)


class AnswerWatch:
    """Finds another frame of a sequence, a filter's work or a move beneath an answer.

    Looking takes some milliseconds: it happens a moment after a change, once for all of that moment.

    Args:
        widget: The timer ends with it.
        onChange: Told when there is another ``remark``.

    Attributes:
        remark: Why the answer is not about what is seen now; empty if it is, or if there is none.
    """

    def __init__(self, widget: Any, onChange: Callable[[], None]) -> None:
        self._onChange = onChange
        self._timer = timerOf(widget, self._look)
        self._result: Any = None
        self._heard: list[tuple[Any, int]] = []
        self.remark = ""

    def watch(self, result: Any) -> None:
        """Look at this result now, and again at every change of its volume; ``None`` ends that.

        One that is watched already is not looked at again: panels ask at every move of a slider.
        """
        if self._heard and result is not None and _nodes(result) == _nodes(self._result):
            return
        self.stop()
        self._result = result
        self.remark = answerRemark(result) if result is not None else ""
        if result is not None:
            self._listen(result.volume, *OF_VOLUME)
            self._listen(result.fused, *OF_ANSWER)

    def stop(self) -> None:
        """Look no more; the remark stays as it is."""
        for node, tag in self._heard:
            node.RemoveObserver(tag)
        self._heard = []
        self._timer.stop()

    def _listen(self, node: Any, *events: int) -> None:
        self._heard += [(node, node.AddObserver(event, self._changed)) for event in events]

    def _changed(self, _node: Any, _event: str) -> None:
        if not self._timer.isActive():  # while a sequence is played, too
            self._timer.start(LOOK_AFTER_MS)

    def _look(self) -> None:
        before, self.remark = self.remark, answerRemark(self._result)
        if self.remark != before:
            self._onChange()


def _nodes(result: Any) -> tuple[Any, Any]:
    return result.volume, result.fused
