"""MCSC: two networks of different kinds, cross labels, and a contrast over both."""

import copy
import math

import numpy as np
import pytest
import torch

from crgloco import methods, model_store
from crgloco.errors import Cancelled, OptionError
from crgloco.inference.predictor import Predictor
from crgloco.io.volume import Geometry, Volume
from crgloco.losses.contrastive import at_cells, balanced_contrast, draw_members
from crgloco.methods import mcsc
from crgloco.methods.mcsc import MCSC, Projector, cross_labels
from crgloco.model_zip import export_zip, import_zip
from crgloco.networks.transformer import WindowedTransformer
from crgloco.options import from_mapping
from phantoms import two_ellipsoids
from tiny_models import save_tiny_model
from tiny_training import (
    TINY,
    Recorder,
    differing,
    make_batch,
    make_method,
    make_task,
    make_trainer,
    weights_of,
)


def slow(features: torch.Tensor, labels: torch.Tensor, tau: float) -> float:
    """The class-balanced contrast by loops, in double precision."""
    codes = [row.double() / row.double().norm() for row in features]
    losses = []
    for i, own in enumerate(labels.tolist()):
        partners = [j for j, other in enumerate(labels.tolist()) if other == own and j != i]
        if not partners:
            continue
        below = 0.0
        for c in set(labels.tolist()):
            members = [j for j, other in enumerate(labels.tolist()) if other == c and j != i]
            if members:
                below += sum(math.exp(float(codes[i] @ codes[j]) / tau) for j in members) / len(members)
        losses.append(
            -sum(float(codes[i] @ codes[j]) / tau - math.log(below) for j in partners) / len(partners)
        )
    return sum(losses) / len(losses)


