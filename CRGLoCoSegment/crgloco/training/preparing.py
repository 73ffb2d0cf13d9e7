"""From the cases of a job to prepared cases.

A case whose label teaches and that cannot be used ends the training: its label is somebody's work. A scan
that would teach without label and cannot be used is named and left out: the others teach as well.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crgloco import model_store
from crgloco.channels import assert_same_order
from crgloco.data.cache import PreparedCase, is_there, prepare_case
from crgloco.data.cases import Case, assert_channels
from crgloco.data.preparation import Preparation, target_spacing
from crgloco.errors import CasesError, CRGLoCoError, InputError, ModelError, OptionError, ResourceError
from crgloco.io.files import source_geometry
from crgloco.io.orientation import canonical_geometry
from crgloco.io.volume import Spacing, in_mm
from crgloco.labels import LabelTable
from crgloco.networks.options import DualResolutionOptions
from crgloco.progress import Reporter
from crgloco.training.selection import Selection

# Voxels of a start model more than so many times larger than those of the scans hide what the scans show.
DETAIL_FACTOR = 2.0


@dataclass(frozen=True)
class Prepared:
    """The cases of a job as training reads them.

    Attributes:
        selection: The cases by role, without the unlabelled scans that cannot be used; in a run that goes
            on, as they are now.
        preparation: How scans became arrays.
        labelled: What is taught with its label, in the order of the selection.
        unlabelled: What is taught without, likewise.
    """

    selection: Selection
    preparation: Preparation
    labelled: tuple[PreparedCase, ...]
    unlabelled: tuple[PreparedCase, ...]


def prepare(
    selection: Selection,
    spacing: Spacing | None,
    parent: model_store.StartModel | None,
    cache: Path,
    report: Reporter,
) -> Prepared:
    """Prepare all cases, as the start model did or as fits them best.

    Args:
        selection: The cases by role.
        spacing: Voxel size that was asked for, mm along canonical K, J, I.
        parent: The start model, whose preparation is kept.
        cache: Where prepared cases are kept.
        report: Hears ``progress``, and a ``message`` for every scan that is left out; may stop.

    Raises:
        CasesError: A labelled case does not have the channels, no label shows anything, or nothing is
            left to learn from.
        InputError: A labelled case cannot be used.
        ResourceError: The cache cannot be written, or not enough of the disk is free.
    """
    for case in selection.labelled:
        assert_channels(case, selection.channel_names)
    reasons: list[str] = []
    kept = _only(selection, _readable(selection, reasons, report), reasons)
    preparation = _preparation(spacing, kept, parent, report)
    while True:
        done = _prepare_cases(kept, preparation, cache, reasons, report)
        usable = _only(kept, done, reasons)
        # what is left out must not have shaped the preparation
        again = preparation if usable == kept else _preparation(spacing, usable, parent, report)
        if again == preparation:
            break
        kept, preparation = usable, again
    labelled, unlabelled = (
        tuple(done[case.name] for case in cases) for cases in (usable.labelled, usable.unlabelled)
    )
    _assert_shown(usable, labelled)
    if parent is not None and (remark := remark_on_details(usable, parent)):
        report.event("message", text=remark)
    return Prepared(usable, preparation, labelled, unlabelled)


def taught_without_label(cases: Prepared, config: DualResolutionOptions) -> tuple[PreparedCase, ...]:
    """Return the unlabelled scans that teach: none where no batch draws any."""
    return cases.unlabelled if config.unlabelled_batch else ()


def teaches_on(labelled: Sequence[object], parent: model_store.StartModel | None) -> bool:
    """Whether labels teach on what segments already; not so where either side is a pre-training."""
    return parent is not None and len(labelled) > 0 and not model_store.is_pretraining(parent.card)


def assert_goes_on(parent: model_store.StartModel, selection: Selection, spacing: Spacing | None) -> None:
    """Refuse a start model that knows other structures, channels or voxel sizes, before anything is read.

    Raises:
        ModelError: The start model knows other structures or channels, or channels in another order.
        OptionError: The voxel size that was asked for is not that of the start model.
    """
    if teaches_on(selection.labelled, parent):
        _assert_same_structures(parent, selection.table)
    if len(parent.preparation.rules) != len(selection.channel_names):
        msg = (
            f"The start model {parent.card.name!r} expects {len(parent.preparation.rules)} channels; the "
            f"cases have {len(selection.channel_names)}."
        )
        raise ModelError(msg)
    names = parent.card.channel_names
    assert_same_order(f"The start model {parent.card.name!r}", names, selection.channel_names)
    if spacing is not None and not np.allclose(spacing, parent.preparation.spacing, rtol=1e-3):
        known, asked = (",".join(f"{mm:g}" for mm in size) for size in (parent.preparation.spacing, spacing))
        msg = (
            f"The start model {parent.card.name!r} sees voxels of {known} mm and goes on so; the option "
            f"spacing asks for {asked}. Leave it out, or train without a start model."
        )
        raise OptionError(msg)


def remark_on_details(selection: Selection, parent: model_store.StartModel) -> str:
    """Return a sentence if the scans show details that are too small for the start model; else nothing."""
    cases = selection.labelled or selection.unlabelled
    grids = [canonical_geometry(source_geometry(case.channels[0])) for case in cases]
    found, seen = target_spacing([grid.spacing for grid in grids]), parent.preparation.spacing
    if DETAIL_FACTOR * min(found) >= min(seen):
        return ""
    return (
        f"The voxels of the scans ({in_mm(found)}) are much smaller than those that {parent.card.title!r} "
        f"sees ({in_mm(seen)}), and the new model goes on with the latter: it cannot learn what is smaller. "
        "Without a start model it would see the voxels of the scans."
    )


def _assert_same_structures(parent: model_store.StartModel, table: LabelTable) -> None:
    known, name = parent.card.labels, parent.card.name
    if (known.names, known.values) == (table.names, table.values):
        return
    if set(known.names) == set(table.names):
        msg = (
            f"The start model {name!r} and the cases have the same structures with other label values: the "
            f"model has {known.in_words()}; the cases have {table.in_words()}. Change the values in "
            "the labels and in dataset.json of the cases to those of the model, or train without a start "
            "model."
        )
    else:
        msg = (
            f"The start model {name!r} knows {', '.join(known.names[1:])}; the cases are labelled with "
            f"{', '.join(table.names[1:])}. Choose a start model with the same label table."
        )
    raise ModelError(msg)


def _only(selection: Selection, usable: Container[str], reasons: Sequence[str]) -> Selection:
    """Keep the unlabelled scans that are usable; refuse if nothing is left to learn from."""
    kept = tuple(case for case in selection.unlabelled if case.name in usable)
    if not kept and not selection.labelled:
        msg = f"None of the scans can be used, so there is nothing to learn. {reasons[0]}"
        raise CasesError(msg)
    return replace(selection, unlabelled=kept)


def _readable(selection: Selection, reasons: list[str], report: Reporter) -> set[str]:
    """Return the names of the unlabelled scans that have all channels and a header; voxels are read later."""
    names = set()
    total = len(selection.unlabelled)
    for number, case in enumerate(selection.unlabelled, 1):
        report.check()
        try:
            assert_channels(case, selection.channel_names)
            source_geometry(case.channels[0])
        except (CasesError, InputError) as error:
            _leave_out(case, error, reasons, report)
        else:
            names.add(case.name)
        report.event("progress", stage="headers", done=number, total=total)
    return names


def _prepare_cases(
    selection: Selection, preparation: Preparation, cache: Path, reasons: list[str], report: Reporter
) -> dict[str, PreparedCase]:
    """Return the prepared cases by name, without the unlabelled ones that cannot be used."""
    cases = (*selection.labelled, *selection.unlabelled)
    new = [not is_there(case, cache) for case in cases]
    done: dict[str, PreparedCase] = {}
    for number, case in enumerate(cases, 1):
        report.check()
        teaches = number <= len(selection.labelled)
        try:
            table = selection.table if teaches else None
            done[case.name] = prepare_case(case, preparation, table, cache, report)
        except InputError as error:
            if teaches:
                raise
            _leave_out(case, error, reasons, report)
        report.event("progress", stage="preparing", done=number, total=len(cases))
        _check_space(cache, tuple(done.values()), sum(new[number:]))
    return done


def _leave_out(case: Case, error: CRGLoCoError, reasons: list[str], report: Reporter) -> None:
    reasons.append(str(error))
    report.event("message", text=f"{case.name} is left out of the unlabelled scans. {error}")


def _preparation(
    spacing: Spacing | None,
    selection: Selection,
    parent: model_store.StartModel | None,
    report: Reporter,
) -> Preparation:
    if parent is not None:
        return parent.preparation
    cases = (*selection.labelled, *selection.unlabelled)
    return Preparation.fit(cases, selection.channel_names, spacing, report)


def _assert_shown(selection: Selection, labelled: Sequence[PreparedCase]) -> None:
    """Refuse labels in which nothing was drawn: what they teach is that there is nothing."""
    if labelled and not any(number > 0 for case in labelled for number in case.locations()):
        names = ", ".join(selection.table.names[1:])
        msg = (
            f"No label of the {len(labelled)} training case(s) shows any structure ({names}): there is "
            "nothing to learn. Check that the labels were saved with these values."
        )
        raise CasesError(msg)


def _check_space(cache: Path, prepared: Sequence[PreparedCase], left: int) -> None:
    if not prepared:
        return
    sizes = [2 * case.channels * math.prod(case.shape) for case in prepared]
    need = int(np.mean(sizes) * left)
    free = shutil.disk_usage(cache).free
    if need > free:
        msg = (
            f"The prepared cases need about {need >> 20} MB more, but {cache} has {free >> 20} MB free. "
            "Free some space, or put the new model on another disk."
        )
        raise ResourceError(msg)
