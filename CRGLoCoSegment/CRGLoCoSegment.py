"""The classes that Slicer asks for: what the module is, its panel, its logic and its self-test."""

import sys

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if sys.version_info < (3, 11):  # noqa: UP036 - else the next line would end in a syntax error
    raise ImportError(f"CRG LoCo Segment needs Slicer 5.12 or later, not {slicer.app.applicationVersion}.")

from CRGLoCoSegmentLib.logic import SegmentLogic
from CRGLoCoSegmentLib.panels import panelTitles

LOOK_AFTER_MS = 1500


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
            "The training methods follow published work, some of them adapted; the tooltip of each names it."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", registerCompareLayouts)


def registerSampleData():
    """Offer the two bundled scans in the Sample Data module."""
    from CRGLoCoSegmentLib.logic.sample_data import register

    register()


def registerCompareLayouts():
    """Tell Slicer our layouts, so that a scene saved while comparing opens well before this module does."""
    from CRGLoCoSegmentLib.views.layout import registerLayouts

    if slicer.app.layoutManager() is not None:
        registerLayouts(slicer.app.layoutManager().layoutLogic().GetLayoutNode())


class CRGLoCoSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: one collapsible section for each step of the work."""

    def __init__(self, parent=None):
        self.logic = None
        self.sections = {}
        self._parameterNode = None
        self._isEntered = False
        self._looked = False
        self._isResultGone = False
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)  # calls setup() when it is given no parent

    def setup(self):
        """Build the sections; needs neither a main window nor a network, and starts no process."""
        from CRGLoCoSegmentLib.panels.section import Section

        ScriptedLoadableModuleWidget.setup(self)
        self.logic = CRGLoCoSegmentLogic()
        self.logic.listeners.add(self._refresh)
        for name, title in panelTitles().items():
            section = Section(name, title, self.logic, self.logic.resourcesFolder())
            self.layout.addWidget(section.button)
            self.sections[name] = section
        self.layout.addStretch(1)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        # After the selectors of nodes, which learn of new nodes by the same event.
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport, priority=-1.0)
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAdded)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        slicer.app.connect("aboutToQuit()", self.onAboutToQuit)
        self._takeUpScene()  # one may have been loaded before this module was opened for the first time
        self.initializeParameterNode()
        self.sections["segment"].open()
        if getattr(self.parent, "isEntered", False):  # a reload: Slicer does not call enter() again
            self.enter()

    def enter(self):
        """The user comes to this module."""
        self._isEntered = True
        self.initializeParameterNode()
        for section in self.sections.values():
            section.enter()
        qt.QTimer.singleShot(0, self._showWhatIsMissing)

    def exit(self):
        """The user goes to another module; running work goes on."""
        self._isEntered = False
        for section in self.sections.values():
            section.exit()
        self.setParameterNode(None)

    def cleanup(self):
        """End all work, and leave nothing behind that would still listen to the scene."""
        if self.logic is None:  # Slicer may clean up twice, or a widget that was never set up
            return
        slicer.app.disconnect("aboutToQuit()", self.onAboutToQuit)
        self.logic.listeners.remove(self._refresh)
        self.setParameterNode(None)
        self.removeObservers()
        for section in self.sections.values():
            section.cleanup()
        self.sections = {}
        self.logic.shutDown()
        self.logic = None

    def onReload(self):
        """Reload our packages too: Slicer by itself executes only this script again."""
        for name in [name for name in sys.modules if name.split(".")[0] in ("CRGLoCoSegmentLib", "crgloco")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onAboutToQuit(self):
        """End all work while the event loop still lives; no dialog may open here."""
        if self.logic is not None:
            self.logic.shutDown()

    def onSceneStartClose(self, _caller=None, _event=None):
        """Let the parameter node go before the scene resets it, and end the work on its nodes."""
        self.setParameterNode(None)
        self.logic.sceneClosed()

    def onSceneEndClose(self, _caller=None, _event=None):
        """Start anew if the user looks at this module."""
        if self._isEntered:
            self.initializeParameterNode()

    def onSceneStartImport(self, _caller=None, _event=None):
        """Let the parameter node go: selectors forget their nodes while a scene is added to this one."""
        self.setParameterNode(None)
        self._refresh("scene")

    def onSceneEndImport(self, _caller=None, _event=None):
        """Show the results that came with a scene."""
        self._takeUpScene()
        if self._isEntered:
            self.initializeParameterNode()
        self._refresh("scene")

    def onNodeAdded(self, _caller=None, _event=None):
        """Take the first volume that is loaded as input, once it is complete."""
        if self._parameterNode is not None and self._parameterNode.inputVolume is None:
            qt.QTimer.singleShot(0, self.proposeVolume)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, _caller=None, _event=None, node=None):
        """Show no answer and no overlay that the user has deleted; once, where several go together."""
        from CRGLoCoSegmentLib.nodes.results import mayBeOfResult

        if not self._isResultGone and mayBeOfResult(node) and not slicer.mrmlScene.IsClosing():
            self._isResultGone = True
            qt.QTimer.singleShot(0, self._showWhatIsLeft)

    def _showWhatIsLeft(self):
        self._isResultGone = False
        self._refresh("result")

    def initializeParameterNode(self):
        """Bind the panels to this scene's parameter node; propose a volume if none is chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        self.proposeVolume()

    def proposeVolume(self):
        """Choose the volume that the user looks at, if none is chosen."""
        from CRGLoCoSegmentLib.nodes.inputs import proposedVolume

        if self._parameterNode is not None and self._parameterNode.inputVolume is None:
            volume = proposedVolume()
            if volume is not None:
                self._parameterNode.inputVolume = volume

    def setParameterNode(self, parameters):
        """Bind the panels to a parameter node; ``None`` lets it go."""
        modified, heard = vtk.vtkCommand.ModifiedEvent, self._onParametersModified
        if self._parameterNode is not None:
            self.removeObserver(self._parameterNode.parameterNode, modified, heard)
        self._parameterNode = parameters
        if parameters is not None:
            # Behind the wrapper, which remembers its values and hears by this event what a script has set.
            # And before the widgets are bound: with nobody behind them, VTK tells the first observer last.
            self.addObserver(parameters.parameterNode, modified, heard, priority=-1.0)
        for section in self.sections.values():
            section.setParameters(parameters)

    def _takeUpScene(self):
        """Note edits of answers from now on, and show segmentations as the user had chosen."""
        from CRGLoCoSegmentLib.nodes.results import noteEditsIn

        noteEditsIn(slicer.mrmlScene)
        self.logic.view.sceneImported()

    def _showWhatIsMissing(self):
        """Open the section that can help, after the module is shown: looking takes some milliseconds."""
        if self.logic is None:
            return
        if not self.logic.environment.isReady():
            self.sections["environment"].open()
        elif not self._looked:
            self._looked = True
            qt.QTimer.singleShot(LOOK_AFTER_MS, self._lookForGraphicsCards)
        if self.logic.cases.keepsWord:  # of a label that was on its way when Slicer closed
            self.sections["cases"].open()

    def _lookForGraphicsCards(self):
        """Ask a process in the background, once the user has settled here: devices to choose are listed."""
        if self.logic is not None and self._isEntered and not self.logic.environment.gpus():
            self.logic.environment.check()

    def _onParametersModified(self, _caller=None, _event=None):
        self._refresh("parameters")

    def _refresh(self, what):
        for section in self.sections.values():
            section.refresh(what)


