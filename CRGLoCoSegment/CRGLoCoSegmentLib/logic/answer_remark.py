"""What became of a volume after it was segmented: its answers are still shown on it."""

from slicer.i18n import tr as _

from crgloco.errors import GeometryError
from CRGLoCoSegmentLib.nodes.places import showsOthers, wasMoved
from CRGLoCoSegmentLib.nodes.results import Result
from CRGLoCoSegmentLib.nodes.snapshots import areApart


def answerRemark(result: Result) -> str:
    """Say why a volume's answers are not about what is seen now; empty if they are. Takes milliseconds."""
    volume, place = result.volume, result.record
    if volume.GetImageData() is None:
        return ""
    try:
        moved, apart = wasMoved(volume, place), areApart(result.fused, volume)
    except GeometryError:  # sheared, or under a transform that bends
        moved, apart = False, True
    if moved:
        text = _(
            "{volume} was moved after it was segmented: its origin, voxel size or axes are others. The "
            "answers lie where they lay, unless they were moved with it. Undo that, or segment it again."
        )
    elif apart:
        text = _(
            "{volume} and its answers stand under different transforms, and do not lie on each other. "
            "Put both under the same transform in the module Data, or both under none."
        )
    elif showsOthers(volume, place):
        text = _(
            "{volume} shows other voxels than those that were segmented: another frame of a sequence, or a "
            "filter has changed it. The answers are those of before. Go back to that frame, or segment it "
            "again."
        )
    else:
        return ""
    return text.format(volume=volume.GetName())
