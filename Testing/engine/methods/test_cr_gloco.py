"""CR-GLoCo against its specification: naive twins, detachment, schedule, teachers, context."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from crgloco.data.boxes import Box, draw_released_pair, overlap
from crgloco.data.patches import IGNORE
from crgloco.errors import OptionError
from crgloco.losses.pseudo_labels import fuse_by_entropy, sigmoid_ramp
from crgloco.losses.segmentation import segmentation_loss
from crgloco.methods import cr_gloco
from crgloco.methods.cr_gloco import CRGLoCo, released_weight
from crgloco.networks.dual_resolution import sample_context
from tiny_training import differing, make_batch, make_method, with_published_bodies

LARGE, SMALL = (10, 12, 12), (6, 8, 8)


@pytest.fixture
def attached(monkeypatch):
    """Losses hand out their parts with gradients, and the weight of the unlabelled ones."""
    monkeypatch.setattr(cr_gloco, "_with_total", lambda parts, weight: {**parts, "weight": weight})


def confident(method):
    """Sharpen both heads, so that many voxels pass the filters; the average follows."""
    with torch.no_grad():
        for head in (method.networks.local_head, method.networks.global_head):
            head.classify.weight *= 40
    method.after_step(0)
    return method


def touched(module: torch.nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in module.parameters())


# ---------------------------------------------------------------------------------------- released


def naive_cross(
    student: torch.Tensor, student_box: Box, teacher: torch.Tensor, teacher_box: Box
) -> tuple[float, int]:
    """Voxel by voxel in volume coordinates: CE of the student at the teacher's confident labels, its mean."""
    total, kept = 0.0, 0
    for place in itertools.product(
        *(range(a, b) for a, b in zip(student_box.start, student_box.stop, strict=True))
    ):
        if any(p < a or p >= b for p, a, b in zip(place, teacher_box.start, teacher_box.stop, strict=True)):
            continue
        own = [float(v) for v in student[(slice(None), *np.subtract(place, student_box.start))]]
        other = [math.exp(float(v)) for v in teacher[(slice(None), *np.subtract(place, teacher_box.start))]]
        p = [value / sum(other) for value in other]
        label = int(np.argmax(p))
        if p[label] > (0.99 if label == 0 else 0.95):
            total += math.log(sum(math.exp(v) for v in own)) - own[label]
            kept += 1
    return total / max(kept, 1), kept


@pytest.mark.parametrize("seed", range(3))
def test_released_cross_supervision_equals_a_loop_over_the_voxels_of_the_overlap(seed):
    torch.manual_seed(seed)
    large, small = draw_released_pair((14, 20, 18), LARGE, SMALL, np.random.default_rng(seed))
    local, low = 4 * torch.randn(3, *SMALL), 8 * torch.randn(3, *SMALL)
    view = SimpleNamespace(large=large, small=small)
    found = CRGLoCo._released_cross(SimpleNamespace(large=LARGE), local, low, view)
    native = functional.interpolate(low[None], size=LARGE, mode="trilinear", align_corners=False)[0]
    to_local, kept_for_local = naive_cross(local, small, native, large)
    to_global, kept_for_global = naive_cross(native, large, local, small)
    assert min(kept_for_local, kept_for_global) > 10
    assert float(found[0]) == pytest.approx(to_local, rel=1e-4)
    assert float(found[1]) == pytest.approx(to_global, rel=1e-4)


def test_released_labels_of_the_other_network_carry_no_gradient_to_it():
    large, small = draw_released_pair((14, 20, 18), LARGE, SMALL, np.random.default_rng(0))
    view = SimpleNamespace(large=large, small=small)
    for direction in (0, 1):
        local, low = ((8 * torch.randn(3, *SMALL)).requires_grad_() for _ in range(2))
        losses = CRGLoCo._released_cross(SimpleNamespace(large=LARGE), local, low, view)
        losses[direction].backward()
        own, other = (local, low) if direction == 0 else (low, local)
        assert own.grad.any()
        assert other.grad is None


def test_released_losses_of_one_network_leave_the_other_untouched(attached):
    for own, parts in (
        ("local", ("supervised_local", "cross_local")),
        ("global", ("supervised_global", "cross_global")),
    ):
        method = confident(make_method("cr_gloco", "released"))
        losses = method.losses(make_batch(method, 1, 2), 1.0)
        (losses[parts[0]] + losses[parts[1]]).backward()
        assert float(losses[parts[1]].detach()) > 0
        assert touched(getattr(method.networks, f"{own}_body"))
        assert not touched(getattr(method.networks, f"{'global' if own == 'local' else 'local'}_body"))


def test_where_no_voxel_is_confident_the_released_cross_loss_is_zero_with_zero_gradients(attached):
    method = make_method("cr_gloco", "released")
    with torch.no_grad():
        for head in (method.networks.local_head, method.networks.global_head):
            head.classify.weight.zero_()
            head.classify.bias.zero_()
    losses = method.losses(make_batch(method), 1.0)
    cross = losses["cross_local"] + losses["cross_global"]
    assert float(cross.detach()) == 0.0
    cross.backward()
    gradients = [p.grad for p in method.networks.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() and not gradient.any() for gradient in gradients)


