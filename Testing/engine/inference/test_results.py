"""A prediction in numbers."""

import numpy as np
import pytest

from crgloco.inference.prediction import Prediction
from crgloco.inference.results import describe, rounded_ml, write_prediction
from crgloco.io.files import read_volume
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


def test_each_file_holds_what_its_name_says(tmp_path):
    shape = (3, 4, 5)
    rng = np.random.default_rng(0)
    fused, global_, local = rng.integers(0, 3, (3, *shape), np.uint8)
    confidence, disagreement = rng.integers(0, 256, (2, *shape), np.uint8)
    prediction = Prediction(
        fused, global_, local, confidence, disagreement, Geometry(shape, (2.0, 1.0, 1.5), (3.0, 4.0, 5.0)),
        "balanced", 1.0, 1.0, 0.0, 1, 1, 0.5,
    )  # fmt: skip
    files = write_prediction(prediction, TABLE, tmp_path, "a")
    assert sorted(files.values()) == sorted(path.name for path in tmp_path.glob("a*"))
    for kind, classes in (("fused", fused), ("global", global_), ("local", local)):
        written = read_volume(tmp_path / files[kind])
        np.testing.assert_array_equal(written.array, np.array([0, 1, 5])[classes])
        assert written.geometry.same_grid(prediction.geometry)
    for kind, share in (("confidence", confidence), ("disagreement", disagreement)):
        written = read_volume(tmp_path / files[kind])
        np.testing.assert_allclose(written.array, share / 255, atol=1e-6)
        assert written.geometry.same_grid(prediction.geometry)
