"""Gates: the selection of layer and threshold, and the examples they open for."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from by_hand import FormulaEdit, require_same
from raising import raises
from sklearn.linear_model import LogisticRegression

from calib.config.steering import Steer
from calib.interventions.fitting import Fitting
from calib.interventions.gates import GATES, Gate, Search, best_threshold, fit_gate
from calib.methods.steer import method


def f1(opened, unsafe):
    hits = sum(o and u for o, u in zip(opened, unsafe, strict=True))
    return 2 * hits / (sum(opened) + sum(unsafe))


def brute_force(scores, unsafe, sides):
    """The best F1 of any threshold."""
    thresholds = [*scores, max(scores) + 1]
    return max(
        f1([(s >= t) == above for s in scores], unsafe) for t in thresholds for above in sides
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("both_sides", [True, False])
def test_no_threshold_has_a_better_f1(seed, both_sides):
    draw = np.random.default_rng(seed)
    unsafe = draw.random(20) < 0.5
    scores = (draw.integers(0, 8, 20) + (3 - 6 * (seed % 2)) * unsafe) / 10
    if seed > 2:  # close together, with a few far away
        scores *= np.where(draw.random(20) < 0.9, 1e-4, 1e4)
    scores = scores.astype("float32")
    search = Search(side="auto" if both_sides else "above")
    best = best_threshold(torch.tensor(scores), torch.tensor(unsafe), search)
    opened = [(s >= best.threshold) == best.above for s in scores]
    assert best.f1 == pytest.approx(f1(opened, unsafe))
    assert best.f1 == pytest.approx(
        brute_force(scores, unsafe, (True, False) if both_sides else (True,))
    )
    opened = np.array(opened)
    assert best.unsafe_open == pytest.approx(opened[unsafe].mean())
    assert best.safe_open == pytest.approx(opened[~unsafe].mean())
    if both_sides and seed == 1:
        assert not best.above


@pytest.mark.parametrize("above", [True, False])
def test_the_threshold_lies_between_the_classes(above):
    scores = torch.tensor([0.0, 0.1, 0.9, 1.0])
    unsafe = torch.tensor([False, False, True, True])
    best = best_threshold(scores, unsafe if above else ~unsafe)
    assert (best.above, best.f1) == (above, 1.0)
    assert best.threshold == pytest.approx(0.5)


def test_a_given_threshold_is_used():
    scores, unsafe = torch.tensor([0.0, 0.4, 0.6, 1.0]), torch.tensor([False, True, True, True])
    best = best_threshold(scores, unsafe, Search(0.5))
    assert (best.threshold, best.above) == (0.5, True)
    assert best.f1 == pytest.approx(2 * 2 / (2 + 3))
    assert best_threshold(scores, ~unsafe, Search(0.5)).above is False


@pytest.mark.parametrize("above", [True, False])
def test_a_gate_opens_on_its_side_of_the_threshold(above):
    gate = Gate(lambda examples: torch.tensor([0.2, 0.5, 0.8]), 0.5, above, False, "")
    edits, otherwise = ("in",), ("out",)
    assert gate.open([1, 2, 3]) == [not above, above, above]
    expected = [edits if opened else otherwise for opened in gate.open([1, 2, 3])]
    assert list(gate.rule(edits, otherwise)([1, 2, 3])) == expected


def probabilities(world, layer, examples):
    """p(unsafe | h) of a logistic regression on activations at a mean square of 1."""
    unsafe, safe = (world.plain.last(world.twins(s), layer) for s in ("unsafe", "safe"))
    both = np.r_[unsafe, safe]
    scale = np.sqrt((both**2).mean())
    probe = LogisticRegression(max_iter=1000)
    probe.fit(both / scale, np.r_[np.ones(len(unsafe)), np.zeros(len(safe))])
    weight, offset = probe.coef_[0], probe.intercept_[0]
    return 1 / (1 + np.exp(-(world.plain.last(examples, layer) / scale @ weight + offset)))


def test_the_probe_decides_which_examples_are_steered(world):
    config = Steer(gate="probe", gate_layers=4, threshold=0.5)
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    expected = probabilities(world, 4, tested)
    scores = fit_gate(world.fitting, config).scores(tested).numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    edits = method(world.fitting, config).setting(3, 2.0).intervention.edits_for(tested)
    assert [bool(example_edits) for example_edits in edits] == list(expected >= 0.5)
    assert 0 < sum(expected >= 0.5) < len(tested)
    unsafe, safe = world.means(3)
    steered = method(world.fitting, config).setting(3, 2.0)
    change = FormulaEdit(3, "response", lambda h: h + 2 * (unsafe - safe))
    opened = next(e for e, p in zip(tested, expected, strict=True) if p >= 0.5)
    require_same(world, steered, opened, [change])


@pytest.mark.parametrize("kind", ["probe", "cosine"])
def test_the_gate_is_at_the_layer_with_the_best_f1(world, kind):
    config = Steer(gate=kind, gate_layers="upper")
    examples = [*world.twins("unsafe", "validation"), *world.twins("safe", "validation")]
    unsafe = torch.tensor([example.safety == "unsafe" for example in examples])
    best = []
    for layer in (3, 4, 5):
        at = fit_gate(world.fitting, Steer(gate=kind, gate_layers=layer))
        best.append(best_threshold(at.scores(examples), unsafe).f1)
    gate = fit_gate(world.fitting, config)
    layer = 3 + int(np.argmax(best))
    for value in (f"layer {layer}", f"F1 {max(best):.2f}", f"n = {len(examples)}"):
        assert value in gate.note


def test_the_note_has_the_open_rates_of_every_part(world):
    gate = fit_gate(world.fitting, Steer(gate="probe", gate_layers=3))
    for part in ("image_centric", "text_centric"):
        counts = []
        for safety in ("unsafe", "safe"):
            examples = [e for e in world.twins(safety, "validation") if e.dataset == part]
            counts.append(f"{sum(gate.open(examples))}/{len(examples)} of {safety}")
        assert f"{part} {counts[0]} and {counts[1]}" in gate.note


def test_a_gate_needs_validation_pairs(world, tmp_path):
    others = [e for e in world.examples if e.split != "validation"]
    fitting = Fitting(world.vlm, others, [], world.fitting.baseline_answers, tmp_path)
    with raises("too-few", "probe", "validation"):
        method(fitting, Steer(gate="probe"))


@pytest.mark.filterwarnings("error")
def test_a_probe_of_activations_that_are_all_zero_is_undecided():
    """As of a site that a model skips for its prompts."""
    sides = SimpleNamespace(positive=[None] * 4, negative=[None] * 4)
    fitting = SimpleNamespace(
        sides=lambda *_: sides,
        activations=lambda examples, *_: torch.zeros(len(examples), 1, 6),
    )
    scores = GATES["probe"](fitting, 3, "last_prompt")([None] * 3)
    assert scores.tolist() == pytest.approx([0.5] * 3)
    best = best_threshold(scores, torch.tensor([True, False, False]))
    assert (best.unsafe_open, best.safe_open) == (1.0, 1.0)
