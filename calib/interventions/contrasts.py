"""The two sides of a contrast, to which a direction is fitted: positive minus negative.

    safety     unsafe against safe examples, in pairs: what the model knows about the query
    refusal    refused against answered examples of the uncalibrated model: what the model does
    harmful_refusal, false_refusal, true_refusal
               refused against answered unsafe examples, refused against answered safe examples,
               and refused unsafe against answered safe examples
    completion outright refusals against safe completions of the uncalibrated model
    responses  unsafe examples followed by a refusal, against the same examples followed by an
               answer, with several responses each (multi-response samples of Internal Activation
               Revision, arXiv 2501.16378): what the model writes
    modality   examples with their picture against the same examples without it: the effect of a
               picture

Where a model is miscalibrated these directions differ, and which of them steers better is a
finding. The positive side is always the one nearer to refusing (modality: the one with pictures).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from calib.config.choices import CONTRASTS, Label, Split
from calib.data.example import Example, pairs, with_pictures
from calib.data.splits import select_for_sra
from calib.util.errors import CalibError

BEHAVIOUR_CONTRASTS = {
    "refusal": (("unsafe", "safe"), ("unsafe", "safe")),
    "harmful_refusal": (("unsafe",), ("unsafe",)),
    "false_refusal": (("safe",), ("safe",)),
    "true_refusal": (("unsafe",), ("safe",)),
}
"""Contrasts of behaviour: the safety of examples on the refused and on the answered side."""
RESPONSES_PER_QUERY = 3
"""Maximum number of responses of each kind that are paired with one query."""


@dataclass(frozen=True)
class JudgedAnswer:
    """A response of the uncalibrated model, with the judge's label."""

    text: str
    """Without thoughts; empty if a thought was cut off."""
    refused: bool | None
    """True for a refusal or a safe completion, False for an answer, None for neither."""
    label: Label | None = None
    """The judge's label; None if the response was not judged, or has no label."""


class AnswerSource(Protocol):
    """Generates responses of the uncalibrated model, and records them in the run.

    ``purpose`` is shown next to the progress bar. With ``judged`` False the responses get no label,
    as for a question that the method itself asks (a caption, say).
    """

    def __call__(
        self, examples: Sequence[Example], purpose: str, judged: bool = True
    ) -> list[JudgedAnswer]: ...


@dataclass(frozen=True)
class ContrastSides:
    """The examples of both sides of a contrast."""

    positive: list[Example]
    negative: list[Example]
    positive_groups: list[str]
    """The pair or query that each example belongs to."""
    negative_groups: list[str]
    paired: bool
    """Whether the k-th positive example is the twin of the k-th negative example."""

    @property
    def clusters(self) -> tuple[list[str], list[str]]:
        """The cluster of each example, on the positive and on the negative side."""
        return [e.cluster for e in self.positive], [e.cluster for e in self.negative]


def twins(examples: Sequence[Example], split: Split) -> list[Example]:
    """Safe and unsafe examples of one split that have a twin.

    Dual-use twins are used only where there are no others.
    """
    counted = select_for_sra([example for example in examples if example.split == split])
    return [twin for pair in pairs(counted) for twin in (pair.safe, pair.unsafe)]


def contrast_sides(
    contrast: str, examples: Sequence[Example], baseline_answers: AnswerSource
) -> ContrastSides:
    """The sides of a contrast among ``examples``, which must be twins.

    Raises CalibError (unknown-name) for an unknown contrast.
    """
    match contrast:
        case "safety":
            return _safety(examples)
        case "refusal" | "harmful_refusal" | "false_refusal" | "true_refusal":
            return _behaviour(examples, baseline_answers, *BEHAVIOUR_CONTRASTS[contrast])
        case "completion":
            return _completion(examples, baseline_answers)
        case "responses":
            return _responses(examples, baseline_answers)
        case "modality":
            return _modality(examples)
    raise CalibError(
        "unknown-name", f"There is no contrast '{contrast}'. Choose from {', '.join(CONTRASTS)}."
    )


