"""The layout manager of the test host: real layout logic, slice views side by side, pictures of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from slicer_host.slice_views import DISPLAYABLE_MANAGERS, SliceWidget, Stand, pictureOf

Picture = npt.NDArray[np.uint8]
BAR = 24
GAP = 4
POSITIVE_AXES = "RAS"
NEGATIVE_AXES = "LPI"


@dataclass(frozen=True)
class Place:
    """Where a view lies in the view area, in pixels from the upper left."""

    node: Any
    left: int
    top: int
    width: int
    height: int


class ThreeDWidget(Stand):
    """Stands for a 3D view; nothing is drawn in it."""

    surfaceName = "slicer.qMRMLThreeDWidget"

    def __init__(self, node: Any) -> None:
        self._node = node

    def mrmlViewNode(self) -> Any:
        """The real view node."""
        return self._node


class LayoutManager:
    """Stands for ``slicer.app.layoutManager()``.

    Args:
        scene: The MRML scene.
        applicationLogic: The real application logic; it gets the slice logics, and links views with them.
        size: Width and height of the view area in pixels.
    """

    def __init__(self, scene: Any, applicationLogic: Any, size: tuple[int, int] = (900, 600)) -> None:
        self._scene = scene
        self._applicationLogic = applicationLogic
        self._size = size
        self._widgets: dict[str, SliceWidget] = {}
        self._adding = False
        self._listeners: list[Callable[..., None]] = []
        self._logics = vtk.vtkCollection()
        applicationLogic.SetSliceLogics(self._logics)
        if scene.GetFirstNodeByClass("vtkMRMLCrosshairNode") is None:  # else Slicer's application does it
            scene.AddNode(slicer.vtkMRMLCrosshairNode())
        _registerDisplayableManagers(applicationLogic)
        self._layoutLogic = slicer.vtkMRMLLayoutLogic()
        self._layoutLogic.SetMRMLScene(scene)
        self._observed: list[tuple[Any, int]] = []
        self._observe(scene, scene.NodeAddedEvent, self._onNodeAdded)
        self._observe(scene, scene.NodeRemovedEvent, self._onNodeRemoved)
        self._observe(scene, scene.EndBatchProcessEvent, self._onBatchEnd)
        self._observe(self._layoutLogic.GetLayoutNode(), vtk.vtkCommand.ModifiedEvent, self._onLayout)
        self._told = self.layout
        self._addMissingViews()
        self._arrange()

    def _observe(self, subject: Any, event: Any, callback: Any) -> None:
        self._observed.append((subject, subject.AddObserver(event, callback)))

    # ------------------------------------------------------------------ what the real one has

    @property
    def layout(self) -> int:
        """The present arrangement."""
        return int(self._layoutLogic.GetLayoutNode().GetViewArrangement())

    @layout.setter
    def layout(self, layout: int) -> None:
        self.setLayout(layout)

    def setLayout(self, layout: int) -> None:
        """Show another arrangement; an unknown one becomes the conventional one, as in Slicer."""
        node = self._layoutLogic.GetLayoutNode()
        if self.layout == layout:
            return
        if not node.IsLayoutDescription(layout):
            layout = node.SlicerLayoutConventionalView
        node.RemoveAllMaximizedViewNodes()
        node.SetViewArrangement(layout)

    def layoutLogic(self) -> Any:
        """The real vtkMRMLLayoutLogic."""
        return self._layoutLogic

    def mrmlScene(self) -> Any:
        """The scene."""
        return self._scene

    def mrmlSliceLogics(self) -> Any:
        """A vtkCollection of the slice logics."""
        return self._logics

    def sliceViewNames(self) -> tuple[str, ...]:
        """Every slice view of the scene, shown or not."""
        return tuple(widget.mrmlSliceNode().GetName() for widget in self._widgets.values())

    def sliceWidget(self, name: str) -> SliceWidget | None:
        """A slice view by its name."""
        found = [w for w in self._widgets.values() if w.mrmlSliceNode().GetName() == name]
        return found[0] if found else None

    @property
    def threeDViewCount(self) -> int:
        """How many 3D views the scene has."""
        return int(self._scene.GetNumberOfNodesByClass("vtkMRMLViewNode"))

    def threeDWidget(self, number: int) -> ThreeDWidget | None:
        """A 3D view by its number."""
        node = self._scene.GetNthNodeByClass(number, "vtkMRMLViewNode")
        return None if node is None else ThreeDWidget(node)

    def connect(self, signature: str, callback: Callable[..., None]) -> bool:
        """Hear of changes; the one signal that the host sends is ``layoutChanged(int)``."""
        if signature != "layoutChanged(int)":
            msg = f"The host's layout manager does not send {signature!r}."
            raise ValueError(msg)
        self._listeners.append(callback)
        return True

    def disconnect(self, signature: str, callback: Callable[..., None]) -> bool:
        """Hear of changes no longer."""
        self._listeners = [one for one in self._listeners if one != callback]
        return signature == "layoutChanged(int)"

    def resetSliceViews(self) -> None:
        """Fit every slice view to its volume."""
        for widget in self._widgets.values():
            widget.fitSliceToBackground()

    # ------------------------------------------------------------------ what only the host has

    def resize(self, width: int, height: int) -> None:
        """Give the view area another size."""
        self._size = (width, height)
        self._arrange()

    def shownViews(self) -> tuple[str, ...]:
        """The slice views of the present arrangement, left to right."""
        return tuple(place.node.GetName() for place in self._places() if _isSlice(place.node))

    def picture(self) -> Picture:
        """Draw the view area: (rows, columns, 3)."""
        width, height = self._size
        canvas = np.full((height, width, 3), 239, np.uint8)
        for place in self._places():
            _paste(canvas, self._drawn(place), place.left, place.top)
        return canvas

    def grab(self, path: str | Path) -> Path:
        """Write a picture of the view area as PNG."""
        return writePicture(self.picture(), Path(path))

    def close(self) -> None:
        """Let the scene go."""
        for subject, tag in self._observed:
            subject.RemoveObserver(tag)
        for node in list(self._widgets):
            self._remove(node)
        self._layoutLogic.SetMRMLScene(None)
        self._applicationLogic.SetSliceLogics(None)

    # ------------------------------------------------------------------ views come and go

    def _onNodeAdded(self, *_: Any) -> None:
        if not self._scene.IsBatchProcessing() and not self._adding:
            self._addMissingViews()

    def _onBatchEnd(self, *_: Any) -> None:
        self._addMissingViews()
        self._arrange()

    def _onNodeRemoved(self, *_: Any) -> None:
        for node in [node for node in self._widgets if self._scene.GetNodeByID(node) is None]:
            self._remove(node)

    def _addMissingViews(self) -> None:
        self._adding = True  # a view's logic adds nodes of its own, which leads back to here
        try:
            for number in range(self._scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
                node = self._scene.GetNthNodeByClass(number, "vtkMRMLSliceNode")
                if node.GetID() not in self._widgets:
                    widget = SliceWidget(node, self._scene, self._applicationLogic, self._logics)
                    self._widgets[node.GetID()] = widget
        finally:
            self._adding = False

    def _remove(self, node: str) -> None:
        widget = self._widgets.pop(node)
        self._logics.RemoveItem(widget.sliceLogic())
        widget._close()

    def _onLayout(self, *_: Any) -> None:
        self._addMissingViews()
        self._arrange()
        if self.layout != self._told:
            self._told = self.layout
            for callback in tuple(self._listeners):
                callback(self.layout)

    def _arrange(self) -> None:
        for place in self._places():
            if _isSlice(place.node) and place.node.GetID() in self._widgets:
                view = self._widgets[place.node.GetID()].sliceView()
                view._resize(place.width, max(place.height - BAR, 1))

    def _places(self) -> list[Place]:
        root = self._layoutLogic.GetLayoutNode().GetLayoutRootElement()
        return [] if root is None else self._divide(root, 0, 0, *self._size)

    def _divide(self, element: Any, left: int, top: int, width: int, height: int) -> list[Place]:
        """Give every view of a layout element its part; horizontal and vertical ones share evenly."""
        if element.GetName() == "view":
            node = self._layoutLogic.GetViewFromElement(element)
            return [] if node is None else [Place(node, left, top, width, height)]
        parts = [element.GetNestedElement(n) for n in range(element.GetNumberOfNestedElements())]
        if element.GetAttribute("type") == "tab":
            parts = parts[:1]
        vertical = element.GetName() == "layout" and element.GetAttribute("type") == "vertical"
        count = max(len(parts), 1)
        places = []
        for number, part in enumerate(parts):
            if vertical:
                size = (height - GAP * (count - 1)) // count
                places += self._divide(part, left, top + number * (size + GAP), width, size)
            else:
                size = (width - GAP * (count - 1)) // count
                places += self._divide(part, left + number * (size + GAP), top, size, height)
        return places

    def _drawn(self, place: Place) -> Picture:
        canvas = np.full((place.height, place.width, 3), (160, 160, 190), np.uint8)
        if _isSlice(place.node):
            widget = self._widgets[place.node.GetID()]
            _paste(canvas, _bar(widget, place.width), 0, 0)
            _paste(canvas, pictureOf(widget), 0, BAR)
        return canvas


def writePicture(picture: Picture, path: Path) -> Path:
    """Write (rows, columns, 3) as PNG."""
    rows, columns, _ = picture.shape
    image = vtk.vtkImageData()
    image.SetDimensions(columns, rows, 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(picture[::-1]).reshape(-1, 3), deep=1))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.Write()
    return path


def _registerDisplayableManagers(applicationLogic: Any) -> None:
    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    factory.SetMRMLApplicationLogic(applicationLogic)
    for name in DISPLAYABLE_MANAGERS:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)


def _isSlice(node: Any) -> bool:
    return bool(node.IsA("vtkMRMLSliceNode"))


def _bar(widget: SliceWidget, width: int) -> Picture:
    """The coloured bar: letter on the left, offset on the right."""
    node = widget.mrmlSliceNode()
    colour = np.asarray(node.GetLayoutColor()) * 255
    canvas = np.empty((BAR, width, 3), np.uint8)
    canvas[:] = colour.astype(np.uint8)
    letter = _written(widget.sliceController().viewLabel().text)
    offset = _written(_offset(widget.sliceLogic()))
    _write(canvas, letter, 8)
    _write(canvas, offset, width - offset.shape[1] - 8)
    return canvas


def _offset(logic: Any) -> str:
    """The offset as Slicer's bar tells it: the axis that the slice looks along most, and millimetres."""
    normal = [logic.GetSliceNode().GetSliceToRAS().GetElement(row, 2) for row in range(3)]
    axis = int(np.argmax(np.abs(normal)))
    letter = (POSITIVE_AXES if normal[axis] >= 0 else NEGATIVE_AXES)[axis]
    return f"{letter}: {logic.GetSliceOffset():.4f}mm"


def _written(text: str) -> Picture:
    """Coverage (rows, columns) 0..255 of a short text."""
    if not text:
        return np.zeros((1, 1), np.uint8)
    font = vtk.vtkTextProperty()
    font.SetFontSize(14)
    font.SetColor(1, 1, 1)
    image = vtk.vtkImageData()
    size = [0, 0]
    vtk.vtkTextRenderer.GetInstance().RenderString(font, text, image, size, 72)
    columns, rows, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)
    return pixels[: size[1], : size[0], 3][::-1]


def _write(canvas: Picture, coverage: Picture, left: int) -> None:
    """Write in black, in the middle of the height."""
    rows, columns = coverage.shape
    top = max((canvas.shape[0] - rows) // 2, 0)
    part = canvas[top : top + rows, max(left, 0) : max(left, 0) + columns]
    covered = coverage[: part.shape[0], : part.shape[1], None] / 255
    part[:] = (part * (1 - covered)).astype(np.uint8)


def _paste(canvas: Picture, part: Picture, left: int, top: int) -> None:
    rows, columns = part.shape[:2]
    space = canvas[top : top + rows, left : left + columns]
    space[:] = part[: space.shape[0], : space.shape[1]]
