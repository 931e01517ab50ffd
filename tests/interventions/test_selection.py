"""Candidates of a selection, refusal tokens, and what is done where none passes."""

import pytest
import torch
from raising import raises

from calib.config.method import Ablation
from calib.engine.reading import ModelReader
from calib.interventions.contrasts import ContrastSides
from calib.interventions.refusal_score import refusal_scores, refusal_tokens
from calib.interventions.selection import (
    Candidate,
    best_candidate,
    candidate_layers,
    select_candidate,
    template_positions,
)
from calib.methods.ablate import method


def candidate(layer, refusal, kl, induced=1.0):
    return Candidate("last_prompt", layer, refusal, kl, induced)


def test_the_lowest_refusal_score_within_the_limit_wins():
    low, high, costly = candidate(0, -2.0, 0.1), candidate(1, 3.0, 0.0), candidate(2, -5.0, 0.2)
    assert best_candidate([high, low, costly], 0.1) == low
    silent = candidate(3, -9.0, 0.05, induced=-0.1)
    assert best_candidate([high, low, costly, silent], 0.1) == low


def test_a_condition_that_no_candidate_meets_is_dropped():
    silent = [candidate(0, -1.0, 0.05, -1.0), candidate(1, -2.0, 0.1, -1.0)]
    assert best_candidate([*silent, candidate(2, -3.0, 0.3)], 0.1) == silent[1]
    costly = [candidate(0, -1.0, 0.3), candidate(1, -2.0, 0.5), candidate(2, -3.0, float("nan"))]
    assert best_candidate(costly, 0.1) == costly[0]


def test_no_candidate_can_be_selected_where_none_has_finite_scores():
    with raises("no-solution", "method.selection=published", "2 candidates"):
        best_candidate([candidate(0, float("nan"), 0.0), candidate(1, -1.0, float("inf"))], 0.1)


def test_directions_without_a_length_are_no_candidates(world):
    config = Ablation("ablate", selection="published", layers=[4])
    zeros = torch.zeros(world.vlm.num_layers, world.vlm.width)
    with raises("no-solution", "method.selection=published"):
        select_candidate(world.fitting, config, "safety", lambda positions: zeros, induce=True)


def test_tokens_of_the_template_are_candidates(world):
    positions = ["last_prompt", *(f"last_prompt-{back}" for back in (1, 2, 3, 4))]
    assert template_positions(world.vlm, world.test_example()) == positions


@pytest.mark.parametrize(
    ("layers", "expected"), [("all", [0, 1, 2]), ("upper", [3]), ([4, 5], [4, 5]), (5, [5])]
)
def test_the_last_layers_are_no_candidates_unless_named(world, layers, expected):
    assert candidate_layers(world.fitting, Ablation("ablate", layers=layers)) == expected


def test_refusal_scores_are_log_odds():
    logits = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]]).log()
    scores = refusal_scores(logits, [0, 1])
    torch.testing.assert_close(scores.exp(), torch.tensor([3 / 7, 3.0]).double())
    assert refusal_scores(torch.tensor([0.0, 500.0]), [1]).isfinite()


def test_without_tokens_that_begin_refusals_there_is_no_score(world):
    same = world.twins("unsafe")[:2]
    with raises("too-few", "method.selection=grid"):
        refusal_tokens(
            ModelReader(world.vlm), ContrastSides(same, same, ["a", "b"], ["a", "b"], True)
        )


def test_the_run_reports_the_selection(world):
    config = Ablation(
        "ablate", contrast="true_refusal", positions="all", selection="published", layers=[4]
    )
    ablated = method(world.fitting, config)
    assert list(ablated.layers) == [4] and ablated.direction.contrast == "true_refusal"
    (note,) = ablated.notes
    assert ablated.direction.read_positions in note and "layer 4" in note
