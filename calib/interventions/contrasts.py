"""The two sides that a direction is fitted to, the second taken from the first.

    safety     unsafe against safe examples, in pairs: what the model knows about the query
    refusal    refused against answered examples, as the uncalibrated model behaves: what it does
    harmful_refusal, false_refusal, true_refusal
               the same among unsafe examples, among safe ones, and of refused unsafe against
               answered safe ones
    responses  unsafe examples with a refusal behind them against the same with an answer behind
               them, several of each (multi-response samples of Internal Activation Revision,
               arXiv 2501.16378): what it says
    modality   examples with their picture against the same without: what a picture does

Where a model is miscalibrated these differ, and which one steers better is a finding. The positive
side is always the one nearer to refusing (modality: the one with the picture).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from calib.data.example import Example, Split, pairs
from calib.data.splits import select_for_sra
from calib.util.errors import CalibError

BEHAVIOUR_CONTRASTS = {
    "refusal": (("unsafe", "safe"), ("unsafe", "safe")),
    "harmful_refusal": (("unsafe",), ("unsafe",)),
    "false_refusal": (("safe",), ("safe",)),
    "true_refusal": (("unsafe",), ("safe",)),
}
"""Contrasts of behaviour: the safety of examples on the refused and on the answered side."""
CONTRASTS = ("safety", *BEHAVIOUR_CONTRASTS, "responses", "modality")
RESPONSES_PER_QUERY = 3
"""Most responses of each kind that stand behind one query."""


@dataclass(frozen=True)
class JudgedAnswer:
    """What the uncalibrated model answers."""

    text: str
    refused: bool | None
    """True for a refusal or a warning, False for an answer, None for neither."""


class AnswerSource(Protocol):
    """Asks the uncalibrated model; what it answers joins the record of the run.

    ``purpose`` is said while it works. Answers to questions of our own are not ``judged``.
    """

    def __call__(
        self, examples: Sequence[Example], purpose: str, judged: bool = True
    ) -> list[JudgedAnswer]: ...


@dataclass(frozen=True)
class ContrastSides:
    """The examples of a contrast."""

    positive: list[Example]
    negative: list[Example]
    positive_groups: list[str]
    """The pair or query that each belongs to."""
    negative_groups: list[str]
    paired: bool
    """Whether the k-th positive example is the twin of the k-th negative one."""


def twins(examples: Sequence[Example], split: Split) -> list[Example]:
    """Safe and unsafe examples of one split that have a twin; dual-use ones only if alone."""
    fitted = select_for_sra([example for example in examples if example.split == split])
    return [twin for pair in pairs(fitted) for twin in (pair.safe, pair.unsafe)]


def contrast_sides(
    contrast: str, examples: Sequence[Example], answers: AnswerSource
) -> ContrastSides:
    """The sides of a contrast among twins.

    Raises CalibError for an unknown contrast.
    """
    match contrast:
        case "safety":
            return _safety(examples)
        case "refusal" | "harmful_refusal" | "false_refusal" | "true_refusal":
            return _refusal(examples, answers, *BEHAVIOUR_CONTRASTS[contrast])
        case "responses":
            return _responses(examples, answers)
        case "modality":
            return _modality(examples)
    raise CalibError(f"contrast '{contrast}' is not known: {', '.join(CONTRASTS)}.")


def _safety(examples: Sequence[Example]) -> ContrastSides:
    found = pairs(examples)
    names = [pair.id for pair in found]
    return ContrastSides([p.unsafe for p in found], [p.safe for p in found], names, names, True)


def _refusal(
    examples: Sequence[Example],
    answers: AnswerSource,
    refused: Collection[str],
    answered: Collection[str],
) -> ContrastSides:
    counted = {True: refused, False: answered}
    sides: dict[bool, list[Example]] = {True: [], False: []}
    for example, answer in zip(examples, answers(examples, "fitting"), strict=True):
        if answer.refused is not None and example.safety in counted[answer.refused]:
            sides[answer.refused].append(example)
    groups = {side: [e.pair or e.id for e in found] for side, found in sides.items()}
    return ContrastSides(sides[True], sides[False], groups[True], groups[False], False)


def _responses(examples: Sequence[Example], answers: AnswerSource) -> ContrastSides:
    pools: dict[tuple[str, bool], list[tuple[str, str]]] = {}
    for example, answer in zip(examples, answers(examples, "fitting"), strict=True):
        if answer.refused is not None and answer.text:
            pool = pools.setdefault((example.dataset, answer.refused), [])
            if (example.query, answer.text) not in pool:
                pool.append((example.query, answer.text))
    found: dict[bool, list[Example]] = {True: [], False: []}
    for example in examples:
        if example.safety != "unsafe":
            continue
        chosen = {
            refused: _chosen(pools.get((example.dataset, refused), []), example.query)
            for refused in (True, False)
        }
        if all(chosen.values()):
            for refused, texts in chosen.items():
                found[refused] += [replace(example, response_prefix=text) for text in texts]
    groups = {side: [e.id for e in some] for side, some in found.items()}
    return ContrastSides(found[True], found[False], groups[True], groups[False], False)


def _chosen(pool: Sequence[tuple[str, str]], query: str) -> list[str]:
    """Distinct responses, those to the same query first."""
    ordered = sorted(pool, key=lambda one: one[0] != query)
    return list(dict.fromkeys(text for _, text in ordered))[:RESPONSES_PER_QUERY]


def _modality(examples: Sequence[Example]) -> ContrastSides:
    pictured = [example for example in examples if example.picture is not None]
    plain = [replace(example, picture=None) for example in pictured]
    names = [example.id for example in pictured]
    return ContrastSides(pictured, plain, names, names, True)
