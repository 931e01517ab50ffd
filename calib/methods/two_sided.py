"""Two-sided steering: a probe that is read after the model is asked about the query decides which
way its refusal is steered (after Refusal Control, arXiv 2603.13359, and CAST, arXiv 2409.05907).

    p(x) = probe of the unsafe class at one layer, at the ends of x and of a question about x
    p(x) >= upper:  r_l . h_l  <-  at least m_l + strength x gap_l             towards refusal
                    c_l . h_l  <-  at most n_l - completion x gap(c)_l         towards completion
    p(x) <  lower:  r_l . h_l  <-  at most m_l - ratio x strength x gap_l      away from refusal
    in between:     nothing

at the last prompt token and all response tokens. r_l [width] is the refusal direction, with the
midpoint m_l between refused and answered queries; c_l [width] is the direction from safe
completions to outright refusals, with the midpoint n_l. Only these projections change, and only
those that are on the wrong side: a query that the model treats as it should is left alone. Strength
is the distance from the midpoint in gaps of r_l, so that 0.5 is the mean of a class; ratio is
opposite_ratio.

Authors: none (a method of this toolkit). Refusal Control adds the refusal direction to every query,
with a sign set by a probe of the query's last token; CAST adds it on one side of a condition.
Here: differences to both. The probe also reads what the model is about to say to a yes-or-no
question about the query, since what it knows of a query may not be seen at the query's own end
(probe_prompt=query reads that end alone). The utility questions of the train split, where there are
some, are further safe examples of the probe. There are two thresholds, each with a precision on
validation. A clamp takes the place of an addition. A second clamp has the model complete unsafe
queries safely rather than refuse them, if its answers to train queries have both. The question
costs one more prompt for each query, and no response.

Supervised: yes (the probe is trained on the safe and unsafe labels of the train pairs; judged
responses to them give the directions).

Searched: layer of the probe by Youden index and its thresholds by precision, on validation; layer
and strength of the edit on validation.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from calib.config.steering import TwoSided
from calib.data.example import Example
from calib.directions.direction import Direction
from calib.engine.edits import Edits
from calib.engine.operators import Clamp
from calib.interventions.example_cache import ExampleCache
from calib.interventions.fitting import Fitting
from calib.interventions.gates import Gate, Scores, Search, probe_scores, select_gate
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Intervention, Method, Rule
from calib.interventions.prompting import check_query, prompt_text, request_check_text
from calib.interventions.sides import Side, two_thresholds
from calib.interventions.steering import axis_of, operator_at
from calib.models.load import VLM
from calib.util.errors import CalibError

PROMPTS_READ = {"both": ("query", "check"), "check": ("check",), "query": ("query",)}
"""What the probe reads, by method.probe_prompt."""


def check(config: TwoSided, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError (missing-setting) if there is no question for this model."""
    if config.probe_prompt != "query":
        prompt_text(config, vlm, "check")
        request_check_text(config, vlm)


def method(fitting: Fitting, config: TwoSided) -> Method:
    """Clamps towards refusal and safe completion, or away from refusal, by the probe."""
    refusal = fitting.direction(config.contrast, config.estimator, config.read_positions)
    grid = fitting.layer_grid(config, fitting.layers_of(refusal, config.layers))
    probe = fit_probe(fitting, config)
    completion, notes = _completion(fitting, config)
    rule, note = _sides(fitting, config, probe)

    def intervention(layer: int | None, strength: float) -> Intervention:
        layers = grid.edited(layer)

        def edits(signed_strength: float) -> Edits:
            return edits_at(
                layers,
                lambda number: operator_at(config.operator, refusal, number, signed_strength),
                config.positions,
            )

        completing: Edits = ()
        if completion is not None:
            layers_of_both = [layer for layer in layers if layer in completion.layers]
            clamp = _towards_completion(completion, config.completion)
            completing = edits_at(layers_of_both, clamp, config.positions)
        by_side: dict[Side, Edits] = {
            "unsafe": (*completing, *edits(strength)),
            "safe": edits(-config.opposite_ratio * strength),
        }
        if config.sides != "both":
            by_side = {side: by_side[side] for side in by_side if side == config.sides}
        return Intervention(rule=rule(by_side))

    axis = replace(axis_of(config.operator, refusal), signed=False)
    notes = [probe.note, note, *notes]
    return Method(config.name, axis, grid.layers, intervention, refusal, notes, "gate")


