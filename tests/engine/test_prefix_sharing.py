"""States: rows are one until an edit tells them apart, and a state's edits are its rows'."""

import torch
from naive_loop import unit_vector

from calib.engine.edits import Edit
from calib.engine.operators import Add
from calib.engine.prefix_sharing import fork, site_edits

LAYERS = 4
PREFIX = {"parts": (True, False), "shown": (True, False)}
LAST = {"parts": (True, True), "shown": (False, True)}
WHOLE = {"parts": (True, True), "shown": (True, True)}


def edit(layer, seed=0, positions="all", site="residual"):
    return Edit(layer, Add(unit_vector(6, seed)), positions, site)


def counts(states):
    return [states.count(layer) for layer in range(LAYERS + 1)]


def test_prompts_without_edits_are_one_state_each():
    states = fork([0, 0, 1, 0], [(), (), (), ()], LAYERS, **WHOLE)
    assert counts(states) == [2] * 5
    assert states.of_row == [[0, 0, 1, 0]] * 5
    assert not states.edits
    assert all(states.spread(layer, torch.device("cpu")) is None for layer in range(LAYERS))


def test_rows_share_what_is_below_their_first_difference():
    rows = [(), (edit(1),), (edit(1), edit(3)), (edit(2),)]
    states = fork([0] * 4, rows, LAYERS, **WHOLE)
    assert counts(states) == [1, 1, 2, 3, 4]
    assert states.of_row == [[0] * 4, [0] * 4, [0, 1, 1, 0], [0, 1, 1, 2], [0, 1, 2, 3]]


def test_equal_edits_of_other_rows_are_one():
    """Equal in what they do: the objects differ."""
    rows = [(edit(1, 5),), (edit(1, 6),), (edit(1, 5),)]
    states = fork([0] * 3, rows, LAYERS, **WHOLE)
    assert states.of_row[-1] == [0, 1, 0]
    assert counts(states) == [1, 1, 2, 2, 2]


def test_equal_edits_of_other_prompts_are_not_one():
    states = fork([0, 1], [(edit(0),), (edit(0),)], LAYERS, **WHOLE)
    assert counts(states) == [2] * 5
    assert [len(edits) for edits in states.edits[0, "residual"]] == [1, 1]


def test_the_order_of_edits_after_one_layer_matters():
    one, other = edit(1, 1), edit(1, 2)
    states = fork([0] * 3, [(one, other), (other, one), (one, other)], LAYERS, **WHOLE)
    assert states.of_row[-1] == [0, 1, 0]
    assert states.edits[1, "residual"] == [(one, other), (other, one)]


def test_the_order_of_edits_after_several_layers_does_not_matter():
    low, high = edit(0, 1), edit(2, 2)
    states = fork([0, 0], [(low, high), (high, low)], LAYERS, **WHOLE)
    assert counts(states) == [1] * 5
    assert [states.edits[0, "residual"], states.edits[2, "residual"]] == [[(low,)], [(high,)]]


def test_before_the_last_token_only_edits_there_count():
    rows = [(), (edit(0, 1, "image"),), (edit(0, 2, "last_prompt"),), (edit(0, 3, "response"),)]
    states = fork([0] * 4, rows, LAYERS, **PREFIX)
    assert states.of_row[-1] == [0, 1, 0, 0]
    assert states.edits[0, "residual"] == [(), rows[1]]


def test_at_the_last_token_rows_differ_in_what_was_before_but_are_edited_there():
    rows = [
        (),
        (edit(0, 1, "image"),),
        (edit(0, 2, "last_prompt"),),
        (edit(0, 3, "response"),),
        (edit(0, 4, "image"), edit(0, 5, "prompt")),
    ]
    states = fork([0] * 5, rows, LAYERS, **LAST)
    assert states.of_row[-1] == [0, 1, 2, 3, 4]
    assert states.edits[0, "residual"] == [(), (), rows[2], rows[3], rows[4][1:]]


