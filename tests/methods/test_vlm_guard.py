"""VLM-Guard removes the picture's shift in the safety subspace and amplifies unsafe components."""

from dataclasses import replace

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same
from raising import raises

from calib.config.method import Subspace
from calib.interventions.fitting import Fitting
from calib.methods.vlm_guard import method


def spanning(world, text_only):
    """Unsafe and safe train queries whose differences span the subspace."""
    pairs = list(zip(world.twins("unsafe"), world.twins("safe"), strict=True))
    if text_only:
        pairs = [
            (replace(unsafe, picture=None), replace(safe, picture=None))
            for unsafe, safe in pairs
            if unsafe.query != safe.query
        ]
        assert 0 < len(pairs) < len(world.twins("safe"))
    return zip(*pairs, strict=True)


def guarded(world, example, layer, rank, strength, text_only=True):
    """The edited activation, whether it was classified as unsafe, and the original activation."""
    sides = [world.plain.last(side, layer) for side in spanning(world, text_only)]
    differences = sides[0] - sides[1]
    v = np.linalg.svd(differences)[2][:rank]
    first = v[0] * np.sign(v[0] @ differences.mean(0))
    hidden = world.plain.last([example], layer)[0]
    shift = hidden - world.plain.last([replace(example, picture=None)], layer)[0]
    removed = hidden - strength * shift @ v.T @ v
    unsafe = bool(removed @ first > 0)
    return removed + strength * unsafe * removed @ v.T @ v, unsafe, hidden


@pytest.mark.parametrize(("rank", "text_only"), [(1, True), (3, True), (3, False)])
@pytest.mark.parametrize("strength", [-2.0, 1.0, 3.0])
@pytest.mark.parametrize("picture", [True, False])
def test_both_steps_follow_the_formula(world, rank, text_only, strength, picture):
    example, layers = world.test_example(picture), (3, 4, 5)

    def change(layer):
        after, _, before = guarded(world, example, layer, rank, strength, text_only)
        return FormulaEdit(layer, "last_prompt", lambda h: h + after - before)

    config = Subspace(
        "vlm_guard", layers="upper", all_layers_at_once=True, rank=rank, text_only=text_only
    )
    setting = method(world.fitting, config).setting(None, strength)
    require_same(world, setting, example, [change(layer) for layer in layers])


def test_some_examples_are_classified_as_unsafe_and_others_not(world):
    tested = [*world.twins("unsafe", "test"), *world.twins("safe", "test")]
    config = Subspace("vlm_guard", text_only=False)
    edits = method(world.fitting, config).setting(3, 1.0).intervention.edits_for(tested)
    classified = []
    for example, (edit,) in zip(tested, edits, strict=True):
        after, unsafe, before = guarded(world, example, 3, 3, 1.0, text_only=False)
        np.testing.assert_allclose(edit.operator.vector.numpy(), after - before, atol=1e-3)
        classified.append(unsafe)
    assert 0 < sum(classified) < len(tested)


def test_pictures_are_shown_where_all_queries_of_pairs_are_equal(world, tmp_path):
    twins = [example for example in world.examples if example.dataset == "image_centric"]
    fitting = Fitting(world.vlm, twins, [], world.fitting.baseline_answers, tmp_path)
    count = sum(e.split == "train" for e in twins) // 2
    note = method(fitting, Subspace("vlm_guard")).notes[0]
    assert f"{count} train pairs, with their pictures" in note


def test_a_rank_of_0_is_refused():
    with raises("invalid-setting", "method.rank", 0):
        Subspace("vlm_guard", rank=0)
