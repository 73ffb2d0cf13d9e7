"""What there is in a scene, and whether two are one."""

from typing import Any


def nodesOfClass(scene: Any, name: str) -> list[Any]:
    """Return the nodes of a class and of those derived from it; none without a scene."""
    if scene is None:
        return []
    nodes = scene.GetNodesByClass(name)
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]


def isSameNode(first: Any, second: Any) -> bool:
    """Whether two are one node, or both none; PythonQt may wrap one node twice."""
    if first is None or second is None:
        return first is second
    return bool(first.GetID() == second.GetID())
