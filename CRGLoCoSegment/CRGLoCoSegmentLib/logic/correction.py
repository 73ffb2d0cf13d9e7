"""Corrected copies of results: put together label by label, edited, and compared with where they started."""

from collections.abc import Callable, Mapping
from typing import Any

from slicer.i18n import tr as _

from crgloco.errors import InputError
from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.background.threads import ThreadJob, runInThread
from CRGLoCoSegmentLib.logic.listeners import Listeners
from CRGLoCoSegmentLib.nodes import corrections as nodes
from CRGLoCoSegmentLib.nodes.cases import editStamp
from CRGLoCoSegmentLib.nodes.changes import Changes, labelChanges
from CRGLoCoSegmentLib.nodes.composition import FUSED, Composition, compose
from CRGLoCoSegmentLib.nodes.export import comparableLabels, voxelMl
from CRGLoCoSegmentLib.nodes.geometry import geometryOfNode
from CRGLoCoSegmentLib.nodes.images import Array
from CRGLoCoSegmentLib.nodes.label_tables import tableOf
from CRGLoCoSegmentLib.nodes.results import Result, correctedOf, volumeOf
from CRGLoCoSegmentLib.nodes.snapshots import Snapshot, snapshotOf
from CRGLoCoSegmentLib.views import display_memory

OnChanged = Callable[[Changes], None]
OnError = Callable[[Exception], None]


