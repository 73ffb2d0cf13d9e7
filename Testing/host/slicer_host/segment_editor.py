"""``qMRMLSegmentEditorWidget``: Slicer's real editor logic (undo, masking) behind a plain face."""

from typing import Any

import slicer
from PySide6.QtCore import Property, QItemSelection, Qt, Signal, Slot
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QToolButton, QVBoxLayout, QWidget

from slicer_host.faults import faults
from slicer_host.mrml_widgets import qMRMLNodeComboBox, qMRMLWidget
from slicer_host.observers import Observers
from slicer_host.segment_list import qMRMLSegmentsTableView
from slicer_host.stored import stored

EFFECTS = [
    "Threshold",
    "Paint",
    "Draw",
    "Erase",
    "Level tracing",
    "Grow from seeds",
    "Fill between slices",
    "Margin",
    "Hollow",
    "Smoothing",
    "Scissors",
    "Islands",
    "Logical operators",
    "Mask volume",
]


class EditorOrderError(RuntimeError):
    """Something was set too early; in Slicer that is an error in the log, or a crash."""


class Effect:
    """The active effect: it has a name, and parameters of the editor node."""

    def __init__(self, name: str, node: Any) -> None:
        self.name = name
        self._node = node

    def setParameter(self, name: str, value: Any) -> None:
        """Set a parameter of the effect."""
        self._node.SetAttribute(f"{self.name}.{name}", str(value))

    def parameter(self, name: str) -> str:
        """A parameter of the effect."""
        return self._node.GetAttribute(f"{self.name}.{name}") or ""


