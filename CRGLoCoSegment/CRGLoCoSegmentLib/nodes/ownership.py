"""Whose notes a volume carries: a copy of it has them too, and is another volume.

Crop Volume, Mask Volume and Slicer's cloning copy attributes and references with the voxels. A reference to
itself stays with the volume: in a copy it leads to the original, also after scenes were saved and added.
"""

from typing import Any

OURS = "CRGLoCoSegment."
ITSELF = f"{OURS}Itself"


def ownsNotes(volumeNode: Any) -> bool:
    """Whether what this module wrote on a volume is about it, and not about one that it is a copy of."""
    identifier = volumeNode.GetID()
    return identifier is not None and volumeNode.GetNodeReferenceID(ITSELF) == identifier


def beginNotes(volumeNode: Any) -> None:
    """Make a volume ready to be written on: what a copy has brought along goes."""
    if ownsNotes(volumeNode):
        return
    for name in volumeNode.GetAttributeNames():
        if name.startswith(OURS):
            volumeNode.RemoveAttribute(name)
    roles = [volumeNode.GetNthNodeReferenceRole(n) for n in range(volumeNode.GetNumberOfNodeReferenceRoles())]
    for role in roles:
        if role.startswith(OURS):
            volumeNode.RemoveNodeReferenceIDs(role)
    volumeNode.SetNodeReferenceID(ITSELF, volumeNode.GetID())
