"""The cases folder: what is in it, which case comes next, into the scene and back as accepted labels."""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from crgloco.channels import in_same_order
from crgloco.errors import Cancelled, CasesError, InputError, ModelError
from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.background.worker import computing
from CRGLoCoSegmentLib.logic.batch import Batch, BatchOutcome
from CRGLoCoSegmentLib.logic.case_accepting import (
    Label,
    imagesOf,
    labelOf,
    refuseMoved,
    transformNotes,
    writeLabel,
)
from CRGLoCoSegmentLib.logic.case_list import CaseList
from CRGLoCoSegmentLib.logic.case_loading import CaseInScene, LoadedCase
from CRGLoCoSegmentLib.logic.case_rows import (
    CaseRow,
    byUsefulness,
    nameProblem,
    proposedName,
    toPredict,
    withLabel,
    withPrediction,
)
from CRGLoCoSegmentLib.logic.label_rescue import KEPT, keepUnlessArrived
from CRGLoCoSegmentLib.logic.listeners import Listeners
from CRGLoCoSegmentLib.logic.task import Task
from CRGLoCoSegmentLib.nodes import cases as nodes
from CRGLoCoSegmentLib.nodes.places import markPlace, placeOf
from CRGLoCoSegmentLib.nodes.results import Result, correctedOf, isEdited, resultOf, volumeOf

ARRIVAL_S = 2.0  # that a label on its way is waited for when Slicer closes


