"""An edit that is too strong spoils its own rows only, although vLLM does not clear its cache."""

import torch
from edited_rows import operators
from logit_ties import TIE, first_difference, gap

from calib.engine.edits import Edit
from calib.engine.operators import Add
from calib.engine.request import Request

HUGE = 3e38
"""Twice this is infinite in float32."""


def test_rows_beside_and_after_an_overflow_are_those_of_transformers(world):
    huge = Add(torch.full((world.vlm.width,), HUGE))
    settings = [
        (),
        (Edit(1, huge), Edit(2, huge)),
        (Edit(1, operators(world.vlm.width, 3, 3.0)[0]),),
        (Edit(1, huge, "response"), Edit(2, huge, "response")),
    ]
    rows = [(example, edits) for example in world.examples[:5] for edits in settings] * 2
    requests = [Request(example, edits) for example, edits in rows]
    ours, theirs = (engine.answer(requests) for engine in world.engines())
    assert [r.finish == "not_finite" for r in ours] == [False, True, False, True] * 10
    for (example, edits), one, other in zip(rows, ours, theirs, strict=True):
        if first_difference(one.tokens, other.tokens) is not None:
            assert gap(world.vlm, example, edits, one.tokens, other.tokens) < TIE
        else:
            assert (other.text, other.finish) == (one.text, one.finish)
    # Nothing is left for the tests that follow.
    _, engine = world.engines()
    assert all(r.finish != "not_finite" for r in engine.answer([requests[0]] * 20))
