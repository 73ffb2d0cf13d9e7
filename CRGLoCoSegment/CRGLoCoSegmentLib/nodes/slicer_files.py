"""Files that only Slicer itself can write: .seg.nrrd with layers and terminology, and DICOM SEG."""

import contextlib
import importlib
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from crgloco.atomic import patiently, saving
from crgloco.errors import CRGLoCoError, InputError, ResourceError
from CRGLoCoSegmentLib.nodes.results import volumeOf

log = logging.getLogger("CRGLoCoSegment")

PLUGIN = "DICOMSegmentationPlugin"
ALGORITHM_TYPE, ALGORITHM_NAME = "DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"


def writeSegNrrd(segmentationNode: Any, path: Path) -> None:
    """Write a segmentation as Slicer saves it; the node keeps its own storage, the file appears whole.

    Takes the main thread for as long as it takes: nobody else may read a node.

    Raises:
        ResourceError: The file could not be written.
    """
    part = path.with_name(f"{path.name.removesuffix('.seg.nrrd')}.part.seg.nrrd")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(part))
    try:
        with saving(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if storage.WriteData(segmentationNode) == 0:
                msg = _("{path} could not be written. Check the free space and the rights of its folder.")
                raise ResourceError(msg.format(path=path))
            patiently(lambda: part.replace(path))
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def canWriteDicomSeg() -> bool:
    """Whether this Slicer writes DICOM SEG by itself (5.12 and later)."""
    return importlib.util.find_spec(PLUGIN) is not None


def writeDicomSeg(segmentationNode: Any, segmentIds: Sequence[str], path: Path, algorithm: str) -> None:
    """Write segments as DICOM SEG, by Slicer's own exporter; it takes the main thread for some seconds.

    Args:
        segmentationNode: Made on a volume that was loaded from Slicer's DICOM database.
        segmentIds: The segments to write; none of them may be empty.
        path: The ``.dcm`` file.
        algorithm: Name of the model, for segments that do not name their algorithm yet.

    Raises:
        InputError: Slicer or the volume cannot do it, or there is nothing to write; with Slicer's reason.
    """
    _refuseForeign(segmentationNode)
    if not segmentIds:
        raise InputError(_("There is nothing to export: every segment is empty."))
    try:
        _nameAlgorithm(segmentationNode, segmentIds, algorithm)
        with contextlib.ExitStack() as tidy, saving(path):
            exporter = importlib.import_module(PLUGIN).DICOMSegmentationExporter(segmentationNode)
            tidy.callback(_tidyUp, exporter)
            path.parent.mkdir(parents=True, exist_ok=True)
            metadata = {"SeriesDescription": segmentationNode.GetName()}
            exporter.export(str(path.parent), path.name, metadata, list(segmentIds), skipEmpty=True)
    except CRGLoCoError:
        raise
    except Exception as error:  # the exporter raises whatever its parts raise
        log.exception("DICOM SEG export failed")
        raise InputError(_("DICOM SEG could not be written: {reason}").format(reason=error)) from error


def _tidyUp(exporter: Any) -> None:
    """Let temporary files lie that another program holds: the label is written all the same."""
    with contextlib.suppress(OSError):
        exporter.cleanup()


def _refuseForeign(segmentationNode: Any) -> None:
    if not canWriteDicomSeg():
        raise InputError(_("This Slicer cannot write DICOM SEG. Use Slicer 5.12 or later, or export NIfTI."))
    volumeNode = volumeOf(segmentationNode)
    if volumeNode is None or not volumeNode.GetAttribute("DICOM.instanceUIDs"):
        msg = _(
            "DICOM SEG refers to the images it was drawn on: load the volume from Slicer's DICOM database, "
            "or export NIfTI or .seg.nrrd."
        )
        raise InputError(msg)


def _nameAlgorithm(segmentationNode: Any, segmentIds: Sequence[str], algorithm: str) -> None:
    """DICOM asks who drew a segment: a model, perhaps corrected by a person."""
    segmentation = segmentationNode.GetSegmentation()
    for identifier in segmentIds:
        segment = segmentation.GetSegment(identifier)
        if segment is None:
            raise InputError(_("A segment was deleted meanwhile. Export again."))
        if algorithm and not segment.HasTag(ALGORITHM_TYPE):
            segment.SetTag(ALGORITHM_TYPE, "SEMIAUTOMATIC")
            segment.SetTag(ALGORITHM_NAME, algorithm[:60])