def _part(name: str) -> Property:
    def isShown(self: Any) -> bool:
        return not self._parts[name].isHidden()

    def show(self: Any, shown: bool) -> None:
        self._parts[name].setVisible(shown)

    return Property(bool, isShown, show)


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """The embedded editor; the order scene, editor node, segmentation, source volume is enforced."""

    currentSegmentIDChanged = Signal(str)
    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)
    masterVolumeNodeChanged = Signal(object)
    autoShowSourceVolumeNode = stored(bool, "autoShowSourceVolumeNode", True)
    defaultTerminologyEntry = stored(str, "defaultTerminologyEntry", "")
    defaultTerminologyEntrySettingsKey = stored(str, "defaultTerminologyEntrySettingsKey", "")
    effectButtonStyle = stored(int, "effectButtonStyle", 2)
    effectColumnCount = stored(int, "effectColumnCount", 2)
    jumpToSelectedSegmentEnabled = stored(bool, "jumpToSelectedSegmentEnabled", False)
    maskingSectionVisible = stored(bool, "maskingSectionVisible", True)
    readOnly = stored(bool, "readOnly", False)
    specifyGeometryButtonVisible = stored(bool, "specifyGeometryButtonVisible", True)
    unorderedEffectsVisible = stored(bool, "unorderedEffectsVisible", True)
    addRemoveSegmentButtonsVisible, undoEnabled = _part("addRemove"), _part("undo")
    segmentationNodeSelectorVisible, sourceVolumeNodeSelectorVisible = _part("segmentation"), _part("source")
    show3DButtonVisible, switchToSegmentationsButtonVisible = _part("show3D"), _part("switch")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._logic.SetMaximumNumberOfUndoStates(10)
        self._effect = ""
        self._order = list(EFFECTS)
        self._watch = Observers(self)
        self._historyWatch = Observers(self)
        self.shortcutsInstalled = self.viewsObserved = False
        self._parts: dict[str, QWidget] = {}
        self._effectButtons: dict[str, QToolButton] = {}
        self._build()
        self._historyWatch.add(
            self._logic,
            slicer.vtkSlicerSegmentEditorLogic.SegmentationHistoryChangedEvent,
            type(self)._showUndo,
        )
        logic = self._logic
        self.destroyed.connect(lambda *_given: _checkTeardown(logic))

    # ------------------------------------------------------------------ the face

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for name, text, kind in (
            ("segmentation", "Segmentation:", "vtkMRMLSegmentationNode"),
            ("source", "Source volume:", "vtkMRMLScalarVolumeNode"),
        ):
            layout.addWidget(self._selector(name, text, kind))
        layout.addWidget(self._segmentButtons())
        self._list = qMRMLSegmentsTableView()
        self._list.selectionChanged.connect(self._onSelection)
        self._list.setMinimumHeight(120)
        layout.addWidget(self._list)
        layout.addWidget(QLabel("Effects"))
        layout.addWidget(self._effectGrid())
        layout.addWidget(self._undoButtons())

    def _selector(self, name: str, text: str, kind: str) -> QWidget:
        row, selector = QWidget(), qMRMLNodeComboBox()
        box = QHBoxLayout(row)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(QLabel(text))
        box.addWidget(selector, 1)
        selector.setProperty("nodeTypes", [kind])
        selector.setProperty("noneEnabled", True)
        setter = {"segmentation": self.setSegmentationNode, "source": self.setSourceVolumeNode}[name]
        selector.nodeActivated.connect(setter)
        self._parts[name] = row
        self.__dict__[f"_{name}Selector"] = selector
        return row

    def _segmentButtons(self) -> QWidget:
        row, addRemove = QWidget(), QWidget()
        outer, inner = QHBoxLayout(row), QHBoxLayout(addRemove)
        for box in (outer, inner):
            box.setContentsMargins(0, 0, 0, 0)
        for text, action in (("Add", self.onAddSegment), ("Remove", self.onRemoveSegment)):
            button = QPushButton(text)
            button.clicked.connect(lambda _checked=False, action=action: action())
            inner.addWidget(button)
        self._parts.update(
            addRemove=addRemove, show3D=QPushButton("Show 3D"), switch=QPushButton("Segmentations...")
        )
        for name in ("addRemove", "show3D", "switch"):
            outer.addWidget(self._parts[name])
        return row

    def _effectGrid(self) -> QWidget:
        grid = QWidget()
        layout = QGridLayout(grid)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for index, name in enumerate(["None", *EFFECTS]):
            button = QToolButton()
            button.setText(name)
            button.setCheckable(True)
            button.setEnabled(False)
            button.setMinimumWidth(100)
            wanted = "" if name == "None" else name
            button.clicked.connect(lambda _checked=False, name=wanted: self.setActiveEffectByName(name))
            self._effectButtons[wanted] = button
            layout.addWidget(button, index // 3, index % 3)
        return grid

    def _undoButtons(self) -> QWidget:
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        self._undoButton, self._redoButton = QPushButton("Undo"), QPushButton("Redo")
        for button, action in ((self._undoButton, self.undo), (self._redoButton, self.redo)):
            button.setEnabled(False)
            button.clicked.connect(lambda _checked=False, action=action: action())
            layout.addWidget(button)
        self._parts["undo"] = row
        return row

    def _showUndo(self, *_given: Any) -> None:
        self._undoButton.setEnabled(bool(self._logic.CanUndo()))
        self._redoButton.setEnabled(bool(self._logic.CanRedo()))

    # ------------------------------------------------------------------ nodes

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        """Take a scene; without one all nodes are let go."""
        super().setMRMLScene(scene)
        self._logic.SetMRMLScene(scene)
        for name in ("segmentation", "source"):
            self.__dict__[f"_{name}Selector"].setMRMLScene(scene)

    @Slot(object)
    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        """Take the editor's parameter node."""
        if node is not None and self.mrmlScene() is None:
            raise EditorOrderError("setMRMLSegmentEditorNode before setMRMLScene")
        self._watch.clear()
        if node is None and self._effect:
            self.setActiveEffectByName("")
        self._logic.SetSegmentEditorNode(node)
        if node is not None:
            self._watch.add(node, "ModifiedEvent", type(self).updateWidgetFromMRML)
        self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self) -> Any:
        """The editor's parameter node."""
        return self._logic.GetSegmentEditorNode()

    def _node(self, asked: str) -> Any:
        node = self._logic.GetSegmentEditorNode()
        if node is None:
            raise EditorOrderError(
                f"{asked} before setMRMLSegmentEditorNode (Invalid segment editor parameter set node)"
            )
        return node

    @Slot(object)
    def setSegmentationNode(self, node: Any) -> None:
        """Take the segmentation to edit."""
        if node is None and self._logic.GetSegmentEditorNode() is None:
            return
        self._node("setSegmentationNode")
        if node is not None and node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
        if node is not None and node.GetSegmentation().ContainsRepresentation("Binary labelmap"):
            node.GetSegmentation().SetSourceRepresentationName("Binary labelmap")
        former = self._logic.GetSegmentationNode()
        self._logic.SetSegmentationNode(node)
        ids = list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []
        if ids and self.currentSegmentID() not in ids:
            self.setCurrentSegmentID(ids[0])
        self.updateWidgetFromMRML()
        if node is not former:
            self.segmentationNodeChanged.emit(node)

    def segmentationNode(self) -> Any:
        """The segmentation, or ``None``."""
        return self._logic.GetSegmentationNode() if self._logic.GetSegmentEditorNode() is not None else None

    def segmentationNodeID(self) -> str:
        """Its ID."""
        node = self.segmentationNode()
        return node.GetID() if node is not None else ""

    @Slot(str)
    def setSegmentationNodeID(self, nodeID: str) -> None:
        """Take a segmentation by ID."""
        self.setSegmentationNode(self.mrmlScene().GetNodeByID(nodeID))

    @Slot(object)
    def setSourceVolumeNode(self, node: Any) -> None:
        """Take the volume to look at while editing."""
        if node is None and self._logic.GetSegmentEditorNode() is None:
            return
        self._node("setSourceVolumeNode")
        if node is not None and self._logic.GetSegmentationNode() is None:
            raise EditorOrderError("setSourceVolumeNode before setSegmentationNode")
        former = self._logic.GetSourceVolumeNode()
        self._logic.SetSourceVolumeNode(node)
        self.updateWidgetFromMRML()
        if node is not former:
            self.sourceVolumeNodeChanged.emit(node)
            self.masterVolumeNodeChanged.emit(node)

    def sourceVolumeNode(self) -> Any:
        """The source volume, or ``None``."""
        return self._logic.GetSourceVolumeNode() if self._logic.GetSegmentEditorNode() is not None else None

    def sourceVolumeNodeID(self) -> str:
        """Its ID."""
        node = self.sourceVolumeNode()
        return node.GetID() if node is not None else ""

    @Slot(str)
    def setSourceVolumeNodeID(self, nodeID: str) -> None:
        """Take a source volume by ID."""
        self.setSourceVolumeNode(self.mrmlScene().GetNodeByID(nodeID))

    def updateWidgetFromMRML(self, *_given: Any) -> None:
        """Show what the nodes say."""
        segmentation = self.segmentationNode()
        if self._list.segmentationNode() is not segmentation:
            self._list.setSegmentationNode(segmentation)
        for selector, node in (
            (self._segmentationSelector, segmentation),
            (self._sourceSelector, self.sourceVolumeNode()),
        ):
            selector.setCurrentNode(node)
        ready = segmentation is not None and self.sourceVolumeNode() is not None
        node = self._logic.GetSegmentEditorNode()
        self._effect = (node.GetActiveEffectName() or "") if node is not None else ""
        for name, button in self._effectButtons.items():
            button.setEnabled(ready and not self.readOnly)
            button.setChecked(name == self._effect)
        current = self.currentSegmentID()
        if current and self._list.selectedSegmentIDs() != [current]:
            self._list.setSelectedSegmentIDs([current])
        self._showUndo()

    # ------------------------------------------------------------------ segments

    def _onSelection(self, _selected: QItemSelection, _deselected: QItemSelection) -> None:
        chosen = self._list.selectedSegmentIDs()
        if chosen and self._logic.GetSegmentEditorNode() is not None:
            self.setCurrentSegmentID(chosen[0])

    def currentSegmentID(self) -> str:
        """The selected segment."""
        node = self._logic.GetSegmentEditorNode()
        return (node.GetSelectedSegmentID() or "") if node is not None else ""

    @Slot(str)
    def setCurrentSegmentID(self, segmentID: str) -> None:
        """Select a segment."""
        node = self._node("setCurrentSegmentID")
        if segmentID != (node.GetSelectedSegmentID() or ""):
            node.SetSelectedSegmentID(segmentID)
            self.currentSegmentIDChanged.emit(segmentID)

    def onAddSegment(self) -> None:
        """Add an empty segment."""
        self._logic.SaveStateForUndo()
        self.setCurrentSegmentID(self._logic.AddEmptySegment())

    def onRemoveSegment(self) -> None:
        """Remove the selected segment."""
        self._logic.SaveStateForUndo()
        self._logic.RemoveSelectedSegment()

    # ------------------------------------------------------------------ effects and undo

    @Slot(str)
    def setActiveEffectByName(self, name: str) -> None:
        """Activate an effect; an empty name deactivates."""
        if name and name not in EFFECTS:
            raise ValueError(f"there is no effect {name!r}; there are {', '.join(EFFECTS)}")
        node = self._logic.GetSegmentEditorNode()
        if name and (self.segmentationNode() is None or self.sourceVolumeNode() is None):
            raise EditorOrderError(f"effect {name!r} without segmentation or source volume")
        if node is not None:
            node.SetActiveEffectName(name)
        self._effect = name
        self.updateWidgetFromMRML()

    def activeEffect(self) -> Effect | None:
        """The active effect, or ``None``."""
        return Effect(self._effect, self._logic.GetSegmentEditorNode()) if self._effect else None

    def setActiveEffect(self, effect: Effect | None) -> None:
        """Activate an effect."""
        self.setActiveEffectByName(effect.name if effect is not None else "")

    def availableEffectNames(self) -> list[str]:
        """Names of all effects."""
        return list(EFFECTS)

    def effectCount(self) -> int:
        """How many effects there are."""
        return len(EFFECTS)

    def effectByName(self, name: str) -> Effect | None:
        """An effect."""
        return Effect(name, self._logic.GetSegmentEditorNode()) if name in EFFECTS else None

    def effectNameOrder(self) -> list[str]:
        """The order of the buttons."""
        return self._order

    def setEffectNameOrder(self, names: list[str]) -> None:
        """Order the buttons; others stay hidden unless ``unorderedEffectsVisible``."""
        self._order = list(names)
        for name, button in self._effectButtons.items():
            button.setVisible(not name or name in self._order or self.unorderedEffectsVisible)

    @Slot()
    def saveStateForUndo(self) -> None:
        """Remember the segmentation as it is."""
        self._logic.SaveStateForUndo()
        self._showUndo()

    @Slot()
    def undo(self) -> None:
        """Go back one step."""
        self._logic.Undo()
        self._showUndo()

    @Slot()
    def redo(self) -> None:
        """Go forward one step."""
        self._logic.Redo()
        self._showUndo()

    def _maximum(self) -> int:
        return self._logic.GetMaximumNumberOfUndoStates()

    @Slot(int)
    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        """How many steps can be undone."""
        self._logic.SetMaximumNumberOfUndoStates(count)

    maximumNumberOfUndoStates = Property(int, _maximum, setMaximumNumberOfUndoStates)

    # ------------------------------------------------------------------ keys and views

    @Slot()
    def installKeyboardShortcuts(self, _parent: QWidget | None = None) -> None:
        """Listen to the editor's keys."""
        self.shortcutsInstalled = True

    @Slot()
    def uninstallKeyboardShortcuts(self) -> None:
        """Stop listening."""
        self.shortcutsInstalled = False

    def setupViewObservations(self) -> None:
        """Listen to the views."""
        self.viewsObserved = True

    def removeViewObservations(self) -> None:
        """Stop listening to the views."""
        self.viewsObserved = False

    @Slot()
    def rotateSliceViewsToSegmentation(self) -> None:
        """The host's views stay as they are."""

    @Slot()
    def updateEffectList(self) -> None:
        """Nothing to update."""

    def paint(self, values: Any, segmentID: str | None = None) -> None:
        """For tests: a stroke of the brush; ``values`` is a mask (K, J, I) on the source volume's grid."""
        import numpy as np
        from vtk.util.numpy_support import vtk_to_numpy

        volume, segmentation = self.sourceVolumeNode(), self.segmentationNode()
        mask = slicer.vtkOrientedImageData()
        mask.SetDimensions(volume.GetImageData().GetDimensions())
        mask.AllocateScalars(3, 1)
        matrix = slicer_matrix(volume)
        mask.SetImageToWorldMatrix(matrix)
        vtk_to_numpy(mask.GetPointData().GetScalars())[:] = np.asarray(values, dtype=np.uint8).ravel()
        self.setCurrentSegmentID(segmentID or self.currentSegmentID())
        self.saveStateForUndo()
        self._logic.ModifySegmentByLabelmap(
            segmentation,
            self.currentSegmentID(),
            mask,
            slicer.vtkSlicerSegmentEditorLogic.ModificationModeAdd,
            False,
            False,
        )
        self._showUndo()


def slicer_matrix(volume: Any) -> Any:
    """The IJK-to-RAS matrix of a volume."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def _checkTeardown(logic: Any) -> None:
    node = logic.GetSegmentEditorNode()
    if node is not None and logic.GetMRMLScene() is not None:
        faults.add(
            "A Segment Editor widget was deleted with its nodes set: first setActiveEffectByName(''), "
            "setSegmentationNode(None), setMRMLSegmentEditorNode(None), setMRMLScene(None)"
        )


__all__ = ["EditorOrderError", "Qt", "qMRMLSegmentEditorWidget"]
