"""Names that cannot be those of files on every system."""

from __future__ import annotations

import pytest

from crgloco.file_names import as_one_file, is_reserved


@pytest.mark.parametrize("name", ["CON", "aux", "nul.nii.gz", "Com1", "LPT²", "CONIN$"])
def test_the_names_of_windows_devices_are_known_with_any_ending(name):
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["contrast", "aux_2", "com10", "_con", "x.con", ""])
def test_names_that_only_look_like_them_are_free(name):
    assert not is_reserved(name)


@pytest.mark.parametrize("other", ["MÜLLER", "Mu\u0308ller", "mU\u0308ller"])
def test_names_that_differ_by_case_or_by_how_accents_are_stored_can_be_one_file(other):
    assert as_one_file(other) == as_one_file("M\u00fcller")
    assert as_one_file(other) != as_one_file("Muller")
