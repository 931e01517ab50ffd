"""Prefix states: rows share a state until their edits differ; a state has the edits of its rows."""

import torch
from naive_loop import unit_vector

from calib.engine.batches.prefix_sharing import fork, site_edits
from calib.engine.edits import Edit
from calib.engine.operators import Add

LAYERS = 4
FIRST_PASS = {"differ_in": (True, False), "computed": (True, False)}
SECOND_PASS = {"differ_in": (True, True), "computed": (False, True)}
SINGLE_PASS = {"differ_in": (True, True), "computed": (True, True)}


def edit(layer, seed=0, positions="all", site="residual"):
    return Edit(layer, Add(unit_vector(6, seed)), positions, site)


def counts(states):
    return [states.count(layer) for layer in range(LAYERS + 1)]


def test_each_unedited_prompt_is_one_state():
    states = fork([0, 0, 1, 0], [(), (), (), ()], LAYERS, **SINGLE_PASS)
    assert counts(states) == [2] * 5
    assert states.of_row == [[0, 0, 1, 0]] * 5
    assert not states.edits
    assert all(states.sources(layer, torch.device("cpu")) is None for layer in range(LAYERS))


def test_rows_share_a_state_below_their_first_different_edit():
    rows = [(), (edit(1),), (edit(1), edit(3)), (edit(2),)]
    states = fork([0] * 4, rows, LAYERS, **SINGLE_PASS)
    assert counts(states) == [1, 1, 2, 3, 4]
    assert states.of_row == [[0] * 4, [0] * 4, [0, 1, 1, 0], [0, 1, 1, 2], [0, 1, 2, 3]]


def test_rows_with_equal_edits_share_a_state():
    """Equal tensors in different objects."""
    rows = [(edit(1, 5),), (edit(1, 6),), (edit(1, 5),)]
    states = fork([0] * 3, rows, LAYERS, **SINGLE_PASS)
    assert states.of_row[-1] == [0, 1, 0]
    assert counts(states) == [1, 1, 2, 2, 2]


def test_rows_of_different_prompts_do_not_share_a_state():
    states = fork([0, 1], [(edit(0),), (edit(0),)], LAYERS, **SINGLE_PASS)
    assert counts(states) == [2] * 5
    assert [len(edits) for edits in states.edits[0, "residual"]] == [1, 1]


def test_the_order_of_edits_at_one_site_matters():
    first, second = edit(1, 1), edit(1, 2)
    states = fork(
        [0] * 3, [(first, second), (second, first), (first, second)], LAYERS, **SINGLE_PASS
    )
    assert states.of_row[-1] == [0, 1, 0]
    assert states.edits[1, "residual"] == [(first, second), (second, first)]


def test_the_order_of_edits_at_different_layers_does_not_matter():
    low, high = edit(0, 1), edit(2, 2)
    states = fork([0, 0], [(low, high), (high, low)], LAYERS, **SINGLE_PASS)
    assert counts(states) == [1] * 5
    assert [states.edits[0, "residual"], states.edits[2, "residual"]] == [[(low,)], [(high,)]]


def test_the_first_pass_ignores_edits_of_the_last_token():
    rows = [(), (edit(0, 1, "image"),), (edit(0, 2, "last_prompt"),), (edit(0, 3, "response"),)]
    states = fork([0] * 4, rows, LAYERS, **FIRST_PASS)
    assert states.of_row[-1] == [0, 1, 0, 0]
    assert states.edits[0, "residual"] == [(), rows[1]]


def test_the_second_pass_keeps_earlier_differences_and_applies_only_its_own_edits():
    rows = [
        (),
        (edit(0, 1, "image"),),
        (edit(0, 2, "last_prompt"),),
        (edit(0, 3, "response"),),
        (edit(0, 4, "image"), edit(0, 5, "prompt")),
    ]
    states = fork([0] * 5, rows, LAYERS, **SECOND_PASS)
    assert states.of_row[-1] == [0, 1, 2, 3, 4]
    assert states.edits[0, "residual"] == [(), (), rows[2], rows[3], rows[4][1:]]


