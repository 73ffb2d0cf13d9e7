"""The parts of ``slicer.util`` that need the host; the rest is Slicer's own file from slicer-core."""

from pathlib import Path
from typing import Any

import slicer
import slicer.util

from slicer_host.ui_loader import loadUI


def findChildren(
    widget: Any = None, name: str = "", text: str = "", title: str = "", className: str = ""
) -> list[Any]:
    """Descendants of a widget that meet all criteria."""
    widget = widget or slicer.util.mainWindow()
    wanted = {"objectName": name, "text": text, "title": title}
    found, parents = [], [widget] if widget else []
    while parents:
        parent = parents.pop()
        parents += parent.children()
        same = all(getattr(parent, key, None) == value for key, value in wanted.items() if value)
        if same and (not className or parent.className() == className):
            found.append(parent)
    return found


class Children:
    """The named children of a widget as attributes."""


def childWidgetVariables(widget: Any) -> Children:
    """The named children of a widget as attributes of one object."""
    ui = Children()
    for child in findChildren(widget):
        if child.objectName:
            setattr(ui, child.objectName, child)
    return ui


def modulePath(moduleName: str) -> str:
    """Where a module's script is."""
    return slicer.util.getModule(moduleName).path


def getModule(moduleName: str) -> Any:
    """A module by its name."""
    return getattr(slicer.modules, moduleName.lower())


def getModuleWidget(module: Any) -> Any:
    """The Python widget of a scripted module, or the representation of another one."""
    module = getModule(module) if isinstance(module, str) else module
    return module.widgetRepresentation().self()


def getModuleLogic(module: Any) -> Any:
    """The logic of a module."""
    module = getModule(module) if isinstance(module, str) else module
    return module.logic()


def selectModule(module: Any) -> None:
    """Go to a module: leave the one that is shown, enter the other."""
    slicer.modules.select_(module if isinstance(module, str) else module.name)


def selectedModule() -> str:
    """The module that is shown."""
    return slicer.modules.selected_


def reloadScriptedModule(moduleName: str) -> Any:
    """Run the script again and build a new widget, the old one's cleanup comes after that."""
    return getModule(moduleName).reload_()


def startupEnvironment() -> dict[str, str]:
    """The environment before Slicer changed it."""
    return slicer.app.startupEnvironment()


def loadUIFile(path: str) -> Any:
    """Build the widgets of a .ui file."""
    return loadUI(str(Path(path)))


REPLACED = {
    "findChildren": findChildren,
    "childWidgetVariables": childWidgetVariables,
    "modulePath": modulePath,
    "getModule": getModule,
    "getModuleWidget": getModuleWidget,
    "getModuleLogic": getModuleLogic,
    "selectModule": selectModule,
    "selectedModule": selectedModule,
    "reloadScriptedModule": reloadScriptedModule,
    "startupEnvironment": startupEnvironment,
    "loadUI": loadUIFile,
}
