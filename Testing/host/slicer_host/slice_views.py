"""Slice views of the test host: real MRML slice logic and displayable managers on an offscreen window.

What a real ``qMRMLSliceWidget`` puts on the screen is drawn by VTK, not by Qt: the slice logic blends
the layers, displayable managers add outlines, legends and crosshairs. This file joins those same parts,
so that a picture of a view is what Slicer would show. It needs neither Qt nor a display.
"""

import ctypes
import os
import sys
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from slicer_host.surface import classSurface
from slicer_host.system_libraries import installLine

# Those of Slicer's slice views that draw something without a user's mouse.
DISPLAYABLE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
)
IMAGE_WINDOW, IMAGE_LEVEL = 255.0, 127.5
LOWER_LEFT = 0
FONT_PIXELS = 14


OFFSCREEN = {"libEGL.so.1": "vtkEGLRenderWindow", "libOSMesa.so.8": "vtkOSOpenGLRenderWindow"}


@lru_cache(maxsize=1)
def whyNoPictures() -> str:
    """Say what is missing to draw without a display; empty if nothing is.

    As a side effect, VTK learns which of its windows to use: else it complains about the missing display.
    """
    if sys.platform != "linux" or os.environ.get("DISPLAY"):
        return ""
    for library, window in OFFSCREEN.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", window)
        return ""
    return f"no display, and neither {' nor '.join(OFFSCREEN)}; as root: {installLine()}"


class Stand:
    """Stands for a widget: takes only properties that the real one has."""

    surfaceName = ""

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in classSurface(self.surfaceName).properties:
            msg = f"{self.surfaceName} has no property {name!r}."
            raise AttributeError(msg)
        object.__setattr__(self, name, value)


class Label(Stand):
    """Stands for the letter in a view's bar."""

    surfaceName = "qt.QLabel"

    def __init__(self) -> None:
        self.text = ""
        self.toolTip = ""


class SliceController(Stand):
    """Stands for the coloured bar of a slice view."""

    surfaceName = "slicer.qMRMLSliceControllerWidget"

    def __init__(self, logic: Any) -> None:
        self._logic = logic
        self._label = Label()
        self.toolTip = ""

    def viewLabel(self) -> Label:
        """The letter."""
        self._label.text = self._logic.GetSliceNode().GetLayoutLabel() or ""
        return self._label

    def sliceLogic(self) -> Any:
        """The view's logic."""
        return self._logic

    def mrmlSliceNode(self) -> Any:
        """Where the slice lies."""
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        """What is blended."""
        return self._logic.GetSliceCompositeNode()

    def setSliceOffsetValue(self, offset: float) -> None:
        """Move the slice as the bar's slider does: linked views follow."""
        self._logic.StartSliceOffsetInteraction()
        self._logic.SetSliceOffset(offset)
        self._logic.EndSliceOffsetInteraction()

    def fitSliceToBackground(self) -> None:
        """Fit as the bar's button does: linked views follow."""
        self._logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.ResetFieldOfViewFlag)
        self._logic.FitSliceToBackground()
        self._logic.GetSliceNode().UpdateMatrices()
        self._logic.EndSliceNodeInteraction()


