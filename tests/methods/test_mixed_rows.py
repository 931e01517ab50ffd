"""Rows of all activation methods, layers, strengths and examples in one call of the engine equal
single rows."""

import random

import pytest
from configuration_settings import schema_of
from single_prompts import method_config

from calib import methods
from calib.config.method import Activation
from calib.config.schemas import CONF
from calib.engine.engine import Engine
from calib.engine.request import Decoding, Request
from calib.interventions.fitting import Fitting

STRENGTHS = {
    "steer": (-2.0, 6.0),
    "ablate": (-0.5, 1.0),
    "astra": (1.0, 7.0),
    "iar_head": (-4.0, 8.0),
    "surgical": (0.5, 1.0),
    "vti": (-0.2, 0.3),
}
"""A low and a high strength, for methods that DEFAULT_STRENGTHS change too little or too much."""
DEFAULT_STRENGTHS = (0.5, 2.0)
EDITING = [
    name
    for name in methods.names()
    if issubclass(schema_of(CONF / "method" / f"{name}.yaml", "method"), Activation)
]


def low_and_high(fitting, name):
    """The settings of a method at its first layer and a low strength, and its last and a high."""
    method = methods.build(fitting, method_config(f"method={name}"))
    low, high = STRENGTHS.get(name, DEFAULT_STRENGTHS)
    return [method.setting(method.layers[0], low), method.setting(method.layers[-1], high)]


@pytest.fixture(scope="module")
def examples(world):
    """Test examples, safe and unsafe, with and without a picture, of different lengths."""
    return [world.test_example(picture, kind) for picture in (1, 0) for kind in ("unsafe", "safe")]


@pytest.fixture(scope="module")
def mixed(world, examples):
    """Responses of one call, by method, index of the setting, and index of the example."""
    requests = {}
    for name in EDITING:
        for k, setting in enumerate(low_and_high(world.fitting, name)):
            edits = setting.intervention.edits_for(examples)
            for j, example in enumerate(examples):
                requests[name, k, j] = Request(example, edits[j])
    keys = list(requests)
    random.Random(0).shuffle(keys)
    engine = Engine(world.vlm, Decoding(max_new_tokens=8, batch_rows=24))
    return dict(zip(keys, engine.answer([requests[key] for key in keys]), strict=True))


@pytest.mark.parametrize("name", EDITING)
def test_each_row_equals_a_single_row(world, examples, mixed, name):
    # A new Fitting has an empty cache: activations for rules are then read one prompt at a time.
    shared = world.fitting
    fitting = Fitting(
        world.vlm, world.examples, shared.utility, shared.baseline_answers, shared.folder
    )
    changed = 0
    for k, setting in enumerate(low_and_high(fitting, name)):
        for j, example in enumerate(examples):
            edits = setting.intervention.edits_for([example])[0]
            alone = world.engine.answer([Request(example, edits)])[0]
            response = mixed[name, k, j]
            assert response.tokens == alone.tokens
            assert response.kl == pytest.approx(alone.kl, rel=1e-4, abs=1e-5)
            changed += alone.kl > 1e-4
    assert changed > 1
