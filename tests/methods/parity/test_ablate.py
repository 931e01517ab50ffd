"""Ablation beside andyrdt/refusal_direction, and surgical ablation beside its authors' formula, on
random activations; the scores of the selection are those of the model, by plain hooks.

Candidates are mean differences at the tokens after the instruction, at the inputs of the first 80 %
of the blocks. KL is sum p_base (log p_base - log p_ablated) at the last token of harmless prompts;
the refusal score is log P(refusal tokens) - log(1 - P) at the last token. The least refusal score
under ablation wins among the candidates with KL <= threshold and an induced score >= 0.
"""

from functools import partial

import numpy as np
import pytest
import torch
from by_hand import unit
from composing import composed
from fitting_world import refused
from naive_loop import hook_at_site, inputs

from calib.interventions.selection import Candidate, best_candidate
from calib.methods import ablate, surgical

TOKENS_AFTER_THE_QUERY = 5  # <|im_end|>, newline, <|im_start|>, assistant, newline
LAYERS = (0, 1, 2)  # inputs of blocks 1 to 3, which are below int(0.8 x 6) = 4
FEW = 5
"""Validation queries of a side that candidates are measured on here, for speed."""
PLACES = [
    (f"last_prompt-{back}" if back else "last_prompt", layer)
    for back in range(TOKENS_AFTER_THE_QUERY)
    for layer in LAYERS
]


@torch.no_grad()
def last_logits(vlm, example, changes=()):
    """Logits at the last prompt token, with formulas at the outputs of blocks. # [vocabulary]"""
    hooks = [hook_at_site(vlm, layer, "residual", change) for layer, change in changes]
    logits = vlm.model(**inputs(vlm, example)).logits[0, -1].double()
    for hook in hooks:
        hook.remove()
    return logits


def mean(fitting, examples, place):
    positions, layer = place
    return fitting.activations(examples, [layer], positions)[:, 0].double().mean(0)


def ablation(vlm, direction):
    unit_vector = (direction / direction.norm()).float()
    return [
        (layer, lambda h: h - (h @ unit_vector)[..., None] * unit_vector)
        for layer in range(vlm.num_layers)
    ]


