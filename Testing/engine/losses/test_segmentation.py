"""Cross-entropy and Dice against loops over voxels, against MONAI, and where nothing is known."""

import itertools
import math

import pytest
import torch
from monai.losses import DiceLoss
from torch.nn import functional

from crgloco.data.patches import IGNORE
from crgloco.losses.segmentation import (
    batch_cross_entropy,
    dice_loss,
    masked_cross_entropy,
    segmentation_loss,
    soft_cross_entropy,
)

CLASSES = 3
SIZES = [(6, 8, 8), (10, 12, 12)]


def draw(size=(3, 4, 5), batch=2, *, ignored=0.3, classes=CLASSES):
    logits = 2 * torch.randn(batch, classes, *size)
    target = torch.randint(0, classes, (batch, *size), dtype=torch.uint8)
    target[torch.rand(batch, *size) < ignored] = IGNORE
    return logits, target


def naive_probabilities(logits: torch.Tensor, sample: int, voxel: tuple[int, ...]) -> list[float]:
    values = [float(logits[(sample, c, *voxel)]) for c in range(logits.shape[1])]
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def kept_voxels(target: torch.Tensor, sample: int):
    for voxel in itertools.product(*(range(n) for n in target.shape[1:])):
        if int(target[(sample, *voxel)]) != IGNORE:
            yield voxel, int(target[(sample, *voxel)])


def naive_entropies(logits, target):
    """Per sample: the cross-entropy of each kept voxel."""
    return [
        [-math.log(naive_probabilities(logits, b, voxel)[y]) for voxel, y in kept_voxels(target, b)]
        for b in range(len(logits))
    ]


def naive_dice(logits, target, *, over_batch=False, present_only=False) -> float:
    """``1 - (2 sum p y + e) / (sum p^2 + sum y^2 + e)`` by loops over samples, voxels and classes."""
    classes = logits.shape[1]
    groups = [range(len(logits))] if over_batch else [[b] for b in range(len(logits))]
    group_losses = []
    for group in groups:
        shared, squares, voxels = ([0.0] * classes for _ in range(3))
        for b in group:
            for voxel, y in kept_voxels(target, b):
                p = naive_probabilities(logits, b, voxel)
                shared[y] += p[y]
                voxels[y] += 1
                for c in range(classes):
                    squares[c] += p[c] ** 2
        losses = [
            1 - (2 * a + 1e-5) / (s + v + 1e-5) for a, s, v in zip(shared, squares, voxels, strict=True)
        ]
        if present_only:
            losses = [loss for loss, v in zip(losses, voxels, strict=True) if v]
        if losses:  # who has nothing to say does not count
            group_losses.append(sum(losses) / len(losses))
    return sum(group_losses) / max(len(group_losses), 1)


@pytest.mark.parametrize("silent", [(), (1,), (0, 2)])
@pytest.mark.parametrize("size", SIZES)
def test_cross_entropy_equals_a_loop_over_kept_voxels(size, silent):
    logits, target = draw(size, batch=3)
    target[list(silent)] = IGNORE
    rows = [row for row in naive_entropies(logits, target) if row]
    assert len(rows) == 3 - len(silent)
    per_sample = sum(sum(row) / len(row) for row in rows) / len(rows)
    over_batch = sum(map(sum, rows)) / sum(map(len, rows))
    assert float(masked_cross_entropy(logits, target)) == pytest.approx(per_sample, rel=1e-5)
    assert float(batch_cross_entropy(logits, target)) == pytest.approx(over_batch, rel=1e-5)


@pytest.mark.parametrize("silent", [(), (1,), (0, 2)])
@pytest.mark.parametrize("size", SIZES)
def test_cross_entropy_over_given_voxels_divides_each_sample_by_its_own_number(size, silent):
    logits, target = draw(size, batch=3)
    target[list(silent)] = IGNORE
    voxels = [700.0, 90.0, 1.0]
    rows = naive_entropies(logits, target)
    expected = sum(sum(row) / n for row, n in zip(rows, voxels, strict=True)) / (3 - len(silent))
    found = masked_cross_entropy(logits, target, voxels=torch.tensor(voxels))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_given_voxels_never_divide_by_less_than_one():
    logits, target = draw()
    nothing, one = (masked_cross_entropy(logits, target, voxels=torch.full((2,), n)) for n in (0.0, 1.0))
    assert torch.equal(nothing, one)


def test_the_number_of_kept_voxels_as_given_voxels_is_the_plain_loss():
    logits, target = draw()
    kept = (target != IGNORE).flatten(1).sum(1).float()
    torch.testing.assert_close(
        masked_cross_entropy(logits, target, voxels=kept), masked_cross_entropy(logits, target)
    )


