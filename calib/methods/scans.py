"""SCANS: steering whose sign is decided by a hidden-state transition (arXiv 2408.11491, section 3).

    t_l(x) = h_l(last prompt token of x) - h_l(last token of x + " Sure")                   [width]
    s(x)   = mean over gate layers of cos(t_l(x), mean of t_l over unsafe train queries)
    h_l  <-  h_l + strength x gap_l x direction_l     if s(x) >= threshold: towards refusal
    h_l  <-  h_l - strength x gap_l x direction_l     otherwise

for all layers l of a band. The threshold has the best F1 for unsafe against safe queries on
validation. Strength is in gap units of the direction.

direction_l [width] points from answered to refused queries; the paper's points from safe to unsafe
queries (contrast=safety).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from calib.config.method import Scans
from calib.data.example import Example
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.fitting import ExampleCache, Fitting
from calib.interventions.gates import Gate, select_gate
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("in gap units", signed=False)


def method(fitting: Fitting, config: Scans) -> Method:
    """Steering over the band, with a sign for each example."""
    direction = fitting.direction(config.contrast, config.estimator, config.read_positions)
    grid = fitting.layer_grid(config)
    gate = transition_gate(fitting, config)

    def intervention(layer: int | None, strength: float) -> Intervention:
        def edits(signed_strength: float) -> Edits:
            def addition(number: int) -> Add:
                return Add(direction.at(number, signed_strength))

            return edits_at(grid.edited(layer), addition, config.positions)

        return Intervention(rule=gate.rule(edits(strength), otherwise=edits(-strength)))

    return Method(config.name, AXIS, grid.layers, intervention, direction, [gate.note])


def transition_gate(fitting: Fitting, config: Scans) -> Gate:
    """A gate that opens for examples with transitions like those of unsafe queries."""
    transitions = Transitions(fitting, config)
    unsafe = fitting.sides("safety", "train").positive
    mean = transitions.read(unsafe).mean(0)  # [layers, width]

    def scores(examples: Sequence[Example]) -> torch.Tensor:
        return torch.cosine_similarity(transitions.read(examples), mean, dim=-1).mean(-1)

    name = f"{config.name}: the transition gate"
    description = f"layers {', '.join(map(str, transitions.layers))}"
    return select_gate(fitting, name, [(description, scores)], config.threshold)


class Transitions:
    """Changes of activations when the prompt is continued by ``config.continuation``."""

    def __init__(self, fitting: Fitting, config: Scans) -> None:
        self.fitting = fitting
        self.layers = fitting.layers(config.gate_layers)
        self.continued = ExampleCache(
            lambda e: replace(e, response_prefix=e.response_prefix + config.continuation)
        )

    def read(self, examples: Sequence[Example]) -> torch.Tensor:
        """The transition of each example. # [examples, layers, width]"""
        before = self.fitting.activations(examples, self.layers)
        return before - self.fitting.activations(self.continued.get(examples), self.layers)