class CRGLoCoSegmentLogic(SegmentLogic, ScriptedLoadableModuleLogic):
    """For scripts: ``CRGLoCoSegmentLogic()`` or ``slicer.util.getModuleLogic("CRGLoCoSegment")``.

    See ``CRGLoCoSegmentLib.logic.SegmentLogic`` for what it can do, with an example.
    """

    def __init__(self, **collaborators):
        SegmentLogic.__init__(self, **collaborators)
        ScriptedLoadableModuleLogic.__init__(self)

    def getParameterNode(self):
        """Return the scene's parameter node, wrapped: see ``CRGLoCoSegmentLib.parameters``."""
        from CRGLoCoSegmentLib.parameters import Parameters

        return Parameters(ScriptedLoadableModuleLogic.getParameterNode(self))


class CRGLoCoSegmentTest(ScriptedLoadableModuleTest):
    """The self-test of Slicer's developer section and of ctest; needs no torch and no main window."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run every test of this class."""
        for test in (self.test_everySectionIsBuilt, self.test_theEngineLiesBesideTheModule):
            self.setUp()
            test()

    def test_everySectionIsBuilt(self):
        """Open every section as a user would."""
        sections = slicer.util.getModuleWidget("CRGLoCoSegment").sections
        self.assertEqual({name: section.button.text for name, section in sections.items()}, panelTitles())
        for section in sections.values():
            section.open()
            self.assertIsNotNone(section.panel, section.name)

    def test_theEngineLiesBesideTheModule(self):
        """Find the engine and the resources that were packaged with the script."""
        logic = CRGLoCoSegmentLogic()
        self.assertRegex(logic.engineVersion(), r"^\d+\.\d+\.\d+")
        self.assertTrue((logic.resourcesFolder() / "requirements.txt").is_file())
