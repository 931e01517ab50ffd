"""Apple GPUs have no float64: reading, fitting, steering, KL and gates never need it there."""

import pytest
import torch
from random_directions import direction_at
from without_float64 import DeviceTensor, PretendedDevice, move

import calib
from calib.api import Model
from calib.config.model import ModelConfig
from calib.data.example import pairs
from calib.data.mini.examples import load as load_mini
from calib.directions.origin import origin_of
from calib.engine.engine import Engine
from calib.engine.reading import first_token_logits
from calib.engine.request import Decoding, Request
from calib.interventions.gates import Gate
from calib.interventions.refusal_score import refusal_scores
from calib.interventions.steering import edits_at, operator_at
from calib.models.load import load


@pytest.fixture(scope="module")
def apple(vlm):
    """mini-internvl on a device without float64; ``vlm`` must be loaded before, on the CPU."""
    model = load(ModelConfig("internvl"))
    move(model.model)
    with PretendedDevice():
        yield model


@pytest.fixture(scope="module")
def examples():
    return load_mini(["image_centric", "text_centric"], limit=60)


def test_the_pretended_device_has_no_float64(apple):
    weight = next(apple.model.parameters())
    assert apple.device.type == weight.device.type == (weight * 2).device.type == "mps"
    for wide in (
        lambda: weight.double(),
        lambda: weight.to(torch.float64),
        lambda: weight + torch.ones(1, dtype=torch.float64),
        lambda: torch.zeros(2, dtype=torch.float64, device=apple.device),
        lambda: torch.zeros(2, dtype=torch.float64).to(apple.device),
        lambda: weight.numpy(),
    ):
        with pytest.raises(TypeError):
            wide()
    assert weight.cpu().double().numpy().shape == weight.shape
    assert isinstance(torch.zeros(2, device=apple.device), DeviceTensor)
    assert not isinstance(weight.to("cpu"), DeviceTensor)


def test_reading_fitting_and_steering(apple, vlm, examples):
    model = Model(apple)
    fitted = calib.fit(model, pairs(examples))
    same = calib.fit(Model(vlm), pairs(examples))
    assert torch.equal(fitted.vectors, same.vectors) and fitted.auroc == same.auroc
    assert origin_of(apple)["device"] == "mps"
    with model.steer(fitted, strength=4.0, layers=3):
        steered = model.generate_all(examples[:4])
    with Model(vlm).steer(same, strength=4.0, layers=3) as here:
        assert steered == here.generate_all(examples[:4])
    assert torch.equal(model.project(fitted, examples[:3]), Model(vlm).project(same, examples[:3]))


@pytest.mark.parametrize("operator", ["add", "ablate", "clamp", "linear", "add_by_norm"])
def test_kl_and_every_kind_of_edit(apple, vlm, examples, operator):
    def responses(model):
        direction = direction_at(model, [3])
        edits = edits_at(
            [3], lambda layer: operator_at(operator, direction, layer, 1.0), "all", "residual"
        )
        decoding = Decoding(6, kl=True)
        requests = [Request(example, edits) for example in examples[:3]]
        return Engine(model, decoding).answer(requests)

    there, here = responses(apple), responses(vlm)
    assert [r.tokens for r in there] == [r.tokens for r in here]
    # Batches differ between kinds of devices, and with them the last digits of logits.
    assert [r.kl for r in there] == pytest.approx([r.kl for r in here], rel=1e-4, abs=1e-9)


def test_gates_and_refusal_scores(apple, examples):
    logits = first_token_logits(apple, examples[:3], [()])
    assert refusal_scores(logits, [5, 6]).dtype == torch.float64
    scores = Model(apple).read(examples[:3])[:, 3, 0]
    gate = Gate(lambda _: scores, threshold=0.0, above=True, trained=False)
    assert len(gate.open(examples[:3])) == 3