def fit_probe(fitting: Fitting, config: TwoSided) -> Gate:
    """The probe of unsafe queries, at the layer with the best Youden index on validation."""
    layers, asked = fitting.layers(config.gate_layers), _asked(fitting, config)
    harmless = [e for e in fitting.utility if (e.dataset, e.split) == ("utility", "train")]

    def read(examples: Sequence[Example], layers: Sequence[int]) -> torch.Tensor:
        """Activations at the ends of the prompts that the probe reads, side by side.

        # [examples, layers, width x prompts]
        """
        shown = {"query": examples, "check": asked.get(examples)}
        prompts = PROMPTS_READ[config.probe_prompt]
        return torch.cat([fitting.activations(shown[name], layers) for name in prompts], -1)

    def scores_at(layer: int) -> Scores:
        return probe_scores(fitting, lambda examples: read(examples, [layer])[:, 0], harmless)

    # All at once, which takes one pass for all layers.
    read([*fitting.twins("train"), *harmless, *fitting.twins("validation")], layers)
    candidates = [(f"layer {layer}", scores_at(layer)) for layer in layers]
    search = Search(side="above", criterion="youden")
    return select_gate(fitting, f"{config.name}: the probe gate", candidates, search, trained=True)


def _asked(fitting: Fitting, config: TwoSided) -> ExampleCache:
    """Examples with the question about their query in its place."""
    if config.probe_prompt == "query":
        return ExampleCache(list)
    check = prompt_text(config, fitting.vlm, "check")
    request_check = request_check_text(config, fitting.vlm)

    def asked(example: Example) -> Example:
        return replace(example, query=check_query(example.query, check, request_check))

    return ExampleCache(lambda examples: list(map(asked, examples)))


def _sides(
    fitting: Fitting, config: TwoSided, probe: Gate
) -> tuple[Callable[[dict[Side, Edits]], Rule], str]:
    """What makes a rule of the edits of each side, and a note about the thresholds."""
    queries = fitting.twins("validation")
    unsafe = torch.tensor([query.safety == "unsafe" for query in queries])
    scores = probe.scores(queries)
    thresholds = two_thresholds(scores, unsafe, probe.threshold, config.precision)

    def rule(by_side: dict[Side, Edits]) -> Rule:
        return lambda examples: [
            by_side.get(side, ()) for side in thresholds.sides(probe.scores(examples))
        ]

    note = thresholds.note(thresholds.sides(scores), config.precision)
    return rule, f"{config.name}: {note}"


def _completion(fitting: Fitting, config: TwoSided) -> tuple[Direction | None, list[str]]:
    """The direction from safe completions to refusals; a note if train answers lack one of them."""
    if not config.completion or config.sides == "safe":  # it is for unsafe queries
        return None, []
    try:
        return fitting.direction("completion", config.estimator, config.read_positions), []
    except CalibError as error:
        if error.code != "too-few":
            raise
    note = (
        f"{config.name}: the answers to train queries are not both refusals and safe completions, "
        "so unsafe queries are moved towards refusal only (method.completion has no effect)"
    )
    return None, [note]


def _towards_completion(direction: Direction, amount: float) -> Callable[[int], Clamp]:
    def clamp(layer: int) -> Clamp:
        row = direction.row(layer)
        bound = float(direction.midpoint[row] - amount * direction.gap[row])
        return Clamp(direction.vectors[row], high=bound)

    return clamp
