"""The clinician's loop through the real panel, workers and training: one method for each step.

The test of the whole loop walks it, and ``screenshots.py`` takes a picture after each step.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from CRGLoCoSegmentLib.nodes.images import arrayOfImage

RESOURCES = Path(__file__).parents[2] / "CRGLoCoSegment" / "Resources"
UPDATES = 20


class Loop:
    """A module that is open, a cases folder with the bundled sample, and a folder for models.

    Args:
        host: The test host.
        folder: Where cases and models of this walk lie.
        step: Told the name of each step when it is done.
    """

    def __init__(self, host: Any, folder: Path, step: Callable[[str], None] = lambda _name: None) -> None:
        import qt

        self.host, self.step = host, step
        self.cases, self.models = folder / "cases", folder / "models"
        shutil.copytree(RESOURCES / "Samples" / "chaos_mr", self.cases)
        settings = qt.QSettings()
        for key, value in (("casesFolder", self.cases), ("modelsFolder", self.models)):
            settings.setValue(f"CRGLoCoSegment/{key}", json.dumps(str(value)))
        settings.setValue("CRGLoCoSegment/device", json.dumps("cpu"))
        module = host.loadModule()
        slicer.util.selectModule(module.name)
        self.widget = module.widgetRepresentation().self()
        self.logic = self.widget.logic
        self._environmentIsReady()
        for name in ("cases", "segment", "compare", "correct", "fineTune"):
            self.panel(name)
        host.processEvents()
        self.step("open")

    def panel(self, name: str) -> Any:
        """Open a section and return its panel."""
        section = self.widget.sections[name]
        section.open()
        return section.panel

    def load(self, case: str) -> Any:
        """Choose the unlabelled scan in the list of cases and load it; returns its volume node."""
        panel = self.panel("cases")
        table = panel.ui.casesTable
        self.host.waitUntil(lambda: table.rowCount > 0)
        row = next(row for row in range(table.rowCount) if table.item(row, 0).text() == case)
        table.setCurrentCell(row, 0)
        panel.ui.loadButton.click()
        self.host.waitUntil(lambda: self.logic.cases.loaded is not None and not self.logic.cases.isLoading)
        self.step("load")
        return self.widget._parameterNode.inputVolume

    def segment(self, name: str = "segment") -> Any:
        """Press Apply and wait; returns the result."""
        panel = self.panel("segment")
        before = self.result()
        self.host.waitUntil(lambda: panel.ui.applyButton.enabled)
        panel.ui.applyButton.click()
        self.host.waitUntil(lambda: self.result() not in (None, before), 240)
        self.step(name)
        return self.result()

    def result(self) -> Any:
        """Return the newest result of the volume."""
        return self.logic.resultOf(self.widget._parameterNode.inputVolume)

    def compare(self) -> None:
        """Show both answers side by side and go to the most uncertain region."""
        ui = self.panel("compare").ui
        ui.compareButton.click()
        self.host.processEvents()
        ui.nextButton.click()
        self.host.processEvents()
        self.step("compare")

    def correct(self) -> Any:
        """Start a copy, and paint a block of the first label around the most uncertain place."""
        panel = self.panel("correct")
        panel.ui.startButton.click()
        self.host.waitUntil(lambda: self.result().corrected is not None)
        corrected = self.result().corrected
        centre = self.result().record["regions"][0]["centre"]
        self.paint(corrected, centre)
        self.host.waitUntil(lambda: "ml" in panel.ui.changedLabel.text)
        self.step("correct")
        return corrected

    def paint(self, segmentation: Any, centre: list[int]) -> None:
        """Add a block of 3 x 9 x 9 voxels to the first segment; other segments keep what they have."""
        name, *others = segmentation.GetSegmentation().GetSegmentIDs()
        volume = self.widget._parameterNode.inputVolume

        def voxels(segment: str) -> Any:
            return np.array(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume))

        array = voxels(name)
        taken = np.any([voxels(other) > 0 for other in others], axis=0)
        block = tuple(slice(max(0, n - r), n + r + 1) for n, r in zip(centre, (1, 4, 4), strict=True))
        array[block] |= ~taken[block]
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, segmentation, name, volume)

    def accept(self) -> Path:
        """Press Accept; returns the label file."""
        panel = self.panel("cases")
        panel.ui.loadNextCheckBox.checked = False
        panel.ui.annotatorEdit.text = "radiologist"
        self.host.waitUntil(lambda: panel.ui.acceptButton.enabled)
        labels = self.cases / "labelsTr"
        before = {path.name for path in labels.iterdir()}
        panel.ui.acceptButton.click()
        self.host.waitUntil(lambda: {path.name for path in labels.iterdir()} != before, 60)
        self.host.waitUntil(lambda: not self.logic.cases.isAccepting)
        self.step("accept")
        (new,) = {path.name for path in labels.iterdir()} - before
        return labels / new

    def fineTune(self, updates: int = UPDATES) -> Path:
        """Train on for some updates, and use the new model; returns its folder."""
        panel = self.panel("fineTune")
        panel.ui.iterationsSpinBox.value = updates
        panel.ui.startButton.click()
        self.host.waitUntil(self.logic.training.known, 60)
        (job,) = self.logic.training.known()
        self.host.waitUntil(lambda: job.state in {"finished", "failed"}, 280)
        assert job.state == "finished", (panel.ui.statusLabel.text, panel.ui.logEdit.toPlainText())
        self.host.waitUntil(lambda: panel.ui.useNewButton.enabled)
        self.step("fine_tune")
        panel.ui.useNewButton.click()
        self.host.processEvents()
        return self.logic.models.current

    def close(self) -> None:
        """Leave the module as at the end of a session."""
        self.host.unloadModules()

    def _environmentIsReady(self) -> None:
        """The host is no Slicer of a certain version; everything else that is needed is really here."""
        from CRGLoCoSegmentLib.requirements import Torch

        environment = self.logic.environment
        torch = Torch("2.13.0", whole=True, suits=True)
        known = {"torch": torch, "missing": (), "extension": "loaded", "slicer": (5, 12)}
        environment._known = environment._quick() | known


def labelCounts(segmentation: Any) -> dict[str, int]:
    """Return the voxels of each segment by its identifier."""
    counts = {}
    for number in range(segmentation.GetSegmentation().GetNumberOfSegments()):
        segment = segmentation.GetSegmentation().GetNthSegment(number)
        image = segment.GetRepresentation("Binary labelmap")
        value = segment.GetLabelValue()
        name = segmentation.GetSegmentation().GetNthSegmentID(number)
        counts[name] = int((arrayOfImage(image) == value).sum())
    return counts
