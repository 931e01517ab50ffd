"""Measure how fast a model reads prompts and decodes, on a few examples of a sweep.

A probe takes a few seconds, and less with a small model. It also generates a few responses without
edits, if that is quick: most responses end long before ``generation.max_new_tokens``.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from calib.data.example import Example
from calib.engine.batches.batching import columns_for, plan_rows
from calib.engine.edits import Edit, Edits
from calib.engine.engine import Engine
from calib.engine.operators import Add
from calib.engine.request import Request
from calib.models.load import VLM
from calib.models.prompts import read_prompts

EXAMPLES = 16
"""Most examples of one kind that are read and answered."""
SETTINGS = 4
"""Settings under which each example's first token is generated."""
SECONDS = 2.0
"""Most seconds of each part of the probe, as far as fewer examples can shorten it."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Rates:
    """Measured speed of one kind of prompts: those with or those without pictures."""

    prompt_tokens: float
    """Mean number of tokens of a prompt."""
    preparing: float
    """Seconds of the processor and the vision tower per prompt."""
    reading: float
    """Seconds of the decoder per prompt."""
    starting: float
    """Seconds of a row's first token where the prompt has been read for another row."""
    rows: int
    """Rows that decode together."""
    columns: int
    """Tokens of the longest row, with its response and spare columns."""
    decoding: float
    """Response tokens per second of that many rows."""
    response_tokens: float
    """Mean number of tokens of a response."""
    responses: int
    """Number of responses that this mean is of; 0 where generation.max_new_tokens stands for it."""


@torch.no_grad()
def measure(engine: Engine, examples: Sequence[Example], longest: Example, rows: int) -> Rates:
    """Measure on examples of one kind, of which ``rows`` rows are generated in one segment.

    ``longest`` is the example with the longest prompt. ``engine`` keeps what it measures, so that a
    run that follows does not measure it again.
    """
    vlm, decoding = engine.vlm, engine.decoding
    first_token = Engine(vlm, replace(decoding, max_new_tokens=1), selfcheck=False)
    sample = spread(examples, EXAMPLES)
    first_token.answer([Request(sample[0])])  # one-time work of the libraries
    _, seconds = _timed(lambda: first_token.answer([Request(sample[0])]))
    chosen = spread(sample[1:], max(1, int(SECONDS / max(seconds, 1e-6)))) or sample
    prompts, preparing = _timed(lambda: read_prompts(vlm, chosen))
    _, preparing_again = _timed(lambda: read_prompts(vlm, chosen))  # with cached features
    requests = [Request(example) for example in chosen]
    _, unedited = _timed(lambda: first_token.answer(requests))
    edits = _edits(vlm)
    edited_too = [Request(request.example, of) for request in requests for of in ((), *edits)]
    _, edited = _timed(lambda: first_token.answer(edited_too))
    planned = plan_rows(vlm, [Request(longest)], decoding)
    columns = columns_for(planned, decoding.max_new_tokens)
    shares = engine.sharing(planned[0]).reason is None
    in_flight = engine.rows_in_flight(planned, rows) if shares else min(engine.batch_rows, rows)
    speed = of_few = None
    if shares:
        speed = engine.speed.of(planned[0], in_flight, columns)
        of_few = engine.speed.of(planned[0], len(chosen), columns)
    if speed is None or of_few is None:
        speed = of_few = _speed_of_answers(engine, requests)
    length, answered = float(decoding.max_new_tokens), 0
    if length * len(chosen) / of_few <= SECONDS:
        responses = Engine(vlm, replace(decoding, kl=False), selfcheck=False).answer(requests)
        answered = len(responses)
        length = sum(len(response.tokens) for response in responses) / answered
    tokens = sum(len(prompt.tokens) for prompt in prompts) / len(prompts)
    return Rates(
        tokens,
        preparing / len(chosen),
        max(0.0, unedited - preparing_again) / len(chosen),
        max(0.0, edited - unedited) / (len(chosen) * len(edits)),
        in_flight,
        columns,
        speed,
        length,
        answered,
    )


def spread(examples: Sequence[Example], count: int) -> list[Example]:
    """Up to ``count`` of the examples, at equal distances."""
    count = min(count, len(examples))
    return [examples[k * len(examples) // count] for k in range(count)]


def _edits(vlm: VLM) -> list[Edits]:
    """Edits at some layers that change nothing, but have to be made."""
    operator = Add(torch.zeros(vlm.width))
    layers = sorted({vlm.num_layers * k // SETTINGS for k in range(SETTINGS)})
    return [(Edit(layer, operator, "response"),) for layer in layers]


def _speed_of_answers(engine: Engine, requests: Sequence[Request]) -> float:
    """Response tokens per second where rows do not share computation, prompts included."""
    few = replace(engine.decoding, kl=False, max_new_tokens=min(8, engine.decoding.max_new_tokens))
    responses, seconds = _timed(lambda: Engine(engine.vlm, few, selfcheck=False).answer(requests))
    return sum(len(response.tokens) for response in responses) / seconds


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started
