"""Training and prediction on a pretended GPU: nothing meets across devices, answers are those of the CPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from crgloco import model_store
from crgloco.inference.predictor import QUALITIES, Predictor
from crgloco.io.volume import Geometry, Volume
from phantoms import two_ellipsoids
from pretend_gpu import CPU, GPU, PretendTensor, pretended_gpu
from tiny_models import save_tiny_model
from tiny_training import RECIPES, differing, make_method, make_trainer, weights_of


@pytest.mark.parametrize(
    "work",
    [
        lambda tensor: tensor + torch.ones(4),
        lambda tensor: torch.cat([tensor, torch.ones(3, 4)]),
        lambda tensor: tensor.new_zeros(3, 4) + torch.ones(3, 4),
        lambda tensor: torch.ones(3)[tensor.long()],
        lambda tensor: tensor.index_select(0, torch.tensor([1])),
        lambda tensor: torch.nn.functional.conv1d(tensor[None], torch.ones(2, 3, 1)),
        lambda tensor: torch.rand(3, generator=torch.Generator(), device=tensor.device),
        lambda tensor: tensor.numpy(),
    ],
)
def test_the_pretended_gpu_refuses_what_cuda_refuses(work):
    with pretended_gpu(), pytest.raises(RuntimeError):
        work(torch.ones(3, 4, device=GPU))


def test_the_pretended_gpu_allows_what_cuda_allows():
    with pretended_gpu():
        tensor = torch.ones(3, 4, device=GPU) * torch.tensor(2.0)
        tensor[0] = torch.zeros(4)
        tensor[torch.tensor([1])] += 1
        assert (tensor.device, type(tensor)) == (GPU, PretendTensor)
        assert tensor.cpu().numpy().sum(1).tolist() == [0, 12, 8]
        assert float(tensor.sum()) == 20


@pytest.fixture
def _float32(monkeypatch):
    """The CPU computes as the pretended GPU does."""
    monkeypatch.setattr("crgloco.networks.precision.has_bf16", lambda _: False)


def trained(method, folder, device, stops, *, resident=False):
    """Train to each stop in turn, from the checkpoint on; return the weights."""
    method.to(device)
    for stop in stops:
        trainer = make_trainer(method, checkpoint=folder / f"{device.type}.safetensors", iterations=2)
        if resident:
            sides = trainer.stream._cases
            trainer.stream._cases = {side: [on_gpu(case) for case in cases] for side, cases in sides.items()}
        trainer._wants_end = lambda step, stop=stop: step >= stop
        trainer.fit()
    return weights_of(method.to(CPU))


def on_gpu(case):
    label = None if case.label is None else case.label.to(GPU)
    return replace(case, image=case.image.to(GPU), label=label, fill=case.fill.to(GPU))


@pytest.mark.usefixtures("_float32")
@pytest.mark.parametrize(
    ("name", "recipe", "resident"), [*((*recipe, False) for recipe in RECIPES), (*RECIPES[0], True)]
)
def test_every_method_learns_on_a_gpu_what_it_learns_on_the_cpu_also_if_stopped(
    name, recipe, resident, tmp_path
):
    options = {"contrast_weight": 0.1} if name == "cr_gloco" else {}
    on_cpu = trained(make_method(name, recipe, **options), tmp_path, CPU, (2,))
    with pretended_gpu():
        method = make_method(name, recipe, **options)
        assert not differing(trained(method, tmp_path, GPU, (1, 2), resident=resident), on_cpu)


@pytest.mark.usefixtures("_float32")
@pytest.mark.parametrize("method", ["cr_gloco", "versemi"])
def test_a_model_answers_on_a_gpu_as_on_the_cpu_in_every_quality(method, tmp_path):
    image, label = two_ellipsoids((20, 30, 40))
    volume = Volume(image, Geometry(image.shape, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    loaded = model_store.load(save_tiny_model(tmp_path / "model", method=method))
    kinds = loaded.network, loaded.preparation, loaded.table
    probes = np.argwhere(label > 0)[::50]
    for quality in QUALITIES:
        chosen = {"temperature": 1.3, "flip_axes": (2,), "one_piece": (1,)}
        on_cpu = Predictor(*kinds, **chosen).predict([volume], quality, probes=probes)
        with pretended_gpu():
            there = Predictor(*kinds, **chosen, device=GPU).predict([volume], quality, probes=probes)
        loaded.network.to(CPU)
        assert not there.notes or there.notes == on_cpu.notes
        assert np.array_equal(there.fused, on_cpu.fused)
        assert np.abs(there.confidence.astype(int) - on_cpu.confidence).max() <= 1
        assert np.allclose(there.probes, on_cpu.probes, atol=1e-4)


class Full:
    """Counts the tensors that are made on the GPU; has no memory for one of them, or from then on."""

    def __init__(self, at=0, *, stays=False):
        self.at, self.stays, self.made = at, stays, 0

    def __call__(self):
        self.made += 1
        return bool(self.at) and (self.made >= self.at if self.stays else self.made == self.at)


@pytest.mark.usefixtures("_float32")
@pytest.mark.parametrize("stays", [False, True])
def test_a_gpu_that_is_full_at_whatever_point_leads_to_the_same_answer(stays, tmp_path):
    image, _ = two_ellipsoids((14, 20, 40))
    volume = Volume(image, Geometry(image.shape, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    loaded = model_store.load(save_tiny_model(tmp_path / "model"))

    def predict(full):
        with pretended_gpu(full):
            predictor = Predictor(
                loaded.network, loaded.preparation, loaded.table, temperature=1.3, device=GPU
            )
            result = predictor.predict([volume])
        loaded.network.to(CPU)
        return result

    roomy = Full()
    expected = predict(roomy)
    assert expected.windows_run > 1
    for at in range(1, roomy.made, roomy.made // 6):
        result = predict(Full(at, stays=stays))
        assert "memory of the device" in result.notes[0]
        assert np.array_equal(result.fused, expected.fused)
        assert np.abs(result.confidence.astype(int) - expected.confidence).max() <= 1
        assert np.abs(result.disagreement.astype(int) - expected.disagreement).max() <= 1
