"""A case of the cases folder as nodes of the scene: made, known again after a reload, and taken away."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from crgloco.channels import channel_key
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.nodes.corrections import FROM_FOLDER, copiesOf, correctedName
from CRGLoCoSegmentLib.nodes.ownership import OURS, beginNotes, ownsNotes
from CRGLoCoSegmentLib.nodes.places import markPlace, placeOf
from CRGLoCoSegmentLib.nodes.results import Result, importResult, resultNodesOf, setCorrected
from CRGLoCoSegmentLib.nodes.scene import nodesOfClass
from CRGLoCoSegmentLib.nodes.segmentations import LABELMAP, checkedLabels, newSegmentation, release
from CRGLoCoSegmentLib.nodes.volumes import storable, volumeNodeFromVolume, windowOf

CASE = f"{OURS}Case"
FOLDER = f"{OURS}CasesFolder"
CHANNEL = f"{OURS}Channel"
CHANNEL_NAME = f"{OURS}ChannelName"


@dataclass(frozen=True)
class CaseNodes:
    """What a case is in the scene.

    Attributes:
        volumes: One node per channel.
        result: The model's answer, if the case was predicted.
        corrected: The label that the folder holds, ready to be corrected further.
    """

    volumes: tuple[Any, ...]
    result: Result | None = None
    corrected: Any = None


@dataclass(frozen=True)
class CaseArrays:
    """What a case is on disk, read and looked at; nothing of it needs the main thread.

    Attributes:
        arrays: By kind: ``image_0`` and so on, ``label``, and those of a result.
        windows: Lowest and highest shown value of each image.
    """

    arrays: Mapping[str, Any]
    windows: Mapping[str, tuple[float, float]]

    @property
    def images(self) -> list[str]:
        """The kinds of the channels, in their order."""
        return sorted(self.windows, key=lambda kind: int(kind.removeprefix("image_")))


def lookedAt(arrays: Mapping[str, Any]) -> CaseArrays:
    """Prepare arrays for the scene; any thread."""
    images = {kind: storable(array) for kind, array in arrays.items() if kind.startswith("image_")}
    return CaseArrays({**arrays, **images}, {kind: windowOf(array) for kind, array in images.items()})


def makeCaseNodes(name: str, folder: Path, answer: Mapping[str, Any], found: CaseArrays) -> CaseNodes:
    """Make the nodes of a case; if anything is wrong with it, none are left.

    Args:
        name: Of the case.
        folder: The cases folder.
        answer: Of the worker to ``open``.
        found: The arrays that it names; the nodes take over their memory.
    """
    volumes = _volumeNodes(name, answer, found)
    first = volumes[0]
    try:
        for volume in volumes:
            markCase(volume, name, folder)
            markPlace(volume, placeOf(volume))
        result = _result(first, answer, found.arrays)
        return CaseNodes(tuple(volumes), result, _labelNode(name, first, answer, found.arrays))
    except Exception:
        removeNodes(nodesOf(first))
        raise


def nodesOf(volumeNode: Any) -> list[Any]:
    """Return the volumes of a case, its results and corrected copies; nothing that the user made beside."""
    scene = volumeNode.GetScene()
    made = (*resultNodesOf(volumeNode), *copiesOf(volumeNode))
    found: dict[str, Any] = {}
    for node in (*made, *channelsOf(volumeNode), volumeNode):
        if node is not None and scene is not None and scene.IsNodePresent(node):
            found[node.GetID()] = node
    return list(found.values())


def removeNodes(nodes: Iterable[Any]) -> None:
    """Take nodes out of the scene, with their display and storage."""
    for node in tuple(nodes):
        scene = node.GetScene()
        if scene is None:
            continue
        displays = [node.GetNthDisplayNode(number) for number in range(node.GetNumberOfDisplayNodes())]
        storages = [node.GetNthStorageNode(number) for number in range(node.GetNumberOfStorageNodes())]
        if node.IsA("vtkMRMLSegmentationNode"):
            release(node)
        for item in (node, *displays, *storages):
            if item is not None and scene.IsNodePresent(item):
                scene.RemoveNode(item)


def markCase(volumeNode: Any, name: str, folder: Path) -> None:
    """Note on a volume which case it is; the folder as a hash, because no path belongs into a saved scene."""
    beginNotes(volumeNode)
    volumeNode.SetAttribute(CASE, name)
    volumeNode.SetAttribute(FOLDER, _folderMark(folder))


def caseOf(volumeNode: Any, folder: Path | None) -> str | None:
    """Return which case of this folder a volume is; ``None`` if it came from somewhere else."""
    if volumeNode is None or folder is None or volumeNode.GetAttribute(FOLDER) != _folderMark(folder):
        return None
    if not ownsNotes(volumeNode):
        return None
    return volumeNode.GetAttribute(CASE)


def volumesOfCase(name: str, folder: Path) -> list[Any]:
    """Return the volumes of the scene that are a case of this folder; further channels do not count."""
    found, others = nodesOfClass(slicer.mrmlScene, "vtkMRMLScalarVolumeNode"), _furtherChannels()
    return [node for node in found if caseOf(node, folder) == name and node.GetID() not in others]


def channelsOf(volumeNode: Any) -> list[Any]:
    """Return the volumes of the further channels of a case."""
    if not ownsNotes(volumeNode):
        return []
    count = volumeNode.GetNumberOfNodeReferences(CHANNEL)
    return [volumeNode.GetNthNodeReference(CHANNEL, number) for number in range(count)]


def channelsFor(volumeNode: Any, chosen: Sequence[Any]) -> list[Any]:
    """Return the further channels to be chosen with a volume: never those of another patient's case.

    Args:
        volumeNode: The first channel.
        chosen: What is chosen now; ``None`` where nothing is.

    Returns:
        As many: the channels of the volume's own case, else what was chosen but for other cases' channels.
    """
    own, others = channelsOf(volumeNode), _furtherChannels()
    if not own:
        return [None if node is None or node.GetID() in others else node for node in chosen]
    return [own[number] if number < len(own) else None for number in range(len(chosen))]


def channelNamesOf(volumeNodes: Sequence[Any], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return which channel each volume is: a case's own know it, the others are the rest of a model's.

    Args:
        volumeNodes: In any order; ``None`` where nothing is chosen.
        wanted: Channels of the model, in its order.

    Returns:
        One name per volume; empty where there are more volumes than channels.
    """
    own = [node.GetAttribute(CHANNEL_NAME) if node is not None else None for node in volumeNodes]
    known = {channel_key(name) for name in own if name}
    rest = iter([name for name in wanted if channel_key(name) not in known])
    return tuple(name or next(rest, "") for name in own)


