"""One scan in, labels of both branches out: against direct computation and a dense twin."""

import itertools
import json

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from crgloco import model_store
from crgloco.data.intensities import ChannelRule
from crgloco.data.preparation import Preparation
from crgloco.errors import Cancelled, GeometryError, ModelError, OptionError, ResourceError
from crgloco.inference.execution import Execution, window_bytes
from crgloco.inference.global_pass import run_global
from crgloco.inference.local_pass import sample_window
from crgloco.inference.openness import Openness, open_cells
from crgloco.inference.predictor import OVERLAP, Predictor, _Walk
from crgloco.inference.windows import all_windows, covering_windows, gaussian_weight
from crgloco.io.files import read_volume
from crgloco.io.orientation import Orientation, canonical_geometry
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import LabelTable
from crgloco.progress import Silent
from fake_models import FakeBranch, FakeModel
from phantoms import two_ellipsoids
from tiny_models import save_tiny_model

CPU = torch.device("cpu")
PREPARATION = Preparation((1.0, 1.0, 1.0), (ChannelRule("mr"),))


def table_of(classes):
    return LabelTable.from_names({f"structure {number}": number for number in range(1, classes)})


def scan_of(shape, spacing=(1.0, 1.0, 1.0)):
    """An image of class numbers, smooth, as a prepared array, and the grid of its scan."""
    geometry = Geometry(shape, spacing, (0.0, 0.0, 0.0))
    prepared = PREPARATION.prepared_geometry(geometry).shape
    _, label = two_ellipsoids(prepared)
    return ndimage.gaussian_filter(label.astype(np.float32), 1.0).astype(np.float16)[None], geometry


def predict(model, image, geometry, quality="balanced", **options):
    extra = {key: options.pop(key) for key in ("memory_budget_gb", "probes") if key in options}
    report = options.pop("report", Silent())
    predictor = Predictor(model, PREPARATION, table_of(model.classes), **options)
    return predictor.predict_prepared(image, geometry, quality, report, **extra)


def on_scan(maps, grid, field, shape):
    """(C, ...) on a grid of cells -> (C, *shape) on the scan, by another library."""
    points = [
        ((np.arange(n) + 0.5) * f / n - s) / c - 0.5
        for n, f, s, c in zip(shape, field, grid[0], grid[1], strict=True)
    ]
    where = np.stack(np.meshgrid(*points, indexing="ij"))
    return np.stack([ndimage.map_coordinates(m, where, order=1, mode="nearest") for m in maps])


def dense_twin(model, image, shape, windows, *, flips=(), weights=(1.0, 1.0)):
    """Everything at once, slice for slice as the description says; no streaming, no boxes."""
    field = image.shape[1:]
    fill = torch.tensor([float(image.min())])
    answer = run_global(
        image, fill, model.global_, Execution(model, CPU, Silent(), 1), Silent(), flip_axes=flips
    )
    coarse = on_scan(answer.probabilities.numpy(), (answer.grid.start, answer.grid.cell), field, shape)
    total, reached = np.zeros((model.classes, *field)), np.zeros(field)
    mirrors = [c for n in range(len(flips) + 1) for c in itertools.combinations(flips, n)]
    for window in windows:
        weight = gaussian_weight(window.size)
        before = [max(0, -s) for s in window.start]
        after = [max(0, e - n) for e, n in zip(window.stop, field, strict=True)]
        inside = tuple(slice(max(s, 0), e) for s, e in zip(window.start, window.stop, strict=True))
        patch = np.pad(
            image[0][inside].astype(np.float32),
            list(zip(before, after, strict=True)),
            constant_values=float(image.min()),
        )
        context = None
        if model.context_stride is not None:
            context = sample_window(answer, window, model.context_stride)[None]
        mean = 0
        for mirror in mirrors:
            axes = [2 + a for a in mirror]
            seen = None if context is None else context.flip(axes)
            logits = model.full_resolution(torch.from_numpy(patch)[None, None].flip(axes), seen)
            mean = mean + logits.softmax(1).flip(axes)[0].numpy() / len(mirrors)
        part = tuple(slice(b, n - a) for b, a, n in zip(before, after, window.size, strict=True))
        total[(slice(None), *inside)] += (mean * weight)[(slice(None), *part)]
        reached[inside] += weight[part]
    ran = (reached > 0).astype(float)
    own = ((0, 0, 0), (1, 1, 1))
    present = on_scan(ran[None], own, field, shape)
    fine = on_scan(total / np.where(reached > 0, reached, 1), own, field, shape) / np.maximum(present, 1e-3)
    fine = np.where(present >= 0.5, fine, coarse)
    logs = weights[0] * np.log(np.maximum(fine, 1e-6)) + weights[1] * np.log(np.maximum(coarse, 1e-6))
    fused = np.exp(logs / sum(weights))
    return fine, coarse, fused / fused.sum(0)


