"""VerSemi: prompts, mixed scans, and the agreement of all tasks with the synthetic one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from crgloco.errors import OptionError
from crgloco.methods.base import Task
from crgloco.methods.versemi import (
    draw_cubes,
    shown_structures,
    soft_dice,
    structure_loss,
    structures_dice,
)
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


def known_somewhere():
    """Labels of two windows, with an unknown voxel, and where the truth of three structures counts."""
    labels = torch.zeros(2, 2, 3, 3, dtype=torch.uint8)
    labels[0, 0, 0] = torch.tensor([1, 255, 2])
    counted = torch.ones(2, 3, 2, 3, 3, dtype=torch.bool)
    counted[1, 0] = counted[:, 1, 1] = False
    return labels, counted


def test_dice_of_structures_is_the_mean_of_loops_over_those_that_occur_where_they_count():
    torch.manual_seed(0)
    labels, counted = known_somewhere()
    p, expected = torch.rand(2, 3, 2, 3, 3), []
    for structure in (0, 1):  # nowhere is the third
        shared = squares = 0.0
        for b, k, j, i in np.ndindex(2, 2, 3, 3):
            if counted[b, structure, k, j, i] and labels[b, k, j, i] != 255:
                value, true = float(p[b, structure, k, j, i]), int(labels[b, k, j, i] == structure + 1)
                shared, squares = shared + value * true, squares + value**2 + true
        expected.append(1 - 2 * shared / squares)
    assert structures_dice(p, labels, counted).item() == pytest.approx(np.mean(expected), abs=1e-5)
    assert structures_dice(p, torch.zeros_like(labels), counted).item() == 0


def test_the_loss_of_structures_is_dice_plus_the_binary_cross_entropy_of_loops():
    torch.manual_seed(0)
    labels, counted = known_somewhere()
    counted[:, 2] = False  # no label shows the third
    gain, entropies = torch.randn(2, 3, 2, 3, 3), []
    for structure in (0, 1):
        found = []
        for b, k, j, i in np.ndindex(2, 2, 3, 3):
            if counted[b, structure, k, j, i] and labels[b, k, j, i] != 255:
                sign = 1 if labels[b, k, j, i] == structure + 1 else -1
                found.append(np.log1p(np.exp(-sign * float(gain[b, structure, k, j, i]))))
        entropies.append(np.mean(found))
    dice = structures_dice(gain.sigmoid(), labels, counted).item()
    assert structure_loss(gain, labels, counted).item() == pytest.approx(dice + np.mean(entropies), abs=1e-5)


def test_a_structure_that_a_window_does_not_hold_is_asked_too_and_denied():
    labels = torch.ones(1, *SIZE, dtype=torch.uint8)
    gain = torch.zeros(1, 2, *SIZE, requires_grad=True)
    structure_loss(gain, labels, torch.ones(1, 2, 1, 1, 1, dtype=torch.bool)).backward()
    assert (gain.grad[0, 0] < 0).all()
    assert (gain.grad[0, 1] > 0).all()


def test_blocks_have_the_asked_size_and_lie_inside():
    rng = np.random.default_rng(0)
    for mask in draw_cubes(20, SIZE, rng, second=False):
        assert int(mask.sum()) == 8 * 11 * 11
    volumes = {int(mask.sum()) for mask in draw_cubes(20, SIZE, rng, second=True)}
    assert len(volumes) > 3
    assert max(volumes) <= 7 * 10 * 10
    assert min(volumes) >= 4 * 5 * 5


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
        tasks = prompts[..., None, None, None]
        inside = torch.where(tasks == method.synthetic, images > 0, images == tasks + 1)
        return 200 * (inside.float() - 0.5)

    monkeypatch.setattr(method.networks, "answer", answer)
    shown = shown_structures(windows.known, 2, batch.device)
    for second in (False, True):
        parts = method._mixed_losses(coded, shown, fresh(), second=second)
        assert parts["supervised_synthetic"].item() == pytest.approx(0, abs=1e-4)
        assert parts["supervised_auxiliary"].item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("detached", [True, False])
def test_the_aggregate_is_a_target_only_where_it_is_detached(detached):
    method = make_method("versemi", detach_aggregate=detached)
    batch = make_batch(method, 2, 2)
    seen = {}

    def answer(images, prompts):
        seen["gain"] = torch.randn(*prompts.shape, *SIZE, requires_grad=True)
        return seen["gain"]

    method.networks.answer = answer
    loss = method._consistency(batch)
    loss.backward()
    *single, every = seen["gain"].sigmoid().unbind(1)
    assert loss.item() == pytest.approx(soft_dice(every, torch.maximum(*single)).item(), rel=1e-5)
    *moved, moved_every = seen["gain"].grad.unbind(1)
    assert moved_every.any()
    assert all(gradient.any() != detached for gradient in moved)


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
        answers = method.averaged.answer(windows.images, torch.tensor([[0, 1]] * 4))
    first, second = answers.sigmoid().unbind(1)
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


def test_labels_that_show_all_or_some_structures_say_which():
    shown = shown_structures(((1, 3), (2,), None), 3, torch.device("cpu"))
    assert shown.tolist() == [[True, False, True], [False, True, False], [True, True, True]]


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


def mixed_parts(method, monkeypatch, known, seed=0):
    """Windows of which these structures are known, answers to their mixes, and what was made of them."""
    windows = method._windows(batch := partly_known(method, known, seed), batch.labelled)
    torch.manual_seed(0)
    given = torch.randn(len(known) // 2, 3, *SIZE, requires_grad=True)
    monkeypatch.setattr(method.networks, "answer", lambda _images, _prompts: given)
    shown = shown_structures(known, 2, batch.device)
    return windows, given, method._mixed_losses(windows, shown, fresh(), second=False)


def test_auxiliary_targets_of_partly_known_scans_equal_loops_over_voxels_of_known_truth(monkeypatch):
    """Four windows, two mixes: (1) in (2), which know nothing of each other, and (1) in what knows both."""
    method = make_method("versemi")
    known = ((1,), (1,), (2,), None)
    windows, given, parts = mixed_parts(method, monkeypatch, known, seed=2)
    masks, expected, unknown = draw_cubes(2, method.window, fresh(), second=False), [], 0
    for number in (1, 2):
        p, shared, squares, found = given[:, number - 1].sigmoid().tolist(), 0.0, 0.0, 0
        for pair, k, j, i in np.ndindex(2, *SIZE):
            source = pair if masks[pair, k, j, i] else pair + 2
            label = int(windows.labels[source, k, j, i])
            if known[source] is not None and number not in known[source] and label == 0:
                unknown += 1  # the structure may be here, and nobody drew it
                continue
            true = label == number
            found += true
            shared += p[pair][k][j][i] * true
            squares += p[pair][k][j][i] ** 2 + true
        expected.append(1 - 2 * shared / squares)
        assert found > 10
    assert unknown > 1000
    assert parts["supervised_auxiliary"].item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_voxels_of_unknown_truth_carry_no_gradient_and_a_foreign_structure_does(monkeypatch):
    method = make_method("versemi")
    windows, given, parts = mixed_parts(method, monkeypatch, ((1,), (2,)))
    (mask,) = draw_cubes(1, method.window, fresh(), second=False)
    parts["supervised_auxiliary"].backward()
    moved = given.grad[0].abs() > 0
    for own, answer, foreign in ((mask, moved[0], windows.labels[1]), (~mask, moved[1], windows.labels[0])):
        assert not answer[~own & (foreign == 0)].any()
        assert answer[~own & (foreign > 0)].all()


def test_a_task_that_neither_half_of_a_mix_shows_is_not_asked_of_it(monkeypatch):
    method = make_method("versemi")
    _, given, parts = mixed_parts(method, monkeypatch, ((1,), (1,)))
    parts["supervised_auxiliary"].backward()
    assert given.grad[:, 0].any()
    assert not given.grad[:, 1].any()


def test_the_synthetic_label_of_single_structure_scans_is_the_union_of_both_tasks(monkeypatch):
    method = make_method("versemi")
    windows, given, parts = mixed_parts(method, monkeypatch, ((1,), (2,)))
    (mask,) = draw_cubes(1, method.window, fresh(), second=False)
    union = ((windows.labels[0] == 1) & mask) | ((windows.labels[1] == 2) & ~mask)
    expected = soft_dice(given[:, 2].sigmoid(), union[None])
    assert parts["supervised_synthetic"].item() == pytest.approx(expected.item(), rel=1e-6)
