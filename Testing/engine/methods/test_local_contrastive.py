"""Local contrastive self-training: what its specification calls the signature of the method."""

import numpy as np
import pytest
import torch

from crgloco.losses.contrastive import draw_pairs
from crgloco.methods.base import Batch, Task
from crgloco.methods.local_contrastive import jittered
from crgloco.options import from_mapping
from crgloco.training.checkpoint import Reached
from tiny_training import TinyRounds, make_batch, make_method, make_trainer, phantom_case


def with_pseudo_labels(method, cases, change=None):
    """Begin a round in which every case gets the truth, changed or not, as pseudo-label."""

    def pseudo_label(case, refine, *, agreement):
        truth = phantom_case(int(case.name[-3:])).label.numpy()
        label = truth if change is None else change(truth)
        known = phantom_case(int(case.name[-3:]))
        return type(case)(case.name, case.image, torch.from_numpy(label), case.fill, known.locations)

    method.begin_round(1, cases, pseudo_label)


def gradients(method, change):
    case = phantom_case(7, labelled=False)
    with_pseudo_labels(method, [case], change)
    rngs = [np.random.default_rng(n) for n in range(2)]
    views = [method.views(phantom_case(3), rngs[0]), method.views(case, rngs[1])]
    method.zero_grad()
    batch = Batch(views[:1], views[1:], torch.device("cpu"), np.random.default_rng(0))
    method.losses(batch, 1.0)["total"].backward()
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


def test_a_pseudo_label_shapes_features_and_projection_but_never_the_segmentation_head():
    method = make_method("local_contrastive", contrast_weight=1.0)
    plain = gradients(method, None)
    swapped = gradients(method, lambda label: np.array([0, 2, 1], np.uint8)[label])
    changed = {name for name, value in plain.items() if not torch.equal(value, swapped[name])}
    assert not any(name.startswith("networks.local_head") for name in changed)
    assert any(name.startswith("projection") for name in changed)
    assert any(name.startswith("networks.local_body.encoder") for name in changed)
    assert any(name.startswith("networks.local_body.decoder") for name in changed)


def test_during_the_warm_start_unlabelled_scans_change_nothing():
    method = make_method("local_contrastive")
    batch = make_batch(method)
    for progress, contrasts in ((0.0, False), (0.24, False), (0.25, True), (1.0, True)):
        parts = method.losses(batch, progress)
        assert (parts["contrast"].item() > 0) == contrasts
        expected = parts["supervised"] + 0.1 * parts["contrast"]
        assert parts["total"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_rounds_follow_the_warm_start_in_equal_parts():
    assert make_method("local_contrastive", warm_up=0.4, rounds=3).round_starts == pytest.approx(
        (0.4, 0.6, 0.8)
    )


def test_a_run_passes_through_its_rounds_and_a_resumed_one_enters_the_round_it_was_in(tmp_path):
    trainer = make_trainer(make_method("local_contrastive", warm_up=0.25, rounds=3), iterations=8)
    trainer.fit()
    assert trainer.rounds.begun == [1, 2, 3]
    assert trainer.rounds.forgotten  # a run from the start takes nothing over from one that was given up
    late = make_trainer(make_method("local_contrastive", warm_up=0.25, rounds=3), iterations=8)
    late.stream, start = trainer.stream, Reached(5)
    late.checkpoint = type("At", (), {"load": lambda *_: start, "save": lambda *_: None})()
    late.fit()
    assert late.rounds.begun == [2, 3]
    assert not late.rounds.forgotten


def test_a_case_that_the_filter_leaves_out_gives_a_window_without_labels():
    method = make_method("local_contrastive")
    case = phantom_case(1, labelled=False)
    method.begin_round(1, [case], lambda *_, **__: None)
    view = method.views(case, np.random.default_rng(0))
    assert (view.contrasted.cut()[1] == 255).all()
    assert view.supervised is None


@pytest.mark.parametrize(
    ("classes", "choice", "first"), [(2, "auto", 0), (3, "auto", 1), (3, "yes", 0), (2, "no", 1)]
)
def test_background_is_contrasted_only_where_one_structure_would_leave_nothing_to_tell_apart(
    classes, choice, first
):
    like = make_method("local_contrastive")
    config = from_mapping(
        type(like).Config,
        {
            "local_window": "12,16,16",
            "global_window": "16,24,24",
            "width": 4,
            "levels": 3,
            "include_background": choice,
        },
    )
    method = type(like)(config, Task(1, classes, (1.0, 1.0, 1.0), ((20, 24, 28),)))
    assert method.first_class == first
    assert ("Background is contrasted too." in method.deviations) == (first == 0)


def test_what_is_deployed_holds_nothing_of_the_projection():
    method = make_method("local_contrastive")
    assert not any("projection" in name for name in method.averaged.state_dict())
    trained = {id(p) for group in method.parameter_groups() for p in group["params"]}
    assert {id(p) for p in method.projection.parameters()} <= trained


def test_pairs_mix_labelled_and_unlabelled_windows():
    assert set(draw_pairs(2, 4)) == {(0, 2), (1, 3), (2, 3), (0, 1)}
    assert draw_pairs(1, 2) == ((0, 1),)
    assert draw_pairs(1, 1) == ()
    assert set(draw_pairs(3, 3)) == {(0, 1), (1, 2)}


def test_jitter_changes_grey_values_and_no_place():
    image = torch.randn(2, 4, 5, 6)
    changed = jittered(image, np.random.default_rng(0))
    assert not torch.equal(image, changed)
    ours, theirs = image[0].flatten(), changed[0].flatten()
    assert torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > 0.9999


def test_phantom_rounds_give_labels_on_the_grid_of_the_case():
    method = make_method("local_contrastive")
    case = phantom_case(1, labelled=False)
    labelled = TinyRounds(method).labeller(1)(case, lambda label: label)
    assert labelled.label.shape == case.shape


def test_a_method_can_compare_with_the_means_of_the_same_scan_or_of_two():
    parts = {}
    for matching in ("inter", "intra"):
        method = make_method("local_contrastive", matching=matching, include_background="yes")
        loss = method.losses(make_batch(method), 1.0)
        loss["total"].backward()
        assert all(torch.isfinite(p.grad).all() for p in method.projection.parameters())
        parts[matching] = loss["contrast"].item()
    assert 0 < parts["intra"] < parts["inter"]  # inter sums over two means of each class
