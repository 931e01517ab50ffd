"""Few-shot calibration: k contrastive demonstrations, with their pictures, before the query
(in-context learning with safe and unsafe pairs; VSCBench's released code takes such a list of
demonstrations, arXiv 2505.20362).

    prompt = [turn 1: unsafe query, refusal] [turn 2: safe query, answer] ... [turn k] + example

Demonstrations are train pairs that the uncalibrated model handles correctly: an unsafe query with
the model's own refusal and a safe query with its own answer, alternately. Their categories differ
for as long as there are new ones. A query gets demonstrations from its own part of the benchmark;
questions outside of the benchmark get those of its largest part. Strength is k.
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
    """Raise CalibError (invalid-setting) for a strength that is not a whole number from 0."""
    for strength in config.strengths:
        if strength < 0 or strength != int(strength):
            raise CalibError(
                "invalid-setting",
                f"method.strengths: {strength:g} is not a number of demonstrations. Give whole "
                "numbers from 0.",
            )


def method(fitting: Fitting, config: FewShot) -> Method:
    """The first k demonstrations of each part.

    Raises CalibError (too-few) if a part has fewer demonstrations than the largest strength.
    """
    by_part = demonstrations(fitting, config.seed)
    largest_part = max(by_part, key=lambda part: len(by_part[part]))
    available = min(map(len, by_part.values()))
    if max(config.strengths) > available:
        raise CalibError(
            "too-few",
            f"method.strengths: there are {available} demonstrations that the uncalibrated model "
            f"handles correctly, not {max(config.strengths):g}. Use more data (data.limit), or "
            "fewer demonstrations.",
        )

    def intervention(layer: int | None, strength: float) -> Intervention:
        def rewrite(example: Example) -> Example:
            turns = by_part.get(example.dataset, by_part[largest_part])[: int(strength)]
            return replace(example, demonstrations=(*turns, *example.demonstrations))

        return Intervention(prompt_flow=SinglePrompt(rewrite))

    return Method(config.name, AXIS, [None], intervention)


def demonstrations(fitting: Fitting, seed: int) -> dict[str, list[Turn]]:
    """Turns by part of the benchmark, alternately of unsafe and safe queries.

    Raises CalibError (too-few) if the model refuses no unsafe query or answers no safe one.
    """
    examples = fitting.twins("train")
    answers = fitting.baseline_answers(examples, "demonstration")
    correct: dict[str, dict[bool, list[tuple[Example, str]]]] = {}
    for example, answer in zip(examples, answers, strict=True):
        unsafe = example.safety == "unsafe"
        if answer.refused is not None and answer.refused == unsafe:
            part = correct.setdefault(example.dataset, {True: [], False: []})
            part[unsafe].append((example, answer.text))
    turns: dict[str, list[Turn]] = {}
    for name, by_safety in correct.items():
        ordered = [_spread(by_safety[unsafe], seed) for unsafe in (True, False)]
        alternating = [entry for pair in zip(*ordered, strict=False) for entry in pair]
        if alternating:
            turns[name] = [Turn(e.query, text, e.picture) for e, text in alternating]
    if not turns:
        raise CalibError(
            "too-few",
            "the uncalibrated model refuses no unsafe train query or answers no safe one, so there "
            "are no demonstrations. Use more data (data.limit, data.parts).",
        )
    return turns


def _spread(entries: Sequence[tuple[Example, str]], seed: int) -> list[tuple[Example, str]]:
    """Entries in an order drawn by hashing, with every category once before any comes twice."""

    def digest(entry: tuple[Example, str]) -> str:
        return hashlib.sha256(f"{seed}/{entry[0].id}".encode()).hexdigest()

    seen: dict[str, int] = {}
    ranked = []
    for example, text in sorted(entries, key=digest):
        seen[example.category] = seen.get(example.category, 0) + 1
        ranked.append((seen[example.category], example, text))
    return [(example, text) for _, example, text in sorted(ranked, key=lambda entry: entry[0])]
