"""A start model goes on only with the structures that it knows, by the same values, and at its voxel size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from cards import make_card
from crgloco.data.cases import Case
from crgloco.data.intensities import ChannelRule
from crgloco.data.preparation import Preparation
from crgloco.errors import ModelError
from crgloco.io.files import Source, write_volume
from crgloco.io.volume import Geometry, Spacing, Volume
from crgloco.labels import LabelTable
from crgloco.model_store import StartModel
from crgloco.training.preparing import assert_goes_on, remark_on_details
from crgloco.training.selection import Selection

CASE = cast(Case, None)  # of which nothing is looked at


def refused(known: dict[str, int], found: dict[str, int]) -> str:
    """Return why a start model that knows some labels is refused for cases with others."""
    card = make_card(labels=LabelTable.from_names(known))
    # Both are looked at only after the labels.
    parent = StartModel(card, {}, cast(Preparation, None))
    selection = Selection((CASE,), (), (), LabelTable.from_names(found), ("T2",))
    with pytest.raises(ModelError) as caught:
        assert_goes_on(parent, selection, None)
    return str(caught.value)


def test_other_structures_are_named() -> None:
    said = refused({"liver": 1, "spleen": 4}, {"liver": 1, "kidney": 2})
    assert "'liver' knows liver, spleen; the cases are labelled with liver, kidney." in said
    assert "Choose a start model with the same label table." in said


@pytest.mark.parametrize("found", [{"posterior": 1, "anterior": 2}, {"anterior": 1, "posterior": 3}])
def test_the_same_structures_with_other_values_are_told_with_their_values(found: dict[str, int]) -> None:
    said = refused({"anterior": 1, "posterior": 2}, found)
    assert "the same structures with other label values" in said
    assert "the model has 1 anterior, 2 posterior" in said
    assert f"the cases have {', '.join(f'{value} {name}' for name, value in found.items())}." in said
    assert "Change the values in the labels and in dataset.json" in said
    assert "or train without a start model" in said


def test_a_start_model_with_the_channels_in_another_order_is_refused() -> None:
    rules = (ChannelRule("mr"), ChannelRule("mr"))
    card = make_card(channel_names=("T1", "T2"))
    parent = StartModel(card, {}, Preparation((1.0, 1.0, 1.0), rules))
    selection = Selection((), (), (), card.labels, ("t2", "t1"))
    with pytest.raises(ModelError, match="expects the channels T1, T2; the cases have t2, t1"):
        assert_goes_on(parent, selection, None)
    assert_goes_on(parent, replace(selection, channel_names=("t1", "T2 ")), None)


def remarked(folder: Path, seen: Spacing) -> str:
    """Return what is said of a scan with voxels of 0.4 x 0.4 x 5 mm and a start model that sees others."""
    image = folder / "scan.nii.gz"
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    write_volume(Volume(voxels, Geometry((3, 4, 5), (5.0, 0.4, 0.4), (0.0, 0.0, 0.0))), image)
    parent = StartModel(make_card(), {}, Preparation(seen, (ChannelRule("mr"),)))
    selection = Selection((Case("scan", (Source("scan", image),)),), (), (), parent.card.labels, ("T2",))
    return remark_on_details(selection, parent)


@pytest.mark.parametrize(
    ("seen", "ours"), [((2.0, 2.0, 6.0), "6 x 2 x 2 mm"), ((0.9, 0.9, 0.9), "0.9 x 0.9 x 0.9 mm")]
)
def test_details_that_are_too_small_for_the_start_model_are_told_beforehand(
    tmp_path: Path, seen: Spacing, ours: str
) -> None:
    said = remarked(tmp_path, seen)
    assert "The voxels of the scans (0.4 x 0.4 x 5 mm) are much smaller" in said
    assert f"those that {make_card().title!r} sees ({ours})" in said


def test_nothing_is_said_of_details_that_the_start_model_nearly_sees(tmp_path: Path) -> None:
    assert remarked(tmp_path, (6.0, 0.7, 0.7)) == ""