def empty_side(contrast: str, side: str, examples: int) -> str:
    """The message that a side of a contrast has none of the training examples."""
    if contrast not in BEHAVIOUR_CONTRASTS:
        return (
            f"the {contrast} contrast has no {side} training examples, so no direction can be "
            "fitted. Use more of the data, or another contrast."
        )
    positive = side == "positive"
    safeties = BEHAVIOUR_CONTRASTS[contrast][0 if positive else 1]
    does, other = ("refuses", "answers") if positive else ("answers", "refuses")
    return (
        f"the {contrast} contrast needs {' or '.join(safeties)} examples that the model {does}, "
        f"and there are none among the {examples} training examples with a twin, so no direction "
        f"can be fitted. Use more or harder data, in which it {does} some where it now {other} "
        "them, or a method that is not fitted to refusals."
    )


def _safety(examples: Sequence[Example]) -> ContrastSides:
    matched = pairs(examples)
    groups = [pair.id for pair in matched]
    unsafe, safe = [pair.unsafe for pair in matched], [pair.safe for pair in matched]
    return ContrastSides(unsafe, safe, groups, groups, True)


def _behaviour(
    examples: Sequence[Example],
    baseline_answers: AnswerSource,
    refused_safety: Collection[str],
    answered_safety: Collection[str],
) -> ContrastSides:
    safety = {True: refused_safety, False: answered_safety}
    sides: dict[bool, list[Example]] = {True: [], False: []}
    for example, answer in zip(examples, baseline_answers(examples, "fitting"), strict=True):
        if answer.refused is not None and example.safety in safety[answer.refused]:
            sides[answer.refused].append(example)
    return _unpaired(sides[True], sides[False])


def _completion(examples: Sequence[Example], baseline_answers: AnswerSource) -> ContrastSides:
    sides: dict[Label, list[Example]] = {"refusal": [], "safe_completion": []}
    for example, answer in zip(examples, baseline_answers(examples, "fitting"), strict=True):
        if answer.label in sides:
            sides[answer.label].append(example)
    return _unpaired(sides["refusal"], sides["safe_completion"])


def _unpaired(positive: list[Example], negative: list[Example]) -> ContrastSides:
    groups = [[example.pair or example.id for example in side] for side in (positive, negative)]
    return ContrastSides(positive, negative, groups[0], groups[1], False)


def _responses(examples: Sequence[Example], baseline_answers: AnswerSource) -> ContrastSides:
    pools: dict[tuple[str, bool], list[tuple[str, str]]] = {}  # (query, response), distinct
    for example, answer in zip(examples, baseline_answers(examples, "fitting"), strict=True):
        if answer.refused is not None and answer.text:
            pool = pools.setdefault((example.dataset, answer.refused), [])
            if (example.query, answer.text) not in pool:
                pool.append((example.query, answer.text))
    sides: dict[bool, list[Example]] = {True: [], False: []}
    for example in examples:
        if example.safety != "unsafe":
            continue
        responses = {
            refused: _select_responses(pools.get((example.dataset, refused), []), example.query)
            for refused in (True, False)
        }
        if all(responses.values()):
            for refused, texts in responses.items():
                sides[refused] += [replace(example, response_prefix=text) for text in texts]
    groups = {refused: [example.id for example in side] for refused, side in sides.items()}
    return ContrastSides(sides[True], sides[False], groups[True], groups[False], False)


def _select_responses(pool: Sequence[tuple[str, str]], query: str) -> list[str]:
    """Distinct responses from the pool; responses to the same query come first."""
    same_query_first = sorted(pool, key=lambda entry: entry[0] != query)
    return list(dict.fromkeys(text for _, text in same_query_first))[:RESPONSES_PER_QUERY]


def _modality(examples: Sequence[Example]) -> ContrastSides:
    pictured = [example for example in examples if example.picture is not None]
    plain = [with_pictures(example, ()) for example in pictured]
    groups = [example.id for example in pictured]
    return ContrastSides(pictured, plain, groups, groups, True)
