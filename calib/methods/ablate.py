"""Directional ablation of the refusal direction (arXiv 2406.11717, sections 2.3 and 2.4).

    direction = unit(mean h(refused) - mean h(answered)) at one layer, the last prompt token
    h_l  <-  h_l - strength x (h_l . direction) direction        after every block l, at every token

A layer of the grid is the one the direction comes from. Strength is the share of the component that
is removed: 1 leaves none of it and lowers refusals, negative strengths amplify it. The paper also
edits what each block's attention and MLP write; here that is edited once it is in the block's
output. Its means are over harmful and harmless queries (contrast=safety).
"""

from calib.config.method import Ablation
from calib.engine.operators import Ablate
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("share of the component that is removed", default_scale=0.5)


def method(fitting: Fitting, config: Ablation) -> Method:
    """One direction for each layer of the grid, ablated everywhere."""
    direction = fitting.direction(config.contrast, config.estimator, config.read_positions)
    edited = fitting.layers(config.edited_layers)

    def change(layer: int | None, strength: float) -> Intervention:
        assert layer is not None
        operator = Ablate(direction.vectors[direction.row(layer)], strength)
        return Intervention(edits_at(None, edited, lambda at: operator, config.positions))

    return Method(config.name, AXIS, fitting.layers(config.layers), change, direction)