def test_each_state_continues_from_the_earlier_state_of_its_rows():
    rows = [(edit(0, 1),), (), (edit(0, 1), edit(2, 2)), (edit(2, 2),), (edit(2, 3),)]
    states = fork([0, 0, 0, 0, 1], rows, LAYERS, **SINGLE_PASS)
    for layer in range(LAYERS):
        sources = states.sources(layer, torch.device("cpu"))
        before = list(range(states.count(layer))) if sources is None else sources.tolist()
        for row in range(len(rows)):
            assert before[states.of_row[layer + 1][row]] == states.of_row[layer][row]
    prompts = states.prompts(LAYERS, torch.device("cpu")).tolist()
    assert [prompts[state] for state in states.of_row[LAYERS]] == [0, 0, 0, 0, 1]


def test_masks_follow_the_prompts_of_the_states():
    rows = [(edit(0, 1, "text"),), (edit(0, 2, "text"),), (edit(0, 1, "image"),)]
    states = fork([0, 0, 1], rows, LAYERS, **SINGLE_PASS)
    masks = {
        "text": torch.tensor([[True, True, False], [True, False, False]]),
        "image": torch.tensor([[False, False, True], [False, True, True]]),
    }
    edits = site_edits(states, (0, "residual"), torch.device("cpu"), masks)
    changed = edits.apply(torch.zeros(3, 3, 6)).abs().sum(-1) > 0
    assert torch.equal(changed, torch.stack([masks["text"][0]] * 2 + [masks["image"][1]]))
    assert site_edits(states, (1, "residual"), torch.device("cpu"), masks) is None


def test_rows_edited_inside_a_block_fork_before_it():
    rows = [
        (),
        (edit(0, site="mlp"),),
        (edit(2, site="heads"),),
        (edit(1),),
        (edit(1), edit(2, site="heads")),
        (edit(3, site="mlp"),),
    ]
    states = fork([0] * 6, rows, LAYERS, **SINGLE_PASS)
    assert counts(states) == [2, 2, 5, 6, 6]
    assert states.of_row[0] == [0, 1, 0, 0, 0, 0]
    assert states.of_row[2] == [0, 1, 2, 3, 4, 0]
    assert states.edits.keys() == {(0, "mlp"), (1, "residual"), (2, "heads"), (3, "mlp")}
    assert states.edits[0, "mlp"] == [(), rows[1]]
    assert states.edits[1, "residual"] == [(), (), (), rows[3], rows[4][:1]]
    assert states.edits[2, "heads"] == [(), (), rows[2], (), rows[4][1:]]
    assert states.edits[3, "mlp"] == [(), (), (), (), (), rows[5]]


def test_the_order_of_edits_at_different_sites_does_not_matter():
    heads, mlp = edit(1, 1, site="heads"), edit(1, 2, site="mlp")
    states = fork([0] * 3, [(heads, mlp), (mlp, heads), (heads,)], LAYERS, **SINGLE_PASS)
    assert states.of_row[-1] == [0, 0, 1]
    assert states.edits[1, "heads"] == [(heads,), (heads,)]
    assert states.edits[1, "mlp"] == [(mlp,), ()]


def test_masks_follow_states_that_fork_before_the_first_layer():
    rows = [(), (edit(0, 1, "image", "heads"),), (edit(0, 1, "text", "heads"),), ()]
    states = fork([0, 0, 1, 1], rows, LAYERS, **SINGLE_PASS)
    assert counts(states) == [4] * 5
    cpu = torch.device("cpu")
    assert states.prompts(0, cpu).tolist() == [0, 0, 1, 1]
    masks = {
        "text": torch.tensor([[True, True, False], [True, False, False]]),
        "image": torch.tensor([[False, False, True], [False, True, True]]),
    }
    edited = site_edits(states, (0, "heads"), cpu, masks).apply(torch.zeros(4, 3, 6))
    nowhere = torch.zeros(3, dtype=torch.bool)
    expected = torch.stack([nowhere, masks["image"][0], masks["text"][1], nowhere])
    assert torch.equal(edited.abs().sum(-1) > 0, expected)


def test_masks_inside_a_block_follow_the_states_before_it():
    """Not the states after it, where other rows fork."""
    rows = [(), (edit(0, 1, "text"),), (edit(0, 1, "text", "heads"),)]
    states = fork([0, 0, 1], rows, LAYERS, **SINGLE_PASS)
    assert counts(states)[:2] == [2, 3]
    masks = {"text": torch.tensor([[True, True, False], [True, False, False]])}
    edited = site_edits(states, (0, "heads"), torch.device("cpu"), masks)
    edited = edited.apply(torch.zeros(2, 3, 6))
    assert torch.equal(
        edited.abs().sum(-1) > 0, torch.stack([torch.zeros(3) > 0, masks["text"][1]])
    )