def test_what_background_may_hide_counts_as_background_there_and_nowhere_else():
    logits, target = draw(batch=2)
    hidden = [0.4, 0.25, 1.0]  # the background is background, whatever is said of it
    rows = []
    for b in range(2):
        row = []
        for voxel, y in kept_voxels(target, b):
            p = naive_probabilities(logits, b, voxel)
            row.append(-math.log(p[0] + 0.25 * p[1] + p[2] if y == 0 else p[y]))
        rows.append(sum(row) / len(row))
    found = masked_cross_entropy(logits, target, hidden=torch.tensor(hidden))
    assert float(found) == pytest.approx(sum(rows) / 2, rel=1e-5)
    plain = masked_cross_entropy(logits, target)
    torch.testing.assert_close(masked_cross_entropy(logits, target, hidden=torch.zeros(3)), plain)


def test_of_soft_labels_too_what_background_may_hide_counts_as_background():
    logits = 2 * torch.randn(2, 3, 2, 3, 4)
    label = torch.randint(0, 3, (2, 2, 3, 4), dtype=torch.uint8)
    sure, hidden = functional.one_hot(label.long(), 3).movedim(-1, 1), torch.tensor([0.4, 0.25, 1.0])
    torch.testing.assert_close(
        soft_cross_entropy(logits, sure, hidden=hidden), masked_cross_entropy(logits, label, hidden=hidden)
    )


def test_background_does_not_push_away_what_it_may_hide():
    logits = torch.randn(1, 3, 2, 3, 4, requires_grad=True)
    target = torch.zeros(1, 2, 3, 4, dtype=torch.uint8)
    masked_cross_entropy(logits, target, hidden=torch.tensor([0.0, 0.0, 1.0])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[:, 1] > 0).all()
    assert (logits.grad[:, 2] < 0).all()  # drawn along with the background, from what is neither
    ratio = logits.grad[:, 2] / logits.grad[:, 0]
    torch.testing.assert_close(ratio, (logits[:, 2] - logits[:, 0]).exp().detach())


def test_soft_cross_entropy_is_the_plain_one_for_sure_labels_and_weighs_all_of_unsure_ones():
    logits = 2 * torch.randn(2, 3, 2, 3, 4)
    label = torch.randint(0, 3, (2, 2, 3, 4), dtype=torch.uint8)
    sure = functional.one_hot(label.long(), 3).movedim(-1, 1)
    plain = masked_cross_entropy(logits, label)
    torch.testing.assert_close(soft_cross_entropy(logits, sure), plain)
    others = torch.stack([masked_cross_entropy(logits, (label + n) % 3) for n in range(3)])
    mixed = 0.5 * sure + 0.3 * sure.roll(1, 1) + 0.2 * sure.roll(2, 1)
    torch.testing.assert_close(
        soft_cross_entropy(logits, mixed), (torch.tensor([0.5, 0.3, 0.2]) * others).sum()
    )


def test_soft_cross_entropy_teaches_the_student_alone_and_is_zero_without_voxels():
    logits, aim = (
        torch.randn(1, 3, 2, 2, 2, requires_grad=True),
        torch.rand(1, 3, 2, 2, 2, requires_grad=True),
    )
    soft_cross_entropy(logits, aim).backward()
    assert logits.grad is not None
    assert aim.grad is None
    assert soft_cross_entropy(logits[:, :, :0], aim[:, :, :0]) == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("over_batch", [False, True])
@pytest.mark.parametrize("present_only", [False, True])
@pytest.mark.parametrize("silent", [(), (1,)])
def test_dice_equals_a_loop_over_kept_voxels(size, over_batch, present_only, silent):
    logits, target = draw(size)
    target[0][target[0] == 1] = 2  # one class is absent from one sample
    target[list(silent)] = IGNORE
    found = dice_loss(logits, target, over_batch=over_batch, present_only=present_only)
    expected = naive_dice(logits, target, over_batch=over_batch, present_only=present_only)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_dice_over_the_batch_equals_monai_with_squares():
    logits, target = draw(ignored=0.0)
    monai = DiceLoss(
        softmax=True, to_onehot_y=True, squared_pred=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5
    )
    expected = monai(logits, target[:, None].long())
    torch.testing.assert_close(dice_loss(logits, target, over_batch=True), expected, rtol=1e-5, atol=1e-6)


def test_dice_per_sample_equals_monai_with_squares():
    logits, target = draw(ignored=0.0, batch=3)
    monai = DiceLoss(softmax=True, to_onehot_y=True, squared_pred=True, smooth_nr=1e-5, smooth_dr=1e-5)
    expected = monai(logits, target[:, None].long())
    torch.testing.assert_close(dice_loss(logits, target), expected, rtol=1e-5, atol=1e-6)


def test_the_released_loss_is_half_of_both_parts():
    logits, target = draw()
    dice = dice_loss(logits, target, over_batch=True)
    expected = 0.5 * (masked_cross_entropy(logits, target) + dice)
    assert torch.equal(segmentation_loss(logits, target, over_batch=True), expected)


