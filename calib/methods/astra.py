"""Adaptive removal (ASTRA, arXiv 2411.16721, section 3.3).

    c = clip(cos(h_l - h_ref, v_l), 0, 1)
    h_l  <-  h_l - strength x c x |h_l| x v_l        at the last position of every step

with v_l a unit direction of what is to be removed and h_ref the mean activation of safe queries,
so that c is about 0 for them. The paper attributes v to adversarial images; here it points to
answering among unsafe queries (answered minus refused ones), or to the negative side of another
contrast.
Strength is a share of the activation's norm.
"""

from calib.config.method import Directed
from calib.engine.operators import AblateByCosine
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at, grid_layers
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("as a share of the activation's norm", signed=False, default_scale=0.5)


def method(fitting: Fitting, config: Directed) -> Method:
    """One direction to remove per layer."""
    positions = config.read_positions
    direction = fitting.direction(config.contrast, config.estimator, positions)
    safe = fitting.samples("safety", "train", positions).negative.mean(0)
    layers = fitting.layers(config.layers)

    def change(layer: int | None, strength: float) -> Intervention:
        def removed(at: int) -> AblateByCosine:
            return AblateByCosine(-direction.vectors[direction.row(at)], strength, safe[at])

        return Intervention(edits_at(layer, layers, removed, config.positions))

    return Method(
        config.name, AXIS, grid_layers(layers, config.all_layers_at_once), change, direction
    )
