"""The sections of the module's panel, in the order of the work."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

if TYPE_CHECKING:
    from CRGLoCoSegmentLib.panels.panel import Panel


def panelTitles() -> dict[str, str]:
    """The translated title of each section, by the section's name, from top to bottom."""
    return {
        "environment": _("Environment"),
        "segment": _("Segment"),
        "compare": _("Compare"),
        "correct": _("Correct"),
        "cases": _("Cases"),
        "fineTune": _("Fine-tune"),
    }


def makePanel(name: str, logic: Any, resources: Path) -> "Panel":
    """Build the content of a section; its code is imported only now, so that the module opens quickly."""
    match name:
        case "environment":
            from CRGLoCoSegmentLib.panels.environment import EnvironmentPanel as PanelClass
        case "segment":
            from CRGLoCoSegmentLib.panels.segment import SegmentPanel as PanelClass
        case "compare":
            from CRGLoCoSegmentLib.panels.compare import ComparePanel as PanelClass
        case "correct":
            from CRGLoCoSegmentLib.panels.correct import CorrectPanel as PanelClass
        case "cases":
            from CRGLoCoSegmentLib.panels.cases import CasesPanel as PanelClass
        case "fineTune":
            from CRGLoCoSegmentLib.panels.fine_tune import FineTunePanel as PanelClass
    return PanelClass(logic, resources)
