"""A prediction in numbers."""

import numpy as np
import pytest

from crgloco.inference.prediction import Prediction
from crgloco.inference.results import describe, rounded_ml
from crgloco.io.volume import Geometry
from crgloco.labels import LabelTable

TABLE = LabelTable.from_names({"large": 1, "small": 5})


def test_as_many_regions_are_described_as_were_asked_for_each_by_its_name():
    shape = (4, 40, 80)
    confidence, fused = np.full(shape, 255, np.uint8), np.ones(shape, np.uint8)
    fused[:, 20:] = 2
    for number in range(20):
        confidence[:, 2:6, 4 * number : 4 * number + 3] = number
        confidence[:, 30:34, 4 * number : 4 * number + 3] = number
    prediction = Prediction(
        fused, None, None, confidence, confidence, Geometry(shape, (10.0, 10.0, 10.0), (0.0, 0.0, 0.0)),
        "balanced", 1.0, 1.0, 0.0, 1, 1, 0.5,
    )  # fmt: skip
    regions = describe(prediction, TABLE, regions=20)["regions"]
    assert len(regions) == 20
    assert {region["name"] for region in regions} == {"large", "small"}
    assert all(region["name"] == TABLE.names[region["label"]] for region in regions)
    assert len(describe(prediction, TABLE)["regions"]) == 5


@pytest.mark.parametrize(
    ("volume", "rounded"),
    [(0.0, 0.0), (1523.40049, 1523.4), (0.0123456, 0.01235), (1.23456e-6, 1.235e-6)],
)
def test_volumes_of_small_things_keep_their_digits(volume, rounded):
    assert rounded_ml(volume) == pytest.approx(rounded, rel=1e-9)
