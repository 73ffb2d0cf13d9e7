"""Labels that show some structures of the label table only: of the others nothing is known there.

Which ones a label shows is in ``crgloco.json``, revision by revision, and after opening in
``Case.structures``; ``None`` always means all of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crgloco.data.cases import Case
from crgloco.errors import CasesError, LabelError
from crgloco.labels import LabelTable


def known_classes(case: Case, table: LabelTable) -> tuple[int, ...] | None:
    """Return the class numbers that the label of a case shows; ``None`` for all of the table."""
    return None if case.structures is None else tuple(table.names.index(name) for name in case.structures)


def shown_structures(
    told: Iterable[str] | None,
    before: Iterable[str] | None,
    drawn: Iterable[int],
    table: LabelTable,
) -> tuple[str, ...] | None:
    """Return what a new revision of a label shows.

    What was told counts; untold, it shows what the revision before showed, for whoever edits a liver has
    not looked for the spleen. A structure that is drawn is shown in any case.

    Args:
        told: Names that whoever made the label vouches for; ``None`` if nothing was said.
        before: What the revision before shows; ``None`` for all, as of a first label.
        drawn: Class numbers in the label.
        table: The label table.

    Raises:
        LabelError: A name is not in the table.
    """
    names = before if told is None else told
    return table.part(None if names is None else {*names, *(table.names[c] for c in drawn if c > 0)})


def partial_cases(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return the labelled cases whose labels do not show the whole table."""
    return tuple(case for case in cases if case.structures is not None)


def assert_shown(case: Case, drawn: Iterable[int], table: LabelTable) -> None:
    """Refuse a label with a structure drawn that it is not said to show: one of both is wrong.

    Raises:
        LabelError: Naming the structure and both remedies.
    """
    known = known_classes(case, table)
    extra = [] if known is None else [table.names[c] for c in sorted({*drawn} - {0, *known})]
    if extra:
        msg = (
            f"{case.label} holds {', '.join(extra)}, but is said to show {', '.join(case.structures or ())} "
            "only. Add what is missing to 'structures' in crgloco.json, or remove it from the label."
        )
        raise LabelError(msg)


def in_words(cases: Sequence[Case], table: LabelTable) -> str:
    """Say how many labelled cases there are for each structure: ``"liver: 3 cases, spleen: 5"``."""
    counts = {
        name: sum(case.structures is None or name in case.structures for case in cases)
        for name in table.names[1:]
    }
    first, *others = (f"{name}: {count}" for name, count in counts.items())
    return ", ".join([f"{first} cases", *others])


def assert_complete(cases: Sequence[Case], table: LabelTable, method: str, instead: Sequence[str]) -> None:
    """Refuse partially labelled cases for a method that would take what is missing for background.

    Args:
        cases: Labelled cases.
        table: The label table.
        method: Title of the method.
        instead: Titles of the methods that learn from partial labels.

    Raises:
        CasesError: Saying how many cases lack which structures, and what to do.
    """
    partial = partial_cases(cases)
    if not partial:
        return
    missing = [
        name for name in table.names[1:] if any(name not in (case.structures or ()) for case in partial)
    ]
    msg = (
        f"{method} needs complete labels, but {len(partial)} of {len(cases)} labelled cases show some "
        f"structures only ({in_words(cases, table)}). Not shown in some: {', '.join(missing)}. "
        f"Choose {' or '.join(instead)}, or complete the labels of {_few(partial)}."
    )
    raise CasesError(msg)


def assert_all_taught(cases: Sequence[Case], table: LabelTable) -> None:
    """Refuse cases of which none shows some structure: a model would answer for what nobody taught it.

    Raises:
        CasesError: Naming the structures.
    """
    taught = {name for case in cases for name in case.structures or table.names[1:]}
    untaught = [name for name in table.names[1:] if name not in taught]
    if untaught:
        msg = (
            f"No label to learn from shows {', '.join(untaught)} ({in_words(cases, table)}). "
            "Use more labelled cases, or label one more with it."
        )
        raise CasesError(msg)


def _few(cases: Sequence[Case]) -> str:
    names = [case.name for case in cases[:3]]
    return ", ".join(names) + (f" and {len(cases) - 3} more" if len(cases) > 3 else "")
