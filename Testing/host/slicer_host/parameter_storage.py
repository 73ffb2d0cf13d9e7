"""How parameters stand in a vtkMRMLScriptedModuleNode: texts by name, nodes as references, lists by index."""

import enum
import pathlib
import types
import typing
from collections.abc import MutableMapping, MutableSequence
from typing import Any

import slicer
import slicer.util

from slicer_host.parameter_annotations import Validator, split


class Storage:
    """Writes and reads one type.

    Args:
        kind: The plain type.
    """

    types: tuple[type, ...] = ()

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.validators: list[Validator] = []

    def default(self) -> Any:
        """The value where none is given."""
        return self.kind()

    def validate(self, value: Any) -> None:
        """Refuse a value of another type, or one that an annotation refuses."""
        if not isinstance(value, self.types or self.kind):
            raise TypeError(f"Value must be of type '{self.kind}', is type '{type(value)}' value '{value}'")
        for validator in self.validators:
            validator.validate(value)

    def isIn(self, node: Any, name: str) -> bool:
        """Whether the node has it."""
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        """Check and store."""
        self.validate(value)
        node.SetParameter(name, self.text(value))

    def text(self, value: Any) -> str:
        """The value as text."""
        return str(value)

    def read(self, node: Any, name: str) -> Any:
        """The stored value."""
        return self.kind(node.GetParameter(name))

    def remove(self, node: Any, name: str) -> None:
        """Forget it."""
        node.UnsetParameter(name)


class Number(Storage):
    """``int`` or ``float``."""

    def __init__(self, kind: type) -> None:
        super().__init__(kind)
        self.types = (int, float) if kind is float else (int,)


class Truth(Storage):
    """``bool``, written as True or False."""

    def read(self, node: Any, name: str) -> bool:
        """The stored value."""
        return node.GetParameter(name) == "True"


class Name(Storage):
    """An ``Enum``, written by its name."""

    def default(self) -> Any:
        """The first member."""
        return next(iter(self.kind))

    def text(self, value: Any) -> str:
        """The member's name."""
        return value.name

    def read(self, node: Any, name: str) -> Any:
        """The member."""
        text = node.GetParameter(name)
        if text not in self.kind.__members__:
            raise ValueError(f"Found {text!r} in parameter node but it is not a name in {self.kind!r}")
        return self.kind[text]