class CasesLogic(CaseList):
    """The growing set of labelled cases; everything long happens in the workers or in a thread.

    Args:
        files: Worker for files.
        compute: Worker that holds the model.
        settings: Holds ``casesFolder``, ``annotator``, ``device`` and ``memoryGb``.
        listeners: Hear ``"cases"``, ``"batch"`` and, when a case came into the scene, ``"result"``.
        models: The models of this computer.

    Attributes:
        batch: Predicts many cases.
        onArriving: Hears the volume of a case that was loaded before the former case goes: who goes over to
            it now can keep what is shown of a case, as the comparison.
    """

    def __init__(self, *, files: Any, compute: Any, settings: Any, listeners: Listeners, models: Any) -> None:
        super().__init__(files=files, settings=settings, listeners=listeners, models=models)
        self._scene = CaseInScene(files=files)
        self.onArriving: Callable[[Any], None] | None = None
        self.batch = Batch(compute=compute, listeners=listeners)
        self._onItsWay: dict[Task, Label] = {}  # one at most
        self._turns = 0  # of cases that the user wanted to see
        self._isClosing = False

    # ------------------------------------------------------------------------------- into the scene

    @property
    def loaded(self) -> LoadedCase | None:
        """The case that was loaded last, as long as it is in the scene."""
        return self._scene.loaded

    @property
    def isLoading(self) -> bool:
        """Whether a case is on its way into the scene."""
        return self._scene.isLoading

    def caseOf(self, volumeNode: Any) -> str | None:
        """Return which case of the folder a volume is, also after its scene was loaded; else ``None``."""
        return nodes.caseOf(volumeNode, self.folder)

    def hasUnsavedCorrection(self, volumeNode: Any = None) -> bool:
        """Whether a volume, by default the loaded case's, has a correction that was not accepted."""
        return self._scene.hasUnsavedCorrection(volumeNode)

    def load(
        self,
        name: str,
        *,
        discardUnsaved: bool = False,
        onProgress: Any = None,
        onFinished: Any = None,
        onFailed: Any = None,
    ) -> Task:
        """Bring a case into the scene: image, prediction, label; the case loaded before goes.

        The user's other nodes stay, and so does the former case if its correction was not accepted.

        Args:
            name: Of the case.
            discardUnsaved: Take the former case away in any event; ask the user before.
            onProgress: Hears ``(text, done, total, secondsLeft)``.
            onFinished: Hears the ``LoadedCase``.
            onFailed: Hears a message in words and details.

        Raises:
            CasesError: No cases folder is chosen.
        """
        task = Task(name, onProgress=onProgress, onFinished=onFinished, onFailed=onFailed)
        self._turns += 1
        self._load(name, task, discardUnsaved=discardUnsaved)
        return task

    def isOfAnotherModel(self, loaded: LoadedCase) -> bool:
        """Whether a case without a label came with the prediction of a model that is not the one in use."""
        if loaded.result is None or loaded.revision:
            return False
        try:
            now = self._models.card().weights_sha256
        except ModelError:
            return False
        return bool(loaded.result.record.get("model", now) != now)

    def mostUseful(self) -> CaseRow | None:
        """Return the predicted case most worth correcting next; neither for validation nor loaded."""
        inScene = self._nameInScene()
        return next((row for row in byUsefulness(self.rows) if row.name != inScene), None)

    def loadNext(
        self,
        *,
        discardUnsaved: bool = False,
        onProgress: Any = None,
        onFinished: Any = None,
        onFailed: Any = None,
        **how: Any,
    ) -> Task:
        """Load the most useful case; where nothing was predicted yet, predict first.

        Arguments: see ``load``; ``how`` to predict as of ``predictAll``.

        Raises:
            CasesError: No cases folder is chosen, or all cases have a label.
        """
        self._chosenFolder()
        task = Task(_("Next case"), onProgress=onProgress, onFinished=onFinished, onFailed=onFailed)
        self._turns += 1
        row, waiting = self.mostUseful(), self._withoutLabel()
        if row is None and not waiting:
            raise CasesError(_("Every case of the folder has a label. Add cases, or fine-tune with these."))
        if row is not None or self._models.current is None:
            self._load(row.name if row is not None else waiting[0], task, discardUnsaved=discardUnsaved)
            return task

        turn, edits = self._turns, self._scene.edits()

        def ranked(outcome: BatchOutcome) -> None:
            best = self.mostUseful()
            if turn != self._turns:
                # What the user said then was meant for the case of then.
                task.fail(CasesError(_("Another case was chosen meanwhile; the list tells the most useful.")))
            elif best is None:
                task.fail(CasesError(outcome.inWords()))
            else:
                # Predicting takes minutes, and what was drawn meanwhile nobody wanted to be discarded.
                mayGo = discardUnsaved and self._scene.edits() == edits
                self._load(best.name, task, discardUnsaved=mayGo)

        self._predictFor(task, ranked, **how)
        return task

    def _load(self, name: str, task: Task, *, discardUnsaved: bool) -> None:
        folder = self._chosenFolder()
        ended = functools.partial(self._loadEnded, task)
        self._scene.load(
            folder, name, task, discardUnsaved=discardUnsaved, onArriving=self.onArriving, onEnd=ended
        )
        self._listeners.tell("cases")

    def _loadEnded(self, task: Task) -> None:
        self._listeners.tell("cases")
        if task.state == "done":
            self._listeners.tell("result")

    def _withoutLabel(self) -> tuple[str, ...]:
        inScene = self._nameInScene()
        return tuple(name for name in toPredict(self.rows) if name != inScene)

    def _nameInScene(self) -> str | None:
        """Name the case of this folder that is loaded; another folder may have one of the same name."""
        loaded = self.loaded
        return loaded.name if loaded is not None and loaded.folder == self.folder else None

    # ------------------------------------------------------------------------------------ predictions

    def predictAll(
        self,
        *,
        names: Iterable[str] | None = None,
        quality: str = "balanced",
        keepIslands: bool = False,
        onProgress: Any = None,
        onFinished: Any = None,
        onFailed: Any = None,
    ) -> Task:
        """Predict all cases without a label, or the named ones, with the current model.

        ``quality`` and ``keepIslands`` as of ``SegmentLogic.segment``, callbacks as of ``Batch.start``.

        Raises:
            CasesError: No cases folder is chosen, every case has a label, or a batch is under way.
            ModelError: There is no model, or its channels are not those of the folder, in that order.
        """
        folder, model = self._chosenFolder(), self._models.resolve()
        wanted = tuple(names) if names is not None else toPredict(self.rows)
        if not wanted:
            raise CasesError(_("There is no case to predict: every case of the folder has a label."))
        self._assertSameChannels(model)
        how = {"model": str(model), "quality": quality, "keep_islands": keepIslands}
        task = self.batch.start(
            folder,
            wanted,
            how | computing(self._settings),
            onCase=lambda name, record: self._casePredicted(folder, name, record),
            onProgress=onProgress,
            onFinished=onFinished,
            onFailed=onFailed,
        )
        task.onEnd(lambda: self._batchEnded(folder))
        return task

    def rank(
        self, *, onProgress: Any = None, onFinished: Any = None, onFailed: Any = None, **how: Any
    ) -> Task:
        """Order the cases without a label by the benefit of correcting them; the value is a tuple of rows.

        What is not predicted yet is predicted first, ``how`` as of ``predictAll``.

        Raises:
            CasesError: As of ``predictAll``.
            ModelError: There is no model.
        """
        task = Task(_("Ranking"), onProgress=onProgress, onFinished=onFinished, onFailed=onFailed)
        self._predictFor(task, lambda _outcome: task.finish(byUsefulness(self.rows)), **how)
        return task

    def _assertSameChannels(self, model: Path) -> None:
        """Refuse a model whose channels have other names or another order; their number is the worker's."""
        wanted, found = self._models.card(model).channel_names, self.channelNames
        if len(wanted) != len(found) or in_same_order(wanted, found):
            return
        msg = _(
            "The model expects the channels {wanted}; the cases of this folder have {found}. Choose a model "
            "with the channels of the folder in the same order. If the order alone differs, load a case "
            "and segment it by itself: there the names tell the channels apart."
        )
        raise ModelError(msg.format(wanted=", ".join(wanted), found=", ".join(found)))

    def _predictFor(self, task: Task, onFinished: Callable[[BatchOutcome], None], **how: Any) -> None:
        """Predict all cases without a label as the first part of a task."""
        predicting = self.predictAll(
            **how,
            onProgress=lambda text, done, total, left: task.progress(text, done, total, secondsLeft=left),
            onFinished=onFinished,
            onFailed=lambda message, _details: task.fail(Cancelled(message)),
        )
        task.onCancel(predicting.cancel)

    def _casePredicted(self, folder: Path, name: str, record: dict[str, Any]) -> None:
        if folder == self.folder:
            self.rows = withPrediction(self.rows, name, record)
            self._listeners.tell("cases")

    def _batchEnded(self, folder: Path) -> None:
        """Look at what the folder has now: a case whose turn was cut short, what others predicted there."""
        if folder == self.folder and not self._isClosing:
            self.refresh()

    # ----------------------------------------------------------------------------------------- accept

    @property
    def isAccepting(self) -> bool:
        """Whether a label is on its way into the folder."""
        return any(task.isRunning() for task in self._onItsWay)

    def proposedName(self) -> str:
        """Return a name for a new case that says nothing about a patient."""
        return proposedName(row.name for row in self.rows)

    def acceptable(self, what: Any = None) -> tuple[Any, Any]:
        """Return the segmentation that would be accepted and its volume; ``None`` where there is none.

        Args:
            what: A result, a segmentation, a volume, or ``None`` for the loaded case.
        """
        if what is None:
            what = self.loaded.volume if self.loaded is not None else None
        if isinstance(what, Result):
            return what.corrected or what.fused, what.volume
        if not nodes.isInScene(what):
            return None, None
        if what.IsA("vtkMRMLSegmentationNode"):
            return what, volumeOf(what)
        result = resultOf(what)
        return correctedOf(what) or (result.fused if result is not None else None), what

    def chosenAs(self, volumeNodes: Sequence[Any]) -> tuple[str, ...]:
        """Return as which channels volumes are chosen in the panel; empty where it names none."""
        try:
            wanted = self._models.card().channel_names
        except ModelError:  # a label needs no model
            wanted = ()
        return nodes.channelNamesOf(volumeNodes, wanted)

    def isAccepted(self, segmentationNode: Any) -> bool:
        """Whether the folder has a segmentation as it is now; unknown counts as no."""
        return segmentationNode is not None and self._scene.isAccepted(segmentationNode)

    def isCorrected(self, segmentationNode: Any) -> bool:
        """Whether a segmentation is more than a model's answer as it came."""
        if segmentationNode is None:
            return False
        result = resultOf(volumeOf(segmentationNode))
        return result is None or segmentationNode is not result.fused or isEdited(segmentationNode)

    def accept(
        self,
        what: Any = None,
        *,
        caseName: str = "",
        annotator: str = "",
        channels: Sequence[Any] = (),
        channelNames: Sequence[str] = (),
        onProgress: Any = None,
        onFinished: Any = None,
        onFailed: Any = None,
    ) -> Task:
        """Write a label into the cases folder as a new revision; the value of the task is ``Accepted``.

        Nothing is lost if that fails: the segmentation stays in the scene, as not accepted. If the scene is
        closed meanwhile, the label is kept in a file of its own, and the message says where.

        Args:
            what: A result, a segmentation or a volume with one; by default the loaded case.
            caseName: Of a case that the folder does not have yet; never a patient's name.
            annotator: A role such as ``"radiologist"``, never a name; from the settings if none is given.
            channels: Volumes of the further channels of a new case.
            channelNames: Which channel the volume and the further ones are; by default those of the folder,
                in its order.
            onProgress: Hears ``(text, done, total, secondsLeft)``.
            onFinished: Hears what was ``Accepted``.
            onFailed: Hears a message in words and details.

        Raises:
            CasesError: No cases folder is chosen or it has no labels, a label is being written, or the
                name does not do.
            InputError: There is nothing to accept, it cannot be written as it is, or its volume was moved.
            LabelError: The labels contradict the folder's.
        """
        folder, table = self._chosenFolder(), self._chosenTable()
        if self.isAccepting:
            raise CasesError(_("A label is being written. Wait for it."))
        segmentation, volume = self.acceptable(what)
        if segmentation is None or volume is None:
            raise InputError(_("There is no label to accept. Segment the volume, or load a case."))
        case, isNew = self._caseFor(volume, caseName)
        role = annotator or str(self._settings.get("annotator", ""))
        images = imagesOf((volume, *channels), self.channelNames, channelNames) if isNew else ()
        stamp = nodes.editStamp(segmentation)
        refuseMoved(segmentation, volume, isNew=isNew)
        label = replace(labelOf(segmentation, volume, case, table, annotator=role), images=images)
        task = Task(case, onProgress=onProgress, onFinished=onFinished, onFailed=onFailed)
        task.notes += transformNotes(volume)
        self._onItsWay = {task: label}
        place = placeOf(volume) if isNew else None  # when it has arrived, the volume may lie elsewhere

        def ended() -> None:
            if task.state == "done" and nodes.isInScene(volume):
                nodes.markCase(volume, task.value.case, folder)  # whatever folder is open by now
                if place is not None:
                    markPlace(volume, place)
            self._acceptEnded(task, folder, segmentation, stamp)

        task.onEnd(ended)
        # When Slicer closes, ``shutDown`` keeps it: a thread of ours would not live to its end.
        isSafe = lambda: self._isClosing or nodes.isInScene(segmentation)  # noqa: E731
        writeLabel(self._files, folder, label, task, isSafe)
        self._listeners.tell("cases")
        return task

    def _chosenFolder(self) -> Path:
        if self.folder is None:
            raise CasesError(_("No cases folder is chosen. Open one, or make a new one."))
        return self.folder

    def _chosenTable(self) -> LabelTable:
        if self.isReading and self.table is None:
            raise CasesError(_("The cases folder is being read. Try again in a moment."))
        if self.table is None:
            reason = self.problem or _("{folder} has no label table.").format(folder=self.folder)
            msg = _("{reason} Open another cases folder, or make a new one.")
            raise CasesError(msg.format(reason=reason))
        return self.table

    def _caseFor(self, volumeNode: Any, given: str) -> tuple[str, bool]:
        """Return the name of a volume's case, and whether it is new in the folder."""
        known = self.caseOf(volumeNode)
        if known is not None and self.row(known) is not None:
            return known, False
        name = given or known or ""
        problem = nameProblem(name, [row.name for row in self.rows])
        if problem:
            raise CasesError(problem)
        return name, True

    @property
    def keepsWord(self) -> bool:
        """Whether ``keptLabel`` has something to say."""
        return bool(self._settings.get(KEPT, ""))

    def keptLabel(self) -> str:
        """Say, once, where a label is kept that was on its way when Slicer was closed; else nothing."""
        text = str(self._settings.get(KEPT, ""))
        if text:
            self._settings.set(KEPT, None)
        return text

    def _acceptEnded(self, task: Task, folder: Path, segmentation: Any, stamp: tuple[Any, ...]) -> None:
        self._onItsWay.clear()
        if task.state == "done":
            self._scene.accepted(segmentation, stamp)
            if folder == self.folder:  # who loads the next case does so before the folder is read again
                self.rows = withLabel(self.rows, task.value.case, task.value.revision)
            self.refresh()
        else:
            self._listeners.tell("cases")

    # ------------------------------------------------------------------------------------------- life

    def sceneClosed(self) -> None:
        """The nodes are gone; a batch and a label on its way go on, they need no scene."""
        self._turns += 1
        self._scene.sceneClosed()

    def shutDown(self) -> None:
        """End all work; a label on its way gets a moment to arrive, else it is kept in a file."""
        self._isClosing = True
        self._scene.cancel()
        self.batch.cancel()
        onItsWay = {task: (label.now, label.case) for task, label in self._onItsWay.items()}
        keepUnlessArrived(onItsWay, self._settings, ARRIVAL_S)
