"""Head revision: the heads whose probes do best, each moved along its own vector."""

import numpy as np
import pytest
from by_hand import By, require_same, unit
from sklearn.linear_model import LogisticRegression

from calib.config.method import Revision
from calib.interventions.fitting import Fitting
from calib.methods.iar_head import method
from calib.util.errors import CalibError

HEADS, WIDTH = 4, 32  # of each layer of mini-internvl, of each head
CHOSEN = 5


def outputs(world, layer, head, split):
    """What a head gives for unsafe and for safe queries, before the output projection."""
    cut = slice(head * WIDTH, (head + 1) * WIDTH)
    return [
        world.plain.last(world.twins(safety, split), layer, "heads")[:, cut]
        for safety in ("unsafe", "safe")
    ]


@pytest.fixture(scope="module")
def ranked(world):
    """Validation accuracy of every head's probe, best first."""
    found = []
    for layer in range(6):
        for head in range(HEADS):
            unsafe, safe = outputs(world, layer, head, "train")
            probe = LogisticRegression(max_iter=1000)
            probe.fit(np.r_[unsafe, safe], [1] * len(unsafe) + [0] * len(safe))
            unsafe, safe = outputs(world, layer, head, "validation")
            right = probe.predict(unsafe).sum() + (1 - probe.predict(safe)).sum()
            found.append((right / (len(unsafe) + len(safe)), layer, head))
    return sorted(found, key=lambda one: -one[0])


@pytest.mark.parametrize("strength", [-6.0, 10.0])
def test_the_best_heads_are_moved(world, ranked, strength):
    config = Revision("iar_head", samples="safety", heads=CHOSEN, positions="response")
    moved = {}
    for _, layer, head in ranked[:CHOSEN]:
        unsafe, safe = outputs(world, layer, head, "train")
        theta = unit(unsafe.mean(0) - safe.mean(0))
        added = moved.setdefault(layer, np.zeros(HEADS * WIDTH))
        added[head * WIDTH :][:WIDTH] = (np.r_[unsafe, safe] @ theta).std() * theta
    changes = [
        By(layer, "response", lambda h, added=added: h + strength * added, "heads")
        for layer, added in sorted(moved.items())
    ]
    revised = method(world.fitting, config)
    require_same(world, revised.setting(None, strength), world.shown(), changes)
    named = ", ".join(f"{layer}.{head}" for _, layer, head in ranked[:CHOSEN])
    assert f"heads (layer.head) {named}; " in revised.notes[0]
    best, worst = ranked[0][0], ranked[CHOSEN - 1][0]
    assert f"{worst:.2f} to {best:.2f}" in revised.notes[0]


def test_heads_differ_in_accuracy(ranked):
    """Else their order would say nothing."""
    assert ranked[0][0] > ranked[CHOSEN][0] > ranked[-1][0]


def test_only_heads_of_chosen_layers(world, ranked):
    config = Revision("iar_head", samples="safety", heads=2, layers=[1, 4])
    best = [f"{layer}.{head}" for _, layer, head in ranked if layer in (1, 4)][:2]
    assert f"heads (layer.head) {', '.join(best)}; " in method(world.fitting, config).notes[0]


def test_without_validation_samples_heads_are_not_ranked(world, tmp_path):
    known = [e for e in world.examples if e.split != "validation"]
    fitting = Fitting(world.vlm, known, [], world.fitting.baseline_answers, tmp_path)
    with pytest.raises(CalibError, match="ranks heads on the validation split, where samples=safe"):
        method(fitting, Revision("iar_head", samples="safety"))
