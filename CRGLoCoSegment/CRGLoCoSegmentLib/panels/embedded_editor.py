"""Slicer's Segment Editor inside our panel: the same effects and undo, on the corrected copy only."""

from typing import Any

import slicer
import slicer.util

from CRGLoCoSegmentLib.nodes.editing import editorNode
from CRGLoCoSegmentLib.nodes.scene import isSameNode

UNDO_STATES = 10


class EmbeddedEditor:
    """A ``qMRMLSegmentEditorWidget``, made when it is first needed.

    Its nodes change only when the user asks for it: setting another segmentation forgets the undo steps.

    Args:
        frame: The widget whose layout takes it.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self._widget: Any = None
        self._edited: Any = None
        self._entered = self._visible = False

    def edit(self, segmentationNode: Any, volumeNode: Any) -> None:
        """Edit a segmentation over its volume."""
        widget, self._edited = self._made(), segmentationNode
        # In this order: without scene and editor node the others are forgotten.
        if widget.mrmlScene() is None:
            widget.setMRMLScene(slicer.mrmlScene)
        node = editorNode(slicer.mrmlScene)
        if not isSameNode(widget.mrmlSegmentEditorNode(), node):
            widget.setMRMLSegmentEditorNode(node)
        if not isSameNode(node.GetSegmentationNode(), segmentationNode):
            widget.setSegmentationNode(segmentationNode)
        if not isSameNode(widget.sourceVolumeNode(), volumeNode):
            widget.setSourceVolumeNode(volumeNode)

    def edits(self, segmentationNode: Any) -> bool:
        """Whether this is what it edits."""
        # Not ``segmentationNode()``: that is what the hidden selector shows, which Qt may move by itself.
        node = self._widget.mrmlSegmentEditorNode() if self._widget is not None else None
        if node is None or segmentationNode is None:
            return False
        return isSameNode(node.GetSegmentationNode(), segmentationNode)

    def setVisible(self, visible: bool) -> None:  # noqa: FBT001 (as Qt's own setter)
        """Show or hide it; hidden, no effect is active and its keys are the user's."""
        self._frame.visible = visible
        if visible != self._visible:
            self._visible = visible
            self._listen()

    def enter(self) -> None:
        """The user looks at the module."""
        self._entered = True
        self._listen()

    def exit(self) -> None:
        """The user looks at another module."""
        self._entered = False
        self._listen()

    def letGoOfLost(self, shown: Any) -> None:
        """Forget the nodes if one has left the scene: Slicer's widget would go on with the next one.

        Args:
            shown: What the panel has shown, which Slicer's own module may edit by the same editor node.
        """
        nodes = [node for node in (self._edited, shown) if node is not None]
        if not all(slicer.mrmlScene.IsNodePresent(node) for node in nodes):
            self.letGo()

    def letGo(self) -> None:
        """Forget the nodes; a scene is closed, or the editor goes."""
        self._edited = None
        if self._widget is None:
            return
        self._widget.setActiveEffectByName("")
        self._widget.removeViewObservations()
        self._widget.setSegmentationNode(None)
        self._widget.setMRMLSegmentEditorNode(None)

    def remove(self) -> None:
        """Take it away for good."""
        if self._widget is None:
            return
        self.exit()
        self.letGo()
        self._widget.setMRMLScene(None)
        self._widget.setParent(None)
        self._widget.deleteLater()
        self._widget = None

    def _made(self) -> Any:
        if self._widget is None:
            widget = slicer.qMRMLSegmentEditorWidget()
            widget.objectName = "embeddedSegmentEditor"
            widget.segmentationNodeSelectorVisible = False
            widget.sourceVolumeNodeSelectorVisible = False
            widget.switchToSegmentationsButtonVisible = False
            # The label table is the project's, and so is the grid: neither is changed by editing.
            widget.addRemoveSegmentButtonsVisible = False
            widget.specifyGeometryButtonVisible = False
            # The views show what the comparison, or the user, put there.
            widget.autoShowSourceVolumeNode = False
            widget.maximumNumberOfUndoStates = UNDO_STATES
            self._frame.layout().addWidget(widget)
            self._widget = widget
        return self._widget

    def _listen(self) -> None:
        """Hear keys and views while the user can see the editor, and only then: effects own observers."""
        if self._widget is None:
            return
        if self._entered and self._visible:
            if slicer.util.mainWindow() is not None:  # to which the keys belong
                self._widget.installKeyboardShortcuts()
            self._widget.setupViewObservations()
        else:
            self._widget.setActiveEffectByName("")
            self._widget.uninstallKeyboardShortcuts()
            self._widget.removeViewObservations()
