"""The methods on offer: whatever file lies in this folder.

Lists and forms must work before torch is installed, but a method's file needs torch. So the list
reads only the head of each file: its title, reference, kind and ``Config``.
"""

from __future__ import annotations

import ast
import functools
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crgloco.errors import CasesError, OptionError
from crgloco.options import describe

if TYPE_CHECKING:
    from crgloco.data.cases import CasesFolder
    from crgloco.methods.base import Method

DEFAULT = "cr_gloco"
# Files of this folder that are no methods.
SHARED = {"base", "two_branches"}


@dataclass(frozen=True)
class MethodCard:
    """What a list or a form shows of a method.

    Attributes:
        name: Name of the file, used in jobs and model cards.
        title: Name shown to users.
        reference: Publication.
        kind: ``"segmentation"`` or ``"pretraining"``.
        config: The dataclass of its options.
        configurations: Named configurations: name -> options that differ from the defaults.
        partial_labels: Whether it learns from labels that show some structures of the table only.
        fewest_structures: How many structures the label table must have at least.
    """

    name: str
    title: str
    reference: str
    kind: str
    config: type
    configurations: dict[str, dict[str, Any]]
    partial_labels: bool = False
    fewest_structures: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "reference": self.reference,
            "kind": self.kind,
            "partial_labels": self.partial_labels,
            "default": self.name == DEFAULT,
            "configurations": self.configurations,
            "options": describe(self.config),
        }


def available() -> tuple[str, ...]:
    """Return the names of all methods, the default first."""
    files = Path(__file__).parent.glob("*.py")
    names = {file.stem for file in files if not file.stem.startswith(("_", "."))} - SHARED
    return tuple(sorted(names, key=lambda name: (name != DEFAULT, name)))


@functools.cache
def card(name: str) -> MethodCard:
    """Return title, reference and options of a method without importing torch.

    Reading one takes 10 ms, too long for what is asked at every event: it is kept.

    Raises:
        OptionError: There is no such method.
    """
    head = _head(_file(name))
    return MethodCard(
        name=name,
        title=head["TITLE"],
        reference=head["REFERENCE"],
        kind=head.get("KIND", "segmentation"),
        config=head["Config"],
        configurations=head.get("CONFIGURATIONS", {"default": {}}),
        partial_labels=head.get("PARTIAL_LABELS", False),
        fewest_structures=head.get("FEWEST_STRUCTURES", 1),
    )


def configuration(name: str, config_name: str) -> dict[str, Any]:
    """Return the options of a method's named configuration that differ from the defaults.

    Raises:
        OptionError: There is no such method or configuration.
    """
    known = card(name).configurations
    if config_name not in known:
        msg = f"{name} has no configuration {config_name!r}. Configurations: {', '.join(known)}."
        raise OptionError(msg)
    return known[config_name]


def assert_suited(name: str, folder: CasesFolder) -> None:
    """Refuse cases whose labels show less than a method needs.

    Raises:
        CasesError: Saying how many structures the table has, or how many cases lack which, and what to do.
        OptionError: There is no such method.
    """
    from crgloco.data.partial_labels import assert_complete

    asked = card(name)
    if folder.table is None or asked.kind == "pretraining":
        return
    structures = folder.table.classes - 1
    if structures < asked.fewest_structures:
        msg = (
            f"{asked.title} learns several structures together and needs at least {asked.fewest_structures}; "
            f"the label table of {folder.root} has {structures}. Choose another method."
        )
        raise CasesError(msg)
    if asked.partial_labels:
        return
    instead = [other.title for other in map(card, available()) if other.partial_labels]
    assert_complete(folder.labelled, folder.table, asked.title, instead)


def get(name: str) -> type[Method]:
    """Return the class of a method; imports torch.

    Raises:
        OptionError: There is no such method.
    """
    _file(name)
    from crgloco.methods.base import Method

    module = importlib.import_module(f"{__name__}.{name}")
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    return next(c for c in classes if issubclass(c, Method) and c.__module__ == module.__name__)


def _file(name: str) -> Path:
    if name not in available():
        msg = f"There is no method {name!r}. Methods: {', '.join(available())}."
        raise OptionError(msg)
    return Path(__file__).parent / f"{name}.py"


def _head(file: Path) -> dict[str, Any]:
    """Run the constants, the options dataclass and the torch-free imports of a method's file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    wanted = [node for node in tree.body if _belongs_to_head(node)]
    namespace: dict[str, Any] = {"__name__": __name__}
    # Our own installed file, never a user's: no more is run than an import would run.
    exec(compile(ast.Module(wanted, []), str(file), "exec"), namespace)  # noqa: S102
    return namespace


def _belongs_to_head(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module in {
            "__future__",
            "dataclasses",
            "typing",
            "crgloco.options",
            "crgloco.networks.options",
        }
    if isinstance(node, ast.ClassDef):
        return node.name == "Config"
    return isinstance(node, (ast.Assign, ast.AnnAssign)) and _target(node).isupper()


def _target(node: ast.Assign | ast.AnnAssign) -> str:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id if isinstance(target, ast.Name) else ""
