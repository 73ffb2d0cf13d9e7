"""The project's label table on segments and colour tables: identifiers, names, colours, terminology."""

import json
from typing import Any
from urllib.parse import quote

import vtk

from crgloco.errors import LabelError
from crgloco.labels import Label, LabelTable
from CRGLoCoSegmentLib.nodes.ownership import OURS

# A segment made by us says of which label it is: its identifier alone would also fit another project.
TAG = f"{OURS}label"
ATTRIBUTE = f"{OURS}labels"


def segmentId(label: Label) -> str:
    """Return the identifier of a label's segment; it stays when the segment is renamed or moved."""
    return f"label_{label.value}"


def dressSegment(segment: Any, label: Label) -> None:
    """Give a segment the name, colour and terminology of its label, and the mark of whose it is."""
    segment.SetName(label.name)
    segment.SetColor(*(part / 255 for part in label.colour))
    if label.terminology:
        segment.SetTerminology(label.terminology)
    segment.SetTag(TAG, markOf(label))
    segment.SetLabelValue(label.value)


def markOf(label: Label) -> str:
    """Return what we write into the tag of a label's segment."""
    # Segment tags are stored in files between : and |, so a name goes in without either.
    return f"{label.value} {quote(label.name)}"


def tagOf(segment: Any, name: str) -> str:
    """Return a tag of a segment, or the empty text."""
    text = vtk.reference("")
    return str(text) if segment.GetTag(name, text) else ""


def rememberTable(segmentationNode: Any, table: LabelTable) -> None:
    """Write the label table on a segmentation node, so that it is saved and loaded with the scene."""
    segmentationNode.SetAttribute(ATTRIBUTE, json.dumps(table.to_json()))


def tableOf(segmentationNode: Any) -> LabelTable | None:
    """Return the label table a segmentation node was made with; ``None`` if it is not one of ours."""
    text = segmentationNode.GetAttribute(ATTRIBUTE)
    if not text:
        return None
    try:
        return LabelTable.from_json(json.loads(text))
    except (ValueError, LabelError):
        return None
