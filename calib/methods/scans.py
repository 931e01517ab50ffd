"""SCANS: steering whose sign is decided by where the model is about to go (arXiv 2408.11491,
section 3).

    t_l(x) = h_l(last prompt token of x) - h_l(last token of x + " Sure")     the transition
    s(x)   = mean over gate layers of cos(t_l(x), mean over unsafe train x' of t_l(x'))
    h_l  <-  h_l + strength x gap_l x direction_l     if s(x) >= threshold, towards refusing
    h_l  <-  h_l - strength x gap_l x direction_l     otherwise

for all layers l of a band. The direction points to refused queries from answered ones; the paper's,
to unsafe from safe ones (contrast=safety). The threshold has the best F1 of unsafe against safe on
validation. Strength is in gap units of the direction.
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
from calib.interventions.grid import edits_at, grid_layers
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("in gap units", signed=False)


def method(fitting: Fitting, config: Scans) -> Method:
    """Both signs over the band, one of them for each example."""
    direction = fitting.direction(config.contrast, config.estimator, config.read_positions)
    layers = fitting.layers(config.layers)
    gate = transition_gate(fitting, config)

    def change(layer: int | None, strength: float) -> Intervention:
        def edits(signed: float) -> Edits:
            return edits_at(
                layer, layers, lambda at: Add(direction.at(at, signed)), config.positions
            )

        return Intervention(rule=gate.rule(edits(strength), otherwise=edits(-strength)))

    grid = grid_layers(layers, config.all_layers_at_once)
    return Method(config.name, AXIS, grid, change, direction, [gate.note])


def transition_gate(fitting: Fitting, config: Scans) -> Gate:
    """Opens for examples that go where unsafe ones go."""
    transitions = Transitions(fitting, config)
    unsafe = fitting.sides("safety", "train").positive
    mean = transitions.of(unsafe).mean(0)  # [layers, width]

    def scores(examples: Sequence[Example]) -> torch.Tensor:
        return torch.cosine_similarity(transitions.of(examples), mean, dim=-1).mean(-1)

    where = f"layers {', '.join(map(str, transitions.layers))}"
    return select_gate(
        fitting, f"{config.name}: the transition gate", [(where, scores)], config.threshold
    )


class Transitions:
    """What one more token does to activations."""

    def __init__(self, fitting: Fitting, config: Scans) -> None:
        self.fitting = fitting
        self.layers = fitting.layers(config.gate_layers)
        self.continued = ExampleCache(
            lambda e: replace(e, response_prefix=e.response_prefix + config.continuation)
        )

    def of(self, examples: Sequence[Example]) -> torch.Tensor:
        """The transition of each example. # [examples, layers, width]"""
        longer = self.continued.of(examples)
        return self.fitting.activations(examples, self.layers) - self.fitting.activations(
            longer, self.layers
        )
