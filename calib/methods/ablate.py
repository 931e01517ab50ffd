"""Directional ablation of the refusal direction (arXiv 2406.11717, sections 2.3 and 2.4).

    direction = unit(mean h(refused) - mean h(answered))                                    [width]
    h_l  <-  h_l - strength x (h_l . direction) direction        after every block l, at every token

The means are taken at one layer, the layer of the grid, at the last prompt token. Strength is the
share of the component that is removed: 1 removes it completely and lowers refusals; negative
strengths amplify it.

The paper takes its means over harmful and harmless queries (contrast=safety), and also edits the
outputs of each block's attention and MLP; here the block's output is edited, which contains both.
"""

from calib.config.method import Ablation
from calib.engine.operators import Ablate
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("share of the component that is removed", default_scale=0.5)


def method(fitting: Fitting, config: Ablation) -> Method:
    """One direction per layer of the grid, each ablated at all ``config.edited_layers``."""
    direction = fitting.direction(config.contrast, config.estimator, config.read_positions)
    edited_layers = fitting.layers(config.edited_layers)

    def intervention(layer: int | None, strength: float) -> Intervention:
        assert layer is not None
        ablation = Ablate(direction.vectors[direction.row(layer)], strength)
        return Intervention(edits_at(edited_layers, lambda _: ablation, config.positions))

    return Method(config.name, AXIS, fitting.layers(config.layers), intervention, direction)
