"""Rows of all activation methods, layers, strengths and examples in one call of the engine answer
as each of them does alone."""

import pkgutil
import random

import pytest
from single_prompts import configured

from calib import methods
from calib.config.method import Activation
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
OTHERS = (0.5, 2.0)
EDITING = (
    "steer", "steer_pca", "ablate", "surgical", "conditional", "refusal_control", "scans",
    "adaptive", "nullspace", "iar_layer", "iar_head", "shiftdc", "astra", "cmrm", "vlm_guard",
    "vti",
)  # fmt: skip


@pytest.fixture(scope="module")
def shown(world):
    """Test examples of both kinds, with and without a picture, of different lengths."""
    return [world.shown(picture, kind) for picture in (1, 0) for kind in ("unsafe", "safe")]


@pytest.fixture(scope="module")
def settings(world):
    """By method, its settings at a low and a high strength, at two layers where it has layers."""

    def of(name):
        method = methods.build(world.fitting, configured(f"method={name}"))
        chosen = [(layer, s) for layer in method.layers for s in STRENGTHS.get(name, OTHERS)]
        return [method.setting(*point) for point in (chosen[0], chosen[-1])]

    return {name: of(name) for name in EDITING}


@pytest.fixture(scope="module")
def together(world, shown, settings):
    """Responses of one call, by method, place of the setting, and place of the example."""
    rows = []
    for name, some in settings.items():
        for place, setting in enumerate(some):
            edits = setting.intervention.edits_for(shown)
            rows += [((name, place, k), Request(e, edits[k])) for k, e in enumerate(shown)]
    random.Random(0).shuffle(rows)
    engine = Engine(world.vlm, Decoding(max_new_tokens=8, batch_rows=24))
    found = engine.answer([asked for _, asked in rows])
    return dict(zip([place for place, _ in rows], found, strict=True))


def test_every_method_that_edits_activations_is_here():
    names = [module.name for module in pkgutil.iter_modules(methods.__path__)]
    configs = {name: configured(f"method={name}") for name in names}
    assert {n for n, config in configs.items() if isinstance(config, Activation)} == set(EDITING)


@pytest.mark.parametrize("name", EDITING)
def test_each_row_is_what_it_is_alone(world, shown, together, name):
    # A fitting of its own: what a rule looks at was not read in a batch of several before.
    fitting = Fitting(
        world.vlm, world.examples, [], world.fitting.baseline_answers, world.fitting.folder
    )
    method = methods.build(fitting, configured(f"method={name}"))
    points = [(layer, s) for layer in method.layers for s in STRENGTHS.get(name, OTHERS)]
    changed = 0
    for place, point in enumerate((points[0], points[-1])):
        for k, example in enumerate(shown):
            edits = method.setting(*point).intervention.edits_for([example])[0]
            alone = world.engine.answer([Request(example, edits)])[0]
            response = together[name, place, k]
            assert response.tokens == alone.tokens
            assert response.kl == pytest.approx(alone.kl, rel=1e-4, abs=1e-5)
            changed += alone.kl > 1e-4
    assert changed > 1
