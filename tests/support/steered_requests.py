"""Requests of the tiny InternVL with edits, for tests of how the engine forms batches."""

import functools

from naive_loop import unit_vector
from tiny_families import examples, tiny

from calib.engine.edits import Edit
from calib.engine.operators import Add
from calib.engine.request import Request


@functools.cache
def steered_requests():
    """24 rows of six prompts, with edits of the prompt or of the response."""
    width = tiny("internvl").width
    return [
        Request(example, (Edit(k, Add(5 * unit_vector(width, k)), positions),) if k else ())
        for example in examples(6)
        for k, positions in enumerate(("", "all", "response", "text"))
    ]
