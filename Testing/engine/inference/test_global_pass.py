"""The global branch sees the whole field of view, reduced as in training."""

import numpy as np
import pytest
import torch

from crgloco.data.boxes import Box
from crgloco.data.patches import resize
from crgloco.inference.execution import Execution
from crgloco.inference.global_pass import lattice, reduce_volume, run_global, tile_starts
from crgloco.inference.local_pass import sample_window
from crgloco.networks.dual_resolution import sample_context
from crgloco.progress import Silent
from fake_models import FakeBranch, FakeModel

CPU = torch.device("cpu")


def image_of(shape, channels=1, seed=0):
    return np.random.default_rng(seed).normal(size=(channels, *shape)).astype(np.float16)


def fill_of(image):
    return torch.tensor([float(channel.min()) for channel in image])


def run(image, model, flips=()):
    execution = Execution(model, CPU, Silent(), None)
    with torch.inference_mode():
        return run_global(image, fill_of(image), model.global_, execution, Silent(), flip_axes=flips)


def padded_by_hand(image, grid, padded):
    result = np.empty((image.shape[0], *padded), np.float32)
    result[:] = fill_of(image).numpy()[:, None, None, None]
    where = tuple(slice(-int(s), -int(s) + n) for s, n in zip(grid.start, image.shape[1:], strict=True))
    result[(slice(None), *where)] = image
    return torch.from_numpy(result)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("shape", [(20, 32, 9), (24, 32, 32), (37, 41, 70)])
def test_the_volume_is_reduced_as_patches_are(shape, antialias):
    branch = FakeBranch("global", (24, 32, 32), (0.5, 0.5, 0.375))
    image = image_of(shape, channels=2)
    grid, padded = lattice(shape, branch)
    result = reduce_volume(image, grid, padded, fill_of(image), antialias=antialias)
    expected = resize(padded_by_hand(image, grid, padded)[None], grid.shape, antialias=antialias)[0]
    assert torch.allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(20, 32, 9), (24, 32, 32), (1, 1, 1)])
def test_a_volume_that_fits_is_one_window(shape):
    branch = FakeBranch("global", (24, 32, 32), (0.5, 0.5, 0.4375))
    grid, padded = lattice(shape, branch)
    assert padded == branch.window
    assert grid.shape == (12, 16, 14)


@pytest.mark.parametrize("shape", [(25, 33, 33), (100, 32, 57)])
@pytest.mark.parametrize("scale", [(0.5, 0.5, 0.5), (0.625, 0.4375, 1.0), (0.7, 0.31, 0.9)])
def test_cells_of_larger_volumes_are_as_large_as_in_training(shape, scale):
    branch = FakeBranch("global", (24, 32, 32), scale)
    grid, padded = lattice(shape, branch)
    assert all(p >= n for p, n in zip(padded, shape, strict=True))
    size = [round(n * s) for n, s in zip(branch.window, scale, strict=True)]
    for axis in range(3):
        assert grid.cell[axis] == pytest.approx(branch.window[axis] / size[axis], rel=0.03)
        assert grid.start[axis] + grid.cell[axis] * grid.shape[axis] == pytest.approx(
            grid.start[axis] + padded[axis]
        )


@pytest.mark.parametrize("shape", [(24, 32, 32), (37, 41, 70)])
@pytest.mark.parametrize("logit_stride", [1, 2])
@pytest.mark.parametrize("flips", [(), (0, 2)])
def test_tiles_of_a_model_of_single_voxels_equal_the_whole(shape, logit_stride, flips):
    model = FakeModel(logit_stride=logit_stride, context_stride=(2, 2, 2))
    image = image_of(shape)
    answer = run(image, model, flips)
    grid, padded = lattice(shape, model.global_)
    reduced = reduce_volume(image, grid, padded, fill_of(image), antialias=True)
    logits, features = model.low_resolution(reduced[None])
    assert torch.allclose(answer.probabilities, logits[0].softmax(0), atol=1e-5)
    assert torch.allclose(answer.features, features[0], atol=1e-5)
    assert answer.feature_grid.cell == tuple(2 * cell for cell in grid.cell)


@pytest.mark.parametrize("side", [1, 2, 3, 5, 6, 7, 8, 10, 12])
def test_tiles_of_any_side_leave_no_gap(side):
    branch = FakeBranch("global", (side, 32, 32), (1.0, 0.5, 0.5))
    for length in range(1, 60):
        grid, _ = lattice((length, 32, 32), branch)
        covered = {cell for start in tile_starts(grid.shape[0], side) for cell in range(start, start + side)}
        assert covered == set(range(grid.shape[0]))
    answer = run(image_of((40, 32, 32)), FakeModel(global_=branch))
    assert torch.isfinite(answer.probabilities).all()


def test_features_of_an_odd_stride_are_brought_to_the_tiles_grid():
    branch = FakeBranch("global", (24, 30, 30), (0.5, 0.5, 0.5))
    model = FakeModel(global_=branch, context_stride=(2, 2, 2), feature_stride=3)
    answer = run(image_of((40, 31, 30)), model)
    assert answer.features.shape[1:] == answer.grid.shape
    assert torch.isfinite(answer.features).all()


@pytest.mark.parametrize(("stride", "size"), [((2, 3, 2), (4, 4, 6)), ((3, 5, 8), (3, 3, 2))])
def test_the_context_of_a_window_is_that_of_training(stride, size):
    model = FakeModel(context_stride=stride)
    image = image_of((24, 32, 32))
    answer = run(image, model)
    for start in [(0, 0, 0), (5, 3, 19), (20, -4, 30)]:
        window = Box(start, (8, 12, 12))
        ours = sample_window(answer, window, model.context_stride)
        theirs = sample_context(answer.features[None], (24, 32, 32), window, size)[0]
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_context_of_a_scan_shorter_than_the_global_window_is_that_of_training():
    """What the branch saw ends with its window, not with the scan inside it."""
    model = FakeModel(context_stride=(2, 3, 2))
    answer = run(image_of((10, 32, 17)), model)
    seen = Box((-7, 0, -8), model.global_.window)
    for start in [(-3, 0, -2), (1, 20, 9), (-9, -4, 15)]:
        window = Box(start, (8, 12, 12))
        ours = sample_window(answer, window, model.context_stride)
        place = window.moved_to_frame_of(seen)
        theirs = sample_context(answer.features[None], seen.size, place, (4, 4, 6))[0]
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_context_lies_where_the_image_lies():
    shape = (60, 70, 64)
    ramps = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"))
    model = FakeModel(context_stride=(2, 2, 2))
    window = Box((20, 30, 24), (8, 12, 12))
    for axis in range(3):
        answer = run(ramps[axis : axis + 1].astype(np.float16), model)
        values = sample_window(answer, window, model.context_stride)
        size = values.shape[1 + axis]
        centres = (window.start[axis] + (np.arange(size) + 0.5) * 2 - 0.5) / shape[axis]
        found = values[0].movedim(axis, 0).reshape(size, -1).mean(1).numpy()
        assert np.allclose(found, centres, atol=2e-3)
        assert bool((values[1] == 1).all())
