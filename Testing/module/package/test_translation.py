"""What users read of an error goes through ``_()``: seen in the syntax tree, nothing is run."""

import ast
import re
import symtable
from collections.abc import Iterator
from pathlib import Path

import pytest

from crgloco import errors

LIBRARY = Path(__file__).parents[3] / "CRGLoCoSegment" / "CRGLoCoSegmentLib"
FILES = {path.relative_to(LIBRARY).as_posix(): path.read_text("utf-8") for path in LIBRARY.rglob("*.py")}
TREES = {file: ast.parse(source) for file, source in FILES.items()}

ENGINES = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
OURS = ENGINES | {
    node.name
    for tree in TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & {*ENGINES, "Exception"}
}

# Messages that only a programmer can provoke: file and function.
FOR_PROGRAMMERS = {("background/worker.py", "_plain"), ("nodes/overlays.py", "overlayColors")}

WORD = re.compile(r"(?<![.\w])[^\W\d_]{2}")  # the ending of a file is none
PARTS = {
    ast.BinOp: ("left", "right"),
    ast.BoolOp: ("values",),
    ast.Dict: ("values",),
    ast.FormattedValue: ("value",),
    ast.GeneratorExp: ("elt",),
    ast.IfExp: ("body", "orelse"),
    ast.JoinedStr: ("values",),
    ast.List: ("elts",),
    ast.ListComp: ("elt",),
    ast.NamedExpr: ("value",),
    ast.Starred: ("value",),
    ast.Tuple: ("elts",),
}


def bareMessages(tree: ast.Module) -> set[tuple[str, int]]:
    """Return function and line of what an error says without ``_()``, or with an f-string in it.

    An error is what is raised, and what is made of a class of ``crgloco.errors`` or of the Slicer side's own.
    """
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = set()
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not call.args:
            continue
        if isinstance(parents[call], ast.Raise) or (isinstance(call.func, ast.Name) and call.func.id in OURS):
            functions = _functionsAround(call, parents)
            name = functions[0].name if functions else ""
            literals = _bare(call.args[0], [tree, *functions], frozenset())
            found |= {(name, literal.lineno) for literal in literals}
    return found


