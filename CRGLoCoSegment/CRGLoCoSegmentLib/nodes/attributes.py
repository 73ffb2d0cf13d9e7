"""What is written on a node as JSON, and saved with its scene."""

import json
from typing import Any


def mappingOf(node: Any, attribute: str) -> dict[str, Any]:
    """Return a mapping that stands in an attribute of a node; empty if there is none that can be read."""
    try:
        found = json.loads(node.GetAttribute(attribute) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
