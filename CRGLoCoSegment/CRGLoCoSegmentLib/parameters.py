"""The parameter node: what belongs to the case, saved with the scene; machine settings are in settings."""

import enum
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

# Further channels of the volume, in their order.
CHANNELS = ("secondChannel", "thirdChannel", "fourthChannel")


class Quality(enum.Enum):
    """How thoroughly a volume is looked at."""

    FAST = "fast"
    BALANCED = "balanced"
    FULL = "full"

    def label(self) -> str:
        """The text in the panel."""
        return {
            "fast": _("Fast (global view only)"),
            "balanced": _("Balanced (details where needed)"),
            "full": _("Full (details everywhere)"),
        }[self.value]


class Overlay(enum.Enum):
    """What colours the uncertain voxels."""

    CONFIDENCE = "confidence"
    DISAGREEMENT = "disagreement"
    NONE = "none"

    def label(self) -> str:
        """The text in the panel."""
        return {
            "confidence": _("Confidence"),
            "disagreement": _("Disagreement of global and local"),
            "none": _("No overlay"),
        }[self.value]


class ThirdPane(enum.Enum):
    """What the third pane of the comparison shows."""

    NONE = "none"
    FUSED = "fused"
    CORRECTED = "corrected"

    def label(self) -> str:
        """The text in the panel."""
        return {
            "none": _("Two panes"),
            "fused": _("Third pane: fused"),
            "corrected": _("Third pane: corrected"),
        }[self.value]


@parameterNodeWrapper
class Parameters:
    """What belongs to the case.

    Attributes:
        inputVolume: The volume to segment; its results are found through its node references.
        secondChannel: Further channels of the case, for models that want more than one.
        thirdChannel: As above.
        fourthChannel: As above.
        quality: How thoroughly it is looked at.
        removeIslands: Whether structures that are one piece lose pieces apart from their main one.
        overlay: What colours the uncertain voxels of the comparison.
        uncertainBelow: Confidence (0..1) under which a voxel is coloured; for disagreement, 1 minus it.
        overlayOpacity: 0..1.
        thirdPane: What a third pane shows.
        disagreementOutline: Whether the disagreement of the branches is outlined.
        caseName: Name of the case in the cases folder, or empty; never a path, never a patient's name.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    secondChannel: vtkMRMLScalarVolumeNode
    thirdChannel: vtkMRMLScalarVolumeNode
    fourthChannel: vtkMRMLScalarVolumeNode
    quality: Quality = Quality.BALANCED
    removeIslands: bool = True
    overlay: Overlay = Overlay.CONFIDENCE
    uncertainBelow: Annotated[float, WithinRange(0, 1)] = 0.7
    overlayOpacity: Annotated[float, WithinRange(0, 1)] = 0.5
    thirdPane: ThirdPane = ThirdPane.NONE
    disagreementOutline: bool = False
    caseName: str = ""
