"""The plain qMRML widgets, and the selector of nodes."""

from typing import Any

import slicer
from PySide6.QtCore import Property, QObject, Qt, Signal, Slot
from PySide6.QtWidgets import QComboBox, QFrame, QHBoxLayout, QWidget

from slicer_host.ctk_numbers import ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget
from slicer_host.dialogs import QInputDialog
from slicer_host.observers import Observers
from slicer_host.stored import stored


class qMRMLWidget(QWidget):
    """A widget that passes the scene on to its children by Designer's connections."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._scene = None

    def mrmlScene(self) -> Any:
        """The scene, or ``None``."""
        return self._scene

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        """Take a scene and tell it on."""
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qSlicerWidget(qMRMLWidget):
    """The same under its older name."""


class qMRMLSortFilterProxyModel(QObject):
    """What a combo box leaves out; Slicer's source has the property, the surface file not the class."""

    def __init__(self, combo: "qMRMLNodeComboBox") -> None:
        super().__init__(combo)
        self._combo, self._hidden = combo, []

    def _setHidden(self, identifiers: list[str]) -> None:
        self._hidden = list(identifiers)
        self._combo._refresh()

    hiddenNodeIDs = Property("QStringList", lambda self: self._hidden, _setHidden)


class qMRMLNodeComboBox(QWidget):
    """A combo box of the scene's nodes of some types."""

    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    currentNodeRenamed = Signal(str)
    nodeAboutToBeEdited = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAddedByUserAction = Signal(object)
    baseName = stored(str, "baseName", "")
    interactionNodeSingletonTag = stored(str, "interactionNodeSingletonTag", "")
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._combo = QComboBox()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._scene, self._types, self._nodeID, self._neighbour = None, [], "", ""
        self._hiddenTypes: list[str] = []
        self._attributes: list[tuple[str, str, Any]] = []
        self._labels: dict[str, str] = {}
        self._flags = {
            "none": False,
            "add": True,
            "rename": False,
            "edit": False,
            "remove": True,
            "hidden": False,
        }
        self._children, self._noneText = True, "None"
        self._watch = Observers(self)
        self._filter = qMRMLSortFilterProxyModel(self)
        self._combo.activated.connect(self._chosen)

    # ------------------------------------------------------------------ the list

    def sortFilterProxyModel(self) -> QObject:
        """What is left out."""
        return self._filter

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        """List the nodes of a scene."""
        self._watch.clear()
        self._scene = scene
        if scene is not None:
            self._watch.addWithNode(scene, slicer.vtkMRMLScene.NodeAddedEvent, type(self)._onNodeAdded)
            leaving = type(self)._onNodeAboutToBeRemoved
            self._watch.addWithNode(scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, leaving)
            self._watch.add(scene, slicer.vtkMRMLScene.EndImportEvent, type(self)._onEndImport)
            for event in ("NodeRemovedEvent", "EndCloseEvent", "EndBatchProcessEvent"):
                self._watch.add(scene, getattr(slicer.vtkMRMLScene, event), lambda me, *_given: me._refresh())
        self._refresh()

    def _onNodeAdded(self, node: Any) -> None:
        if node is not None and self._fits(node):
            self._refresh()
            self.nodeAdded.emit(node)

    def _onNodeAboutToBeRemoved(self, node: Any) -> None:
        """Tell it, and go to the neighbour if it is still chosen, as Qt's combo box does when a row goes."""
        if node is None or self._scene.IsBatchProcessing() or self._scene.IsClosing():
            return
        known = [one.GetID() for one in self._nodes()]
        if node.GetID() not in known:
            return
        self.nodeAboutToBeRemoved.emit(node)
        if self._nodeID == node.GetID():
            row = known.index(self._nodeID)
            self._neighbour = next(iter(known[row + 1 : row + 2] or known[max(0, row - 1) : row]), "")

    def _onEndImport(self, *_given: Any) -> None:
        """Slicer's model empties the list, and with it the choice, before it lists the nodes anew."""
        if self._flags["none"]:
            self._select("")
        self._refresh()

    def mrmlScene(self) -> Any:
        """The scene, or ``None``."""
        return self._scene

    def _fits(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self._flags["hidden"]:
            return False
        if node.GetID() in self._filter.hiddenNodeIDs:
            return False
        if any(node.IsA(one) for one in self._hiddenTypes):
            return False
        kind = next((one for one in self._types if self._isKind(node, one)), None)
        return kind is not None and all(
            self._hasAttribute(node, name, value) for one, name, value in self._attributes if one == kind
        )

    def _isKind(self, node: Any, kind: str) -> bool:
        return node.IsA(kind) if self._children else node.GetClassName() == kind

    @staticmethod
    def _hasAttribute(node: Any, name: str, value: Any) -> bool:
        found = node.GetAttribute(name)
        return found is not None and (value is None or found == str(value))

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        return [node for node in nodes if self._fits(node)]

    def _refresh(self) -> None:
        if self._scene is not None and (self._scene.IsBatchProcessing() or self._scene.IsClosing()):
            return
        nodes = self._nodes()
        self._fill(nodes)
        known = [node.GetID() for node in nodes]
        if self._nodeID not in known:
            keep = "" if self._flags["none"] or not known else known[0]
            self._select(self._neighbour if self._neighbour in known else keep)
        else:
            self._showCurrent()
        for node in nodes:
            self._watchName(node)

    def _watchName(self, node: Any) -> None:
        watched = self.__dict__.setdefault("_named", set())
        if node not in watched:
            watched.add(node)
            self._watch.add(node, "ModifiedEvent", type(self)._onModified)

    def _onModified(self, node: Any) -> None:
        row = self._combo.findData(node.GetID())
        if row >= 0 and self._combo.itemText(row) != node.GetName():
            self._combo.setItemText(row, node.GetName() or "")
            if node.GetID() == self._nodeID:
                self.currentNodeRenamed.emit(node.GetName() or "")
        elif (row < 0) == self._fits(node):
            self._refresh()

    def _fill(self, nodes: list[Any]) -> None:
        blocked = self._combo.blockSignals(True)
        self._combo.clear()
        if self._flags["none"]:
            self._combo.addItem(self._noneText, "")
        for node in nodes:
            self._combo.addItem(node.GetName() or "", node.GetID())
        self._addActions()
        self._combo.blockSignals(blocked)

    def _addActions(self) -> None:
        actions = [(f"add:{kind}", f"Create new {self.nodeTypeLabel(kind)}") for kind in self._types]
        actions = actions if self._flags["add"] else []
        for name, text in (
            ("edit", "Edit current"),
            ("rename", "Rename current"),
            ("remove", "Delete current"),
        ):
            actions += [(name, text)] if self._flags[name] else []
        if actions:
            self._combo.insertSeparator(self._combo.count())
        for name, text in actions:
            self._combo.addItem(text, f"action:{name}")

    def _showCurrent(self) -> None:
        blocked = self._combo.blockSignals(True)
        self._combo.setCurrentIndex(
            self._combo.findData(self._nodeID) if self._nodeID or self._flags["none"] else -1
        )
        self._combo.blockSignals(blocked)

    # ------------------------------------------------------------------ the choice

    def _chosen(self, row: int) -> None:
        data = self._combo.itemData(row)
        if not str(data).startswith("action:"):
            self._select(data or "")
            self.nodeActivated.emit(self.currentNode())
            return
        self._showCurrent()
        action = data.removeprefix("action:")
        if action.startswith("add:"):
            self._addByUser(action.removeprefix("add:"))
        else:
            {
                "edit": self.editCurrentNode,
                "rename": self.renameCurrentNode,
                "remove": self.removeCurrentNode,
            }[action]()

    def _addByUser(self, kind: str) -> None:
        node = self.addNode(kind)
        self.nodeAddedByUser.emit(node)
        self.nodeAddedByUserAction.emit(node)

    def _select(self, nodeID: str) -> None:
        if nodeID == self._nodeID:
            self._showCurrent()
            return
        self._nodeID = nodeID
        self._showCurrent()
        node = self.currentNode()
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(nodeID)

    def currentNode(self) -> Any:
        """The chosen node, or ``None``."""
        return self._scene.GetNodeByID(self._nodeID) if self._scene is not None and self._nodeID else None

    @Slot(object)
    def setCurrentNode(self, node: Any) -> None:
        """Choose a node, an ID, or ``None``; a node that is not listed chooses none."""
        nodeID = node if isinstance(node, str) else (node.GetID() if node is not None else "")
        listed = {one.GetID() for one in self._nodes()}
        self._select(nodeID if nodeID in listed else "")

    @Slot(str)
    def setCurrentNodeID(self, nodeID: str) -> None:
        """Choose by ID."""
        self.setCurrentNode(nodeID or "")

    @Slot(int)
    def setCurrentNodeIndex(self, index: int) -> None:
        """Choose by the place among the nodes."""
        self.setCurrentNode(self.nodeFromIndex(index))

    currentNodeID = Property(str, lambda self: self._nodeID, setCurrentNodeID)
    currentNodeId = Property(str, lambda self: self._nodeID, setCurrentNodeID)

    def nodeCount(self) -> int:
        """How many nodes are listed."""
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> Any:
        """A listed node, or ``None``."""
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    # ------------------------------------------------------------------ what the user may do

    def addNode(self, kind: str | None = None) -> Any:
        """Make a node of the first or the given type and choose it."""
        kind = kind or self._types[0]
        name = self._scene.GenerateUniqueName(self.baseName or self.nodeTypeLabel(kind))
        node = self._scene.AddNewNodeByClass(kind, name)
        for one, key, value in self._attributes:
            if one == kind:
                node.SetAttribute(key, str(value or ""))
        self._refresh()
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node

    @Slot()
    def removeCurrentNode(self) -> None:
        """Delete the chosen node."""
        self._scene.RemoveNode(self.currentNode())

    @Slot()
    def editCurrentNode(self) -> None:
        """Show the node's module; the host only tells."""
        self.nodeAboutToBeEdited.emit(self.currentNode())

    @Slot()
    def renameCurrentNode(self) -> None:
        """Ask for a new name."""
        name = QInputDialog.getText(self, "Rename", "New name:")
        if name:
            self.currentNode().SetName(name)

    def addAttribute(self, kind: str, name: str, value: Any = None) -> None:
        """List nodes of a type only if they have an attribute."""
        self._attributes.append((kind, name, value))
        self._refresh()

    def removeAttribute(self, kind: str, name: str) -> None:
        """Undo ``addAttribute``."""
        self._attributes = [one for one in self._attributes if one[:2] != (kind, name)]
        self._refresh()

    def nodeTypeLabel(self, kind: str) -> str:
        """The word for a type."""
        if kind in self._labels:
            return self._labels[kind]
        made = slicer.mrmlScene.CreateNodeByClass(kind)
        label = made.GetNodeTagName() if made is not None else kind
        if made is not None:
            made.UnRegister(None)
        return label

    def setNodeTypeLabel(self, label: str, kind: str) -> None:
        """Name a type."""
        self._labels[kind] = label
        self._refresh()

    # ------------------------------------------------------------------ properties

    def _put(self, name: str, value: Any) -> None:
        setattr(self, name, value)
        self._refresh()

    def _flag(name: str) -> Property:
        def put(self: Any, value: bool) -> None:
            self._flags[name] = value
            self._refresh()

        return Property(bool, lambda self: self._flags[name], put)

    noneEnabled, addEnabled, renameEnabled = _flag("none"), _flag("add"), _flag("rename")
    editEnabled, removeEnabled, showHidden = _flag("edit"), _flag("remove"), _flag("hidden")
    nodeTypes = Property("QStringList", lambda s: s._types, lambda s, v: s._put("_types", list(v)))
    hideChildNodeTypes = Property(
        "QStringList", lambda s: s._hiddenTypes, lambda s, v: s._put("_hiddenTypes", list(v))
    )
    showChildNodeTypes = Property(bool, lambda s: s._children, lambda s, v: s._put("_children", v))
    noneDisplay = Property(str, lambda s: s._noneText, lambda s, v: s._put("_noneText", v))
    # PythonQt sets no property whose type is another class's enum: "does not accept an object of type ...".
    sizeAdjustPolicy = Property(QComboBox.SizeAdjustPolicy, lambda s: s._combo.sizeAdjustPolicy())


class qMRMLSliderWidget(ctkSliderWidget):
    """A slider that could follow the scene's units; in the host it does not."""

    quantity = stored(str, "quantity", "")

    def mrmlScene(self) -> Any:
        """The scene, or ``None``."""
        return self.__dict__.get("_scene")

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        """Take a scene."""
        self._scene = scene


class qMRMLSpinBox(ctkDoubleSpinBox):
    """The same as a spin box."""

    quantity = stored(str, "quantity", "")
    mrmlScene, setMRMLScene = qMRMLSliderWidget.mrmlScene, Slot(object)(qMRMLSliderWidget.setMRMLScene)


class qMRMLRangeWidget(ctkRangeWidget):
    """The same as a range."""

    quantity = stored(str, "quantity", "")


class Line(QFrame):
    """Designer's separator line."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShadow(QFrame.Shadow.Sunken)
        self.setOrientation(Qt.Orientation.Horizontal)

    def setOrientation(self, orientation: Qt.Orientation) -> None:
        """Lie or stand."""
        lying = orientation == Qt.Orientation.Horizontal
        self.setFrameShape(QFrame.Shape.HLine if lying else QFrame.Shape.VLine)

    orientation = Property(Qt.Orientation, lambda _self: Qt.Orientation.Horizontal, setOrientation)