def test_each_state_comes_from_the_one_that_its_rows_were_in():
    rows = [(edit(0, 1),), (), (edit(0, 1), edit(2, 2)), (edit(2, 2),), (edit(2, 3),)]
    states = fork([0, 0, 0, 0, 1], rows, LAYERS, **WHOLE)
    for layer in range(LAYERS):
        spread = states.spread(layer, torch.device("cpu"))
        source = list(range(states.count(layer))) if spread is None else spread.tolist()
        for row in range(len(rows)):
            assert source[states.of_row[layer + 1][row]] == states.of_row[layer][row]
    prompts = states.prompts(LAYERS, torch.device("cpu")).tolist()
    assert [prompts[state] for state in states.of_row[LAYERS]] == [0, 0, 0, 0, 1]


def test_masks_follow_the_prompts_of_the_states():
    rows = [(edit(0, 1, "text"),), (edit(0, 2, "text"),), (edit(0, 1, "image"),)]
    states = fork([0, 0, 1], rows, LAYERS, **WHOLE)
    masks = {
        "text": torch.tensor([[True, True, False], [True, False, False]]),
        "image": torch.tensor([[False, False, True], [False, True, True]]),
    }
    edits = site_edits(states, (0, "residual"), torch.device("cpu"), masks)
    changed = edits.apply(torch.zeros(3, 3, 6)).abs().sum(-1) > 0
    assert torch.equal(changed, torch.stack([masks["text"][0]] * 2 + [masks["image"][1]]))
    assert site_edits(states, (1, "residual"), torch.device("cpu"), masks) is None


def test_rows_edited_within_a_layer_part_before_it():
    rows = [
        (),
        (edit(0, site="mlp"),),
        (edit(2, site="heads"),),
        (edit(1),),
        (edit(1), edit(2, site="heads")),
        (edit(3, site="mlp"),),
    ]
    states = fork([0] * 6, rows, LAYERS, **WHOLE)
    assert counts(states) == [2, 2, 5, 6, 6]
    assert states.of_row[0] == [0, 1, 0, 0, 0, 0]
    assert states.of_row[2] == [0, 1, 2, 3, 4, 0]
    assert states.edits.keys() == {(0, "mlp"), (1, "residual"), (2, "heads"), (3, "mlp")}
    assert states.edits[0, "mlp"] == [(), rows[1]]
    assert states.edits[1, "residual"] == [(), (), (), rows[3], rows[4][:1]]
    assert states.edits[2, "heads"] == [(), (), rows[2], (), rows[4][1:]]
    assert states.edits[3, "mlp"] == [(), (), (), (), (), rows[5]]


def test_the_order_of_edits_at_sites_of_a_layer_does_not_matter():
    one, other = edit(1, 1, site="heads"), edit(1, 2, site="mlp")
    states = fork([0] * 3, [(one, other), (other, one), (one,)], LAYERS, **WHOLE)
    assert states.of_row[-1] == [0, 0, 1]
    assert states.edits[1, "heads"] == [(one,), (one,)]
    assert states.edits[1, "mlp"] == [(other,), ()]


def test_prompts_are_known_where_rows_part_before_the_first_layer():
    rows = [(), (edit(0, 1, "image", "heads"),), (edit(0, 1, "text", "heads"),), ()]
    states = fork([0, 0, 1, 1], rows, LAYERS, **WHOLE)
    assert counts(states) == [4] * 5
    cpu = torch.device("cpu")
    assert states.prompts(0, cpu).tolist() == [0, 0, 1, 1]
    masks = {
        "text": torch.tensor([[True, True, False], [True, False, False]]),
        "image": torch.tensor([[False, False, True], [False, True, True]]),
    }
    found = site_edits(states, (0, "heads"), cpu, masks).apply(torch.zeros(4, 3, 6))
    nowhere = torch.zeros(3, dtype=torch.bool)
    expected = torch.stack([nowhere, masks["image"][0], masks["text"][1], nowhere])
    assert torch.equal(found.abs().sum(-1) > 0, expected)


def test_masks_inside_a_layer_follow_the_states_before_it():
    """Not those behind it, where other rows part."""
    rows = [(), (edit(0, 1, "text"),), (edit(0, 1, "text", "heads"),)]
    states = fork([0, 0, 1], rows, LAYERS, **WHOLE)
    assert counts(states)[:2] == [2, 3]
    masks = {"text": torch.tensor([[True, True, False], [True, False, False]])}
    found = site_edits(states, (0, "heads"), torch.device("cpu"), masks).apply(torch.zeros(2, 3, 6))
    assert torch.equal(found.abs().sum(-1) > 0, torch.stack([torch.zeros(3) > 0, masks["text"][1]]))