def assert_agrees(labels, probabilities):
    """Labels are those of highest probability, up to ties of rounding."""
    chosen = np.take_along_axis(probabilities, labels[None].astype(np.int64), 0)[0]
    assert (chosen >= probabilities.max(0) - 1e-4).all()


def assert_share(values, expected, tolerance=1.5):
    assert np.abs(values.astype(float) - 255 * expected).max() <= tolerance


GRIDS = [
    ((20, 30, 31), (1.0, 1.0, 1.0)),  # fits the global window
    ((30, 34, 50), (1.0, 1.0, 1.0)),  # larger: tiles
    ((9, 30, 26), (3.0, 0.8, 1.3)),  # thick slices, other voxels
    ((50, 26, 30), (0.5, 2.0, 1.0)),  # finer than prepared along K
    ((5, 7, 9), (1.0, 1.0, 1.0)),  # smaller than a window
    ((12, 16, 16), (1.0, 1.0, 1.0)),  # one window
    ((1, 20, 20), (4.0, 1.0, 1.0)),  # one slice
    ((1, 20, 20), (60.0, 1.0, 1.0)),  # slices thicker than a window
    ((3, 20, 20), (20.0, 1.0, 1.0)),
]


def test_what_a_network_holds_on_a_gpu_leaves_the_computers_memory_to_the_blend(monkeypatch):
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    image, geometry = scan_of((20, 30, 31))
    held = []
    for device, batch in ((CPU, 1), (CPU, 8), (torch.device("cuda"), 8)):
        predictor = Predictor(FakeModel(), PREPARATION, table_of(3), device=device, batch=batch)
        chosen = {"quality": "balanced", "keep_islands": True, "report": Silent()}
        held.append(_Walk(predictor, image, geometry, geometry, **chosen)._other_bytes(None))
    one, eight, gpu = held
    window = window_bytes((12, 16, 16), 3)
    assert eight - one == 7 * window
    assert gpu == one - window


@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
@pytest.mark.parametrize("quality", ["fast", "balanced", "full"])
def test_the_stream_equals_the_dense_twin(shape, spacing, quality):
    image, geometry = scan_of(shape, spacing)
    model = FakeModel(tilt=2.0, shift=0.2, context_stride=(2, 2, 2), sharpness=3.0)
    flips = (0, 2) if quality == "full" else ()
    result = predict(model, image, geometry, quality, flip_axes=(0, 2))
    windows = windows_of(model, image, geometry, quality)
    assert result.windows_run == len(windows)
    fine, coarse, fused = dense_twin(model, image, shape, windows, flips=flips)
    assert result.fused.shape == shape
    assert_agrees(result.fused, fused)
    assert_agrees(result.global_, coarse)
    assert_share(result.confidence, fused.max(0))
    if quality == "fast":
        assert result.local is None
        assert not result.disagreement.any()
    else:
        assert_agrees(result.local, fine)
        assert_share(result.disagreement, np.abs(fine - coarse).sum(0) / 2)


class ContextModel(FakeModel):
    """Its local branch repeats what the context shows, too."""

    def full_resolution(self, tensor, context):
        logits = super().full_resolution(tensor, context)
        logits[:, 1:2] += functional.interpolate(context[:, :1], tensor.shape[2:])
        return logits


def test_the_context_is_mirrored_with_the_window():
    image, geometry = scan_of((20, 30, 31))
    model = ContextModel(tilt=2.0, context_stride=(2, 2, 2), sharpness=3.0)
    result = predict(model, image, geometry, "full", flip_axes=(0, 1, 2))
    windows = windows_of(model, image, geometry, "full")
    fine, coarse, fused = dense_twin(model, image, geometry.shape, windows, flips=(0, 1, 2))
    assert_agrees(result.local, fine)
    assert_share(result.confidence, fused.max(0))
    assert_share(result.disagreement, np.abs(fine - coarse).sum(0) / 2)


