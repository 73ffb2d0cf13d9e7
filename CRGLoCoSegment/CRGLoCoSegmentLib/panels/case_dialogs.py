"""The few questions that the panel of the cases asks."""

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

KEEP, DISCARD, CANCEL = "keep", "discard", "cancel"


def whatAboutUnsaved(parent: Any, case: str) -> str:
    """Ask what becomes of a correction that was not accepted when another case is loaded.

    Returns:
        ``KEEP``, ``DISCARD`` or ``CANCEL``; ``KEEP`` where nobody can be asked.
    """
    if slicer.app.testingEnabled():
        return KEEP
    box = qt.QMessageBox(parent)
    box.windowTitle = _("Load another case")
    box.text = _("The correction of {case} was not accepted.").format(case=case)
    box.informativeText = _(
        "Kept, it stays in the scene beside the case that is loaded now. Discarded, it is gone."
    )
    keep = box.addButton(_("Keep in the scene"), qt.QMessageBox.AcceptRole)
    discard = box.addButton(_("Discard"), qt.QMessageBox.DestructiveRole)
    box.addButton(qt.QMessageBox.Cancel)
    box.setDefaultButton(keep)
    box.exec_()
    clicked = box.clickedButton()
    box.deleteLater()
    return KEEP if clicked == keep else DISCARD if clicked == discard else CANCEL


def newFolder(parent: Any, start: Path | None) -> Path | None:
    """Ask where a new cases folder shall be made."""
    chosen = qt.QFileDialog.getExistingDirectory(parent, _("Folder for the new cases"), str(start or ""))
    return Path(chosen) if chosen else None


def exportFile(parent: Any, start: Path) -> Path | None:
    """Ask where a label shall be written; the ending says how."""
    filters = [
        _("NIfTI label volume (*.nii.gz *.nii)"),
        _("NRRD or MetaImage label volume (*.nrrd *.mha)"),
        _("Slicer segmentation (*.seg.nrrd)"),
        _("DICOM segmentation (*.dcm)"),
    ]
    chosen = qt.QFileDialog.getSaveFileName(parent, _("Export the label"), str(start), ";;".join(filters))
    return Path(chosen) if chosen else None
