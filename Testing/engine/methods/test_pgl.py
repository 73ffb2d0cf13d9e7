"""PGL: encoders learn to see the same in two views; what it hands on are encoders and nothing else."""

import copy
import math

import numpy as np
import pytest
import torch

from crgloco.methods import pgl
from crgloco.methods.pgl import PGL, deepest_level, regression, target_decay
from tiny_training import SHAPE, make_batch, make_method, make_trainer

WIDTHS = {"hidden": 16, "projected": 8}


def tiny() -> PGL:
    return make_method("pgl", **WIDTHS)


def test_the_loss_equals_a_loop_over_valid_cells_and_the_distance_of_normalised_vectors():
    torch.manual_seed(0)
    online, aim = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    valid = torch.rand(3, 4, 4) > 0.4
    total = 0.0
    for k, j, i in valid.nonzero().tolist():
        ours, theirs = online[:, k, j, i].double(), aim[:, k, j, i].double()
        total += float((ours / ours.norm() - theirs / theirs.norm()).square().sum())
    assert regression(online, aim, valid).item() == pytest.approx(total / int(valid.sum()), rel=1e-5)


def test_equal_features_cost_nothing_opposite_ones_four_and_what_lies_outside_does_not_count():
    torch.manual_seed(0)
    online = torch.randn(5, 3, 3, 3)
    valid = torch.zeros(3, 3, 3, dtype=torch.bool)
    valid[:2] = True
    assert regression(online, online, valid).item() == pytest.approx(0, abs=1e-5)
    assert regression(online, -online, valid).item() == pytest.approx(4, rel=1e-5)
    other = online.clone()
    other[:, 2] = torch.randn(5, 3, 3)
    assert regression(online, other, valid).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("cells", [0, 7, 8])
def test_too_few_common_cells_count_nothing_and_gradients_stay_finite(cells):
    online, aim = torch.randn(4, 3, 3, 3, requires_grad=True), torch.randn(4, 3, 3, 3, requires_grad=True)
    valid = torch.zeros(27, dtype=torch.bool)
    valid[:cells] = True
    loss = regression(online, aim, valid.reshape(3, 3, 3))
    loss.backward()
    assert (loss.item() > 0) == (cells >= 8)
    assert torch.isfinite(online.grad).all()
    assert aim.grad is None


def test_the_heads_pool_nothing_and_answer_every_cell():
    method = tiny()
    siamese, body = method.heads["local"], method.networks.local_body
    images = torch.randn(2, 1, 12, 16, 16)
    cells = body.encode(images)[siamese.level].shape[2:]
    assert siamese.online(body, images).shape == siamese.aim(images).shape == (2, 8, *cells)
    for head in (siamese.projector, siamese.predictor):
        assert all(m.kernel_size == (1, 1, 1) for m in head if isinstance(m, torch.nn.Conv3d))
    assert math.prod(cells) >= 8


def test_cells_beside_the_scan_do_not_count(monkeypatch):
    """Windows may be larger than the scan: air that was added would be half of what is compared."""
    masks = []
    monkeypatch.setattr(
        pgl, "regression", lambda online, aim, valid: (masks.append(valid), regression(online, aim, valid))[1]
    )
    method = tiny()
    batch = make_batch(method, 0, 3)
    method.losses(batch, 0.0)
    views = [view for name in pgl.BRANCHES for sample in batch.unlabelled for view in sample.pairs[name]]
    beside = 0
    for view, valid in zip(views, masks, strict=True):
        strides = np.divide(method.size, valid.shape)
        cells = valid.nonzero().numpy()
        places = ((cells + 0.5) * strides - 0.5) @ view.affine[:3, :3].T + view.affine[:3, 3]
        assert ((places >= -0.5) & (places <= np.asarray(SHAPE) - 0.5)).all()
        beside += int((~valid).sum())
    assert beside > 0


def test_swapping_the_views_swaps_the_two_halves_of_the_loss():
    method = tiny()
    batch = make_batch(method, 0, 2)
    parts = method.losses(batch, 0.0)
    swapped = [
        type(view)({name: pair[::-1] for name, pair in view.pairs.items()}) for view in batch.unlabelled
    ]
    other = method.losses(type(batch)([], swapped, batch.device, batch.rng), 0.0)
    assert other["total"].item() == pytest.approx(parts["total"].item(), rel=1e-5)
    for name in ("local", "global"):
        first, second = (f"consistency_{name}_{way}" for way in ("12", "21"))
        assert other[first].item() == pytest.approx(parts[second].item(), rel=1e-4)


