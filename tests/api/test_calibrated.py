"""Methods by name: the same responses as the engine gives under the method's own intervention."""

import warnings

import pytest
from raising import raises

import calib
from calib.api.model import CalibratedModel, Model
from calib.data.example import pairs
from calib.data.mini.examples import load as mini


@pytest.fixture(scope="module")
def model(vlm):
    return Model(vlm)


@pytest.fixture(scope="module")
def twins():
    return pairs(mini(["image_centric", "text_centric"], limit=24))


KINDS = {
    "self_check": {}, "few_shot": {"strengths": [2]}, "refusal_control": {"gate_layers": [4]},
    "vlm_guard": {}, "combine": {"activation": "steer"},
}  # fmt: skip
"""A method of each kind; tests/methods has all of them."""


@pytest.mark.parametrize("name, own", KINDS.items())
def test_methods_by_name(model, twins, name, own):
    query = twins[0].unsafe
    calibrated = model.calibrated(name, twins, **own)
    assert isinstance(calibrated, CalibratedModel) and name in repr(calibrated)
    assert isinstance(calibrated.generate(query, max_new_tokens=4), str)
    assert calibrated.at(0).generate(query) == model.generate(query)


def test_a_context_and_its_strengths(model, twins):
    query = twins[0].unsafe
    with model.calibrated("steer", twins, layer=3, strength=4) as steered:
        assert (steered.layer, steered.strength) == (3, 4.0)
        with model.steer(steered.method.direction, 4, layers=3):
            assert steered.at(0).generate(query) == model.generate(query)
        assert steered.generate(query) != steered.at(-4).generate(query)
        assert steered.at(layer=2).layer == 2
    assert not model._edits


def test_a_method_sees_no_held_out_pair(model, twins):
    direction = model.calibrated("steer", twins, held_out=0.25).method.direction
    assert direction == calib.fit(model, twins, held_out=0.25).select_layers(direction.layers)


def test_a_layer_that_too_few_pairs_chose_is_a_warning(model, twins):
    few = list({pair.safe.cluster: pair for pair in twins}.values())[:2]
    with pytest.warns(UserWarning, match="n=1 "):
        steered = model.calibrated("steer", few, held_out=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steered.at(2)
        model.calibrated("steer", few, held_out=0.5, layer=3)


def test_a_calibrated_model_is_not_calibrated_or_swept_again(model):
    reminded = model.calibrated("reminder")
    with raises("unsupported", "reminder", "combine"):
        reminded.calibrated("caution")
    with raises("unsupported", "reminder"):
        reminded.sweep("caution")