class Node(Storage):
    """A MRML node or ``None``, kept as a node reference."""

    def default(self) -> None:
        """No node."""
        return

    def validate(self, value: Any) -> None:
        """``None`` is a value here."""
        if value is not None:
            super().validate(value)

    def write(self, node: Any, name: str, value: Any) -> None:
        """Check and refer to it."""
        self.validate(value)
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        """The node referred to."""
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        """Forget text and reference."""
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class Tuple(Storage):
    """A tuple of fixed length."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.types = (tuple, list)
        self._parts = [storageFor(one) for one in typing.get_args(kind)]

    def default(self) -> tuple:
        """The parts' defaults."""
        return tuple(part.default() for part in self._parts)

    def isIn(self, node: Any, name: str) -> bool:
        """Whether its first part is there."""
        return self._parts[0].isIn(node, f"{name}.0")

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store each part."""
        self.validate(value)
        with slicer.util.NodeModify(node):
            for index, (part, one) in enumerate(zip(self._parts, value, strict=True)):
                part.write(node, f"{name}.{index}", one)

    def read(self, node: Any, name: str) -> tuple:
        """All parts."""
        return tuple(part.read(node, f"{name}.{index}") for index, part in enumerate(self._parts))

    def remove(self, node: Any, name: str) -> None:
        """Forget all parts."""
        for index, part in enumerate(self._parts):
            part.remove(node, f"{name}.{index}")


class List(Storage):
    """A list; what comes back stores every change."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.types = (list, tuple, ObservedList)
        self._part = storageFor(typing.get_args(kind)[0])

    def default(self) -> list:
        """Empty."""
        return []

    def isIn(self, node: Any, name: str) -> bool:
        """Whether its length is there."""
        return bool(node.HasParameter(f"{name}.len"))

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store each item, and how many there are."""
        self.validate(value)
        for one in value:
            self._part.validate(one)
        with slicer.util.NodeModify(node):
            former = int(node.GetParameter(f"{name}.len") or 0)
            for index, one in enumerate(value):
                self._part.write(node, f"{name}.{index}", one)
            node.SetParameter(f"{name}.len", str(len(value)))
            for index in range(len(value), former):
                self._part.remove(node, f"{name}.{index}")

    def read(self, node: Any, name: str) -> "ObservedList":
        """The items."""
        count = int(node.GetParameter(f"{name}.len") or 0)
        return ObservedList(self, node, name, [self._part.read(node, f"{name}.{i}") for i in range(count)])

    def remove(self, node: Any, name: str) -> None:
        """Forget all items."""
        self.write(node, name, [])
        node.UnsetParameter(f"{name}.len")


class Dict(Storage):
    """A dict, kept as a list of pairs."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.types = (dict, ObservedDict)
        key, value = typing.get_args(kind)
        self._pairs = List(list[tuple[key, value]])

    def default(self) -> dict:
        """Empty."""
        return {}

    def isIn(self, node: Any, name: str) -> bool:
        """Whether its length is there."""
        return self._pairs.isIn(node, name)

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store the pairs."""
        self.validate(value)
        self._pairs.write(node, name, list(value.items()))

    def read(self, node: Any, name: str) -> "ObservedDict":
        """The pairs."""
        return ObservedDict(self, node, name, dict(self._pairs.read(node, name)))

    def remove(self, node: Any, name: str) -> None:
        """Forget the pairs."""
        self._pairs.remove(node, name)


class Union(Storage):
    """One of several types; the number of the type is part of the name."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self._parts = [None if one is type(None) else storageFor(one) for one in typing.get_args(kind)]

    def default(self) -> Any:
        """``None`` if it may be, else the first type's."""
        return None if None in self._parts else self._parts[0].default()

    def _place(self, value: Any) -> int:
        for index, part in enumerate(self._parts):
            if part is None and value is None:
                return index
            if part is not None and value is not None:
                try:
                    part.validate(value)
                except (TypeError, ValueError):
                    continue
                return index
        raise TypeError(f"Unable to write value '{value}' of type '{type(value)}'")

    def validate(self, value: Any) -> None:
        """Refuse what no type takes."""
        self._place(value)

    def isIn(self, node: Any, name: str) -> bool:
        """Whether any type's value is there."""
        return any((part or Truth(bool)).isIn(node, f"{name}.{i}") for i, part in enumerate(self._parts))

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store by the type that takes it."""
        place = self._place(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            if self._parts[place] is None:
                node.SetParameter(f"{name}.{place}", "True")
            else:
                self._parts[place].write(node, f"{name}.{place}", value)

    def read(self, node: Any, name: str) -> Any:
        """The value."""
        for index, part in enumerate(self._parts):
            if (part or Truth(bool)).isIn(node, f"{name}.{index}"):
                return None if part is None else part.read(node, f"{name}.{index}")
        raise KeyError(name)

    def remove(self, node: Any, name: str) -> None:
        """Forget all."""
        for index, part in enumerate(self._parts):
            (part or Truth(bool)).remove(node, f"{name}.{index}")


class ObservedList(MutableSequence):
    """A list that stores every change in its node."""

    def __init__(self, storage: List, node: Any, name: str, values: list) -> None:
        self._storage, self._node, self._name, self._values = storage, node, name, values

    def _save(self) -> None:
        self._storage.write(self._node, self._name, self._values)

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._values[index] = value
        self._save()

    def __delitem__(self, index: Any) -> None:
        del self._values[index]
        self._save()

    def __len__(self) -> int:
        return len(self._values)

    def insert(self, index: int, value: Any) -> None:
        """Put in and store."""
        self._values.insert(index, value)
        self._save()

    def __eq__(self, other: object) -> bool:
        return self._values == (other._values if isinstance(other, ObservedList) else other)

    __hash__ = None

    def __repr__(self) -> str:
        return f"ObservedList({self._values})"


class ObservedDict(MutableMapping):
    """A dict that stores every change in its node."""

    def __init__(self, storage: Dict, node: Any, name: str, values: dict) -> None:
        self._storage, self._node, self._name, self._values = storage, node, name, values

    def __getitem__(self, key: Any) -> Any:
        return self._values[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._values[key] = value
        self._storage.write(self._node, self._name, self._values)

    def __delitem__(self, key: Any) -> None:
        del self._values[key]
        self._storage.write(self._node, self._name, self._values)

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return self._values == (other._values if isinstance(other, ObservedDict) else other)

    __hash__ = None

    def __repr__(self) -> str:
        return f"ObservedDict({self._values})"


def storageFor(kind: Any) -> Storage:
    """The storage of a type, annotated or not.

    Raises:
        TypeError: For a type that the wrapper (or the host) cannot store.
    """
    plain, notes = split(kind)
    storage = _storageClass(plain)(plain)
    storage.validators = [note for note in notes if isinstance(note, Validator)]
    return storage


def _storageClass(plain: Any) -> type[Storage]:
    origin = typing.get_origin(plain)
    if isinstance(plain, types.UnionType) or origin is typing.Union:
        return Union
    containers = {list: List, tuple: Tuple, dict: Dict}
    simple = {int: Number, float: Number, bool: Truth, str: Storage, pathlib.Path: Storage}
    if origin in containers:
        return containers[origin]
    if plain in simple:
        return simple[plain]
    if isinstance(plain, type) and issubclass(plain, enum.Enum):
        return Name
    if isinstance(plain, type) and issubclass(plain, slicer.vtkMRMLNode):
        return Node
    raise TypeError(f"Unable to create serializer for type: {plain}")