def _functionsAround(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> list[ast.FunctionDef]:
    """The functions that a node stands in, the innermost first."""
    around = []
    while node in parents:
        node = parents[node]
        if isinstance(node, ast.FunctionDef):
            around.append(node)
    return around


def _bare(text: ast.AST, scopes: list[ast.AST], known: frozenset[str]) -> Iterator[ast.expr]:
    """Yield the words that become part of a message and do not stand in ``_()``."""
    match text:
        case ast.Constant(value=str(words)) if WORD.search(words):
            yield text
        case ast.Call(func=ast.Name(id="_" | "translate")):  # of an f-string no translation is ever found
            yield from (part for part in ast.walk(text) if isinstance(part, ast.JoinedStr))
        case ast.Name(id=name) if name not in known:
            for value in _assigned(name, scopes):
                yield from _bare(value, scopes, known | {name})
    for part in _parts(text):
        yield from _bare(part, scopes, known)


def _parts(text: ast.AST) -> Iterator[ast.AST]:
    """Yield the expressions whose texts an expression puts together, or chooses from."""
    if isinstance(text, ast.Call) and isinstance(text.func, ast.Attribute):
        if text.func.attr in {"format", "join"}:
            yield from (text.func.value, *text.args, *(keyword.value for keyword in text.keywords))
        return
    for field in PARTS.get(type(text), ()):
        value = getattr(text, field)
        yield from value if isinstance(value, list) else [value]


def _assigned(name: str, scopes: list[ast.AST]) -> list[ast.AST]:
    """What a name may stand for: all that the functions around, and the module itself, assign to it."""
    module, *functions = scopes
    statements = [*ast.iter_child_nodes(module), *(node for scope in functions for node in ast.walk(scope))]
    values: list[ast.AST] = []
    for node in statements:
        match node:
            case ast.Assign(targets=targets, value=value) if value is not None:
                values += [value for target in targets if ast.unparse(target) == name]
            case ast.AnnAssign(target=target, value=value) | ast.AugAssign(target=target, value=value):
                values += [value] if value is not None and ast.unparse(target) == name else []
            case ast.NamedExpr(target=target, value=value):
                values += [value] if target.id == name else []
    return values


def shadowed(source: str, name: str = "_") -> Iterator[int]:
    """Yield the lines of functions in which the name is read but is not the module's own."""
    waiting = symtable.symtable(source, "source", "exec").get_children()
    while waiting:
        scope = waiting.pop()
        waiting += scope.get_children()
        if name in scope.get_identifiers():
            symbol = scope.lookup(name)
            if symbol.is_referenced() and not symbol.is_global():
                yield scope.get_lineno()


def test_every_error_of_the_slicer_side_speaks_the_users_language():
    found = sorted((file, *bare) for file, tree in TREES.items() for bare in bareMessages(tree))
    wrong = [f"{file}:{line}" for file, function, line in found if (file, function) not in FOR_PROGRAMMERS]
    assert not wrong, f"put these messages into _() and fill them by .format(): {', '.join(wrong)}"
    assert {(file, function) for file, function, _line in found} == FOR_PROGRAMMERS, "some exception is none"


def test_no_variable_stands_in_the_way_of_the_translation():
    translating = {file: source for file, source in FILES.items() if "import tr as _" in source}
    wrong = [f"{file}:{line}" for file, source in translating.items() for line in shadowed(source)]
    assert not wrong, f"rename the variable _ there: {', '.join(wrong)}"


@pytest.mark.parametrize(
    "body",
    [
        'raise InputError("Load it again.")',
        'raise InputError(f"{name} is empty.")',
        'raise ValueError(f"{name} is empty.")',
        'msg = f"{name} is empty."\n    raise InputError(msg)',
        'msg = ("The volume "\n        f"{name} is empty.")\n    raise InputError(msg) from name',
        'msg = _("One.")\n    if name:\n        msg = "Two."\n    raise InputError(msg)',
        'msg = _("One.")\n    msg += " Two."\n    raise InputError(msg)',
        'msg = "{name} is empty."\n    raise InputError(msg.format(name=name))',
        'raise InputError("%s is empty." % name)',
        'raise InputError(_("One.") + " Two.")',
        'raise InputError(_("One.") if name else "Two.")',
        'raise InputError(name or "Two.")',
        'raise InputError(_(f"{name} is empty."))',
        'raise InputError(_("{names} overlap").format(names=" and ".join(name)))',
        'raise InputError(_("{names} overlap").format(names=", ".join(f"label {one}" for one in name)))',
        'return InputError(f"{name} is empty.")',
        'fail(InputError(f"{name} is empty."))',
        'fail(InstallationError("It is empty."))',
    ],
)
def test_a_message_without_translation_is_found(body):
    assert bareMessages(ast.parse(f"def check(name):\n    {body}\n")), body


@pytest.mark.parametrize(
    "body",
    [
        'raise InputError(_("Load it again."))',
        'raise InputError(_("{name} is empty.").format(name=name))',
        'msg = _("{name} is empty.")\n    raise InputError(msg.format(name=name)) from name',
        'raise InputError(_("{names} is empty.").format(names=", ".join(f"{a} {b}" for a, b in name)))',
        'raise InputError(f"{keptText(name)} {name}")',
        'raise InputError(record["error"])',
        'raise InputError(_("It is empty."), f"details: {name}")',
        'log.error("not for users")\n    raise',
        "raise name",
    ],
)
def test_a_translated_message_passes(body):
    assert not bareMessages(ast.parse(f"def check(name):\n    {body}\n")), body


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('def one():\n    for _ in "ab":\n        say(_("Hello"))\n', [1]),
        ('def one():\n    hear(lambda *_: say(_("Hello")))\n', [2]),
        ('def one(_):\n    def two():\n        say(_("Hello"))\n', [2]),
        ('def one():\n    hear(lambda *_: 1)\n    say(_("Hello"))\n', []),
        ('def one():\n    return [1 for _ in _("Hello")]\n', []),
    ],
)
def test_a_variable_in_the_way_is_found(source, lines):
    assert list(shadowed("from slicer.i18n import tr as _\n" + source)) == [line + 1 for line in lines]
