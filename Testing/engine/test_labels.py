"""The label table: what can be trained."""

import pytest

from crgloco.errors import LabelError
from crgloco.labels import LabelTable


def test_no_structure_takes_the_number_that_stands_for_what_is_not_known():
    names = {f"structure {number}": number for number in range(1, 256)}
    with pytest.raises(LabelError, match="names 255 structures; at most 254"):
        LabelTable.from_names(names)
    del names["structure 255"]
    assert LabelTable.from_names(names).classes == 255