def spread(examples):
    return examples[:: -(-len(examples) // FEW)]


def ordered(world, safety, split, refused_ones):
    """The examples of one side in the order of the data."""
    return [
        e for e in world.fitting.twins(split) if e.safety == safety and refused(e) == refused_ones
    ]


def refusal_tokens(vlm, refused_examples, answered_examples):
    shares = []
    for examples in (refused_examples, answered_examples):
        first = [int(last_logits(vlm, e).argmax()) for e in examples]
        shares.append({token: first.count(token) / len(first) for token in set(first)})
    return [token for token, share in shares[0].items() if share > shares[1].get(token, 0.0)]


def score(logits, tokens):
    share = logits.softmax(-1)[tokens].sum()
    return float(torch.log(share + 1e-8) - torch.log(1 - share + 1e-8))


def divergence(base, other):
    p, q = base.log_softmax(-1), other.log_softmax(-1)
    return float((p.exp() * (p - q)).sum())


def measured(world, fitting, vectors, sides, tokens, induce):
    """Every candidate by plain forward passes, with the authors' formulas."""
    vlm, candidates = world.vlm, []
    refused_ones, harmless = sides
    base = [last_logits(vlm, e) for e in harmless]
    for (positions, layer), vector in zip(PLACES, vectors, strict=True):
        ablated = ablation(vlm, vector)
        added = [(layer, partial(torch.add, vector.float()))]
        candidates.append(
            Candidate(
                positions,
                layer,
                np.mean([score(last_logits(vlm, e, ablated), tokens) for e in refused_ones]),
                np.mean(
                    [
                        divergence(b, last_logits(vlm, e, ablated))
                        for b, e in zip(base, harmless, strict=True)
                    ]
                ),
                np.mean([score(last_logits(vlm, e, added), tokens) for e in harmless])
                if induce
                else 0.0,
            )
        )
    return candidates


def authors_choice(candidates, kl):
    passing = [c for c in candidates if c.kl <= kl and c.induced >= 0]
    return sorted(passing, key=lambda c: c.refusal)[0] if passing else None


@pytest.fixture
def seen(monkeypatch):
    """The candidates that a method chooses from."""
    candidates = []

    def record(given, kl):
        candidates.extend(given)
        return best_candidate(given, kl)

    monkeypatch.setattr("calib.interventions.selection.best_candidate", record)
    monkeypatch.setattr("calib.interventions.selection.EXAMPLES", FEW)
    return candidates


def require_candidates(seen, expected):
    assert [(c.positions, c.layer) for c in seen] == PLACES
    for field in ("refusal", "kl", "induced"):
        given, by_hand = ([getattr(c, field) for c in cs] for cs in (seen, expected))
        np.testing.assert_allclose(given, by_hand, rtol=2e-3, atol=2e-4)


def test_ablate_measures_and_selects_as_the_authors_do(world, random_fitting, seen):
    fitted = ablate.method(random_fitting, composed("sweep", "method=ablate").method)
    unsafe, safe = (
        ordered(world, safety, "train", is_refused)
        for safety, is_refused in (("unsafe", True), ("safe", False))
    )
    vectors = [mean(random_fitting, unsafe, p) - mean(random_fitting, safe, p) for p in PLACES]
    sides = [
        spread(ordered(world, safety, "validation", is_refused))
        for safety, is_refused in (("unsafe", True), ("safe", False))
    ]
    tokens = refusal_tokens(world.vlm, unsafe, safe)
    expected = measured(world, random_fitting, vectors, sides, tokens, induce=True)
    require_candidates(seen, expected)
    chosen = best_candidate(expected, 0.1)
    place = (chosen.positions, chosen.layer)
    assert list(fitted.layers) == [chosen.layer]
    direction = unit(vectors[PLACES.index(place)].numpy())
    np.testing.assert_allclose(
        fitted.direction.vectors[chosen.layer].numpy(), direction, rtol=1e-3, atol=1e-4
    )
    hidden = np.random.default_rng(0).normal(size=len(direction))
    for edit in fitted.setting(chosen.layer, 1.0).intervention.edits:
        tensors = [tensor.double()[None, None] for tensor in edit.operator.tensors()]
        state = edit.operator.formula(torch.from_numpy(hidden)[None, None], *tensors)[0, 0]
        np.testing.assert_allclose(
            state.numpy(), hidden - (hidden @ direction) * direction, atol=1e-4
        )
        assert edit.positions == "all"


def test_surgical_measures_and_selects_as_the_authors_do(world, random_fitting, seen):
    fitted = surgical.method(random_fitting, composed("sweep", "method=surgical").method)
    pseudo, harmless, harmful = (
        ordered(world, safety, "train", is_refused)
        for safety, is_refused in (("safe", True), ("safe", False), ("unsafe", True))
    )
    vectors = []
    for place in PLACES:
        w, r = (
            mean(random_fitting, side, place) - mean(random_fitting, harmless, place)
            for side in (pseudo, harmful)
        )
        vectors.append(w - (w @ r) / (r @ r) * r)
    sides = [spread(ordered(world, "safe", "validation", r)) for r in (True, False)]
    tokens = refusal_tokens(world.vlm, pseudo, harmless)
    expected = measured(world, random_fitting, vectors, sides, tokens, induce=False)
    require_candidates(seen, expected)
    chosen = best_candidate(expected, 0.2)
    assert list(fitted.layers) == [chosen.layer]
    vector = unit(vectors[PLACES.index((chosen.positions, chosen.layer))].numpy())
    (edit, *_) = fitted.setting(chosen.layer, 1.0).intervention.edits
    np.testing.assert_allclose(edit.operator.direction.numpy(), vector, rtol=1e-3, atol=2e-4)


def test_the_choice_is_the_authors_wherever_a_candidate_passes():
    generator = np.random.default_rng(1)
    passed = 0
    for _ in range(200):
        candidates = [
            Candidate("last_prompt", layer, *generator.normal(size=1), *generator.random(1), *i)
            for layer, i in enumerate(generator.normal(loc=-0.5, size=(6, 1)))
        ]
        theirs = authors_choice(candidates, 0.1)
        if theirs is not None:
            assert best_candidate(candidates, 0.1) == theirs
            passed += 1
        else:  # the authors' code stops here
            within = [c for c in candidates if c.kl <= 0.1]
            expected = min(within, key=lambda c: c.refusal) if within else None
            chosen = best_candidate(candidates, 0.1)
            assert chosen == (expected or min(candidates, key=lambda c: c.kl))
    assert 20 < passed < 180
