"""Selection of a direction's token and layer by the first response token on validation.

Candidates are the differences of means at every token that the chat template puts after the query,
at every layer (Arditi et al., arXiv 2406.11717, appendix C). Each is ablated, and the candidate
with the lowest refusal score of queries that the model refuses is selected, if ablating it hardly
changes the first token of harmless queries and, where asked, adding it induces refusals.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from calib.config.method import Ablation
from calib.data.example import Example
from calib.directions.estimators import ESTIMATORS
from calib.directions.samples import at_layers, separated
from calib.engine.activations import divergence
from calib.engine.edits import Edit, Edits
from calib.engine.operators import Ablate, Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.refusal_score import refusal_scores, refusal_tokens
from calib.models.load import VLM
from calib.models.tokens import prompt_tokens
from calib.util.errors import CalibError

EXAMPLES = 32
"""Most validation queries of a side that candidates are measured on, as in the authors' code."""
DROPPED = 0.2
"""Share of the layers, the last ones, that no candidate is read from."""


@dataclass(frozen=True)
class Candidate:
    """A direction at a token and a layer, with its measurements on validation."""

    positions: str
    """Where it was read: last_prompt, last_prompt-1, ..."""
    layer: int
    refusal: float
    """Mean refusal score of refused queries when it is ablated; see refusal_scores."""
    kl: float
    """Mean KL(base || ablated) of the first token of harmless queries, in nats."""
    induced: float
    """Mean refusal score of harmless queries when it is added at its layer."""


Directions = Callable[[str], torch.Tensor]
"""The vectors of a method, read at one choice of positions. # [all layers, width]"""


def class_differences(
    fitting: Fitting, contrast: str, estimator: str, positions: str
) -> torch.Tensor:
    """The fitted direction of a contrast, as long as its gap; 0 where the class means are equal.

    # [layers, width] float32

    For the estimator mean_difference this is the difference of the class means.
    """
    samples = fitting.samples(contrast, "train", positions)
    rows = separated(samples) or range(samples.positive.shape[1])
    fit = ESTIMATORS[estimator](at_layers(samples, rows))
    vectors = torch.zeros(samples.positive.shape[1:])
    vectors[list(rows)] = (fit.vectors * fit.gap[:, None]).float()
    return vectors


def select_candidate(
    fitting: Fitting,
    config: Ablation,
    contrast: str,
    directions: Directions,
    induce: bool,
) -> tuple[Candidate, str]:
    """The best candidate of ``directions`` and a note about it.

    Refused queries are the positive side of ``contrast`` on validation, harmless ones its negative
    side. With ``induce``, adding a candidate must give harmless queries a refusal score of 0 or
    more. If no candidate does, this is not required; if none is within the limit of KL, the one
    with the smallest KL is taken. The note says so.

    Raises CalibError (too-few) if a side has no validation queries or no token begins refusals, and
    (no-solution) if the direction has no length anywhere or no candidate has finite scores.
    """
    refused, harmless = _validation(fitting, config, contrast)
    tokens = refusal_tokens(fitting.reader, fitting.sides(contrast, "train"))
    edited = fitting.layers(config.edited_layers)
    places = [
        (positions, layer, vectors[layer])
        for positions in template_positions(fitting.vlm, refused[0])
        for vectors in [directions(positions)]
        for layer in candidate_layers(fitting, config)
        if float(vectors[layer].norm()) > 0
    ]
    if not places:
        raise CalibError(
            "no-solution",
            "method.selection=published: the direction has length 0 at every token and layer (the "
            "class means of the contrast are equal), so there is no candidate. Check the queries "
            "of the contrast, or choose another contrast.",
        )

    def ablation(vector: torch.Tensor) -> Edits:
        operator = Ablate(vector / vector.norm(), 1.0)
        return edits_at(edited, lambda _: operator, config.positions)

    ablations = [ablation(vector) for _, _, vector in places]
    additions = [
        (Edit(layer, Add(vector), "all"),) for _, layer, vector in (places if induce else [])
    ]
    on_refused = fitting.reader.first_token_logits(refused, ablations)
    base, *on_harmless = fitting.reader.first_token_logits(harmless, [(), *ablations, *additions])
    candidates = [
        Candidate(
            positions,
            layer,
            float(refusal_scores(on_refused[k], tokens).mean()),
            float(divergence(base, on_harmless[k]).mean()),
            float(refusal_scores(on_harmless[len(places) + k], tokens).mean()) if induce else 0.0,
        )
        for k, (positions, layer, _) in enumerate(places)
    ]
    best = best_candidate(candidates, config.selection_kl)
    return best, f"{config.name}: {_note(fitting, config, candidates, best, tokens)}"


