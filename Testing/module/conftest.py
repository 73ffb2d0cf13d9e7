"""A scene for every test, in the MRML of slicer-core: no Qt, no application; errors that VTK prints count."""

import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
for folder in (REPOSITORY / name for name in ("CRGLoCoSegment", "Testing/module", "Testing/host")):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from slicer_host.system_libraries import skippedModule, whyMissing  # noqa: E402 (after the path)

MISSING = whyMissing("slicer_core")
if MISSING is None:
    import slicer
    import vtk

    if "slicer.i18n" not in sys.modules and importlib.util.find_spec("slicer.i18n") is None:
        # slicer-core comes without Slicer's translations.
        sys.modules["slicer.i18n"] = types.ModuleType("slicer.i18n")
        sys.modules["slicer.i18n"].tr = lambda text: text


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip each file, with the reason, where slicer-core cannot be loaded."""
    return skippedModule(parent, module_path, MISSING)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty scene that is also ``slicer.mrmlScene``, with the classes that modules of Slicer register."""
    made = slicer.vtkMRMLScene()
    # As in Slicer, where the modules' logics add the colour tables and register the segment editor's node.
    logics = [slicer.vtkSlicerSegmentationsModuleLogic(), slicer.vtkMRMLColorLogic()]
    for logic in logics:
        logic.SetMRMLScene(made)
    made.segmentations = logics[0]
    monkeypatch.setattr(slicer, "mrmlScene", made, raising=False)
    yield made
    made.Clear(1)
    del made.segmentations


@pytest.fixture(autouse=True)
def _no_errors_of_vtk() -> Iterator[None]:
    """What VTK reports as an error or a warning fails the test, unless the test says it expects that."""
    window = slicer.vtkTestingOutputWindow()
    before = vtk.vtkOutputWindow.GetInstance()
    vtk.vtkOutputWindow.SetInstance(window)
    yield
    vtk.vtkOutputWindow.SetInstance(before)
    assert window.GetNumberOfLoggedWarningErrorMessages() == 0, "VTK reported errors; see the captured output"


@pytest.fixture
def hierarchy(scene: Any) -> Any:
    """The subject hierarchy, with an item for every node as in Slicer, where a Qt plug-in makes them."""
    node = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def addItem(_scene: Any, _event: str, added: Any) -> None:
        if added.IsA("vtkMRMLDisplayableNode"):
            node.CreateItem(node.GetSceneItemID(), added)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def removeItem(_scene: Any, _event: str, removed: Any) -> None:
        item = node.GetItemByDataNode(removed) if removed.IsA("vtkMRMLDisplayableNode") else 0
        if item:
            node.RemoveItem(item, False)

    scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, addItem)
    scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, removeItem)
    return node
