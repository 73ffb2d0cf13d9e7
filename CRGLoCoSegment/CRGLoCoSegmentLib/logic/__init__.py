"""Everything the panel does, for scripts: segment, compare, correct, export, accept, rank, fine-tune."""

import logging
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CRGLoCoSegmentLib.logic.listeners import Listeners

if TYPE_CHECKING:
    from CRGLoCoSegmentLib.background.worker import Worker
    from CRGLoCoSegmentLib.logic.cases import CasesLogic
    from CRGLoCoSegmentLib.logic.correction import Correction
    from CRGLoCoSegmentLib.logic.environment import Environment
    from CRGLoCoSegmentLib.logic.label_export import LabelExport
    from CRGLoCoSegmentLib.logic.models import Models
    from CRGLoCoSegmentLib.logic.segmentation import Segmentation
    from CRGLoCoSegmentLib.logic.task import Task
    from CRGLoCoSegmentLib.logic.training import Training
    from CRGLoCoSegmentLib.logic.training_job import TrainingJob
    from CRGLoCoSegmentLib.nodes.results import Result
    from CRGLoCoSegmentLib.settings import Settings
    from CRGLoCoSegmentLib.views.compare import CompareView

log = logging.getLogger("CRGLoCoSegment")

PATIENCE_S = 4.0  # for everything together; killing takes its time, too
WORKERS_S = 0.8  # that the workers get at least


