"""What all panels share: a .ui file, the parameter node bound to it, and a life between enter and exit."""

from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _


class Panel:
    """One collapsible section.

    Args:
        logic: ``CRGLoCoSegmentLib.logic.SegmentLogic``; the panel asks it for everything.
        resources: The module's ``Resources`` folder.

    Attributes:
        name: Of the ``.ui`` file and of the section; set by the subclass.
        widget: The section's content.
        ui: Its children by object name.
        parameters: The wrapped parameter node; ``None`` while a scene closes and while the user looks at
            another module.
    """

    name = ""

    def __init__(self, logic: Any, resources: Path) -> None:
        self.logic = logic
        self.widget = slicer.util.loadUI(str(resources / "UI" / f"{self.name}.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.parameters: Any = None
        self._guiTag: Any = None

    def setParameters(self, parameters: Any) -> None:
        """Bind the widgets to a parameter node; ``None`` lets them go."""
        if self.parameters is not None and self._guiTag is not None:
            self.parameters.disconnectGui(self._guiTag)
        self._guiTag = None
        self.parameters = parameters
        if parameters is not None:
            self._guiTag = parameters.connectGui(self.ui)
        self.refresh("parameters")

    def enter(self) -> None:
        """The user looks at the module."""

    def exit(self) -> None:
        """The user looks at another module; jobs go on."""

    def fold(self, folded: bool) -> None:  # noqa: FBT001 (as Qt's own setters)
        """The user opens or closes the section."""

    def refresh(self, what: str) -> None:
        """Show the present state; called on every notice of the logic and change of the parameter node.

        Args:
            what: ``"parameters"``, or a notice: see ``CRGLoCoSegmentLib.logic.listeners``.
        """

    def cleanup(self) -> None:
        """Leave nothing behind: timers, observers, processes; the widget is not used any more."""
        self.setParameters(None)
        self.widget.setMRMLScene(None)

    def whatIsMissing(self) -> str:
        """Say why nothing can be computed on this computer, and where that is mended; empty if it can."""
        problem = self.logic.environment.problem()
        return _("{problem} See the section Environment.").format(problem=problem) if problem else ""

    def quality(self) -> str:
        """Return the chosen quality."""
        return str(self.parameters.quality.value) if self.parameters is not None else "balanced"

    def keepsIslands(self) -> bool:
        """Whether predictions keep the islands of structures that are one piece."""
        return self.parameters is not None and not self.parameters.removeIslands


def takeTabsAfter(before: Any, widget: Any) -> None:
    """Let the Tab key come from one widget to another and what is in it: what is made late comes last in Qt.

    Args:
        before: Where the key was pressed.
        widget: In the same window.
    """
    chain = [widget]
    while widget.isAncestorOf(following := chain[-1].nextInFocusChain()):
        chain.append(following)
    for each in chain:
        # A part with a proxy, as the line edit of a spin box, goes where that goes.
        if each.focusPolicy != qt.Qt.NoFocus and each.focusProxy() is None:
            qt.QWidget.setTabOrder(before, each)
            before = each


def breakable(text: str) -> str:
    """Let lines end behind every folder of a Windows path: Qt breaks none at a backslash.

    A label is never narrower than its longest word, nor is the panel, nor Slicer's dock.
    """
    return text.replace("\\", "\\\N{ZERO WIDTH SPACE}")
