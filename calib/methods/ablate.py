"""Directional ablation of the refusal direction (arXiv 2406.11717, sections 2.3 and 2.4).

    direction = unit(mean h(refused unsafe) - mean h(answered safe))                        [width]
    h_l  <-  h_l - strength x (h_l . direction) direction        after every block l, at every token

The means are taken at one token and one layer. Strength is the share of the component that is
removed: 1 removes it completely and lowers refusals; negative strengths amplify it.

Authors: means over harmful queries that the model refuses and harmless ones that it does not, by
the log odds of a few first tokens that are listed for each model. Candidates are all tokens of the
template after the query, at the inputs of the first 80 % of the blocks. On 32 validation queries
of each kind, a candidate is dropped if its ablation has KL(base || ablated) above 0.1 on harmless
queries, or if adding it leaves their refusal score below 0; the one with the lowest refusal score
of harmful queries under ablation is used. It is removed completely at the inputs of all blocks and
the outputs of all attention layers and MLPs, at every token.

Here: the same selection (method.selection=published; calib.interventions.selection). Queries are
refused or answered by the judge's labels of the model's responses, and the first tokens of refusals
are those that begin refused responses more often than answered ones. If no candidate passes, the
one with the smallest KL is used, and the run says so. The outputs of blocks are edited, which
contain those of attention and MLP. Shares other than 1 and amplification are additions of ours.
method.selection=grid tries every layer at the last prompt token instead.

Supervised: yes (safety of the train and validation queries, labels of the model's responses).

Searched: token and layer, by the selection; the strength, both signs.
"""

import torch

from calib.config.method import Ablation
from calib.engine.operators import Ablate
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method
from calib.interventions.selection import class_differences, select_candidate

AXIS = Axis("share of the component that is removed", default_scale=0.5)


def method(fitting: Fitting, config: Ablation) -> Method:
    """One direction per layer of the grid, each ablated at all ``config.edited_layers``."""
    layers, positions, notes = fitting.layers(config.layers), config.read_positions, []
    if config.selection == "published":

        def directions(positions: str) -> torch.Tensor:
            return class_differences(fitting, config.contrast, config.estimator, positions)

        best, note = select_candidate(fitting, config, config.contrast, directions, induce=True)
        layers, positions, notes = [best.layer], best.positions, [note]
    direction = fitting.direction(config.contrast, config.estimator, positions)
    if config.selection != "published":
        layers = fitting.layers_of(direction, config.layers)
    edited_layers = fitting.layers(config.edited_layers)

    def intervention(layer: int | None, strength: float) -> Intervention:
        assert layer is not None
        ablation = Ablate(direction.vectors[direction.row(layer)], strength)
        return Intervention(edits_at(edited_layers, lambda _: ablation, config.positions))

    return Method(config.name, AXIS, layers, intervention, direction, notes)
