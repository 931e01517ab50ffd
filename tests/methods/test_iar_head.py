"""Head revision: the heads with the best probes, each moved along its own vector."""

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same, unit
from raising import raises
from sklearn.linear_model import LogisticRegression
from tiny_families import HYBRIDS, tiny

from calib.config.method import Revision
from calib.interventions.fitting import Fitting
from calib.methods.iar_head import check, default_head_count, method

HEADS, WIDTH = 4, 32  # of each layer of mini-internvl, of each head
HEADS_EDITED = 5


def outputs(world, layer, head, split):
    """A head's outputs for unsafe and safe queries, before the output projection."""
    columns = slice(head * WIDTH, (head + 1) * WIDTH)
    return [
        world.plain.last(world.twins(safety, split), layer, "heads")[:, columns]
        for safety in ("unsafe", "safe")
    ]


@pytest.fixture(scope="module")
def ranked(world):
    """Validation accuracy, negated loss, layer and head of every probe, best first."""
    accuracies = []
    for layer in range(6):
        for head in range(HEADS):
            unsafe, safe = outputs(world, layer, head, "train")
            probe = LogisticRegression(max_iter=1000)
            probe.fit(np.r_[unsafe, safe], [1] * len(unsafe) + [0] * len(safe))
            unsafe, safe = outputs(world, layer, head, "validation")
            right = probe.predict(unsafe).sum() + (1 - probe.predict(safe)).sum()
            likely = np.r_[probe.predict_proba(unsafe)[:, 1], probe.predict_proba(safe)[:, 0]]
            accuracy = right / (len(unsafe) + len(safe))
            accuracies.append((accuracy, np.log(likely).mean(), layer, head))
    return sorted(accuracies, reverse=True)


@pytest.mark.parametrize("strength", [-6.0, 10.0])
def test_the_best_heads_are_moved(world, ranked, strength):
    config = Revision("iar_head", samples="safety", heads=HEADS_EDITED, positions="response")
    moved = {}
    for *_, layer, head in ranked[:HEADS_EDITED]:
        unsafe, safe = outputs(world, layer, head, "train")
        theta = unit(unsafe.mean(0) - safe.mean(0))
        added = moved.setdefault(layer, np.zeros(HEADS * WIDTH))
        added[head * WIDTH :][:WIDTH] = (np.r_[unsafe, safe] @ theta).std() * theta
    changes = [
        FormulaEdit(layer, "response", lambda h, added=added: h + strength * added, "heads")
        for layer, added in sorted(moved.items())
    ]
    revised = method(world.fitting, config)
    require_same(world, revised.setting(None, strength), world.test_example(), changes)
    names = ", ".join(f"{layer}.{head}" for *_, layer, head in ranked[:HEADS_EDITED])
    assert f" {names}; " in revised.notes[0]
    best, worst = ranked[0][0], ranked[HEADS_EDITED - 1][0]
    assert f"{worst:.2f}" in revised.notes[0] and f"{best:.2f}" in revised.notes[0]


def test_heads_differ_in_accuracy(ranked):
    """Otherwise the tests of their order would be empty."""
    assert ranked[0][0] > ranked[HEADS_EDITED][0] > ranked[-1][0]
    accuracies = [accuracy for accuracy, *_ in ranked]
    assert len(set(accuracies)) < len(accuracies), "no two are equal, so the loss ranks none"


def test_only_heads_of_chosen_layers(world, ranked):
    config = Revision("iar_head", samples="safety", heads=2, layers=[1, 4])
    best = [f"{layer}.{head}" for *_, layer, head in ranked if layer in (1, 4)][:2]
    assert f" {', '.join(best)}; " in method(world.fitting, config).notes[0]


def test_few_heads_of_a_small_model(world, ranked):
    """48 of 1,024 heads, and the same share of the 24 heads of mini-internvl."""
    counts = {1600: 48, 1024: 48, 512: 24, 784: 37, 24: 1, 4: 1}
    assert {available: default_head_count(available) for available in counts} == counts
    best = "{2}.{3}".format(*ranked[0])
    assert f" {best}; " in method(world.fitting, Revision("iar_head", samples="safety")).notes[0]


def test_ranking_heads_needs_validation_samples(world, tmp_path):
    others = [e for e in world.examples if e.split != "validation"]
    fitting = Fitting(world.vlm, others, [], world.fitting.baseline_answers, tmp_path)
    with raises("too-few", "validation", "method.samples=safety"):
        method(fitting, Revision("iar_head", samples="safety"))


@pytest.mark.parametrize("family, layers", [("qwen3_5", [2, 3]), ("lfm2_vl", 0)])
def test_a_layer_without_attention_is_refused_before_the_run(family, layers):
    named = "layer 3" if layers == [2, 3] else "layer 0"
    with raises("unsupported", "site=heads", named, "layers 2, 4"):
        check(Revision("iar_head", layers=layers), tiny(family), [])
    check(Revision("iar_head", layers="all"), tiny(family), [])


@pytest.mark.parametrize("family", HYBRIDS)
def test_heads_of_a_hybrid(family, world, tmp_path):
    """Those of its two blocks with attention, of four heads each."""
    fitting = Fitting(tiny(family), world.examples, [], world.fitting.baseline_answers, tmp_path)
    revised = method(fitting, Revision("iar_head", samples="safety", heads=8))
    edits = revised.setting(None, 2.0).intervention.edits
    assert [(edit.layer, edit.site) for edit in edits] == [(2, "heads"), (4, "heads")]
