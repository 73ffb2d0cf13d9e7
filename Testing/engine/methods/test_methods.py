"""What every method must do; a new file in crgloco/methods is tested here the day it lands."""

import itertools

import numpy as np
import pytest
import torch

from crgloco import methods
from crgloco.data.preparation import ChannelRule, Preparation
from crgloco.errors import ModelError, OptionError
from crgloco.inference.predictor import Predictor
from crgloco.io.volume import Geometry, Volume
from crgloco.labels import LabelTable
from crgloco.methods.base import Method, Task, draw_lattice
from crgloco.options import describe, from_mapping
from crgloco.progress import Silent
from phantoms import two_ellipsoids
from tiny_training import (
    RECIPES,
    as_json,
    differing,
    make_batch,
    make_method,
    make_task,
    make_trainer,
    phantom_case,
    weights_of,
)

# What a method calls the parts of its loss that need no label of an expert.
UNLABELLED_PARTS = ("cross", "consistency", "contrast")

every_recipe = pytest.mark.parametrize(("name", "recipe"), RECIPES)
SEGMENTING = [each for each in RECIPES if methods.card(each[0]).kind == "segmentation"]
every_segmenting_recipe = pytest.mark.parametrize(("name", "recipe"), SEGMENTING)


def numbers(parts: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(part.detach()) for name, part in parts.items()}


def bodies(method: Method) -> list[torch.nn.Module]:
    """The networks of the method; some have no global branch."""
    networks = method.networks
    return [networks.local_body] if networks.global_ is None else [networks.local_body, networks.global_body]


def predictor_of(method: Method) -> Predictor:
    """The method's averaged networks, ready to segment phantoms."""
    table = LabelTable.from_names({"large": 1, "small": 2})
    preparation = Preparation((1.0, 1.0, 1.0), (ChannelRule("mr", 0.5, 99.5, 0.0, 1.0),))
    return Predictor(method.averaged, preparation, table)


def test_the_default_method_leads_the_list():
    assert methods.available()[0] == methods.DEFAULT
    assert {"cr_gloco", "supervised"} <= set(methods.available())