class SegmentLogic:
    """The one door for scripts and panels; knows no widget and works without a main window.

    Nothing is started by making one: the worker processes start with the first request, and each
    part is imported when it is first used.

    Example:
        Segment a volume, look at the two answers, and export the label::

            logic = CRGLoCoSegmentLogic()
            volume = slicer.util.loadVolume("/data/scan.nii.gz")
            result = logic.segment(volume, quality="balanced", waitForCompletion=True)
            print(result.record["volumes_ml"], result.record["mean_confidence"])
            logic.compare(result)                                        # side by side, if there are views
            corrected = logic.correct(result)                            # a copy for the Segment Editor
            logic.exportLabel(corrected, volume, "/data/scan_label.nii.gz", waitForCompletion=True)
            logic.cases.create("/data/cases").wait()                     # a folder for labelled cases
            logic.acceptLabel(result, caseName="case_01", waitForCompletion=True)
            job = logic.startTraining(title="Ours", casesFolder="/data/cases",
                                      startModel=logic.models.current, iterations=200)
            logic.training.wait(job)
            logic.shutDown()                                             # else with Slicer

        Without waiting, the same call returns a task at once; callbacks run on the main thread::

            task = logic.segment(volume, onProgress=print, onFinished=print, onFailed=print)
            task.cancel()

    Args:
        compute: Worker that holds the model; segments, predicts, ranks, estimates.
        files: Worker that reads and writes files, so that these never wait behind a prediction.
        checker: Worker that checks cases before a training.
        prober: Worker that tells what torch and the graphics card say.
        settings: What belongs to this computer.
        view: The side-by-side comparison.

    Attributes:
        listeners: Hear what changed: see ``CRGLoCoSegmentLib.logic.listeners.NOTICES``.
    """

    def __init__(
        self,
        *,
        compute: "Worker | None" = None,
        files: "Worker | None" = None,
        checker: "Worker | None" = None,
        prober: "Worker | None" = None,
        settings: "Settings | None" = None,
        view: "CompareView | None" = None,
    ) -> None:
        self.listeners = Listeners()
        given = {
            "compute": compute, "files": files, "checker": checker, "prober": prober, "settings": settings,
            "view": view,
        }  # fmt: skip
        # A cached_property is only asked for what the instance does not hold yet.
        self.__dict__.update({name: value for name, value in given.items() if value is not None})

    # ------------------------------------------------------------------------------------- the parts

    @cached_property
    def settings(self) -> "Settings":
        """What belongs to this computer."""
        from CRGLoCoSegmentLib.settings import Settings

        return Settings()

    @cached_property
    def compute(self) -> "Worker":
        """The worker process that holds the model."""
        from CRGLoCoSegmentLib.background.worker import Worker

        return Worker("compute")

    @cached_property
    def files(self) -> "Worker":
        """The worker process for files; it never waits behind a prediction."""
        from CRGLoCoSegmentLib.background.worker import Worker

        return Worker("files")

    @cached_property
    def checker(self) -> "Worker":
        """The worker process that reads all cases before a training: it takes minutes, nobody else waits."""
        from CRGLoCoSegmentLib.background.worker import Worker

        return Worker("check")

    @cached_property
    def prober(self) -> "Worker":
        """The worker process that looks at torch and the graphics card: of a cold disk, for a minute."""
        from CRGLoCoSegmentLib.background.worker import Worker

        return Worker("probe")

    @cached_property
    def models(self) -> "Models":
        """The models on this computer and which one is current."""
        from CRGLoCoSegmentLib.logic.models import Models

        return Models(self.resourcesFolder() / "Models", settings=self.settings, files=self.files,
                      listeners=self.listeners)  # fmt: skip

    @cached_property
    def segmentation(self) -> "Segmentation":
        """Segments volumes of the scene."""
        from CRGLoCoSegmentLib.logic.segmentation import Segmentation

        return Segmentation(compute=self.compute, settings=self.settings, models=self.models,
                            listeners=self.listeners)  # fmt: skip

    @cached_property
    def labelExport(self) -> "LabelExport":
        """Writes labels to files."""
        from CRGLoCoSegmentLib.logic.label_export import LabelExport

        return LabelExport(files=self.files, settings=self.settings)

    @cached_property
    def view(self) -> "CompareView":
        """The side-by-side comparison."""
        from CRGLoCoSegmentLib.logic.outline import outlineInThread
        from CRGLoCoSegmentLib.views.compare import CompareView

        return CompareView(outline=outlineInThread)

    @cached_property
    def correction(self) -> "Correction":
        """Corrected copies of results."""
        from CRGLoCoSegmentLib.logic.correction import Correction

        return Correction(listeners=self.listeners)

    @cached_property
    def environment(self) -> "Environment":
        """What this computer has and lacks."""
        from CRGLoCoSegmentLib.logic.environment import Environment

        return Environment(
            settings=self.settings,
            prober=self.prober,
            listeners=self.listeners,
            workers=(self.files, self.checker, self.compute),
            models=self.models,
        )

    @cached_property
    def cases(self) -> "CasesLogic":
        """The cases folder: states, next case, accept, batch."""
        from CRGLoCoSegmentLib.logic.cases import CasesLogic

        return CasesLogic(files=self.files, compute=self.compute, settings=self.settings,
                          listeners=self.listeners, models=self.models)  # fmt: skip

    @cached_property
    def training(self) -> "Training":
        """Fine-tuning in a child process."""
        from CRGLoCoSegmentLib.logic.training import Training

        return Training(settings=self.settings, listeners=self.listeners, models=self.models,
                        checker=self.checker)  # fmt: skip

    # ---------------------------------------------------------------------------------- the requests

    def segment(
        self,
        volumeNode: Any,
        model: Path | str | None = None,
        *,
        quality: str = "balanced",
        keepIslands: bool = False,
        device: str | None = None,
        channels: tuple[Any, ...] = (),
        waitForCompletion: bool = False,
        onProgress: Any = None,
        onFinished: Any = None,
        onFailed: Any = None,
    ) -> "Result | Task":
        """Segment a volume; the results are new nodes, nothing is replaced.

        Several requests wait for each other in the order they were made; a volume that is being
        segmented already is refused.

        Args:
            volumeNode: A scalar volume of the scene.
            model: A model's folder; the current model if none is given.
            quality: ``"fast"``, ``"balanced"`` or ``"full"``.
            keepIslands: Leave the islands of structures that were one piece in every label of the training.
            device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``; from the settings if none is given.
            channels: Volumes of a multi-channel model's further channels, in the card's order; those of a
                loaded case in any order, because they know their names.
            waitForCompletion: Return the ``Result`` instead of a ``Task``.
            onProgress: Hears ``(text, done, total, secondsLeft)``.
            onFinished: Hears the ``Result``.
            onFailed: Hears a message in words and details.

        Raises:
            InputError: The volume cannot be segmented.
            ModelError: The model is damaged or wants other channels.
            WorkerError: When waiting: the work failed, with the engine's words.
        """
        task = self.segmentation.segment(
            volumeNode, Path(model) if model else None, quality=quality, keepIslands=keepIslands,
            device=device, channels=channels, onProgress=onProgress, onFinished=onFinished, onFailed=onFailed,
        )  # fmt: skip
        return task.wait() if waitForCompletion else task

    def estimate(
        self,
        volumeNode: Any,
        model: Path | str | None = None,
        *,
        quality: str = "balanced",
        device: str | None = None,
        onResult: Any,
        onError: Any,
    ) -> "Task":
        """Ask what segmenting a volume will take; ``onResult`` hears ``Estimate.to_json()``."""
        return self.segmentation.estimate(
            volumeNode, Path(model) if model else None, quality=quality, device=device,
            onResult=onResult, onError=onError,
        )  # fmt: skip

    def remarks(self, volumeNode: Any) -> "list[str]":
        """Return what the user should know about a volume before it is segmented; nothing of it is wrong."""
        from CRGLoCoSegmentLib.nodes.inputs import remarks

        return remarks(volumeNode)

    def resultOf(self, volumeNode: Any) -> "Result | None":
        """Return the newest result of a volume, also one that was loaded with a scene."""
        from CRGLoCoSegmentLib.nodes.results import resultOf

        return resultOf(volumeNode)

    def compare(self, result: "Result", *, thirdPane: str = "none") -> bool:
        """Show global and local side by side; return whether there are views to show them in."""
        return self.view.show(result, thirdPane=thirdPane)

    def correct(self, result: "Result", starts: Any = None) -> Any:
        """Return the corrected copy of a result, made anew if there is none; see ``Correction``."""
        return self.correction.start(result, starts)

    def exportLabel(
        self, segmentationNode: Any, volumeNode: Any, path: Path | str, *, waitForCompletion: bool = False,
        onFinished: Any = None, onFailed: Any = None,
    ) -> "Path | Task":  # fmt: skip
        """Write a label to a file: ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha``, ``.seg.nrrd`` or ``.dcm``.

        Values follow the label table of the segmentation, whatever the order or names of the segments. A file
        that is there is replaced, unless it is the volume's own.
        """
        task = self.labelExport.write(
            segmentationNode, volumeNode, Path(path), onFinished=onFinished, onFailed=onFailed
        )
        return task.wait() if waitForCompletion else task

    def acceptLabel(self, what: Any = None, *, waitForCompletion: bool = False, **options: Any) -> Any:
        """Write a corrected label into the cases folder; see ``CasesLogic.accept``.

        Args:
            what: A result, a segmentation or a volume; the loaded case if nothing is given.
            waitForCompletion: Return what was ``Accepted`` instead of a ``Task``.
            options: ``caseName``, ``annotator``, ``channels`` and callbacks.
        """
        task = self.cases.accept(what, **options)
        return task.wait() if waitForCompletion else task

    def rankCases(self, *, waitForCompletion: bool = False, **options: Any) -> Any:
        """Order the unlabelled cases by the benefit of correcting them; see ``CasesLogic.rank``."""
        task = self.cases.rank(**options)
        return task.wait() if waitForCompletion else task

    def startTraining(self, *, waitForCompletion: bool = False, **fields: Any) -> "TrainingJob":
        """Fine-tune a model in a process of its own; see ``TrainingRequest`` for the fields.

        Args:
            waitForCompletion: Return when the training is over.
            fields: ``title``, ``casesFolder``, ``startModel``, ``method``, ``iterations``, ``minutes``, ...
        """
        from CRGLoCoSegmentLib.logic.training_request import TrainingRequest

        job = self.training.start(TrainingRequest(**fields))
        return self.training.wait(job) if waitForCompletion else job

    # ------------------------------------------------------------------------------------- the life

    def sceneClosed(self) -> None:
        """The nodes are gone: end the work on them. Fine-tuning and batches go on, they need no scene."""
        for name in ("segmentation", "labelExport", "correction", "cases", "view"):
            self._ifMade(name, "sceneClosed")
        self.listeners.tell("scene")
        self._releaseLabels()

    def _releaseLabels(self) -> None:
        """Empty our segmentations before Slicer takes them apart: large ones would hold it up for seconds."""
        import slicer

        from CRGLoCoSegmentLib.nodes.segmentations import releaseAll

        if slicer.mrmlScene.IsClosing():
            releaseAll(slicer.mrmlScene)

    def shutDown(self) -> None:
        """End all work and all workers, in less than five seconds; fine-tuning keeps its checkpoint."""
        until = time.monotonic() + PATIENCE_S
        for name in ("segmentation", "labelExport", "cases", "correction", "environment", "training", "view"):
            self._ifMade(name, "shutDown")
        until = max(until, time.monotonic() + WORKERS_S)
        workers = ("compute", "files", "checker", "prober")
        for name in workers:
            self._ifMade(name, "closeInput")
        for name in workers:
            self._ifMade(name, "end", max(0.0, until - time.monotonic()))

    def _ifMade(self, name: str, method: str, *values: Any) -> None:
        """Call a part that was used and has something to do; what was never used is not made for it."""
        action = getattr(self.__dict__.get(name), method, None)
        if action is not None:
            try:
                action(*values)
            except Exception:
                log.exception("%s.%s() failed; the others still end", name, method)

    # ----------------------------------------------------------------------------------- the package

    def engineVersion(self) -> str:
        """Return the version of the engine beside the module."""
        from crgloco import __version__

        return __version__

    def resourcesFolder(self) -> Path:
        """Return the module's ``Resources`` folder."""
        return Path(__file__).parents[2] / "Resources"
