"""The MRML world that Slicer sets up at its start: scene, logics, subject hierarchy."""

from dataclasses import dataclass
from typing import Any

import slicer
import vtk

# Nodes that have a place in the data tree; in Slicer the plugins of the subject hierarchy decide.
IN_HIERARCHY = [
    "vtkMRMLVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLTableNode",
    "vtkMRMLTextNode",
    "vtkMRMLTransformNode",
    "vtkMRMLModelNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLPlotSeriesNode",
    "vtkMRMLPlotChartNode",
    "vtkMRMLSequenceNode",
]


@dataclass(frozen=True)
class World:
    """What lives as long as the application.

    Attributes:
        scene: The one scene.
        applicationLogic: It knows the selection and the module logics.
        logics: Module logics by the module's name.
    """

    scene: Any
    applicationLogic: Any
    logics: dict[str, Any]


def makeWorld(home: str) -> World:
    """Set up the scene and the logics as Slicer does.

    Args:
        home: A folder for ``slicerHome``.
    """
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetHomeDirectory(home)
    application.SetMRMLScene(scene)
    logics = {
        "Colors": slicer.vtkSlicerColorLogic(),
        "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
        "Volumes": slicer.vtkSlicerVolumesLogic(),
        "Terminologies": slicer.vtkSlicerTerminologiesModuleLogic(),
        "Plots": slicer.vtkSlicerPlotsLogic(),
        "Tables": slicer.vtkSlicerTablesLogic(),
        "Units": slicer.vtkSlicerUnitsLogic(),
        "SubjectHierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic(),
        "Transforms": slicer.vtkSlicerTransformLogic(),
        "Sequences": slicer.vtkSlicerSequencesLogic(),
    }
    for name, logic in logics.items():
        _attach(name, logic, application, scene)
    _keepHierarchy(scene)
    return World(scene, application, logics)


def _attach(name: str, logic: Any, application: Any, scene: Any) -> None:
    # Slicer's own files of colours and terms are not in the wheel; their absence is no fault of ours.
    shown = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    application.SetModuleLogic(name, logic)
    vtk.vtkObject.SetGlobalWarningDisplay(shown)


def hierarchy(scene: Any) -> Any:
    """The scene's subject hierarchy node."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def _keepHierarchy(scene: Any) -> None:
    """Give each data node its item, and take it away with the node, as the plugin handler does."""

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(_scene: Any, _event: str, node: Any) -> None:
        if not node.GetHideFromEditors() and any(node.IsA(kind) for kind in IN_HIERARCHY):
            tree = hierarchy(scene)
            if tree.GetItemByDataNode(node) == 0:
                tree.CreateItem(tree.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def leaving(_scene: Any, _event: str, node: Any) -> None:
        if not scene.IsClosing():
            tree = hierarchy(scene)
            item = tree.GetItemByDataNode(node)
            if item:
                tree.RemoveItem(item, False, False)

    scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, added)
    scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, leaving)
    hierarchy(scene)
