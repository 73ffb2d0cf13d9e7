"""Segments volumes of the scene: what may be asked for, in which order, and how a script waits."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from crgloco.channels import order_by_name
from crgloco.errors import CRGLoCoError, InputError, ModelError
from crgloco.io.orientation import on_grid
from crgloco.io.volume import Volume
from crgloco.model_store import assert_segments
from CRGLoCoSegmentLib.background.worker import computing
from CRGLoCoSegmentLib.logic.segment_run import SegmentRun
from CRGLoCoSegmentLib.logic.task import OnFailed, OnFinished, OnProgress, Task
from CRGLoCoSegmentLib.nodes.cases import channelNamesOf
from CRGLoCoSegmentLib.nodes.volumes import refuseMovedApart, volumeFromNode

if TYPE_CHECKING:
    from CRGLoCoSegmentLib.background.worker import Worker
    from CRGLoCoSegmentLib.logic.listeners import Listeners
    from CRGLoCoSegmentLib.logic.models import Models
    from CRGLoCoSegmentLib.settings import Settings


class Segmentation:
    """Segments volumes of the scene in the compute worker; the scene is touched at the end only.

    Args:
        compute: Worker that holds the model.
        settings: Hold ``device`` and ``memoryGb``.
        models: Knows the cards.
        listeners: Hear ``"result"`` when one was imported, ``"worker"`` when work starts or ends without.
    """

    def __init__(
        self, *, compute: "Worker", settings: "Settings", models: "Models", listeners: "Listeners"
    ) -> None:
        self._compute, self._settings, self._models = compute, settings, models
        self._listeners = listeners
        self._runs: list[SegmentRun] = []

    def isBusy(self) -> bool:
        """Whether a volume is being segmented."""
        return bool(self._runs)

    def taskOf(self, volumeNode: Any) -> Task | None:
        """Return the running task of a volume."""
        return next((run.task for run in self._runs if run.volumeNode is volumeNode), None)

    def segment(
        self,
        volumeNode: Any,
        model: Path | None = None,
        *,
        quality: str = "balanced",
        keepIslands: bool = False,
        device: str | None = None,
        channels: Sequence[Any] = (),
        onProgress: OnProgress | None = None,
        onFinished: OnFinished | None = None,
        onFailed: OnFailed | None = None,
    ) -> Task:
        """Start segmenting a volume; see ``SegmentLogic.segment``.

        Raises:
            InputError: The volume cannot be segmented, or is being segmented already.
            ModelError: The model is damaged or wants other channels.
        """
        folder = self._models.resolve(model)
        nodes = (volumeNode, *channels)
        scans = self._checked(nodes, folder)
        task = Task(volumeNode.GetName(), onProgress=onProgress, onFinished=onFinished, onFailed=onFailed)
        fields = {
            "model": str(folder),
            "quality": quality,
            "keep_islands": keepIslands,
            **computing(self._settings, device),
        }
        run = SegmentRun(task, nodes, scans, fields, self._compute)
        self._runs.append(run)
        task.onEnd(lambda: self._ended(run))
        run.start()
        self._listeners.tell("worker")
        return task

    def problem(self, volumeNode: Any, model: Path | None = None, channels: Sequence[Any] = ()) -> str:
        """Return in words why a volume cannot be segmented by a model, or an empty text."""
        try:
            self._checked((volumeNode, *channels), self._models.resolve(model), evenIfRunning=True)
        except CRGLoCoError as error:
            return str(error)
        return ""

    def estimate(
        self,
        volumeNode: Any,
        model: Path | None = None,
        *,
        quality: str = "balanced",
        device: str | None = None,
        onResult: OnFinished | None = None,
        onError: OnFailed | None = None,
    ) -> Task:
        """Ask what segmenting a volume will take; see ``SegmentLogic.estimate``."""
        grid = volumeFromNode(volumeNode).geometry
        task = Task(volumeNode.GetName(), onFinished=onResult, onFailed=onError)
        fields = {
            "model": str(self._models.resolve(model)),
            "shape": list(grid.shape),
            "spacing": list(grid.spacing),
            "quality": quality,
            **computing(self._settings, device),
        }
        task.ask(self._compute, "estimate", fields, task.finish)
        return task

    def sceneClosed(self) -> None:
        """End all work: its volumes are gone."""
        for run in tuple(self._runs):
            run.task.cancel()

    shutDown = sceneClosed

    def _checked(self, nodes: Sequence[Any], model: Path, *, evenIfRunning: bool = False) -> list[Volume]:
        """Return what the nodes hold, one volume per channel in the model's order, or say what is wrong."""
        if nodes[0] is None:
            raise InputError(_("Choose a volume to segment."))
        if self.taskOf(nodes[0]) is not None and not evenIfRunning:
            msg = _("{name} is being segmented already. Wait for it, or cancel it first.")
            raise InputError(msg.format(name=nodes[0].GetName()))
        card = self._models.card(model)
        assert_segments(card, model)
        order = _channelOrder(nodes, card)
        scans = [volumeFromNode(node) for node in nodes]
        for number, node in enumerate(nodes[1:], 1):
            what = _("{first} and {second}").format(first=node.GetName(), second=nodes[0].GetName())
            scans[number] = on_grid(scans[number], scans[0].geometry, what)
        refuseMovedApart(nodes)
        return [scans[place] for place in order]

    def _ended(self, run: SegmentRun) -> None:
        self._runs.remove(run)
        self._listeners.tell("result" if run.task.state == "done" else "worker")


def _channelOrder(nodes: Sequence[Any], card: Any) -> tuple[int, ...]:
    """Return where each channel of the model is among the nodes."""
    _assertChannels(nodes, card)
    names = channelNamesOf(nodes, card.channel_names)
    order = order_by_name(card.channel_names, names)
    if order is None:
        msg = _(
            "The model {title} needs the channels {wanted}; the chosen volumes are {found}. Choose a model "
            "or volumes with the same channels, or correct channel_names in dataset.json of the cases folder "
            "and load the case again."
        )
        found = ", ".join(names)
        raise ModelError(msg.format(title=card.title, wanted=", ".join(card.channel_names), found=found))
    return order


def _assertChannels(nodes: Sequence[Any], card: Any) -> None:
    wanted = card.channel_names
    missing = [number for number, node in enumerate(nodes) if node is None]
    if len(nodes) != len(wanted) or missing:
        msg = _(
            "The model {title} needs {wanted} ({names}); {given} given. Choose a volume for each channel."
        )
        given = len(nodes) - len(missing)
        raise ModelError(
            msg.format(
                title=card.title,
                wanted=_volumesInWords(len(wanted)),
                names=", ".join(wanted),
                given=_volumesInWords(given),
            )
        )
    identifiers = [node.GetID() for node in nodes]
    if len(set(identifiers)) < len(identifiers):
        raise ModelError(_("The same volume was given for two channels. Choose a volume for each channel."))


def _volumesInWords(count: int) -> str:
    return _("1 volume") if count == 1 else _("{count} volumes").format(count=count)
