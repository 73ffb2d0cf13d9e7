"""Words and small pictures of our own in a slice view, found again by their names.

By name and not by a Python reference: so a reload of this module does not draw them a second time.
"""

from typing import Any

import slicer
import vtk


def newText(renderer: Any, name: str, pixels: int) -> Any:
    """Add a white text with a shadow to a view.

    Args:
        renderer: Of the view.
        name: To find it again.
        pixels: Height of the letters.
    """
    text = vtk.vtkTextActor()
    font = text.GetTextProperty()
    font.SetFontSize(pixels)
    font.ShadowOn()
    application = getattr(slicer, "app", None)
    if application is not None:  # VTK's own font lacks the letters of many languages
        application.applicationLogic().UseCustomFontFile(font)
    return addNamed(renderer, text, name)


def addNamed(renderer: Any, prop: Any, name: str) -> Any:
    """Add something to a view that no mouse click shall find."""
    prop.SetObjectName(name)
    prop.PickableOff()
    renderer.AddViewProp(prop)
    return prop


def findNamed(renderer: Any, name: str) -> Any:
    """Return what was added under a name, or ``None``."""
    props = renderer.GetViewProps()
    found = [props.GetItemAsObject(number) for number in range(props.GetNumberOfItems())]
    return next((prop for prop in found if prop.GetObjectName() == name), None)


def removeNamed(renderer: Any, *names: str) -> None:
    """Take away what was added under these names, if it is there."""
    for name in names:
        prop = findNamed(renderer, name)
        if prop is not None:
            renderer.RemoveViewProp(prop)