class Correction:
    """Makes and watches the copies that users edit; what the model answered is never changed.

    Args:
        listeners: Told ``"corrected"`` when there is another copy.

    Attributes:
        onEdit: Called whenever the copy that is watched has changed.
    """

    def __init__(self, *, listeners: Listeners) -> None:
        self._listeners = listeners
        self._watched: Any = None
        self._stops: list[Callable[[], None]] = []
        self._jobs: list[ThreadJob] = []
        self._known: dict[Any, Array] = {}
        self.onEdit: Callable[[], None] | None = None

    # ------------------------------------------------------------------------------------- the copies

    def start(self, result: Result, starts: Mapping[str, str] | None = None, *, anew: bool = False) -> Any:
        """Return the copy of a result that is to be edited: the one that is there, or a new one.

        Args:
            result: What is corrected.
            starts: Name of a label -> ``"fused"``, ``"global"`` or ``"local"``; fused for the others. Where
                labels of different answers claim one voxel, see ``nodes.composition``.
            anew: Make a new copy ("... corrected 2") although there is one; that one stays as it is.

        Raises:
            OptionError: A label or an answer that the result does not have.
        """
        existing = correctedOf(result.volume)
        if existing is not None and not anew:
            self.watch(existing)
            return existing
        chosen = nodes.checkedStarts(result, starts)
        return self._finish(result, chosen, _composition(_answers(result, chosen), result.table, chosen))

    def startLater(
        self,
        result: Result,
        starts: Mapping[str, str] | None = None,
        *,
        anew: bool = False,
        onFinished: Callable[[Any], None],
        onFailed: OnError,
    ) -> None:
        """As ``start``, but the labels are put together in a thread; ``onFinished`` hears the copy."""
        existing = correctedOf(result.volume)
        if existing is not None and not anew:
            onFinished(self.start(result))
            return
        chosen, table = nodes.checkedStarts(result, starts), result.table
        answers = _answers(result, chosen)

        def finish(composed: Composition) -> None:
            try:
                node = self._finish(result, chosen, composed)
            except InputError as error:
                onFailed(error)
            else:
                onFinished(node)

        self._run(lambda: _composition(answers, table, chosen), finish, onFailed)

    def _finish(self, result: Result, starts: Mapping[str, str], composed: Composition) -> Any:
        scene = result.volume.GetScene()
        if scene is None or result.fused.GetScene() is None:
            raise InputError(_("The volume or its result was deleted meanwhile. Segment the volume again."))
        node = nodes.newCorrection(result, composed, starts)
        # What is erased in the copy would still be seen in the answer beneath it.
        if result.fused.GetDisplayNode() is not None:  # somebody may have deleted it
            display_memory.restore(result.fused.GetDisplayNode())
            result.fused.GetDisplayNode().SetVisibility(False)  # noqa: FBT003 (VTK knows no keywords)
        self.watch(node)
        self._listeners.tell("corrected")
        return node

    # ------------------------------------------------------------------------------------ the changes

    def changed(self, correctedNode: Any, onChanged: OnChanged, onFailed: OnError) -> ThreadJob | None:
        """Compare a copy with the answers that it started from, in a thread.

        Args:
            correctedNode: A copy made here.
            onChanged: Hears the ``Changes`` on the main thread.
            onFailed: Hears why they cannot be told.

        Returns:
            What can be cancelled; ``None`` if the node is no copy of a prediction, or that is gone.

        Raises:
            GeometryError: The copy no longer lies on the volume's grid.
        """
        question = self._question(correctedNode)
        return None if question is None else self._run(question, onChanged, onFailed)

    def changes(self, correctedNode: Any) -> Changes | None:
        """As ``changed``, waiting for it: for scripts."""
        question = self._question(correctedNode)
        return None if question is None else question()

    def _question(self, correctedNode: Any) -> Callable[[], Changes] | None:
        """Take what is to be compared; the answer of the question may be worked out in any thread.

        The model's answers do not change, so their labels are found once and kept while they are asked for.
        """
        table, volume = tableOf(correctedNode), volumeOf(correctedNode)
        starts, originals = nodes.startsOf(correctedNode), nodes.originalsOf(correctedNode)
        wanted = sorted(set(starts.values()))
        if table is None or volume is None or not wanted or not set(wanted) <= set(originals):
            return None
        now, place = snapshotOf(correctedNode, volume, copy=False), geometryOfNode(volume)
        stamps = {kind: (editStamp(originals[kind]), place) for kind in wanted}
        known = {stamp: self._known[stamp] for stamp in stamps.values() if stamp in self._known}
        missing = [kind for kind in wanted if stamps[kind] not in known]
        news = {kind: snapshotOf(originals[kind], volume, copy=False) for kind in missing}
        self._known = known

        def answer() -> Changes:
            known.update({stamps[kind]: comparableLabels(copy, table) for kind, copy in news.items()})
            before = {kind: known[stamp] for kind, stamp in stamps.items()}
            values = comparableLabels(now, table)
            return labelChanges(values, before, table, voxelMl=voxelMl(now), starts=starts)

        return answer

    # ---------------------------------------------------------------------------------- who listens

    def watch(self, correctedNode: Any) -> None:
        """Call ``onEdit`` for each change of this copy from now on."""
        if correctedNode is self._watched:
            return
        for stop in self._stops:
            stop()
        self._watched, self._stops = correctedNode, []
        if correctedNode is not None:
            self._stops = [
                nodes.observeEdits(correctedNode, self._edited),
                nodes.observeRemoval(correctedNode, self._removed),
            ]

    def _edited(self) -> None:
        if self.onEdit is not None:
            self.onEdit()

    def _removed(self) -> None:
        self.watch(None)
        self._listeners.tell("corrected")

    def shutDown(self) -> None:
        """Listen to nothing any more, and wait for nothing."""
        self.watch(None)
        for job in self._jobs:
            job.cancel()
        self._jobs, self._known = [], {}

    sceneClosed = shutDown

    def _run(
        self, function: Callable[[], Any], onDone: Callable[[Any], None], onFailed: OnError
    ) -> ThreadJob:
        self._jobs = [job for job in self._jobs if not job.isOver]
        self._jobs.append(runInThread(function, onDone, onFailed))
        return self._jobs[-1]


def _answers(result: Result, starts: Mapping[str, str]) -> dict[str, Snapshot]:
    """Take the answers that labels start from; fused decides where labels of others claim one voxel."""
    return {
        kind: snapshotOf(result.segmentation(kind), result.volume, copy=False)
        for kind in sorted({FUSED, *starts.values()})
    }


def _composition(
    answers: Mapping[str, Snapshot], table: LabelTable, starts: Mapping[str, str]
) -> Composition:
    return compose({kind: comparableLabels(answer, table) for kind, answer in answers.items()}, table, starts)