def best_candidate(candidates: Sequence[Candidate], kl: float) -> Candidate:
    """The candidate with the lowest refusal score among those that pass all conditions that any
    passes: KL first, then induced refusals.

    Raises CalibError (no-solution) if no candidate has finite scores.
    """
    finite = [c for c in candidates if math.isfinite(c.kl) and math.isfinite(c.refusal)]
    if not finite:
        raise CalibError(
            "no-solution",
            f"method.selection=published: none of the {len(candidates)} candidates for the "
            "direction has finite logits under its ablation. Give method.selection=grid, or a "
            "wider type (model.dtype=float32).",
        )
    within = [candidate for candidate in finite if candidate.kl <= kl]
    if not within:
        return min(finite, key=lambda candidate: candidate.kl)
    inducing = [candidate for candidate in within if candidate.induced >= 0]
    return min(inducing or within, key=lambda candidate: candidate.refusal)


def _note(
    fitting: Fitting,
    config: Ablation,
    candidates: Sequence[Candidate],
    best: Candidate,
    tokens: Sequence[int],
) -> str:
    within = [candidate for candidate in candidates if candidate.kl <= config.selection_kl]
    inducing = sum(candidate.induced >= 0 for candidate in within)
    first = fitting.vlm.processor.tokenizer.convert_ids_to_tokens(tokens)
    note = (
        f"read at {best.positions} of layer {best.layer}, by the refusal score under ablation "
        f"({best.refusal:.2f}); KL {best.kl:.3f}. Of {len(candidates)} candidates {len(within)} "
        f"are within method.selection_kl={config.selection_kl:g}, {inducing} of them induce "
        f"refusals. Refusals begin with {', '.join(map(repr, first))}"
    )
    if not within:
        return f"{note}. The one with the smallest KL was taken"
    return note if inducing else f"{note}. That was not required, because none does"


def template_positions(vlm: VLM, example: Example) -> list[str]:
    """The tokens that the chat template puts after the query, the last first.

    Only the last prompt token if the end of the query cannot be found.
    """
    prompt, _ = prompt_tokens(vlm, example)
    if prompt.instruction_end is None:
        return ["last_prompt"]
    count = len(prompt.tokens) - prompt.response_tokens - 1 - prompt.instruction_end
    return ["last_prompt", *(f"last_prompt-{back}" for back in range(1, count))]


def candidate_layers(fitting: Fitting, config: Ablation) -> list[int]:
    """The layers that candidates are read from: those that method.layers names by number, or all
    of its band but the last DROPPED of the depth.

    The authors count the inputs of blocks, so the output of block l is their layer l + 1.
    """
    layers = fitting.layers(config.layers)
    if not isinstance(config.layers, str):
        return layers
    limit = int(fitting.vlm.num_layers * (1 - DROPPED))
    return [layer for layer in layers if layer + 1 < limit] or layers[:1]


def _validation(
    fitting: Fitting, config: Ablation, contrast: str
) -> tuple[list[Example], list[Example]]:
    """Refused and harmless validation queries, spread over all parts."""
    sides = fitting.sides(contrast, "validation")
    for side, examples in (("refused", sides.positive), ("harmless", sides.negative)):
        if not examples:
            raise CalibError(
                "too-few",
                f"method={config.name} selects its direction on validation, where the contrast "
                f"{contrast} has no {side} queries. Use more of the data, or give "
                "method.selection=grid.",
            )
    refused, harmless = (
        side[:: -(-len(side) // EXAMPLES)] for side in (sides.positive, sides.negative)
    )
    return refused, harmless
