"""The sections of the module's panel, in the order of the work."""

from slicer.i18n import tr as _


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
