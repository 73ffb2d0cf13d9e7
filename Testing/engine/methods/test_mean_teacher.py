"""The mean teacher: only agreement is added to the supervised control."""

import math

import pytest
import torch

from crgloco.methods.mean_teacher import squared_difference
from tiny_training import make_batch, make_method


def test_the_difference_equals_a_loop_over_voxels_and_classes():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 2, 2, 3), torch.randn(2, 3, 2, 2, 3)
    total = 0.0
    for b in range(2):
        for k, j, i in torch.cartesian_prod(torch.arange(2), torch.arange(2), torch.arange(3)).tolist():
            ours, theirs = student[b, :, k, j, i].exp(), teacher[b, :, k, j, i].exp()
            total += float(((ours / ours.sum() - theirs / theirs.sum()) ** 2).sum())
    assert math.isclose(squared_difference(student, teacher).item(), total / student.numel(), rel_tol=1e-5)


def test_equal_answers_cost_nothing_and_the_teacher_gets_no_gradient():
    student = torch.randn(1, 2, 3, 3, 3, requires_grad=True)
    teacher = torch.randn(1, 2, 3, 3, 3, requires_grad=True)
    assert squared_difference(student, student).item() == 0
    squared_difference(student, teacher).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_the_weight_of_agreement_grows_along_the_ramp_to_its_full_value():
    method = make_method("mean_teacher", consistency=2.0)
    batch = make_batch(method)

    def added(progress: float) -> float:
        torch.manual_seed(0)
        parts = method.losses(batch, progress)
        supervised = parts["supervised_local"] + parts["supervised_global"]
        agreement = parts["consistency_local"] + parts["consistency_global"]
        return float((parts["total"].detach() - supervised) / agreement)

    assert added(0.0) == pytest.approx(2 * math.exp(-5), rel=1e-2)
    assert added(0.5) == pytest.approx(2 * math.exp(-1.25), rel=1e-2)
    assert added(1.0) == pytest.approx(2.0, rel=1e-2)


def test_without_agreement_it_is_the_supervised_control():
    """Same seed, same labelled samples: the supervised parts and the gradients are those of the control."""
    control, method = make_method("supervised"), make_method("mean_teacher", consistency=0.0)
    for name, value in control.networks.state_dict().items():
        assert torch.equal(value, method.networks.state_dict()[name])
    parts = {}
    for each in (control, method):
        parts[each] = each.losses(make_batch(each, labelled=2, unlabelled=0), 0.5)
        parts[each]["total"].backward()
    assert parts[control]["supervised_local"].item() == pytest.approx(
        parts[method]["supervised_local"].item()
    )
    first, second = (list(each.networks.parameters()) for each in (control, method))
    for ours, theirs in zip(first, second, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
