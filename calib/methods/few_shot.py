"""Few-shot calibration: k contrastive demonstrations with their pictures before the query
(in-context learning with safe and unsafe pairs; VSCBench's released code takes such a list of
demonstrations, arXiv 2505.20362).

    shown = [turn 1: unsafe query, refusal] [turn 2: safe query, answer] ... [turn k] + example

The demonstrations are train pairs that the uncalibrated model itself handles right: an unsafe query
with the refusal it gave, a safe one with the answer it gave, in turn, each of another category as
long as there are such. A query is shown those of its own part of the benchmark; other questions are
shown those of the largest part. Strength is k.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from calib.config.prompts import FewShot
from calib.data.example import Example, Turn
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Axis, Intervention, Method, SinglePrompt
from calib.models.load import AnyModel
from calib.util.errors import CalibError

AXIS = Axis("demonstrations", signed=False, integer=True, default_scale=2)


def check(config: FewShot, vlm: AnyModel, examples: Sequence[Example]) -> None:
    """Raise CalibError for a strength that counts nothing."""
    for strength in config.strengths:
        if strength < 0 or strength != int(strength):
            raise CalibError(
                f"method.strengths: {strength:g} is no number of demonstrations. Give 0, 1, 2 ..."
            )


def method(fitting: Fitting, config: FewShot) -> Method:
    """The first k demonstrations of each part."""
    shown = demonstrations(fitting, config.seed)
    largest = max(shown, key=lambda part: len(shown[part]))
    most = min(map(len, shown.values()))
    if max(config.strengths) > most:
        raise CalibError(
            f"method.strengths: there are {most} demonstrations that the uncalibrated model "
            f"handles right, not {max(config.strengths):g}. Use more data (data.limit), or fewer."
        )

    def change(layer: int | None, strength: float) -> Intervention:
        def rewrite(example: Example) -> Example:
            turns = shown.get(example.dataset, shown[largest])[: int(strength)]
            return replace(example, demonstrations=(*turns, *example.demonstrations))

        return Intervention(prompt_flow=SinglePrompt(rewrite))

    return Method(config.name, AXIS, [None], change)


def demonstrations(fitting: Fitting, seed: int) -> dict[str, list[Turn]]:
    """Turns by part of the benchmark, unsafe and safe ones in turn.

    Raises CalibError where the model handles no example of a side right.
    """
    examples = fitting.twins("train")
    answers = fitting.baseline_answers(examples, "demonstration")
    sides: dict[str, dict[bool, list[tuple[Example, str]]]] = {}
    for example, answer in zip(examples, answers, strict=True):
        unsafe = example.safety == "unsafe"
        if answer.refused is not None and answer.refused == unsafe:
            part = sides.setdefault(example.dataset, {True: [], False: []})
            part[unsafe].append((example, answer.text))
    found: dict[str, list[Turn]] = {}
    for name, by_safety in sides.items():
        ordered = [_spread(by_safety[unsafe], seed) for unsafe in (True, False)]
        both = [one for pair in zip(*ordered, strict=False) for one in pair]
        if both:
            found[name] = [Turn(e.query, text, e.picture) for e, text in both]
    if not found:
        raise CalibError(
            "the uncalibrated model refuses no unsafe train query or answers no safe one, so there "
            "are no demonstrations to show. Use more data (data.limit, data.parts)."
        )
    return found


def _spread(some: Sequence[tuple[Example, str]], seed: int) -> list[tuple[Example, str]]:
    """In an order drawn by hashing, a new category each time as long as there is one."""
    drawn = sorted(some, key=lambda one: hashlib.sha256(f"{seed}/{one[0].id}".encode()).hexdigest())
    seen: dict[str, int] = {}
    ranked = []
    for example, text in drawn:
        seen[example.category] = seen.get(example.category, 0) + 1
        ranked.append((seen[example.category], example, text))
    return [(example, text) for _, example, text in sorted(ranked, key=lambda one: one[0])]
