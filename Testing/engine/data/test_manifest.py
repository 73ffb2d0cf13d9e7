"""The two JSON files of a cases folder, as people and programs leave them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from crgloco.data.case_split import draw_split
from crgloco.data.cases import open_cases
from crgloco.data.manifest import DATASET, MANIFEST, read_manifest, write_manifest
from crgloco.data.provenance import Provenance
from crgloco.errors import CasesError
from damage import refused
from phantoms import edit_json

REVISION = Provenance(
    model="liver", edits_voxels=3, edits_ml=0.5, annotator="radiologist", time_utc="2026-11-23T10:00:00Z",
    content_hash="sha256:ab", image_hashes=("sha256:cd",), revision=1, structures=("large",),
)  # fmt: skip


@pytest.fixture
def whole(root: Path) -> Path:
    """A cases folder with everything that ``crgloco.json`` may hold."""
    draw_split(open_cases(root), fraction=0.4)
    manifest = replace(
        read_manifest(root), table=open_cases(root).table, provenance={"phantom_000": (REVISION,)}
    )
    write_manifest(root, manifest)
    assert read_manifest(root).provenance == {"phantom_000": (REVISION,)}
    return root


@pytest.mark.parametrize("name", [DATASET, MANIFEST])
def test_any_damage_of_an_entry_is_refused_in_words_or_does_no_harm(whole: Path, name: str) -> None:
    def read(document: object) -> None:
        (whole / name).write_text(json.dumps(document))
        draw_split(open_cases(whole))

    assert len(refused(json.loads((whole / name).read_text()), read)) > 50


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("revision", "2", "a whole number from 0"),
        ("revision", None, "a whole number from 0"),
        ("edits_voxels", 1.5, "a whole number from 0, or null"),
        ("edits_ml", "much", "a number from 0, or null"),
        ("time_utc", None, "a text"),
        ("image_hashes", "sha256:cd", "a list of texts"),
        ("structures", [], "a list of names, or null"),
    ],
)
def test_provenance_of_a_wrong_kind_is_refused_and_names_what_it_must_be(
    whole: Path, key: str, value: object, expected: str
) -> None:
    edit_json(whole / MANIFEST, provenance={"phantom_000": [REVISION.to_json() | {key: value}]})
    with pytest.raises(CasesError, match=f"The '{key}' of a label's provenance must be {expected}; found"):
        read_manifest(whole)
