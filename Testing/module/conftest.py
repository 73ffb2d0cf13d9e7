"""A scene for every test, in the MRML of slicer-core: no Qt, no application; errors that VTK prints count."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer
import vtk

REPOSITORY = Path(__file__).parents[2]
for folder in (REPOSITORY / "CRGLoCoSegment", REPOSITORY / "Testing" / "module"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty scene that is also ``slicer.mrmlScene``, with the classes that modules of Slicer register."""
    made = slicer.vtkMRMLScene()
    segmentations = slicer.vtkSlicerSegmentationsModuleLogic()
    segmentations.SetMRMLScene(made)
    made.segmentations = segmentations
    monkeypatch.setattr(slicer, "mrmlScene", made, raising=False)
    yield made
    made.Clear(1)
    del made.segmentations


@pytest.fixture(autouse=True)
def _noErrorsOfVtk() -> Iterator[None]:
    """What VTK reports as an error or a warning fails the test, unless the test says it expects that."""
    window = slicer.vtkTestingOutputWindow()
    before = vtk.vtkOutputWindow.GetInstance()
    vtk.vtkOutputWindow.SetInstance(window)
    yield
    vtk.vtkOutputWindow.SetInstance(before)
    assert window.GetNumberOfLoggedWarningErrorMessages() == 0, "VTK reported errors; see the captured output"