class WatchingModel(FakeModel):
    """Remembers the least value of each channel in all that it is shown, and the one in the corner."""

    def low_resolution(self, tensor):
        self.shown = [tensor.amin((0, 2, 3, 4)), tensor[0, :, 0, 0, 0]]
        return super().low_resolution(tensor)

    def full_resolution(self, tensor, context):
        self.shown += [tensor.amin((0, 2, 3, 4)), tensor[0, :, 0, 0, 0]]
        return super().full_resolution(tensor, context)


def test_around_a_scan_each_channel_is_padded_with_its_own_least_value():
    image, geometry = scan_of((5, 7, 9))
    model = WatchingModel()
    preparation = Preparation((1.0, 1.0, 1.0), PREPARATION.rules * 2)
    channels = np.concatenate([image + 1, -image - 4])
    Predictor(model, preparation, table_of(3)).predict_prepared(channels, geometry, "full")
    least = torch.tensor([float(channel.min()) for channel in channels])
    assert len(model.shown) == 4  # both branches
    for shown in model.shown:
        torch.testing.assert_close(shown, least)


def windows_of(model, image, geometry, quality):
    field = image.shape[1:]
    if quality == "fast":
        return ()
    if quality == "full":
        return all_windows(field, model.local.window, 0.5)
    fill = torch.tensor([float(image.min())])
    answer = run_global(image, fill, model.global_, Execution(model, CPU, Silent(), 1), Silent())
    cells = open_cells(answer, PREPARATION.prepared_geometry(geometry), Openness())
    faces = tuple(answer.grid.faces(axis) for axis in range(3))
    return covering_windows(cells, faces, field, model.local.window, OVERLAP["balanced"])


def model_of(local, global_):
    """Windows whose sides may grow; a ramp over each, so that where they lie matters."""
    branches = FakeBranch("local", local), FakeBranch("global", global_, (0.5, 0.5, 0.5), weight=0.5)
    return FakeModel(3, *branches, context_stride=(2, 2, 2), sharpness=3.0, tilt=2.0, shift=0.2)


@pytest.mark.parametrize("quality", ["fast", "balanced"])
@pytest.mark.parametrize(
    ("shape", "spacing"), [((22, 46, 47), (1.0, 1.0, 1.0)), ((45, 24, 46), (0.5, 2.0, 1.0))]
)
def test_a_scan_just_longer_than_the_windows_is_seen_at_once_and_equals_the_twin(shape, spacing, quality):
    image, geometry = scan_of(shape, spacing)
    trained, grown = model_of((20, 40, 40), (20, 40, 40)), model_of((24, 48, 48), (24, 48, 48))
    result = predict(trained, image, geometry, quality)
    windows = windows_of(grown, image, geometry, quality)
    assert result.windows_run == len(windows) == (quality != "fast")
    fine, coarse, fused = dense_twin(grown, image, shape, windows, weights=(1.0, 0.5))
    assert_agrees(result.fused, fused)
    assert_agrees(result.global_, coarse)
    assert_share(result.confidence, fused.max(0))
    if quality == "balanced":
        assert result.windows_possible == 1
        assert_agrees(result.local, fine)


def test_by_the_quality_full_methods_are_compared_so_its_windows_are_those_of_training():
    image, geometry = scan_of((22, 46, 47))
    model = model_of((20, 40, 40), (20, 40, 40))
    result = predict(model, image, geometry, "full")
    assert result.windows_run == result.windows_possible == len(all_windows((22, 46, 47), (20, 40, 40), 0.5))


@pytest.mark.parametrize("quality", ["balanced", "full"])
def test_a_model_of_single_voxels_gives_its_own_answer_on_the_scans_grid(quality):
    image, geometry = scan_of((30, 34, 50))
    model = FakeModel()
    result = predict(model, image, geometry, quality)
    expected = (
        model.full_resolution(torch.from_numpy(image.astype(np.float32))[None], None)[0].softmax(0).numpy()
    )
    structures = expected[0] < 0.5
    assert_agrees(result.local[structures][None], expected[:, structures][:, None])
    assert result.geometry == geometry