def _furtherChannels() -> set[str]:
    """Return the IDs of all volumes that are a further channel of a case."""
    found = nodesOfClass(slicer.mrmlScene, "vtkMRMLScalarVolumeNode")
    return {channel.GetID() for node in found for channel in channelsOf(node)}


def isInScene(node: Any) -> bool:
    """Whether a node is (still) part of the scene."""
    return node is not None and bool(slicer.mrmlScene.IsNodePresent(node))


def showVolume(volumeNode: Any) -> None:
    """Show a volume in the slice views, as Slicer does with one that was loaded; without views, nothing."""
    application = getattr(slicer, "app", None)
    logic = application.applicationLogic() if application is not None else None
    if logic is not None:
        logic.GetSelectionNode().SetActiveVolumeID(volumeNode.GetID())
        logic.PropagateVolumeSelection()


def editStamp(segmentationNode: Any) -> tuple[Any, ...]:
    """Return what changes when somebody edits a segmentation, and not when it is looked at or renamed."""
    segmentation = segmentationNode.GetSegmentation()
    stamps = []
    for number in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(number)
        labelmap = segment.GetRepresentation(LABELMAP)
        time = 0 if labelmap is None else labelmap.GetMTime()
        stamps.append((segmentation.GetNthSegmentID(number), segment.GetLabelValue(), time))
    return (segmentationNode.GetID(), *sorted(stamps))


def _volumeNodes(name: str, answer: Mapping[str, Any], found: CaseArrays) -> list[Any]:
    """Make a volume node per channel; the first one knows the others."""
    geometry = Geometry.from_json(answer["geometry"])
    made: list[Any] = []
    for kind in found.images:
        title = f"{name} {kind.removeprefix('image_')}" if made else name
        volume = Volume(found.arrays[kind], geometry)
        made.append(volumeNodeFromVolume(volume, title, window=found.windows[kind]))
        beginNotes(made[-1])
    for node in made[1:]:
        made[0].AddNodeReferenceID(CHANNEL, node.GetID())
    names = answer.get("channel_names") or ()
    if len(made) > 1 and len(names) == len(made):  # a single channel goes by any name
        for node, channel in zip(made, names, strict=True):
            node.SetAttribute(CHANNEL_NAME, channel)
    return made


def _result(volumeNode: Any, answer: Mapping[str, Any], arrays: Mapping[str, Any]) -> Result | None:
    """Bring in the prediction that the folder keeps of the case, as if it had just been made."""
    record = answer.get("record")
    if not record:
        return None
    kept = {
        kind: array for kind, array in arrays.items() if kind != "label" and not kind.startswith("image_")
    }
    return importResult(
        volumeNode, {"labels": answer["labels"], **record, "geometry": answer["geometry"]}, kept
    )


def _labelNode(name: str, volumeNode: Any, answer: Mapping[str, Any], arrays: Mapping[str, Any]) -> Any:
    if "label" not in arrays:
        return None
    table, geometry = LabelTable.from_json(answer["labels"]), Geometry.from_json(answer["geometry"])
    title = correctedName(name)
    labels = checkedLabels(arrays["label"], geometry, table, title, volumeNode)
    node = newSegmentation(labels, table, title, volumeNode)
    node.SetAttribute(FROM_FOLDER, name)
    setCorrected(volumeNode, node)
    return node


def _folderMark(folder: Path) -> str:
    place = os.path.normcase(folder.absolute())
    return hashlib.sha256(str(place).encode()).hexdigest()[:16]
