import errno
import itertools
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crgloco.data import cache
from crgloco.data.cache import PreparedCase, is_there, open_prepared, prepare_case, sample_locations
from crgloco.data.cases import Case
from crgloco.data.intensities import ChannelRule
from crgloco.data.preparation import Preparation
from crgloco.errors import Cancelled, GeometryError, InputError, LabelError, ResourceError
from crgloco.io.files import Source, read_source, write_volume
from crgloco.io.orientation import Orientation
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import LabelTable
from crgloco.progress import Silent
from phantoms import two_ellipsoids

TABLE = LabelTable.from_names({"background": 0, "large": 1, "small": 2})
PREPARATION = Preparation((2.0, 1.5, 1.5), (ChannelRule("mr"),))
GRID = Geometry((8, 16, 16), (2.0, 1.0, 1.0), (5.0, 6.0, 7.0))


class Listener(Silent):
    def __init__(self) -> None:
        self.kinds: list[str] = []

    def event(self, kind: str, **_: Any) -> None:
        self.kinds.append(kind)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    image, classes = two_ellipsoids(GRID.shape)
    write_volume(Volume(image, GRID), tmp_path / "a_0000.nii.gz")
    write_volume(Volume(classes, GRID), tmp_path / "a.nii.gz")
    return Case("a", (Source("a", tmp_path / "a_0000.nii.gz", None),), tmp_path / "a.nii.gz")


def _folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_case_is_there_once_it_was_prepared_in_whatever_way(case, tmp_path) -> None:
    folder = tmp_path / "cache"
    assert not is_there(case, folder)
    prepare_case(case, PREPARATION, None, folder)
    assert is_there(case, folder)
    assert not is_there(replace(case, name="another"), folder)


def test_a_prepared_case_holds_what_the_preparation_gives(case, tmp_path) -> None:
    prepared = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    volume = read_source(case.channels[0])
    np.testing.assert_array_equal(prepared.image(), PREPARATION.image([volume]))
    _, classes = two_ellipsoids(GRID.shape)
    np.testing.assert_array_equal(prepared.label(), PREPARATION.label(Volume(classes, GRID)))
    assert isinstance(prepared.image(), np.memmap)
    assert isinstance(prepared.label(), np.memmap)
    prepared.image()[:] = 0  # stays in memory: the file is not touched
    np.testing.assert_array_equal(prepared.image(), PREPARATION.image([volume]))
    assert (prepared.shape, prepared.channels, prepared.labelled) == ((8, 11, 11), 1, True)
    assert prepared.geometry.same_grid(PREPARATION.prepared_geometry(GRID))
    assert pickle.loads(pickle.dumps(prepared)) == prepared == open_prepared(prepared.folder)


