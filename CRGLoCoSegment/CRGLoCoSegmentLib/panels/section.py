"""A collapsible section of the module, whose content is built when it is opened for the first time."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from CRGLoCoSegmentLib.panels import makePanel
from CRGLoCoSegmentLib.panels.panel import Panel, takeTabsAfter

log = logging.getLogger("CRGLoCoSegment")


class Section:
    """A title that can be opened, and the panel behind it.

    Args:
        name: One of ``panelTitles()``.
        title: Shown to users.
        logic: Handed to the panel.
        resources: The module's ``Resources`` folder.

    Attributes:
        button: The widget to put into the module's layout.
        panel: ``None`` until the section is opened.
    """

    def __init__(self, name: str, title: str, logic: Any, resources: Path) -> None:
        self.name = name
        self.panel: Panel | None = None
        self._logic, self._resources = logic, resources
        self._parameters: Any = None
        self._entered = False
        self._failed = False
        self.button = ctk.ctkCollapsibleButton()
        self.button.objectName = f"{name}Section"
        self.button.text = title
        self.button.collapsed = True
        self._layout = qt.QVBoxLayout(self.button)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self.button.connect("contentsCollapsed(bool)", self._onCollapsed)

    def open(self) -> None:
        """Show the content."""
        self.button.collapsed = False

    def setParameters(self, parameters: Any) -> None:
        """Bind the panel to a parameter node; ``None`` lets it go."""
        self._parameters = parameters
        self._tell("setParameters", parameters)

    def enter(self) -> None:
        """The user looks at the module."""
        self._entered = True
        self._tell("enter")

    def exit(self) -> None:
        """The user looks at another module."""
        self._entered = False
        self._tell("exit")

    def refresh(self, what: str) -> None:
        """Show the present state."""
        self._tell("refresh", what)

    def cleanup(self) -> None:
        """Leave nothing behind."""
        self.button.disconnect("contentsCollapsed(bool)", self._onCollapsed)
        self._tell("cleanup")
        self.panel = None
        self.button.setParent(None)
        self.button.deleteLater()

    def _onCollapsed(self, collapsed: bool) -> None:  # noqa: FBT001  (a Qt signal)
        if not collapsed and self.panel is None and not self._failed:
            self._guarded(self._build)
        self._tell("fold", collapsed)

    def _build(self) -> None:
        self._failed = True  # until it is there: one that cannot be built is not tried at every click
        panel = makePanel(self.name, self._logic, self._resources)
        self._layout.addWidget(panel.widget)
        self.panel, self._failed = panel, False
        panel.setParameters(self._parameters)
        takeTabsAfter(self.button, panel.widget)
        if self._entered:
            panel.enter()

    def _tell(self, method: str, *values: Any) -> None:
        if self.panel is not None:
            self._guarded(getattr(self.panel, method), *values)

    def _guarded(self, action: Callable[..., None], *values: Any) -> None:
        """One section that fails must not take the others down."""
        try:
            action(*values)
        except Exception:
            log.exception("The section %r failed in %s", self.name, getattr(action, "__name__", action))
            if self.panel is None:
                text = _("This section cannot be shown; the application's error log says why.")
                self._layout.addWidget(qt.QLabel(text))
