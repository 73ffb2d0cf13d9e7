"""Which segment is which label: by identifier, then terminology, then name; never by order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

from slicer.i18n import tr as _

from crgloco.errors import LabelError
from crgloco.labels import Label, LabelTable
from CRGLoCoSegmentLib.nodes.label_tables import markOf, segmentId
from CRGLoCoSegmentLib.nodes.snapshots import SegmentCopy, Snapshot

# Slicer gives this to every new segment: it says nothing.
TISSUE = "SCT^85756007"

Codes = tuple[str, ...]


@dataclass(frozen=True)
class _Candidates:
    """What a segment could be, by each of the three signs."""

    identifier: Label | None
    terminology: Label | None
    name: Label | None

    @property
    def label(self) -> Label | None:
        """The first sign that says something."""
        return self.identifier or self.terminology or self.name

    @property
    def contradict(self) -> bool:
        """Whether two signs say different things."""
        return len({label.value for label in (self.identifier, self.terminology, self.name) if label}) > 1


def matchSegments(snapshot: Snapshot, table: LabelTable, *, strict: bool = True) -> dict[str, Label]:
    """Return the label of every segment, by the segment's identifier; empty segments may lack one.

    Args:
        snapshot: Of the segmentation.
        table: The labels that there are.
        strict: Without, doubtful segments are left out or follow their first sign.

    Raises:
        LabelError: A segment with voxels is none of the table's labels or could be two of them, or two
            segments stand for one label.
    """
    byCodes = _uniqueCodes(table)
    found: dict[str, Label] = {}
    strange: list[SegmentCopy] = []
    for segment in snapshot.segments:
        candidates = _candidates(segment, table, byCodes)
        if strict and candidates.contradict and snapshot.voxelsOf(segment):
            raise _contradiction(snapshot, segment, candidates)
        if candidates.label is not None:
            found[segment.id] = candidates.label
        elif strict and snapshot.voxelsOf(segment):
            strange.append(segment)
    if strange:
        raise _strangers(snapshot, strange, table)
    if strict:
        _assertSingle(snapshot, found)
    return found


def _candidates(segment: SegmentCopy, table: LabelTable, byCodes: Mapping[Codes, Label]) -> _Candidates:
    marked = (
        label for label in table.labels if segment.id == segmentId(label) and segment.mark == markOf(label)
    )
    named = (label for label in table.labels if label.name == segment.name)
    return _Candidates(next(marked, None), byCodes.get(_codes(segment.terminology)), next(named, None))


def _codes(terminology: str) -> Codes:
    """Return what counts of a terminology: the codes, without contexts and without translated words."""
    fields = terminology.split("~")
    places = [number for number in (1, 2, 3, 5, 6) if number < len(fields)]
    return tuple("^".join(fields[number].split("^")[:2]) for number in places)


def _uniqueCodes(table: LabelTable) -> dict[Codes, Label]:
    """Return the labels that their terminology alone tells apart."""
    codes = [_codes(label.terminology) for label in table.labels]
    return {
        code: label
        for code, label in zip(codes, table.labels, strict=True)
        if label.terminology and codes.count(code) == 1 and code[1:2] != (TISSUE,)
    }


def _contradiction(snapshot: Snapshot, segment: SegmentCopy, candidates: _Candidates) -> LabelError:
    first = candidates.label
    other = next(
        label for label in (candidates.name, candidates.terminology) if label is not None and label != first
    )
    msg = _(
        "The segment {segment!r} of {segmentation!r} stands for {label!r} "
        "but is now called, or coded, {other!r}. Which one is meant? Give it its own name and "
        "terminology back, and move voxels between segments with the Segment Editor's Logical operators."
    )
    label = first.name  # type: ignore[union-attr]
    names = {"segment": segment.name, "segmentation": snapshot.name, "label": label, "other": other.name}
    return LabelError(msg.format(**names))


def _strangers(snapshot: Snapshot, segments: Iterable[SegmentCopy], table: LabelTable) -> LabelError:
    shown = ", ".join(repr(segment.name) for segment in segments)
    msg = _(
        "{name!r} has voxels in {segments}, which the label table does not know ({known}). "
        "Rename such a segment to a name of the table, or delete it."
    )
    return LabelError(msg.format(name=snapshot.name, segments=shown, known=table.in_words()))


def _assertSingle(snapshot: Snapshot, found: Mapping[str, Label]) -> None:
    holders: dict[int, list[SegmentCopy]] = {}
    for segment in snapshot.segments:
        if segment.id in found:
            holders.setdefault(found[segment.id].value, []).append(segment)
    for several in holders.values():
        filled = [segment for segment in several if snapshot.voxelsOf(segment)] if several[1:] else []
        if filled[1:]:
            label = found[filled[0].id]
            msg = _(
                "Several segments of {name!r} stand for {label!r}: {segments}. Delete all but "
                "one, or merge them with the Segment Editor's Logical operators."
            )
            shown = reduce(_both, (repr(segment.name) for segment in filled))
            raise LabelError(msg.format(name=snapshot.name, label=label.name, segments=shown))


def _both(first: str, second: str) -> str:
    return _("{first} and {second}").format(first=first, second=second)
