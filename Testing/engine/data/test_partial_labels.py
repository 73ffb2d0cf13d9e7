"""Labels that show some structures only: how they are told, kept, widened, checked and prepared."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crgloco.data.cache import prepare_case
from crgloco.data.case_check import check
from crgloco.data.case_split import draw_split
from crgloco.data.case_store import accept_label, revisions
from crgloco.data.cases import Case, open_cases
from crgloco.data.intensities import ChannelRule
from crgloco.data.partial_labels import assert_all_taught, assert_complete, known_classes, shown_structures
from crgloco.data.patches import TrainingCase
from crgloco.data.preparation import Preparation
from crgloco.data.provenance import Provenance
from crgloco.errors import CasesError, LabelError
from crgloco.io.files import read_volume
from crgloco.io.volume import Volume
from crgloco.labels import LabelTable
from phantoms import write_cases_folder

TABLE = LabelTable.from_names({"liver": 2, "spleen": 5, "kidney": 9})
PHANTOMS = LabelTable.from_names({"large": 1, "small": 2})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_cases_folder(tmp_path / "cases", 4, 1, shape=(6, 8, 8))


def tell(root: Path, **structures: list[str]) -> None:
    """Write by hand what labels show, as a user may do."""
    records = {case: [{"structures": names}] for case, names in structures.items()}
    (root / "crgloco.json").write_text(json.dumps({"format": 1, "provenance": records}))


def drawn(root: Path, case: str, *, without: int = 0) -> Volume:
    volume = read_volume(root / "labelsTr" / f"{case}.nii.gz")
    return Volume(np.where(volume.array == without, 0, volume.array), volume.geometry)


def test_what_a_label_shows_survives_json_and_a_full_label_is_recorded_as_before() -> None:
    given = Provenance(revision=2, structures=("liver",))
    assert Provenance.from_json(json.loads(json.dumps(given.to_json()))) == given
    assert "structures" not in Provenance().to_json()
    for damage in ([], "liver", [3]):
        with pytest.raises(CasesError, match="list of names"):
            Provenance.from_json({"structures": damage})


def test_part_of_a_table_comes_in_its_order_and_all_of_it_is_none() -> None:
    assert TABLE.part(["kidney", "liver"]) == ("liver", "kidney")
    assert TABLE.part(TABLE.names[1:]) is None
    assert TABLE.part(None) is None
    with pytest.raises(LabelError, match="no heart; it has liver, spleen, kidney"):
        TABLE.part(["heart"])


def test_an_opened_folder_knows_what_each_label_shows(root: Path) -> None:
    tell(root, phantom_001=["small"], phantom_002=["large", "small"])
    shown = [case.structures for case in open_cases(root).labelled]
    assert shown == [None, ("small",), None, None]
    assert [known_classes(case, PHANTOMS) for case in open_cases(root).labelled] == [None, (2,), None, None]


def test_a_structure_that_the_table_does_not_have_is_refused_with_file_and_case(root: Path) -> None:
    tell(root, phantom_001=["spleen"])
    with pytest.raises(LabelError, match=r"crgloco\.json.*phantom_001.*no spleen"):
        open_cases(root)


@pytest.mark.parametrize(
    ("told", "before", "drawn", "shown"),
    [
        (None, None, [0, 1], None),  # a first label, or one after a full one, shows all
        (None, ["liver"], [0, 1], ("liver",)),  # an edited liver says nothing about the spleen
        (None, ["liver"], [0, 1, 2], ("liver", "spleen")),  # what is drawn is shown
        (["liver", "spleen", "kidney"], ["liver"], [1], None),  # a model looked for all of them
        (["liver"], None, [0, 1, 3], ("liver", "kidney")),
    ],
)
def test_a_new_revision_shows_what_is_told_else_what_was_shown_and_always_what_is_drawn(
    told: list[str] | None, before: list[str] | None, drawn: list[int], shown: tuple[str, ...] | None
) -> None:
    assert shown_structures(told, before, drawn, TABLE) == shown


def test_accepting_keeps_widens_and_completes_what_a_label_shows(root: Path) -> None:
    tell(root, phantom_001=["small"])
    accept_label(root, "phantom_001", drawn(root, "phantom_001", without=1), Provenance())
    assert revisions(root)["phantom_001"][-1].structures == ("small",)
    accept_label(root, "phantom_001", drawn(root, "phantom_000"), Provenance())
    assert revisions(root)["phantom_001"][-1].structures is None
    told = Provenance(structures=("large",))
    accept_label(root, "phantom_001", drawn(root, "phantom_000", without=2), told)
    assert revisions(root)["phantom_001"][-1].structures == ("large",)
    accept_label(
        root,
        "phantom_001",
        drawn(root, "phantom_000", without=2),
        replace(told, structures=PHANTOMS.names[1:]),
    )
    assert open_cases(root).find("phantom_001").structures is None


def test_the_check_counts_cases_by_structure_and_finds_what_is_drawn_but_not_shown(root: Path) -> None:
    tell(root, phantom_001=["small"], phantom_002=["large"])
    found = {problem.case: problem for problem in check(root)}
    assert found[""].severity == "warning"
    assert "2 of 4 labels show some structures only (large: 3 cases, small: 3)" in found[""].text
    assert found["phantom_001"].severity == "error"
    assert "holds large, but is said to show small only" in found["phantom_001"].text
    assert check(write_cases_folder(root.parent / "full", 4, 1, shape=(6, 8, 8))) == ()


def test_the_last_label_that_shows_a_structure_is_never_drawn_for_validation(root: Path) -> None:
    tell(root, phantom_000=["small"], phantom_001=["large"], phantom_002=["large"], phantom_003=["large"])
    for seed in range(8):
        drawn_ = draw_split(open_cases(root), fraction=0.9, seed=seed, store=False)
        assert len(drawn_.validating) == 2
        assert "phantom_000" not in drawn_.validation
        assert_all_taught(drawn_.training, PHANTOMS)


def test_a_structure_that_no_label_shows_cannot_be_taught() -> None:
    case = Case("a", (), Path("a.nii"), ("liver",))
    with pytest.raises(CasesError, match=r"shows spleen, kidney \(liver: 1 cases, spleen: 0, kidney: 0\)"):
        assert_all_taught([case], TABLE)
    assert_all_taught([case, replace(case, structures=None)], TABLE)


def test_a_method_that_needs_complete_labels_is_told_how_many_lack_what() -> None:
    cases = [
        Case(f"c{n}", (), Path("a.nii"), shown)
        for n, shown in enumerate([None, ("liver",), ("spleen", "liver")])
    ]
    with pytest.raises(CasesError) as caught:
        assert_complete(cases, TABLE, "Mean teacher", ["VerSemi", "Another"])
    said = str(caught.value)
    assert "Mean teacher needs complete labels, but 2 of 3" in said
    assert "liver: 3 cases, spleen: 2, kidney: 1" in said
    assert (
        "Not shown in some: spleen, kidney. Choose VerSemi or Another, or complete the labels of c1, c2."
        in said
    )
    assert_complete(cases[:1], TABLE, "Mean teacher", ["VerSemi"])


def test_a_prepared_case_knows_its_classes_though_they_may_change_while_its_files_stay(root: Path) -> None:
    preparation = Preparation((2.0, 1.0, 1.0), (ChannelRule("mr", 0.5, 99.5, 0.0, 1.0),))

    def prepared(case: str) -> TrainingCase:
        found = prepare_case(open_cases(root).find(case), preparation, PHANTOMS, root / "cache")
        return TrainingCase.open(found)

    assert prepared("phantom_001").known is None
    tell(root, phantom_001=["small"], phantom_002=["small"])
    label = root / "labelsTr" / "phantom_002.nii.gz"
    from crgloco.io.files import write_volume

    write_volume(drawn(root, "phantom_002", without=1), label)
    assert prepared("phantom_002").known == (2,)
    with pytest.raises(LabelError, match=r"holds large, but is said to show small only.*crgloco\.json"):
        prepared("phantom_001")  # its prepared files are fresh, what is told of them is new
    bare = prepare_case(open_cases(root).find("phantom_001"), preparation, None, root / "cache")
    assert bare.known is None
