"""States: rows are one until an edit tells them apart, and a state's edits are its rows'."""

import torch
from naive_loop import direction

from calib.engine.edit import Edit
from calib.engine.operators import Add
from calib.engine.states import fork, layer_edits

LAYERS = 4
PREFIX = {"parts": (True, False), "shown": (True, False)}
LAST = {"parts": (True, True), "shown": (False, True)}
WHOLE = {"parts": (True, True), "shown": (True, True)}


def edit(layer, seed=0, positions="all"):
    return Edit(layer, Add(direction(6, seed)), positions)


def counts(states):
    return [states.count(layer) for layer in range(LAYERS + 1)]


def test_prompts_without_edits_are_one_state_each():
    states = fork([0, 0, 1, 0], [(), (), (), ()], LAYERS, **WHOLE)
    assert counts(states) == [2] * 5
    assert states.of_row == [[0, 0, 1, 0]] * 5
    assert not any(any(edits) for edits in states.edits)
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
    assert [len(edits) for edits in states.edits[0]] == [1, 1]


def test_the_order_of_edits_after_one_layer_matters():
    one, other = edit(1, 1), edit(1, 2)
    states = fork([0] * 3, [(one, other), (other, one), (one, other)], LAYERS, **WHOLE)
    assert states.of_row[-1] == [0, 1, 0]
    assert states.edits[1] == [(one, other), (other, one)]


def test_the_order_of_edits_after_several_layers_does_not_matter():
    low, high = edit(0, 1), edit(2, 2)
    states = fork([0, 0], [(low, high), (high, low)], LAYERS, **WHOLE)
    assert counts(states) == [1] * 5
    assert [states.edits[0], states.edits[2]] == [[(low,)], [(high,)]]


def test_before_the_last_token_only_edits_there_count():
    rows = [(), (edit(0, 1, "image"),), (edit(0, 2, "last_prompt"),), (edit(0, 3, "response"),)]
    states = fork([0] * 4, rows, LAYERS, **PREFIX)
    assert states.of_row[-1] == [0, 1, 0, 0]
    assert states.edits[0] == [(), rows[1]]


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
    assert states.edits[0] == [(), (), rows[2], rows[3], rows[4][1:]]


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
    edits = layer_edits(states, 0, torch.device("cpu"), masks)
    changed = edits.apply(torch.zeros(3, 3, 6)).abs().sum(-1) > 0
    assert torch.equal(changed, torch.stack([masks["text"][0]] * 2 + [masks["image"][1]]))
    assert layer_edits(states, 1, torch.device("cpu"), masks) is None
