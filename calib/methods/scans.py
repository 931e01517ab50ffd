"""SCANS: steering whose sign is decided by a hidden-state transition (arXiv 2408.11491, section 3).

    t_l(x) = h_l(last prompt token of x) - h_l(last token of x + continuation)              [width]
    s(x)   = mean over gate layers of cos(t_l(x), mean of t_l over unsafe train queries)
    h_l  <-  h_l + strength x gap_l x direction_l     if s(x) >= threshold: towards refusal
    h_l  <-  h_l - strength x gap_l x direction_l     otherwise

for all layers l of a band, from the last token of the instruction on and through the response.
direction_l [width] points from safe to unsafe queries. Strength is in gap units of the direction.

Authors: mean of harmful minus mean of harmless queries at the last token, at unit length, times 3.5
in layers 10 to 19 of 32, from the tag that closes the instruction on. The transition is that from
the closing tag to " Sure" appended to the prompt, averaged from layer 10 to the last; a fixed
threshold of 0.75 (0.65 to 0.70 for some test sets). For Llama-2 and Vicuna the tag ends with the
last prompt token; in ChatML templates tokens of the template follow it.

Here: the same vectors, edited from the last token of the user's text on, and the same transition
from the last prompt token (transition_from takes another). The threshold is selected on validation.
The gate averages the upper half of the layers; gate_layers takes others. The appended word must be
one that the model says: a small vocabulary splits "Sure" into letters, whose transition means
nothing, so a word of more than CONTINUATION_TOKENS tokens is refused. contrast=refusal, a variant
of ours, steers from answered to refused queries.

Supervised: yes (labels choose the unsafe train queries whose transition is the reference, and the
threshold; no classifier is trained).

Searched: the gate's threshold by F1 on validation; strength (and, with first_layers, the first
edited layer) on validation.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from calib.config.steering import Scans
from calib.data.example import Example
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.example_cache import ExampleCache
from calib.interventions.fitting import Fitting
from calib.interventions.gates import Gate, Search, select_gate
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method
from calib.interventions.prompting import prompt_text
from calib.models.load import VLM
from calib.util.errors import CalibError

AXIS = Axis("in gap units", signed=False)
CONTINUATION_TOKENS = 2
"""Most tokens that the appended word may have."""


def check(config: Scans, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError (invalid-setting) for a word that the model splits into many tokens."""
    word = prompt_text(config, vlm, "continuation")
    tokens = vlm.processor.tokenizer(word, add_special_tokens=False)["input_ids"]
    if not 1 <= len(tokens) <= CONTINUATION_TOKENS:
        raise CalibError(
            "invalid-setting",
            f"method.continuation='{word}' is {len(tokens)} tokens for {vlm.checkpoint}, and "
            f"method={config.name} reads the effect of one word (at most {CONTINUATION_TOKENS} "
            "tokens). Give a word with which the model's own willing responses begin: "
            "method.continuation=WORD.",
        )


def method(fitting: Fitting, config: Scans) -> Method:
    """Steering over the band, with a sign for each example."""
    direction = fitting.direction(config.contrast, config.estimator, config.read_positions)
    grid = fitting.layer_grid(config, fitting.layers_of(direction, config.layers))
    gate = transition_gate(fitting, config)

    def intervention(layer: int | None, strength: float) -> Intervention:
        def edits(signed_strength: float) -> Edits:
            def addition(number: int) -> Add:
                return Add(direction.at(number, signed_strength))

            return edits_at(grid.edited(layer), addition, config.positions)

        return Intervention(rule=gate.rule(edits(strength), otherwise=edits(-strength)))

    return Method(config.name, AXIS, grid.layers, intervention, direction, [gate.note], "threshold")


def transition_gate(fitting: Fitting, config: Scans) -> Gate:
    """A gate that opens for examples with transitions like those of unsafe queries."""
    transitions = Transitions(fitting, config)
    unsafe = fitting.sides("safety", "train").positive
    mean = transitions.read(unsafe).mean(0)  # [layers, width]

    def scores(examples: Sequence[Example]) -> torch.Tensor:
        return torch.cosine_similarity(transitions.read(examples), mean, dim=-1).mean(-1)

    name = f"{config.name}: the transition gate"
    description = f"layers {', '.join(map(str, transitions.layers))}"
    candidates = [(description, scores)]
    return select_gate(fitting, name, candidates, Search.of(config), trained=False)


class Transitions:
    """Changes of activations from the end of the prompt to the appended word."""

    def __init__(self, fitting: Fitting, config: Scans) -> None:
        self.fitting = fitting
        self.start = config.transition_from
        self.layers = fitting.layers(config.gate_layers)
        word = prompt_text(config, fitting.vlm, "continuation")
        self.continued = ExampleCache(
            lambda examples: [
                replace(e, response_prefix=e.response_prefix + word) for e in examples
            ]
        )

    def read(self, examples: Sequence[Example]) -> torch.Tensor:
        """The transition of each example. # [examples, layers, width]"""
        before = self.fitting.activations(examples, self.layers, self.start)
        return before - self.fitting.activations(self.continued.get(examples), self.layers)