def test_gradients_reach_encoders_and_heads_but_no_target_and_no_decoder():
    method = tiny()
    method.losses(make_batch(method, 0, 2), 0.5)["total"].backward()
    trained = {id(p) for group in method.parameter_groups() for p in group["params"]}
    for name, parameter in method.named_parameters():
        if "target" in name or "decoder" in name or "_head." in name:
            assert parameter.grad is None, name
            assert id(parameter) not in trained, name
    assert method.networks.local_body.encoder[0].conv1.conv.weight.grad.abs().sum() > 0
    assert all(p.grad is not None for s in method.heads.values() for p in s.predictor.parameters())


def test_the_target_follows_the_encoder_by_a_cosine_that_ends_at_one():
    assert target_decay(0.0, 0.9) == pytest.approx(0.9)
    assert target_decay(0.5, 0.9) == pytest.approx(0.95)
    assert target_decay(1.0, 0.9) == pytest.approx(1.0)
    method = tiny()
    body = method.networks.local_body
    before = copy.deepcopy(method.heads["local"].target[0].state_dict())
    with torch.no_grad():
        for parameter in body.parameters():
            parameter.add_(1.0)
    method.losses(make_batch(method, 0, 1), 0.5)
    method.after_step(0)
    decay = 1 - (1 - 0.996) * (math.cos(math.pi / 2) + 1) / 2
    for name, old in before.items():
        expected = decay * old + (1 - decay) * body.state_dict()[name]
        torch.testing.assert_close(method.heads["local"].target[0].state_dict()[name], expected)


def test_the_compared_map_is_the_deepest_with_a_stride_of_at_most_eight():
    body = make_method(
        "supervised", local_window="32,32,32", global_window="32,32,32", levels=4
    ).networks.local_body
    maps = body.encode(torch.zeros(1, 1, 32, 32, 32))
    level = deepest_level(body, 1, (32, 32, 32))
    assert min(maps[level].shape[2:]) >= 4
    assert level == len(maps) - 1 or min(maps[level + 1].shape[2:]) < 4


def test_encoders_arrive_bitwise_in_any_other_method_and_everything_else_stays():
    donor = make_method("pgl", seed=5, **WIDTHS)
    kept = donor.weights_to_keep()
    for name in ("cr_gloco", "supervised", "mean_teacher", "local_contrastive", "mcsc", "versemi"):
        method = make_method(name, seed=6)
        before = copy.deepcopy(method.networks.state_dict())
        taken = method.start_from(kept)
        assert set(taken) == {key for key in before if ".encoder." in key or ".bottleneck." in key}
        for key, value in method.networks.state_dict().items():
            assert torch.equal(value, kept[key] if key in taken else before[key])


def test_a_short_training_makes_aligned_places_more_alike_than_others():
    method = tiny()

    def gain() -> tuple[float, float]:
        with torch.no_grad():
            found = [method.losses(make_batch(method, 0, 4, seed), 0.0) for seed in (80, 81)]
        return tuple(sum(float(parts[f"{what}_local"]) for parts in found) / 2 for what in ("gain", "spread"))

    before, spread_before = gain()
    make_trainer(method, iterations=50, learning_rate=0.005).fit()
    after, spread_after = gain()
    assert after > before + 0.01
    assert spread_after > 0.5 * spread_before


def test_it_predicts_nothing_and_says_so():
    assert tiny().branches() == ()


def test_a_start_model_gives_its_encoders_to_the_targets_too():
    kept = make_method("pgl", seed=5, **WIDTHS).weights_to_keep()
    method = make_method("pgl", seed=6, **WIDTHS)
    method.start_from(kept)
    for name, siamese in method.heads.items():
        body, projector = siamese.target
        for key, value in body.state_dict().items():
            if key.startswith(("encoder.", "bottleneck.")):
                assert torch.equal(value, kept[f"{name}_body.{key}"])
        for key, value in projector.state_dict().items():
            assert torch.equal(value, siamese.projector.state_dict()[key])
