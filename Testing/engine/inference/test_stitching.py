"""The ring of slices blends as a dense array would."""

import numpy as np
import pytest
import torch

from crgloco.data.boxes import Box
from crgloco.inference.stitching import SlabBlend, hull
from crgloco.inference.windows import all_windows, gaussian_weight


def stream(windows, answers, shape, dtype=torch.float32, region=None):
    region = region or Box((0, 0, 0), shape)
    weight = torch.from_numpy(gaussian_weight(windows[0].size))
    blend = SlabBlend(region, 2, windows[0].size[0] + 2, dtype, torch.device("cpu"))
    means = torch.zeros((2, *region.size))
    present = torch.zeros(region.size)
    written = region.start[0]
    for window, answer in [*zip(windows, answers, strict=True), (None, None)]:
        until = region.start[0] + region.size[0] if window is None else max(window.start[0], written)
        blend.finish(until)
        if until > written:
            part = slice(written - region.start[0], until - region.start[0])
            means[:, part], present[part] = blend.read(written, until)
            blend.release(until)
            written = until
        if window is not None:
            blend.add(window, answer, weight)
    return means, present


def dense(windows, answers, shape):
    total, weights = np.zeros((2, *shape)), np.zeros(shape)
    weight = gaussian_weight(windows[0].size)
    for window, answer in zip(windows, answers, strict=True):
        for index in np.ndindex(window.size):
            voxel = tuple(np.add(index, window.start))
            if all(0 <= v < n for v, n in zip(voxel, shape, strict=True)):
                total[(slice(None), *voxel)] += answer[(slice(None), *index)].numpy() * weight[index]
                weights[voxel] += weight[index]
    return np.where(weights > 0, total / np.maximum(weights, 1e-9), 0), weights > 0


@pytest.mark.parametrize("shape", [(4, 5, 5), (19, 6, 7), (33, 5, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_stream_equals_the_dense_sum(shape, dtype):
    windows = all_windows(shape, (6, 4, 4), 0.4)
    generator = torch.Generator().manual_seed(1)
    answers = [torch.rand((2, 6, 4, 4), generator=generator) for _ in windows]
    means, present = stream(windows, answers, shape, dtype)
    expected, reached = dense(windows, answers, shape)
    assert np.allclose(means.numpy(), expected, atol=1e-5 if dtype == torch.float32 else 4e-3)
    assert np.array_equal(present.numpy() > 0, reached)


def test_slices_between_distant_windows_are_empty():
    windows = (Box((2, 0, 0), (4, 4, 4)), Box((30, 0, 0), (4, 4, 4)))
    answers = [torch.full((2, 4, 4, 4), 0.5)] * 2
    means, present = stream(windows, answers, (40, 4, 4))
    assert torch.nonzero(present.amax((1, 2))).flatten().tolist() == [2, 3, 4, 5, 30, 31, 32, 33]
    assert torch.allclose(means[:, present > 0], torch.tensor(0.5))


def test_windows_are_clipped_to_the_region():
    shape = (12, 8, 8)
    windows = all_windows(shape, (6, 6, 6), 0.5)
    generator = torch.Generator().manual_seed(2)
    answers = [torch.rand((2, 6, 6, 6), generator=generator) for _ in windows]
    region = Box((0, 3, 1), (12, 4, 5))
    means, _ = stream(windows, answers, shape, region=region)
    expected, _ = dense(windows, answers, shape)
    assert np.allclose(means.numpy(), expected[(slice(None), *region.slices())], atol=1e-5)


def test_the_hull_stays_inside_the_volume():
    boxes = (Box((-2, 0, 3), (8, 4, 4)), Box((5, 1, 0), (8, 4, 4)))
    assert hull(boxes, (10, 10, 10)) == Box((0, 0, 0), (10, 5, 7))


def test_half_precision_keeps_small_probabilities_at_the_rim_of_windows():
    shape, size = (6, 8, 8), (6, 8, 8)
    answer = torch.tensor([2e-5, 1 - 2e-5]).reshape(2, 1, 1, 1).expand(2, *size)
    means, _ = stream((Box((0, 0, 0), size),), [answer], shape, torch.float16)
    assert means[0].amin() > 1.9e-5
    assert means[0].amax() < 2.1e-5
