"""Real slice views on an offscreen window, for the comparison."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import slicer

HOST = Path(__file__).parents[2] / "host"
if str(HOST) not in sys.path:
    sys.path.insert(0, str(HOST))

if TYPE_CHECKING:
    from CRGLoCoSegmentLib.views.compare import CompareView
    from slicer_host.layout_manager import LayoutManager


@pytest.fixture
def layouts(scene: Any) -> "Iterator[LayoutManager]":
    """The layout manager of an application with a main window."""
    from slicer_host.layout_manager import LayoutManager
    from slicer_host.slice_views import whyNoPictures

    if missing := whyNoPictures():
        pytest.skip(missing)
    application = slicer.vtkMRMLApplicationLogic()
    application.GetColorLogic().SetMRMLScene(scene)
    application.SetMRMLScene(scene)
    manager = LayoutManager(scene, application, (640, 344))
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    yield manager
    manager.close()
    application.SetMRMLScene(None)


@pytest.fixture
def view(layouts: "LayoutManager") -> "Iterator[CompareView]":
    """The comparison in that application."""
    from CRGLoCoSegmentLib.views.compare import CompareView
    from grids import outlineOf

    made = CompareView(
        outline=lambda result, onFound: onFound(lambda: outlineOf(result)),
        layoutManager=lambda: layouts,
        later=lambda call: call(),
    )
    yield made
    made.shutDown()