ALL_48 = [
    Orientation(order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]


@pytest.mark.parametrize(("turn", "ways"), [(0.0, ALL_48), (0.3, ALL_48[::9])])
def test_a_case_is_prepared_alike_however_it_is_stored(turn, ways, tmp_path) -> None:
    image, classes = two_ellipsoids((10, 16, 18))
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    direction = ((cos, -sin, 0.0), (sin, cos, 0.0), (0.0, 0.0, 1.0))
    grid = Geometry(image.shape, (2.0, 1.0, 0.75), (5.0, 6.0, 7.0), direction)
    made = []
    for number, way in enumerate(ways):
        folder, stored = tmp_path / str(number), way.apply_geometry(grid)
        folder.mkdir()
        for array, name in ((image, "a_0000.nrrd"), (classes, "a.nrrd")):
            write_volume(Volume(np.ascontiguousarray(way.apply(array)), stored), folder / name)
        case = Case("a", (Source("a", folder / "a_0000.nrrd", None),), folder / "a.nrrd")
        assert Preparation.fit([case], ("MR",)).spacing == pytest.approx(grid.spacing)
        ct = Preparation.fit([case], ("CT",), (2.0, 1.5, 1.25))
        mr = replace(ct, rules=(ChannelRule("mr"),))
        prepared = [prepare_case(case, rule, TABLE, folder) for rule in (ct, mr)]
        made.append((ct, prepared))
    for fitted, prepared in made[1:]:
        assert fitted == made[0][0]
        for one, first in zip(prepared, made[0][1], strict=True):
            assert one.geometry.same_grid(first.geometry)
            assert one.image().flags.c_contiguous
            np.testing.assert_array_equal(one.image(), first.image())
            np.testing.assert_array_equal(one.label(), first.label())
            np.testing.assert_equal(one.locations(), first.locations())


def test_locations_point_at_their_class(case, tmp_path) -> None:
    prepared = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    label, locations = prepared.label(), prepared.locations()
    assert set(locations) == set(np.unique(label).tolist())
    for number, places in locations.items():
        assert places.shape == (min(10_000, (label == number).sum()), 3)
        assert (label[tuple(places.T)] == number).all()


def test_an_unlabelled_case_has_neither_label_nor_locations(case, tmp_path) -> None:
    prepared = prepare_case(replace(case, label=None), PREPARATION, TABLE, tmp_path / "cache")
    assert (prepared.label(), prepared.locations(), prepared.labelled) == (None, {}, False)
    assert prepare_case(case, PREPARATION, None, tmp_path / "cache") == prepared


def test_a_second_call_only_looks(case, tmp_path) -> None:
    first, second = Listener(), Listener()
    prepared = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache", first)
    assert prepare_case(case, PREPARATION, TABLE, tmp_path / "cache", second) == prepared
    assert "prepared" in first.kinds
    assert "prepared" not in second.kinds


def test_a_changed_label_is_prepared_again_and_the_old_one_goes_once_nobody_has_used_it_for_a_week(
    case, tmp_path
) -> None:
    """A training that was stopped goes on with what it began with, whatever was corrected meanwhile."""
    before = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    write_volume(Volume(np.ones(GRID.shape, np.uint8), GRID), case.label)
    after = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    assert (np.asarray(after.label()) == 1).all()
    assert before.folder.exists()
    long_ago = time.time() - 8 * 24 * 3600
    os.utime(before.folder / "case.json", (long_ago, long_ago))
    prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    assert _folders(tmp_path / "cache") == [after.folder.name]


def test_a_case_in_use_stays_however_long_ago_it_was_prepared(case, tmp_path) -> None:
    prepared = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    long_ago = time.time() - 8 * 24 * 3600
    os.utime(prepared.folder / "case.json", (long_ago, long_ago))
    prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    prepare_case(case, replace(PREPARATION, spacing=(2, 2, 2)), TABLE, tmp_path / "cache")
    assert prepared.folder.exists()


def test_a_touched_but_equal_source_is_not_prepared_again(case, tmp_path) -> None:
    before = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    os.utime(case.channels[0].path, (1, 1))
    assert prepare_case(case, PREPARATION, TABLE, tmp_path / "cache") == before


def test_another_preparation_gets_its_own_folder_and_leaves_those_in_use(case, tmp_path) -> None:
    one = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    other = prepare_case(case, replace(PREPARATION, spacing=(2, 2, 2)), TABLE, tmp_path / "cache")
    assert one.folder.exists()
    assert other.shape == (8, 8, 8)
    long_ago = time.time() - 8 * 24 * 3600
    os.utime(one.folder / "case.json", (long_ago, long_ago))
    prepare_case(case, replace(PREPARATION, spacing=(2, 2, 2)), TABLE, tmp_path / "cache")
    assert _folders(tmp_path / "cache") == [other.folder.name]


def test_cases_with_similar_names_leave_one_another_alone(case, tmp_path) -> None:
    names = ("a", "a-000000000000", "a b", "a_b", "a/b", "..")
    prepared = [
        prepare_case(replace(case, name=name), PREPARATION, TABLE, tmp_path / "cache") for name in names
    ]
    assert all(one.folder.is_dir() and one.folder.parent == tmp_path / "cache" for one in prepared)
    assert len({one.folder for one in prepared}) == len(names)


def test_another_label_table_gives_other_classes(case, tmp_path) -> None:
    one = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    wider = LabelTable.from_names({"background": 0, "large": 1, "small": 2, "third": 3})
    assert prepare_case(case, PREPARATION, wider, tmp_path / "cache").folder != one.folder


def test_a_damaged_cache_is_prepared_again(case, tmp_path) -> None:
    prepared = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    image = np.array(prepared.image())
    (prepared.folder / "image.npy").write_bytes(b"")
    with pytest.raises(ResourceError, match="missing or incomplete"):
        open_prepared(prepared.folder)
    again = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    np.testing.assert_array_equal(again.image(), image)
    (again.folder / "case.json").write_text("{", encoding="utf-8")
    np.testing.assert_array_equal(prepare_case(case, PREPARATION, TABLE, tmp_path / "cache").image(), image)


def test_a_prepared_case_that_vanished_says_so(case, tmp_path) -> None:
    prepared = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    (prepared.folder / "image.npy").unlink()
    with pytest.raises(ResourceError, match="cannot be read"):
        prepared.image()


def _die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def _fill_the_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _stop(*_: object, **__: object) -> None:
    raise Cancelled("Stopped on request.")


@pytest.mark.parametrize(
    ("act", "error"), [(_die, KeyboardInterrupt), (_fill_the_disk, ResourceError), (_stop, Cancelled)]
)
def test_an_interruption_leaves_nothing_behind(
    case, tmp_path, monkeypatch, act: Callable[..., None], error
) -> None:
    monkeypatch.setattr(np, "save", act)
    with pytest.raises(error):
        prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    assert _folders(tmp_path / "cache") == []


def test_leftovers_of_killed_processes_are_removed_after_an_hour(case, tmp_path) -> None:
    old, young = tmp_path / "cache" / "x-1.part-1", tmp_path / "cache" / "x-1.part-2"
    for part in (old, young):
        part.mkdir(parents=True)
    os.utime(old, (1, 1))
    prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    assert not old.exists()
    assert young.exists()


def test_a_cache_that_cannot_be_written_is_named(case, tmp_path) -> None:
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(ResourceError, match="Case a cannot be prepared in"):
        prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")


def test_whoever_finishes_second_takes_the_first_result(case, tmp_path, monkeypatch) -> None:
    write, winners = cache._write, []

    def overtaken(*arguments: Any) -> None:
        monkeypatch.setattr(cache, "_write", write)
        winners.append(prepare_case(case, PREPARATION, TABLE, tmp_path / "cache"))
        write(*arguments)

    monkeypatch.setattr(cache, "_write", overtaken)
    prepared = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    assert winners == [prepared]
    assert _folders(tmp_path / "cache") == [prepared.folder.name]


def test_processes_that_prepare_the_same_case_do_not_break_one_another(case, tmp_path) -> None:
    package = Path(cache.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    given = pickle.dumps((case, PREPARATION, TABLE, tmp_path / "cache"))

    def prepare(_: int) -> bytes:
        command = [sys.executable, "-c", _PREPARE]
        return subprocess.run(command, input=given, capture_output=True, env=environment, check=True).stdout

    with ThreadPoolExecutor() as pool:
        sums = list(pool.map(prepare, range(3)))
    assert len(set(sums)) == 1
    assert len(_folders(tmp_path / "cache")) == 1


_PREPARE = """
import pickle, sys
from crgloco.data.cache import prepare_case
print(prepare_case(*pickle.load(sys.stdin.buffer)).image().sum())
"""


def test_a_label_on_another_grid_is_refused(case, tmp_path) -> None:
    moved = Geometry(GRID.shape, GRID.spacing, (5.0, 6.0, 7.5))
    write_volume(Volume(np.ones(GRID.shape, np.uint8), moved), case.label)
    with pytest.raises(GeometryError, match=r"a\.nii\.gz"):
        prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    assert _folders(tmp_path / "cache") == []


def test_a_label_value_outside_the_table_is_refused(case, tmp_path) -> None:
    write_volume(Volume(np.full(GRID.shape, 9, np.uint8), GRID), case.label)
    with pytest.raises(LabelError, match="Label value 9"):
        prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")


def test_channels_on_two_grids_and_unusable_scans_are_refused(case, tmp_path) -> None:
    image, _ = two_ellipsoids(GRID.shape)
    write_volume(Volume(image, Geometry(GRID.shape, (3, 1, 1), GRID.origin)), tmp_path / "a_0001.nii.gz")
    two = replace(case, channels=(*case.channels, Source("a", tmp_path / "a_0001.nii.gz", None)))
    rules = Preparation((2, 1, 1), PREPARATION.rules * 2)
    with pytest.raises(GeometryError, match="channels"):
        prepare_case(two, rules, TABLE, tmp_path / "cache")
    write_volume(Volume(np.full(GRID.shape, np.nan, np.float32), GRID), case.channels[0].path)
    with pytest.raises(InputError):
        prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")


def test_two_channels_are_kept_in_order(case, tmp_path) -> None:
    image, _ = two_ellipsoids(GRID.shape)
    write_volume(Volume(-image, GRID), tmp_path / "a_0001.nii.gz")
    two = replace(case, channels=(*case.channels, Source("a", tmp_path / "a_0001.nii.gz", None)))
    prepared: PreparedCase = prepare_case(
        two, Preparation((2, 1, 1), PREPARATION.rules * 2), TABLE, tmp_path / "cache"
    )
    first, second = np.asarray(prepared.image(), np.float32)
    assert prepared.channels == 2
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < -0.9


def test_a_changed_channel_is_prepared_again_whichever_it_is(case, tmp_path) -> None:
    image, _ = two_ellipsoids(GRID.shape)
    write_volume(Volume(-image, GRID), tmp_path / "a_0001.nii.gz")
    two = replace(case, channels=(*case.channels, Source("a", tmp_path / "a_0001.nii.gz", None)))
    rules = Preparation((2, 1, 1), PREPARATION.rules * 2)
    before = np.array(prepare_case(two, rules, TABLE, tmp_path / "cache").image())
    for changed, source in enumerate(two.channels):
        write_volume(Volume(image[::-1].copy(), GRID), source.path)
        after = np.array(prepare_case(two, rules, TABLE, tmp_path / "cache").image())
        assert [(one != other).any() for one, other in zip(before, after, strict=True)] == [
            channel == changed for channel in range(2)
        ]
        before = after


def test_the_description_counts_voxels_and_names_no_path(case, tmp_path) -> None:
    prepared = prepare_case(case, PREPARATION, TABLE, tmp_path / "cache")
    text = (prepared.folder / "case.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert sum(json.loads(text)["voxels"].values()) == np.prod(prepared.shape)


def test_locations_are_a_fair_draw_without_repeats() -> None:
    label = np.zeros((20, 30, 30), np.uint8)
    label[5:15, :, 10:20] = 2
    label[19, 29, 29] = 7
    drawn = sample_locations(label, count=500, seed=3)
    assert {number: len(places) for number, places in drawn.items()} == {0: 500, 2: 500, 7: 1}
    assert drawn[7].tolist() == [[19, 29, 29]]
    for number, places in drawn.items():
        assert len(np.unique(places, axis=0)) == len(places)
        assert (label[tuple(places.T)] == number).all()
    np.testing.assert_allclose(drawn[2].mean(0), np.argwhere(label == 2).mean(0), rtol=0.1)
    np.testing.assert_array_equal(drawn[2], sample_locations(label, count=500, seed=3)[2])
    assert (drawn[2] != sample_locations(label, count=500, seed=4)[2]).any()