@pytest.mark.parametrize(("structures", "weight"), [(1, 1 / 2), (2, 1 / 2), (3, 3 / 4), (13, 13 / 14)])
def test_of_many_structures_the_supervised_loss_counts_structures_more_than_voxels(structures, weight):
    generator = torch.Generator().manual_seed(structures)
    logits = torch.randn(2, structures + 1, 3, 4, 5, generator=generator)
    target = torch.randint(0, structures + 1, (2, 3, 4, 5), generator=generator, dtype=torch.uint8)
    target[0][target[0] == 1] = 0  # one class is absent from one sample
    entropies, dices = [], []
    for own, truth in zip(logits, target.long(), strict=True):
        p = own.softmax(0)
        entropies.append(-p.gather(0, truth[None]).log().mean())
        pairs = [(p[c], (truth == c).float()) for c in truth.unique().tolist()]
        dices.append(
            torch.stack([1 - 2 * (q * t).sum() / (q.square().sum() + t.sum()) for q, t in pairs]).mean()
        )
    assert not torch.equal(dice_loss(logits, target), dice_loss(logits, target, present_only=True))
    expected = weight * sum(dices) / 2 + (1 - weight) * sum(entropies) / 2
    torch.testing.assert_close(segmentation_loss(logits, target), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("absent", [1, 12])
def test_organs_that_a_window_does_not_hold_leave_its_dice_as_it_is(absent):
    logits, target = draw()
    unseen = torch.full((2, absent, 3, 4, 5), -100.0)
    more = torch.cat([logits, unseen], 1)
    torch.testing.assert_close(dice_of_present(more, target), dice_of_present(logits, target))


@pytest.mark.parametrize("name", ["masked", "over given voxels", "dice of present classes", "supervised"])
def test_samples_of_which_nothing_is_known_do_not_thin_out_the_loss_of_the_others(name):
    logits, target = draw()
    more = torch.cat([logits, torch.randn_like(logits)])
    unknown = torch.cat([target, torch.full_like(target, IGNORE)])
    torch.testing.assert_close(LOSSES[name](more, unknown), LOSSES[name](logits, target))


def over_given_voxels(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return masked_cross_entropy(logits, target, voxels=torch.full((len(target),), 50.0))


def dice_of_present(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return dice_loss(logits, target, present_only=True)


LOSSES = {
    "masked": masked_cross_entropy,
    "over given voxels": over_given_voxels,
    "batch": batch_cross_entropy,
    "dice": dice_loss,
    "dice over batch": lambda z, y: dice_loss(z, y, over_batch=True),
    "dice of present classes": dice_of_present,
    "supervised": segmentation_loss,
}


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_kept_gives_zero_and_gradients_of_zero(name):
    logits = torch.randn(2, CLASSES, 2, 3, 4, requires_grad=True)
    target = torch.full((2, 2, 3, 4), IGNORE, dtype=torch.uint8)
    loss = LOSSES[name](logits, target)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_voxels_carry_no_gradient_and_do_not_count(name):
    logits, target = draw()
    logits.requires_grad_()
    LOSSES[name](logits, target).backward()
    ignored = (target == IGNORE)[:, None].expand_as(logits)
    assert not logits.grad[ignored].any()
    assert logits.grad[~ignored].abs().min() > 0
    changed = logits.detach().clone()
    changed[ignored] = 100 * torch.randn(int(ignored.sum()))
    torch.testing.assert_close(LOSSES[name](changed, target), LOSSES[name](logits.detach(), target))


def test_one_kept_voxel_counts_as_the_plain_mean_of_one():
    logits, _ = draw()
    target = torch.full((2, 3, 4, 5), IGNORE, dtype=torch.uint8)
    target[1, 2, 0, 3] = 1
    expected = torch.nn.functional.cross_entropy(logits[1, :, 2, 0, 3][None], torch.tensor([1]))
    torch.testing.assert_close(batch_cross_entropy(logits, target), expected)
    # The other sample keeps nothing and does not count.
    torch.testing.assert_close(masked_cross_entropy(logits, target), expected)
    over_window = masked_cross_entropy(logits, target, voxels=torch.tensor([60.0, 60.0]))
    torch.testing.assert_close(over_window, expected / 60)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_compute_in_float32_whatever_they_are_given(name):
    logits, target = draw()
    exact = LOSSES[name](logits.bfloat16().float(), target)
    with torch.autocast("cpu", torch.bfloat16):
        found = LOSSES[name](logits.bfloat16(), target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_stay_finite_for_huge_logits(name):
    logits, target = draw()
    huge = (logits * 1e4).requires_grad_()
    loss = LOSSES[name](huge, target)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(huge.grad).all()


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_everything():
    _, target = draw(ignored=0.0)
    one_hot = torch.nn.functional.one_hot(target.long(), CLASSES).movedim(-1, 1).float()
    assert float(segmentation_loss(100 * one_hot, target)) == pytest.approx(0.0, abs=1e-5)
    assert float(dice_loss(100 * one_hot.roll(1, 1), target)) == pytest.approx(1.0, abs=1e-4)


def test_a_class_without_any_voxel_costs_dice_only_where_it_is_predicted():
    logits, target = draw(ignored=0.0, batch=1)
    target[target == 2] = 1
    with_absent, present = dice_loss(logits, target), dice_loss(logits, target, present_only=True)
    assert float(with_absent) > float(present)
    logits[:, 2] = -100
    assert float(dice_loss(logits, target)) < float(with_absent)