def test_windows_that_do_not_overlap_give_zero_and_not_nan(attached):
    method = confident(make_method("cr_gloco", "released"))
    batch = make_batch(method, 1, 1)
    away = replace(batch.unlabelled[0], small=Box((500, 500, 500), batch.unlabelled[0].small.size))
    losses = method.losses(replace(batch, unlabelled=[away]), 1.0)
    assert float(losses["cross_local"].detach()) == float(losses["cross_global"].detach()) == 0.0


def test_released_cross_losses_of_several_unlabelled_scans_are_their_mean(attached):
    method = confident(make_method("cr_gloco", "released"))
    batch = make_batch(method, 1, 3)
    together = method.losses(batch, 1.0)
    for name in ("cross_local", "cross_global"):
        alone = [method.losses(replace(batch, unlabelled=[view]), 1.0)[name] for view in batch.unlabelled]
        torch.testing.assert_close(together[name], torch.stack(alone).mean(), rtol=1e-4, atol=1e-5)


def test_released_supervision_uses_the_unresized_label_of_the_large_window(attached):
    method = make_method("cr_gloco", "released")
    batch = make_batch(method, 2, 1)
    found = method.losses(batch, 0.0)
    views = [view.to(batch.device) for view in (*batch.labelled, *batch.unlabelled)]
    small, large = cr_gloco.released_inputs(views, method.networks.local.tensor_size)
    low, _ = method.networks.low_resolution(large)
    native = functional.interpolate(low, size=method.large, mode="trilinear", align_corners=False)
    target = torch.stack([view.large_label for view in views[:2]])
    assert target.shape[1:] == method.large
    expected = segmentation_loss(native[:2], target, over_batch=True)
    torch.testing.assert_close(found["supervised_global"], expected, rtol=1e-4, atol=1e-5)
    local = segmentation_loss(
        method.networks.full_resolution(small)[:2],
        torch.stack([v.small_label for v in views[:2]]),
        over_batch=True,
    )
    torch.testing.assert_close(found["supervised_local"], local, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("update", "weight"),
    [(0, 0.0), (3_999, 0.0), (4_000, 0.0023), (8_000, 0.0067), (10_000, 0.0106), (15_000, 0.0287),
     (17_600, 0.0423), (20_000, 0.0571), (30_000, 0.1000)],
)  # fmt: skip
def test_the_released_weight_follows_the_table_of_the_specification(update, weight):
    found = released_weight(update / 20_000)
    assert found == pytest.approx(weight, abs=5e-5)
    if update >= 4_000:
        exact = 0.1 * math.exp(-5 * (1 - min(update // 150, 200) / 200) ** 2)
        assert found == pytest.approx(exact, rel=1e-12)


def test_the_released_weight_is_exact_at_every_step_of_its_ramp():
    for update in range(4_000, 20_001, 50):
        exact = 0.1 * math.exp(-5 * (1 - min(update // 150, 200) / 200) ** 2)
        assert released_weight(update / 20_000) == pytest.approx(exact, rel=1e-12), update


def test_one_optimiser_with_two_groups_equals_two_optimisers(attached):
    """Three float32 updates, clipped group by group, with the unlabelled loss switched on."""
    options = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-5}
    joint, apart = (confident(make_method("cr_gloco", "released", seed=3)) for _ in range(2))
    groups = [group["params"] for group in joint.parameter_groups()]
    one = torch.optim.SGD([{"params": group} for group in groups], **options)
    pairs = [
        [p for n, p in apart.networks.named_parameters() if n.startswith(key)] for key in ("local", "global")
    ]
    two = [torch.optim.SGD(pair, **options) for pair in pairs]
    for step in range(3):
        losses = joint.losses(make_batch(joint, 1, 2, seed=step), 1.0)
        one.zero_grad()
        supervised = losses["supervised_local"] + losses["supervised_global"]
        (supervised + losses["weight"] * (losses["cross_local"] + losses["cross_global"])).backward()
        for group in groups:
            torch.nn.utils.clip_grad_norm_(group, 12.0)
        one.step()
        for optimiser in two:
            optimiser.zero_grad()
        losses = apart.losses(make_batch(apart, 1, 2, seed=step), 1.0)
        for key in ("local", "global"):
            (losses[f"supervised_{key}"] + losses["weight"] * losses[f"cross_{key}"]).backward()
        for pair, optimiser in zip(pairs, two, strict=True):
            torch.nn.utils.clip_grad_norm_(pair, 12.0)
            optimiser.step()
    assert float(losses["cross_local"].detach()) > 0
    for first, second in zip(joint.networks.parameters(), apart.networks.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)


def test_released_keeps_the_two_networks_apart_and_deploys_the_local_one():
    method = make_method("cr_gloco", "released")
    glob, local = method.branches()
    assert (glob.weight, local.weight) == (0.0, 1.0)
    assert not glob.antialias
    assert method.networks.context_stride is None
    names = [{id(p) for p in group["params"]} for group in method.parameter_groups()]
    assert not names[0] & names[1]
    assert [group["clip_norm"] for group in method.parameter_groups()] == [12.0, 12.0]
    assert (method.config.optimiser, method.config.learning_rate) == ("sgd", 0.01)


def test_released_trains_with_the_published_network_and_its_dropout():
    method = with_published_bodies(
        make_method("cr_gloco", "released", local_window="16,16,32", global_window="16,24,32")
    )
    method.networks.train()
    losses = method.losses(make_batch(method, 1, 1), 1.0)
    losses["total"].backward()
    assert touched(method.networks.local_body)
    assert touched(method.networks.global_body)
    assert not method.averaged.training


def test_a_released_recipe_with_other_networks_says_so():
    method = make_method("cr_gloco", "released", network="fast")
    sentence = "The project's fast networks instead of the published U-Net."
    assert sentence in method.deviations
    method.config = replace(method.config, network="published")
    assert sentence not in method.deviations


def test_both_recipes_say_in_words_what_they_change():
    released, default = (make_method("cr_gloco", recipe).deviations for recipe in ("released", "default"))
    assert any("bf16" in sentence for sentence in released)
    assert any("linear instead of cubic" in sentence for sentence in released)
    assert any("not the paper's" in sentence for sentence in default)


# ----------------------------------------------------------------------------------------- default


def teachers_labels(method, seed=0):
    views = make_batch(method, 0, 3, seed).unlabelled
    crops = [view.cut() for view in views]
    labelled, _, kept = method._ask_teachers(crops, views)
    return views, crops, labelled, kept


def test_teachers_label_the_overlap_alike_in_both_windows_and_nothing_else():
    method = confident(make_method())
    views, _, labelled, kept = teachers_labels(method)
    shares = []
    for view, crop in zip(views, labelled, strict=True):
        shared = overlap(view.large, view.small)
        in_small = shared.moved_to_frame_of(view.small).slices()
        in_large = shared.moved_to_frame_of(view.large).slices()
        assert torch.equal(crop.small_label[in_small], crop.large_label[in_large])
        known = crop.small_label[in_small] != IGNORE
        shares.append(known.float().mean())
        assert (
            int((crop.small_label != IGNORE).sum())
            == int((crop.large_label != IGNORE).sum())
            == int(known.sum())
        )
    assert 0 < float(kept) == pytest.approx(float(torch.stack(shares).mean()))


def teachers_answers(method, views, crops):
    """What both teachers answer, at full resolution: the local one with the global map of its window."""
    networks = method.averaged
    small, large = cr_gloco.weak_inputs(crops, networks.local.tensor_size)
    with torch.no_grad():
        low, features = networks.low_resolution(large)
        size = [math.ceil(n / s) for n, s in zip(method.small, networks.context_stride, strict=True)]
        context = [
            sample_context(own[None], method.large, Box(view.offset, method.small), tuple(size))
            for own, view in zip(features, views, strict=True)
        ]
        local = networks.full_resolution(small, torch.cat(context)).softmax(1)
        native = functional.interpolate(low, size=method.large, mode="trilinear", align_corners=False)
    return local, native.softmax(1)


def test_the_labels_of_the_teachers_are_the_filtered_fusion_of_both_answers_where_they_agree():
    method = confident(make_method())
    views, crops, labelled, _ = teachers_labels(method)
    twin = confident(make_method())
    local, native = teachers_answers(twin, views, crops)
    same = total = ignored = 0
    for index, (view, crop) in enumerate(zip(views, labelled, strict=True)):
        shared = overlap(view.large, view.small)
        in_small = shared.moved_to_frame_of(view.small).slices()
        in_large = shared.moved_to_frame_of(view.large).slices()
        own = local[index : index + 1][(..., *in_small)]
        other = native[index : index + 1][(..., *in_large)]
        fused = fuse_by_entropy(own, other)
        twin.threshold.update(*fused.max(1))
        expected = twin.threshold.filter(fused)[0]
        agree = own.argmax(1)[0] == other.argmax(1)[0]
        ignored += int((~agree & (expected != IGNORE)).sum())
        expected[~agree] = IGNORE
        same += int((expected == crop.small_label[in_small]).sum())
        total += expected.numel()
    assert same / total > 0.999  # the rest lie on a threshold by rounding
    assert ignored / total > 0.01  # what is asked: agreement takes something away
    torch.testing.assert_close(method.threshold.mean, twin.threshold.mean, rtol=1e-4, atol=1e-5)


def with_soft_labels(**options):
    return make_method(labels="soft", **options)


def test_soft_labels_are_the_fusion_of_both_answers_where_they_agree_on_the_overlap():
    method = confident(with_soft_labels())
    views = make_batch(method, 0, 3).unlabelled
    crops = [view.cut() for view in views]
    _, answers, _ = method._ask_teachers(crops, views)
    local, native = teachers_answers(method, views, crops)
    for index, (view, answer) in enumerate(zip(views, answers, strict=True)):
        shared = overlap(view.large, view.small)
        own = local[index : index + 1][(..., *shared.moved_to_frame_of(view.small).slices())]
        other = native[index : index + 1][(..., *shared.moved_to_frame_of(view.large).slices())]
        agree = (own.argmax(1) == other.argmax(1))[:, None]
        assert 0.01 < float(agree.float().mean()) < 0.99
        differ = (answer - fuse_by_entropy(own, other) * agree).abs().amax(1) > 1e-4
        assert differ.float().mean() < 0.001  # the rest lie on a border by rounding


def test_the_loss_of_soft_labels_equals_a_loop_over_the_overlap_in_both_windows():
    """Samples 1 and 2 are unlabelled; the global logits are those of every second voxel along K and J."""
    rng = np.random.default_rng(0)
    step, phase = (2, 2, 1), (1, 0, 0)
    offsets = [(1, 2, 3), (-1, 4, -2), (6, 0, 5)]
    windows = [Box(offset, SMALL) for offset in offsets]
    shared = [overlap(Box((0, 0, 0), LARGE), window) for window in windows]
    local = torch.from_numpy(rng.normal(size=(3, 3, *SMALL)))
    glob = torch.from_numpy(rng.normal(size=(3, 3, 5, 6, 12)))
    answers = [
        torch.from_numpy(rng.dirichlet(np.ones(3), (1, *box.size))).movedim(-1, 1) for box in shared[1:]
    ]
    found = cr_gloco._soft_losses((local, glob), answers, shared, windows, (step, phase), (None, None))

    def entropy(logits, answer):
        total = sum(math.exp(float(v)) for v in logits)
        return -sum(
            float(p) * math.log(math.exp(float(v)) / total) for v, p in zip(logits, answer, strict=True)
        )

    in_local, in_global = [], []
    for index, answer in enumerate(answers, 1):
        box, offset = shared[index], offsets[index]
        own, points = [], []
        for voxel in itertools.product(*(range(a, b) for a, b in zip(box.start, box.stop, strict=True))):
            told = answer[(0, slice(None), *np.subtract(voxel, box.start))]
            own.append(entropy(local[(index, slice(None), *np.subtract(voxel, offset))], told))
            if all((v - p) % s == 0 for v, p, s in zip(voxel, phase, step, strict=True)):
                row = np.subtract(voxel, phase) // step
                points.append(entropy(glob[(index, slice(None), *row)], told))
        in_local.append(np.mean(own))
        in_global.append(np.mean(points))
    assert float(found["cross_local"]) == pytest.approx(np.mean(in_local), rel=1e-4)
    assert float(found["cross_global"]) == pytest.approx(np.mean(in_global), rel=1e-4)


def test_soft_labels_teach_without_any_confidence_and_nothing_where_no_scan_is_unlabelled():
    method = with_soft_labels()
    parts = method.losses(make_batch(method), 1.0)
    assert parts["cross_local"] > 0
    assert parts["cross_global"] > 0
    alone = method.losses(make_batch(method, 2, 0), 1.0)
    assert alone["cross_local"] == alone["cross_global"] == 0
    assert torch.equal(alone["total"], alone["supervised_local"] + alone["supervised_global"])


def test_the_labels_of_the_teachers_are_soft_where_they_are_asked_to_be_and_never_in_the_released_recipe():
    assert not make_method().soft
    assert with_soft_labels().soft
    assert not make_method("cr_gloco", "released", labels="soft").soft
    assert any("soft pseudo-labels that both" in sentence for sentence in with_soft_labels().deviations)
    assert not any("soft" in sentence for sentence in make_method().deviations)


def test_labels_for_many_structures_are_soft_unless_what_hard_ones_need_is_asked_for():
    def soft(classes, **options):
        return cr_gloco.has_soft_labels(cr_gloco.Config(**options), classes)

    assert [soft(classes) for classes in (2, 3, 4, 14)] == [False, False, True, True]
    assert not any(soft(14, **asked) for asked in ({"labels": "hard"}, {"mixing": 0.5}, {"threshold": 0.9}))
    assert soft(14, mixing=0.0)
    assert soft(2, labels="soft", threshold=0.9)


def test_the_background_of_many_structures_spares_what_is_not_learnt():
    def spares(classes, **options):
        return cr_gloco.spares_what_is_not_learnt(cr_gloco.Config(**options), classes)

    assert [spares(classes) for classes in (2, 3, 4, 14)] == [False, False, True, True]
    assert not spares(14, background="all")
    assert spares(2, background="learnt")


def test_scenes_are_not_mixed_with_soft_labels():
    assert with_soft_labels().mixing == 0.0
    with pytest.raises(OptionError, match="mixed with hard labels"):
        with_soft_labels(mixing=0.5)


def test_the_local_teacher_sees_the_global_map():
    plain, gated = confident(make_method()), confident(make_method())
    torch.nn.init.constant_(gated.averaged.context_gate.gate, 3.0)
    first, second = teachers_labels(plain)[2], teachers_labels(gated)[2]
    assert not all(torch.equal(a.small_label, b.small_label) for a, b in zip(first, second, strict=True))


def test_the_teachers_are_the_averages_in_evaluation_mode_and_do_not_learn():
    method = confident(make_method())
    changed = confident(make_method())
    with torch.no_grad():
        for parameter in changed.networks.parameters():
            parameter.add_(torch.randn(parameter.shape))
    first, second = teachers_labels(method)[2], teachers_labels(changed)[2]
    assert all(torch.equal(a.large_label, b.large_label) for a, b in zip(first, second, strict=True))
    changed.networks.train()
    assert not changed.averaged.training
    changed.losses(make_batch(changed), 1.0)["total"].backward()
    assert all(p.grad is None for p in changed.averaged.parameters())


def test_the_loss_on_the_overlap_equals_a_loop_over_kept_voxels():
    logits = 2 * torch.randn(3, 3, *SMALL)
    target = torch.randint(0, 2, (3, *SMALL), dtype=torch.uint8)  # class 2 is absent
    target[torch.rand(3, *SMALL) < 0.6] = IGNORE
    target[1] = IGNORE  # counts neither above nor below the fraction line
    voxels = [200, 150, 300]
    total = 0.0
    for b in range(3):
        for voxel in itertools.product(*(range(n) for n in SMALL)):
            y = int(target[(b, *voxel)])
            if y == IGNORE:
                continue
            values = [math.exp(float(v)) for v in logits[(b, slice(None), *voxel)]]
            p = [value / sum(values) for value in values]
            total -= math.log(p[y]) / voxels[b]
    found = cr_gloco._overlap_loss(logits, target, voxels)
    assert float(found) == pytest.approx(total / 2, rel=1e-4)


def test_the_loss_on_the_overlap_is_zero_where_nothing_is_kept():
    logits = torch.randn(2, 3, *SMALL, requires_grad=True)
    loss = cr_gloco._overlap_loss(logits, torch.full((2, *SMALL), IGNORE, dtype=torch.uint8), [100, 1])
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not logits.grad.any()


@pytest.mark.parametrize("progress", [0.0, 0.2, 0.35, 1.0])
def test_the_total_is_supervised_plus_ramped_weight_times_cross(progress):
    method = confident(make_method(unlabelled_weight=0.7, mixing=0.0))
    parts = {name: float(part.detach()) for name, part in method.losses(make_batch(method), progress).items()}
    assert parts["cross_local"] > 0
    assert parts["cross_global"] > 0
    weight = 0.7 * sigmoid_ramp(progress, method.config.ramp)
    cross = parts["cross_local"] + parts["cross_global"]
    expected = parts["supervised_local"] + parts["supervised_global"] + weight * cross
    assert parts["total"] == pytest.approx(expected, rel=1e-5)


def test_without_a_confident_teacher_only_labels_teach():
    method = make_method(mixing=0.0)
    with torch.no_grad():
        for head in (method.averaged.local_head, method.averaged.global_head):
            head.classify.weight.zero_()
            head.classify.bias.zero_()
    parts = {name: float(part.detach()) for name, part in method.losses(make_batch(method), 1.0).items()}
    assert parts["kept"] == parts["cross_local"] == parts["cross_global"] == 0.0
    assert parts["total"] == pytest.approx(parts["supervised_local"] + parts["supervised_global"])


@pytest.mark.parametrize(("dropout", "reached"), [(1.0, False), (0.0, True)])
def test_the_local_loss_reaches_the_global_network_through_kept_context_only(attached, dropout, reached):
    method = make_method(context_dropout=dropout)
    torch.nn.init.constant_(method.networks.context_gate.gate, 0.5)
    losses = method.losses(make_batch(method, 2, 0), 0.0)
    losses["supervised_local"].backward()
    assert touched(method.networks.global_body) == reached


def test_a_dropped_context_makes_the_local_loss_bitwise_independent_of_the_global_network():
    found = []
    for seed in (0, 1):
        method = make_method(context_dropout=1.0)
        torch.nn.init.constant_(method.networks.context_gate.gate, 0.5)
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in method.networks.global_body.parameters():
                parameter.add_(torch.randn(parameter.shape))
        found.append(method.losses(make_batch(method, 2, 0), 0.0))
    assert torch.equal(found[0]["supervised_local"], found[1]["supervised_local"])
    assert not torch.equal(found[0]["supervised_global"], found[1]["supervised_global"])


def test_the_context_of_each_sample_is_the_global_map_at_its_own_local_window():
    """A global map of coordinates: at each local voxel it must say where in the large window that lies."""
    method = make_method()
    shape = tuple(n // 2 for n in method.small)
    axes = [(np.arange(n) + 0.5) * field / n for n, field in zip(shape, method.large, strict=True)]
    places = torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32))
    features = torch.stack([places + 100 * sample for sample in range(4)])
    offsets = [(2, 4, 0), (0, 8, 8), (-3, 3, 5), (4, -4, 2)]
    context = method._context(features, offsets)
    strides = method.networks.context_stride
    for sample, offset in enumerate(offsets):
        for voxel in itertools.product(*(range(n) for n in context.shape[2:])):
            place = [o + (v + 0.5) * s for o, v, s in zip(offset, voxel, strides, strict=True)]
            inside = all(0 <= p <= n for p, n in zip(place, method.large, strict=True))
            clamped = [min(max(p, line[0]), line[-1]) for p, line in zip(place, axes, strict=True)]
            expected = [*(100 * sample + np.array(clamped)), 1.0] if inside else [0.0] * 4
            np.testing.assert_allclose(context[(sample, slice(None), *voxel)].numpy(), expected, atol=1e-3)


def test_the_context_follows_the_offset_of_every_sample_for_the_teachers_first_then_the_student(monkeypatch):
    method = make_method(mixing=1.0)
    seen = []
    original = cr_gloco.sample_context
    monkeypatch.setattr(
        cr_gloco,
        "sample_context",
        lambda f, field, box, size: (seen.append(box), original(f, field, box, size))[1],
    )
    batch = make_batch(method, 2, 2)
    method.losses(batch, 0.0)
    of_teachers = [view.offset for view in batch.unlabelled]
    offsets = [view.offset for view in (*batch.labelled, *batch.unlabelled)]
    assert [box.start for box in seen] == [*of_teachers, *offsets]
    assert {box.size for box in seen} == {method.small}
    assert len(set(offsets)) > 1


def test_the_overlap_loss_is_told_the_voxels_of_each_samples_own_overlap(monkeypatch):
    method = confident(make_method(mixing=1.0))
    told = []
    original = cr_gloco._overlap_loss
    monkeypatch.setattr(
        cr_gloco, "_overlap_loss", lambda z, y, n, h: (told.append(n), original(z, y, n, h))[1]
    )
    batch = make_batch(method, 2, 2, seed=3)
    rng = np.random.default_rng(0)
    batch = replace(batch, rng=np.random.default_rng(0))
    cr_gloco.draw_mix(2, 4, method.small, 1.0, rng)
    step, phase = cr_gloco.draw_lattice(method.networks, rng)
    method.losses(batch, 0.0)
    shared = [
        overlap(v.large, v.small).moved_to_frame_of(v.large) for v in (*batch.labelled, *batch.unlabelled)
    ]
    on_lattice = [
        sum(
            all((p - first) % every == 0 for p, first, every in zip(place, phase, step, strict=True))
            for place in itertools.product(*(range(a, b) for a, b in zip(box.start, box.stop, strict=True)))
        )
        for box in shared
    ]
    assert told == [[box.volume for box in shared], on_lattice]
    assert len(set(told[0])) > 1


def test_the_threshold_is_that_of_the_number_of_structures_unless_it_is_named():
    assert [cr_gloco.chosen_threshold(classes) for classes in (2, 3, 4, 14)] == [0.7, 0.7, 0.97, 0.97]
    assert make_method().threshold.share == 0.7
    assert make_method(threshold=0.9).threshold.share == 0.9


def test_unlabelled_scans_weigh_less_where_there_are_many_structures_unless_a_weight_is_named():
    assert [cr_gloco.chosen_weight(classes) for classes in (2, 3, 4, 14)] == [1.0, 1.0, 0.3, 0.3]
    assert make_method().unlabelled_weight == 1.0
    assert make_method(unlabelled_weight=0.0).unlabelled_weight == 0.0
    assert "weight up to 0.5," in " ".join(make_method(unlabelled_weight=0.5).deviations)


def test_what_a_branch_has_not_learnt_may_lie_in_the_background_that_it_is_taught(monkeypatch):
    method = confident(make_method(background="learnt", mixing=0.5))
    losses, told = [], []
    supervised, overlapping = cr_gloco.segmentation_loss, cr_gloco._overlap_loss

    def count_labels(logits, label):
        losses.append((logits.detach(), label))
        return supervised(logits, label)

    def count_hidden(logits, label, voxels, hidden):
        told.append((logits.detach(), hidden))
        return overlapping(logits, label, voxels, hidden)

    monkeypatch.setattr(cr_gloco, "segmentation_loss", count_labels)
    monkeypatch.setattr(cr_gloco, "_overlap_loss", count_hidden)
    recalls = np.zeros((2, 3))
    for seed in range(3):
        losses.clear(), told.clear()
        method.losses(make_batch(method, seed=seed), 0.5)
        for branch, (logits, label) in enumerate(losses):
            for c in range(3):
                values = logits.softmax(1)[:, c][label == c]
                if len(values):
                    recalls[branch, c] = 0.9 * recalls[branch, c] + 0.1 * float(values.mean())
        for (logits, hidden), (same_logits, _), recall in zip(told, losses, recalls, strict=True):
            assert torch.equal(logits, same_logits)
            np.testing.assert_allclose(hidden.numpy(), 1 - np.minimum(1, 2 * recall), rtol=1e-4)
    assert np.abs(recalls[0] - recalls[1]).max() > 1e-3  # each branch has its own
    kept = method.state_dict()
    np.testing.assert_allclose(kept["learnt.local.recall"].numpy(), recalls[0], rtol=1e-4)


def test_soft_labels_too_are_told_what_a_branch_has_not_learnt(monkeypatch):
    method = confident(with_soft_labels(background="learnt"))
    told = []
    original = cr_gloco._soft_losses
    monkeypatch.setattr(
        cr_gloco, "_soft_losses", lambda *words: (told.append(words[-1]), original(*words))[1]
    )
    plain = confident(with_soft_labels())
    found, other = (each.losses(make_batch(each), 0.5) for each in (method, plain))
    for branch, hidden in zip(("local", "global"), told[0], strict=True):
        torch.testing.assert_close(hidden, 1 - method.learnt[branch].share)
        assert float(found[f"cross_{branch}"]) < float(other[f"cross_{branch}"])
    assert told[1] == (None, None)


def test_background_speaks_against_all_structures_unless_it_is_asked_to_spare_some():
    assert not make_method().learnt
    asked = make_method(background="learnt")
    assert set(asked.learnt) == {"local", "global"}
    assert "speaks against what a branch has learnt alone" in " ".join(asked.deviations)
    assert not make_method(recipe="released", background="learnt").learnt


def test_the_progress_tells_the_threshold_of_every_class():
    method = confident(make_method())
    parts = method.losses(make_batch(method), 1.0)
    told = [float(parts[f"threshold_{number}"]) for number in range(3)]
    assert told == pytest.approx(method.threshold.thresholds.tolist())


def test_context_is_dropped_for_the_asked_share_of_samples_each_on_its_own():
    method = make_method(context_dropout=0.4)
    whole = method._context(torch.ones(200, 4, 6, 8, 8), [(2, 4, 0)] * 200)
    context = method._with_dropout(whole, [np.random.default_rng(seed) for seed in range(200)])
    assert context.shape == (200, 5, 6, 8, 8)
    given = context.flatten(1).any(1).float().mean()
    assert float(given) == pytest.approx(0.6, abs=0.1)


def test_the_gate_of_a_new_method_is_closed():
    method = make_method()
    assert float(method.networks.context_gate.gate.detach()) == 0.0
    assert not any("context" in name for name in make_method(context=False).state_dict())


def test_the_global_branch_has_the_say_that_the_option_gives_it():
    for weight in (0.25, 1.0):
        branches = make_method(global_weight=weight).branches()
        assert {branch.name: branch.weight for branch in branches} == {"local": 1.0, "global": weight}


def test_the_model_card_tells_of_mixing_where_it_is_on():
    assert not any("pasted" in sentence for sentence in make_method(mixing=0.0).deviations)
    assert any("pasted" in sentence for sentence in make_method(mixing=0.5).deviations)


def test_true_labels_and_labels_of_teachers_never_share_a_voxel_of_the_loss(monkeypatch):
    """Every voxel of a mixed target counts either as true or as made by a teacher, in both windows."""
    method = confident(make_method(mixing=1.0))
    seen = []
    whole_loss, overlap_loss = cr_gloco.segmentation_loss, cr_gloco._overlap_loss
    monkeypatch.setattr(
        cr_gloco, "segmentation_loss", lambda z, y: (seen.append(("true", y)), whole_loss(z, y))[1]
    )
    monkeypatch.setattr(
        cr_gloco, "_overlap_loss", lambda z, y, *n: (seen.append(("made", y)), overlap_loss(z, y, *n))[1]
    )
    for seed in range(4):
        method.losses(make_batch(method, 2, 2, seed), 0.0)
    true, made = ([y for kind, y in seen if kind == wanted] for wanted in ("true", "made"))
    for first, second in zip(true, made, strict=True):
        assert not ((first != IGNORE) & (second != IGNORE)).any()
    assert any(
        (target[2:] != IGNORE).any() for target in true
    )  # true labels were pasted into unlabelled scans
    assert any((target[:2] != IGNORE).any() for target in made)  # and the reverse


def test_the_share_of_mixed_scenes_falls_evenly_to_none(monkeypatch):
    shares = []
    original = cr_gloco.draw_mix
    monkeypatch.setattr(cr_gloco, "draw_mix", lambda *a: (shares.append(a[3]), original(*a))[1])
    method = make_method(mixing=0.8)
    for progress in (0.0, 0.25, 1.0):
        method.losses(make_batch(method), progress)
    assert shares == pytest.approx([0.8, 0.6, 0.0])


def test_mixing_is_off_where_its_share_is_zero(monkeypatch):
    mixes = []
    original = cr_gloco.mix_scenes
    monkeypatch.setattr(cr_gloco, "mix_scenes", lambda *a: (mixes.append(a[-1]), original(*a))[1])
    for share in (0.0, 1.0):
        method = make_method(mixing=share)
        method.losses(make_batch(method), 0.0)
    assert [len(found) for found in mixes] == [0, 4]


def test_scenes_are_mixed_where_there_are_few_structures_unless_a_share_is_named():
    assert [cr_gloco.chosen_mixing(classes) for classes in (2, 3, 4, 14)] == [1.0, 1.0, 0.0, 0.0]
    assert make_method().mixing == 1.0
    assert make_method(mixing=0.3).mixing == 0.3
    assert make_method(mixing=0.0).mixing == 0.0


def test_losses_are_the_same_for_the_same_batch_and_leave_the_networks_alone():
    method, twin = make_method(), make_method()
    before = {name: value.clone() for name, value in method.networks.state_dict().items()}
    first = method.losses(make_batch(method), 0.6)
    assert differing(before, dict(method.networks.state_dict())) == []
    second = twin.losses(make_batch(twin), 0.6)
    assert all(torch.equal(first[name], second[name]) for name in first)


# ---------------------------------------------------------------------------------- default, contrast


def same_batch(method):
    return make_batch(method, 2, 2, seed=3)


def test_the_contrast_is_off_by_default_and_where_it_is_on_networks_and_other_losses_stay_bitwise():
    plain, contrasting = make_method(), make_method(contrast_weight=0.1)
    assert not [name for name in plain.state_dict() if "projection" in name]
    extra = [name for name in contrasting.state_dict() if name.startswith("projections.")]
    assert len(contrasting.state_dict()) == len(plain.state_dict()) + len(extra) > len(plain.state_dict())
    kept = {name: contrasting.state_dict()[name] for name in plain.state_dict()}
    assert differing(dict(plain.state_dict()), kept) == []
    without, with_contrast = (method.losses(same_batch(method), 0.6) for method in (plain, contrasting))
    assert set(with_contrast) - set(without) == {"contrast"}
    assert all(torch.equal(without[name], with_contrast[name]) for name in set(without) - {"total"})


def test_the_contrast_enters_the_total_with_its_weight_and_the_ramp():
    method = make_method(contrast_weight=0.5, unlabelled_weight=0.0)
    for progress in (0.0, 0.1, 1.0):
        parts = method.losses(same_batch(method), progress)
        assert parts["contrast"] > 0
        added = parts["total"] - parts["supervised_local"] - parts["supervised_global"]
        expected = 0.5 * sigmoid_ramp(progress, method.config.ramp) * parts["contrast"]
        assert added.item() == pytest.approx(expected.item(), rel=1e-2, abs=1e-5)


def test_the_contrast_teaches_both_bodies_and_its_heads_but_neither_classifier(monkeypatch):
    monkeypatch.setattr(cr_gloco, "_with_total", lambda parts, _: {"total": parts["supervised_local"] * 0})
    method = make_method(contrast_weight=1.0, context_dropout=1.0)
    method.losses(same_batch(method), 1.0)["total"].backward()
    networks = method.networks
    assert touched(networks.local_body)
    assert touched(networks.global_body)
    assert all(touched(head) for head in method.projections.values())
    assert not touched(networks.local_head)
    assert not touched(networks.global_head)


def test_what_is_contrasted_is_the_truth_and_the_teachers_labels_on_the_overlap_alone(monkeypatch):
    method = confident(make_method(contrast_weight=1.0, mixing=0.0))
    seen = []
    original = cr_gloco.at_cells
    monkeypatch.setattr(
        cr_gloco, "at_cells", lambda label, shape: (seen.append((label, shape)), original(label, shape))[1]
    )
    batch = same_batch(method)
    method.losses(batch, 1.0)
    (small, small_cells), (large, large_cells) = seen
    crops = [view.cut() for view in batch.labelled]
    for index, crop in enumerate(crops):
        assert torch.equal(small[index], crop.small_label)
        assert torch.equal(large[index], crop.large_label)
    for index, view in enumerate(batch.unlabelled, start=2):
        shared = overlap(view.large, view.small)
        outside = torch.ones_like(large[index], dtype=torch.bool)
        outside[shared.moved_to_frame_of(view.large).slices()] = False
        assert (large[index][outside] == IGNORE).all()
        assert (large[index][~outside] != IGNORE).any()
    assert small_cells == method.networks.local_body(torch.zeros(1, 1, *method.small)).shape[2:]
    assert large_cells == small_cells


def test_the_contrast_compares_both_branches_of_a_scan_and_the_local_ones_of_different_scans(monkeypatch):
    told = []
    original = cr_gloco.inter_contrast
    monkeypatch.setattr(
        cr_gloco, "inter_contrast", lambda p, pairs, t: (told.append((p, pairs)), original(p, pairs, t))[1]
    )
    method = make_method(contrast_weight=1.0)
    method.losses(same_batch(method), 1.0)
    ((parts, pairs),) = told
    assert len(parts.means) == 8
    assert set(pairs) == {(0, 4), (1, 5), (2, 6), (3, 7), (0, 2), (1, 3), (2, 3), (0, 1)}
    assert not parts.present[:, 0].any()  # two structures: background is not contrasted


def test_the_heads_of_the_contrast_are_trained_and_not_deployed():
    method = make_method(contrast_weight=1.0)
    trained = {id(p) for group in method.parameter_groups() for p in group["params"]}
    assert {id(p) for p in method.projections.parameters()} <= trained
    assert not any("projection" in name for name in method.weights_to_keep())
    assert any("Contrast of voxels" in sentence for sentence in method.deviations)
    assert not any("Contrast of voxels" in sentence for sentence in make_method().deviations)
    assert make_method("cr_gloco", "released", contrast_weight=1.0).projections is None