def test_skipping_windows_changes_nothing_where_something_is_open():
    image, geometry = scan_of((60, 64, 70))
    model = FakeModel(local=FakeBranch("local", (8, 12, 12)), shift=0.1)
    some = predict(model, image, geometry, "balanced")
    every = predict(model, image, geometry, "full")
    assert some.windows_run < some.windows_possible
    ran = np.zeros(geometry.shape, bool)
    for window in windows_of(model, image, geometry, "balanced"):
        ran[window.slices()] = True
    assert ran[every.fused > 0].all()
    assert np.array_equal(some.fused[ran], every.fused[ran])
    assert np.array_equal(some.disagreement[~ran], 0 * some.disagreement[~ran])
    assert np.abs(some.confidence[ran].astype(int) - every.confidence[ran]).max() <= 1


def test_empty_air_runs_no_local_window():
    geometry = Geometry((30, 30, 30), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    result = predict(FakeModel(), np.zeros((1, 30, 30, 30), np.float16), geometry)
    assert result.windows_run == 0
    assert result.windows_possible > 0
    assert not result.fused.any()
    assert result.local is not None
    assert result.mean_confidence > 0.9


@pytest.mark.parametrize("quality", ["fast", "balanced", "full"])
def test_a_model_of_one_branch_answers_alone(quality):
    image, geometry = scan_of((20, 30, 31))
    result = predict(FakeModel(global_=None), image, geometry, quality)
    assert result.global_ is None
    assert result.windows_run == result.windows_possible
    assert np.array_equal(result.fused, result.local)
    assert result.fused.any()
    assert not result.disagreement.any()
    assert bool(result.notes) == (quality == "fast")


@pytest.mark.parametrize(
    ("spacing", "remarked"),
    [((10.0, 10.0, 10.0), True), ((0.1, 0.1, 0.1), True), ((9.0, 1.0, 1.0), False), ((2.0, 0.3, 3.9), False)],
)
def test_a_voxel_size_far_from_that_of_the_model_is_remarked_on(spacing, remarked):
    image, geometry = scan_of((6, 8, 9) if min(spacing) >= 1 else (60, 60, 200), spacing)
    result = predict(FakeModel(), image, geometry)
    assert any("check the unit of the scan's voxel size" in note for note in result.notes) == remarked


def test_a_global_branch_of_weight_zero_is_shown_but_not_fused():
    image, geometry = scan_of((20, 30, 31))
    model = FakeModel(shift=0.4)
    model.global_.weight = 0.0
    result = predict(model, image, geometry, "full")
    assert np.array_equal(result.fused, result.local)
    assert not np.array_equal(result.fused, result.global_)


def test_weights_of_the_branches_count():
    image, geometry = scan_of((20, 30, 31))
    model = FakeModel(shift=0.3, sharpness=3.0)
    model.local.weight, model.global_.weight = 3.0, 1.0
    result = predict(model, image, geometry, "full")
    windows = all_windows(image.shape[1:], model.local.window, 0.5)
    _, _, fused = dense_twin(model, image, geometry.shape, windows, weights=(3.0, 1.0))
    assert_share(result.confidence, fused.max(0))


def test_twenty_classes_and_two_channels_pass():
    image, geometry = scan_of((20, 30, 31))
    preparation = Preparation((1.0, 1.0, 1.0), (ChannelRule("mr"), ChannelRule("mr")))
    model = FakeModel(classes=20)
    result = Predictor(model, preparation, table_of(20)).predict_prepared(
        np.concatenate([image, -image]), geometry, "balanced"
    )
    assert set(np.unique(result.fused)) == {0, 1, 2}


def test_the_temperature_of_fused_answers_is_not_that_of_the_global_one_alone():
    image, geometry = scan_of((20, 30, 31))
    plain, warm = (
        predict(FakeModel(shift=0.2), image, geometry, "fast", temperature=t).confidence for t in (1.0, 2.0)
    )
    np.testing.assert_array_equal(plain, warm)


def test_a_temperature_changes_the_confidence_and_no_label():
    image, geometry = scan_of((20, 30, 31))
    cool = predict(FakeModel(shift=0.2), image, geometry, "balanced")
    warm = predict(FakeModel(shift=0.2), image, geometry, "balanced", temperature=2.0)
    assert np.array_equal(cool.fused, warm.fused)
    assert warm.mean_confidence < cool.mean_confidence
    inside = cool.fused > 0
    assert (warm.confidence[inside] <= cool.confidence[inside]).all()


def test_probes_give_the_fused_log_probabilities():
    image, geometry = scan_of((20, 30, 31))
    points = np.random.default_rng(0).integers(0, geometry.shape, size=(500, 3))
    result = predict(FakeModel(shift=0.2, sharpness=3.0), image, geometry, probes=points, temperature=3.0)
    plain = predict(FakeModel(shift=0.2, sharpness=3.0), image, geometry)
    assert np.allclose(np.exp(result.probes).sum(1), 1, atol=1e-4)
    where = tuple(points.T)
    assert np.array_equal(result.probes.argmax(1), result.fused[where])
    assert np.abs(np.exp(result.probes).max(1) * 255 - plain.confidence[where]).max() <= 1.5


def test_a_scan_goes_through_preparation_and_comes_back_on_its_grid():
    image, label = two_ellipsoids((12, 40, 44))
    geometry = Geometry(
        (12, 40, 44), (2.5, 0.9, 0.8), (-10.0, 5.0, 3.0), ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
    )
    result = Predictor(FakeModel(), PREPARATION, table_of(3)).predict([Volume(image, geometry)])
    assert result.geometry == geometry
    for array in (result.fused, result.global_, result.local, result.confidence, result.disagreement):
        assert array.shape == geometry.shape
        assert array.dtype == np.uint8
    assert (result.fused[label == 2] > 0).mean() > 0.9
    shares = result.share(result.confidence)
    assert shares.geometry == geometry
    assert 0 <= shares.array.min() <= shares.array.max() <= 1
    assert result.seconds > 0
    assert result.peak_memory_mb > 50


def test_a_stored_model_segments_as_its_card_says(tmp_path):
    folder = save_tiny_model(tmp_path / "model")
    card = json.loads((folder / "model.json").read_text())
    card["calibration"]["temperature"] = 1.3
    card["network"]["flip_axes"] = [2]
    card["training"]["one_piece"] = ["small"]
    (folder / "model.json").write_text(json.dumps(card))
    predictor = Predictor.of(model_store.load(folder), CPU)
    assert (predictor.temperature, predictor.flip_axes, predictor.one_piece) == (1.3, (2,), (2,))


def test_a_predictor_stays_warm_and_repeats_itself():
    image, geometry = scan_of((20, 30, 31))
    predictor = Predictor(FakeModel(tilt=1.0), PREPARATION, table_of(3))
    first = predictor.predict_prepared(image, geometry)
    other, grid = scan_of((9, 30, 26), (3.0, 0.8, 1.3))
    predictor.predict_prepared(other, grid)
    again = predictor.predict_prepared(image, geometry)
    assert np.array_equal(first.fused, again.fused)
    assert np.array_equal(first.confidence, again.confidence)


def test_batches_of_windows_change_nothing():
    image, geometry = scan_of((30, 34, 50))
    one = predict(FakeModel(tilt=1.0, context_stride=(2, 2, 2)), image, geometry, "full")
    many = predict(FakeModel(tilt=1.0, context_stride=(2, 2, 2)), image, geometry, "full", batch=5)
    assert np.array_equal(one.fused, many.fused)
    assert np.array_equal(one.disagreement, many.disagreement)


@pytest.mark.parametrize(("shape", "spacing"), GRIDS[1:4])
def test_a_tight_budget_blends_in_half_precision_and_strips_and_says_so(shape, spacing, monkeypatch):
    monkeypatch.setattr("crgloco.inference.local_pass.FEWEST_ROWS", 4)
    image, geometry = scan_of(shape, spacing)
    model = FakeModel(tilt=2.0, shift=0.2, sharpness=3.0, context_stride=(2, 2, 2))
    roomy = predict(model, image, geometry)
    tight = predict(model, image, geometry, memory_budget_gb=0.1)
    assert not roomy.notes
    assert "half precision" in tight.notes[0]
    assert "1 strip" not in tight.notes[0]
    assert (roomy.fused != tight.fused).mean() < 1e-3
    assert np.abs(roomy.confidence.astype(int) - tight.confidence).max() <= 3
    assert np.abs(roomy.disagreement.astype(int) - tight.disagreement).max() <= 3


@pytest.mark.parametrize("quality", ["fast", "balanced"])
def test_of_windows_that_do_not_run_nothing_is_said_however_tight_the_budget(quality):
    geometry = Geometry((30, 30, 30), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    empty = np.zeros((1, 30, 30, 30), np.float16)
    assert predict(FakeModel(), empty, geometry, quality, memory_budget_gb=0.1).notes == ()


class Recorder(Silent):
    """Remembers events; stops after so many checks."""

    def __init__(self, stop_after=10**9):
        self.events, self.checks, self.stop_after = [], 0, stop_after

    def event(self, kind, **fields):
        self.events.append((kind, fields))

    def check(self):
        self.checks += 1
        if self.checks > self.stop_after:
            raise Cancelled("Stopped on request.")


def test_progress_counts_every_window():
    image, geometry = scan_of((30, 34, 50))
    report = Recorder()
    result = predict(FakeModel(), image, geometry, report=report)
    steps = [
        fields for kind, fields in report.events if kind == "progress" and fields["stage"] == "local windows"
    ]
    assert [step["done"] for step in steps] == list(range(1, result.windows_run + 1))
    assert all(step["total"] == result.windows_run for step in steps)
    assert any(fields.get("stage") == "global view" for _, fields in report.events)


def test_an_end_is_heard_at_the_next_window():
    image, geometry = scan_of((30, 34, 50))
    model = FakeModel()
    with pytest.raises(Cancelled):
        predict(model, image, geometry, "full", report=Recorder(stop_after=12))
    assert 0 < model.local_calls <= 12


def test_want_of_memory_halves_the_batch_and_says_so():
    image, geometry = scan_of((30, 34, 50))
    report = Recorder()
    result = predict(FakeModel(fail_above=2), image, geometry, "full", batch=8, report=report)
    assert len(result.notes) == 2
    assert [fields["text"] for kind, fields in report.events if kind == "message"] == list(result.notes)
    assert np.array_equal(result.fused, predict(FakeModel(), image, geometry, "full").fused)


def test_want_of_memory_on_the_cpu_is_an_error_in_words():
    image, geometry = scan_of((20, 30, 31))
    with pytest.raises(ResourceError, match="memory does not suffice"):
        predict(FakeModel(fail_above=0), image, geometry, "full")


def test_a_foreign_image_quality_or_table_is_refused():
    image, geometry = scan_of((20, 30, 31))
    with pytest.raises(GeometryError, match="was not prepared"):
        predict(FakeModel(), image[:, 1:], geometry)
    with pytest.raises(OptionError, match="no quality 'best'"):
        predict(FakeModel(), image, geometry, "best")
    with pytest.raises(ModelError, match="4 classes"):
        Predictor(FakeModel(classes=4), PREPARATION, table_of(3))


WAYS_TO_STORE = [
    Orientation(order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]


def scan_with_an_island():
    """A scan whose first structure has a small second piece, and both pieces."""
    grid = Geometry((24, 32, 32), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    image = np.zeros(grid.shape, np.float32)
    image[4:14, 6:20, 6:20] = 1
    image[18:21, 25:29, 25:29] = 1
    return image.astype(np.float16)[None], grid


@pytest.mark.parametrize("quality", ["fast", "balanced", "full"])
def test_a_structure_that_is_one_piece_loses_its_islands_and_some_doubt_remains(quality):
    image, grid = scan_with_an_island()
    plain = predict(FakeModel(), image, grid, quality)
    result = predict(FakeModel(), image, grid, quality, one_piece=(1,))
    gone = plain.fused != result.fused
    assert {tuple(edge) for edge in (np.argwhere(gone).min(0) > 14, np.argwhere(gone).max(0) > 14)} == {
        (True,) * 3
    }
    assert ndimage.label(plain.fused == 1)[1] == 2
    assert ndimage.label(result.fused == 1)[1] == 1
    assert not result.fused[gone].any()
    assert result.islands == {1: gone.sum()}
    np.testing.assert_array_equal(result.confidence[gone], 255 - plain.confidence[gone] // 2)
    np.testing.assert_array_equal(result.confidence[~gone], plain.confidence[~gone])
    np.testing.assert_array_equal(result.global_, plain.global_)


def test_islands_stay_where_the_user_wants_them_or_the_structure_may_have_several():
    image, grid = scan_with_an_island()
    plain = predict(FakeModel(), image, grid)
    assert plain.islands == {}
    predictor = Predictor(FakeModel(), PREPARATION, table_of(3), one_piece=(2,))
    np.testing.assert_array_equal(predictor.predict_prepared(image, grid).fused, plain.fused)
    predictor = Predictor(FakeModel(), PREPARATION, table_of(3), one_piece=(1,))
    kept = predictor.predict_prepared(image, grid, keep_islands=True)
    np.testing.assert_array_equal(kept.fused, plain.fused)
    assert kept.islands == {}


def stored_scan(way, turn=0.0):
    """The same anatomy, 24 x 20 x 28 voxels in the patient, stored in one of 48 ways."""
    image, _ = two_ellipsoids((24, 20, 28))
    slope = np.linspace(0, 30, image.size, dtype=np.float32).reshape(image.shape)  # no symmetry is left
    cos, sin = np.cos(turn), np.sin(turn)
    direction = ((cos, -sin, 0.0), (sin, cos, 0.0), (0.0, 0.0, 1.0))
    grid = Geometry(image.shape, (1.7, 1.1, 0.9), (-10.0, 5.0, 3.0), direction)
    return Volume(np.ascontiguousarray(way.apply(image + slope)), way.apply_geometry(grid))


@pytest.mark.parametrize(
    ("quality", "turn", "ways"),
    [
        ("balanced", 0.0, WAYS_TO_STORE),
        ("balanced", 0.3, WAYS_TO_STORE[2::9]),
        ("full", 0.3, WAYS_TO_STORE[1::9]),
    ],
)
def test_a_scan_gets_the_same_labels_however_it_is_stored(quality, turn, ways):
    model = FakeModel(tilt=2.0, shift=0.2, context_stride=(2, 2, 2), sharpness=3.0)
    predictor = Predictor(model, PREPARATION, table_of(3), flip_axes=(0, 1))
    canonical = stored_scan(Orientation(), turn)
    points = np.random.default_rng(0).integers(0, canonical.array.shape, size=(50, 3))
    expected = predictor.predict([canonical], quality, probes=points)
    assert expected.fused.any()
    assert expected.disagreement.any()
    for way in ways:
        scan = stored_scan(way, turn)
        probes = Orientation.of(scan.geometry).undo_voxels(points, scan.array.shape)
        result = predictor.predict([scan], quality, probes=probes)
        assert result.geometry == scan.geometry
        for name in ("fused", "global_", "local", "confidence", "disagreement"):
            array = getattr(result, name)
            assert array.flags.c_contiguous
            np.testing.assert_array_equal(array, way.apply(getattr(expected, name)), name)
        np.testing.assert_array_equal(result.probes, expected.probes)
        assert result.mean_confidence == expected.mean_confidence


@pytest.mark.data
def test_every_real_scan_comes_back_on_its_own_grid(data_root):
    paths = sorted((data_root / "geometry" / "images").glob("*.nii.gz"))
    assert paths
    for path in paths:
        scan = read_volume(path)
        spacing = tuple(max(mm, 2.5) for mm in canonical_geometry(scan.geometry).spacing)
        preparation = Preparation(spacing, (ChannelRule("mr"),))
        model = FakeModel(local=FakeBranch("local", (32, 32, 32)))
        result = Predictor(model, preparation, table_of(3)).predict([scan], "fast")
        assert result.geometry == scan.geometry
        assert result.fused.shape == result.confidence.shape == scan.array.shape
        # the brightest voxels of the file are where the labels are
        structures = result.fused > 0
        assert scan.array[structures].mean() > scan.array[~structures].mean(), path.name


def test_a_prepared_scan_is_its_own_grid_even_where_preparing_it_again_would_round_otherwise():
    preparation = Preparation((1.0, 1.0, 1.0), (ChannelRule("mr"),))
    scan = Geometry((29, 40, 40), (0.5, 1.0, 1.0), (0.0, 0.0, 0.0))
    grid = preparation.prepared_geometry(scan)
    assert preparation.prepared_geometry(grid).shape != grid.shape  # half a voxel is rounded to the even side
    predictor = Predictor(FakeModel(), preparation, table_of(FakeModel().classes))
    image = np.random.default_rng(0).normal(size=(1, *grid.shape)).astype(np.float16)
    with pytest.raises(GeometryError):
        predictor.predict_prepared(image, grid)
    prediction = predictor.predict_prepared(image, grid, prepared=grid)
    assert prediction.fused.shape == grid.shape
    assert prediction.geometry.same_grid(grid)
