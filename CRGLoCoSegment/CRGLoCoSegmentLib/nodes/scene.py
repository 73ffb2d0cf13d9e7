"""What there is in a scene, by its class."""

from typing import Any


def nodesOfClass(scene: Any, name: str) -> list[Any]:
    """Return the nodes of a class and of those derived from it; none without a scene."""
    if scene is None:
        return []
    nodes = scene.GetNodesByClass(name)
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]
