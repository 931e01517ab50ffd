"""Responses under an intervention: as many prompts per example as its prompt flow has steps."""

import warnings
from collections.abc import Sequence

from calib.data.example import Example
from calib.engine.edits import Edits
from calib.engine.engine import Engine
from calib.engine.request import Request
from calib.interventions.intervention import Intervention, SinglePrompt
from calib.util.thoughts import final_answer

_UNCHANGED = SinglePrompt(lambda example: example)


def respond(
    engine: Engine, intervention: Intervention, edits: Edits, examples: Sequence[Example]
) -> list[str]:
    """The response to each example under ``intervention``, and then under further ``edits``.

    In a prompt flow of several steps, the edits are made in each of them.
    """
    flow = intervention.prompt_flow or _UNCHANGED
    texts: list[list[str]] = [[] for _ in examples]
    final: dict[int, int] = {}
    overflowed = 0
    prompts = dict(enumerate(flow.next(example, []) for example in examples))
    while prompts:
        rows = list(prompts)
        shown = [prompt for prompt in prompts.values() if isinstance(prompt, Example)]
        assert len(shown) == len(rows), "a prompt flow begins with a prompt"
        of_method = intervention.edits_for(shown)
        requests = [
            Request(prompt, (*own, *edits), seed=row)
            for row, prompt, own in zip(rows, shown, of_method, strict=True)
        ]
        for row, response in zip(rows, engine.answer(requests), strict=True):
            texts[row].append(response.text)
            overflowed += response.finish == "not_finite"
        prompts = {}
        for row in rows:
            step = flow.next(examples[row], [final_answer(text) for text in texts[row]])
            if isinstance(step, int):
                final[row] = step
            else:
                prompts[row] = step
    if overflowed:
        warnings.warn(
            f"{overflowed} responses ended where the model's numbers overflowed under an edit. "
            "Lower the strength.",
            stacklevel=4,
        )
    return [texts[row][final[row]] for row in range(len(examples))]
