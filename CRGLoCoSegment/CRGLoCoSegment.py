"""The classes that Slicer asks for: what the module is, its panel, its logic and its self-test."""

import sys

import ctk
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from CRGLoCoSegmentLib.logic import SegmentLogic
from CRGLoCoSegmentLib.panels import panelTitles


class CRGLoCoSegment(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("CRG LoCo Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["CRGLoCoSegment maintainers"]
        self.parent.helpText = _(
            "Segments a volume at two resolutions: a global branch sees the whole field of view, "
            "a local branch sees full-resolution windows. Both answers are shown side by side with "
            "their confidence. Corrected cases, together with unlabelled ones, fine-tune the model. "
            "No data leave this computer."
        )
        self.parent.acknowledgementText = _(
            "The training methods are published work; each one's reference is shown beside its name."
        )


class CRGLoCoSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: one collapsible section for each step of the work."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.sections = {}

    def setup(self):
        """Build the sections; needs neither a main window nor a network."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = CRGLoCoSegmentLogic()
        for name, title in panelTitles().items():
            section = ctk.ctkCollapsibleButton()
            section.objectName = name + "Section"
            section.text = title
            section.collapsed = name != "segment"
            self.layout.addWidget(section)
            self.sections[name] = section
        self.layout.addStretch(1)

    def cleanup(self):
        """Leave nothing behind that would still listen to the scene."""
        self.removeObservers()

    def onReload(self):
        """Reload our packages too: Slicer by itself executes only this script again."""
        for name in [name for name in sys.modules if name.split(".")[0] in ("CRGLoCoSegmentLib", "crgloco")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class CRGLoCoSegmentLogic(ScriptedLoadableModuleLogic, SegmentLogic):
    """For scripts: ``slicer.util.getModuleLogic("CRGLoCoSegment")``; see CRGLoCoSegmentLib.logic."""


class CRGLoCoSegmentTest(ScriptedLoadableModuleTest):
    """The self-test of Slicer's developer section and of ctest; needs no torch and no main window."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run every test of this class."""
        self.setUp()
        self.test_everySectionIsBuilt()
        self.setUp()
        self.test_theEngineLiesBesideTheModule()

    def test_everySectionIsBuilt(self):
        """Open the panel as the module selector would."""
        widget = slicer.util.getModuleWidget("CRGLoCoSegment")
        self.assertEqual({name: section.text for name, section in widget.sections.items()}, panelTitles())

    def test_theEngineLiesBesideTheModule(self):
        """Find the engine and the resources that were packaged with the script."""
        logic = CRGLoCoSegmentLogic()
        self.assertRegex(logic.engineVersion(), r"^\d+\.\d+\.\d+")
        self.assertTrue((logic.resourcesFolder() / "requirements.txt").is_file())