class SliceView(Stand):
    """Stands for the drawing area: one render window with Slicer's own displayable managers."""

    surfaceName = "slicer.qMRMLSliceView"

    def __init__(self, logic: Any) -> None:
        self._logic = logic
        self._renderer = vtk.vtkRenderer()
        self._window = _renderWindow(self._renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._mapper = vtk.vtkImageMapper()
        self._image = vtk.vtkActor2D()
        self._corner = vtk.vtkCornerAnnotation()
        self._prepareImage()
        self._prepareCorner()
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self._managers = factory.InstantiateDisplayableManagers(self._renderer)
        self._managers.UnRegister(None)  # it was made for us; else no view would ever free its window
        self._shown = ""

    def _prepareImage(self) -> None:
        self._mapper.SetColorWindow(IMAGE_WINDOW)
        self._mapper.SetColorLevel(IMAGE_LEVEL)
        self._image.SetMapper(self._mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(self._image)

    def _prepareCorner(self) -> None:
        """The defaults of Slicer's DataProbe module, which writes the layers' names."""
        self._corner.SetMaximumFontSize(FONT_PIXELS)
        self._corner.SetMinimumFontSize(FONT_PIXELS)
        self._corner.SetNonlinearFontScaleFactor(1)
        self._corner.GetTextProperty().SetFontFamilyToTimes()
        self._corner.GetTextProperty().SetShadow(1)
        self._renderer.AddViewProp(self._corner)

    def renderWindow(self) -> Any:
        """The offscreen window."""
        return self._window

    def cornerAnnotation(self) -> Any:
        """The texts in the corners."""
        return self._corner

    def displayableManagerByClassName(self, name: str) -> Any:
        """One of Slicer's displayable managers."""
        return self._managers.GetDisplayableManagerByClassName(name)

    def mrmlSliceNode(self) -> Any:
        """Where the slice lies."""
        return self._logic.GetSliceNode()

    def scheduleRender(self) -> None:
        """Nothing to do: the host draws when a picture is taken."""

    def forceRender(self) -> None:
        """Draw now."""
        self._render()

    def _setSliceNode(self, node: Any) -> None:
        self._managers.SetMRMLDisplayableNode(node)

    def _resize(self, width: int, height: int) -> None:
        self._window.SetSize(width, height)
        self._logic.ResizeSliceNode(width, height)

    def _render(self) -> npt.NDArray[np.uint8]:
        self._corner.SetText(LOWER_LEFT, _layerNames(self._logic))
        connection = self._logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        self._image.SetVisibility(connection is not None)
        self._window.Render()
        return _pixels(self._window)

    def _close(self) -> None:
        self._mapper.RemoveAllInputConnections(0)
        self._managers.SetMRMLDisplayableNode(None)
        self._window.Finalize()


class SliceWidget(Stand):
    """Stands for one slice view with its bar."""

    surfaceName = "slicer.qMRMLSliceWidget"

    def __init__(self, node: Any, scene: Any, applicationLogic: Any, logics: Any) -> None:
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(applicationLogic)
        logics.AddItem(self._logic)
        self._view = SliceView(self._logic)
        self._controller = SliceController(self._logic)
        self._logic.SetSliceNode(node)
        self._logic.SetMRMLScene(scene)
        self._view._setSliceNode(node)
        self.toolTip = ""

    def sliceLogic(self) -> Any:
        """The real vtkMRMLSliceLogic."""
        return self._logic

    def mrmlSliceNode(self) -> Any:
        """Where the slice lies."""
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        """What is blended."""
        return self._logic.GetSliceCompositeNode()

    def sliceView(self) -> SliceView:
        """The drawing area."""
        return self._view

    def sliceController(self) -> SliceController:
        """The bar."""
        return self._controller

    def fitSliceToBackground(self) -> None:
        """Fit as the bar's button does."""
        self._controller.fitSliceToBackground()

    def _close(self) -> None:
        self._view._close()
        self._logic.SetMRMLScene(None)


def pictureOf(widget: SliceWidget) -> npt.NDArray[np.uint8]:
    """Draw a view, without its bar: (rows, columns, 3), first row on top."""
    return widget.sliceView()._render()


def _renderWindow(renderer: Any) -> Any:
    if missing := whyNoPictures():
        raise OSError(missing)
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetNumberOfLayers(2)
    window.AddRenderer(renderer)
    window.SetSize(300, 300)
    return window


def _pixels(window: Any) -> npt.NDArray[np.uint8]:
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.SetInputBufferTypeToRGB()
    grabber.ReadFrontBufferOff()
    grabber.ShouldRerenderOff()
    grabber.Update()
    image = grabber.GetOutput()
    width, height, _ = image.GetDimensions()
    pixels: npt.NDArray[np.uint8] = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3)
    return pixels[::-1].copy()


def _layerNames(logic: Any) -> str:
    """The lower left text as DataProbe writes it: shortened in the middle to fit the view."""
    longest = int((logic.GetSliceNode().GetDimensions()[0] - 40) / FONT_PIXELS)
    lines = []
    composite = logic.GetSliceCompositeNode()
    foreground = logic.GetForegroundLayer().GetVolumeNode() if logic.GetForegroundLayer() else None
    background = logic.GetBackgroundLayer().GetVolumeNode() if logic.GetBackgroundLayer() else None
    if foreground is not None:
        lines.append(f"F: {foreground.GetName()} ({int(composite.GetForegroundOpacity() * 100)}%)")
    if background is not None:
        lines.append(f"B: {background.GetName()}")
    return "\n".join(_shortened(line, longest) for line in lines)


def _shortened(text: str, longest: int) -> str:
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]}...{text[-(half - 3) :]}"
