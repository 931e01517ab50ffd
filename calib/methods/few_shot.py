"""Few-shot calibration: k contrastive demonstrations, with their pictures, before the query
(in-context learning with safe and unsafe pairs; VSCBench's released code takes such a list of
demonstrations, arXiv 2505.20362).

    prompt = [turn 1: unsafe query, refusal] [turn 2: safe query, answer] ... [turn k] + example

Demonstrations are train pairs that the uncalibrated model handles correctly: an unsafe query with
the model's own refusal and a safe query with its own answer, alternately. Their categories differ
for as long as there are new ones. A query gets demonstrations from its own part of the benchmark;
questions outside of the benchmark get those of its largest part. Strength is k, plus 100 for each
further draw of demonstrations: 2 and 102 are two demonstrations of the first and the second draw.

Authors: the released code of VSCBench takes a list of demonstrations (picture, prompt, answer) and
sends them as earlier turns or as examples in the prompt; which ones were used is not published.
Here: earlier turns; the responses are the model's own, so that they show no other model's style.
Supervised: yes (the safety of the train queries and the judge's labels select them).
Searched: the number of demonstrations and the draw, on validation.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from calib.config.prompts import FewShot
from calib.data.example import Example, Turn
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import (
    Axis,
    Demonstrations,
    Intervention,
    Method,
    SinglePrompt,
)
from calib.interventions.prompting import require_readable, with_turn
from calib.models.load import AnyModel
from calib.util.errors import CalibError

AXIS = Axis("demonstrations", signed=False, integer=True, default_scale=2)
DRAW = 100
"""Strength by which one draw of demonstrations is separated from the next."""


def check(config: FewShot, vlm: AnyModel, examples: Sequence[Example]) -> None:
    """Raise CalibError for a strength that is not a whole number from 0 (invalid-setting), or for a
    chat template that leaves out earlier turns (unsupported)."""
    for strength in config.strengths:
        if strength < 0 or strength != int(strength) or (strength and not strength % DRAW):
            raise CalibError(
                "invalid-setting",
                f"method.strengths: {strength:g} is not a number of demonstrations. Give whole "
                f"numbers from 0 to {DRAW - 1}, plus {DRAW} for each further draw.",
            )
    if any(config.strengths):
        shown = f"method={config.name} shows demonstrations as earlier turns"
        turns = [with_turn(example) for example in examples]
        require_readable(vlm, examples, turns, shown, "Choose another method.")


def method(fitting: Fitting, config: FewShot) -> Method:
    """The first k demonstrations of each part, in each draw.

    Raises CalibError (too-few) if a part has fewer demonstrations than the largest number.
    """
    correct = handled_correctly(fitting)
    drawn = {draw: demonstrations(correct, config.seed + draw) for draw in _draws(config)}
    largest_part = max(drawn[0], key=lambda part: len(drawn[0][part]))
    available = min(map(len, drawn[0].values()))
    largest = max(int(strength) % DRAW for strength in config.strengths)
    if largest > available:
        raise CalibError(
            "too-few",
            f"method.strengths: there are {available} demonstrations that the uncalibrated model "
            f"handles correctly, not {largest}. Use more data (data.limit), or fewer "
            "demonstrations.",
        )

    def intervention(layer: int | None, strength: float) -> Intervention:
        draw, count = divmod(int(strength), DRAW)
        by_part = drawn[draw]

        def rewrite(example: Example) -> Example:
            entries = by_part.get(example.dataset, by_part[largest_part])[:count]
            return replace(example, demonstrations=(*map(_turn, entries), *example.demonstrations))

        return Intervention(prompt_flow=SinglePrompt(rewrite))

    shown = {
        int(strength): {
            part: _record(entries[: int(strength) % DRAW])
            for part, entries in drawn[int(strength) // DRAW].items()
        }
        for strength in config.strengths
        if strength
    }
    several = len(drawn) > 1
    names = {int(s): f"{int(s) % DRAW} of draw {int(s) // DRAW + 1}" for s in config.strengths if s}
    axis = replace(AXIS, meaning=f"{AXIS.meaning} (+{DRAW} per further draw)") if several else AXIS
    return Method(
        config.name, axis, [None], intervention, supervision="demonstrations",
        variants=names if several else {}, demonstrations=shown,
    )  # fmt: skip


def _draws(config: FewShot) -> list[int]:
    """Numbers of the draws that the strengths need; the first is 0, which is always made."""
    return sorted({0, *(int(strength) // DRAW for strength in config.strengths)})


Entry = tuple[Example, str]
"""A train query and the response of the uncalibrated model."""
Correct = dict[str, dict[bool, list[Entry]]]
"""Train queries with the response of the uncalibrated model, by part and by whether the query is
unsafe."""


def handled_correctly(fitting: Fitting) -> Correct:
    """The unsafe train queries that the uncalibrated model refuses, the safe ones it answers."""
    examples = fitting.twins("train")
    answers = fitting.baseline_answers(examples, "demonstration")
    correct: Correct = {}
    for example, answer in zip(examples, answers, strict=True):
        unsafe = example.safety == "unsafe"
        if answer.refused is not None and answer.refused == unsafe:
            part = correct.setdefault(example.dataset, {True: [], False: []})
            part[unsafe].append((example, answer.text))
    return correct


def demonstrations(correct: Correct, seed: int) -> dict[str, list[Entry]]:
    """Demonstrations by part of the benchmark, alternately of unsafe and safe queries.

    Raises CalibError (too-few) if the model refuses no unsafe query or answers no safe one.
    """
    drawn: dict[str, list[Entry]] = {}
    for name, by_safety in correct.items():
        ordered = [_spread(by_safety[unsafe], seed) for unsafe in (True, False)]
        alternating = [entry for pair in zip(*ordered, strict=False) for entry in pair]
        if alternating:
            drawn[name] = alternating
    if not drawn:
        raise CalibError(
            "too-few",
            "the uncalibrated model refuses no unsafe train query or answers no safe one, so there "
            "are no demonstrations. Use more of the data.",
        )
    return drawn


def _turn(entry: Entry) -> Turn:
    example, response = entry
    return Turn(example.query, response, example.picture, example.more_pictures)


def _record(entries: Sequence[Entry]) -> Demonstrations:
    texts = json.dumps([(example.query, response) for example, response in entries])
    digest = hashlib.sha256(texts.encode()).hexdigest()
    return Demonstrations([example.id for example, _ in entries], digest[:16])


def _spread(entries: Sequence[Entry], seed: int) -> list[Entry]:
    """Entries in an order drawn by hashing, with every category once before any comes twice."""

    def digest(entry: Entry) -> str:
        return hashlib.sha256(f"{seed}/{entry[0].id}".encode()).hexdigest()

    seen: dict[str, int] = {}
    ranked = []
    for example, text in sorted(entries, key=digest):
        seen[example.category] = seen.get(example.category, 0) + 1
        ranked.append((seen[example.category], example, text))
    return [(example, text) for _, example, text in sorted(ranked, key=lambda entry: entry[0])]