def test_what_macos_leaves_beside_a_file_is_no_method(tmp_path, monkeypatch):
    for name in ("supervised.py", "._supervised.py"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(methods, "__file__", str(tmp_path / "__init__.py"))
    assert methods.available() == ("supervised",)


def test_an_unknown_method_is_refused_with_the_list_of_known_ones():
    for ask in (methods.card, methods.get):
        with pytest.raises(OptionError, match=r"no method 'magic'.*cr_gloco"):
            ask("magic")


@pytest.mark.parametrize("name", methods.available())
def test_the_card_read_without_torch_says_what_the_class_says(name):
    card, method = methods.card(name), methods.get(name)
    assert issubclass(method, Method)
    assert (card.title, card.reference, card.kind) == (method.title, method.reference, method.kind)
    assert card.partial_labels == method.partial_labels
    assert card.fewest_structures == method.fewest_structures
    assert card.kind in {"segmentation", "pretraining"}
    assert describe(card.config) == describe(method.Config)
    assert as_json(card.to_json())["options"]
    assert all(entry["label"] and entry["help"].endswith(".") for entry in describe(card.config))


@every_recipe
def test_every_named_configuration_holds_valid_options_and_says_where_it_deviates(name, recipe):
    values = methods.card(name).configurations[recipe]
    from_mapping(methods.get(name).Config, values)
    for sentence in make_method(name, recipe).deviations:
        assert sentence.endswith(".")


@every_segmenting_recipe
@pytest.mark.parametrize("counts", [(1, 1), (2, 3), (2, 0)])
@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_views_become_finite_losses_and_the_total_grows_from_its_parts(name, recipe, counts, progress):
    method = make_method(name, recipe)
    parts = numbers(method.losses(make_batch(method, *counts), progress))
    assert all(np.isfinite(value) for value in parts.values())
    supervised = sum(value for key, value in parts.items() if key.startswith("supervised"))
    unlabelled = sum(value for key, value in parts.items() if key.startswith(UNLABELLED_PARTS))
    assert supervised > 0
    assert parts["total"] >= supervised - 1e-5
    if unlabelled == 0:
        assert parts["total"] == pytest.approx(supervised, rel=1e-5)


@every_segmenting_recipe
def test_only_the_total_carries_gradients_and_they_reach_every_network_but_no_average(name, recipe):
    method = make_method(name, recipe)
    parts = method.losses(make_batch(method), 0.5)
    assert [key for key, part in parts.items() if part.requires_grad] == ["total"]
    parts["total"].backward()
    for key, parameter in method.networks.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
    for body in bodies(method):
        assert all(p.grad.abs().sum() > 0 for p in body.parameters() if p.dim() > 1)
    assert not any(p.requires_grad or p.grad is not None for p in method.averaged.parameters())


@every_recipe
@pytest.mark.parametrize("window", ["1,1,2", "4,4,4"])
def test_the_smallest_windows_that_are_not_refused_can_be_learned_from(name, recipe, window):
    method = make_method(name, recipe, local_window=window, global_window="8,8,8", levels=5, stem="full")
    total = method.losses(make_batch(method), 1.0)["total"]
    assert torch.isfinite(total)
    total.backward()


@every_recipe
def test_the_groups_of_the_optimiser_hold_every_weight_once(name, recipe):
    method = make_method(name, recipe)
    grouped = [id(p) for group in method.parameter_groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in method.parameters() if p.requires_grad)


@every_segmenting_recipe
def test_supervised_losses_fall_within_twenty_updates_on_two_ellipsoids(name, recipe):
    method = make_method(name, recipe, labelled_batch=2, width=8)

    def supervised() -> dict[str, float]:
        """On three fixed batches, since from crop to crop losses vary more than twenty updates change."""
        batches = [make_batch(method, 2, 2, seed) for seed in (50, 51, 52)]
        with torch.no_grad():
            found = [numbers(method.losses(batch, 0.0)) for batch in batches]
        return {
            key: np.mean([parts[key] for parts in found]) for key in found[0] if key.startswith("supervised")
        }

    before = supervised()
    make_trainer(method, iterations=20, learning_rate=5 * method.config.learning_rate).fit()
    after = supervised()
    assert before
    for part, value in before.items():
        assert after[part] < 0.8 * value, part


@every_recipe
def test_the_same_seed_gives_the_same_weights_bitwise_and_another_seed_others(name, recipe):
    runs = []
    for seed in (0, 0, 1):
        method = make_method(name, recipe, seed=seed)
        make_trainer(method, iterations=3, seed=seed).fit()
        runs.append(weights_of(method))
    assert differing(runs[0], runs[1]) == []
    assert differing(runs[0], runs[2])


@every_segmenting_recipe
def test_saved_and_loaded_again_a_method_answers_the_same(name, recipe, tmp_path):
    method, other = make_method(name, recipe, seed=0), make_method(name, recipe, seed=9)
    make_trainer(method, iterations=2).fit()
    torch.save(method.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    image = torch.randn(1, 1, *method.networks.local.window)
    with torch.inference_mode():
        assert torch.equal(method.averaged.full_resolution(image), other.averaged.full_resolution(image))
        if method.networks.global_ is not None:
            first, second = method.averaged.low_resolution(image), other.averaged.low_resolution(image)
            assert torch.equal(first[0], second[0])


@every_segmenting_recipe
def test_the_predictor_runs_the_branches_on_an_odd_sized_scan(name, recipe):
    predictor = predictor_of(make_method(name, recipe))
    shape = (21, 27, 33)
    volume = Volume(two_ellipsoids(shape)[0], Geometry(shape, (1.1, 0.9, 1.0), (0.0, 0.0, 0.0)))
    for quality in ("fast", "balanced", "full"):
        fused = predictor.predict([volume], quality, Silent()).fused
        assert fused.shape == shape
        assert set(np.unique(fused)) <= {0, 1, 2}


@every_segmenting_recipe
def test_the_networks_answer_windows_that_inference_makes_a_little_longer(name, recipe):
    predictor = predictor_of(make_method(name, recipe, local_window="20,20,20", global_window="20,20,20"))
    shape = (22, 23, 24)
    volume = Volume(two_ellipsoids(shape)[0], Geometry(shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    prediction = predictor.predict([volume], "balanced", Silent())
    assert prediction.windows_possible == 1
    assert prediction.fused.shape == shape


@every_segmenting_recipe
def test_branches_name_their_windows_global_first(name, recipe):
    method = make_method(name, recipe)
    branches = method.branches()
    assert branches[-1].name == "local"
    assert branches[-1].scale == (1.0, 1.0, 1.0)
    assert branches[-1].window == (12, 16, 16)
    assert all(branch.tensor_size == (12, 16, 16) for branch in branches)
    assert sum(branch.weight for branch in branches) > 0


@every_segmenting_recipe
def test_a_batch_in_which_a_class_has_no_voxel_is_finite(name, recipe):
    method = make_method(name, recipe)
    case = phantom_case()
    case.label[:] = 0
    case.locations.clear()
    batch = make_batch(method, 1, 1)
    view = method.views(case, np.random.default_rng(0))
    empty = type(batch)([view], batch.unlabelled, batch.device, batch.rng)
    parts = method.losses(empty, 1.0)
    parts["total"].backward()
    assert all(np.isfinite(value) for value in numbers(parts).values())
    assert all(torch.isfinite(p.grad).all() for p in method.networks.parameters())


@every_segmenting_recipe
def test_the_average_follows_its_formula_from_the_first_update_on(name, recipe):
    method = make_method(name, recipe)
    rng = torch.Generator().manual_seed(0)
    expected = [p.detach().clone().double() for p in method.networks.parameters()]
    for step, decay in ((0, 0.0), (1, 0.5), (2, 2 / 3), (500, 0.99)):
        with torch.no_grad():
            for parameter in method.networks.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=0.1)
        method.after_step(step)
        expected = [
            decay * old + (1 - decay) * p.detach().double()
            for old, p in zip(expected, method.networks.parameters(), strict=True)
        ]
        for old, found in zip(expected, method.averaged.parameters(), strict=True):
            torch.testing.assert_close(found.double(), old, rtol=1e-5, atol=1e-6)


@every_recipe
def test_a_start_model_gives_its_weights_to_networks_and_average(name, recipe):
    start, method = make_method(name, recipe, seed=5), make_method(name, recipe, seed=6)
    weights = start.networks.state_dict()
    foreign = {**weights, "local_head.classify.weight": torch.zeros(7, 4, 1, 1, 1), "other": torch.zeros(1)}
    taken = method.start_from(foreign)
    assert set(taken) == set(weights) - {"local_head.classify.weight"}
    for name_ in taken:
        assert torch.equal(method.networks.state_dict()[name_], weights[name_])
        assert torch.equal(method.averaged.state_dict()[name_], weights[name_])
    with pytest.raises(ModelError, match="No weight of the start model fits"):
        method.start_from({"other": torch.zeros(3)})


def test_the_description_of_a_task_survives_json_and_a_damaged_one_is_refused():
    task = make_task()
    assert Task.from_json(as_json(task.to_json())) == task
    for damage in ({"spacing": None}, {"shapes": 3}, {"classes": "many"}):
        with pytest.raises(ModelError, match="description of the network"):
            Task.from_json({**task.to_json(), **damage})
    with pytest.raises(ModelError):
        Task.from_json({})


def test_the_lattice_of_the_global_loss_is_no_coarser_than_its_map_and_reaches_every_voxel():
    method = make_method("supervised", local_window="12,16,8", global_window="16,32,24")
    draws = [draw_lattice(method.networks, np.random.default_rng(seed)) for seed in range(100)]
    assert {step for step, _ in draws} == {(1, 2, 3)}
    assert {phase for _, phase in draws} == set(itertools.product(range(1), range(2), range(3)))