def members() -> tuple[torch.Tensor, torch.Tensor]:
    """50 features of 4 classes, one of which has a single member."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (50,), generator=generator)
    labels[7] = 3
    return torch.randn(50, 6, generator=generator), labels


@pytest.mark.parametrize("tau", [0.1, 0.07, 0.5])
def test_the_balanced_contrast_equals_loops_also_with_a_member_without_partner(tau):
    features, labels = members()
    found = balanced_contrast(features, labels, tau).item()
    assert found == pytest.approx(slow(features, labels, tau), rel=1e-4)


def test_doubling_a_class_leaves_what_other_classes_are_measured_against_as_it_was():
    features, labels = members()
    doubled = torch.cat([features, features[labels == 2]])
    more = torch.cat([labels, labels[labels == 2]])
    features = features.requires_grad_()

    def of_class_zero(all_features, all_labels):
        codes = torch.nn.functional.normalize(all_features, dim=1)
        similarity = codes[:1] @ codes.T / 0.1
        counts = torch.stack([(all_labels == c).sum() for c in all_labels]).float()
        return (similarity - counts.log())[:, all_labels == 2].logsumexp(1)

    torch.testing.assert_close(of_class_zero(features, labels), of_class_zero(doubled, more))
    assert balanced_contrast(doubled, more, 0.1).item() == pytest.approx(slow(doubled, more, 0.1), rel=1e-4)


def test_with_equal_counts_balancing_cannot_be_seen_and_with_unequal_ones_it_can():
    def gradients(counts):
        generator = torch.Generator().manual_seed(1)
        labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
        features = torch.randn(len(labels), 32, generator=generator).requires_grad_()
        found = []
        for loss in (balanced_contrast, plain_contrast):
            (gradient,) = torch.autograd.grad(loss(features, labels, 0.1), features)
            found.append(gradient.flatten())
        return torch.nn.functional.cosine_similarity(*found, dim=0).item()

    # The numbers of the specification: 0.99999 and 0.71.
    assert gradients([128, 128, 128, 128]) > 0.99999
    assert gradients([400, 80, 24, 8]) == pytest.approx(0.71, abs=0.02)


def plain_contrast(features: torch.Tensor, labels: torch.Tensor, tau: float) -> torch.Tensor:
    """Supervised contrast without balance."""
    codes = torch.nn.functional.normalize(features, dim=1)
    itself = torch.eye(len(labels), dtype=torch.bool)
    similarity = (codes @ codes.T / tau).masked_fill(itself, -1e9)
    partners = (labels[:, None] == labels[None]) & ~itself
    share = similarity - similarity.logsumexp(1, keepdim=True)
    return -((share * partners).sum(1) / partners.sum(1).clamp_min(1))[partners.any(1)].mean()


@pytest.mark.parametrize(
    ("features", "labels"),
    [(torch.ones(4, 3), [0, 0, 1, 1]), (torch.randn(1, 3), [1]), (torch.zeros(0, 3), [])],
)
def test_equal_features_single_and_empty_sets_are_finite(features, labels):
    features = features.clone().requires_grad_()
    loss = balanced_contrast(features, torch.tensor(labels, dtype=torch.long), 0.1)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(features.grad).all()


def test_a_set_holds_rare_classes_and_every_place_can_be_drawn():
    labels = torch.zeros(1000, dtype=torch.uint8)
    labels[::100], labels[5:8], labels[900:] = 1, 2, 255
    drawn = [draw_members(labels, 3, 100, 4, torch.Generator().manual_seed(n)) for n in range(100)]
    for chosen in drawn:
        assert len(chosen) == len(set(chosen.tolist())) == 100
        counts = torch.bincount(labels[chosen].long(), minlength=3)
        assert counts[1] >= 4
        assert counts[2] == 3
        assert (labels[chosen] < 3).all()
    assert len(torch.cat(drawn).unique()) == 900
    assert len(draw_members(labels[:3] + 9, 3, 100, 4, torch.Generator())) == 0


def test_features_carry_the_truth_or_the_other_networks_answer():
    truth, cnn, transformer = torch.zeros(1, 2, 2, 2), torch.ones(2, 2, 2, 2), torch.full((2, 2, 2, 2), 2)
    of_cnn, of_transformer = cross_labels(truth, (cnn, transformer))
    assert of_cnn[:, 0, 0, 0].tolist() == [0, 2]
    assert of_transformer[:, 0, 0, 0].tolist() == [0, 1]


def test_labels_of_coarse_cells_are_those_at_their_centres():
    labels = torch.arange(24).reshape(1, 24, 1, 1).expand(-1, -1, 8, 8)
    assert at_cells(labels, torch.Size((3, 1, 1)))[0, :, 0, 0].tolist() == [3, 11, 19]
    assert at_cells(labels[:, :12], torch.Size((2, 1, 1)), 8)[0, :, 0, 0].tolist() == [3, 11]
    assert torch.equal(at_cells(labels, torch.Size((24, 8, 8))), labels)


def test_projecting_after_drawing_equals_drawing_after_projecting():
    projector = Projector((5, 7), normalised=True)
    features, chosen = torch.randn(30, 7), torch.tensor([3, 1, 29])
    torch.testing.assert_close(projector(features[chosen], 1), projector(features, 1)[chosen])


def test_each_network_is_taught_the_others_hard_answer_and_gets_no_gradient_through_it(monkeypatch):
    method = make_method("mcsc", contrast_weight=0.0)
    taught = []

    def keep(logits, target, **how):
        taught.append((logits, target, how))
        return logits.square().mean()

    monkeypatch.setattr(mcsc, "dice_loss", keep)
    method.losses(make_batch(method, 1, 2), 1.0)
    (cnn, for_cnn, how), (transformer, for_transformer, _) = taught
    assert how == {"over_batch": True}
    assert len(cnn) == 2
    assert torch.equal(for_cnn, transformer.argmax(1).to(torch.uint8))
    assert torch.equal(for_transformer, cnn.argmax(1).to(torch.uint8))
    assert not torch.equal(for_cnn, for_transformer)
    cnn.square().mean().backward()
    assert not any(p.grad is not None for p in method.transformer.parameters())


def test_the_other_network_teaches_with_the_published_weight_and_the_contrast_counts_twice():
    """The table of the specification, at 0, 15,000, 20,000 and 30,000 of 40,000 updates."""
    method = make_method("mcsc")
    names = ("supervised_cnn", "supervised_transformer", "cross_cnn", "cross_transformer")
    parts = {name: torch.tensor(0.0) for name in (*names, "contrast_full", "contrast_eighth")}
    for update, weight in ((0, 0.0007), (15000, 0.0287), (20000, 0.057), (30000, 0.1), (40000, 0.1)):
        one = {**parts, "cross_cnn": torch.tensor(1.0)}
        total = method._with_total(one, update / 40000)["total"].item()
        assert total == pytest.approx(weight, abs=0.0005)
    for scale in ("contrast_full", "contrast_eighth"):
        total = method._with_total({**parts, scale: torch.tensor(1.0)}, 0.0)["total"].item()
        assert total == pytest.approx(0.002)


def test_at_first_only_labelled_scans_are_contrasted():
    method = make_method("mcsc")
    batch, other = make_batch(method, 2, 2), make_batch(method, 2, 2, seed=9)
    swapped = type(batch)(batch.labelled, other.unlabelled, batch.device, np.random.default_rng(0))

    def contrast(given, progress):
        again = type(given)(given.labelled, given.unlabelled, given.device, np.random.default_rng(0))
        return method.losses(again, progress)["contrast_full"].item()

    assert contrast(batch, 0.0) == pytest.approx(contrast(swapped, 0.0), rel=1e-5)
    assert contrast(batch, 0.1) != pytest.approx(contrast(swapped, 0.1), rel=1e-5)


def test_a_contrast_set_is_drawn_from_both_networks_and_all_windows(monkeypatch):
    method = make_method("mcsc")
    sets = []
    monkeypatch.setattr(
        mcsc,
        "draw_members",
        lambda labels, *rest: (sets.append((labels, draw_members(labels, *rest))), sets[-1][1])[1],
    )
    method.losses(make_batch(method, 2, 2), 1.0)
    labels, chosen = sets[0]
    assert len(labels) == 2 * 4 * 12 * 16 * 16
    assert set((chosen // (12 * 16 * 16)).tolist()) == set(range(8))
    counts = torch.bincount(labels[chosen].long())
    assert len(set(counts[counts > 0].tolist())) > 1  # unequal counts: else balancing could not be seen


def test_each_network_enters_the_contrast_by_a_layer_of_its_own_and_both_by_the_same_last_one():
    projector = Projector((5, 7), normalised=True)
    for network, width in enumerate((5, 7)):
        projector.zero_grad()
        projector(torch.randn(3, width), network).sum().backward()
        assert projector.shared.weight.grad.abs().sum() > 0
        assert projector.entries[network].weight.grad.abs().sum() > 0
        other = projector.entries[1 - network].weight.grad
        assert other is None or other.abs().sum() == 0


def test_the_transformer_learns_slower_and_warms_up():
    groups = make_method("mcsc").parameter_groups()
    assert [group.get("rate", 1.0) for group in groups] == [1.0, 0.2, 1.0]
    assert groups[1]["warm_up"] == 0.05


def test_what_is_deployed_is_the_convolutional_network_alone():
    method = make_method("mcsc")
    assert not any("transformer" in name for name in method.averaged.state_dict())


def trained_as(how: str, *, updates: int = 2, **schedule) -> MCSC:
    """A method after a few updates, on an option of what is deployed."""
    method = make_method("mcsc", inference=how)
    make_trainer(method, iterations=updates, **schedule).fit()
    return method


def trained_weights(method: MCSC) -> dict[str, torch.Tensor]:
    """Both networks and the projectors, under the same names whatever is deployed."""
    parts = (method.networks.local_body, method.networks.local_head, method.transformer, method.projectors)
    return {f"{n}.{name}": value for n, part in enumerate(parts) for name, value in part.state_dict().items()}


@pytest.mark.parametrize("how", ["transformer", "mean"])
def test_what_is_deployed_changes_nothing_of_the_training(how):
    usual, other = trained_as("cnn"), trained_as(how)
    assert differing(trained_weights(usual), trained_weights(other)) == []
    kept = usual.weights_to_keep()
    assert differing(kept, {name: other.weights_to_keep()[name] for name in kept}) == []


def test_where_the_transformer_is_deployed_its_moving_average_is_kept():
    method = trained_as("mean")
    own, average = method.transformer.state_dict(), method.averaged.transformer.state_dict()
    assert set(method.weights_to_keep()) > {f"transformer.{name}" for name in average}
    # Half of the first update's weights, half of the second's: no longer those of either.
    assert differing(own, average) == list(own)
    method.after_step(0)
    assert differing(own, average) == []


@pytest.mark.parametrize("how", ["transformer", "mean"])
def test_a_stopped_training_of_a_pair_resumes_bitwise(how, tmp_path):
    whole, file = trained_as(how, updates=4), tmp_path / "checkpoint.safetensors"
    parted = make_method("mcsc", inference=how)
    with pytest.raises(Cancelled):
        make_trainer(parted, report=Recorder(stop_after=2), checkpoint=file, iterations=4).fit()
    again = make_method("mcsc", inference=how, seed=9)
    make_trainer(again, checkpoint=file, iterations=4).fit()
    assert differing(weights_of(whole), weights_of(parted))
    assert differing(weights_of(whole), weights_of(again)) == []


@pytest.mark.parametrize("how", ["transformer", "mean"])
def test_a_model_of_a_pair_is_whole_on_disk_in_a_zip_and_in_a_prediction(how, tmp_path):
    folder = save_tiny_model(tmp_path / "pair", method="mcsc", inference=how, transformer_width=12)
    assert model_store.check(folder) == []
    export_zip(folder, tmp_path / "pair.zip")
    (tmp_path / "installed").mkdir()
    loaded = [
        model_store.load(each) for each in (folder, import_zip(tmp_path / "pair.zip", tmp_path / "installed"))
    ]
    shape = (13, 27, 33)
    volume = Volume(two_ellipsoids(shape)[0], Geometry(shape, (1.0, 1.0, 2.0), (0.0, 0.0, 0.0)))
    answers = [
        Predictor(model.network, model.preparation, model.table).predict([volume], "balanced")
        for model in loaded
    ]
    assert answers[0].fused.shape == shape
    assert np.array_equal(answers[0].fused, answers[1].fused)
    assert np.array_equal(answers[0].confidence, answers[1].confidence)
    assert loaded[0].card.config["inference"] == how


@pytest.mark.parametrize("how", ["cnn", "transformer", "mean"])
def test_a_model_that_kept_its_transformer_starts_both_networks_whatever_is_deployed_next(how):
    start, method = make_method("mcsc", seed=5, inference="mean"), make_method("mcsc", seed=6, inference=how)
    taken = method.start_from(start.weights_to_keep())
    assert set(taken) == set(method.networks.state_dict())
    assert differing(start.transformer.state_dict(), method.transformer.state_dict()) == []
    assert differing(method.networks.state_dict(), method.averaged.state_dict()) == []


def test_a_model_without_transformer_starts_the_convolutional_network_of_a_pair_and_a_pair_other_methods():
    single, pair = make_method("mcsc", seed=5), make_method("mcsc", seed=6, inference="mean")
    before = copy.deepcopy(pair.transformer.state_dict())
    assert set(pair.start_from(single.weights_to_keep())) == set(single.networks.state_dict())
    assert differing(before, pair.transformer.state_dict()) == []
    assert set(make_method("supervised").start_from(pair.weights_to_keep())) == set(
        single.networks.state_dict()
    )


def test_the_card_tells_where_something_else_than_the_publications_network_is_deployed():
    told = {how: make_method("mcsc", inference=how).deviations for how in ("cnn", "transformer", "mean")}
    assert "transformer is deployed" in told["transformer"][-1]
    assert "mean of both networks" in told["mean"][-1]
    assert not any("deployed" in sentence for sentence in told["cnn"])
    with pytest.raises(OptionError, match="must be one of cnn, transformer, mean"):
        make_method("mcsc", inference="both")


def test_the_real_transformer_is_the_second_network_and_learns_with_the_first():
    kind, task = methods.get("mcsc"), make_task()
    values = {**TINY, "transformer_width": 12, "features": 64, "floor": 8}
    method = kind(from_mapping(kind.Config, values), task)
    assert isinstance(method.transformer, WindowedTransformer)
    parts = method.losses(make_batch(method, 1, 1), 0.5)
    parts["total"].backward()
    for network in (method.networks, method.transformer):
        gradients = [p.grad for p in network.parameters()]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert sum(gradient.abs().sum() for gradient in gradients) > 0
