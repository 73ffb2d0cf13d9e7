"""VerSemi: prompts, mixed scans, and the agreement of all tasks with the synthetic one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from crgloco.errors import OptionError
from crgloco.methods.base import Task
from crgloco.methods.versemi import binary_loss, draw_cubes, draw_tasks, shows, soft_dice
from crgloco.options import from_mapping
from crgloco.training.fine_tune import assert_enough_at_once
from tiny_training import TINY, make_batch, make_method, make_trainer

SIZE = (12, 16, 16)


def test_a_table_with_one_structure_is_refused_in_words():
    like = type(make_method("versemi"))
    with pytest.raises(OptionError, match="needs at least two; the label table has one"):
        like(from_mapping(like.Config, TINY), Task(1, 2, (1.0, 1.0, 1.0), ((20, 24, 28),)))


def test_dice_equals_loops_and_equal_soft_maps_cost_nothing():
    torch.manual_seed(0)
    p, t = torch.rand(2, 2, 3, 3), torch.rand(2, 2, 3, 3)
    shared = sum(float(a * b) for a, b in zip(p.flatten(), t.flatten(), strict=True))
    squares = sum(float(a * a + b * b) for a, b in zip(p.flatten(), t.flatten(), strict=True))
    assert soft_dice(p, t).item() == pytest.approx(1 - 2 * shared / squares, abs=1e-5)
    assert soft_dice(p, p).item() == pytest.approx(0, abs=1e-5)
    assert soft_dice(torch.zeros_like(p), torch.zeros_like(p)).item() == pytest.approx(0)


def test_the_binary_loss_is_dice_of_the_structure_plus_cross_entropy():
    logits, target = torch.zeros(1, 2, 2, 2, 2), torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    target[0, 0, 0, 0] = True
    expected = 1 - 2 * 0.5 / (8 * 0.25 + 1) + np.log(2)
    assert binary_loss(logits, target).item() == pytest.approx(expected, abs=1e-4)


def test_blocks_have_the_asked_size_and_lie_inside():
    rng = np.random.default_rng(0)
    for mask in draw_cubes(20, SIZE, rng, second=False):
        assert int(mask.sum()) == 8 * 11 * 11
    volumes = {int(mask.sum()) for mask in draw_cubes(20, SIZE, rng, second=True)}
    assert len(volumes) > 3
    assert max(volumes) <= 7 * 10 * 10
    assert min(volumes) >= 4 * 5 * 5


def test_tasks_are_drawn_among_what_a_window_holds():
    labels = torch.zeros(3, *SIZE, dtype=torch.uint8)
    labels[0, 0, 0, 0] = 2
    labels[1, 0, 0, :2] = torch.tensor([1, 255])
    draws = torch.stack([draw_tasks(labels, 3, np.random.default_rng(seed)) for seed in range(20)])
    assert set(draws[:, 0].tolist()) == {1}
    assert set(draws[:, 1].tolist()) == {0}
    assert set(draws[:, 2].tolist()) == {0, 1}


def test_in_the_first_stage_unlabelled_scans_change_nothing():
    method = make_method("versemi")
    batch = make_batch(method, 4, 2)
    for progress, agrees in ((0.0, False), (0.49, False), (0.5, True), (1.0, True)):
        parts = method.losses(type(batch)(batch.labelled, batch.unlabelled, batch.device, fresh()), progress)
        assert (parts["consistency"].item() > 0) == agrees


def fresh() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_mixed_label_is_made_by_the_same_block_as_the_mixed_image(monkeypatch):
    """The network is replaced by one that answers the label it finds in the image, whatever was mixed."""
    method = make_method("versemi")
    batch = make_batch(method, 4, 0)
    windows = method._windows(batch, batch.labelled)
    coded = type(windows)(windows.labels[:, None].float(), windows.labels, windows.known)

    def answer(images, prompts):
        found = []
        for prompt in prompts:
            task = prompt[:, None, None, None]
            inside = torch.where(task == method.synthetic, images[:, 0] > 0, images[:, 0] == task + 1)
            found.append(torch.stack([~inside, inside], 1).float() * 200)
        return found

    monkeypatch.setattr(method.networks, "answer", answer)
    tasks = draw_tasks(windows.labels, 3, fresh())
    for second in (False, True):
        parts = method._mixed_losses(coded, tasks, fresh(), second=second)
        assert parts["supervised_synthetic"].item() == pytest.approx(0, abs=1e-4)
        assert parts["supervised_auxiliary"].item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("detached", [True, False])
def test_the_aggregate_is_a_target_only_where_it_is_detached(detached):
    method = make_method("versemi", detach_aggregate=detached)
    batch = make_batch(method, 2, 2)
    seen = {}

    def answer(images, prompts):
        seen["logits"] = [torch.randn(len(images), 2, *SIZE, requires_grad=True) for _ in prompts]
        return seen["logits"]

    method.networks.answer = answer
    loss = method._consistency(batch)
    loss.backward()
    *single, every = [logits.softmax(1)[:, 1] for logits in seen["logits"]]
    assert loss.item() == pytest.approx(soft_dice(every, torch.maximum(*single)).item(), rel=1e-5)
    assert seen["logits"][-1].grad is not None
    assert all((logits.grad is None) == detached for logits in seen["logits"][:-1])


def test_the_order_of_unlabelled_scans_is_all_that_is_used_of_them():
    """No task belongs to an unlabelled window: with its label gone already, nothing else could tell one."""
    method = make_method("versemi")
    batch = make_batch(method, 2, 2)
    assert all((view.label == 255).all() for view in batch.unlabelled)


def test_after_some_updates_the_prompts_answer_with_different_shapes():
    method = make_method("versemi", width=8, stage=1.0)
    make_trainer(method, iterations=150, learning_rate=0.005).fit()
    batch = make_batch(method, 4, 0, seed=90)
    windows = method._windows(batch, batch.labelled)
    with torch.no_grad():
        answers = method.averaged.answer(
            windows.images, [torch.full((4,), task, dtype=torch.long) for task in (0, 1)]
        )
    first, second = (logits.softmax(1)[:, 1] for logits in answers)
    own = [soft_dice(first, windows.labels == 1), soft_dice(second, windows.labels == 2)]
    foreign = [soft_dice(first, windows.labels == 2), soft_dice(second, windows.labels == 1)]
    assert sum(own) < sum(foreign) - 0.1


def test_a_single_unlabelled_window_is_asked_unmixed_instead_of_not_at_all():
    """As where two processes share two of them."""
    method = make_method("versemi")
    batch = make_batch(method, 4, 1)
    assert method.losses(batch, 1.0)["consistency"].item() > 0
    assert method.losses(make_batch(method, 4, 0), 1.0)["consistency"].item() == 0


def test_one_labelled_window_has_no_other_to_be_mixed_with_and_is_refused():
    with pytest.raises(OptionError, match="labelled_batch"):
        make_method("versemi", labelled_batch=1)


def test_a_process_of_a_team_that_has_a_single_labelled_window_is_refused_too():
    with pytest.raises(OptionError, match="labelled_batch to at least 8 for 4"):
        assert_enough_at_once(make_method("versemi"), 4, 4)
    assert_enough_at_once(make_method("versemi"), 4, 2)
    assert_enough_at_once(make_method("supervised"), 2, 2)
    assert_enough_at_once(make_method("pgl"), 0, 1)


# ------------------------------------------------------------------------------------- partial labels


def partly_known(method, known, seed=0):
    """A batch whose labels show, and hold, only some structures."""
    batch = make_batch(method, len(known), 2, seed)
    views = []
    for view, part in zip(batch.labelled, known, strict=True):
        shown = torch.isin(view.label, torch.tensor([0, 255, *(part or (1, 2))], dtype=torch.uint8))
        views.append(replace(view, label=torch.where(shown, view.label, 0), known=part))
    return replace(batch, labelled=views, rng=fresh())


def test_a_structure_that_a_label_does_not_show_is_never_asked_of_it():
    labels = torch.zeros(4, *SIZE, dtype=torch.uint8)
    labels[0, 0, 0, 0] = 1
    known = ((1, 3), (2,), (1, 3), None)
    draws = [draw_tasks(labels, 4, np.random.default_rng(seed), known) for seed in range(30)]
    asked = [set(column) for column in torch.stack(draws).T.tolist()]
    assert asked == [{0}, {1}, {0, 2}, {0, 1, 2}]
    everywhere = shows(known, torch.tensor([2, 2, 0, 1]))
    assert everywhere.flatten().tolist() == [True, False, True, True]


def test_that_all_structures_are_shown_changes_no_loss_and_no_gradient_bitwise():
    method, found = make_method("versemi"), []
    for known in (None, (1, 2)):
        batch = partly_known(method, [known] * 4)
        method.zero_grad()
        parts = method.losses(batch, 1.0)
        parts["total"].backward()
        found.append([*parts.values(), *(p.grad.clone() for p in method.networks.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(("shown", "other"), [(0, 1), (1, 0)])
def test_cases_labelled_for_one_task_give_no_gradient_to_the_prompt_of_another(shown, other):
    method = make_method("versemi")
    parts = method.losses(partly_known(method, [(shown + 1,)] * 4), 0.0)
    parts["total"].backward()
    prompts = method.networks.local_head.control.weight.grad[:, -3:]  # one column for each prompt
    assert not prompts[:, other].any()
    assert prompts[:, shown].any()
    assert prompts[:, method.synthetic].any()


def test_auxiliary_targets_of_partly_known_scans_equal_loops_over_voxels_of_known_truth(monkeypatch):
    """Four windows, two mixes: (1) in (2), which know nothing of each other, and (1) in what knows both."""
    method = make_method("versemi")
    known = ((1,), (1,), (2,), None)
    windows = method._windows(batch := partly_known(method, known), batch.labelled)
    tasks = torch.tensor([0, 0, 1, 1])
    torch.manual_seed(0)
    given = [torch.randn(2, 2, *SIZE, requires_grad=True) for _ in range(3)]
    monkeypatch.setattr(method.networks, "answer", lambda _images, _prompts: given)
    parts = method._mixed_losses(windows, tasks, fresh(), second=False)
    masks, expected, unknown = draw_cubes(2, method.window, fresh(), second=False), [], 0
    for answer, asked in zip(given[1:], (tasks[:2], tasks[2:]), strict=True):
        p, shared, squares = answer.softmax(1)[:, 1].tolist(), 0.0, 0.0
        for pair, k, j, i in np.ndindex(2, *SIZE):
            source = pair if masks[pair, k, j, i] else pair + 2
            label, number = int(windows.labels[source, k, j, i]), int(asked[pair]) + 1
            if known[source] is not None and number not in known[source] and label == 0:
                unknown += 1  # the structure may be here, and nobody drew it
                continue
            true = label == number
            shared += p[pair][k][j][i] * true
            squares += p[pair][k][j][i] ** 2 + true
        expected.append(1 - 2 * shared / squares)
    assert unknown > 1000
    assert parts["supervised_auxiliary"].item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_voxels_of_unknown_truth_carry_no_gradient_and_a_foreign_structure_does(monkeypatch):
    method = make_method("versemi")
    windows = method._windows(batch := partly_known(method, [(1,), (2,)]), batch.labelled)
    given = [torch.randn(1, 2, *SIZE, requires_grad=True) for _ in range(3)]
    monkeypatch.setattr(method.networks, "answer", lambda _images, _prompts: given)
    (mask,) = draw_cubes(1, method.window, fresh(), second=False)
    method._mixed_losses(windows, torch.tensor([0, 1]), fresh(), second=False)
    loss = method._mixed_losses(windows, torch.tensor([0, 1]), fresh(), second=False)["supervised_auxiliary"]
    loss.backward()
    for answer, own, foreign in ((given[1], mask, windows.labels[1]), (given[2], ~mask, windows.labels[0])):
        moved = answer.grad[0].abs().sum(0) > 0
        assert not moved[~own & (foreign == 0)].any()
        assert moved[~own & (foreign > 0)].all()


def test_the_synthetic_label_of_single_structure_scans_is_the_union_of_both_tasks(monkeypatch):
    method = make_method("versemi")
    windows = method._windows(batch := partly_known(method, [(1,), (2,)]), batch.labelled)
    given = [torch.randn(1, 2, *SIZE) for _ in range(3)]
    monkeypatch.setattr(method.networks, "answer", lambda _images, _prompts: given)
    (mask,) = draw_cubes(1, method.window, fresh(), second=False)
    parts = method._mixed_losses(windows, torch.tensor([0, 1]), fresh(), second=False)
    union = ((windows.labels[0] == 1) & mask) | ((windows.labels[1] == 2) & ~mask)
    expected = soft_dice(given[0].softmax(1)[:, 1], union[None])
    assert parts["supervised_synthetic"].item() == pytest.approx(expected.item(), rel=1e-6)
